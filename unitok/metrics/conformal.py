"""Split-conformal prediction: scores, thresholds, sets and intervals, and the law that their coverage obeys.

With n calibration items and a miscoverage alpha, the threshold is the k-th smallest calibration score,
k = ceil((n + 1) (1 - alpha)). Where scores are exchangeable and without ties, the number of m test items
that are covered is beta-binomial(m, k, n + 1 - k), whatever the model (Vovk 2012; Angelopoulos and Bates
2021, section 3.2). A random split of one fixed pool obeys it exactly: only ranks matter.

Axes: N items, K classes, R resplits, n calibration items, m test items.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

# ---- scores ------------------------------------------------------------------------------------


def lac_scores(probs_NK: np.ndarray) -> np.ndarray:
    """1 - p of every class, float64 [N, K]: least ambiguous sets (Sadinle et al. 2019).

    >>> lac_scores(np.array([[0.75, 0.25]])).tolist()
    [[0.25, 0.75]]
    """
    return 1 - np.asarray(probs_NK, np.float64)


def aps_scores(probs_NK: np.ndarray, u_N: np.ndarray | float = 1.0) -> np.ndarray:
    """Adaptive prediction sets (Romano et al. 2020): mass of the classes above, plus u of the class's own.

    u_N in [0, 1]: uniform draws make the scores continuous and coverage exact; 1 is without randomness.
    float64 [N, K].

    >>> aps_scores(np.array([[0.25, 0.75]])).tolist()
    [[1.0, 0.75]]
    """
    probs = np.asarray(probs_NK, np.float64)
    order = np.argsort(-probs, axis=1, kind="stable")
    ranked = np.take_along_axis(probs, order, axis=1)
    above = np.cumsum(ranked, axis=1) - ranked
    u = np.broadcast_to(np.asarray(u_N, np.float64), len(probs))[:, None]
    scores = np.empty_like(probs)
    np.put_along_axis(scores, order, above + u * ranked, axis=1)
    return scores


def absolute_scores(truth_N: np.ndarray, point_N: np.ndarray) -> np.ndarray:
    """|truth - point|; the interval is point ± threshold (Lei et al. 2018).

    >>> absolute_scores(np.array([1.0, 4.0]), np.array([2.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    return np.abs(np.asarray(truth_N, np.float64) - np.asarray(point_N, np.float64))


def quantile_scores(truth_N: np.ndarray, low_N: np.ndarray, high_N: np.ndarray) -> np.ndarray:
    """max(low - truth, truth - high): conformalised quantiles (Romano et al. 2019); the interval is
    [low - threshold, high + threshold]. Negative where the truth lies well inside.

    >>> quantile_scores(np.array([1.0, 5.0]), np.array([0.0, 0.0]), np.array([4.0, 4.0])).tolist()
    [-1.0, 1.0]
    """
    truth = np.asarray(truth_N, np.float64)
    return np.maximum(np.asarray(low_N) - truth, truth - np.asarray(high_N))


# ---- thresholds --------------------------------------------------------------------------------


def rank(n: int, alpha: float) -> int:
    """k = ceil((n + 1) (1 - alpha)); n + 1 where n items are too few for a finite threshold.

    Raises ValueError for alpha outside (0, 1) or n < 1.

    >>> rank(9, 0.1), rank(99, 0.1), rank(8, 0.1)
    (9, 90, 9)
    """
    if not 0 < alpha < 1 or n < 1:
        raise ValueError(f"conformal: want 0 < alpha < 1 and n >= 1, got {alpha} and {n}")
    return math.ceil(round((n + 1) * (1 - alpha), 9))  # 0.9 * 10 is 9.000000000000002 in binary


def threshold(scores_n: np.ndarray, alpha: float) -> float:
    """The k-th smallest calibration score; infinity where there are too few.

    >>> threshold(np.arange(1.0, 10.0), 0.1), threshold(np.arange(3.0), 0.1)
    (9.0, inf)
    """
    scores = np.sort(np.asarray(scores_n, np.float64))
    k = rank(len(scores), alpha)
    return float(scores[k - 1]) if k <= len(scores) else math.inf


def sets(scores_NK: np.ndarray, threshold: float) -> np.ndarray:
    """The classes whose score does not exceed the threshold: bool [N, K]. A set may be empty.

    >>> sets(np.array([[0.1, 0.9], [0.8, 0.9]]), 0.5).tolist()
    [[True, False], [False, False]]
    """
    return np.asarray(scores_NK) <= threshold


# ---- the law of coverage -----------------------------------------------------------------------


def coverage_law(n: int, m: int, alpha: float) -> Any:
    """The distribution (scipy, frozen) of the number of m test items covered, given n calibration items.

    >>> round(float(coverage_law(9, 1, 0.1).mean()), 12)  # k / (n + 1) times m
    0.9
    """
    k = rank(n, alpha)
    return stats.betabinom(m, k, n + 1 - k) if k <= n else stats.binom(m, 1.0)


@dataclass(frozen=True)
class CoverageCheck:
    """Coverage over R resplits against the law. mean, sd: measured, as shares; *_low, *_high: where the
    law puts them with probability `level`; within: both lie inside."""

    mean: float
    mean_low: float
    mean_high: float
    sd: float
    sd_low: float
    sd_high: float
    nominal: float
    expected: float
    splits: int
    calibration: int
    test: int
    within: bool


def check_coverage(
    coverage_R: np.ndarray, n: int, m: int, alpha: float, level: float = 0.99
) -> CoverageCheck:
    """Whether mean and spread of coverage over independent resplits are what the law gives.

    The interval of the mean is normal (R of some hundreds); that of the spread uses the fourth moment of
    the law, since the beta-binomial is skewed: Var(s²) = (mu4 - sd⁴ (R - 3) / (R - 1)) / R.
    """
    coverage = np.asarray(coverage_R, np.float64)
    splits = len(coverage)
    law = coverage_law(n, m, alpha)
    mean, variance = float(law.mean()), float(law.var())
    excess = float(law.stats("k")) if variance else 0.0
    expected, sd = mean / m, math.sqrt(variance) / m
    z = stats.norm.ppf(0.5 + level / 2)
    margin = z * sd / math.sqrt(splits)
    fourth = (excess + 3) * sd**4 if sd else 0.0
    spread = math.sqrt(max(fourth - sd**4 * (splits - 3) / (splits - 1), 0) / splits)
    sd_low = math.sqrt(max(sd**2 - z * spread, 0))
    sd_high = math.sqrt(sd**2 + z * spread)
    got_mean, got_sd = float(coverage.mean()), float(coverage.std(ddof=1))
    tiny = 1e-12
    within = abs(got_mean - expected) <= margin + tiny and sd_low - tiny <= got_sd <= sd_high + tiny
    return CoverageCheck(
        got_mean, expected - margin, min(expected + margin, 1.0), got_sd, sd_low, sd_high,
        1 - alpha, expected, splits, n, m, within,
    )  # fmt: skip


def resplit(
    scores_N: np.ndarray, n: int, alpha: float, splits: int, seed: int = 0, break_ties: bool = False
) -> np.ndarray:
    """Coverage of the other N - n items when n random ones calibrate, float64 [R]; scores of the truth.

    Equal scores are all covered or all not, as in sets that are made in practice: with many of them
    coverage can only exceed the law's. break_ties: by a draw an item, which restores the law exactly.

    >>> round(float(resplit(np.arange(19.0), 9, 0.5, 2000).mean()), 1)
    0.5
    """
    scores = np.asarray(scores_N, np.float64)
    total, rng = len(scores), np.random.default_rng(seed)
    if not 0 < n < total:
        raise ValueError(f"conformal: want 0 < n < {total} calibration items, got {n}")
    k, out = rank(n, alpha), np.ones(splits)
    for split in range(splits):
        if break_ties:
            place = np.lexsort((rng.random(total), scores))
            chosen = np.empty(total)
            chosen[place] = np.arange(total)
        else:
            chosen = scores
        chosen = rng.permutation(chosen)
        if k <= n:
            out[split] = np.mean(chosen[n:] <= np.partition(chosen[:n], k - 1)[k - 1])
    return out
