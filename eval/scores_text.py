"""Tasks that answer in text: the model writes greedily, and what it wrote is compared with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unitok.config import Template
from unitok.eval import baselines
from unitok.eval.context import SAMPLES, TaskContext, answer, metric, plain_metric
from unitok.metrics import bootstrap, classification, text
from unitok.predictor import Request
from unitok.sequence import TEXT

MAX_CLASSES = 50  # distinct training answers up to which a task counts as classification
MAX_MATRIX = 30  # classes up to which the confusion matrix is drawn


def score_text(task: TaskContext) -> dict[str, Any]:
    """Exact match and, by the task's own list, accuracy with its companions or chrF; beside the majority answer."""
    known = [answer(task.template(i), r) for i, r in enumerate(task.train_records)]
    truth = [answer(task.template(i), r) for i, r in enumerate(task.records)]
    labels = sorted(set(known) | set(truth), key=_natural)
    classes = len(set(known)) <= MAX_CLASSES
    wanted = task.config.metrics or (["accuracy"] if classes else ["exact_match"])
    common = baselines.majority(known)
    guess = (f"always “{_short(common)}”", float(np.mean([t == common for t in truth])))

    outputs = _write(task, [task.template(i) for i in range(len(truth))], known, "writing")
    written = [output.value.strip() for output in outputs]
    right = np.array([text.exact_match(t, w) for t, w in zip(truth, written)])
    seed = task.settings.seed
    metrics = []
    if "accuracy" in wanted:
        metrics.append(metric("accuracy", bootstrap.mean(right, seed), "%", guess))
    if "exact_match" in wanted or "accuracy" not in wanted:
        metrics.append(metric("exact match", bootstrap.mean(right, seed), "%", guess))
    if "accuracy" in wanted and classes:
        confidence = [float(np.exp(output.log_prob)) for output in outputs]
        error = classification.expected_calibration_error(confidence, right.astype(bool).tolist())
        n = len(truth)
        metrics.append(plain_metric("macro F1", classification.macro_f1(truth, written), n, "%"))
        note = "gap between the probability of the answer and its accuracy, 10 bins"
        metrics.append(plain_metric("calibration error", error, n, "%", note))
    else:
        chrf = np.array([text.chrf([t], [w]) for t, w in zip(truth, written)]) / 100
        flat = float(np.mean([text.chrf([t], [common]) for t in truth])) / 100
        metrics.append(metric("chrF", bootstrap.mean(chrf, seed), "%", (guess[0], flat)))
    if task.config.held_out_templates:
        metrics.append(_unseen_wording(task, known, guess))
    return {
        "about": "Text, written greedily.",
        "metrics": metrics,
        "confusion": _confusion(truth, written, labels) if classes else None,
        "samples": _samples(task, truth, written, right),
        "samples_note": "Mistakes first, then the first items of the split.",
        "samples_wide": max(map(len, truth)) > 60,
    }


def _write(
    task: TaskContext, templates: Sequence[Template], known: Sequence[str], what: str
) -> list[Any]:
    """Greedy answers; room for a little more than the longest training answer."""
    tokenizer = task.predictor.tokenizers[TEXT]
    longest = max(len(ids) for ids in tokenizer.encode_batch(sorted(set(known))))
    requests = [
        Request(
            prompt=template.inputs,
            fields={f.name: record[f.name] for f in task.input_fields(template)},
            to=TEXT,
            max_new_tokens=longest + 4,
            seed=task.settings.seed,
        )
        for template, record in zip(templates, task.records)
    ]
    return task.ask(requests, what)


def _unseen_wording(
    task: TaskContext, known: Sequence[str], guess: tuple[str, float]
) -> dict[str, Any]:
    held_out = task.config.held_out_templates
    templates = [held_out[i % len(held_out)] for i in range(len(task.records))]
    outputs = _write(task, templates, known, "under unseen wording")
    truth = [answer(t, r) for t, r in zip(templates, task.records)]
    right = np.array([text.exact_match(t, o.value) for t, o in zip(truth, outputs)])
    note = f"templates held out of training: “{held_out[0].inputs}”"
    return metric(
        "exact, unseen wording", bootstrap.mean(right, task.settings.seed), "%", guess, None, note
    )


def _confusion(truth: list[str], written: list[str], labels: list[str]) -> dict[str, Any] | None:
    if not 2 <= len(labels) <= MAX_MATRIX:
        return None
    matrix = classification.confusion_matrix(truth, written, labels)
    note = "Rows are the truth, columns what was written."
    other = bool(matrix[:, -1].any())
    note += " “other”: an answer that is no label." if other else ""
    shown = _without_common_words(labels)
    return {"labels": shown, "matrix": matrix.tolist(), "other": other, "note": note}


def _without_common_words(labels: list[str]) -> list[str]:
    """“a handwritten five”, “a handwritten six” as “five”, “six”: narrow columns."""
    words = [label.split() for label in labels]
    common = 0
    while all(len(w) > common + 1 for w in words) and len({w[common] for w in words}) == 1:
        common += 1
    return [" ".join(w[common:]) for w in words]


def _samples(
    task: TaskContext, truth: list[str], written: list[str], right: np.ndarray
) -> list[dict[str, Any]]:
    wrong = np.flatnonzero(right == 0)[: SAMPLES // 2].tolist()
    chosen = wrong + [i for i in range(len(truth)) if right[i]][: SAMPLES - len(wrong)]
    return [
        {
            "inputs": task.shown_inputs(task.template(i), task.records[i]), "columns": [],
            "text": written[i] or "(nothing)", "truth": truth[i], "right": bool(right[i]), "note": "",
        }
        for i in chosen
    ]  # fmt: skip


def _natural(label: str) -> tuple[int, float, str]:
    """Numbers by value, before words."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label


def _short(label: str) -> str:
    return label if len(label) <= 24 else label[:23] + "…"
