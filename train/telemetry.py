"""What the run says of itself: model FLOP/s beside the machine's roof, metrics.jsonl, TensorBoard, a line.

A step's metrics are fetched while the next one runs, so the device never waits for the reader.
Lines of metrics.jsonl: {"step", "split": "train" | "eval", "loss", "nll": {modality: nats a token},
"accuracy": {modality: share of tokens}, ...}; those of training add rates, those of data sets counts.
"""

from __future__ import annotations

import collections
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text
from tensorboardX import SummaryWriter

from unitok.atomic import replacing
from unitok.config import ModelConfig
from unitok.errors import RunError

SKIPPED_AT_MOST = 50  # steps in a row whose loss or gradient was not finite
PLAIN_EVERY = 10.0  # seconds between lines where stdout is no terminal
LINES = 10_000  # of training in metrics.jsonl, at the most


def step_flops(config: ModelConfig, vocabulary_rows: int, B: int, S: int, T: int) -> float:
    """Model FLOP of one training step on a [B, S] + [B, T] batch: matmuls forward and twice backward.

    The PaLM convention (Chowdhery et al. 2022, appendix B) for an encoder-decoder: attention in full,
    recomputation and elementwise work not counted.
    """
    D, F = config.d_model, config.d_ff
    inner, kv = config.num_heads * config.head_size, config.kv_heads * config.head_size
    mlp = (3 if config.gated else 2) * D * F
    own = 2 * D * inner + 2 * D * kv + mlp  # multiplications a token and layer
    encoder = config.encoder_layers * S * (own + 2 * S * inner)
    decoder = config.decoder_layers * T * (own + 2 * D * inner + 2 * (S + T) * inner)
    cross = config.decoder_layers * S * 2 * D * kv
    head = T * D * vocabulary_rows
    return 3.0 * 2.0 * B * (encoder + decoder + cross + head)


def matmul_roof(dtype: str) -> float:
    """FLOP/s that a large matrix product reaches here: all devices of the run, best of eight tries."""
    device = jax.local_devices()[0]
    n = 1024 if device.platform == "cpu" else 8192
    x = jax.device_put(jnp.ones((n, n), dtype), device)
    multiply = jax.jit(lambda a, b: jnp.dot(a, b, preferred_element_type=jnp.float32))
    multiply(x, x).block_until_ready()
    best = math.inf
    for _ in range(8):
        start = time.perf_counter()
        multiply(x, x).block_until_ready()
        best = min(best, time.perf_counter() - start)
    # Virtual CPU devices share their cores: one of them already shows the roof of its process.
    devices = jax.process_count() if device.platform == "cpu" else jax.device_count()
    return 2.0 * n**3 / best * devices


def by_modality(names: tuple[str, ...], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """nll and accuracy a token of each modality that had any, and nll over all; of contrastive pairs, where there
    are any, nll and recall at 1 a pair (nll_all is theirs where nothing else is asked). Arrays [M], in sums."""
    nll_M, tokens_M, correct_M = (
        np.asarray(metrics[k]) for k in ("nll_M", "tokens_M", "correct_M")
    )
    seen = [i for i in range(len(names)) if tokens_M[i] > 0]
    pairs = float(metrics.get("pairs", 0))
    of_pairs = {}
    if pairs:
        of_pairs["contrastive"] = {
            "nll": float(metrics["pair_nll"]) / pairs,
            "recall": float(metrics["pair_hits"]) / pairs,
            "pairs": pairs,
            "left_out": float(metrics["pairs_left_out"]),
        }
    total = float(tokens_M.sum())
    only_pairs = of_pairs["contrastive"]["nll"] if pairs and not total else 0.0
    return of_pairs | {
        "nll": {names[i]: float(nll_M[i] / tokens_M[i]) for i in seen},
        "accuracy": {names[i]: float(correct_M[i] / tokens_M[i]) for i in seen},
        "nll_all": float(nll_M.sum()) / total if total else only_pairs,
    }


class Recorder:
    """Writes what is measured. In processes other than the first it only counts skipped steps."""

    def __init__(self, workdir: Path, names: tuple[str, ...], steps: int, start: int) -> None:
        self.names, self.steps = names, steps
        self.step_flops = self.roof = 0.0  # set once the row's shape is known
        self.first = jax.process_index() == 0
        self._pending: tuple[int, dict[str, Any]] | None = None
        self._recent: collections.deque[tuple[float, float]] = collections.deque(maxlen=20)
        self._last_plain = -math.inf
        self._every = max(1, steps // LINES)
        if self.first:
            self._console = Console()
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            if self._console.is_terminal:
                self._live.start()
            self._file = _continue_lines(workdir / "metrics.jsonl", start)
            self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1)

    def say(self, line: str) -> None:
        """One line that stays."""
        if self.first:
            self._console.print(Text(line), soft_wrap=True)

    def train(self, step: int, metrics: dict[str, Any]) -> None:
        """Take this step's metrics (on device), write the previous step's.

        Raises RunError after SKIPPED_AT_MOST steps in a row that could not be applied.
        """
        previous, self._pending = self._pending, (step, metrics)
        if previous is not None:
            self._write_train(*previous)

    def flush(self) -> None:
        """Write the step still held back, and start the clock anew: what follows is no training."""
        if self._pending is not None:
            previous, self._pending = self._pending, None
            self._write_train(*previous)
        self._recent.clear()

    def _write_train(self, step: int, on_device: dict[str, Any]) -> None:
        metrics = jax.device_get(on_device)
        if metrics["skipped_in_row"] >= SKIPPED_AT_MOST:
            raise RunError(
                f"step {step}: loss or gradient not finite {SKIPPED_AT_MOST} times in a row; the weights "
                "were left untouched; lower optimizer.learning_rate, or look at the data of these steps"
            )
        if not self.first:
            return
        self._recent.append((time.perf_counter(), float(metrics["tokens"])))
        row = {key: float(metrics[key]) for key in ("loss", "grad_norm", "learning_rate", "fill")}
        row |= (
            {"skipped": int(metrics["skipped"])} | by_modality(self.names, metrics) | self._rates()
        )
        if step % self._every == 0 or step == self.steps:
            self.write(step, "train", row)
        self._show(step, row)

    def _rates(self) -> dict[str, float]:
        """Over the last steps; empty until two were seen."""
        if len(self._recent) < 2:
            return {}
        seconds = max(self._recent[-1][0] - self._recent[0][0], 1e-9)
        steps = len(self._recent) - 1
        tokens = sum(count for _, count in list(self._recent)[1:])
        rates = {"tokens_per_s": tokens / seconds, "seconds_per_step": seconds / steps}
        if self.step_flops and self.roof:
            flops = self.step_flops * steps / seconds
            rates |= {"model_flops_per_s": flops, "roof_share": flops / self.roof}
        return rates

    def write(self, step: int, split: str, row: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl, and every number of it to TensorBoard."""
        if not self.first:
            return
        line = {"step": step, "split": split, "time": round(time.time(), 3), **row}
        self._file.write(json.dumps(_finite(line), allow_nan=False) + "\n")
        self._file.flush()
        for name, value in _flat(row):
            if math.isfinite(value):
                self._board.add_scalar(f"{split}/{name}", value, step)

    def _show(self, step: int, row: Mapping[str, Any]) -> None:
        losses = " ".join(f"{name} {value:.3f}" for name, value in row["nll"].items())
        line = f"step {step}/{self.steps}  nll {losses}"
        if "contrastive" in row:
            line += f" pairs {row['contrastive']['nll']:.3f}"
        if "tokens_per_s" in row:
            line += f"  {row['tokens_per_s']:,.0f} tok/s"
            if "roof_share" in row:
                line += (
                    f"  {_si(row['model_flops_per_s'])}FLOP/s ({row['roof_share']:.0%} of the roof)"
                )
            line += f"  {_clock((self.steps - step) * row['seconds_per_step'])} to go"
        if row["skipped"]:
            line += f"  {row['skipped']} skipped"
        if self._console.is_terminal:
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
        elif time.monotonic() - self._last_plain >= PLAIN_EVERY or step == self.steps:
            self._last_plain = time.monotonic()
            print(line, flush=True)

    def close(self) -> None:
        if self.first:
            self._live.stop()
            self._file.close()
            self._board.close()


def _continue_lines(file: Path, start: int) -> Any:
    """metrics.jsonl opened for appending, less the lines past step `start`: they will come again."""
    kept = []
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if json.loads(line)["step"] <= start:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue  # the half line of a killed run
    with replacing(file) as fresh:
        fresh.write_text("".join(kept), encoding="utf-8")
    return open(file, "a", encoding="utf-8")


def _finite(value: Any) -> Any:
    """JSON has no NaN: None stands for it."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flat(row: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    pairs: list[tuple[str, float]] = []
    for key, value in row.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            pairs.append((prefix + key, float(value)))
    return pairs


def _si(number: float) -> str:
    for factor, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= factor:
            return f"{number / factor:.1f} {letter}"
    return f"{number:.0f} "


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
