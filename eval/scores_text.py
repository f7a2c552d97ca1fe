"""Tasks that answer in text: the model writes greedily, and what it wrote is compared with the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unitok.config import Template
from unitok.eval import answers, baselines, exchanged
from unitok.eval.context import SAMPLES, TaskContext, answer, metric
from unitok.metrics import bootstrap, calibration, classification, graphs, text
from unitok.metrics.bootstrap import Estimate
from unitok.predictor import Request
from unitok.sequence import TEXT

MAX_MATRIX = 30  # classes up to which the confusion matrix is drawn
MAX_SCORED = 200  # items at the most whose answers are all scored, for the ROC curve
TITLES = {
    "accuracy": "accuracy", "exact_match": "exact match", "smiles": "canonical SMILES right", "macro_f1": "macro F1", "chrf": "chrF", "bleu": "BLEU",
    "rouge_l": "ROUGE-L", "cider": "CIDEr", "wer": "word error rate", "cer": "character error rate",
}  # fmt: skip
NAMES = frozenset([*TITLES, "auroc"])


def score_text(task: TaskContext) -> dict[str, Any]:
    """The scores that the task names, beside the majority answer; by default accuracy, or exact match and chrF."""
    known = [answer(task.template(i), r) for i, r in enumerate(task.train_records)]
    truth = [answer(task.template(i), r) for i, r in enumerate(task.records)]
    labels = sorted(set(known) | set(truth), key=_natural)
    classes = bool(answers.classes(known))
    wanted = _wanted(task.config.metrics, classes)
    common = baselines.majority(known)
    constant = f"always “{_short(common)}”"
    flat = [common] * len(truth)

    outputs = write(task, task.records, "writing")
    written = [output.value.strip() for output in outputs]
    right = np.array([text.exact_match(t, w) for t, w in zip(truth, written)])
    seed, metrics = task.settings.seed, []
    for name in (n for n in TITLES if n in wanted):
        guess = constant, estimate(name, truth, flat, seed).value
        unit = "" if name == "cider" else "%"
        score = estimate(name, truth, written, seed)
        metrics.append(metric(TITLES[name], score, unit, guess, key=name))
    if "accuracy" in wanted and classes:
        confidence = np.array([float(np.exp(output.log_prob)) for output in outputs])
        metrics.append(calibration_metric(confidence, right, seed))
    if "auroc" in wanted:
        metrics.append(_auroc(task, truth, labels))
    ask = lambda records: write(task, records, exchanged.DOING)  # noqa: E731
    if other := exchanged.exchange(task, outputs, ask):
        metrics.insert(1, _shuffled(other, metrics[0], truth, common, seed))
    if task.config.held_out_templates:
        guess = constant, float(np.mean([t == common for t in truth]))
        metrics.append(_unseen_wording(task, guess))
    return {
        "about": "Text, written greedily.",
        "metrics": metrics,
        "confusion": _confusion(truth, written, labels) if classes else None,
        "samples": _samples(task, truth, written, right),
        "samples_note": "Mistakes first, then the first items of the split.",
        "samples_wide": max(map(len, truth)) > 60,
    }


def calibration_metric(confidence: np.ndarray, right: np.ndarray, seed: int) -> dict[str, Any]:
    """Expected calibration error beside that of taking every answer for certain, and of a model without any.

    confidence, right: of each answer, [N]."""
    by_chance = calibration.calibration_error_by_chance(confidence, seed)
    return metric(
        "calibration error", calibration.calibration_error(confidence, right, None, seed), "%",
        ("every answer taken for certain", float(1 - np.mean(right))),
        ("as often right as it says, by chance alone", by_chance),
        "gap between the probability of the answer and its accuracy, 10 bins", key="calibration",
    )  # fmt: skip


def _wanted(named: Sequence[str], classes: bool) -> set[str]:
    """With the companions that an accuracy and an exact match are not to be read without."""
    wanted = set(named) or ({"accuracy"} if classes else {"exact_match"})
    if "accuracy" in wanted and classes:
        wanted.add("macro_f1")
    if "exact_match" in wanted:
        wanted.add("chrf")
    return wanted


def estimate(name: str, truth: Sequence[str], written: Sequence[str], seed: int) -> Estimate:
    """A named score of texts with its interval, as a share (CIDEr: 0 to 10)."""
    pairs = list(zip(truth, written))
    if name in ("accuracy", "exact_match"):
        return bootstrap.mean(np.array([text.exact_match(t, w) for t, w in pairs]), seed)
    if name == "smiles":
        return bootstrap.mean(np.array([graphs.same_molecule(t, w) for t, w in pairs]), seed)
    if name == "chrf":
        return bootstrap.mean(np.array([text.chrf([t], [w]) for t, w in pairs]) / 100, seed)
    if name == "rouge_l":
        return bootstrap.mean(np.array([text.rouge_l(t, w) for t, w in pairs]), seed)
    if name == "cider":
        return bootstrap.mean(text.cider(truth, written), seed)
    if name == "bleu":
        counts = text.bleu_counts(truth, written)
        return bootstrap.of_sums(counts, lambda sums: text.bleu_of_counts(sums) / 100, seed)
    if name == "macro_f1":
        t, w = np.array(truth), np.array(written)
        score = lambda chosen: classification.macro_f1(t[chosen].tolist(), w[chosen].tolist())  # noqa: E731
        return bootstrap.of_items(len(t), score, seed)
    split = str.split if name == "wer" else list
    errors = np.array([text.edit_distance(split(t), split(w)) for t, w in pairs])
    return bootstrap.ratio(errors, np.array([len(split(t)) for t in truth]), seed)


def write(task: TaskContext, records: Sequence[Mapping[str, Any]], what: str) -> list[Any]:
    """Greedy answers to the task's own questions about `records`."""
    return _write(task, [task.template(i) for i in range(len(records))], records, what)


def _write(
    task: TaskContext,
    templates: Sequence[Template],
    records: Sequence[Mapping[str, Any]],
    what: str,
) -> list[Any]:
    """Greedy answers; room for a little more than the longest training answer."""
    tokenizer = task.predictor.tokenizers[TEXT]
    known = {answer(task.template(i), r) for i, r in enumerate(task.train_records)}
    longest = max(len(ids) for ids in tokenizer.encode_batch(sorted(known)))
    requests = [
        Request(
            prompt=template.inputs,
            fields={
                name: record[name]
                for f in task.input_fields(template)
                for name in (f.name, f.context)
                if name
            },
            to=TEXT,
            max_new_tokens=longest + 4,
            seed=task.settings.seed,
        )
        for template, record in zip(templates, records)
    ]
    return task.ask(requests, what)


def _shuffled(
    other: exchanged.Exchanged,
    first: Mapping[str, Any],
    truth: Sequence[str],
    common: str,
    seed: int,
) -> dict[str, Any]:
    written = [output.value.strip() for output in other.outputs]
    asked, name = [truth[i] for i in other.places], first["key"]
    flat = estimate(name, asked, [common] * len(asked), seed).value
    return other.metric(first, estimate(name, asked, written, seed), flat)


def _auroc(task: TaskContext, truth: list[str], labels: list[str]) -> dict[str, Any]:
    """From the probabilities that the model gives to each known answer, which are scored one by one."""
    count = min(len(truth), max(20, MAX_SCORED * 2 // max(len(labels), 2)))
    places = task.choose(len(truth), count)
    requests = [task.request(i, task.records[i], TEXT) for i in places]
    table = np.zeros((len(places), len(labels)))
    for column, label in enumerate(labels):
        table[:, column] = task.predictor.score_batch(requests, [label] * len(requests))
        task.say(f"{task.name}: scoring answers {column + 1}/{len(labels)}")
    table = np.exp(table - table.max(axis=1, keepdims=True))
    table /= table.sum(axis=1, keepdims=True)
    real = [truth[i] for i in places]
    score = lambda chosen: _macro(real, table, labels, chosen)  # noqa: E731
    found = bootstrap.of_items(len(places), score, task.settings.seed)
    note = "of the probabilities of the known answers" + (
        "" if len(labels) == 2 else ", each class against the rest"
    )
    return metric("AUROC", found, "%", ("chance", 0.5), None, note, key="auroc")


def _macro(truth: list[str], table: np.ndarray, labels: list[str], chosen: np.ndarray) -> float:
    real = [truth[i] for i in chosen]
    if len(set(real)) < 2:
        return float("nan")
    return classification.macro_auroc(real, table[chosen], labels)


def _unseen_wording(task: TaskContext, guess: tuple[str, float]) -> dict[str, Any]:
    held_out = task.config.held_out_templates
    templates = [held_out[i % len(held_out)] for i in range(len(task.records))]
    outputs = _write(task, templates, task.records, "under unseen wording")
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
    chosen = wrong + [i for i in range(len(truth)) if i not in wrong][: SAMPLES - len(wrong)]
    return [
        {
            "item": task.items[i],
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
