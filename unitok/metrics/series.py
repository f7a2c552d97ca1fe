"""Scores of forecasts and of reconstructed series. Arrays [..., T] or [T, C]; NaN in the truth is left out."""

from __future__ import annotations

import numpy as np


def mse(truth: np.ndarray, forecast: np.ndarray) -> float:
    """Mean squared error.

    >>> mse(np.array([1.0, 2.0, np.nan]), np.array([1.0, 4.0, 0.0]))
    2.0
    """
    t, f = _present(truth, forecast)
    return float(np.mean((t - f) ** 2))


def mae(truth: np.ndarray, forecast: np.ndarray) -> float:
    """Mean absolute error.

    >>> mae(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    1.0
    """
    t, f = _present(truth, forecast)
    return float(np.mean(np.abs(t - f)))


def mase(truth: np.ndarray, forecast: np.ndarray, past: np.ndarray, season: int = 1) -> float:
    """MAE over the MAE of the seasonal-naive forecast inside the past (Hyndman and Koehler 2006). past [T'], time first.

    Raises ValueError where the past is shorter than a season or its naive forecast is never wrong.

    >>> mase(np.array([5.0, 6.0]), np.array([5.0, 8.0]), past=np.array([1.0, 2.0, 4.0]))  # 1 / 1.5
    0.6666666666666666
    """
    past = np.asarray(past, np.float64)
    steps = np.abs(past[season:] - past[:-season])
    scale = float(np.nanmean(steps)) if np.isfinite(steps).any() else 0.0
    if scale == 0:
        raise ValueError(f"mase: the past does not vary at season {season}, so it gives no scale")
    return mae(truth, forecast) / scale


def smape(truth: np.ndarray, forecast: np.ndarray) -> float:
    """Symmetric mean absolute percentage error, 0..200 (Makridakis 1993); both zero counts 0.

    >>> smape(np.array([1.0, 2.0]), np.array([1.0, 6.0]))
    50.0
    """
    t, f = _present(truth, forecast)
    size = np.abs(t) + np.abs(f)
    return float(200 * np.mean(np.abs(t - f) / np.where(size == 0, 1, size)))


def crps(truth: np.ndarray, samples: np.ndarray) -> float:
    """Continuous ranked probability score of samples [S, ...] for truth [...], averaged over the elements.

    E|X - y| - E|X - X'| / 2 under the empirical distribution (Gneiting and Raftery 2007, eq. 21),
    by sorting: O(S log S).

    >>> crps(np.array([0.0]), np.array([[-1.0], [1.0]]))  # 1 - 2 / 4
    0.5
    """
    samples, truth = np.asarray(samples, np.float64), np.asarray(truth, np.float64)
    ordered = np.sort(samples, axis=0)
    count = len(ordered)
    weight = (2 * np.arange(1, count + 1) - count - 1).reshape(-1, *[1] * truth.ndim)
    spread = (weight * ordered).sum(axis=0) / count**2  # E|X - X'| / 2
    score = np.abs(samples - truth).mean(axis=0) - spread
    return float(np.nanmean(score))


def snr_db(truth: np.ndarray, estimate: np.ndarray) -> float:
    """Variance of the truth over the mean squared error, in dB, averaged over channels; inf where exact.

    >>> round(snr_db(np.array([1.0, -1.0]), np.array([0.9, -0.9])), 6)
    20.0
    """
    t, e = (_columns(x) for x in (truth, estimate))
    out = []
    for channel in range(t.shape[1]):
        a, b = _present(t[:, channel], e[:, channel])
        error, power = np.mean((a - b) ** 2), np.var(a)
        if error == 0:
            out.append(np.inf)
        else:
            out.append(10 * np.log10(power / error) if power > 0 else -np.inf)
    return float(np.mean(out))


def _columns(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return x[:, None] if x.ndim == 1 else x


def _present(truth: np.ndarray, forecast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    t, f = np.asarray(truth, np.float64), np.asarray(forecast, np.float64)
    if t.shape != f.shape:
        raise ValueError(f"truth {t.shape} and forecast {f.shape} differ in shape")
    keep = ~np.isnan(t)
    if not keep.any():
        raise ValueError("every value of the truth is missing")
    return t[keep], f[keep]
