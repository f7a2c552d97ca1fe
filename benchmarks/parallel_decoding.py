"""Masked parallel decoding (MaskGIT) beside autoregressive decoding: speed and quality on one checkpoint.

    python benchmarks/parallel_decoding.py                     digits, trains a small run first, about 5 minutes
    python benchmarks/parallel_decoding.py --init=runs/demo    starts from a demo run, which draws already
    python benchmarks/parallel_decoding.py --checkpoint=DIR    a run that this file trained before, or one of
                                                               configs/fashion_parallel.py

The run learned to draw both ways, in equal shares: token after token (seq2seq), and all places at once
(cross-modal masking in both directions): scikit-learn's digits, 24 tokens, or Fashion-MNIST, 201 tokens.
Then `--images` pictures are drawn by each method, with the same prompts, the classes in turn, at temperature 1.

Quality: the share that a convolutional network trained on the real pictures reads as the one asked for; and,
since one picture of each class for all would do well in that, the Fréchet distance of the network's last hidden
layer to as many real test pictures, and how far apart two drawn pictures of one class are. Speed: CPU-seconds
of the process an image, 64 at once and one by one, all methods by turns, what compiles not counted.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unitok.config import Config, ObjectiveConfig, TokenizerConfig
from unitok.configs import demo
from unitok.data.sources import build_source
from unitok.errors import command
from unitok.eval import judge
from unitok.host_memory import keep_freed_memory
from unitok.metrics import bootstrap
from unitok.metrics.frechet import frechet_estimate
from unitok.predictor import Predictor
from unitok.request import Output, Request
from unitok.run import read_run
from unitok.train import loop
from unitok.values import Image

METHODS: dict[str, dict[str, Any]] = {
    "token after token": {},
    **{f"parallel, {n} passes": {"method": "parallel", "steps": n} for n in (4, 8, 12, 16, 24)},
}
TOGETHER, ALONE = 64, 12  # images drawn in one batch, and how many are drawn again one by one


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


class Reference:
    """Real pictures and who reads them: the judge, and test pictures of all classes in turn."""

    def __init__(self, run_config: Config) -> None:
        source = run_config.sources[run_config.tasks["draw"].source]
        rows = {split: build_source(source, split) for split in ("train", "test")}
        records = {split: [opened[i] for i in range(len(opened))] for split, opened in rows.items()}
        pool = [record["image"] for record in records["train"]]
        labels = [str(record["label"]) for record in records["train"]]
        self.judge = judge.train_judge(pool, labels)
        self.classes = self.judge.labels
        kept = {
            label: [record["image"] for record in records["test"] if str(record["label"]) == label]
            for label in self.classes
        }
        rounds = min(map(len, kept.values()))
        self.pictures = [kept[label][turn] for turn in range(rounds) for label in self.classes]
        self.one_each = [pool[labels.index(label)] for label in self.classes]

    def said_of(self, pictures: Sequence[Image]) -> str:
        """The three measures, of pictures of all classes in turn."""
        asked = [self.classes[i % len(self.classes)] for i in range(len(pictures))]
        right = [a == b for a, b in zip(self.judge.recognise(pictures), asked)]
        share = bootstrap.mean(np.array(right))
        count = min(len(pictures), len(self.pictures))
        features = [self.judge.features(these[:count]) for these in (pictures, self.pictures)]
        far = frechet_estimate(*features)
        return (
            f"read as asked {share.value:6.1%} ({share.low:.1%} to {share.high:.1%}), Fréchet distance of {count} "
            f"{far.value:.3g} ({far.low:.3g} to {far.high:.3g}), two of a class {self.apart(pictures):.1f} apart"
        )

    def apart(self, pictures: Sequence[Image]) -> float:
        """RMS distance of pixels, 0..255, between two pictures of one class; root of the classes' mean square."""
        pixels = np.stack([picture.pixels.reshape(-1) for picture in pictures]).astype(np.float64)
        by_class = [pixels[i :: len(self.classes)] for i in range(len(self.classes))]
        return float(np.sqrt(2 * np.mean([part.var(axis=0, ddof=1).mean() for part in by_class])))


def draw_requests(
    run_config: Config, reference: Reference, images: int
) -> dict[str, list[Request]]:
    """By method. All fix the geometry of the real pictures: parallel decoding needs it, the other gains by it."""
    real = reference.pictures[0]
    geometry = {"height": real.height, "width": real.width, "channels": real.channels}
    return {
        name: [
            Request(
                prompt=run_config.tasks["draw"].templates[0].inputs,
                fields={"label": reference.classes[i % len(reference.classes)]},
                to="image", temperature=1.0, seed=i, constraints=geometry, **options,
            )
            for i in range(images)
        ]
        for name, options in METHODS.items()
    }  # fmt: skip


def compare(predictor: Predictor, reference: Reference, run_config: Config, images: int) -> None:
    tokenizer = predictor.tokenizers["image"]
    real = reference.pictures[:images]
    known = {
        "real test pictures": real,
        "their reconstructions": tokenizer.decode_batch(tokenizer.encode_batch(real)),
        "one picture a class": reference.one_each * (images // len(reference.classes)),
    }
    for name, pictures in known.items():
        print(f"  {name:<21} {reference.said_of(pictures)}", flush=True)
    requests = draw_requests(run_config, reference, images)
    drawn, together = by_turns(predictor, requests, TOGETHER)
    alone = by_turns(predictor, {name: asked[:ALONE] for name, asked in requests.items()}, 1)[1]
    for name, outputs in drawn.items():
        different = len({output.ids.tobytes() for output in outputs})
        said = reference.said_of([output.value for output in outputs])
        print(f"  {name:<21} {said}, {different} of {images} different")
        print(
            f"  {'':<21} {timed(together, name)} {TOGETHER} at once, {timed(alone, name)} alone",
            flush=True,
        )


def by_turns(
    predictor: Predictor, requests: dict[str, list[Request]], batch: int
) -> tuple[dict[str, list[Output]], dict[str, list[float]]]:
    """Outputs, and CPU-seconds an image of each batch but the first, which compiles; the methods take turns."""
    predictor.batch_sizes = (batch,)
    drawn: dict[str, list[Output]] = {name: [] for name in requests}
    seconds: dict[str, list[float]] = {name: [] for name in requests}
    for start in range(0, len(requests["token after token"]), batch):
        for name, asked in requests.items():
            before = time.process_time()
            part = asked[start : start + batch]
            drawn[name] += [out[0] for out in predictor.generate_batch(part)]
            if start and len(part) == batch:
                seconds[name].append((time.process_time() - before) / batch)
    return drawn, seconds


def timed(seconds: dict[str, list[float]], name: str) -> str:
    ratios = [a / b for a, b in zip(seconds["token after token"], seconds[name], strict=True)]
    return (
        f"{statistics.median(seconds[name]) * 1e3:.2f} CPU-ms "
        f"({statistics.median(ratios):.2f} x, turns {min(ratios):.2f} to {max(ratios):.2f})"
    )


@command
def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", metavar="DIR", help="a run that draws both ways")
    parser.add_argument("--init", metavar="DIR", help="a demo run to start from")
    parser.add_argument("--steps", type=int, default=600, help="of the training")
    parser.add_argument("--images", type=int, default=512, help="drawn by each method")
    args = parser.parse_args(argv)
    if args.images < 2 * TOGETHER:
        parser.error(f"--images: want {2 * TOGETHER} or more: the first {TOGETHER} are not timed")
    keep_freed_memory()
    with tempfile.TemporaryDirectory(prefix="parallel-") as folder:
        run = Path(args.checkpoint or folder)
        if not (run / "config.json").is_file():
            loop.train(config(args.steps, str(run), args.init))
        predictor, run_config = Predictor.load(run), read_run(run).config
        reference = Reference(run_config)
        print(f"{run_config.name}, step {predictor.step}, {run_config.model.dtype}; load average {os.getloadavg()[0]:.1f}")  # fmt: skip
        compare(predictor, reference, run_config, args.images)
    return 0


if __name__ == "__main__":
    sys.exit(main())
