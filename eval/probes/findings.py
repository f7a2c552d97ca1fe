"""What a probe hands over: scores, tables and charts as plain data, for metrics.json and the page alike.

    {"about": str, "metrics": [score], "tables": [table], "charts": [chart], "grids": [grid]}

A score is `unitok.eval.context.metric`; a table's cell is a string, or a number with its unit and
interval (`number`); a chart is its curves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unitok.eval import figures
from unitok.eval.context import TaskContext
from unitok.metrics.bootstrap import Estimate

POINTS = 200  # of a curve, at the most
KINDS = 4  # of scores that a probe is told in short by, at the most


@dataclass(frozen=True)
class Probed:
    """What a probe looks at. tasks: all that are evaluated, for comparisons across data sets; asked: whether
    it was named, so that it may cost; memory: shared by the probes of one evaluation."""

    task: TaskContext
    tasks: Sequence[TaskContext]
    asked: bool = False
    memory: dict[Any, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        return self.task.settings.seed


def findings(
    about: str,
    metrics: Sequence[Mapping[str, Any]] = (),
    tables: Sequence[Mapping[str, Any]] = (),
    charts: Sequence[Mapping[str, Any]] = (),
    grids: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """grids: {"title", "labels", "columns", "values": shares or None, row by row}."""
    return {
        "about": about,
        "metrics": list(metrics),
        "tables": list(tables),
        "charts": list(charts),
        "grids": list(grids),
    }


def lower(metric: Mapping[str, Any]) -> dict[str, Any]:
    """The score marked as better when lower."""
    return {**metric, "lower": True}


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str = ""
) -> dict[str, Any]:
    """rows: cells of strings and `number`s, one a column."""
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"table {title!r}: {len(row)} cells under {len(columns)} columns")
    return {"title": title, "columns": list(columns), "rows": [list(r) for r in rows], "note": note}


def number(value: float | Estimate | None, unit: str = "", digits: int = 2) -> dict[str, Any]:
    """A cell. unit: "%" (value 0..1), "nats", "". An Estimate brings its interval; None is a dash."""
    shown: dict[str, float | None]
    if isinstance(value, Estimate):
        shown = {"value": value.value, "low": value.low, "high": value.high}
    else:
        shown = {"value": None if value is None else float(value), "low": None, "high": None}
    return {**shown, "unit": unit, "digits": digits}


def chart(title: str, curves: Mapping[str, tuple[Any, Any]], x: str, y: str) -> dict[str, Any]:
    """curves: name -> (xs, ys), thinned to a few hundred points."""
    return {
        "title": title, "x": x, "y": y,
        "curves": {name: _points(*curve) for name, curve in curves.items()},
    }  # fmt: skip


def _points(xs: Any, ys: Any) -> list[list[float]]:
    pairs = np.stack([np.asarray(xs, np.float64), np.asarray(ys, np.float64)], axis=1)
    keep = np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), POINTS)).round().astype(int))
    return pairs[keep].round(6).tolist()


# ---- on the page -------------------------------------------------------------------------------


def score_rows(of_tasks: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a score, the task's name over its first; each drawn as a whisker, shares from 0 to 1."""
    everything = [m for found in of_tasks.values() for m in found["metrics"]]
    most: dict[str, float] = {}
    for m in everything:
        beside = [(m[side] or {}).get("value") for side in ("baseline", "bound")]
        seen = [v for v in (m["value"], m["high"], *beside) if v is not None and math.isfinite(v)]
        most[m["unit"]] = max([most.get(m["unit"], 1e-9), *seen])
    rows = []
    for task, found in of_tasks.items():
        for place, m in enumerate(found["metrics"]):
            top = 1.0 if m["unit"] == "%" else most[m["unit"]]
            low, high = (m["value"] if m[end] is None else m[end] for end in ("low", "high"))
            marks = {side: (m[side] or {}).get("value") for side in ("baseline", "bound")}
            drawing = figures.whisker(low, m["value"], high, (0.0, top), **marks)
            span_ = len(found["metrics"]) if place == 0 else 0
            rows.append({"task": task, "span": span_, "metric": m, "drawing": drawing})
    return rows


def in_short(section: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A probe in a few lines: of its commonest kinds of score the lowest, median and highest of all tasks, and how
    many are surely on the right side of what stands beside them. A kind is a name up to its first comma.

    section: {title, about, tasks: {task: findings}}.
    """
    kinds: dict[tuple[str, str], list[tuple[str, Mapping[str, Any]]]] = {}
    for task, found in section["tasks"].items():
        for m in found["metrics"]:
            if math.isfinite(m["value"]):
                kinds.setdefault((m["name"].partition(",")[0], m["unit"]), []).append((task, m))
    most = max(map(len, kinds.values()), default=0)
    common = [kind for kind, scores in kinds.items() if len(scores) >= most / 2]
    return [_line(*kind, kinds[kind]) for kind in common[:KINDS]]


def _line(name: str, unit: str, scores: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    by_value = sorted(scores, key=lambda s: s[1]["value"])
    ends = [
        {"value": shown(m["value"], unit), "of": task, "what": m["name"].partition(",")[2].strip()}
        for task, m in (by_value[0], by_value[-1])
    ]
    return {
        "score": name, "lower": scores[0][1]["lower"], "count": len(scores), "lowest": ends[0], "highest": ends[1],
        "median": shown(float(np.median([m["value"] for _, m in scores])), unit), "beside": _beside(scores),
        "tasks": len({task for task, _ in scores}),
    }  # fmt: skip


def _beside(scores: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """How many are surely better than their baseline; where they have none, surely worse than their bound."""
    for side, word in (("baseline", "better"), ("bound", "worse")):
        there = [m for _, m in scores if m[side] is not None and m["low"] is not None]
        if not there:
            continue
        names = {m[side]["name"] for m in there}
        name = names.pop() if len(names) == 1 else f"their {side}"
        if name == "promised":
            held = sum(m["low"] <= m[side]["value"] <= m["high"] for m in there)
            return f"{held} of {len(there)} may be what was promised"
        above = [m["low"] > m[side]["value"] for m in there]
        below = [m["high"] < m[side]["value"] for m in there]
        up = [(word == "better") != m["lower"] for m in there]
        sure = sum(a if rises else b for a, b, rises in zip(above, below, up))
        return f"{sure} of {len(there)} surely {word} than {name}"
    return "–"


# ---- as text -----------------------------------------------------------------------------------


def cell(value: Any) -> str:
    """A cell's number as a reader wants it; strings as they are."""
    if isinstance(value, str):
        return value
    return shown(value["value"], value["unit"], value["digits"])


def span(value: Any) -> str:
    """A cell's interval, or nothing."""
    if isinstance(value, str) or value["low"] is None:
        return ""
    scale, digits = (100, 1) if value["unit"] == "%" else (1, value["digits"])
    return f"{scale * value['low']:.{digits}f} to {scale * value['high']:.{digits}f}"


def shown(number: float | None, unit: str, digits: int = 2) -> str:
    """98.3 %, 3.42 nats, a dash for nothing."""
    if number is None or math.isnan(number):
        return "–"
    if math.isinf(number):
        return "∞"
    if unit == "%":
        return f"{100 * number:.1f} %"
    return f"{number:,.{digits}f} {unit}".strip()
