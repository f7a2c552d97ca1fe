"""Masked parallel decoding (MaskGIT) beside autoregressive decoding: speed and quality on one checkpoint.

    python benchmarks/parallel_decoding.py                     trains a small run first, about 5 minutes
    python benchmarks/parallel_decoding.py --init=runs/demo    starts from a demo run, which draws already
    python benchmarks/parallel_decoding.py --checkpoint=DIR    a run that this file trained before

The run learns to draw scikit-learn's digits both ways, in equal shares: token after token (seq2seq),
and all places at once (cross-modal masking in both directions). Then `--images` digits are drawn by
each method, with the same prompts, at temperature 1. Quality: the share that a convolutional network
trained on the real digits reads as the one asked for. Speed: CPU-seconds of the process an image, in
batches of 64, all methods by turns, compiled before.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from unitok.config import Config, ObjectiveConfig, TokenizerConfig
from unitok.configs import demo
from unitok.data.sources import build_source
from unitok.eval import judge
from unitok.predictor import Predictor, Request
from unitok.run import read_run
from unitok.train import loop

METHODS: dict[str, dict[str, Any]] = {
    "autoregressive": {},
    **{f"parallel, {n} passes": {"method": "parallel", "steps": n} for n in (4, 8, 12, 16)},
}
GEOMETRY = {"height": 8, "width": 8, "channels": 1}


def config(steps: int, workdir: str, init: str | None) -> Config:
    """The demo's digits and tokenizer; the one task of drawing, under both objectives. init: a demo run whose
    weights and tokenizer are taken over."""
    base = demo.get_config()
    if init is not None:
        image = TokenizerConfig(name="image", path=f"{init}/tokenizers/image")
        base = dataclasses.replace(
            base,
            init_from=init,
            model=read_run(init).config.model,
            tokenizers={**base.tokenizers, "image": image},
            optimizer=dataclasses.replace(base.optimizer, warmup_steps=steps // 10),
        )
    draw = dataclasses.replace(base.tasks["draw"], weight=1.0, condition_dropout=0.0)
    masked = ObjectiveConfig(kind="cross_modal", options={"bidirectional": 1.0})
    return dataclasses.replace(
        base,
        name="parallel",
        steps=steps,
        tasks={"draw": draw, "draw_masked": dataclasses.replace(draw, objective=masked)},
        sources={"digits": base.sources["digits"]},
        checkpoint=dataclasses.replace(base.checkpoint, every=steps, validate_every=steps),
        report=False,
        workdir=workdir,
    )


def reader_of_digits(run_config: Config) -> tuple[judge.Judge, float, float]:
    """The judge, the share of real test digits that it reads right, and that of their reconstructions'."""
    source = run_config.sources["digits"]
    opened = {split: build_source(source, split) for split in ("train", "test")}
    records = {split: [rows[i] for i in range(len(rows))] for split, rows in opened.items()}
    images = {split: [row["image"] for row in rows] for split, rows in records.items()}
    labels = {split: [str(row["label"]) for row in rows] for split, rows in records.items()}
    reader = judge.train_judge(images["train"], labels["train"])
    read = lambda pictures: np.mean(  # noqa: E731
        [a == b for a, b in zip(reader.recognise(pictures), labels["test"], strict=True)]
    )
    tokenizer = Predictor.load(run_config.workdir).tokenizers["image"]
    again = tokenizer.decode_batch(tokenizer.encode_batch(images["test"]))
    return reader, float(read(images["test"])), float(read(again))


def compare(predictor: Predictor, reader: judge.Judge, images: int, reps: int) -> None:
    digits = [str(i % 10) for i in range(images)]
    requests = {
        name: [
            Request(
                prompt=f"Draw the digit {digit}.", to="image", temperature=1.0, seed=i,
                max_new_tokens=32, constraints=GEOMETRY, **options,
            )
            for i, digit in enumerate(digits)
        ]
        for name, options in METHODS.items()
    }  # fmt: skip
    drawn = {name: [out[0] for out in predictor.generate_batch(r)] for name, r in requests.items()}
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    for rep in range(reps):
        for name in list(METHODS)[:: 1 if rep % 2 else -1]:
            start = time.process_time()
            predictor.generate_batch(requests[name])
            seconds[name].append((time.process_time() - start) / images)
    base = statistics.median(seconds["autoregressive"])
    for name, outputs in drawn.items():
        right = np.array(
            [a == b for a, b in zip(reader.recognise([o.value for o in outputs]), digits)]
        )
        share, spent = right.mean(), statistics.median(seconds[name])
        spread = 1.96 * np.sqrt(share * (1 - share) / images)
        different = len({output.ids.tobytes() for output in outputs})
        print(
            f"  {name:<20} read as asked {share:6.1%} +- {spread:.1%}   {spent * 1e3:6.2f} CPU-ms an "
            f"image   {base / spent:4.2f} x the speed   {different} of {images} different"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", metavar="DIR", help="a run trained by this file before")
    parser.add_argument("--init", metavar="DIR", help="a demo run to start from")
    parser.add_argument("--steps", type=int, default=600, help="of the training")
    parser.add_argument("--images", type=int, default=512, help="drawn by each method")
    parser.add_argument("--reps", type=int, default=3, help="turns that are timed")
    args = parser.parse_args()
    folder = tempfile.TemporaryDirectory(prefix="parallel-")
    run_config = config(args.steps, args.checkpoint or folder.name, args.init)
    if args.checkpoint is None or not (Path(args.checkpoint) / "config.json").is_file():
        loop.train(run_config)
    predictor = Predictor.load(run_config.workdir)
    reader, real, bound = reader_of_digits(run_config)
    print(f"step {predictor.step}; the judge reads {real:.1%} of real test digits, {bound:.1%} of ")
    print(f"their reconstructions (the tokenizer's bound); load average {os.getloadavg()[0]:.1f}")
    compare(predictor, reader, args.images, args.reps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
