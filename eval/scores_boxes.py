"""Tasks that answer with labelled boxes: mean average precision as COCO defines it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unitok.eval import baselines, exchanged, figures
from unitok.eval.context import SAMPLES, TaskContext, metric
from unitok.metrics import bootstrap, detection
from unitok.metrics.detection import Detections
from unitok.values import Boxes, Image

NAMES = frozenset(["map", "ap50"])
TITLES = {"map": "mAP 50:95", "ap50": "AP50"}
THRESHOLDS = {"map": detection.IOUS, "ap50": np.array([0.5])}


def score_boxes(task: TaskContext) -> dict[str, Any]:
    """Boxes written greedily; how sure an image's boxes are is the mean log-probability of their tokens."""
    field = task.target_field(task.config.templates[0])
    to = f"{field.modality}@{field.context}" if field.context else field.modality
    tokenizer = task.predictor.tokenizers[field.modality]
    truth = [record[field.name] for record in task.records]
    contexts = [record[field.context] if field.context else None for record in task.records]
    room = task.room()
    ask = lambda records, what: task.ask(  # noqa: E731
        [
            task.request(i, r, to, temperature=0.0, max_new_tokens=room, seed=task.settings.seed)
            for i, r in enumerate(records)
        ],
        what,
    )
    outputs = ask(task.records, "finding boxes")
    rebuilt = [
        tokenizer.decode(tokenizer.encode(t, context=c), context=c) for t, c in zip(truth, contexts)
    ]
    usual = _usual([record[field.name] for record in task.train_records])
    wanted = task.config.metrics or ["map", "ap50"]
    known = sorted({label for boxes in truth for label in boxes.labels})
    real, found = [_detections(t) for t in truth], [_written(o) for o in outputs]
    metrics = []
    for name in (n for n in ("map", "ap50") if n in wanted):
        value = lambda these: detection.mean_average_precision(_matched(name, real, these))  # noqa: B023, E731
        baseline = ("the usual box", value([_detections(usual)] * len(real)))
        bound = ("reconstructions", value([_detections(b) for b in rebuilt]))
        score = _estimate(_matched(name, real, found), task.settings.seed)
        metrics.append(metric(TITLES[name], score, "%", baseline, bound, key=name))
    again = lambda records: ask(records, exchanged.DOING)  # noqa: E731
    if metrics and (other := exchanged.exchange(task, outputs, again)):
        theirs = [_written(output) for output in other.outputs]
        matched = _matched(metrics[0]["key"], [real[i] for i in other.places], theirs)
        metrics.append(other.metric(metrics[0], _estimate(matched, task.settings.seed)))
    return {
        "about": "Boxes, written greedily.",
        "metrics": metrics,
        "confusion": None,
        "samples": [
            _sample(task, i, outputs[i].value, truth[i], contexts[i], known)
            for i in range(min(SAMPLES, len(truth)))
        ],
        "samples_note": "First items of the split.",
        "samples_wide": False,
    }


def _matched(
    name: str, truth: Sequence[Detections], found: Sequence[Detections]
) -> list[detection.Matched]:
    return [detection.match(t, f, THRESHOLDS[name]) for t, f in zip(truth, found)]


def _estimate(images: Sequence[detection.Matched], seed: int) -> bootstrap.Estimate:
    """Resampled by image: what is matched in one does not depend on the others."""
    score = lambda chosen: detection.mean_average_precision([images[i] for i in chosen])  # noqa: E731
    return bootstrap.of_items(len(images), score, seed)


def _detections(boxes: Boxes) -> Detections:
    return Detections(boxes.coords, boxes.labels)


def _written(output: Any) -> Detections:
    sure = output.log_prob / max(len(output.ids), 1)
    boxes = output.value
    return Detections(boxes.coords, boxes.labels, np.full(len(boxes.labels), sure))


def _usual(known: Sequence[Boxes]) -> Boxes:
    """The mean box of the most frequent label."""
    label = baselines.majority([name for boxes in known for name in boxes.labels] or [""])
    same = [
        box for boxes in known for box, name in zip(boxes.coords, boxes.labels) if name == label
    ]
    return Boxes(np.mean(same, axis=0)[None], [label]) if same else Boxes(np.zeros((0, 4)), [])


def _sample(
    task: TaskContext, index: int, made: Boxes, truth: Boxes, context: Any, known: Sequence[str]
) -> dict[str, Any]:
    inputs = task.shown_inputs(task.template(index), task.records[index])
    columns = []
    for name, boxes in (("truth", truth), ("model", made)):
        drawn = isinstance(context, Image)
        part = (
            {"kind": "svg", "svg": figures.boxes_svg(context, boxes, known)}
            if drawn
            else figures.show(boxes)
        )
        columns.append({"name": name, "part": part})
    words = [p for p in inputs if p["kind"] == "text"]
    return {
        "item": task.items[index],
        "inputs": words,
        "columns": columns,
        "text": None,
        "truth": None,
        "right": None,
        "note": "",
    }
