"""Intervals by resampling items with replacement (Efron 1979): the percentile bootstrap.

Axes: N items, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import beta

RESAMPLES = 2000
FEW = 200  # of scores that have to be computed anew for each resample


@dataclass(frozen=True)
class Estimate:
    """A score with its interval. low <= value <= high up to the resampling's noise; items: how many it rests on.

    parts: of each item, float64 [N, 2], where the score is the ratio of their sums: for `paired`.
    """

    value: float
    low: float
    high: float
    items: int
    parts: np.ndarray | None = field(default=None, compare=False, repr=False)


def mean(values: np.ndarray, seed: int = 0, level: float = 0.95) -> Estimate:
    """Mean over items, values [N], NaN not allowed.

    Where all items score the same no resample can differ, and an interval of width zero would claim
    certainty: scores of 0 or 1 then get the Clopper-Pearson interval (1934) instead.

    >>> e = mean(np.array([0.0, 1.0, 1.0, 1.0]))
    >>> e.value, e.low < 0.75 < e.high, e.items
    (0.75, True, 4)
    >>> round(mean(np.ones(36)).low, 3)  # 0.025 ** (1 / 36)
    0.903
    """
    values = np.asarray(values, np.float64)
    return ratio(values, np.ones_like(values), seed, level)


def ratio(
    numerator: np.ndarray, denominator: np.ndarray, seed: int = 0, level: float = 0.95
) -> Estimate:
    """sum(numerator) / sum(denominator) over items, both [N]: for example bits over tokens.

    >>> ratio(np.array([2.0, 4.0]), np.array([1.0, 2.0])).value
    2.0
    """
    top, bottom = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    n = len(top)
    if n == 0 or bottom.sum() == 0:
        raise ValueError("bootstrap: no items to average")
    value = float(top.sum() / bottom.sum())
    if _degenerate(top, bottom):
        low, high = _clopper_pearson(value, n, level)
        return Estimate(value, low, high, n, np.stack([top, bottom], axis=1))
    counts = _counts(n, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = (counts @ top) / (counts @ bottom)
    tail = (1 - level) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), n, np.stack([top, bottom], axis=1))


def paired(first: np.ndarray, second: np.ndarray, seed: int = 0, level: float = 0.95) -> Estimate:
    """second - first of two scores over the same items, by their `parts` [N, 2]: items are resampled together.

    Raises ValueError where the items are not as many.

    >>> a, b = np.array([[1.0, 1], [0, 1], [1, 1]]), np.array([[1.0, 1], [1, 1], [1, 1]])
    >>> round(paired(a, b).value, 3)
    0.333
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or not len(first):
        raise ValueError(f"paired: {len(first)} and {len(second)} items are not the same ones")
    counts = _counts(len(first), seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = [(counts @ x[:, 0]) / (counts @ x[:, 1]) for x in (first, second)]
    tail = (1 - level) / 2
    low, high = np.nanquantile(draws[1] - draws[0], [tail, 1 - tail])
    value = second[:, 0].sum() / second[:, 1].sum() - first[:, 0].sum() / first[:, 1].sum()
    return Estimate(float(value), float(low), float(high), len(first))


def of_sums(
    parts: np.ndarray,
    score: Callable[[np.ndarray], float],
    seed: int = 0,
    level: float = 0.95,
    distance: bool = False,
) -> Estimate:
    """A score that is a function of sums over items: of parts [N, K], summed to [K]. BLEU, R2 and the like.

    distance: it grows with noise, as in `distances`.

    >>> of_sums(np.array([[1.0, 2.0], [3.0, 4.0]]), lambda s: s[0] / s[1]).value
    0.6666666666666666
    """
    parts = np.asarray(parts, np.float64)
    if not len(parts):
        raise ValueError("bootstrap: no items to average")
    draws = [score(row) for row in _counts(len(parts), seed) @ parts]
    value = float(score(parts.sum(axis=0)))
    if distance:
        return distances(value, draws, len(parts), level)
    tail = (1 - level) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), len(parts))


def distances(
    value: float, draws: Sequence[float] | np.ndarray, items: int, level: float = 0.95
) -> Estimate:
    """A score of 0 or more that grows with noise (a Frechet distance, MMD, a calibration error) with its resamples'.

    A resample has the sample's noise and its own, so that its scores lie too high and the percentiles of them
    beside the value. The interval is their spread about their mean, put about the value (Efron and Tibshirani
    1993, section 10.5, of bias), and not below 0.

    >>> distances(1.0, [2.0, 2.5, 3.0], 9, level=0.5).low, distances(0.1, [2.0, 2.5, 3.0], 9).low
    (0.75, 0.0)
    """
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail]) - np.mean(draws) + value
    return Estimate(value, max(0.0, float(low)), float(high), items)


def of_strata(
    strata: Sequence[np.ndarray],
    score: Callable[[np.ndarray], float],
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """A score of sums over the items of several groups, each group resampled on its own: parts [N_g, K] of
    each of G groups, summed to [G, K].

    >>> tasks = [np.array([[2.0, 1.0], [4.0, 1.0]]), np.array([[9.0, 1.0]])]
    >>> of_strata(tasks, lambda sums: float((sums[:, 0] / sums[:, 1]).mean())).value  # of 3 and 9
    6.0
    """
    if not strata or not all(len(parts) for parts in strata):
        raise ValueError("bootstrap: no items to average")
    groups = [np.asarray(parts, np.float64) for parts in strata]
    sums_RGK = np.stack([_counts(len(x), [seed, g]) @ x for g, x in enumerate(groups)], axis=1)
    draws = [score(sums) for sums in sums_RGK]
    tail = (1 - level) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    value = float(score(np.stack([x.sum(axis=0) for x in groups])))
    return Estimate(value, float(low), float(high), sum(map(len, groups)))


def of_items(
    items: int, score: Callable[[np.ndarray], float], seed: int = 0, level: float = 0.95
) -> Estimate:
    """Any score of a choice of items, given their indices [N] with repetitions; 200 resamples.

    >>> x = np.array([1.0, 2.0, 6.0])
    >>> of_items(3, lambda chosen: float(np.median(x[chosen]))).value
    2.0
    """
    if not items:
        raise ValueError("bootstrap: no items to average")
    rng = np.random.default_rng(seed)
    draws = [score(rng.integers(0, items, items)) for _ in range(FEW)]
    tail = (1 - level) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return Estimate(score(np.arange(items)), float(low), float(high), items)


def _degenerate(top: np.ndarray, bottom: np.ndarray) -> bool:
    """All items right, or all wrong: 0/1 scores that do not vary."""
    return bool((bottom == 1).all() and top[0] in (0.0, 1.0) and (top == top[0]).all())


def _counts(n: int, seed: int | list[int]) -> np.ndarray:
    """How often each item is drawn, float64 [R, N]: one matrix product then does all resamples."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)


def _clopper_pearson(value: float, n: int, level: float) -> tuple[float, float]:
    hits, tail = round(value * n), (1 - level) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(1 - tail, hits + 1, n - hits))
    return low, high
