"""Every item judged by its own truth, but with another item's inputs: what a model still scores so, it does not
owe to the source that it seems to read.

Where the inputs are of one kind, all text or all values, an item gets all of another's: what was made of item j is
what item i would be answered with j's inputs, so that nothing has to be made anew, only judged by another truth.
Where a sentence stands beside values (a question about a picture), the sentence stays the item's own, and so does
what the truth prescribes (the length of a series): these are asked again, a limited number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unitok.eval.context import SHUFFLED, TaskContext, metric
from unitok.metrics.bootstrap import Estimate
from unitok.sequence import TEXT

MOST = 200  # items that are asked again, at the most
WHOLE = "the inputs come from another item: what is left is owed to the answers' frequencies"
VALUES = (
    "the inputs that are no text come from another item: what is left is owed to the sentence alone"
)
DOING = "with sources shuffled"  # for progress
Ask = Callable[
    [Sequence[Mapping[str, Any]]], Sequence[Any]
]  # records, the first items', to outputs


@dataclass(frozen=True)
class Exchanged:
    """places: of items in `task.records`; outputs: what is made of another's inputs, one a place."""

    places: list[int]
    outputs: list[Any]
    note: str

    def metric(
        self, first: Mapping[str, Any], estimate: Estimate, baseline: float | None = None
    ) -> dict[str, Any]:
        """`estimate` as the shuffled companion of the score `first`; baseline: another value, for these items."""
        base = first["baseline"]
        pair = base and (base["name"], base["value"] if baseline is None else baseline)
        found = metric(f"{first['name']}{SHUFFLED}", estimate, first["unit"], pair)
        return {**found, "lower": first["lower"], "note": self.note}


def exchange(task: TaskContext, made: Sequence[Any], ask: Ask) -> Exchanged | None:
    """With what was made of the items' own inputs at hand. None where there is no source, or no other item."""
    if len({field.modality == TEXT for field in _source(task)}) == 2:
        return asked(task, ask)
    donors = others(len(task.records), len(task.config.templates), task.settings.seed)
    if not _source(task) or donors is None:
        return None
    return Exchanged(list(range(len(donors))), [made[i] for i in donors], WHOLE)


def asked(task: TaskContext, ask: Ask) -> Exchanged | None:
    """The same asked anew, for outputs that take something from the item itself."""
    source = _source(task)
    mixed = len({field.modality == TEXT for field in source}) == 2
    taken = [field for field in source if not mixed or field.modality != TEXT]
    names = {name for field in taken for name in (field.name, field.context) if name is not None}
    count = min(MOST, len(task.records))
    donors = others(count, len(task.config.templates), task.settings.seed)
    if not source or donors is None:
        return None
    records = [
        {**task.records[i], **{name: task.records[donors[i]][name] for name in names}}
        for i in range(count)
    ]
    return Exchanged(list(range(count)), list(ask(records)), VALUES if mixed else WHOLE)


def others(count: int, templates: int, seed: int) -> np.ndarray | None:
    """For each of `count` items the place of another that is asked under the same template, int [count].

    Every item gives its inputs once and nobody keeps his own. None where a template has one item alone.

    >>> others(6, 2, 0).tolist()
    [2, 5, 4, 1, 0, 3]
    """
    donors = np.empty(count, int)
    for turn in range(min(templates, count)):
        own = np.arange(turn, count, templates)
        if len(own) < 2:
            return None
        order = np.random.default_rng([seed, 2, turn]).permutation(own)
        donors[order] = np.roll(order, 1)
    return donors if count else None


def _source(task: TaskContext) -> list[Any]:
    """Input fields of all templates."""
    return [field for template in task.config.templates for field in task.input_fields(template)]
