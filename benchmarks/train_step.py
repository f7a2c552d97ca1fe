"""Train step beside Hugging Face's T5 of the same shape, in one process, interleaved.

    python benchmarks/train_step.py            both vocabularies and the packed mixture, about 12 minutes
    python benchmarks/train_step.py --quick    one short round of everything, no figure worth quoting

Shape: d_model 256, 4 + 4 layers, d_ff 1,024 (ReLU), 4 heads of 64, batch 8, 256 + 128 tokens, dropout 0;
forward, backward and AdamW. One pinned thread; tokens (encoder + decoder) a second of CPU time of the
process, which other processes disturb little. Contestants start from the same weights, and the losses
are compared before anything is timed. They take turns, forwards and backwards (ABBA), `--reps` times.
Freed memory stays in the process, as in training (it spares both sides page faults).
The roof is the best float32 and bfloat16 matrix product of the libraries at hand, timed in the same turns.

The packed part feeds the same examples (a stated mixture of lengths) to Hugging Face padded to the
longest of each batch, in the order drawn, and to ours packed; useful tokens only are counted, and the
summed cross entropies must agree.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

CORE = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
if __name__ == "__main__" and CORE is not None:
    os.sched_setaffinity(0, {CORE})  # before any library counts the cores
    os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
from _train_batches import BATCH, ROW_S, ROW_T, S, T, mixture_batches, plain_batch  # noqa: E402

SHAPE = {"d_model": 256, "d_ff": 1024, "num_heads": 4, "num_layers": 4}
HEAD = 64
Step = Callable[[], float]


# ---- the two models -----------------------------------------------------------------------


def torch_step(vocabulary: int, state: Any, autocast: bool) -> Callable[[Any], float]:
    """A training step of Hugging Face's T5 over a dict of its arguments; returns the loss."""
    import torch

    model = hf_model(vocabulary)
    model.load_state_dict(state)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)

    def step(inputs: Any) -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def hf_model(vocabulary: int) -> Any:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"vocab_size": vocabulary, "d_kv": HEAD, **SHAPE}
    config = T5Config(dropout_rate=0.0, decoder_start_token_id=0, **sizes)
    return T5ForConditionalGeneration(config)


class Ours:
    """The T5-shaped setting of our model, on the same weights: a step over a `Batch`."""

    def __init__(self, folder: str, dtype: str) -> None:
        import dataclasses

        import jax
        import optax

        from unitok.config import LossConfig
        from unitok.model import EncoderDecoder
        from unitok.model.import_t5 import load_t5

        config, params, sizes = load_t5(folder)
        model = EncoderDecoder(dataclasses.replace(config, dtype=dtype), sizes)
        optimizer = optax.adamw(1e-4, weight_decay=0.01)
        self.params = jax.tree.map(jax.numpy.array, params)
        self.state = optimizer.init(self.params)
        loss_config = LossConfig(z_loss=0.0, normalise="token")

        def step(params: Any, state: Any, batch: Any) -> Any:
            value = jax.value_and_grad(model.loss, has_aux=True)
            (loss, metrics), grads = value(params, batch, loss_config)
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state, loss, metrics

        self.step = jax.jit(step, donate_argnums=(0, 1))

    def __call__(self, batch: Any) -> tuple[float, float]:
        """Mean and summed cross entropy of the batch, after one update."""
        self.params, self.state, loss, metrics = self.step(self.params, self.state, batch)
        return float(loss), float(metrics["nll_M"].sum())


# ---- timing -------------------------------------------------------------------------------


def interleaved(steps: dict[str, Step], reps: int) -> dict[str, list[float]]:
    """CPU seconds of each step by turn; the order is reversed every other turn, the first turn dropped."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for rep in range(reps + 1):
        for name in list(steps)[:: 1 if rep % 2 else -1]:
            start = time.process_time()
            steps[name]()
            if rep:
                seconds[name].append(time.process_time() - start)
    return seconds


def roofs() -> dict[str, Step]:
    """Square matrix products of 1,024, four a turn, by library and dtype."""
    import jax
    import jax.numpy as jnp
    import torch

    n = 1024
    a = np.random.default_rng(0).standard_normal((n, n)).astype(np.float32)

    def repeated(product: Callable[[], Any]) -> Step:
        def step() -> float:
            for _ in range(4):
                product()
            return 0.0

        return step

    steps = {"roof f32 numpy": repeated(lambda: a @ a)}
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        x = torch.tensor(a).to(dtype)
        steps[f"roof {name} torch"] = repeated(lambda x=x: x @ x)
    for name, dtype in (("f32", jnp.float32), ("bf16", jnp.bfloat16)):
        x = jnp.asarray(a, dtype)
        product = jax.jit(lambda x: jax.lax.dot(x, x, preferred_element_type=jnp.float32))
        steps[f"roof {name} jax"] = repeated(lambda f=product, x=x: f(x).block_until_ready())
    return steps


def step_flops(vocabulary: int) -> float:
    """Of one plain step: 3 times the forward products (backward is two of each), attention in full."""
    D, F, L = SHAPE["d_model"], SHAPE["d_ff"], SHAPE["num_layers"]
    inner = SHAPE["num_heads"] * HEAD
    encoder = S * (4 * D * inner + 2 * D * F + 2 * S * inner)
    decoder = T * (6 * D * inner + 2 * D * F + 2 * (S + T) * inner) + S * 2 * D * inner
    return 3 * 2.0 * BATCH * (L * (encoder + decoder) + T * D * vocabulary)


def report(title: str, tokens: int, seconds: dict[str, list[float]], peers: list[str]) -> dict:
    """Print tokens a CPU-second with the spread, and ratios turn by turn; returns the median rates."""
    print(f"\n{title}")
    for name, spent in seconds.items():
        low, middle, high = np.percentile([tokens / s for s in spent], [25, 50, 75])
        line = f"  {name:<22} {middle:8,.0f} tok/CPU-s  [{low:,.0f} .. {high:,.0f}]"
        for peer in peers:
            if name.startswith("ours"):
                each = [theirs / mine for theirs, mine in zip(seconds[peer], spent)]
                line += f"   / {peer} {statistics.median(each):.2f} [{min(each):.2f} .. {max(each):.2f}]"
        print(line)
    return {name: tokens / statistics.median(spent) for name, spent in seconds.items()}


def plain(vocabulary: int, reps: int, folder: str) -> None:
    state = hf_state(vocabulary, folder)
    theirs, ours = plain_batch(vocabulary)
    runs = {
        "torch f32": torch_step(vocabulary, state, False),
        "torch bf16 autocast": torch_step(vocabulary, state, True),
        "ours f32": Ours(folder, "float32"),
        "ours bf16": Ours(folder, "bfloat16"),
    }
    batch = {name: theirs if name.startswith("torch") else ours for name in runs}
    first = {name: np.ravel(run(batch[name]))[0] for name, run in runs.items()}
    print(f"\nfirst losses, vocabulary {vocabulary:,}: {first}")
    require(abs(first["ours f32"] / first["torch f32"] - 1) < 1e-5, f"losses differ: {first}")
    require(abs(first["ours bf16"] / first["torch f32"] - 1) < 2e-2, f"losses differ: {first}")
    steps = {name: (lambda name=name: runs[name](batch[name])) for name in runs}
    seconds = interleaved({**steps, **roofs()}, reps)
    roof = {name: seconds.pop(name) for name in list(seconds) if name.startswith("roof")}
    rates = report(
        f"train step, vocabulary {vocabulary:,}, 8 x (256 + 128)",
        BATCH * (S + T),
        seconds,
        ["torch f32", "torch bf16 autocast"],
    )
    for dtype in ("f32", "bf16"):
        best = max(4 * 2 * 1024**3 / min(s) for n, s in roof.items() if f" {dtype} " in n)
        peer = "torch f32" if dtype == "f32" else "torch bf16 autocast"
        share = {n: rates[n] / (BATCH * (S + T)) * step_flops(vocabulary) / best for n in rates}
        print(
            f"  {dtype} roof {best / 1e9:.0f} GFLOP/s; share of it: "
            f"ours {share[f'ours {dtype}']:.2f}, {peer} {share[peer]:.2f}"
        )


def packed(vocabulary: int, reps: int, count: int, folder: str) -> None:
    state = hf_state(vocabulary, folder)
    theirs, ours, useful, fill = mixture_batches(vocabulary, count)
    check_packing(vocabulary, state, folder, theirs, ours)
    hf = torch_step(vocabulary, state, False)
    hf_bf16 = torch_step(vocabulary, state, True)
    f32, bf16 = Ours(folder, "float32"), Ours(folder, "bfloat16")
    epochs: dict[str, Step] = {
        "torch f32": lambda: sum(hf(batch) for batch in theirs),
        "torch bf16 autocast": lambda: sum(hf_bf16(batch) for batch in theirs),
        "ours f32": lambda: sum(f32(batch)[0] for batch in ours),
        "ours bf16": lambda: sum(bf16(batch)[0] for batch in ours),
    }
    slots = sum(b["input_ids"].numel() + b["labels"].numel() for b in theirs)
    seconds = interleaved(epochs, reps)
    report(
        f"packed mixture, {count} examples, {useful:,} useful tokens, rows {ROW_S} + {ROW_T}; "
        f"fill {fill:.2f} packed, {useful / slots:.2f} padded",
        useful,
        seconds,
        ["torch f32", "torch bf16 autocast"],
    )


def check_packing(vocabulary: int, state: Any, folder: str, theirs: Any, ours: Any) -> None:
    """Summed cross entropy over the same examples, padded in theirs and packed in ours."""
    import dataclasses

    import jax
    import torch

    from unitok.config import LossConfig
    from unitok.model import EncoderDecoder
    from unitok.model.import_t5 import load_t5

    model = hf_model(vocabulary).eval()
    model.load_state_dict(state)
    with torch.no_grad():
        sums = [model(**b).loss.item() * int((b["labels"] >= 0).sum()) for b in theirs]
    config, params, sizes = load_t5(folder)
    for dtype, bound in (("float32", 1e-6), ("bfloat16", 1e-3)):
        net = EncoderDecoder(dataclasses.replace(config, dtype=dtype), sizes)
        nll = jax.jit(
            lambda params, b, net=net: net.loss(params, b, LossConfig())[1]["nll_M"].sum()
        )
        relative = abs(sum(float(nll(params, b)) for b in ours) / sum(sums) - 1)
        print(f"\npacked {dtype} against padded: summed cross entropy differs by {relative:.1e}")
        require(relative < bound, f"packing changes the loss by {relative}")


def hf_state(vocabulary: int, folder: str) -> Any:
    """The shared weights: in memory for torch, in `folder` for ours."""
    model = hf_model(vocabulary)
    model.save_pretrained(folder)
    return model.state_dict()


def require(condition: bool, message: str) -> None:
    if not condition:
        sys.exit(f"train_step: {message}; a speed of different computations compares nothing")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--reps", type=int, default=5, help="turns that are counted")
    parser.add_argument("--parts", default="8192,32000,packed", help="which of the three")
    args = parser.parse_args()
    try:
        import torch
        import transformers
    except ImportError:
        sys.exit("train_step: torch and transformers are missing; pip install 'unitok-jax[torch]'")
    import tempfile

    import jax

    from unitok.host_memory import keep_freed_memory

    kept = keep_freed_memory()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    print(
        f"core {CORE}, 1 thread, freed memory kept: {kept}; jax {jax.__version__}, torch {torch.__version__}, ",
        end="",
    )
    print(f"transformers {transformers.__version__}, load average {os.getloadavg()[0]:.1f}")
    reps, count = (1, 16) if args.quick else (args.reps, 160)
    for part in args.parts.split(","):
        with tempfile.TemporaryDirectory() as folder:
            if part == "packed":
                packed(8192, reps, count, folder)
            else:
                plain(int(part), reps, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
