"""Scores of forecasts and of reconstructed series. Arrays [..., T] or [T, C]; NaN in the truth is left out."""

from __future__ import annotations

import re

import numpy as np

LEVELS = np.arange(0.1, 0.95, 0.1)  # the nine quantiles of the weighted quantile loss
SEASONS = {
    "S": 3600, "T": 1440, "min": 1440, "MIN": 1440, "H": 24, "h": 24, "D": 7, "B": 5, "W": 1, "M": 12, "Q": 4,
}  # fmt: skip


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


def quantile_loss(truth: np.ndarray, samples: np.ndarray, levels: np.ndarray = LEVELS) -> float:
    """Twice the pinball loss of the samples' quantiles, averaged over levels, summed over the elements of truth [...].

    Over the sum of |truth| it is the weighted quantile loss (WQL) of GluonTS and Chronos. Of a forecast
    without spread it is the sum of absolute errors. samples [S, ...].

    >>> quantile_loss(np.array([2.0]), np.array([[0.0], [1.0], [2.0]]), np.array([0.5]))  # |2 - 1|
    1.0
    """
    truth, samples = np.asarray(truth, np.float64), np.asarray(samples, np.float64)
    q = np.quantile(samples, levels, axis=0)
    level = np.asarray(levels).reshape(-1, *[1] * truth.ndim)
    loss = 2 * np.maximum(level * (truth - q), (level - 1) * (truth - q))
    return float(np.nansum(loss) / len(level))


def coverage(truth: np.ndarray, samples: np.ndarray, level: float = 0.8) -> float:
    """Share of the truth [...] inside the central band that holds `level` of the samples [S, ...].

    >>> coverage(np.array([0.5, 9.0]), np.array([[0.0, 0.0], [1.0, 1.0]]))
    0.5
    """
    low, high = np.quantile(samples, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    inside = (np.asarray(truth) >= low) & (np.asarray(truth) <= high)
    return float(np.mean(inside[~np.isnan(truth)]))


def seasonal_naive(past: np.ndarray, horizon: int, season: int = 1) -> np.ndarray:
    """The past's last season again and again, [horizon, C] from past [T, C]; season 1 repeats the last value.

    A missing value is taken from the season before it, 0 where there is none. A season longer than the
    past is the past's length.

    >>> seasonal_naive(np.array([[1.0], [2.0], [3.0]]), 3, season=2)[:, 0].tolist()
    [2.0, 3.0, 2.0]
    """
    past = np.asarray(past, np.float64)
    season = max(1, min(season, len(past)))
    last = past[len(past) - season :].copy()
    for start in range(len(past) - 2 * season, -season, -season):
        earlier = past[max(start, 0) : start + season]
        part = last[season - len(earlier) :]
        part[...] = np.where(np.isnan(part), earlier, part)
    return np.nan_to_num(last)[np.arange(horizon) % season]


def season_of(freq: str | None) -> int:
    """Steps of the usual season of a pandas-like frequency, as GluonTS takes it: of hours 24, days 7, months 12; else 1.

    >>> season_of("H"), season_of("15min"), season_of("QS"), season_of(None)
    (24, 96, 4, 1)
    """
    count, unit = re.fullmatch(r"(\d*)([A-Za-z]*).*", freq or "").groups()  # type: ignore[union-attr]
    base = SEASONS.get(unit, SEASONS.get(unit.upper().rstrip("SE"), 1))
    return max(1, base // int(count or 1)) if base % int(count or 1) == 0 else 1


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
