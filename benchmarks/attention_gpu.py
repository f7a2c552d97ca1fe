"""Train step of `configs/generalist_gpu.py` on a GPU: cuDNN's fused attention beside scores in memory, in one process.

    python benchmarks/attention_gpu.py          about a minute and a half; any CUDA GPU of compute capability 8 on

Rows as long as that config's, packed full of random segments of 16 to 200 tokens; forward and backward in
bfloat16, no dropout. The losses are compared first. Contestants take turns of `STEPS` steps, forwards and
backwards (ABBA); wall time, waited for at the end of each turn. The roof is the best bfloat16 product.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import numpy as np
from _train_batches import our_batch

from unitok.config import LossConfig
from unitok.configs import generalist_gpu
from unitok.model import EncoderDecoder, TableSizes, attention
from unitok.train.telemetry import matmul_roof

S, T, STEPS = 512, 512, 20
SIZES = TableSizes(rows=16_384, real=16_384, ranges=((0, 128), (128, 16_384)))


def packed_rows(rng: np.random.Generator, rows: int, length: int) -> np.ndarray:
    """Segment ids int32 [rows, length], 1 and up, the last cut off where the row ends."""
    lengths = rng.integers(16, 200, (rows, length // 16))
    return np.stack([np.repeat(np.arange(1, 1 + len(row)), row)[:length] for row in lengths])


def step_of(model: EncoderDecoder, fused: bool) -> Callable[[Any, Any], Any]:
    """The jitted loss and gradients; which attention is decided when it is traced."""

    def step(params: Any, batch: Any) -> Any:
        return jax.value_and_grad(lambda p: model.loss(p, batch, LossConfig())[0])(params)

    if fused:
        return jax.jit(step)

    def whole(params: Any, batch: Any) -> Any:
        with mock.patch.object(attention, "_fuses", return_value=False):
            return step(params, batch)

    return jax.jit(whole)


def step_flops(config: Any, rows: int) -> float:
    """Of one step: 3 times the forward products, attention in full."""
    D, F, inner = config.d_model, config.d_ff * 3 / 2, config.num_heads * config.head_size
    encoder = S * (4 * D * inner + 2 * D * F + 2 * S * inner)
    decoder = T * (6 * D * inner + 2 * D * F + 2 * (S + T) * inner) + S * 2 * D * inner
    layers = config.encoder_layers * encoder + config.decoder_layers * decoder
    return 3 * 2.0 * rows * (layers + T * D * SIZES.rows)


def main() -> int:
    config = generalist_gpu.get_config()
    rows, model = config.data.batch_size, EncoderDecoder(dataclasses.replace(config.model, dropout=0.0), SIZES)  # fmt: skip
    if jax.default_backend() != "gpu":
        print("attention_gpu: no GPU; nothing is measured")
        return 0
    rng = np.random.default_rng(0)
    inputs, labels = (rng.integers(128, SIZES.rows, (rows, n)).astype(np.int32) for n in (S, T))
    batch = our_batch(inputs, labels, packed_rows(rng, rows, S), packed_rows(rng, rows, T))
    params = jax.jit(model.init)(jax.random.key(0))
    steps = {"scores in memory": step_of(model, False), "fused": step_of(model, True)}
    first = {name: float(step(params, batch)[0]) for name, step in steps.items()}
    print(f"{jax.devices()[0].device_kind}; jax {jax.__version__}; losses {first}")
    if max(first.values()) / min(first.values()) - 1 > 2e-3:
        sys.exit("attention_gpu: the losses differ; a speed of different things compares nothing")
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for rep in range(9):
        for name in list(steps)[:: 1 if rep % 2 else -1]:
            start = time.perf_counter()
            for _ in range(STEPS):
                out = steps[name](params, batch)
            jax.block_until_ready(out)
            if rep:
                seconds[name].append((time.perf_counter() - start) / STEPS)
    best, flops = matmul_roof("bfloat16"), step_flops(model.config, rows)
    print(f"roof {best / 1e12:.0f} TFLOP/s; {rows} x ({S} + {T}) tokens a step")
    for name, spent in seconds.items():
        middle = statistics.median(spent)
        each = [a / b for a, b in zip(seconds["scores in memory"], spent)]
        print(
            f"  {name:<18}{middle * 1e3:7.2f} ms  {rows * (S + T) / middle:11,.0f} tok/s  "
            f"{flops / middle / best:.2f} of the roof   x {statistics.median(each):.2f} [{min(each):.2f} .. {max(each):.2f}]"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
