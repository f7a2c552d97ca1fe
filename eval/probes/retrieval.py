"""Probe `retrieval`: does the model put what belongs together close together, whatever its modality?

Each value of an item is embedded alone with `Predictor.embed`. For every pair of modalities that share
items in a source, whichever of its tasks names them: recall of the true partner, in both directions.
Values that occur several times count once, and every partner they occur with is right. In a join, what
belongs together does so by the field it is joined on alone: whatever agrees on that is right.
Axes: Q queries, G gallery, N items, K keys, D width.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from unitok.eval.context import TaskContext, coded, metric
from unitok.eval.probes.findings import Probed, chart, findings, number, table
from unitok.metrics import bootstrap, retrieval
from unitok.predictor import Request
from unitok.sequence import Codes, fields

MOST_ITEMS = 1000
MOST_SIDES = 8  # of a source: 56 directions
MOST_UNIQUE = 2  # a gallery of fewer asks nothing
AT = (1, 5, 10)
RANKS = 50  # of the curve, at the most
CURVES = 8  # as many as there are colours


@dataclass(frozen=True)
class Side:
    """What of an item is embedded. modality: "" where the template mixes several."""

    name: str
    template: str
    modality: str


@dataclass(frozen=True)
class Question:
    """The sides of a source, which of them were trained to find which, and the (query, gallery) to ask."""

    sides: Sequence[Side]
    trained: frozenset[tuple[str, str]]
    asked: Sequence[tuple[Side, Side]]


@dataclass(frozen=True)
class Shelf:
    """The distinct values of a side: their unit embeddings, and which of them each item holds."""

    vectors_GD: np.ndarray
    place_N: np.ndarray


def probe(probed: Probed) -> dict[str, Any] | None:
    """Asked once a source and split, of the task with the most items there; None for the others, and where
    items do not hold two modalities. By the tasks, not by the calls: a resumed evaluation makes some only."""
    task = probed.task
    there = lambda t: (t.config.source, t.config.eval_split)  # noqa: E731
    beside = [other for other in probed.tasks if there(other) == there(task)]
    if max(beside, key=lambda t: len(t.items)).name != task.name:
        return None
    return compare(task, question(beside))


def score_pairs(task: TaskContext) -> dict[str, Any]:
    """The scores of a contrastive task, for the report's table of tasks: of the pairs that it trains."""
    everything = question([task])
    asked = [(a, b) for a, b in everything.asked if (a.name, b.name) in everything.trained]
    found = compare(task, Question(everything.sides, everything.trained, asked))
    return {
        "about": "Nothing is written: each side has to find the other among all of the test items.",
        "metrics": found["metrics"] if found else [],
        "confusion": None, "samples": [], "samples_note": "", "samples_wide": False,
    }  # fmt: skip


def question(tasks: Sequence[TaskContext]) -> Question:
    """What tasks on the same items give to compare: the sides of contrastive tasks as they are trained, and
    of each other modality the field that is named first, bare. All pairs of different modality, and those
    that were trained."""
    sides: dict[str, Side] = {}
    trained: set[tuple[str, str]] = set()
    for task in tasks:
        if task.kind == "contrastive":
            for t in task.config.templates:
                a, b = (_add(sides, template) for template in (t.inputs, t.targets))
                trained |= {(a, b), (b, a)} if task.config.weight > 0 else set()
    for task in tasks:
        for t in task.config.templates:
            for field in fields(t.inputs) + fields(t.targets):
                if field.context is None and field.modality not in _modalities(sides):
                    _add(sides, f"{{{field.name}:{field.modality}}}")
    kept = list(sides.values())[:MOST_SIDES]
    asked = [
        (a, b)
        for a, b in permutations(kept, 2)
        if a.modality != b.modality or (a.name, b.name) in trained
    ]
    return Question(kept, frozenset(trained), asked)


def _add(sides: dict[str, Side], template: str) -> str:
    """Its name: that of its fields, or the whole template where another side has those."""
    if template not in sides:
        held = fields(template)
        name = "+".join(field.name for field in held) or template
        if name in {side.name for side in sides.values()}:
            name = template
        modalities = {field.modality for field in held}
        sides[template] = Side(name, template, modalities.pop() if len(modalities) == 1 else "")
    return sides[template].name


def _modalities(sides: dict[str, Side]) -> set[str]:
    return {side.modality for side in sides.values()}


# ---- asking ------------------------------------------------------------------------------------


def compare(task: TaskContext, question: Question) -> dict[str, Any] | None:
    """Recall of each (query, gallery); None where there is nothing to choose from."""
    records = [task.records[i] for i in task.choose(len(task.records), MOST_ITEMS)]
    wanted = {side for pair in question.asked for side in pair}
    shelves = {side: _shelf(task, side, records) for side in question.sides if side in wanted}
    key_N = _keys(task, records)
    metrics, rows, curves = [], [], {}
    share: dict[tuple[str, str], float] = {}
    for a, b in question.asked:
        relevant_QG = _relevant(shelves[a], shelves[b], key_N)
        if min(relevant_QG.shape) < MOST_UNIQUE or relevant_QG.all():
            continue
        similarity_QG = shelves[a].vectors_GD @ shelves[b].vectors_GD.T
        rank_Q, right_Q = retrieval.ranks(similarity_QG, relevant_QG), relevant_QG.sum(axis=1)
        gallery, name = relevant_QG.shape[1], f"{a.name} → {b.name}"
        estimates = [bootstrap.mean(retrieval.recall_at(rank_Q, k), task.settings.seed) for k in AT]
        chances = [retrieval.chance_at(right_Q, gallery, k) for k in AT]
        share[a.name, b.name] = estimates[0].value
        metrics.append(metric(f"recall@1, {name}", estimates[0], "%", ("chance", chances[0])))
        cells: list[Any] = [name, _taught(a, b, question.trained)]
        for k, estimate, chance in zip(AT, estimates, chances):
            asks = k < gallery  # else all of it is among the first k
            cells += [number(estimate, "%"), number(chance, "%")] if asks else [number(None)] * 2
        usual = retrieval.chance_median_rank(right_Q, gallery)
        cells += [number(float(np.median(rank_Q)), "", 1), number(usual, "", 1)]
        rows.append([*cells, f"{len(rank_Q)} of {gallery}"])
        ks = np.arange(1, min(gallery, RANKS) + 1)
        curves[name] = (ks, [retrieval.recall_at(rank_Q, int(k)).mean() for k in ks])
    return _found(task, metrics, rows, curves, share) if rows else None


def _found(
    task: TaskContext,
    metrics: list[dict[str, Any]],
    rows: list[list[Any]],
    curves: dict[str, Any],
    share: dict[tuple[str, str], float],
) -> dict[str, Any]:
    columns = ["query → gallery", "contrastive"]
    for k in AT:
        columns += [f"recall@{k}", "chance"]
    columns += ["median rank", "chance", "queries of gallery"]
    about = (
        f"All that tasks on {task.config.source} name, {task.config.eval_split} split. From the encoder's "
        "mean-pooled output alone. Equal values count once; a query may have several right partners, and chance "
        "knows how many."
    )
    if key := _joined_on(task):
        about += f" The source is a join: whatever has the same {key} is right."
    note = "Contrastive: whether the two were trained to find each other, or both to find the same third."
    taught = [row[0] for row in rows if row[1] == TRAINED] or list(curves)
    drawn = chart(
        "Recall among the first k", {n: curves[n] for n in taught[:CURVES]}, "k", "recall"
    )
    names = list(dict.fromkeys(name for pair in share for name in pair))
    grid = {
        "title": "Recall@1 in per cent: from a row's value to a column's",
        "labels": names,
        "columns": names,
        "values": [[share.get((a, b)) for b in names] for a in names],
    }
    return findings(
        about, metrics, [table("Both directions", columns, rows, note)], [drawn], [grid]
    )


TRAINED = "trained"


def _taught(a: Side, b: Side, trained: frozenset[tuple[str, str]]) -> str:
    if (a.name, b.name) in trained:
        return TRAINED
    third = [c for one, c in sorted(trained) if one == a.name and (c, b.name) in trained]
    return f"by way of {third[0]}" if third else "no"


def _shelf(task: TaskContext, side: Side, records: Sequence[Any]) -> Shelf:
    keys: dict[Hashable, int] = {}
    requests: list[Request] = []
    places = []
    for record in records:
        values, key = {}, []
        for field in fields(side.template):
            codes = coded(record[field.name], field.modality, task.predictor.tokenizers)
            values[field.name] = codes
            key.append(codes.ids.tobytes() if isinstance(codes, Codes) else codes)
        if tuple(key) not in keys:
            keys[tuple(key)] = len(requests)
            requests.append(Request(prompt=side.template, fields=values))
        places.append(keys[tuple(key)])
    task.say(f"{task.name}: embedding {len(requests)} of {side.name}")
    return Shelf(task.predictor.embed_batch(requests), np.array(places))


# ---- what is right -----------------------------------------------------------------------------


def _joined_on(task: TaskContext) -> str:
    source = task.run.config.sources[task.config.source]
    return str(source.options["on"]) if source.kind == "join" else ""


def _keys(task: TaskContext, records: Sequence[Any]) -> np.ndarray:
    """int [N]: items of equal key belong together. Each its own, but in a join."""
    on = _joined_on(task)
    if not records or on not in records[0]:
        return np.arange(len(records))
    return np.unique([str(record[on]) for record in records], return_inverse=True)[1]


def _relevant(queries: Shelf, gallery: Shelf, key_N: np.ndarray) -> np.ndarray:
    """bool [Q, G]: which values share a key."""
    held = []
    for shelf in (queries, gallery):
        held_GK = np.zeros((len(shelf.vectors_GD), key_N.max() + 1), np.float32)
        held_GK[shelf.place_N, key_N] = 1
        held.append(held_GK)
    return held[0] @ held[1].T > 0
