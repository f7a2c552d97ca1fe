"""The report page: one self-contained HTML file from the results of an evaluation.

`render` takes the results dict that `runner.evaluate` returns (the same that metrics.json holds, with
samples) and the training curves; the template only arranges what is here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from unitok.eval import figures
from unitok.eval.context import SHUFFLED
from unitok.eval.probes import findings

CARDS = 6
BESIDE = ("baseline", "bound", "yardstick")  # what stands beside a score
UNFOLDED = 6  # tasks up to which all lie open on the page
SMOOTHING = 40  # points of a drawn training curve, after averaging


def render(
    results: Mapping[str, Any],
    curves: Mapping[str, Mapping[str, list[tuple[float, float]]]] | None = None,
    config: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> str:
    """The page as a string. curves: panel -> curve name -> [(step, value)]; now: the time printed in the header."""
    panels = [
        {"title": title, "names": list(lines), "svg": figures.line_chart(lines, "step", "")}
        for title, lines in (curves or {}).items()
        if lines
    ]
    tasks = results["tasks"]
    return (
        environment()
        .get_template("report.html")
        .render(
            results=results,
            run=results["run"],
            tasks=tasks,
            untrained=untrained(tasks, config or {}),
            groups=grouped(tasks),
            rows={name: metric_rows(task["metrics"]) for name, task in tasks.items()},
            probes=results.get("probes", {}),
            likelihood=results.get("likelihood", {}),
            headline=headline(tasks),
            unfolded=len(tasks) <= UNFOLDED,
            panels=panels,
            config=json.dumps(config, indent=2, ensure_ascii=False) if config else "",
            when=(now or datetime.now()).strftime("%-d %B %Y, %H:%M"),
        )
    )


def environment() -> Any:
    """Jinja over the folder of templates, with the pages' filters."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "templates"
    found = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters.update(score=score, interval=interval, count=lambda n: f"{n:,}")
    found.filters.update(
        cell=findings.cell, span=findings.span, shown=findings.shown, score_rows=findings.score_rows, in_short=findings.in_short,
        chart=figures.line_chart,
    )  # fmt: skip
    return found


# ---- numbers as a reader wants them -----------------------------------------------------------


def score(value: float | None, unit: str) -> str:
    """98.3 %, 24.1 dB, 3.42 bits."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "exact" if unit == "dB" else "∞"
    if unit == "%":
        return f"{100 * value:.1f} %"
    return f"{_digits(value, unit)} {unit}".strip()


def _digits(value: float, unit: str) -> str:
    """Two places for a known unit, three significant digits where the size of a number is anybody's guess."""
    if unit:
        return f"{value:.2f}"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return (
            f"{value:.{max(0, min(5, 2 - math.floor(math.log10(abs(value)))))}f}" if value else "0"
        )
    return f"{value:.2e}"


def interval(metric: Mapping[str, Any]) -> str:
    if metric.get("low") is None:
        return ""
    low, high = metric["low"], metric["high"]
    if metric["unit"] == "%":
        return f"{100 * low:.1f} to {100 * high:.1f}"
    return f"{_digits(low, metric['unit'])} to {_digits(high, metric['unit'])}"


def headline(tasks: Mapping[str, Any]) -> list[dict[str, str]]:
    """The first metric of the first task of each kind of target, then of others: what the page opens with."""
    scored = {
        n: t["metrics"][0]
        for n, t in tasks.items()
        if t["metrics"] and t["metrics"][0]["key"] != "bits"
    }
    firsts: dict[str, str] = {}
    for name in scored:
        firsts.setdefault(tasks[name]["target"], name)
    order = [*firsts.values(), *(n for n in scored if n not in firsts.values())]
    return [
        {
            "task": n,
            "metric": scored[n]["name"],
            "value": score(scored[n]["value"], scored[n]["unit"]),
        }
        for n in order[:CARDS]
    ]


def untrained(tasks: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """The tasks that the config holds out of training: those of weight 0."""
    of = config.get("tasks", {})
    return [name for name in tasks if name in of and of[name]["weight"] == 0]


def grouped(tasks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a task, its first metric, under the modality of its target; a shuffled source beside it."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for number, (name, task) in enumerate(tasks.items(), 1):
        if not task["metrics"]:
            continue
        row = metric_rows(task["metrics"][:1])[0]
        shuffled = [m for m in task["metrics"] if m["name"].endswith(SHUFFLED)]
        other = score(shuffled[0]["value"], shuffled[0]["unit"]) if shuffled else ""
        groups.setdefault(task["target"], []).append(
            {
                **row,
                "task": name,
                "number": number,
                "shuffled": other,
                "more": len(task["metrics"]) - 1,
            }
        )
    return [{"target": target, "rows": rows} for target, rows in groups.items()]


def metric_rows(metrics: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a metric: its texts and its drawing. Shares lie between 0 and 1; other metrics of one unit share a scale."""
    kind = lambda m: m["unit"] or m["name"].partition(",")[0]  # noqa: E731
    scales = {k: _scale([m for m in metrics if kind(m) == k]) for k in {kind(m) for m in metrics}}
    rows = []
    for m in metrics:
        beside = {side: m.get(side) for side in BESIDE}
        row: dict[str, Any] = {"metric": m, "drawing": _drawing(m, scales[kind(m)])}
        for side, found in beside.items():
            row[side] = score(found["value"], m["unit"]) if found else "–"
            row[f"{side}_name"] = (found.get("name") or found.get("source", "")) if found else ""
        rows.append(row)
    return rows


def _drawing(metric: Mapping[str, Any], scale: tuple[float, float]) -> str:
    value = metric["value"]
    if value is None or not math.isfinite(value):
        return ""
    low, high = metric.get("low"), metric.get("high")
    beside = {side: (metric.get(side) or {}).get("value") for side in BESIDE}
    return figures.whisker(
        value if low is None else low, value, value if high is None else high, scale, **beside
    )


def _scale(metrics: Iterable[Mapping[str, Any]]) -> tuple[float, float]:
    if all(m["unit"] == "%" for m in metrics):
        return 0.0, 1.0
    values = [
        v
        for m in metrics
        for v in (
            m["value"], m.get("low"), m.get("high"), *((m.get(s) or {}).get("value") for s in BESIDE)
        )
        if v is not None and math.isfinite(v)
    ]  # fmt: skip
    return min(0.0, *values, 0.0), max(*values, 1e-9, 0.0)


# ---- training curves ---------------------------------------------------------------------------

PANELS = {"nll": "loss, nats per token", "accuracy": "share of tokens predicted right"}
SPLITS = {"train": "training", "eval": "validation"}


def read_curves(file: Path) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Panels of curves by modality from a run's metrics.jsonl, its training part averaged over stretches.

    {} without a file. Lines cut off by a crash are skipped; of a step that was run again the last holds.
    """
    points: dict[tuple[str, str, str], dict[float, float]] = {}
    if not file.is_file():
        return {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
            step, split = float(record["step"]), record["split"]
        except (ValueError, KeyError, TypeError):
            continue
        for kind in PANELS:
            for modality, value in (record.get(kind) or {}).items():
                if isinstance(value, (int, float)) and math.isfinite(value):
                    points.setdefault((split, kind, modality), {})[step] = float(value)
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for (split, kind, modality), values in sorted(points.items(), key=_order):
        if split in SPLITS:
            curve = sorted(values.items())
            panels.setdefault(f"{SPLITS[split]}: {PANELS[kind]}", {})[modality] = _averaged(curve)
    return panels


def _order(item: tuple[tuple[str, str, str], Any]) -> tuple[int, int, str]:
    split, kind, modality = item[0]
    return list(PANELS).index(kind), split != "train", modality


def _averaged(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most SMOOTHING points, each the mean of a stretch."""
    size = max(1, math.ceil(len(curve) / SMOOTHING))
    stretches = [curve[i : i + size] for i in range(0, len(curve), size)]
    return [
        (sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part))
        for part in stretches
    ]


def lines(results: Mapping[str, Any]) -> list[str]:
    """The results as plain lines for a terminal."""
    out = []
    for name, task in results["tasks"].items():
        for m in task["metrics"]:
            text = f"{name}: {m['name']} {score(m['value'], m['unit'])}"
            if m.get("low") is not None:
                text += f" ({interval(m)})"
            for side in BESIDE:
                if m.get(side):
                    name_of = m[side].get("name") or m[side]["source"]
                    text += f"; {name_of} {score(m[side]['value'], m['unit'])}"
            out.append(f"{text}; {m['items']} items")
    for name, b in results.get("likelihood", {}).items():
        out.append(
            f"all tasks: NLL of {name} {b['value']:.3f} nats / token ({b['low']:.3f} to {b['high']:.3f}); "
            f"unigram {b['unigram']:.3f}; {b['tokens']} tokens"
        )
    for name, t in results["tokenizers"].items():
        out.append(f"tokenizer {name}: {t['fidelity']} at {t['rate']}")
    return out
