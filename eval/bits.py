"""What a task's truth costs the model: bits per token by modality, bits per byte of text, beside the unigram's;
nothing is generated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from unitok.eval import baselines, figures, likelihood
from unitok.eval.context import SAMPLES, TaskContext, metric
from unitok.interfaces import Example
from unitok.metrics import bootstrap, text
from unitok.sequence import TEXT


def bits(task: TaskContext) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Bits per token by modality of the label, with the unigram cost beside; and nats example by example.

    parts: of each item, nats and tokens of the modality, [N, 2].
    """
    say = lambda done, total: task.say(f"{task.name}: scoring answers {done}/{total} rows")  # noqa: E731
    model, params = task.predictor.model, task.predictor.params
    costs = likelihood.nats(model, params, task.examples, say)
    unigram = baselines.Unigram(task.train_examples, task.run.vocabulary)
    flat = [unigram.nats(example) for example in task.examples]
    names, texts = task.run.vocabulary.names, _texts(task)
    bytes_N = np.array([len(one.encode()) for one in texts])
    places = [_label_modality(task, example) for example in task.examples]
    found = {}
    for index in sorted({int(m) for place in places for m in place}):
        masks = [place == index for place in places]
        counts = np.array([mask.sum() for mask in masks])
        nats = np.array([cost[mask].sum() for cost, mask in zip(costs, masks)])
        other = sum(float(cost[mask].sum()) for cost, mask in zip(flat, masks))
        per_token = bootstrap.ratio(nats / np.log(2), counts, task.settings.seed)
        per_byte = None
        if names[index] == TEXT and bytes_N.any():
            per_byte = bootstrap.ratio(nats / np.log(2), bytes_N, task.settings.seed).value
        found[names[index]] = {
            "value": per_token.value, "low": per_token.low, "high": per_token.high,
            "nats": float(nats.sum() / counts.sum()),
            "unigram": other / np.log(2) / float(counts.sum()),
            "tokens": int(counts.sum()),
            "bits_per_byte": per_byte,
            "parts": np.stack([nats, counts], axis=1).tolist(),
        }  # fmt: skip
    return found, costs


def _label_modality(task: TaskContext, example: Example) -> np.ndarray:
    """Modality id of each asked label: the target's where there is one, else the label's own block."""
    asked = example.labels[example.weights > 0]
    if example.target_modality:
        return np.full(len(asked), example.target_modality)
    return task.run.vocabulary.modality_of(asked)


def _texts(task: TaskContext) -> list[str]:
    """The text that the labels of each item ask for; "" where they ask for none."""
    return [
        "".join(
            segment.value
            for segment in task.predictor.composer.parse(example.labels)
            if segment.modality == TEXT and segment.value is not None
        )
        for example in task.examples
    ]


def by_modality(tasks: Mapping[str, Mapping[str, Any]], seed: int) -> dict[str, dict[str, Any]]:
    """Modality -> NLL of all tasks' answers together, nats per token: over all tokens, and as the mean of tasks.

    tasks: results, whose `bits` hold the parts. Items are resampled within their task.
    """
    found: dict[str, dict[str, Any]] = {}
    names = list(dict.fromkeys(name for task in tasks.values() for name in task["bits"]))
    for name in names:
        costs = {t: task["bits"][name] for t, task in tasks.items() if name in task["bits"]}
        strata = [np.array(b["parts"]) for b in costs.values()]
        pooled = bootstrap.of_strata(strata, lambda s: float(s[:, 0].sum() / s[:, 1].sum()), seed)
        each = bootstrap.of_strata(strata, lambda s: float((s[:, 0] / s[:, 1]).mean()), seed)
        tokens = {t: b["tokens"] for t, b in costs.items()}
        flat = sum(b["unigram"] * b["tokens"] for b in costs.values()) * np.log(2)
        found[name] = {
            "value": pooled.value, "low": pooled.low, "high": pooled.high,
            "mean": {"value": each.value, "low": each.low, "high": each.high},
            "unigram": float(flat / sum(tokens.values())), "tokens": sum(tokens.values()),
            "items": pooled.items, "tasks": {t: b["nats"] for t, b in costs.items()},
        }  # fmt: skip
    return found


def score_bits(task: TaskContext, costs: list[np.ndarray]) -> dict[str, Any]:
    """No answer is generated: the cost of the truth is the score. Of text by byte too, all that its labels cost,
    ends and marks included."""
    unigram = baselines.Unigram(task.train_examples, task.run.vocabulary)
    flat = float(sum(unigram.nats(example).sum() for example in task.examples))
    counts = np.array([len(cost) for cost in costs])
    bits = np.array([cost.sum() for cost in costs]) / np.log(2)
    wanted, seed, texts = task.config.metrics, task.settings.seed, _texts(task)
    found = []
    if "bits" in wanted or "bits_per_byte" not in wanted:
        estimate = bootstrap.ratio(bits, counts, seed)
        baseline = ("unigram", flat / np.log(2) / float(counts.sum()))
        found.append(metric("bits per token", estimate, "bits", baseline, key="bits"))
    if task.target_modality == TEXT and any(texts):
        estimate = bootstrap.ratio(bits, np.array([len(one.encode()) for one in texts]), seed)
        baseline = ("unigram", text.bits_per_byte(flat, "".join(texts)))
        found.append(metric("bits per byte", estimate, "bits", baseline, key="bits_per_byte"))
    if wanted[:1] == ["bits_per_byte"]:
        found.reverse()  # the first score is the one that stands for the task
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
        "metrics": found,
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
