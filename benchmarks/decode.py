"""Greedy decoding beside Hugging Face's T5 `generate`, CTranslate2 and a plain JAX loop on the same weights.

    python benchmarks/decode.py            both vocabularies, batch 1 and 16, about 10 minutes
    python benchmarks/decode.py --quick    one short round, no figure worth quoting

Shape: d_model 256, 4 + 4 layers, d_ff 1,024 (ReLU), 4 heads of 64; encoder 256 tokens, 128 new ones.
Ours is `unitok.generate.decode` whole: encoder, cross keys, and a loop with a grammar's mask. The JAX
loop (`_plain_decode.py`) is what one writes without this library. All in one process, on one pinned thread,
by turns; new tokens a second of its CPU time; freed memory is kept, in large pages, for all of them
(`unitok.host_memory`). The greedy tokens in float32 must equal all peers', every one, and be many
different ones; for bfloat16 and int8 the share of equal ones is shown, theirs and ours.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CORE = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
if __name__ == "__main__" and CORE is not None:
    os.sched_setaffinity(0, {CORE})  # before any library counts the cores
    os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402

SHAPE = {"d_model": 256, "d_ff": 1024, "num_heads": 4, "num_layers": 4, "d_kv": 64}
READ, NEW = 256, 128
BOS, EOS = 2, 1
Run = Callable[[], np.ndarray]


@dataclass(frozen=True)
class AnyIds:
    """The grammar of the peer's setting: any id of the table but EOS, as `min_new_tokens` makes it."""

    rows: int
    real: int

    def init(self) -> np.ndarray:
        return np.zeros(1, np.int32)

    def step(self, registers: Any, token: Any, budget: Any) -> tuple[Any, Any, Any, Any]:
        import jax.numpy as jnp

        ids = jnp.arange(self.rows)
        zero = jnp.zeros(3, jnp.int32)  # T5's relative bias counts slots, not positions
        return registers, (ids < self.real) & (ids != EOS), zero, jnp.int32(0)


def hf_model(vocabulary: int) -> Any:
    """Random weights whose answers depend on what was read and written: not one token over and over."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=vocabulary,
        dropout_rate=0.0,
        decoder_start_token_id=BOS,
        bos_token_id=BOS,
        tie_word_embeddings=False,  # a tied random table answers each token with itself
        **SHAPE,
    )
    model = T5ForConditionalGeneration(config).eval()
    head = torch.nn.Parameter(torch.randn(vocabulary, SHAPE["d_model"]) * SHAPE["d_model"] ** -0.5)
    model.lm_head.weight = head  # the library may have tied it all the same
    with torch.no_grad():  # what was just written weighs most: long walks before a cycle
        for layer in model.decoder.block:
            layer.layer[0].SelfAttention.o.weight *= 0.3
            layer.layer[1].EncDecAttention.o.weight *= 0.3
            layer.layer[2].DenseReluDense.wo.weight *= 0.3
    return model


def torch_run(model: Any, inputs: np.ndarray) -> Run:
    import torch

    ids = torch.tensor(inputs).long()
    mask = torch.ones_like(ids)
    sizes = {"min_new_tokens": NEW, "max_new_tokens": NEW, "do_sample": False, "num_beams": 1}

    def run() -> np.ndarray:
        with torch.no_grad():
            out = model.generate(input_ids=ids, attention_mask=mask, **sizes)
        return out[:, 1:].numpy()

    return run


def ctranslate2_run(folder: str, inputs: np.ndarray, kind: str) -> Run:
    """kind: float32 or int8. The converter wants a tokenizer; here an id is spelled by its number."""
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    class Ids:
        pad_token, eos_token, bos_token, unk_token = "0", str(EOS), str(BOS), "3"

        def __init__(self, size: int) -> None:
            self.size = size

        def get_vocab(self) -> dict[str, int]:
            return {str(token): token for token in range(self.size)}

        def convert_ids_to_tokens(self, token: int) -> str:
            return str(token)

    class Converter(TransformersConverter):
        def load_tokenizer(self, *args: Any, **options: Any) -> Any:
            return Ids(json.loads((Path(folder) / "config.json").read_text())["vocab_size"])

    with tempfile.TemporaryDirectory() as out:
        Converter(folder).convert(out, quantization=kind, force=True)
        translator = ctranslate2.Translator(
            out, device="cpu", compute_type=kind, inter_threads=1, intra_threads=1
        )
    source = [list(map(str, row)) for row in inputs.tolist()]
    lengths = {"min_decoding_length": NEW, "max_decoding_length": NEW, "max_input_length": 0}

    def run() -> np.ndarray:
        found = translator.translate_batch(source, beam_size=1, **lengths)
        return np.array([list(map(int, one.hypotheses[0])) for one in found])

    return run


def plain_jax_run(model: Any, inputs: np.ndarray, kind: str) -> Run:
    """kind: float32 or bfloat16."""
    import jax
    from _plain_decode import generate, weights

    params, ids = weights(model, kind), jax.device_put(inputs)
    return lambda: np.asarray(generate(params, ids, NEW, BOS))


def our_run(folder: str, inputs: np.ndarray, kind: str) -> Run:
    """kind: float32, bfloat16, or int8 (8-bit weights, float32 operands)."""
    import dataclasses

    import jax

    from unitok import generate
    from unitok.model import EncoderDecoder
    from unitok.model.import_t5 import load_t5
    from unitok.model.precision import in_dtype

    config, params, sizes = load_t5(folder)
    dtype = "float32" if kind == "int8" else kind
    model = EncoderDecoder(dataclasses.replace(config, dtype=dtype), sizes)
    params = in_dtype(jax.tree.map(jax.numpy.asarray, params), kind)
    batch, grammar = len(inputs), AnyIds(sizes.rows, sizes.real)
    zeros = np.zeros((batch, READ), np.int32)
    prompts = generate.Prompts(inputs, np.zeros((batch, READ, 3), np.int32), zeros, zeros + 1)
    column = lambda value, dtype: np.full(batch, value, dtype)  # noqa: E731
    controls = generate.Controls(
        budget=column(NEW, np.int32),
        seed=np.zeros((batch, 2), np.uint32),
        top_k=column(0, np.int32),
        **{
            name: column(1, np.float32)
            for name in ("temperature", "top_p", "min_p", "penalty", "guidance", "length_penalty")
        },
    )
    prompts, controls = jax.device_put((prompts, controls))
    plan = generate.Plan(NEW)
    return lambda: np.asarray(
        generate.decode(model, grammar, plan, params, prompts, controls)[0]  # type: ignore[arg-type]
    )


def interleaved(runs: dict[str, Run], reps: int) -> dict[str, list[float]]:
    """CPU seconds of each by turn; the order is reversed every other turn, the first turn dropped."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for rep in range(reps + 1):
        for name in list(runs)[:: 1 if rep % 2 else -1]:
            start = time.process_time()
            runs[name]()
            if rep:
                seconds[name].append(time.process_time() - start)
    return seconds


def compare(vocabulary: int, batch: int, reps: int, folder: str) -> dict[str, Any]:
    inputs = np.random.default_rng(batch).integers(3, vocabulary, (batch, READ)).astype(np.int32)
    model = hf_model(vocabulary)
    model.save_pretrained(folder)
    runs = {
        "torch generate f32": torch_run(model, inputs),
        "CTranslate2 f32": ctranslate2_run(folder, inputs, "float32"),
        "CTranslate2 int8": ctranslate2_run(folder, inputs, "int8"),
        "plain JAX f32": plain_jax_run(model, inputs, "float32"),
        "plain JAX bf16": plain_jax_run(model, inputs, "bfloat16"),
        "ours f32": our_run(folder, inputs, "float32"),
        "ours bf16": our_run(folder, inputs, "bfloat16"),
        "ours int8": our_run(folder, inputs, "int8"),
    }
    answers = {name: run() for name, run in runs.items()}
    truth = answers["torch generate f32"]
    same = {name: float((ids == truth).mean()) for name, ids in answers.items()}
    different = float(np.mean([len(np.unique(row)) for row in truth]))
    print(
        f"\nvocabulary {vocabulary:,}, batch {batch}: {different:.0f} different tokens of {NEW} a row"
    )
    if min(share for name, share in same.items() if name.endswith("f32")) < 1:
        sys.exit(f"decode: greedy tokens differ ({same}); a speed of other tokens compares nothing")
    if different < NEW / 4:
        sys.exit(f"decode: {different:.0f} different tokens a row: that they agree proves little")
    seconds = interleaved(runs, reps)
    rates = {}
    for name, spent in seconds.items():
        low, middle, high = np.percentile([truth.size / s for s in spent], [25, 50, 75])
        each = [t / s for t, s in zip(seconds["torch generate f32"], spent)]
        rates[name] = {
            "tokens_per_cpu_s": middle,
            "ratio": statistics.median(each),
            "same": same[name],
        }
        print(
            f"  {name:<20} {middle:8,.0f} tok/CPU-s  [{low:,.0f} .. {high:,.0f}]   / torch "
            f"{statistics.median(each):.2f} [{min(each):.2f} .. {max(each):.2f}]   same tokens {same[name]:.4f}"
        )
    return rates


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--reps", type=int, default=5, help="turns that are counted")
    parser.add_argument(
        "--parts", default="8192x1,8192x16,32000x1,32000x16", help="vocabulary x batch"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    args = parser.parse_args()
    try:
        import ctranslate2
        import torch
        import transformers
    except ImportError:
        sys.exit(
            "decode: torch, transformers or ctranslate2 is missing; pip install 'unitok-jax[bench]'"
        )
    import jax

    from unitok.host_memory import keep_freed_memory

    kept = keep_freed_memory()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    print(f"core {CORE}, 1 thread, freed memory kept: {kept}; jax {jax.__version__}, ", end="")
    print(f"torch {torch.__version__}, ", end="")
    print(f"transformers {transformers.__version__}, ctranslate2 {ctranslate2.__version__}")
    print(f"load average {os.getloadavg()[0]:.1f}")
    figures = {}
    for part in args.parts.split(","):
        vocabulary, batch = map(int, part.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            figures[part] = compare(vocabulary, batch, 1 if args.quick else args.reps, folder)
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
