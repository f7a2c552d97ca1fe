"""Tasks that answer with a number written as text: regression, beside the training answers' median and mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from unitok.eval import answers, exchanged, figures, scores_text
from unitok.eval.context import SAMPLES, TaskContext, answer, metric
from unitok.metrics import bootstrap, regression

TITLES = {"mae": "MAE", "rmse": "RMSE", "r2": "R²"}
NAMES = frozenset(TITLES)


def suits(task: TaskContext) -> bool:
    """Whether the training answers are numbers, more of them than classes could be."""
    known = [answer(task.template(i), r) for i, r in enumerate(task.train_records)]
    return not answers.classes(known) and all(
        regression.parse_number(text) is not None for text in known
    )


def score_numbers(task: TaskContext) -> dict[str, Any]:
    """MAE, RMSE and R2 of what was written. An answer that is no number counts as the training median."""
    known = _numbers([answer(task.template(i), r) for i, r in enumerate(task.train_records)])
    truth = _numbers([answer(task.template(i), r) for i, r in enumerate(task.records)])
    known, kept = known[~np.isnan(known)], ~np.isnan(truth)
    median, mean = float(np.median(known)), float(known.mean())
    outputs = scores_text.write(task, task.records, "writing")
    written = [output.value for output in outputs]
    raw = _numbers(written)
    guess = np.where(np.isnan(raw), median, raw)
    seed, n = task.settings.seed, int(kept.sum())
    y, p = truth[kept], guess[kept]
    flat = {
        "mae": ("training median", median),
        "rmse": ("training mean", mean),
        "r2": ("training mean", mean),
    }
    names = [
        n for n in flat if n in (task.config.metrics or NAMES) and (n != "r2" or np.ptp(y) > 0)
    ]
    found = []
    for name in names:
        constant, level = flat[name]
        base = (constant, _estimate(name, y, np.full(n, level), seed).value)
        found.append(metric(TITLES[name], _estimate(name, y, p, seed), "", base, key=name))
    found.append(
        metric("not a number", bootstrap.mean(np.isnan(raw).astype(float), seed), "%", note="counted as the training median")
    )  # fmt: skip
    ask = lambda records: scores_text.write(task, records, exchanged.DOING)  # noqa: E731
    if names and (other := exchanged.exchange(task, outputs, ask)):
        found.append(_shuffled(other, found[0], truth, median, flat[names[0]][1], seed))
    order = np.argsort(-np.abs(truth - guess), kind="stable")[: SAMPLES // 2].tolist()
    chosen = order + [i for i in range(len(truth)) if i not in order][: SAMPLES - len(order)]
    return {
        "about": "A number, written greedily as text.",
        "metrics": found,
        "confusion": None,
        "figures": [{"title": "Written against true", "svg": figures.scatter(y, p, "truth", "written")}],
        "samples": [
            {
                "item": task.items[i],
"inputs": task.shown_inputs(task.template(i), task.records[i]), "columns": [],
                "text": written[i] or "(nothing)", "truth": f"{truth[i]:.6g}", "right": None, "note": "",
            }
            for i in chosen
        ],
        "samples_note": "Largest errors first, then the first items of the split.",
        "samples_wide": False,
    }  # fmt: skip


def _shuffled(
    other: exchanged.Exchanged,
    first: dict[str, Any],
    truth: np.ndarray,
    median: float,
    level: float,
    seed: int,
) -> dict[str, Any]:
    """level: of the constant that is the baseline."""
    asked, raw = truth[other.places], _numbers([output.value for output in other.outputs])
    kept = ~np.isnan(asked)
    y, p = asked[kept], np.where(np.isnan(raw), median, raw)[kept]
    base = _estimate(first["key"], y, np.full(len(y), level), seed).value
    return other.metric(first, _estimate(first["key"], y, p, seed), base)


def _estimate(name: str, y: np.ndarray, p: np.ndarray, seed: int) -> bootstrap.Estimate:
    if name == "mae":
        return bootstrap.mean(np.abs(y - p), seed)
    return bootstrap.of_sums(_moments(y, p), _rmse if name == "rmse" else _r2, seed)


def _numbers(texts: list[str]) -> np.ndarray:
    parsed = [regression.parse_number(text) for text in texts]
    return np.array([np.nan if value is None else value for value in parsed])


def _moments(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """[N, 4]: one, squared error, truth and its square about a common centre (for the digits' sake)."""
    centred = y - y.mean()
    return np.stack([np.ones(len(y)), (y - p) ** 2, centred, centred**2], axis=1)


def _rmse(sums: np.ndarray) -> float:
    return float(np.sqrt(sums[1] / sums[0]))


def _r2(sums: np.ndarray) -> float:
    spread = sums[3] - sums[2] ** 2 / sums[0]
    return float(1 - sums[1] / spread) if spread > 0 else float("nan")
