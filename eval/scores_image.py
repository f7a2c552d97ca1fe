"""Tasks that answer with an image: drawn from a label and read by a judge, or compared pixel by pixel."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from unitok import grammar, objectives
from unitok.eval import baselines, completion, figures, judge
from unitok.eval.context import SAMPLES, TaskContext, metric
from unitok.metrics import bootstrap, images
from unitok.metrics.classification import confusion_matrix
from unitok.predictor import Request
from unitok.sequence import TEXT, as_text
from unitok.values import Image
from unitok.vocabulary import EOS

EXACT_DB = 99.0  # an image without any error counts as this


def score_drawing(task: TaskContext, judges: dict[Any, Any]) -> dict[str, Any]:
    """Images drawn from a label, read by a small network trained on real images. judges: kept from task to task."""
    template = task.config.templates[0]
    image_field = task.target_field(template).name
    label_field = next(f.name for f in task.input_fields(template) if f.modality == TEXT)
    reader, pool = _judge(task, image_field, label_field, judges)
    truth = [as_text(record[label_field]) for record in task.records]
    real = [record[image_field] for record in task.records]
    tokenizer = task.predictor.tokenizers["image"]
    rebuilt = tokenizer.decode_batch(tokenizer.encode_batch(real))
    drawn = _draw(task)

    right = np.array([float(a == b) for a, b in zip(truth, reader.recognise(drawn))])
    bound = np.mean([a == b for a, b in zip(truth, reader.recognise(rebuilt))])
    own = np.mean([a == b for a, b in zip(truth, reader.recognise(real))])
    common = baselines.majority(truth)
    settings = f"sampled at temperature {task.settings.temperature:g}, guidance {_guidance(task):g}"
    note = f"{settings}; the judge, a CNN trained on real images, reads {100 * own:.1f} % of the real test images"
    found = metric(
        "recognised by the judge", bootstrap.mean(right, task.settings.seed), "%",
        ("one class for all", float(np.mean([t == common for t in truth]))),
        ("reconstructions", float(bound)), note,
    )  # fmt: skip
    index, distance = judge.nearest(drawn, pool, reader.size)
    _, usual = judge.nearest(real, pool, reader.size)
    return {
        "about": f"Images, {settings}.",
        "metrics": [found],
        "judge_accuracy": float(own),
        "nearest_distance": {"drawn": float(np.median(distance)), "real": float(np.median(usual))},
        "confusion": _read_as(truth, reader.recognise(drawn), list(reader.labels)),
        "samples": _drawing_samples(task, drawn, reader, truth, pool, index, distance),
        "samples_note": (
            "Beside each drawing the nearest training image, by pixels. Median distance to it (RMS, of 255): "
            f"drawings {np.median(distance):.1f}, real test images {np.median(usual):.1f}; "
            "a model that had learned images by heart would come out near 0."
        ),
        "samples_wide": False,
    }


def score_pixels(task: TaskContext) -> dict[str, Any]:
    """PSNR against the true image: of completions (prefix objective), or of whole images (sequence to sequence)."""
    field = task.target_field(task.config.templates[0]).name
    real = [record[field] for record in task.records]
    tokenizer = task.predictor.tokenizers["image"]
    codes = tokenizer.encode_batch(real)
    rebuilt = tokenizer.decode_batch(codes)
    known = tokenizer.encode_batch([record[field] for record in task.train_records])
    common = baselines.frequent_codes(known)
    if task.kind == "prefix":
        made, cuts = _complete(task, codes)
        about = "Images, completed greedily from the first half of their tokens."
    else:
        made, cuts = _redraw(task, real), [0] * len(real)
        about = "Images, written greedily, compared with the truth."
    flat = [_without_looking(tokenizer, common, *given) for given in zip(real, codes, cuts)]
    score = lambda these: np.array([_psnr(a, b) for a, b in zip(real, these)])  # noqa: E731
    values = score(made)
    seed = task.settings.seed
    baseline = ("most frequent code at each place", float(score(flat).mean()))
    bound = ("reconstructions", float(score(rebuilt).mean()))
    return {
        "about": about,
        "metrics": [metric("PSNR", bootstrap.mean(values, seed), "dB", baseline, bound)],
        "confusion": None,
        "samples": _pixel_samples(task, real, made, rebuilt, values, cuts, codes),
        "samples_note": "Truth, what the tokenizer makes of it, and what the model wrote. First items of the split.",
        "samples_wide": False,
    }


# ---- asking the model --------------------------------------------------------------------------


def _guidance(task: TaskContext) -> float:
    if task.settings.guidance is not None:
        return task.settings.guidance
    return 2.0 if task.config.condition_dropout else 1.0


def _draw(task: TaskContext) -> list[Image]:
    requests = []
    room = max(len(example.labels) for example in task.train_examples)
    for i, record in enumerate(task.records):
        template = task.template(i)
        fields = {f.name: record[f.name] for f in task.input_fields(template)}
        requests.append(
            Request(
                prompt=template.inputs, fields=fields, to="image", seed=task.settings.seed + i,
                temperature=task.settings.temperature, guidance=_guidance(task), max_new_tokens=room,
            )
        )  # fmt: skip
    return [output.value for output in task.ask(requests, "drawing")]


def _redraw(task: TaskContext, real: list[Image]) -> list[Image]:
    requests = []
    for i, (record, image) in enumerate(zip(task.records, real)):
        template = task.template(i)
        fields = {f.name: record[f.name] for f in task.input_fields(template)}
        size = {"height": image.height, "width": image.width, "channels": image.channels}
        room = len(task.examples[i].labels)
        requests.append(
            Request(
                prompt=template.inputs, fields=fields, to="image", temperature=0.0, constraints=size,
                max_new_tokens=room, seed=task.settings.seed,
            )
        )  # fmt: skip
    return [output.value for output in task.ask(requests, "drawing")]


def _complete(task: TaskContext, codes: list[np.ndarray]) -> tuple[list[Image], list[int]]:
    """(completed images, number of codes that were given): half of each target's tokens are shown."""
    half = functools.partial(objectives.prefix, shown=(0.5, 0.5))
    rng = np.random.default_rng(task.settings.seed)
    vocabulary, tokenizer = task.run.vocabulary, task.predictor.tokenizers["image"]
    examples, beginnings = [], []
    for i, record in enumerate(task.records):
        inputs, targets, modality = task.pair(i, record)
        example = half(inputs, targets, modality, rng)
        examples.append(example)
        beginnings.append(targets.ids[: len(targets) - len(example.labels)])
    room = max(len(example.labels) for example in examples)
    rules = grammar.target(vocabulary, task.predictor.tokenizers, "image")
    say = lambda done, total: task.say(f"{task.name}: completing {done}/{total}")  # noqa: E731
    rest = completion.complete(task.predictor, rules, beginnings, examples, room, say)
    block = vocabulary.block("image")
    made, cuts = [], []
    for begun, new in zip(beginnings, rest):
        ids = np.concatenate([begun, new[new != EOS]])
        local = vocabulary.to_local("image", ids[(ids >= block.first_code) & (ids < block.end)])
        made.append(local)
        cuts.append(int(((begun >= block.first_code) & (begun < block.end)).sum()))
    return tokenizer.decode_batch(made), cuts


# ---- the judge, the samples --------------------------------------------------------------------


def _judge(
    task: TaskContext, image_field: str, label_field: str, judges: dict[Any, Any]
) -> tuple[judge.Judge, list[Image]]:
    key = (task.config.source, task.config.train_split, image_field, label_field)
    if key not in judges:
        pool, rows = task.train_images(image_field)

        def say(step: int, steps: int) -> None:
            if step % 100 == 0 or step == steps:
                task.say(f"{task.name}: training the judge {step}/{steps}")

        labels = [as_text(row[label_field]) for row in rows]
        judges[key] = judge.train_judge(pool, labels, task.settings.seed, progress=say), pool
    return judges[key]


def _without_looking(
    tokenizer: Any, common: dict[int, np.ndarray], truth: Image, codes: np.ndarray, cut: int
) -> Image:
    """What is given, then the most frequent code at each place; mid-grey where training had no image of this length."""
    if len(codes) in common:
        try:
            return tokenizer.decode(np.concatenate([codes[:cut], common[len(codes)][cut:]]))
        except (
            ValueError
        ):  # images of two shapes with as many codes: the headers do not fit together
            pass
    return Image(np.full_like(truth.pixels, 128))


def _psnr(truth: Image, other: Image) -> float:
    if truth.pixels.shape != other.pixels.shape:
        return 0.0  # another size is no reconstruction at all
    return min(images.psnr(truth.pixels, other.pixels), EXACT_DB)


def _read_as(truth: list[str], read: list[str], labels: list[str]) -> dict[str, Any] | None:
    if not 2 <= len(labels) <= 30 or not set(truth) <= set(labels):
        return None
    matrix = confusion_matrix(truth, read, labels).tolist()
    note = "Rows are what was asked for, columns what the judge read."
    return {"labels": labels, "matrix": matrix, "other": False, "note": note}


def _drawing_samples(
    task: TaskContext, drawn: list[Image], reader: judge.Judge, truth: list[str],
    pool: list[Image], index: np.ndarray, distance: np.ndarray,
) -> list[dict[str, Any]]:  # fmt: skip
    """Two of each class, in the order of the split."""
    chosen: list[int] = []
    for label in sorted(set(truth)):
        chosen += [i for i, t in enumerate(truth) if t == label][:2]
    read = reader.recognise([drawn[i] for i in chosen])
    return [
        {
            "inputs": task.shown_inputs(task.template(i), task.records[i]),
            "columns": [
                {"name": "drawn", "part": figures.show(drawn[i])},
                {"name": f"nearest, {distance[i]:.0f}", "part": figures.show(pool[index[i]])},
            ],
            "text": f"read as {word}", "truth": None, "right": word == truth[i], "note": "",
        }
        for i, word in zip(chosen[: 2 * SAMPLES], read)
    ]  # fmt: skip


def _pixel_samples(
    task: TaskContext, real: list[Image], made: list[Image], rebuilt: list[Image], values: np.ndarray,
    cuts: list[int], codes: list[np.ndarray],
) -> list[dict[str, Any]]:  # fmt: skip
    samples = []
    for i in range(min(SAMPLES, len(real))):
        columns = [("truth", real[i]), ("tokenizer", rebuilt[i]), ("model", made[i])]
        given = f"{cuts[i]} of {len(codes[i])} codes given; " if cuts[i] else ""
        samples.append(
            {
                "inputs": task.shown_inputs(task.template(i), task.records[i]),
                "columns": [{"name": n, "part": figures.show(v)} for n, v in columns],
                "text": None, "truth": None, "right": None,
                "note": f"{given}PSNR {values[i]:.1f} dB",
            }
        )  # fmt: skip
    return samples
