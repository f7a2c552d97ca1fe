"""The modified discrete cosine transform: a sound of any length to frames of N coefficients and back, exactly.

Princen, Johnson and Bradley 1987 (TDAC), with a sine window. Frame t of an [F * N] signal sees
the 2 N samples around its own N; where the signal begins and ends, the window is a step at the frame's
edge instead of a slope, so F * N samples have exactly F frames and all of them come back. The transform is
orthonormal: squared error in coefficients is squared error in samples.

Legend: T samples, F frames, N coefficients a frame.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.fft import dct


def mdct(samples_T: np.ndarray, size: int) -> np.ndarray:
    """float32 [F, N], N = size (even), F = ceil(T / N); the last frame is padded with silence."""
    count = -(-len(samples_T) // size)
    half = size // 2
    padded = np.zeros((count + 1) * size, np.float32)
    padded[half : half + len(samples_T)] = samples_T
    halves = padded.reshape(-1, half)  # a frame is four of them, a new one begins every second
    a, b, c, d = (halves[i : i + 2 * count : 2] for i in range(4))
    rise_F2h, fall_F2h = _slopes(count, size)
    left = (a * rise_F2h[:, 0]) - (b * rise_F2h[:, 1])[:, ::-1]
    right = (c * fall_F2h[:, 0])[:, ::-1] + (d * fall_F2h[:, 1])
    folded_FN = np.concatenate([-right, left], axis=1)
    return dct(folded_FN, type=4, norm="ortho", axis=1).astype(np.float32)


def imdct(coefficients_FN: np.ndarray, length: int) -> np.ndarray:
    """The first `length` of the F * N samples, float32 [T]: the inverse of `mdct`."""
    count, size = coefficients_FN.shape
    half = size // 2
    if count == 0:
        return np.zeros(0, np.float32)
    folded_FN = dct(coefficients_FN, type=4, norm="ortho", axis=1)
    right, left = -folded_FN[:, :half], folded_FN[:, half:]
    rise_F2h, fall_F2h = _slopes(count, size)
    halves = np.zeros((2 * count + 2, half), np.float32)
    halves[0 : 2 * count : 2] += left * rise_F2h[:, 0]
    halves[1 : 2 * count + 1 : 2] -= left[:, ::-1] * rise_F2h[:, 1]
    halves[2 : 2 * count + 2 : 2] += right[:, ::-1] * fall_F2h[:, 0]
    halves[3 : 2 * count + 3 : 2] += right * fall_F2h[:, 1]
    return halves.reshape(-1)[half : half + length]


@lru_cache(maxsize=4)
def _sine(size: int) -> tuple[np.ndarray, np.ndarray]:
    window = np.sin(np.pi * (np.arange(2 * size) + 0.5) / (2 * size)).astype(np.float32)
    return window[:size].reshape(2, -1), window[size:].reshape(2, -1)


def _slopes(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The window's two halves of each frame, [F, 2, N / 2] each: steps at the two ends of the signal."""
    rise_2h, fall_2h = _sine(size)
    rise_F2h = np.repeat(rise_2h[None], count, axis=0)
    fall_F2h = np.repeat(fall_2h[None], count, axis=0)
    if count:
        rise_F2h[0] = [[0.0], [1.0]]
        fall_F2h[-1] = [[1.0], [0.0]]
    return rise_F2h, fall_F2h
