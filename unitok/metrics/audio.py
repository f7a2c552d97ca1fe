"""Fidelity of sound. Samples float [T]; F frequency bins, M mel bands, N frames."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

N_FFT, HOP, MELS, FLOOR = 1024, 256, 80, 1e-5


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019), means removed; inf where proportional.

    >>> round(si_sdr(np.array([1.0, -1.0, 1.0, -1.0]), np.array([2.2, -1.8, 1.8, -2.2])), 6)
    20.0
    """
    r, e = (np.asarray(x, np.float64) - np.mean(x) for x in (reference, estimate))
    if r.shape != e.shape:
        raise ValueError(f"si_sdr: reference {r.shape} and estimate {e.shape} differ in length")
    energy = r @ r
    if energy == 0:
        raise ValueError("si_sdr: the reference is silent, so no ratio exists")
    target = (e @ r) / energy * r
    noise = e - target
    power, error = target @ target, noise @ noise
    if error <= 1e-30 * power:
        return float("inf")
    return float(10 * np.log10(power / error)) if power > 0 else float("-inf")


def log_mel(samples: np.ndarray, rate: int) -> np.ndarray:
    """log10 of the mel magnitude spectrogram, [M, N]: 80 HTK bands, Hann window of 1024, hop 256, reflected ends."""
    x = np.asarray(samples, np.float64)
    x = np.pad(x, N_FFT // 2, mode="reflect" if len(x) > N_FFT // 2 else "constant")
    frames = np.lib.stride_tricks.sliding_window_view(x, N_FFT)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    magnitude = np.abs(np.fft.rfft(frames * window, axis=1))
    return np.log10(np.maximum(mel_filters(rate) @ magnitude.T, FLOOR))


def log_mel_distance(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """Mean absolute difference of the log10 mel spectrograms.

    >>> tone = np.sin(np.arange(16000) * 0.3)
    >>> float(round(log_mel_distance(tone, 10 * tone, 16000), 1))  # ten times as loud: one decade
    1.0
    """
    return float(np.mean(np.abs(log_mel(reference, rate) - log_mel(estimate, rate))))


def stoi(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """Short-time objective intelligibility, 0..1 for speech (Taal et al. 2011), by pystoi (extra `audio`).

    NaN for less than 30 frames of speech (about 0.4 s), of which it is not defined.

    >>> noise = np.random.default_rng(0).normal(size=16000)
    >>> round(stoi(noise, 2 * noise, 16000), 6)
    1.0
    """
    import warnings

    from pystoi import stoi as reference_stoi

    with warnings.catch_warnings():
        warnings.simplefilter(
            "error", RuntimeWarning
        )  # how pystoi says that there are too few frames
        try:
            return float(reference_stoi(reference, estimate, rate))
        except RuntimeWarning:
            return float("nan")


@lru_cache(maxsize=8)
def mel_filters(rate: int, n_fft: int = N_FFT, bands: int = MELS) -> np.ndarray:
    """Triangular filters [M, F], equally spaced on the HTK mel scale from 0 to rate / 2, peak 1."""
    mel = lambda hertz: 2595 * np.log10(1 + hertz / 700)  # noqa: E731
    edges = 700 * (10 ** (np.linspace(0, mel(rate / 2), bands + 2) / 2595) - 1)
    bins = np.linspace(0, rate / 2, n_fft // 2 + 1)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rise, fall))
