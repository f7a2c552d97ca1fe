"""What a comparison draws of several checkpoints beside each other: their calibration, and their answers to the same items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_ROWS = 6  # items of a task
DIAGONAL = "perfect"
# chart of the calibration probe -> the curve of one checkpoint; None: a chart for each of its curves
OVERLAID = {
    "Reliability, answers": "as trained",
    "Abstention": "model",
    "Reliability, tokens": None,
}


def calibration(
    names: Sequence[str], results: Sequence[Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Task -> charts {title, x, y, curves: checkpoint -> points}, of tasks that two checkpoints or more were asked of.

    names, results: of the checkpoints, in order; results as metrics.json holds them.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, result in zip(names, results, strict=True):
        section = result.get("probes", {}).get("calibration", {"tasks": {}})
        for task, one in section["tasks"].items():
            for chart in one["charts"]:
                for title, points, diagonal in _curves(chart):
                    there = found.setdefault(task, {}).setdefault(
                        title, {"title": title, "x": chart["x"], "y": chart["y"], "curves": {}}
                    )
                    there["curves"][name] = points
                    there["diagonal"] = diagonal
    out = {}
    for task, charts in found.items():
        shared = [_with_diagonal(c) for c in charts.values() if len(c["curves"]) > 1]
        if shared:
            out[task] = shared
    return out


def _curves(chart: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(title, points, the diagonal or None) of the curves of a chart that are worth a comparison."""
    if chart["title"] not in OVERLAID:
        return []
    curves, wanted = chart["curves"], OVERLAID[chart["title"]]
    diagonal = curves.get(DIAGONAL)
    if wanted is not None:
        return [(chart["title"], curves[wanted], diagonal)] if wanted in curves else []
    return [
        (f"{chart['title']}: {name}", points, diagonal)
        for name, points in curves.items()
        if name != DIAGONAL
    ]


def _with_diagonal(chart: dict[str, Any]) -> dict[str, Any]:
    """The diagonal last, so that a checkpoint keeps its colour from chart to chart."""
    diagonal = chart.pop("diagonal")
    if diagonal is not None:
        chart["curves"] = {**chart["curves"], DIAGONAL: diagonal}
    return chart


def samples(of_tasks: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Task -> rows {inputs, given, truth, cells}, of items that all checkpoints show and were scored on alike.

    of_tasks: of each checkpoint, its tasks' results with their samples. given: what they have in common, as the
    truth; cells: of each checkpoint {columns, text, right, note}. Items that they judge differently come first.
    """
    out = {}
    for task, first in of_tasks[0].items():
        alike = all(
            task in one
            and one[task]["of"] == first["of"]
            and one[task]["target"] == first["target"]
            for one in of_tasks
        )
        if not alike:
            continue
        by_item = [{s["item"]: s for s in one[task]["samples"]} for one in of_tasks]
        shared = sorted(set(by_item[0]).intersection(*by_item[1:]))
        rows = [_row([items[i] for items in by_item]) for i in shared]
        rows.sort(key=lambda row: len({cell["right"] for cell in row["cells"]}) == 1)
        if rows:
            out[task] = rows[:MOST_ROWS]
    return out


def _row(shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One item: columns that all have alike are given once."""
    given = [c for c in shown[0]["columns"] if all(c in s["columns"] for s in shown[1:])]
    if all(s["columns"] == given for s in shown) and not any(s["text"] for s in shown):
        given = []  # nothing would be left of the checkpoints
    cells = [
        {
            "columns": [c for c in s["columns"] if c not in given],
            "text": s["text"], "right": s["right"], "note": s["note"],
        }
        for s in shown
    ]  # fmt: skip
    return {
        "inputs": shown[0]["inputs"], "given": given, "truth": shown[0]["truth"], "cells": cells,
    }  # fmt: skip
