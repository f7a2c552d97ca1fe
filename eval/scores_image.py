"""Tasks that answer with an image whose truth is known: compared pixel by pixel."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unitok import grammar, objectives
from unitok.eval import baselines, completion, exchanged, figures
from unitok.eval.context import SAMPLES, TaskContext, metric
from unitok.metrics import bootstrap, images
from unitok.values import Image
from unitok.vocabulary import EOS

NAMES = frozenset(["psnr", "ssim"])
EXACT_DB = 99.0  # an image without any error counts as this


def score_pixels(task: TaskContext) -> dict[str, Any]:
    """PSNR and SSIM against the true image: of completions (prefix objective), or of whole images (sequence to sequence)."""
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
        made, cuts = _redraw(task, task.records, real, "drawing"), [0] * len(real)
        about = "Images, written greedily, compared with the truth."
    flat = [_without_looking(tokenizer, common, *given) for given in zip(real, codes, cuts)]
    found = []
    for name in [n for n in task.config.metrics if n in NAMES] or ["psnr"]:
        score = lambda these: np.array([MEASURES[name](a, b) for a, b in zip(real, these)])  # noqa: B023, E731
        estimate = bootstrap.mean(score(made), task.settings.seed)
        baseline = ("most frequent code at each place", float(score(flat).mean()))
        bound = ("reconstructions", float(score(rebuilt).mean()))
        unit = "dB" if name == "psnr" else ""
        found.append(metric(name.upper(), estimate, unit, baseline, bound, key=name))
    ask = lambda records: _redraw(task, records, real, exchanged.DOING)  # noqa: E731
    if task.kind != "prefix" and (
        other := exchanged.asked(task, ask)
    ):  # anew: the size is the truth's
        measure = MEASURES[found[0]["key"]]
        theirs = np.array([measure(real[i], v) for i, v in zip(other.places, other.outputs)])
        found.append(other.metric(found[0], bootstrap.mean(theirs, task.settings.seed)))
    values = np.array([_psnr(a, b) for a, b in zip(real, made)])
    return {
        "about": about,
        "metrics": found,
        "confusion": None,
        "samples": _pixel_samples(task, real, made, rebuilt, values, cuts, codes),
        "samples_note": "Truth, what the tokenizer makes of it, and what the model wrote. First items of the split.",
        "samples_wide": False,
    }


# ---- asking the model --------------------------------------------------------------------------


def _redraw(
    task: TaskContext, records: Sequence[Mapping[str, Any]], real: list[Image], what: str
) -> list[Image]:
    """Greedily, each of the size of the truth in its place."""
    requests = [
        task.request(
            i, record, "image", temperature=0.0, seed=task.settings.seed,
            constraints={"height": image.height, "width": image.width, "channels": image.channels},
            max_new_tokens=len(task.examples[i].labels),
        )
        for i, (record, image) in enumerate(zip(records, real))
    ]  # fmt: skip
    return [output.value for output in task.ask(requests, what)]


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


# ---- scores and samples ------------------------------------------------------------------------


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


def _ssim(truth: Image, other: Image) -> float:
    same = truth.pixels.shape == other.pixels.shape
    return images.ssim(truth.pixels, other.pixels) if same else 0.0


MEASURES = {"psnr": _psnr, "ssim": _ssim}


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
                "item": task.items[i],
"inputs": task.shown_inputs(task.template(i), task.records[i]),
                "columns": [{"name": n, "part": figures.show(v)} for n, v in columns],
                "text": None, "truth": None, "right": None,
                "note": f"{given}PSNR {values[i]:.1f} dB",
            }
        )  # fmt: skip
    return samples
