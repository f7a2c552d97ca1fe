"""How far a sound's spectrum is from another's, differentiable: what the fit adds to the error of the waveform.

At each of three window lengths the mean difference of log mel magnitudes, as ears count, and the spectral
convergence of the STFT, which the loud parts carry (Yamamoto et al. 2020, arXiv:1910.11480; mel at several
scales as in EnCodec, Défossez et al. 2022, arXiv:2210.13438).

Legend: G frames of C stretches, N coefficients, T samples of a stretch, F bins, M mel bands.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.fft import dct

from unitok.metrics.audio import mel_filters
from unitok.tokenizers.audio_grammar import FRAME

Array = Any

RATE = 16000
BANDS_OF = {512: 40, 1024: 80, 2048: 80}  # window length, four times its hop: mel bands
QUIET = 1e-3  # magnitudes of a sound of loudness 1 are told apart down to here


def distance(x_GN: Array, x_hat_GN: Array, stretch: int) -> Array:
    """Mean over the scales, of frames in stretches of `stretch`; next to 0 for equal sounds."""
    sounds = [samples(frames_GN.reshape(-1, stretch, FRAME)) for frames_GN in (x_GN, x_hat_GN)]
    total = jnp.float32(0)
    for window, bands in BANDS_OF.items():
        a, b = (magnitudes(x_CT, window) for x_CT in sounds)
        mel_FM = jnp.asarray(mel_filters(RATE, window, bands).T, jnp.float32)
        log_mel = jnp.mean(jnp.abs(jnp.log((a @ mel_FM + QUIET) / (b @ mel_FM + QUIET))))
        missed = jnp.sqrt(jnp.sum((a - b) ** 2, axis=(1, 2)) + QUIET)
        convergence = missed / jnp.sqrt(jnp.sum(a**2, axis=(1, 2)) + 1.0)
        total = total + log_mel + jnp.mean(convergence)
    return total / len(BANDS_OF)


def samples(x_CGN: Array) -> Array:
    """The inverse MDCT inside of stretches, float32 [C, (G - 1) N]: without the half frame at either end, where
    a stretch misses its neighbours."""
    halves = x_CGN @ jnp.asarray(_basis())  # [C, G, 2 N]: each frame reaches over two
    over = halves[:, :-1, FRAME:] + halves[:, 1:, :FRAME]
    return over.reshape(len(x_CGN), -1)


def magnitudes(x_CT: Array, window: int) -> Array:
    """[C, T / hop, F] of the STFT, Hann, hop a quarter of the window; only whole windows."""
    hop = window // 4
    starts = np.arange(0, x_CT.shape[1] - window + 1, hop)
    frames = x_CT[:, starts[:, None] + np.arange(window)]
    real, imaginary = jnp.split(frames @ jnp.asarray(_hann_dft(window)), 2, axis=-1)
    return jnp.sqrt(real**2 + imaginary**2 + 1e-12)  # the root of nothing has no slope


@lru_cache
def _hann_dft(window: int) -> np.ndarray:
    """The DFT of a windowed frame as one product, float32 [T, 2 F]: real parts, then imaginary ones. Several
    `jnp.fft.rfft` in one program never return on a CPU of two cores with jax 0.11.2."""
    t = np.arange(window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * t / window)
    spectrum = np.fft.rfft(np.diag(hann), axis=-1)
    return np.concatenate([spectrum.real, spectrum.imag], axis=1).astype(np.float32)


@lru_cache(maxsize=1)
def _basis() -> np.ndarray:
    """What a coefficient alone sounds like, [N, 2 N]: rows of `mdct.imdct` away from a sound's ends."""
    half = FRAME // 2
    window = np.sin(np.pi * (np.arange(2 * FRAME) + 0.5) / (2 * FRAME))
    folded = dct(np.eye(FRAME), type=4, norm="ortho", axis=1)
    right, left = -folded[:, :half], folded[:, half:]
    whole = np.concatenate([left, -left[:, ::-1], right[:, ::-1], right], axis=1)
    return (whole * window).astype(np.float32)
