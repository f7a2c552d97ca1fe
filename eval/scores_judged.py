"""Values generated for a label (images, sounds, series) and read by a judge that was trained on real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unitok.errors import InputError
from unitok.eval import baselines, exchanged, figures, judge
from unitok.eval.context import SAMPLES, TaskContext, metric
from unitok.metrics import bootstrap, frechet
from unitok.metrics.classification import confusion_matrix
from unitok.predictor import Request
from unitok.sequence import TEXT, as_text

NAMES = frozenset(["judge", "frechet"])
JUDGED = ("image", "audio", "series")  # modalities that the judge can look at
FEATURES = 500  # values of each set whose features are compared, at the most
NOUNS = {"image": "images", "audio": "sounds", "series": "series"}


def suits(task: TaskContext, wanted: set[str]) -> bool:
    """Asked for, or (no metrics named) an image or a sound from one short text alone."""
    if task.target_modality not in JUDGED:
        return False
    if "judge" in wanted:
        if _label_field(task) is None:
            raise InputError(
                f"tasks.{task.name}.metrics: 'judge' needs the label: inputs with one text field, or "
                'shows={"judge": FIELD} of the task; use another metric, or another template'
            )
        return True
    fields = task.input_fields(task.config.templates[0])
    alone = len(fields) == 1 and fields[0].modality == TEXT
    by_default = not wanted or wanted == {"frechet"}
    return by_default and alone and task.target_modality in ("image", "audio")


def _label_field(task: TaskContext) -> str | None:
    """The field that says what is to be seen: named by `shows`, or the one text field of the inputs."""
    if "judge" in task.config.shows:
        return task.config.shows["judge"]
    texts = [f.name for f in task.input_fields(task.config.templates[0]) if f.modality == TEXT]
    return texts[0] if len(texts) == 1 else None


def score_judged(task: TaskContext, judges: dict[Any, Any]) -> dict[str, Any]:
    """Share of generated values that the judge recognises as what was asked for. judges: kept from task to task."""
    field = task.target_field(task.config.templates[0]).name
    label_field = _label_field(task) or ""
    modality = task.target_modality
    reader, pool = _judge(task, field, label_field, judges)
    truth = [as_text(record[label_field]) for record in task.records]
    real = [record[field] for record in task.records]
    tokenizer = task.predictor.tokenizers[modality]
    rebuilt = tokenizer.decode_batch(tokenizer.encode_batch(real))
    made = _generate(task, task.records)

    read = reader.recognise(made)
    agree = lambda words: np.array([float(a == b) for a, b in zip(truth, words)])  # noqa: E731
    bound, own = agree(reader.recognise(rebuilt)).mean(), agree(reader.recognise(real)).mean()
    common = baselines.majority(truth)
    settings = f"{task.sampled}, guidance {task.guidance:g}"
    what = NOUNS[modality]
    note = f"{settings}; the judge, a CNN trained on real {what}, reads {100 * own:.1f} % of the real test {what}"
    chance = ("one class for all", float(np.mean([t == common for t in truth])))
    found = [
        metric(
            "recognised by the judge", bootstrap.mean(agree(read), task.settings.seed), "%", chance,
            ("reconstructions", float(bound)), note, key="judge",
        )
    ]  # fmt: skip
    ask = lambda records: _generate(task, records, exchanged.DOING)  # noqa: E731
    if other := exchanged.exchange(task, made, ask):
        hits = [
            float(truth[i] == word)
            for i, word in zip(other.places, reader.recognise(other.outputs))
        ]
        found.append(other.metric(found[0], bootstrap.mean(np.array(hits), task.settings.seed)))
    if "frechet" in task.config.metrics:
        found.append(_frechet(task, modality, real, made, rebuilt, pool))
    index, distance = judge.nearest(made, pool, reader.size)
    _, usual = judge.nearest(real, pool, reader.size)
    median, real_median = float(np.median(distance)), float(np.median(usual))
    return {
        "about": f"{what.capitalize()}, {settings}.",
        "metrics": found,
        "judge_accuracy": float(own),
        "nearest_distance": {"drawn": median, "real": real_median},
        "confusion": _read_as(truth, read, list(reader.labels)),
        "samples": _samples(task, made, read, truth, pool, index, distance),
        "samples_note": (
            f"Beside each the nearest training item, by what the judge looks at. Median distance to it (RMS, of 255): "
            f"generated {median:.1f}, real test {what} {real_median:.1f}; "
            "a model that had learned them by heart would come out near 0."
        ),
        "samples_wide": modality != "image",
    }  # fmt: skip


def _generate(
    task: TaskContext, records: Sequence[Mapping[str, Any]], what: str = "drawing"
) -> list[Any]:
    room = task.room()
    requests: list[Request] = [
        task.request(
            i, record, task.target_modality, seed=task.settings.seed + i, max_new_tokens=room,
            guidance=task.guidance, **task.sampling,
        )
        for i, record in enumerate(records)
    ]  # fmt: skip
    return [output.value for output in task.ask(requests, what)]


def _frechet(
    task: TaskContext, modality: str, real: list[Any], made: list[Any], rebuilt: list[Any], pool: list[Any]
) -> dict[str, Any]:  # fmt: skip
    """Features: the model's own pooled encoder output for the value alone."""
    count = min(FEATURES, len(real), len(pool))

    def features(values: Sequence[Any]) -> np.ndarray:
        prompt = f"{{value:{modality}}}"
        requests = [Request(prompt=prompt, fields={"value": v}) for v in values[:count]]
        return task.predictor.embed_batch(requests)

    to, known = features(real), features(pool)
    task.say(f"{task.name}: features of {count} values")
    usual = (
        np.square(known - known.mean(axis=0)).sum(axis=1).argmin()
    )  # the training value nearest to their mean
    distance = lambda these: frechet.frechet_distance(these, to)  # noqa: E731
    note = (
        f"squared, of the model's own encoder features; sets of {count}; training values come to "
        f"{distance(known):.3g}"
    )
    return metric(
        "Fréchet distance", frechet.frechet_estimate(features(made), to, task.settings.seed), "",
        ("one training value for all", distance(np.repeat(known[[usual]], count, axis=0))),
        ("reconstructions", distance(features(rebuilt))), note, key="frechet",
    )  # fmt: skip


def _judge(
    task: TaskContext, field: str, label_field: str, judges: dict[Any, Any]
) -> tuple[judge.Judge, list[Any]]:
    key = (task.config.source, task.config.train_split, field, label_field)
    if key not in judges:
        pool, rows = task.train_values(field)

        def say(step: int, steps: int) -> None:
            if step % 100 == 0 or step == steps:
                task.say(f"{task.name}: training the judge {step}/{steps}")

        labels = [as_text(row[label_field]) for row in rows]
        judges[key] = judge.train_judge(pool, labels, task.settings.seed, progress=say), pool
    return judges[key]


def _read_as(truth: list[str], read: list[str], labels: list[str]) -> dict[str, Any] | None:
    if not 2 <= len(labels) <= 30 or not set(truth) <= set(labels):
        return None
    matrix = confusion_matrix(truth, read, labels).tolist()
    note = "Rows are what was asked for, columns what the judge read."
    return {"labels": labels, "matrix": matrix, "other": False, "note": note}


def _samples(
    task: TaskContext, made: list[Any], read: list[str], truth: list[str], pool: list[Any],
    index: np.ndarray, distance: np.ndarray,
) -> list[dict[str, Any]]:  # fmt: skip
    """Two of each class (sounds and series: one), in the order of the split."""
    many = task.target_modality == "image"
    chosen: list[int] = []
    for label in sorted(set(truth)):
        chosen += [i for i, t in enumerate(truth) if t == label][: 2 if many else 1]
    return [
        {
            "item": task.items[i],
"inputs": task.shown_inputs(task.template(i), task.records[i]),
            "columns": [
                {"name": "generated", "part": figures.show(made[i])},
                {"name": f"nearest, {distance[i]:.0f}", "part": figures.show(pool[index[i]])},
            ],
            "text": f"read as {read[i]}", "truth": None, "right": read[i] == truth[i], "note": "",
        }
        for i in chosen[: 2 * SAMPLES if many else SAMPLES // 2]
    ]  # fmt: skip
