"""Rows of requests as the arrays of one batch. Axes: B rows, S encoder length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unitok.generate import LENGTHS, Controls, Plan, Prompts, bucket
from unitok.interfaces import Tokens
from unitok.request import Request


@dataclass(frozen=True)
class Row:
    """One row of a batch: `sample` is its number within its request."""

    index: int  # of the request
    request: Request
    sample: int
    prompt: Tokens
    budget: int


def plan_of(request: Request, budget: int) -> Plan:
    """What of a request is compiled in."""
    sample, parallel = request.warmth > 0, request.method == "parallel"
    return Plan(
        length=budget if parallel else bucket(budget, LENGTHS),
        sample=sample,
        filters=sample and (request.top_k > 0 or request.top_p < 1 or request.min_p > 0),
        penalty=request.repetition_penalty != 1,
        guided=request.guidance != 1,
        beams=request.beams,
        parallel_steps=request.steps if parallel else 0,
    )


def chunks(lengths: Sequence[int], most: int) -> list[tuple[list[int], int]]:
    """Indices of at most `most` prompts that may share a batch, with their encoder length."""
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(bucket(length, LENGTHS), []).append(index)
    return [
        (indices[start : start + most], length)
        for length, indices in by_length.items()
        for start in range(0, len(indices), most)
    ]


def prompts_of(prompts: Sequence[Tokens], length: int, size: int) -> Prompts:
    """`size` rows of `length` tokens: the prompts, then empty rows."""
    ids, segments = np.zeros((size, length), np.int32), np.zeros((size, length), np.int32)
    positions, modality = np.zeros((size, length, 3), np.int32), np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        n = len(prompt)
        ids[row, :n], positions[row, :n] = prompt.ids, prompt.positions
        modality[row, :n], segments[row, :n] = prompt.modality, 1
    return Prompts(ids, positions, modality, segments)


def controls_of(rows: Sequence[Row], size: int) -> Controls:
    """One entry a row, then rows of padding whose budget is 0."""
    spare = size - len(rows)

    def column(dtype: Any, values: list[Any], filler: Any) -> np.ndarray:
        return np.array(values + [filler] * spare, dtype)

    asked = [row.request for row in rows]
    return Controls(
        budget=column(np.int32, [row.budget for row in rows], 0),
        seed=column(
            np.uint32, [(r.seed % 2**32, row.sample) for r, row in zip(asked, rows)], (0, 0)
        ),
        temperature=column(np.float32, [r.warmth for r in asked], 1),
        top_k=column(np.int32, [r.top_k for r in asked], 0),
        top_p=column(np.float32, [r.top_p for r in asked], 1),
        min_p=column(np.float32, [r.min_p for r in asked], 0),
        penalty=column(np.float32, [r.repetition_penalty for r in asked], 1),
        guidance=column(np.float32, [r.guidance for r in asked], 1),
        length_penalty=column(np.float32, [r.length_penalty for r in asked], 0),
    )
