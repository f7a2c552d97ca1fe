"""What a task's truth costs the model: bits per token by modality, beside the unigram's; nothing is generated."""

from __future__ import annotations

from typing import Any

import numpy as np

from unitok.eval import baselines, figures, likelihood
from unitok.eval.context import SAMPLES, TaskContext, metric
from unitok.interfaces import Example
from unitok.metrics import bootstrap
from unitok.sequence import TEXT


def bits(task: TaskContext) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Bits per token by modality of the label, with the unigram cost beside; and nats example by example."""
    say = lambda done, total: task.say(f"{task.name}: scoring answers {done}/{total} rows")  # noqa: E731
    model, params = task.predictor.model, task.predictor.params
    costs = likelihood.nats(model, params, task.examples, say)
    unigram = baselines.Unigram(task.train_examples, task.run.vocabulary)
    flat = [unigram.nats(example) for example in task.examples]
    names = task.run.vocabulary.names
    places = [_label_modality(task, example) for example in task.examples]
    found = {}
    for index in sorted({int(m) for place in places for m in place}):
        masks = [place == index for place in places]
        counts = np.array([mask.sum() for mask in masks])
        nats = np.array([cost[mask].sum() for cost, mask in zip(costs, masks)])
        other = sum(float(cost[mask].sum()) for cost, mask in zip(flat, masks))
        per_token = bootstrap.ratio(nats / np.log(2), counts, task.settings.seed)
        bytes_asked = _bytes(task) if names[index] == TEXT else 0
        found[names[index]] = {
            "value": per_token.value, "low": per_token.low, "high": per_token.high,
            "nats": float(nats.sum() / counts.sum()),
            "unigram": other / np.log(2) / float(counts.sum()),
            "tokens": int(counts.sum()),
            "bits_per_byte": float(nats.sum() / np.log(2) / bytes_asked) if bytes_asked else None,
        }  # fmt: skip
    return found, costs


def _label_modality(task: TaskContext, example: Example) -> np.ndarray:
    """Modality id of each asked label: the target's where there is one, else the label's own block."""
    asked = example.labels[example.weights > 0]
    if example.target_modality:
        return np.full(len(asked), example.target_modality)
    return task.run.vocabulary.modality_of(asked)


def _bytes(task: TaskContext) -> int:
    """UTF-8 bytes of all text that the labels ask for."""
    total = 0
    for example in task.examples:
        for segment in task.predictor.composer.parse(example.labels):
            if segment.modality == TEXT and segment.value is not None:
                total += len(segment.value.encode())
    return total


def score_bits(task: TaskContext, costs: list[np.ndarray]) -> dict[str, Any]:
    """No answer is generated: the cost of the truth is the score."""
    unigram = baselines.Unigram(task.train_examples, task.run.vocabulary)
    flat = [unigram.nats(example) / np.log(2) for example in task.examples]
    counts = np.array([len(cost) for cost in costs])
    bits = np.array([cost.sum() for cost in costs]) / np.log(2)
    estimate = bootstrap.ratio(bits, counts, task.settings.seed)
    baseline = ("unigram", float(sum(map(np.sum, flat)) / counts.sum()))
    samples = []
    for i in range(min(SAMPLES // 2, len(task.examples))):
        example = task.examples[i]
        columns = [
            {"name": "read", "part": figures.show(_readable(task, example.inputs.ids))},
            {
                "name": "asked",
                "part": figures.show(_readable(task, example.labels[example.weights > 0])),
            },
        ]
        note = f"{bits[i] / max(counts[i], 1):.2f} bits a token"
        samples.append(
            {
                "item": task.items[i],
                "inputs": [],
                "columns": columns,
                "text": None,
                "truth": None,
                "right": None,
                "note": note,
            }
        )
    return {
        "about": f"The truth is scored, nothing is generated ({task.kind.replace('_', ' ')}).",
        "metrics": [metric("bits per token", estimate, "bits", baseline, key="bits")],
        "confusion": None,
        "samples": samples,
        "samples_note": "What the encoder reads and what the decoder is asked; ⟨0⟩, ⟨1⟩ … stand for masked spans.",
        "samples_wide": True,
    }


def _readable(task: TaskContext, ids: np.ndarray) -> str:
    out = []
    for segment in task.predictor.composer.parse(ids):
        if segment.modality == "sentinel":
            out.append(f" ⟨{segment.value}⟩ ")
        elif segment.modality == TEXT and segment.value is not None:
            out.append(segment.value)
        elif segment.modality != "special":
            out.append(f" [{segment.modality}, {len(segment.ids)} tokens] ")
    return "".join(out).strip()
