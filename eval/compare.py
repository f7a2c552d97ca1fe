"""Several checkpoints side by side: each evaluated in a folder of its own, then one page.

    OUT/NAME/               the evaluation of a checkpoint, as for one alone: its report.html, metrics.json
    OUT/metrics.json        scores and differences
    OUT/report.html         the page

Differences are to the first checkpoint. Where both were scored on the same items their interval comes from
resampling items in pairs (Efron and Tibshirani 1993); else there is none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unitok.config_cli import differences
from unitok.errors import InputError
from unitok.eval import report, side_by_side
from unitok.eval.probes import findings
from unitok.metrics import bootstrap
from unitok.run import Run, read_run, write_json, write_text

MOST_FIELDS = 60  # of the table of differing config fields


@dataclass(frozen=True)
class Evaluated:
    """A checkpoint's results. of_tasks: with the items' own scores, as its folder keeps them."""

    name: str
    folder: Path
    run: Run
    results: dict[str, Any]
    of_tasks: dict[str, Any]


def evaluate_all(
    checkpoints: Sequence[str], out: str | Path, evaluate: Callable[[str, Path], Path]
) -> Path:
    """Evaluate each run into OUT/NAME and compare them; evaluate(checkpoint, folder) is what one alone gets.

    Raises InputError for a folder that is no run before any is evaluated.
    """
    runs = [read_run(path) for path in checkpoints]
    names = labels([run.path for run in runs])
    found = []
    for name, checkpoint, run in zip(names, checkpoints, runs):
        folder = Path(out) / name
        evaluate(checkpoint, folder)
        found.append(read(name, folder, run))
    return write(found, Path(out))


def labels(paths: Sequence[Path]) -> list[str]:
    """A name a run: its folder's, with as many parents as tell them apart, a number for the same one twice.

    >>> labels([Path("runs/a"), Path("runs/b")]), labels([Path("x/demo"), Path("y/demo")])
    (['a', 'b'], ['x-demo', 'y-demo'])
    """
    paths = [path.resolve() for path in paths]
    for depth in range(1, max(len(path.parts) for path in paths)):
        names = ["-".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return out


def read(name: str, folder: Path, run: Run) -> Evaluated:
    """An evaluation's folder. Raises InputError where it is not whole."""
    try:
        results = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        of_tasks = {
            task: json.loads((folder / "tasks" / f"{task}.json").read_text(encoding="utf-8"))[
                "result"
            ]
            for task in results["tasks"]
        }
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: not a finished evaluation ({error}); run it again") from None
    return Evaluated(name, folder, run, results, of_tasks)


def write(found: Sequence[Evaluated], out: Path) -> Path:
    """OUT/metrics.json and OUT/report.html."""
    rows = compare(found)
    write_json(
        out / "metrics.json", {"checkpoints": [e.results["run"] for e in found], "scores": rows}
    )
    page = out / "report.html"
    write_text(page, render(found, rows))
    return page


# ---- the scores --------------------------------------------------------------------------------


def compare(found: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """One row a score of a task or probe: {task, name, unit, baseline, scores: [metric or None],
    changes: [None, difference, ...]}, in the order in which they first appear."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for place, one in enumerate(found):
        for task, name, m in _scores(one):
            row = rows.setdefault(
                (task, name),
                {
                    "task": task, "name": name, "unit": m["unit"], "baseline": m["baseline"],
                    "scores": [None] * len(found), "changes": [None] * len(found),
                },
            )  # fmt: skip
            row["scores"][place] = m
    for row in rows.values():
        first = row["scores"][0]
        for place, m in enumerate(row["scores"][1:], 1):
            if first is not None and m is not None:
                row["changes"][place] = change(first, m)
        row["scores"] = [
            m and {k: v for k, v in m.items() if k not in ("parts", "of")} for m in row["scores"]
        ]
    return list(rows.values())


def _scores(one: Evaluated) -> list[tuple[str, str, dict[str, Any]]]:
    """(task, name, metric) of tasks' scores, of bits a token, of all tasks' likelihood, of probes' scores."""
    out = []
    for task, result in one.of_tasks.items():
        out += [(task, m["name"], {**m, "of": result.get("of")}) for m in result["metrics"]]
        for modality, b in result["bits"].items():
            plain = {
                "value": b["value"], "low": b["low"], "high": b["high"], "unit": "bits", "parts": None,
                "items": result["items"], "baseline": {"name": "unigram", "value": b["unigram"]},
            }  # fmt: skip
            out.append((task, f"bits / token, {modality}", plain))
    for modality, b in one.results["likelihood"].items():
        plain = {
            "value": b["value"], "low": b["low"], "high": b["high"], "unit": "nats", "parts": None,
            "items": b["items"], "baseline": {"name": "unigram", "value": b["unigram"]},
        }  # fmt: skip
        out.append(("all tasks", f"NLL / token, {modality}", plain))
    for probe, section in one.results.get("probes", {}).items():
        for task, result in section["tasks"].items():
            out += [(task, f"{probe}: {m['name']}", m) for m in result["metrics"]]
    return out


def change(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """second - first with its interval, None where the items are not the same. sure: it excludes no change."""
    value = second["value"] - first["value"]
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None, "paired": False, "sure": False}
    parts: tuple[Any, Any] = first.get("parts"), second.get("parts")
    same = first.get("of") is not None and first.get("of") == second.get("of")
    if not same or None in parts or len(parts[0]) != len(parts[1]):
        return {"value": value, "low": None, "high": None, "paired": False, "sure": False}
    estimate = bootstrap.paired(np.array(parts[0]), np.array(parts[1]))
    sure = estimate.low > 0 or estimate.high < 0
    return {
        "value": value, "low": estimate.low, "high": estimate.high, "paired": True, "sure": sure,
    }  # fmt: skip


# ---- the page ----------------------------------------------------------------------------------


def render(found: Sequence[Evaluated], rows: Sequence[Mapping[str, Any]]) -> str:
    """The page as a string; the checkpoints' own reports are linked."""
    spans: dict[str, int] = {}
    for row in rows:
        spans[row["task"]] = spans.get(row["task"], 0) + 1
    grouped = sorted(rows, key=lambda row: list(spans).index(row["task"]))
    curves: dict[str, dict[str, Any]] = {}
    for one in found:
        for title, lines in report.read_curves(one.run.path / "metrics.jsonl").items():
            for name, points in lines.items():
                curves.setdefault(f"{title}, {name}", {})[one.name] = points
    return report.environment().get_template("compare.html").render(
        found=found, rows=grouped, spans=spans, curves=curves, fields=_fields(found),
        shown=findings.shown, difference=difference,
        calibration=side_by_side.calibration([e.name for e in found], [e.results for e in found]),
        samples=side_by_side.samples([e.of_tasks for e in found]),
    )  # fmt: skip


def difference(change: Mapping[str, Any], unit: str) -> str:
    """+1.2 % (0.4 to 2.0), with signs."""
    if change["value"] is None:
        return "–"
    scale, digits = (100, 1) if unit == "%" else (1, 2)
    text = f"{scale * change['value']:+.{digits}f}"
    if change["low"] is not None:
        text += f" ({scale * change['low']:+.{digits}f} to {scale * change['high']:+.{digits}f})"
    return text


def _fields(found: Sequence[Evaluated]) -> list[tuple[str, list[str]]]:
    """Config fields in which the runs differ, and their values."""
    first = found[0].run.config
    changed = [
        {n: (old, new) for n, old, new in differences(first, one.run.config)} for one in found
    ]
    names = sorted({name for fields in changed for name in fields})
    out = []
    for name in names[:MOST_FIELDS]:
        before = next(fields[name][0] for fields in changed if name in fields)
        values = [fields[name][1] if name in fields else before for fields in changed]
        out.append((name, [json.dumps(value, ensure_ascii=False) for value in values]))
    return out
