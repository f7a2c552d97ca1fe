"""Tasks that answer with a number written as text: regression, beside the training answers' median and mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from unitok.eval import answers, figures, scores_text
from unitok.eval.context import SAMPLES, SHUFFLED_NOTE, TaskContext, answer, metric
from unitok.metrics import bootstrap, regression

NAMES = frozenset(["mae", "rmse", "r2"])


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
    written = [output.value for output in scores_text.write(task, task.records, "writing")]
    raw = _numbers(written)
    guess = np.where(np.isnan(raw), median, raw)
    seed, n = task.settings.seed, int(kept.sum())
    y, p = truth[kept], guess[kept]
    made = {
        "mae": metric("MAE", bootstrap.mean(np.abs(y - p), seed), "", ("training median", float(np.abs(y - median).mean())), key="mae"),
        "rmse": metric("RMSE", bootstrap.of_sums(_moments(y, p), _rmse, seed), "", ("training mean", regression.rmse(y, np.full(n, mean))), key="rmse"),
    }  # fmt: skip
    if np.ptp(y) > 0:
        flat = regression.r2(y, np.full(n, mean))
        estimate = bootstrap.of_sums(_moments(y, p), _r2, seed)
        made["r2"] = metric("R²", estimate, "", ("training mean", flat), key="r2")
    wanted = task.config.metrics or list(NAMES)
    found = [m for name, m in made.items() if name in wanted]
    found.append(
        metric("not a number", bootstrap.mean(np.isnan(raw).astype(float), seed), "%", note="counted as the training median")
    )  # fmt: skip
    if task.reads_values:
        found.append(_shuffled(task, truth, median))
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


def _shuffled(task: TaskContext, truth: np.ndarray, median: float) -> dict[str, Any]:
    places, records = task.shuffled()
    raw = _numbers([o.value for o in scores_text.write(task, records, "with sources shuffled")])
    errors = np.abs(truth[places] - np.where(np.isnan(raw), median, raw))
    flat = float(np.nanmean(np.abs(truth[places] - median)))
    estimate = bootstrap.mean(errors[~np.isnan(errors)], task.settings.seed)
    found = metric("MAE, source shuffled", estimate, "", ("training median", flat))
    return {**found, "lower": True, "note": SHUFFLED_NOTE}


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
