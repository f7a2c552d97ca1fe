"""Trivial baselines: what one gets without looking at the inputs. Fitted on training items alone.

Axes: n tokens, V ids of the vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from unitok.interfaces import Example
from unitok.vocabulary import Vocabulary


def majority(answers: Sequence[str]) -> str:
    """The most frequent answer; of several equally frequent ones the first in the alphabet.

    >>> majority(["b", "a", "b", "a"])
    'a'
    """
    counts = Counter(answers)
    return min(counts, key=lambda answer: (-counts[answer], answer))


class Unigram:
    """Each label by its frequency in the training labels of its own modality, add-one smoothed over what the mask allows."""

    def __init__(self, examples: Sequence[Example], vocabulary: Vocabulary) -> None:
        self._ranges = vocabulary.ranges()
        self._first = int(self._ranges[2, 0]) if len(self._ranges) > 2 else vocabulary.size
        self._size = vocabulary.size
        self._counts = np.zeros((len(self._ranges), vocabulary.size))
        for example in examples:
            asked = example.labels[example.weights > 0]
            np.add.at(self._counts[example.target_modality], asked, 1)

    def nats(self, example: Example) -> np.ndarray:
        """Cost of each asked label, float64 [n]."""
        modality = example.target_modality
        low, high = self._ranges[modality] if modality else (0, self._size)
        allowed = self._first + (high - low) if modality else self._size
        counts = self._counts[modality]
        asked = example.labels[example.weights > 0]
        return np.log(counts.sum() + allowed) - np.log(counts[asked] + 1)


def frequent_codes(sequences: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    """The most frequent code at each place, int32 [n] for every length n that occurs.

    >>> frequent_codes([np.array([1, 2]), np.array([1, 3]), np.array([0, 3])])[2].tolist()
    [1, 3]
    """
    by_length: dict[int, list[np.ndarray]] = {}
    for ids in sequences:
        by_length.setdefault(len(ids), []).append(ids)
    return {
        length: np.array([np.bincount(column).argmax() for column in np.stack(rows).T], np.int32)
        for length, rows in by_length.items()
        if length
    }
