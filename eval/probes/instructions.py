"""Probe `instructions`: does the model follow a wording, a task or an example it was not trained on?

Zero-shot: the trained templates beside those held out of training. Few-shot: the same with solved items of
the training split before the question. A task of weight 0 shares its data with others and was never
trained: a held-out task. Every cell twice: as written freely, and when only known answers may be written,
which tells not knowing from not answering. Axes: k examples shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unitok import shots
from unitok.config import Template
from unitok.eval import baselines
from unitok.eval.answers import classes
from unitok.eval.context import TaskContext, answer, metric
from unitok.eval.probes.findings import Probed, findings, number, table
from unitok.metrics import bootstrap, text
from unitok.metrics.bootstrap import Estimate
from unitok.predictor import Request
from unitok.sequence import TEXT, fields

SHOTS = (0, 1, 2, 4)
MOST_ITEMS = 200
NEVER = "task never trained"
COLUMNS = (
    "wording",
    "examples",
    "exact, free",
    "exact, among known answers",
    "always the commonest",
    "items",
)


def probe(probed: Probed) -> dict[str, Any] | None:
    """None for a task that does not answer in text."""
    task = probed.task
    if task.kind != "seq2seq" or task.target_modality != TEXT:
        return None
    trained = task.config.weight > 0
    wordings: dict[str, Sequence[Template]] = {
        "trained" if trained else NEVER: task.config.templates
    }
    if task.config.held_out_templates:
        wordings["held out"] = task.config.held_out_templates
    chosen = task.choose(len(task.records), MOST_ITEMS)
    rows, metrics = [], []
    for name, templates in wordings.items():
        for k in SHOTS:
            free, held, flat = _scores(task, templates, chosen, k)
            rows.append(
                [
                    name,
                    str(k),
                    number(free, "%"),
                    number(held, "%"),
                    number(flat, "%"),
                    str(len(chosen)),
                ]
            )
            what = f"exact {_shown(k)}, {name if name == NEVER else f'wording {name}'}"
            base = ("always the commonest", flat)
            if k in (min(SHOTS), max(SHOTS)):
                metrics.append(metric(what, free, "%", base))
                if held is not None:
                    metrics.append(metric(f"{what}, among known answers", held, "%", base))
    kind = "trained" if trained else "held out of training (weight 0)"
    about = f"The task is {kind}. Examples are solved items of the training split, drawn anew for each item."
    note = (
        "Free: the greedy answer, compared letter by letter. Among known answers: the decoder is held to the "
        "training split's answers where they are few."
    )
    return findings(about, metrics, [table("Zero-shot and few-shot", COLUMNS, rows, note)])


def _shown(k: int) -> str:
    return "zero-shot" if k == 0 else f"after {k} example{'s' if k > 1 else ''}"


def _scores(
    task: TaskContext, templates: Sequence[Template], chosen: Sequence[int], k: int
) -> tuple[Estimate, Estimate | None, float]:
    """Exact answers written freely, those among the known ones (None where these are too many), and those of
    the commonest answer to everything."""
    pick = lambda i: templates[i % len(templates)]  # noqa: E731
    truth = [answer(pick(i), task.records[i]) for i in chosen]
    known = [answer(pick(i), r) for i, r in enumerate(task.train_records)]
    tokenizer = task.predictor.tokenizers[TEXT]
    longest = max(len(ids) for ids in tokenizer.encode_batch(sorted(set(known))))
    requests = [few_shot(task, pick(i), task.records[i], i, k, longest + 4) for i in chosen]
    free, held = _exact(task, requests, truth, f"{k} examples shown"), None
    choices = classes(known)
    if len(choices) >= 2:
        asked = [_held(request, choices) for request in requests]
        held = _exact(task, asked, truth, f"{k} examples shown, among known answers")
    common = baselines.majority(known)
    return free, held, float(np.mean([t == common for t in truth]))


def _exact(
    task: TaskContext, requests: Sequence[Request], truth: Sequence[str], what: str
) -> Estimate:
    outputs = task.ask(requests, what)
    right = np.array([text.exact_match(t, o.value.strip()) for t, o in zip(truth, outputs)])
    return bootstrap.mean(right, task.settings.seed)


def few_shot(
    task: TaskContext, template: Template, record: Mapping[str, Any], item: int, k: int, budget: int
) -> Request:
    """The question after k solved ones of the training split."""
    rng = np.random.default_rng([task.settings.seed, 31, item])
    rows = [task.train_records[i] for i in rng.permutation(len(task.train_records))[:k]]
    asked, given = shots.few_shot(template, rows, record)
    shown = {name for field in fields(asked.inputs) for name in (field.name, field.context)}
    given = {name: value for name, value in given.items() if name in shown}
    return Request(
        prompt=asked.inputs, fields=given, to=TEXT, max_new_tokens=budget, seed=task.settings.seed
    )


def _held(request: Request, choices: Sequence[str]) -> Request:
    return dataclasses.replace(request, constraints={"choices": list(choices)})
