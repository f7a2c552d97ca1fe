"""Scores of a classifier. Axes: N items, K classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def accuracy(truth: Sequence[object], predicted: Sequence[object]) -> float:
    """Share of items where both agree.

    >>> accuracy(["a", "b", "b"], ["a", "b", "a"])
    0.6666666666666666
    """
    _same_length(truth, predicted)
    return float(np.mean([t == p for t, p in zip(truth, predicted)]))


def confusion_matrix(
    truth: Sequence[object], predicted: Sequence[object], labels: Sequence[object]
) -> np.ndarray:
    """Counts int64 [K, K + 1]: row = truth, column = prediction; the last column holds predictions outside `labels`.

    Raises ValueError for a truth that is none of `labels`.

    >>> confusion_matrix(["a", "b", "b"], ["a", "a", "?"], ["a", "b"]).tolist()
    [[1, 0, 0], [1, 0, 1]]
    """
    _same_length(truth, predicted)
    place = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels) + 1), np.int64)
    for t, p in zip(truth, predicted):
        if t not in place:
            raise ValueError(f"confusion_matrix: the truth {t!r} is none of the labels")
        counts[place[t], place.get(p, len(labels))] += 1
    return counts


def macro_f1(truth: Sequence[object], predicted: Sequence[object]) -> float:
    """F1 of each class that occurs in the truth, averaged; a class never hit counts 0.

    >>> macro_f1(["a", "b", "b"], ["a", "b", "a"])  # F1 is 2/3 for a, 2/3 for b
    0.6666666666666666
    """
    labels = sorted(set(truth), key=str)
    counts = confusion_matrix(truth, predicted, labels)
    square = counts[:, : len(labels)]
    hits = np.diag(square)
    total = counts.sum(axis=1) + square.sum(axis=0)
    return float(np.mean(2 * hits / np.maximum(total, 1)))


def auroc(truth: Sequence[bool], scores: Sequence[float]) -> float:
    """Area under the ROC curve: the chance that a positive item scores higher than a negative one, ties half.

    By the ranks of Mann and Whitney. Raises ValueError where one of the two kinds is missing.

    >>> auroc([True, True, False, False], [0.9, 0.4, 0.4, 0.1])  # 3.5 of 4 pairs
    0.875
    """
    from scipy.stats import rankdata

    _same_length(truth, scores)
    positive = np.asarray(truth, bool)
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        raise ValueError("auroc: want items of both kinds")
    return float((rankdata(scores)[positive].sum() - n * (n + 1) / 2) / (n * m))


def macro_auroc(
    truth: Sequence[object], probabilities_NK: np.ndarray, labels: Sequence[object]
) -> float:
    """AUROC of each class against the rest, averaged over those that occur; with two classes, that of the second.

    >>> macro_auroc(["a", "b"], np.array([[0.8, 0.2], [0.4, 0.6]]), ["a", "b"])
    1.0
    """
    columns = range(1, 2) if len(labels) == 2 else range(len(labels))
    hits = {k: [t == labels[k] for t in truth] for k in columns}
    return float(
        np.mean(
            [
                auroc(h, probabilities_NK[:, k].tolist())
                for k, h in hits.items()
                if any(h) and not all(h)
            ]
        )
    )


def expected_calibration_error(
    confidence: Sequence[float], correct: Sequence[bool], bins: int = 10
) -> float:
    """Mean gap between confidence and accuracy over `bins` equal bins of confidence, weighted by items (Guo et al. 2017).

    >>> expected_calibration_error([0.9, 0.9, 0.3, 0.3], [True, True, False, True])  # gaps 0.1 and 0.2
    0.15
    """
    _same_length(confidence, correct)
    p, hit = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    place = np.clip(np.ceil(p * bins).astype(int) - 1, 0, bins - 1)  # bins are (low, high]
    gaps = [
        abs(p[place == b].mean() - hit[place == b].mean()) * (place == b).mean()
        for b in np.unique(place)
    ]
    return float(np.round(sum(gaps), 12))


def _same_length(a: Sequence[object], b: Sequence[object]) -> None:
    if len(a) != len(b) or len(a) == 0:
        raise ValueError(
            f"want as many predictions as truths, at least one; got {len(b)} and {len(a)}"
        )
