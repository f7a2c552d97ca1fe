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

SMOOTHING = 40  # points of a drawn training curve, after averaging


def render(
    results: Mapping[str, Any],
    curves: Mapping[str, Mapping[str, list[tuple[float, float]]]] | None = None,
    config: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> str:
    """The page as a string. curves: panel -> curve name -> [(step, value)]; now: the time printed in the header."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(score=score, interval=interval, count=lambda n: f"{n:,}")
    panels = [
        {"title": title, "names": list(lines), "svg": figures.line_chart(lines, "step", "")}
        for title, lines in (curves or {}).items()
        if lines
    ]
    return environment.get_template("report.html").render(
        results=results,
        run=results["run"],
        tasks=results["tasks"],
        rows=table_rows(results["tasks"]),
        headline=headline(results["tasks"]),
        panels=panels,
        config=json.dumps(config, indent=2, ensure_ascii=False) if config else "",
        when=(now or datetime.now()).strftime("%-d %B %Y, %H:%M"),
    )


# ---- numbers as a reader wants them -----------------------------------------------------------


def score(value: float | None, unit: str) -> str:
    """98.3 %, 24.1 dB, 3.42 bits."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "exact" if unit == "dB" else "∞"
    if unit == "%":
        return f"{100 * value:.1f} %"
    return f"{value:.2f} {unit}".strip()


def interval(metric: Mapping[str, Any]) -> str:
    if metric.get("low") is None:
        return ""
    scale, digits = (100, 1) if metric["unit"] == "%" else (1, 2)
    return f"{scale * metric['low']:.{digits}f} to {scale * metric['high']:.{digits}f}"


def headline(tasks: Mapping[str, Any]) -> list[dict[str, str]]:
    """The first metric of each task that has one in per cent or dB: what the page opens with."""
    cards = []
    for name, task in tasks.items():
        first = next((m for m in task["metrics"] if m["unit"] in ("%", "dB")), None)
        if first:
            value = score(first["value"], first["unit"])
            cards.append({"task": name, "metric": first["name"], "value": value})
    return cards[:5]


def table_rows(tasks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a metric: its texts and its drawing. Metrics of one unit share a scale."""
    metrics = [m for task in tasks.values() for m in task["metrics"]]
    scales = {unit: _scale(metrics, unit) for unit in {m["unit"] for m in metrics}}
    rows = []
    for name, task in tasks.items():
        for i, m in enumerate(task["metrics"]):
            baseline, bound = m.get("baseline"), m.get("bound")
            rows.append(
                {
                    "task": name if i == 0 else "",
                    "span": len(task["metrics"]) if i == 0 else 0,
                    "metric": m,
                    "drawing": _drawing(m, scales[m["unit"]]),
                    "baseline": f"{score(baseline['value'], m['unit'])}" if baseline else "–",
                    "baseline_name": baseline["name"] if baseline else "",
                    "bound": score(bound["value"], m["unit"]) if bound else "–",
                    "bound_name": bound["name"] if bound else "",
                }
            )
    return rows


def _drawing(metric: Mapping[str, Any], scale: tuple[float, float]) -> str:
    value = metric["value"]
    if value is None or not math.isfinite(value):
        return ""
    low, high = metric.get("low"), metric.get("high")
    return figures.whisker(
        value if low is None else low, value, value if high is None else high, scale,
        (metric.get("baseline") or {}).get("value"), (metric.get("bound") or {}).get("value"),
    )  # fmt: skip


def _scale(metrics: Iterable[Mapping[str, Any]], unit: str) -> tuple[float, float]:
    if unit == "%":
        return 0.0, 1.0
    values = [
        v
        for m in metrics
        if m["unit"] == unit
        for v in (m["value"], m.get("low"), m.get("high"),
                  (m.get("baseline") or {}).get("value"), (m.get("bound") or {}).get("value"))
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
            for side in ("baseline", "bound"):
                if m.get(side):
                    text += f"; {m[side]['name']} {score(m[side]['value'], m['unit'])}"
            out.append(f"{text}; {m['items']} items")
    for name, t in results["tokenizers"].items():
        out.append(f"tokenizer {name}: {t['fidelity']} at {t['rate']}")
    return out
