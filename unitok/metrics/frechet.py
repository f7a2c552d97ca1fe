"""Distance of two sets of feature vectors. Axes: N, M vectors, D features."""

from __future__ import annotations

import numpy as np

from unitok.metrics import bootstrap


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Frechet distance of the Gaussians fitted to a [N, D] and b [M, D] (Heusel et al. 2017).

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), A and B the sample covariances. It falls with the
    number of vectors: compare only sets of one size, and name the features.

    >>> frechet_distance(np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]])).__round__(6)  # 2^2 + (sqrt 8 - sqrt 2)^2
    6.0
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"want two or more vectors of one width, got {a.shape} and {b.shape}")
    shift = a.mean(axis=0) - b.mean(axis=0)
    # tr (A B)^(1/2) is the sum of the singular values of X Y', where A = X' X and B = Y' Y; so is it of the
    # triangles that their QR factorisations leave, which are small where there are many vectors
    x, y = ((z - z.mean(axis=0)) / np.sqrt(len(z) - 1) for z in (a, b))
    tall = min(len(x), len(y)) > x.shape[1]
    if tall:
        x_small, y_small = np.linalg.qr(x)[1], np.linalg.qr(y)[1]
    else:
        x_small, y_small = x, y
    cross = np.linalg.svd(x_small @ y_small.T, compute_uv=False).sum()
    return float(max(shift @ shift + (x**2).sum() + (y**2).sum() - 2 * cross, 0.0))


def frechet_estimate(a: np.ndarray, b: np.ndarray, seed: int = 0) -> bootstrap.Estimate:
    """`frechet_distance` with its 95 % interval, both sets resampled (`bootstrap.distances`).

    >>> estimate = frechet_estimate(np.arange(8.0)[:, None], np.arange(8.0)[:, None] + 3)
    >>> round(estimate.value, 6), estimate.low < 9 < estimate.high, estimate.items
    (9.0, True, 8)
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    rng = np.random.default_rng(seed)
    pick = lambda x: x[rng.integers(len(x), size=len(x))]  # noqa: E731
    draws = [frechet_distance(pick(a), pick(b)) for _ in range(bootstrap.FEW)]
    return bootstrap.distances(frechet_distance(a, b), draws, len(a))
