"""Scores of detected boxes, as COCO scores them. Boxes float [N, 4]: y0 x0 y1 x1, in any one unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

IOUS = np.arange(0.5, 0.96, 0.05)  # COCO's ten thresholds
RECALLS = np.linspace(0, 1, 101)  # and its 101 places on the precision-recall curve


@dataclass(frozen=True)
class Detections:
    """Boxes of one image: coords [N, 4], labels [N]; scores [N], how sure each is (None: in the order given)."""

    coords: np.ndarray
    labels: Sequence[str]
    scores: np.ndarray | None = None


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair, [N, M].

    >>> iou(np.array([[0, 0, 2, 2.0]]), np.array([[0, 1, 2, 3.0], [4, 4, 5, 5.0]])).round(3).tolist()  # 2 / 6
    [[0.333, 0.0]]
    """
    a, b = np.reshape(a, (-1, 4)).astype(float), np.reshape(b, (-1, 4)).astype(float)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=2)
    area = lambda boxes: np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)  # noqa: E731
    either = area(a)[:, None] + area(b)[None] - both
    return both / np.where(either > 0, either, 1)


@dataclass(frozen=True)
class Matched:
    """One image's detections beside its truth: what average precision needs of it, whatever other images there are.

    labels, scores: of each detection, surest first; hits: bool [thresholds, N]; wanted: true boxes by label.
    """

    labels: list[str]
    scores: list[float]
    hits: np.ndarray
    wanted: Counter


def match(
    truth: Detections, found: Detections, thresholds: Sequence[float] | np.ndarray = IOUS
) -> Matched:
    """A detection is right if it overlaps a box of its label that no surer one has taken, by a threshold or more.

    >>> truth = Detections(np.array([[0, 0, 10, 10.0]]), ["a"])
    >>> match(truth, Detections(np.array([[0, 0, 10, 8.0], [0, 0, 10, 9.0]]), ["a", "a"]), (0.5, 0.85)).hits.tolist()
    [[True, False], [False, True]]
    """
    given = -np.arange(len(found.labels)) if found.scores is None else np.asarray(found.scores)
    order = np.argsort(-given, kind="stable")
    overlap = iou(np.reshape(found.coords, (-1, 4))[order], truth.coords)
    labels = [found.labels[i] for i in order]
    hits = np.zeros((len(thresholds), len(order)), bool)
    for row, threshold in zip(hits, thresholds):
        free = np.ones(len(truth.labels), bool)
        for i, label in enumerate(labels):
            mine = np.where(
                free & np.array([name == label for name in truth.labels], bool), overlap[i], -1
            )
            best = int(mine.argmax()) if len(mine) else 0
            if len(mine) and mine[best] >= threshold - 1e-9:
                row[i], free[best] = True, False
    return Matched(labels, given[order].tolist(), hits, Counter(truth.labels))


def average_precision(images: Sequence[Matched]) -> dict[str, np.ndarray]:
    """Average precision of each label that the truth holds, [thresholds], over COCO's 101 recalls (Lin et al. 2014).

    >>> truth = Detections(np.array([[0, 0, 2, 2.0], [4, 4, 6, 6.0]]), ["a", "a"])
    >>> guess = Detections(np.array([[0, 0, 2, 2.0], [8, 8, 9, 9.0]]), ["a", "a"], np.array([0.9, 0.8]))
    >>> average_precision([match(truth, guess, (0.5,))])["a"].round(4).tolist()  # precision 1 up to recall 0.5: 51 of 101 places
    [0.505]
    """
    wanted: Counter = sum((image.wanted for image in images), Counter())
    labels = np.array([label for image in images for label in image.labels])
    scores = np.array([score for image in images for score in image.scores])
    hits = np.concatenate([image.hits for image in images], axis=1)
    order = np.argsort(-scores, kind="stable")
    out = {}
    for label in sorted(wanted):
        chosen = order[labels[order] == label] if len(order) else order
        out[label] = np.array([_area(row[chosen], wanted[label]) for row in hits])
    return out


def mean_average_precision(images: Sequence[Matched]) -> float:
    """Mean over labels and thresholds: AP50:95 as COCO defines it; AP50 of images matched at (0.5,). 0 without any box.

    >>> truth, guess = Detections(np.array([[0, 0, 10, 10.0]]), ["a"]), Detections(np.array([[0, 0, 10, 8.0]]), ["a"])
    >>> round(mean_average_precision([match(truth, guess)]), 6)  # IoU 0.8: right at 7 of 10 thresholds
    0.7
    """
    found = average_precision(images)
    return float(np.mean(list(found.values()))) if found else 0.0


def _area(hits: np.ndarray, wanted: int) -> float:
    """Under the precision-recall curve of detections in order, its precision made falling; hits bool [N]."""
    right = np.cumsum(hits)
    recall, precision = right / wanted, right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]  # the best precision from here on
    at = np.searchsorted(recall, RECALLS, side="left")
    return float(np.append(envelope, 0.0)[np.minimum(at, len(envelope))].mean())
