"""Fidelity of images. Pixels uint8 [H, W, C] (or [H, W]), both of one shape."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d

PEAK = 255.0
SIGMA, RADIUS = 1.5, 5  # Wang et al. 2004: an 11 x 11 Gaussian window


def psnr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, peak 255; inf where equal.

    >>> round(psnr(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)), 6)
    0.0
    """
    r, e = _pair(reference, estimate)
    error = float(np.mean((r - e) ** 2))
    return float(10 * np.log10(PEAK**2 / error)) if error else float("inf")


def ssim(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004), mean over places and channels, -1..1.

    The Gaussian window is 11 wide, or the widest odd size that fits into a smaller image; only places
    where it lies wholly inside are counted.

    >>> ssim(np.eye(16, dtype=np.uint8) * 255, np.eye(16, dtype=np.uint8) * 255)
    1.0
    """
    r, e = _pair(reference, estimate)
    radius = min(RADIUS, (min(r.shape[:2]) - 1) // 2)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / SIGMA) ** 2)
    weights /= weights.sum()

    def blur(x: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(x, weights, axis=0), weights, axis=1)

    mean_r, mean_e = blur(r), blur(e)
    var_r, var_e = blur(r * r) - mean_r**2, blur(e * e) - mean_e**2
    both = blur(r * e) - mean_r * mean_e
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    score = (2 * mean_r * mean_e + c1) * (2 * both + c2)
    score /= (mean_r**2 + mean_e**2 + c1) * (var_r + var_e + c2)
    inside = slice(radius, -radius or None)
    return float(score[inside, inside].mean())


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise ValueError(f"images of shapes {a.shape} and {b.shape} cannot be compared")
    return a.astype(np.float64), b.astype(np.float64)
