"""Train step on a GPU beside Hugging Face's T5 of the same shape and weights, bfloat16, in one process.

    python benchmarks/train_step_gpu.py              T5-small's shape, about two minutes
    python benchmarks/train_step_gpu.py --compile    with torch.compile as a third contestant, a minute more

Shape: d_model 512, 6 + 6 layers, d_ff 2,048 (ReLU), 8 heads of 64, vocabulary 32,000, batch 64, 512 + 128 tokens,
dropout 0; forward, backward and AdamW (fused in torch). Losses are compared before anything is timed. Contestants
take turns of `STEPS` steps, forwards and backwards (ABBA); wall time, waited for at the end of each turn. The roof
is the best bfloat16 product of 8,192 x 8,192 matrices of either library, in the same process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

# both libraries on one device: neither may take it all
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.45")

import numpy as np

BATCH, S, T, VOCABULARY, HEAD = 64, 512, 128, 32_000, 64
SHAPE = {"d_model": 512, "d_ff": 2048, "num_heads": 8, "num_layers": 6}
STEPS = 10  # a turn
Turn = Callable[[int], float]  # steps -> the last loss, waited for


def hf_model() -> Any:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "d_kv": HEAD, **SHAPE}
    return T5ForConditionalGeneration(T5Config(dropout_rate=0.0, decoder_start_token_id=0, **sizes))


def torch_turn(state: Any, ids: np.ndarray, labels: np.ndarray, compiled: bool) -> Turn:
    import torch

    model = hf_model()
    model.load_state_dict(state)
    model.cuda().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    forward = torch.compile(model) if compiled else model
    inputs = {"input_ids": torch.tensor(ids).cuda(), "labels": torch.tensor(labels).cuda()}

    def turn(steps: int) -> float:
        for _ in range(steps):
            with torch.autocast("cuda", torch.bfloat16):
                loss = forward(**inputs).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return turn


def our_turn(folder: str, ids: np.ndarray, labels: np.ndarray) -> Turn:
    """The T5-shaped setting of our model on the same weights."""
    import dataclasses

    import jax
    import optax
    from _train_batches import our_batch

    from unitok.config import LossConfig
    from unitok.model import EncoderDecoder
    from unitok.model.import_t5 import load_t5

    config, params, sizes = load_t5(folder)
    model = EncoderDecoder(dataclasses.replace(config, dtype="bfloat16"), sizes)
    optimizer = optax.adamw(1e-4, weight_decay=0.01)
    losses = LossConfig(z_loss=0.0, normalise="token")
    batch = our_batch(ids.astype(np.int32), labels, np.ones(ids.shape), np.ones(labels.shape))

    def step(params: Any, state: Any) -> Any:
        loss, grads = jax.value_and_grad(lambda p: model.loss(p, batch, losses)[0])(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    step = jax.jit(step, donate_argnums=(0, 1))
    params = jax.tree.map(jax.numpy.array, params)
    held = [params, optimizer.init(params)]

    def turn(steps: int) -> float:
        for _ in range(steps):
            *held[:], loss = step(*held)
        return float(loss)

    return turn


def roof() -> float:
    """FLOP/s of the best bfloat16 product of either library."""
    import torch

    from unitok.train.telemetry import matmul_roof

    n = 8192
    x = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
    times = []
    for _ in range(8):
        torch.cuda.synchronize()
        start = time.perf_counter()
        x @ x
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return max(2.0 * n**3 / min(times), matmul_roof("bfloat16"))


def step_flops() -> float:
    """Of one step: 3 times the forward products (backward is two of each), attention in full."""
    D, F, L = SHAPE["d_model"], SHAPE["d_ff"], SHAPE["num_layers"]
    inner = SHAPE["num_heads"] * HEAD
    encoder = S * (4 * D * inner + 2 * D * F + 2 * S * inner)
    decoder = T * (6 * D * inner + 2 * D * F + 2 * (S + T) * inner) + S * 2 * D * inner
    return 3 * 2.0 * BATCH * (L * (encoder + decoder) + T * D * VOCABULARY)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    parser.add_argument("--reps", type=int, default=6, help="turns that are counted")
    args = parser.parse_args()
    try:
        import torch
        import transformers
    except ImportError:
        sys.exit(
            "train_step_gpu: torch and transformers are missing; pip install 'unitok-jax[torch]'"
        )
    import jax

    if not torch.cuda.is_available() or jax.default_backend() != "gpu":
        print("train_step_gpu: no GPU that both jax and torch see; nothing is measured")
        return 0
    transformers.logging.set_verbosity_error()
    rng = np.random.default_rng(0)
    ids, labels = (rng.integers(1, VOCABULARY, (BATCH, n)) for n in (S, T))
    with tempfile.TemporaryDirectory() as folder:
        model = hf_model()
        model.save_pretrained(folder)
        state = model.state_dict()
        turns = {"torch": torch_turn(state, ids, labels, compiled=False)}
        if args.compile:
            turns["torch compiled"] = torch_turn(state, ids, labels, compiled=True)
        turns["ours"] = our_turn(folder, ids, labels)
    first = {name: turn(1) for name, turn in turns.items()}
    print(
        f"{jax.devices()[0].device_kind}; jax {jax.__version__}, torch {torch.__version__}; first losses {first}"
    )
    if max(first.values()) / min(first.values()) - 1 > 2e-3:
        sys.exit(
            "train_step_gpu: the losses differ; a speed of different computations compares nothing"
        )
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for rep in range(args.reps + 1):
        for name in list(turns)[:: 1 if rep % 2 else -1]:
            start = time.perf_counter()
            turns[name](STEPS)
            if rep:
                seconds[name].append((time.perf_counter() - start) / STEPS)
    best, tokens = roof(), BATCH * (S + T)
    print(f"roof {best / 1e12:.0f} TFLOP/s (bfloat16); {BATCH} x ({S} + {T}) tokens a step")
    for name, spent in seconds.items():
        rates = sorted(tokens / s for s in spent)
        share = step_flops() / statistics.median(spent) / best
        line = f"  {name:<15}{statistics.median(rates):11,.0f} tok/s  [{rates[0]:,.0f} .. {rates[-1]:,.0f}]  {share:.2f} of the roof"
        for peer in [n for n in seconds if n != "ours"] if name == "ours" else []:
            each = [theirs / mine for theirs, mine in zip(seconds[peer], spent)]
            line += (
                f"   / {peer} {statistics.median(each):.2f} [{min(each):.2f} .. {max(each):.2f}]"
            )
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
