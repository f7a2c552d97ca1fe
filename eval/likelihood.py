"""Teacher-forced cost of given answers: nats of every label, example by example.

Examples are packed into rows of one common shape, so that all tasks share one compiled program.
Axes: R rows, S encoder length, T decoder length.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from unitok.data import packing
from unitok.generate import LENGTHS, bucket
from unitok.interfaces import Batch, Example

ROWS, MIN_LENGTH = 8, 256


@functools.partial(jax.jit, static_argnums=0)
def _log_probs(model: Any, params: Any, batch: Batch) -> Any:
    return model.token_log_probs(params, batch)


def nats(
    model: Any,
    params: Any,
    examples: Sequence[Example],
    progress: Callable[[int, int], None] | None = None,
) -> list[np.ndarray]:
    """-log p of each asked label (weight > 0), under its target modality's mask: float64 [labels] an example."""
    scores = by_label(lambda batch: _log_probs(model, params, batch), examples, progress)
    return [-score for score in scores]


def by_label(
    compute: Callable[[Batch], Any],
    examples: Sequence[Example],
    progress: Callable[[int, int], None] | None = None,
) -> list[np.ndarray]:
    """What `compute` gives for each asked label, from [R, T, ...]: float64 [labels, ...] an example."""
    lengths = np.array([(len(e.inputs), len(e.labels)) for e in examples]).reshape(-1, 2)
    shape = tuple(bucket(max(MIN_LENGTH, int(n)), LENGTHS) for n in lengths.max(axis=0, initial=1))
    placed = packing.pack(lengths, shape)  # type: ignore[arg-type]
    out: list[np.ndarray] = [np.zeros(0)] * len(examples)
    total = int(placed.max(initial=-1)) + 1
    for first in range(0, total, ROWS):
        chosen = np.flatnonzero((placed >= first) & (placed < first + ROWS))
        rows = placed[chosen] - first
        part = [examples[int(i)] for i in chosen]
        batch = Batch(**packing.gather(part, rows, ROWS, shape))  # type: ignore[arg-type]
        scores = np.asarray(compute(batch), np.float64)
        used = np.zeros(ROWS, int)
        for index, row, example in zip(chosen, rows, part):  # examples of a row lie in order
            stretch = scores[row, used[row] : used[row] + len(example.labels)]
            used[row] += len(example.labels)
            out[index] = stretch[example.weights > 0]
        if progress:
            progress(min(first + ROWS, total), total)
    return out
