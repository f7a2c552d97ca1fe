"""Probe `retrieval`: does the model put what belongs together close together, whatever its modality?

Each value of an item is embedded alone with `Predictor.embed`. For every pair of modalities that share
items: recall of the true partner, in both directions. Values that occur several times count once, and
every partner they occur with is right. Axes: Q queries, G gallery, D width.
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
MOST_UNIQUE = 2  # a gallery of fewer asks nothing
AT = (1, 5, 10)
RANKS = 50  # of the curve, at the most


@dataclass(frozen=True)
class Shelf:
    """The distinct values of a field: their unit embeddings, and which of them each item holds."""

    name: str
    vectors_GD: np.ndarray
    place_N: np.ndarray


def probe(probed: Probed) -> dict[str, Any] | None:
    """None where items do not hold two fields of different modality or kind, and where an earlier task asks
    the same of the same items. By the order of the tasks, not of the calls: a resumed evaluation makes some
    of these only."""
    task = probed.task
    sides = _sides(task)
    first = next(other for other in probed.tasks if _asked(other) == _asked(task))
    if len(sides) < 2 or first.name != task.name:
        return None
    trained = any(
        t.kind == "contrastive" and t.config.source == task.config.source for t in probed.tasks
    )
    return compare(task, sides, trained)


def score_pairs(task: TaskContext) -> dict[str, Any]:
    """The scores of a contrastive task, for the report's table of tasks."""
    found = compare(task, _sides(task), True)
    metrics = found["metrics"] if found else []
    return {
        "about": "Nothing is written: each side has to find the other among all of the test items.",
        "metrics": metrics, "confusion": None, "samples": [], "samples_note": "", "samples_wide": False,
    }  # fmt: skip


def compare(
    task: TaskContext, sides: Sequence[tuple[str, str]], trained: bool
) -> dict[str, Any] | None:
    """Recall between all of the sides (name, template), both ways; None where there is nothing to choose from."""
    chosen = task.choose(len(task.records), MOST_ITEMS)
    records = [task.records[i] for i in chosen]
    shelves = [_shelf(task, name, template, records) for name, template in sides]
    shelves = [shelf for shelf in shelves if len(shelf.vectors_GD) >= MOST_UNIQUE]
    if len(shelves) < 2:
        return None
    metrics, rows, curves = [], [], {}
    names = [shelf.name for shelf in shelves]
    share: dict[tuple[str, str], float] = {}
    for a, b in permutations(shelves, 2):
        rank_Q, right_Q = _ranks(a, b)
        gallery, name = len(b.vectors_GD), f"{a.name} → {b.name}"
        estimates = [bootstrap.mean(retrieval.recall_at(rank_Q, k), task.settings.seed) for k in AT]
        share[a.name, b.name] = estimates[0].value
        chances = [retrieval.chance_at(right_Q, gallery, k) for k in AT]
        metrics.append(metric(f"recall@1, {name}", estimates[0], "%", ("chance", chances[0])))
        cells: list[Any] = []
        for estimate, chance in zip(estimates, chances):
            cells += [number(estimate, "%"), number(chance, "%")]
        middle, usual = float(np.median(rank_Q)), retrieval.chance_median_rank(right_Q, gallery)
        rows.append(
            [
                name,
                *cells,
                number(middle, "", 1),
                number(usual, "", 1),
                f"{len(rank_Q)} of {gallery}",
            ]
        )
        ks = np.arange(1, min(gallery, RANKS) + 1)
        curves[name] = (ks, [retrieval.recall_at(rank_Q, int(k)).mean() for k in ks])
    columns = ["query → gallery"]
    for k in AT:
        columns += [f"recall@{k}", "chance"]
    columns += ["median rank", "chance", "queries of gallery"]
    how = (
        "trained contrastively on these items"
        if trained
        else "no contrastive objective was trained on them"
    )
    about = (
        f"From the encoder's mean-pooled output alone, {how}. Equal values count once; a query may have several "
        "right partners, and chance knows how many."
    )
    drawn = chart("Recall among the first k", curves, "k", "recall")
    grid = {
        "title": "Recall@1 in per cent: from a row's value to a column's",
        "labels": names,
        "columns": names,
        "values": [[share.get((a, b)) for b in names] for a in names],
    }
    return findings(about, metrics, [table("Both directions", columns, rows)], [drawn], [grid])


def _sides(task: TaskContext) -> list[tuple[str, str]]:
    """(name, template) of what an item holds. A contrastive task's sides are embedded as they are trained;
    other tasks' values bare. One text at the most, and one field a modality."""
    template = task.config.templates[0]
    if task.kind == "contrastive":
        return [(_title(side), side) for side in (template.inputs, template.targets)]
    found: dict[str, tuple[str, str]] = {}
    if task.kind != "seq2seq":
        return []
    for field in fields(template.inputs) + fields(template.targets):
        if field.context is None:
            written = f"{{{field.name}:{field.modality}}}"
            found.setdefault(field.modality, (field.name, written))
    return list(found.values())


def _asked(task: TaskContext) -> tuple[str, str, tuple[str, ...]]:
    names = sorted(name for name, _ in _sides(task))
    return task.config.source, task.config.eval_split, tuple(names)


def _title(side: str) -> str:
    return "+".join(field.name for field in fields(side)) or side


def _shelf(task: TaskContext, name: str, template: str, records: Sequence[Any]) -> Shelf:
    keys: dict[Hashable, int] = {}
    requests: list[Request] = []
    places = []
    for record in records:
        values, key = {}, []
        for field in fields(template):
            codes = coded(record[field.name], field.modality, task.predictor.tokenizers)
            values[field.name] = codes
            key.append(codes.ids.tobytes() if isinstance(codes, Codes) else codes)
        if tuple(key) not in keys:
            keys[tuple(key)] = len(requests)
            requests.append(Request(prompt=template, fields=values))
        places.append(keys[tuple(key)])
    task.say(f"{task.name}: embedding {len(requests)} of {name}")
    return Shelf(name, task.predictor.embed_batch(requests), np.array(places))


def _ranks(queries: Shelf, gallery: Shelf) -> tuple[np.ndarray, np.ndarray]:
    """Rank of the best right partner of each query, and how many are right, both [Q]."""
    shape = (len(queries.vectors_GD), len(gallery.vectors_GD))
    relevant_QG = np.zeros(shape, bool)
    relevant_QG[queries.place_N, gallery.place_N] = True
    similarity_QG = queries.vectors_GD @ gallery.vectors_GD.T
    return retrieval.ranks(similarity_QG, relevant_QG), relevant_QG.sum(axis=1)
