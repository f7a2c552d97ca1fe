"""Tasks that choose among known answers: the model's probability of each, item by item.

Every candidate is scored as a whole text; normalised over the candidates, that is p(answer | it is one of
them). Axes: N items, K candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from unitok.config import Template
from unitok.eval.answers import classes
from unitok.eval.context import TaskContext, answer
from unitok.eval.probes.findings import Probed
from unitok.metrics import calibration
from unitok.predictor import Request
from unitok.sequence import TEXT, Codes

MOST_ROWS = 20_000  # answers scored, items times candidates: of many candidates, fewer items
CHUNK = 1024  # answers between two lines of progress


@dataclass(frozen=True)
class Labelled:
    """log_probs_NK: of each candidate under the text block's mask, -inf past an item's own candidates;
    truth_N: index of the right one; mass_N: probability that the answer is any candidate at all."""

    log_probs_NK: np.ndarray
    truth_N: np.ndarray
    mass_N: np.ndarray

    @property
    def probs_NK(self) -> np.ndarray:
        return calibration.probabilities(self.log_probs_NK)

    @property
    def confidence_N(self) -> np.ndarray:
        return self.probs_NK.max(axis=1)

    @property
    def correct_N(self) -> np.ndarray:
        return self.log_probs_NK.argmax(axis=1) == self.truth_N


def candidates(task: TaskContext) -> dict[Template, list[str]]:
    """The training answers of each template, where they are classes; {} for a task that is no classification."""
    if task.kind != "seq2seq" or task.target_modality != TEXT:
        return {}
    found = {}
    for template in task.config.templates:
        known = classes([answer(template, record) for record in task.train_records])
        if len(known) < 2:
            return {}
        found[template] = known
    return found


def label_scores(probed: Probed) -> Labelled | None:
    """Of the task's test items, once an evaluation; None where it is no classification."""
    key = ("labels", probed.task.name)
    if key not in probed.memory:
        probed.memory[key] = _score(probed.task)
    return probed.memory[key]


def _score(task: TaskContext) -> Labelled | None:
    known = candidates(task)
    if not known:
        return None
    width = max(map(len, known.values()))
    usable = _usable(task, known, max(MOST_ROWS // width, 2))
    if len(usable) < 2:
        return None
    requests: list[Request] = []
    answers: list[str] = []
    owners: list[tuple[int, int]] = []
    for row, index in enumerate(usable):
        template = task.template(index)
        fields = encoded(task, template, task.records[index])
        for column, text in enumerate(known[template]):
            requests.append(Request(prompt=template.inputs, fields=fields, to=TEXT))
            answers.append(text)
            owners.append((row, column))
    log_probs_NK = np.full((len(usable), width), -np.inf)
    for start in range(0, len(requests), CHUNK):
        part = slice(start, start + CHUNK)
        scores = task.predictor.score_batch(requests[part], answers[part])
        rows, columns = zip(*owners[part])
        log_probs_NK[rows, columns] = scores
        task.say(
            f"{task.name}: scoring candidates {min(start + CHUNK, len(requests))}/{len(requests)}"
        )
    truth_N = [
        known[task.template(i)].index(answer(task.template(i), task.records[i])) for i in usable
    ]
    mass_N = np.exp(logsumexp(log_probs_NK, axis=1))
    return Labelled(log_probs_NK, np.array(truth_N), mass_N)


def _usable(task: TaskContext, known: Mapping[Template, Sequence[str]], most: int) -> list[int]:
    """Items whose answer the training split knows; a fixed choice where they are too many."""
    found = [
        i for i, record in enumerate(task.records)
        if answer(task.template(i), record) in known[task.template(i)]
    ]  # fmt: skip
    return [found[i] for i in task.choose(len(found), most)]


def encoded(task: TaskContext, template: Template, record: Mapping[str, Any]) -> dict[str, Any]:
    """The input fields' values, tokenized once for all candidates; text as it is."""
    found: dict[str, Any] = {}
    for field in task.input_fields(template):
        value = record[field.name]
        if field.modality == TEXT or field.context is not None:
            found[field.name] = value
        else:
            found[field.name] = Codes(task.predictor.tokenizers[field.modality].encode(value))
        if field.context is not None:
            found[field.context] = record[field.context]
    return found
