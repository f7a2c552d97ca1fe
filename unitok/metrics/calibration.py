"""Whether confidence means anything: reliability, temperature scaling, abstention, detection.

Axes: N items, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from unitok.metrics import bootstrap


@dataclass(frozen=True)
class Bin:
    """One bar of a reliability diagram: items with confidence in (low, high], their mean and their accuracy."""

    low: float
    high: float
    items: int
    confidence: float
    accuracy: float


def reliability(confidence_N: np.ndarray, correct_N: np.ndarray, bins: int = 10) -> list[Bin]:
    """Bins of equal width that hold items, in order (DeGroot and Fienberg 1983; Niculescu-Mizil and Caruana 2005).

    >>> [(b.items, b.accuracy) for b in reliability([0.92, 0.98, 0.3], [1, 0, 1])]
    [(1, 1.0), (2, 0.5)]
    """
    p, hit = _pair(confidence_N, correct_N)
    place = np.clip(np.ceil(p * bins).astype(int) - 1, 0, bins - 1)
    return [
        Bin(
            b / bins,
            (b + 1) / bins,
            int((place == b).sum()),
            float(p[place == b].mean()),
            float(hit[place == b].mean()),
        )
        for b in np.unique(place).tolist()
    ]


def calibration_sums(confidence_N: np.ndarray, correct_N: np.ndarray, bins: int = 10) -> np.ndarray:
    """Confidence less correctness of each item in the column of its bin, float64 [N, bins]: what the expected
    calibration error is made of. Rows may be added up where items are groups of answers.

    >>> calibration_sums([0.75, 0.25], [1, 0], bins=2).tolist()
    [[0.0, -0.25], [0.25, 0.0]]
    """
    p, hit = _pair(confidence_N, correct_N)
    out = np.zeros((len(p), bins))
    place = np.clip(np.ceil(p * bins).astype(int) - 1, 0, bins - 1)  # bins are (low, high]
    out[np.arange(len(p)), place] = p - hit
    return out


def calibration_error(
    confidence_N: np.ndarray,
    correct_N: np.ndarray,
    groups_N: np.ndarray | None = None,
    seed: int = 0,
) -> bootstrap.Estimate:
    """Expected calibration error of 10 bins with its 95 % interval (`bootstrap.distances`); a share.

    groups_N: which item each answer is of, 0 .. G - 1, where an item holds several (its tokens): items are resampled
    whole.

    >>> calibration_error([0.75, 0.75], [1, 1]).value
    0.25
    """
    sums = calibration_sums(confidence_N, correct_N)
    parts = np.concatenate([sums, np.ones((len(sums), 1))], axis=1)
    if groups_N is not None:
        grouped = np.zeros((int(np.max(groups_N)) + 1, parts.shape[1]))
        np.add.at(grouped, np.asarray(groups_N), parts)
        parts = grouped
    error = lambda s: float(np.abs(s[:-1]).sum() / s[-1])  # noqa: E731
    return bootstrap.of_sums(parts, error, seed, distance=True)


def calibration_error_by_chance(confidence_N: np.ndarray, seed: int = 0, draws: int = 200) -> float:
    """The mean expected calibration error of a model that is exactly as often right as it says, on as many items
    with these confidences: what is left of the error when there is nothing to correct (Broecker and Smith 2007).

    >>> calibration_error_by_chance([1.0, 1.0]), 0.17 < calibration_error_by_chance([0.5] * 4, draws=2000) < 0.2
    (0.0, True)
    """
    p = np.asarray(confidence_N, np.float64)
    hits_RN = np.random.default_rng(seed).random((draws, len(p))) < p
    return float(
        np.mean([np.abs(calibration_sums(p, hit).sum(axis=0)).sum() / len(p) for hit in hits_RN])
    )


def nll(log_probs_NK: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """-log p of the true class, nats [N]; rows are normalised here. -inf marks a class that is not there.

    >>> nll(np.log([[0.2, 0.2]]), np.array([0])).round(4).tolist()
    [0.6931]
    """
    logits = np.asarray(log_probs_NK, np.float64)
    rows = np.arange(len(logits))
    return special.logsumexp(logits, axis=1) - logits[rows, np.asarray(truth_N)]


def brier(probs_NK: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """Squared distance to the one-hot truth [N], 0..2 (Brier 1950).

    >>> brier(np.array([[0.5, 0.5]]), np.array([0])).tolist()
    [0.5]
    """
    probs = np.asarray(probs_NK, np.float64)
    return np.square(probs - np.eye(probs.shape[1])[np.asarray(truth_N)]).sum(axis=1)


def fit_temperature(log_probs_NK: np.ndarray, truth_N: np.ndarray) -> float:
    """The T > 0 that minimises the mean NLL of softmax(log_probs / T) (Guo et al. 2017).

    The NLL is convex in 1 / T; T is sought in [1/50, 50], where the ends mean that no T is best.

    >>> sure = np.log([[0.99, 0.01]] * 4)
    >>> round(fit_temperature(sure, np.array([0, 0, 0, 1])), 2)  # right 3 of 4 times: softened to 75 %
    4.18
    """
    logits = np.asarray(log_probs_NK, np.float64)
    found = optimize.minimize_scalar(
        lambda t: float(nll(logits * np.exp(-t), truth_N).mean()),
        bounds=(-np.log(50), np.log(50)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def probabilities(log_probs_NK: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """softmax(log_probs / temperature), float64 [N, K].

    >>> probabilities(np.log([[1.0, 3.0]])).tolist()
    [[0.25, 0.75]]
    """
    return special.softmax(np.asarray(log_probs_NK, np.float64) / temperature, axis=1)


# ---- abstention --------------------------------------------------------------------------------


def risk_coverage(confidence_N: np.ndarray, correct_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(coverage, risk), both [N]: the share answered when the i surest are, and the error rate among them.

    Items of equal confidence are answered together: each takes the mean risk of its group (El-Yaniv and
    Wiener 2010).

    >>> [x.tolist() for x in risk_coverage([0.9, 0.2], [1, 0])]
    [[0.5, 1.0], [0.0, 0.5]]
    """
    p, hit = _pair(confidence_N, correct_N)
    order = np.argsort(-p, kind="stable")
    group = np.unique(-p[order], return_inverse=True)[1]
    mean = np.bincount(group, 1 - hit[order]) / np.bincount(group)
    steps = np.arange(1, len(p) + 1)
    return steps / len(p), np.cumsum(mean[group]) / steps


def aurc(confidence_N: np.ndarray, correct_N: np.ndarray) -> float:
    """Area under the risk-coverage curve: mean risk over all coverages. 0 is best; a confidence that
    tells nothing gives the error rate (Geifman and El-Yaniv 2017).

    >>> aurc([0.9, 0.2], [1, 0])
    0.25
    """
    return float(risk_coverage(confidence_N, correct_N)[1].mean())


def oracle_aurc(correct_N: np.ndarray) -> float:
    """The least area that this error rate allows: every mistake less sure than every right answer.

    >>> oracle_aurc([1, 0])
    0.25
    """
    hit = np.sort(np.asarray(correct_N, np.float64))[::-1]
    return float((np.cumsum(1 - hit) / np.arange(1, len(hit) + 1)).mean())


# ---- detection ---------------------------------------------------------------------------------


def auroc(inside_N: np.ndarray, outside_N: np.ndarray) -> float:
    """P(score of an outsider > score of an insider), ties count half: Mann and Whitney's U over the pairs.

    >>> auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.875
    """
    inside, outside = np.asarray(inside_N, np.float64), np.asarray(outside_N, np.float64)
    ranks = stats.rankdata(np.concatenate([inside, outside]))[len(inside) :]
    wins = ranks.sum() - len(outside) * (len(outside) + 1) / 2
    return float(wins / (len(inside) * len(outside)))


def auroc_interval(
    inside_N: np.ndarray, outside_N: np.ndarray, seed: int = 0, resamples: int = 1000
) -> tuple[float, float]:
    """95 % bootstrap interval of `auroc`, both sides resampled."""
    rng = np.random.default_rng(seed)
    inside, outside = np.asarray(inside_N), np.asarray(outside_N)
    draws = [
        auroc(rng.choice(inside, len(inside)), rng.choice(outside, len(outside)))
        for _ in range(resamples)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def _pair(confidence_N: np.ndarray, correct_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, hit = np.asarray(confidence_N, np.float64), np.asarray(correct_N, np.float64)
    if p.shape != hit.shape or p.ndim != 1 or not len(p):
        raise ValueError(
            f"calibration: want as many answers as confidences, at least one; got {hit.shape} and {p.shape}"
        )
    return p, hit
