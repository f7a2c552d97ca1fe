"""Masked parallel decoding (MaskGIT) beside autoregressive decoding: how the speed goes with the size of the image.

    python benchmarks/parallel_speed.py            images of 9, 54 and 261 tokens, about 6 minutes of a CPU core
    python benchmarks/parallel_speed.py --reps=1   one turn, no figure worth quoting

Random weights of the decoding benchmark's shape (d_model 256, 4 + 4 layers, d_ff 1,024, 4 heads of 64) over the
shipped tokenizers of text and images: what is drawn is noise, the work is that of a trained model. One
thread, pinned; CPU-seconds of the process an image, by `Predictor.generate_batch` whole, all methods by turns,
compiled before. What either way does to the quality of a trained model: `parallel_decoding.py`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time

CORE = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
if __name__ == "__main__" and CORE is not None:
    os.sched_setaffinity(0, {CORE})  # before any library counts the cores

import jax  # noqa: E402

from unitok import tokenizers  # noqa: E402
from unitok.config import ModelConfig  # noqa: E402
from unitok.host_memory import keep_freed_memory  # noqa: E402
from unitok.model import EncoderDecoder, TableSizes  # noqa: E402
from unitok.predictor import Predictor, Request  # noqa: E402
from unitok.vocabulary import Vocabulary  # noqa: E402

SIDES, BATCHES, PASSES = (8, 28, 64), (1, 16), (4, 8, 12, 16)


def untrained(dtype: str) -> Predictor:
    kinds = {name: tokenizers.build(name) for name in ("text", "image")}
    vocabulary = Vocabulary.build([(n, t.size, t.fingerprint) for n, t in kinds.items()])
    config = ModelConfig(
        d_model=256, d_ff=1024, num_heads=4, encoder_layers=4, decoder_layers=4, dtype=dtype
    )  # fmt: skip
    model = EncoderDecoder(config, TableSizes.from_vocabulary(vocabulary))
    return Predictor(model, jax.jit(model.init)(jax.random.key(0)), vocabulary, kinds)


def requests(side: int, batch: int) -> dict[str, list[Request]]:
    ways = {"token after token": {}} | {
        f"parallel, {n} passes": {"method": "parallel", "steps": n} for n in PASSES
    }
    geometry = {"height": side, "width": side, "channels": 1}
    return {
        name: [
            Request(prompt="Draw something.", to="image", seed=i, constraints=geometry, **way)
            for i in range(batch)
        ]
        for name, way in ways.items()
    }


def seconds_each(
    predictor: Predictor, asked: dict[str, list[Request]], reps: int
) -> dict[str, list[float]]:
    """CPU-seconds an image of each turn; the order is reversed every other turn, the first dropped."""
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    for rep in range(reps + 1):
        for name in list(asked)[:: 1 if rep % 2 else -1]:
            start = time.process_time()
            predictor.generate_batch(asked[name])
            if rep:
                seconds[name].append((time.process_time() - start) / len(asked[name]))
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=5, help="turns that are counted")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    args = parser.parse_args()
    keep_freed_memory()
    predictor = untrained(args.dtype)
    print(
        f"core {CORE}, {args.dtype}, jax {jax.__version__}, load average {os.getloadavg()[0]:.1f}"
    )
    for side in SIDES:
        for batch in BATCHES:
            predictor.batch_sizes = (batch,)
            asked = requests(side, batch)
            tokens = len(predictor.generate_batch(asked["parallel, 4 passes"])[0][0].ids)
            seconds = seconds_each(predictor, asked, args.reps)
            print(
                f"{side} x {side} pixels, {tokens} tokens with marks, {batch} at once", flush=True
            )
            for name, spent in seconds.items():
                ratios = [a / b for a, b in zip(seconds["token after token"], spent, strict=True)]
                print(
                    f"  {name:<20} {statistics.median(spent) * 1e3:8.2f} CPU-ms an image, "
                    f"{statistics.median(ratios):5.2f} x [{min(ratios):.2f} .. {max(ratios):.2f}]",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
