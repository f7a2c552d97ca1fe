"""Tasks that answer with a sound or a series of so many events: how many there are is counted by rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unitok.errors import InputError
from unitok.eval import baselines, exchanged, figures
from unitok.eval.context import SAMPLES, TaskContext, metric
from unitok.metrics import bootstrap
from unitok.metrics.counting import count_bursts, count_spikes
from unitok.values import Audio, Series

NAMES = frozenset(["count"])


def score_count(task: TaskContext) -> dict[str, Any]:
    """Share of values that hold as many events as the record says; beside the most frequent number, and what is
    counted in reconstructions of the truth."""
    name = task.config.shows.get("count")
    if name is None:
        raise InputError(
            f"tasks.{task.name}.metrics: 'count' needs the field that says how many: shows={{\"count\": FIELD}}"
        )
    field = task.target_field(task.config.templates[0])
    truth = np.array([int(record[name]) for record in task.records])
    tokenizer = task.predictor.tokenizers[field.modality]
    rebuilt = tokenizer.decode_batch(
        tokenizer.encode_batch([record[field.name] for record in task.records])
    )
    made = _write(task, task.records, "writing")
    right = counted(made) == truth
    common = int(baselines.majority([str(n) for n in truth]))
    guess = (f"always {common}", float(np.mean(truth == common)))
    bound = ("reconstructions", float(np.mean(counted(rebuilt) == truth)))
    seed = task.settings.seed
    found = [
        metric("as many as asked for", bootstrap.mean(right.astype(float), seed), "%", guess, bound, key="count")
    ]  # fmt: skip
    ask = lambda records: _write(task, records, exchanged.DOING)  # noqa: E731
    if other := exchanged.exchange(task, made, ask):
        hits = counted(other.outputs) == truth[other.places]
        found.append(other.metric(found[0], bootstrap.mean(hits.astype(float), seed)))
    numbers = counted(made)
    return {
        "about": f"{task.sampled.capitalize()}; what is counted are bursts of sound, or spikes of a curve.",
        "metrics": found,
        "confusion": None,
        "samples": [
            {
                "item": task.items[i],
"inputs": task.shown_inputs(task.template(i), task.records[i]),
                "columns": [{"name": "generated", "part": figures.show(made[i])}],
                "text": f"{numbers[i]} counted", "truth": str(truth[i]), "right": bool(right[i]), "note": "",
            }
            for i in range(min(SAMPLES // 2, len(made)))
        ],
        "samples_note": "First items of the split.",
        "samples_wide": True,
    }  # fmt: skip


def counted(values: Sequence[Any]) -> np.ndarray:
    """Events in each sound or series (its first channel), int [N]; -1 where there is no value."""
    return np.array(
        [
            count_bursts(value.samples, value.rate) if isinstance(value, Audio)
            else count_spikes(value.values[:, 0]) if isinstance(value, Series)
            else -1
            for value in values
        ]
    )  # fmt: skip


def _write(task: TaskContext, records: Sequence[Any], what: str) -> list[Any]:
    modality = task.target_modality
    requests = [
        task.request(
            i, record, modality, seed=task.settings.seed + i, max_new_tokens=task.room(),
            guidance=task.guidance, **task.sampling,
        )
        for i, record in enumerate(records)
    ]  # fmt: skip
    return [output.value for output in task.ask(requests, what)]
