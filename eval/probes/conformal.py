"""Probe `conformal`: sets and intervals that hold the truth as often as they promise, and whether they do.

Split-conformal prediction needs nothing of the model but a score. Coverage is measured over many random
splits of the test items into calibration and test, and its mean and spread are compared with the
beta-binomial law. Axes: N items, K candidates, S samples, H values of an answer, R resplits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unitok.eval.context import metric
from unitok.eval.probes import numeric
from unitok.eval.probes.findings import Probed, findings, number, table
from unitok.eval.probes.labels import Labelled, label_scores
from unitok.metrics import conformal
from unitok.metrics.bootstrap import Estimate

ALPHA = 0.1
SPLITS = 1000
PROMISE = f"{100 * (1 - ALPHA):.0f} %"
LEVEL = 0.999  # of the check, so that one that fails by chance is rare on a page of many
SIZE_SPLITS = 100  # splits over which sets are made and measured
LEAST = 20  # items
COLUMNS = (
    "score",
    "coverage",
    "by the law",
    "spread",
    "by the law",
    "within",
    "n + m",
    "size",
    "of it",
)
LAW_NOTE = (
    f"Coverage: mean over {SPLITS:,} random splits of the items into n that calibrate and m that test; spread: its "
    "standard deviation. By the law: where beta-binomial(m, k, n + 1 - k) puts both with 99.9 %. Ties between scores "
    "can only raise coverage; “ties broken” breaks them by a draw, which must obey the law."
)


def probe(probed: Probed) -> dict[str, Any] | None:
    """Sets of answers; or, only when asked since they take samples, intervals of numbers and forecasts."""
    drawn = numeric.draw(probed.task) if probed.asked else None
    if drawn is not None:
        return _numbers(drawn, probed.seed) if len(drawn.truth_NH) >= LEAST else None
    labelled = label_scores(probed)
    if labelled is None or len(labelled.truth_N) < LEAST:
        return None
    return _answers(labelled, probed.seed)


# ---- sets --------------------------------------------------------------------------------------


def _answers(labelled: Labelled, seed: int) -> dict[str, Any]:
    known_NK, truth = np.isfinite(labelled.log_probs_NK), labelled.truth_N
    u_N = np.random.default_rng([seed, 3]).random(len(truth))
    kinds = {
        "LAC": conformal.lac_scores(labelled.probs_NK),
        "APS": conformal.aps_scores(labelled.probs_NK, u_N),
    }
    rows, metrics = [], []
    for name, scores_NK in kinds.items():
        scores_NK = np.where(known_NK, scores_NK, np.inf)
        scores_N = scores_NK[np.arange(len(truth)), truth]

        def sizes(limit: float, test: np.ndarray, scores_NK: np.ndarray = scores_NK) -> Any:
            sets = conformal.sets(scores_NK[test], limit)
            return sets.sum(axis=1).mean(), (~sets.any(axis=1)).mean()

        size, empty = _over_splits(scores_N, seed, sizes)
        tail = [number(size, "answers"), f"{100 * empty:.1f} % empty"]
        rows += _coverage_rows(name, scores_N, seed, tail)
        metrics.append(_metric(f"coverage of {PROMISE} sets, {name}", scores_N, seed))
    note = (
        "LAC keeps answers above a probability: the smallest sets, empty where nothing is likely enough. APS adds "
        "answers until a mass is reached, with a draw at the edge: larger, fairer to hard items. "
    )
    about = f"Sets of answers that hold the right one in {PROMISE} of cases."
    return findings(about, metrics, [table("Prediction sets", COLUMNS, rows, note + LAW_NOTE)])


# ---- intervals ---------------------------------------------------------------------------------


def _numbers(drawn: numeric.Drawn, seed: int) -> dict[str, Any]:
    """Around the samples' median, and around their quantiles; an answer of several values as a whole."""
    truth, samples = drawn.truth_NH, drawn.samples_NSH
    middle = np.median(samples, axis=1)
    low, high = np.quantile(samples, [ALPHA / 2, 1 - ALPHA / 2], axis=1)
    residual = conformal.absolute_scores(truth, middle)
    outside = conformal.quantile_scores(truth, low, high)
    kinds = {
        "around the median": (residual.max(axis=1), np.zeros_like(middle)),
        "around the quantiles": (outside.max(axis=1), high - low),
    }
    rows, metrics = [], []
    for name, (scores_N, own_NH) in kinds.items():

        def width(limit: float, test: np.ndarray, own_NH: np.ndarray = own_NH) -> Any:
            return np.maximum(2 * limit + own_NH[test], 0).mean(), 0.0

        size, _ = _over_splits(scores_N, seed, width)
        rows += _coverage_rows(name, scores_N, seed, [number(size, drawn.unit), "mean width"])
        metrics.append(_metric(f"coverage of {PROMISE} intervals, {name}", scores_N, seed))
    plain = float(((truth >= low) & (truth <= high)).all(axis=1).mean())
    values = "its one value" if truth.shape[1] == 1 else f"all its {truth.shape[1]} values at once"
    note = (
        f"An answer is covered where {values} lie inside. From {samples.shape[1]} samples an item; before any "
        f"calibration the samples' own {PROMISE} range covers {100 * plain:.1f} %. {drawn.note} "
    )
    about = f"Intervals that hold the truth in {PROMISE} of cases."
    return findings(about, metrics, [table("Prediction intervals", COLUMNS, rows, note + LAW_NOTE)])


# ---- coverage ----------------------------------------------------------------------------------


def _coverage_rows(name: str, scores_N: np.ndarray, seed: int, tail: list[Any]) -> list[list[Any]]:
    """As sets are made; and with ties broken, where there are any."""
    tied = len(np.unique(scores_N)) < len(scores_N)
    rows = [[name, *_cells(_check(scores_N, seed)), *tail]]
    if tied:
        rows.append([f"{name}, ties broken", *_cells(_check(scores_N, seed, True)), "", ""])
    return rows


def _check(scores_N: np.ndarray, seed: int, break_ties: bool = False) -> conformal.CoverageCheck:
    n = len(scores_N) // 2
    coverage = conformal.resplit(scores_N, n, ALPHA, SPLITS, seed, break_ties)
    return conformal.check_coverage(coverage, n, len(scores_N) - n, ALPHA, LEVEL)


def _cells(check: conformal.CoverageCheck) -> list[Any]:
    percent = lambda low, high: f"{100 * low:.2f} to {100 * high:.2f} %"  # noqa: E731
    return [
        f"{100 * check.mean:.2f} %", percent(check.mean_low, check.mean_high),
        f"{100 * check.sd:.2f} %", percent(check.sd_low, check.sd_high),
        "yes" if check.within else "no", f"{check.calibration} + {check.test}",
    ]  # fmt: skip


def _metric(name: str, scores_N: np.ndarray, seed: int) -> dict[str, Any]:
    """Coverage with the 95 % range of a single split, which is what one who calibrates once must expect."""
    n = len(scores_N) // 2
    coverage = conformal.resplit(scores_N, n, ALPHA, SPLITS, seed)
    low, high = np.quantile(coverage, [0.025, 0.975])
    estimate = Estimate(float(coverage.mean()), float(low), float(high), len(scores_N))
    note = "the interval is where a single split falls, 95 %"
    return metric(name, estimate, "%", ("promised", 1 - ALPHA), None, note)


def _over_splits(
    scores_N: np.ndarray, seed: int, measure: Callable[[float, np.ndarray], Any]
) -> tuple[float, float]:
    """The mean of measure(threshold, test items) over random halves that calibrate."""
    rng, n = np.random.default_rng([seed, 5]), len(scores_N) // 2
    found = []
    for _ in range(SIZE_SPLITS):
        order = rng.permutation(len(scores_N))
        limit = conformal.threshold(scores_N[order[:n]], ALPHA)
        found.append(measure(limit, order[n:]))
    size, other = np.mean(found, axis=0)
    return float(size), float(other)
