"""Probe `instructions`: does the model follow a wording, a task or an example it was not trained on?

Zero-shot: the trained templates beside those held out of training. Few-shot: the same with solved items of
the training split before the question. A task of weight 0 shares its data with others and was never
trained: a held-out task. Every cell twice: as written freely, and when only known answers may be written,
which tells not knowing from not answering. Axes: k examples shown.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unitok.config import Template
from unitok.eval import baselines
from unitok.eval.context import TaskContext, answer
from unitok.eval.probes.findings import Probed, findings, number, table
from unitok.metrics import bootstrap, text
from unitok.predictor import Request
from unitok.sequence import TEXT, fields

SHOTS = (0, 1, 2, 4)
MOST_ITEMS = 200
MOST_CLASSES = 50
COLUMNS = (
    "wording",
    "examples",
    "exact, free",
    "exact, among known answers",
    "always the commonest",
    "items",
)
_FIELD = re.compile(r"(?<!\{)\{(\w+)((?::\w+)?)((?:@\w+)?)\}")


def probe(probed: Probed) -> dict[str, Any] | None:
    """None for a task that does not answer in text."""
    task = probed.task
    if task.kind != "seq2seq" or task.target_modality != TEXT:
        return None
    trained = task.config.weight > 0
    wordings: dict[str, Sequence[Template]] = {
        "trained" if trained else "task never trained": task.config.templates
    }
    if task.config.held_out_templates:
        wordings["held out"] = task.config.held_out_templates
    chosen = task.choose(len(task.records), MOST_ITEMS)
    rows = []
    for name, templates in wordings.items():
        for k in SHOTS:
            rows.append([name, str(k), *_row(task, templates, chosen, k)])
    kind = "trained" if trained else "held out of training (weight 0)"
    about = f"The task is {kind}. Examples are solved items of the training split, drawn anew for each item."
    note = (
        "Free: the greedy answer, compared letter by letter. Among known answers: the decoder is held to the "
        "training split's answers where they are few."
    )
    return findings(about, tables=[table("Zero-shot and few-shot", COLUMNS, rows, note)])


def _row(
    task: TaskContext, templates: Sequence[Template], chosen: Sequence[int], k: int
) -> list[Any]:
    pick = lambda i: templates[i % len(templates)]  # noqa: E731
    truth = [answer(pick(i), task.records[i]) for i in chosen]
    known = [answer(pick(i), r) for i, r in enumerate(task.train_records)]
    tokenizer = task.predictor.tokenizers[TEXT]
    longest = max(len(ids) for ids in tokenizer.encode_batch(sorted(set(known))))
    requests = [few_shot(task, pick(i), task.records[i], i, k, longest + 4) for i in chosen]
    cells = [_exact(task, requests, truth, f"{k} examples shown")]
    choices = sorted(set(known))
    if 2 <= len(choices) <= MOST_CLASSES:
        held = [_held(request, choices) for request in requests]
        cells.append(_exact(task, held, truth, f"{k} examples shown, among known answers"))
    else:
        cells.append(number(None))
    common = baselines.majority(known)
    flat = float(np.mean([t == common for t in truth]))
    return [*cells, number(flat, "%"), str(len(chosen))]


def _exact(task: TaskContext, requests: Sequence[Request], truth: Sequence[str], what: str) -> Any:
    outputs = task.ask(requests, what)
    right = np.array([text.exact_match(t, o.value.strip()) for t, o in zip(truth, outputs)])
    return number(bootstrap.mean(right, task.settings.seed), "%")


def few_shot(
    task: TaskContext, template: Template, record: Mapping[str, Any], item: int, k: int, budget: int
) -> Request:
    """The question after k solved ones: each its inputs, a space, its answer and a line break."""
    prompt, given = "", dict[str, Any]()
    rng = np.random.default_rng([task.settings.seed, 31, item])
    rows = [task.train_records[i] for i in rng.permutation(len(task.train_records))[:k]]
    for number_, row in enumerate([*rows, record]):
        solved = number_ < len(rows)
        prompt += _renamed(template.inputs, number_)
        for field in fields(template.inputs):
            given[f"{field.name}_{number_}"] = row[field.name]
            if field.context is not None:
                given[f"{field.context}_{number_}"] = row[field.context]
        if solved:
            prompt += " " + answer(template, row).replace("{", "{{").replace("}", "}}") + "\n"
    return Request(
        prompt=prompt, fields=given, to=TEXT, max_new_tokens=budget, seed=task.settings.seed
    )


def _renamed(template: str, number: int) -> str:
    """`{image}` as `{image_0:image}`: each shown item's fields have names of their own.

    >>> _renamed("{{a}} {image} {past:series} {x:series@past}", 2)
    '{{a}} {image_2:image} {past_2:series} {x_2:series@past_2}'
    """

    def rename(match: re.Match[str]) -> str:
        name, modality, context = match.groups()
        where = f"{context}_{number}" if context else ""
        return f"{{{name}_{number}{modality or ':' + name}{where}}}"

    return _FIELD.sub(rename, template)


def _held(request: Request, choices: Sequence[str]) -> Request:
    return dataclasses.replace(request, constraints={"choices": list(choices)})
