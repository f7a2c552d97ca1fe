"""Answers that are numbers: a property written in digits, or a forecast. Samples from the model beside the truth.

Axes: N items, S samples, H values of an answer.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unitok.eval.context import TaskContext, answer
from unitok.predictor import Request
from unitok.sequence import TEXT, Field
from unitok.values import Series

SAMPLES = 16
MOST_ITEMS = 200
LEAST_NUMBERS = (
    20  # distinct training answers from which numbers are amounts, and no names of classes
)
CHUNK = 32  # requests between two lines of progress


@dataclass(frozen=True)
class Drawn:
    """truth_NH; samples_NSH: finite everywhere, failures replaced by the training median; note: what was left out."""

    truth_NH: np.ndarray
    samples_NSH: np.ndarray
    unit: str
    note: str


def draw(task: TaskContext) -> Drawn | None:
    """None for a task that answers otherwise than with one number or one series."""
    if task.kind != "seq2seq":
        return None
    if task.target_modality == "series":
        return _series(task)
    if task.target_modality != TEXT:
        return None
    known = as_numbers([answer(task.template(i), r) for i, r in enumerate(task.train_records)])
    if known is None or len(np.unique(known)) < LEAST_NUMBERS:
        return None
    return _numbers(task, known)


def as_numbers(texts: Sequence[str]) -> np.ndarray | None:
    """float64 [n], or None where any text is no finite number.

    >>> as_numbers(["1", "-2.5"]).tolist(), as_numbers(["1", "one"])
    ([1.0, -2.5], None)
    """
    try:
        found = np.array([float(text) for text in texts])
    except ValueError:
        return None
    return found if len(found) and np.isfinite(found).all() else None


def _numbers(task: TaskContext, known: np.ndarray) -> Drawn | None:
    chosen = task.choose(len(task.records), MOST_ITEMS)
    truth = as_numbers([answer(task.template(i), task.records[i]) for i in chosen])
    if truth is None:
        return None
    outputs = _ask(task, chosen, TEXT, [{"pattern": "number"}] * len(chosen))
    middle, failed = float(np.median(known)), 0
    samples = np.full((len(chosen), SAMPLES, 1), middle)
    for row, texts in enumerate(outputs):
        for place, text in enumerate(texts):
            number = as_numbers([str(text)])
            if number is None:
                failed += 1
            else:
                samples[row, place] = number
    note = (
        f"{failed} of {samples.size} samples were no number and stand as the training median."
        if failed
        else ""
    )
    return Drawn(truth[:, None], samples, "", note)


def _series(task: TaskContext) -> Drawn | None:
    fields = [task.target_field(task.template(i)) for i in range(len(task.records))]
    values = [record[field.name] for record, field in zip(task.records, fields)]
    whole = [
        i for i, v in enumerate(values) if isinstance(v, Series) and np.isfinite(v.values).all()
    ]
    if not whole:
        return None
    shape = Counter(values[i].values.shape for i in whole).most_common(1)[0][0]
    same = [i for i in whole if values[i].values.shape == shape]
    chosen = [same[i] for i in task.choose(len(same), MOST_ITEMS)]
    asked = [{"length": shape[0], "channels": shape[1]}] * len(chosen)
    outputs = _ask(task, chosen, "series", asked)
    truth = np.stack([values[i].values.reshape(-1) for i in chosen]).astype(np.float64)
    samples = np.stack([[_flat(s, truth.shape[1]) for s in row] for row in outputs])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all samples missing at a place
        middle = np.nan_to_num(
            np.nanmedian(samples, axis=1, keepdims=True), nan=float(np.median(truth))
        )
    samples = np.where(np.isfinite(samples), samples, middle)
    left = len(values) - len(same)
    note = f"{left} items of another length or with missing values are left out." if left else ""
    return Drawn(truth, samples, "", note)


def _flat(series: Any, size: int) -> np.ndarray:
    """The values of a sampled series, NaN where there is none."""
    out = np.full(size, np.nan)
    if isinstance(series, Series):
        values = series.values.reshape(-1)[:size]
        out[: len(values)] = values
    return out


def _ask(
    task: TaskContext, chosen: Sequence[int], to: str, constraints: Sequence[Mapping[str, Any]]
) -> list[list[Any]]:
    """SAMPLES values an item at temperature 1."""
    requests = []
    for number, index in enumerate(chosen):
        template, record = task.template(index), task.records[index]
        field = next((p for p in [task.target_field(template)] if isinstance(p, Field)), None)
        context = field.context if field is not None and to != TEXT else None
        names = {f.name for f in task.input_fields(template)} | ({context} if context else set())
        requests.append(
            Request(
                prompt=template.inputs, fields={name: record[name] for name in names},
                to=f"{to}@{context}" if context else to, num_samples=SAMPLES, temperature=1.0,
                constraints=constraints[number], seed=task.settings.seed + index,
            )
        )  # fmt: skip
    found: list[list[Any]] = []
    for start in range(0, len(requests), CHUNK):
        outputs = task.predictor.generate_batch(requests[start : start + CHUNK])
        found += [[output.value for output in samples] for samples in outputs]
        task.say(f"{task.name}: sampling {len(found)}/{len(requests)}")
    return found
