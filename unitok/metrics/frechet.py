"""Distance of two sets of feature vectors. Axes: N, M vectors, D features."""

from __future__ import annotations

import numpy as np


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
    # tr (A B)^(1/2) is the sum of the singular values of X Y', where A = X' X and B = Y' Y
    x, y = ((z - z.mean(axis=0)) / np.sqrt(len(z) - 1) for z in (a, b))
    cross = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(max(shift @ shift + (x**2).sum() + (y**2).sum() - 2 * cross, 0.0))
