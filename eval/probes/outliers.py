"""Probe `outliers`: does the likelihood of an answer tell that something is wrong with it?

The test items' answers are scored beside answers that do not belong: another item's (does the model look
at the input?), another data set's of the same modality, and the item's own with a quarter of its codes in
another order (which no count of codes can see). Score: nats per token. Likelihoods are known to fail at
this at times (Nalisnick et al. 2019), hence the measurement; the unigram cost stands beside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from unitok import objectives
from unitok.errors import InputError
from unitok.eval import baselines, likelihood
from unitok.eval.context import TaskContext, metric
from unitok.eval.probes.findings import Probed, findings
from unitok.interfaces import Example
from unitok.metrics import bootstrap, calibration
from unitok.sequence import fields

MOST_ITEMS = 200
LEAST = 10  # items a side
SHUFFLED = 0.25
LEAST_CODES = 8  # of an answer, for shuffling to mean anything


def probe(probed: Probed) -> dict[str, Any] | None:
    """None for objectives that ask for parts of an answer only."""
    task = probed.task
    if task.kind != "seq2seq":
        return None
    chosen = task.choose(len(task.records), MOST_ITEMS)
    own = _examples(task, [(i, task.records[i]) for i in chosen])
    strangers = {
        "another item's answer": _mispaired(task, chosen),
        "its codes out of order": _shuffled(task, own),
        **_foreign(probed, chosen),
    }
    strangers = {name: given for name, given in strangers.items() if len(given) >= LEAST}
    if not strangers or len(own) < LEAST:
        return None
    unigram = baselines.Unigram(task.train_examples, task.run.vocabulary)
    inside, flat_inside = _costs(task, own), _flat(unigram, own)
    metrics = []
    for name, given in strangers.items():
        outside, flat_outside = _costs(task, given), _flat(unigram, given)
        low, high = calibration.auroc_interval(inside, outside, probed.seed)
        value = calibration.auroc(inside, outside)
        estimate = bootstrap.Estimate(value, low, high, len(inside) + len(outside))
        flat = calibration.auroc(flat_inside, flat_outside)
        metrics.append(metric(f"AUROC, {name}", estimate, "%", ("unigram cost", flat)))
    about = (
        "How often an answer that does not belong costs more nats a token than one that does: 50 % is "
        "guessing, 100 % a clean separation; below 50 % what is wrong looks likelier than what is right."
    )
    return findings(about, metrics)


def _costs(task: TaskContext, examples: Sequence[Example]) -> np.ndarray:
    model, params = task.predictor.model, task.predictor.params
    return np.array([cost.mean() for cost in likelihood.nats(model, params, examples)])


def _flat(unigram: baselines.Unigram, examples: Sequence[Example]) -> np.ndarray:
    return np.array([unigram.nats(example).mean() for example in examples])


def _examples(task: TaskContext, pairs: Sequence[tuple[int, Any]]) -> list[Example]:
    """Examples of (item, record); a value that this task's tokenizer refuses is left out."""
    build = objectives.build(task.config.objective, task.run.vocabulary)
    rng, made = np.random.default_rng(task.settings.seed), []
    for index, record in pairs:
        try:
            made.append(build(*task.pair(index, record), rng))
        except (InputError, ValueError, TypeError, AttributeError):
            continue
    return made


def _mispaired(task: TaskContext, chosen: Sequence[int]) -> list[Example]:
    """Each item's inputs with the answer of the next item that answers otherwise."""
    if not task.input_fields(task.template(0)):
        return []
    examples = _examples(task, [(i, task.records[i]) for i in chosen])
    order = np.random.default_rng([task.settings.seed, 7]).permutation(len(examples)).tolist()
    out = []
    for place, index in enumerate(order):
        mine = examples[index]
        others = (examples[order[(place + step) % len(order)]] for step in range(1, len(order)))
        other = next((e for e in others if e.labels.tolist() != mine.labels.tolist()), None)
        if other is not None:
            out.append(dataclasses.replace(other, inputs=mine.inputs))
    return out


def _shuffled(task: TaskContext, own: Sequence[Example]) -> list[Example]:
    """A quarter of the answer's codes change places among themselves."""
    vocabulary = task.run.vocabulary
    firsts = np.array([b.first_code if b.marks else vocabulary.size for b in vocabulary.blocks])
    rng, out = np.random.default_rng([task.settings.seed, 9]), []
    for example in own:
        labels = example.labels.copy()
        codes = np.flatnonzero(labels >= firsts[vocabulary.modality_of(labels)])
        if len(codes) < LEAST_CODES:
            continue
        moved = rng.permutation(codes)[: max(2, round(SHUFFLED * len(codes)))]
        labels[moved] = labels[np.roll(moved, 1)]
        if (labels == example.labels).all():
            continue
        fed = dataclasses.replace(
            example.decoder_inputs,
            ids=np.concatenate([example.decoder_inputs.ids[:1], labels[:-1]]),
        )
        out.append(dataclasses.replace(example, decoder_inputs=fed, labels=labels))
    return out


def _foreign(probed: Probed, chosen: Sequence[int]) -> dict[str, list[Example]]:
    """Per other source with values of the target's modality: these items' inputs, that source's values."""
    task, found = probed.task, dict[str, list[Example]]()
    targets = fields(task.template(0).targets)
    if not targets:
        return {}
    target = targets[0]
    for other in probed.tasks:
        name = other.config.source
        if name == task.config.source or f"an answer from {name}" in found:
            continue
        field = next(
            (
                f
                for t in other.config.templates
                for f in fields(t.inputs) + fields(t.targets)
                if f.modality == target.modality and f.context is None
            ),
            None,
        )
        if field is None:
            continue
        pairs = [
            (i, {**task.records[i], target.name: other.records[k % len(other.records)][field.name]})
            for k, i in enumerate(chosen)
        ]
        found[f"an answer from {name}"] = _examples(task, pairs)
    return found
