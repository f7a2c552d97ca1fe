"""The training loop, read downward: open the run, find the place, step, look, save.

Starting again with the same command goes on where the newest intact checkpoint was, to the bit.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Mapping
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unitok.checkpoint import Checkpoints, State, grow
from unitok.config import Config, as_read_back
from unitok.config_cli import render
from unitok.data.mixture import build_stream
from unitok.errors import RunError
from unitok.host_memory import keep_freed_memory
from unitok.interfaces import Tokenizer
from unitok.model import EncoderDecoder, TableSizes
from unitok.run import lock_run
from unitok.sharding import batch_sharding, make_mesh
from unitok.train import optim, prepare, runtime, telemetry
from unitok.train.embeddings import from_codebooks
from unitok.train.step import Steps


class Stopped(RunError):
    """The run was asked to stop, and saved what it had: start it again to go on."""


def train(config: Config, tokenizers: Mapping[str, Tokenizer] | None = None) -> Path:
    """Train as `config` says, from scratch or from where this run folder stands; gives the folder.

    tokenizers: ready ones by block name, in place of building those of the config. Raises ConfigError,
    InputError, VocabularyMismatch before the first step; RunError, or Stopped after SIGTERM, in the run.
    """
    workdir = Path(config.workdir or Path("runs") / config.name)
    first = jax.process_index() == 0
    runtime.use_compilation_cache()
    keep_freed_memory()
    with lock_run(workdir) if first else contextlib.nullcontext():
        Training(config, workdir, tokenizers).run()
    if config.report and jax.process_count() > 1:
        _say(f"the report is made by one process: unitok eval --checkpoint={workdir}")
    elif config.report:
        (report,) = entry_points(group="unitok.programs", name="report")
        report.load()(workdir)
    return workdir


def _say(line: str) -> None:
    """A line of the first process."""
    if jax.process_index() == 0:
        print(line, flush=True)


class Training:
    """One run, opened. `run` is the loop."""

    def __init__(
        self, config: Config, workdir: Path, given: Mapping[str, Tokenizer] | None = None
    ) -> None:
        config = as_read_back(config)
        self.config, self.workdir = config, workdir
        _say(render(config, width=600))
        opened = prepare.open_together(config, workdir, given, _say)
        self.vocabulary, self.tokenizers = opened.vocabulary, opened.tokenizers
        self.roof = telemetry.matmul_roof(config.model.dtype)
        self.mesh = make_mesh(config.mesh)
        self.rows = batch_sharding(self.mesh)
        feed, feeds = runtime.feeding(self.rows, config)
        open_stream = partial(
            build_stream,
            config,
            opened.tokenizers,
            opened.vocabulary,
            workdir=workdir,
            process_index=feed,
            process_count=feeds,
        )
        self.stream = open_stream(split="train")
        self.eval_stream = open_stream(split="eval", lengths=self.stream.lengths)
        model = EncoderDecoder(config.model, TableSizes.from_vocabulary(opened.vocabulary))
        self.steps = Steps(model, config, self.mesh)
        self.checkpoints = Checkpoints(workdir, config.checkpoint.keep, opened.vocabulary, _say)

    # ---- the loop -------------------------------------------------------------------------

    def run(self) -> None:
        """From the newest checkpoint to `config.steps`."""
        config, every = self.config, self.config.checkpoint
        with jax.set_mesh(self.mesh), runtime.StopRequest().listening() as stop:
            start, state = self.begin()
            if start >= config.steps:
                _say(f"step {start} of {config.steps} is there already: nothing left to train")
                return
            recorder = self._recorder(start)
            # XLA's virtual CPU devices can deadlock when steps overlap (seen on jax 0.10).
            in_step = jax.devices()[0].platform == "cpu" and jax.device_count() > 1
            try:
                batches = iter(self.stream)
                for step in range(start + 1, config.steps + 1):
                    batch = runtime.to_devices(next(batches), self.rows)
                    state, metrics = self.steps.train(state, batch)
                    if in_step:
                        jax.block_until_ready(metrics)
                    recorder.train(step, metrics)
                    stopping = stop.at(step)
                    saving = stopping or step % every.every == 0 or step == config.steps
                    if saving or step % every.validate_every == 0:
                        recorder.flush()
                        scores = {} if stopping else self.validate(step, state, recorder)
                    if saving:
                        self.save(step, state, scores)
                    if stopping:
                        self.checkpoints.wait()
                        raise Stopped(f"stopped: step {step} is saved; the same command goes on")
            finally:
                self.stream.close()
                recorder.close()
                self.checkpoints.wait()
        runtime.barrier("unitok done")

    def _recorder(self, start: int) -> telemetry.Recorder:
        recorder = telemetry.Recorder(self.workdir, self.vocabulary.names, self.config.steps, start)
        S, T = self.stream.lengths
        rows, batch = self.vocabulary.padded_size, self.config.data.batch_size
        recorder.step_flops = telemetry.step_flops(self.config.model, rows, batch, S, T)
        recorder.roof = self.roof
        return recorder

    def validate(self, step: int, state: State, recorder: telemetry.Recorder) -> dict[str, Any]:
        """Loss on the same first batches of the eval split, of the weights that would be used."""
        sums: dict[str, Any] = {}
        params = state.get("ema", state["params"])
        for batch in self._eval_batches():
            metrics = self.steps.validate(params, runtime.to_devices(batch, self.rows))
            got = {name: np.asarray(value, np.float64) for name, value in metrics.items()}
            sums = {name: sums.get(name, 0.0) + value for name, value in got.items()}
        if not sums:
            return {}
        scores = telemetry.by_modality(self.vocabulary.names, sums)
        row = {"loss": scores.pop("nll_all"), **scores}
        recorder.write(step, "eval", row)
        recorder.write(step, "data", self.stream.statistics())
        parts = " ".join(f"{name} {value:.3f}" for name, value in row["nll"].items())
        recorder.say(f"step {step}  validation nll {row['loss']:.4f}  {parts}")
        return row

    def _eval_batches(self) -> list[Any]:
        if self._eval is None:
            count = self.config.checkpoint.validate_batches
            self._eval = list(itertools.islice(iter(self.eval_stream), count))
        return self._eval

    _eval: list[Any] | None = None

    # ---- the place --------------------------------------------------------------------------

    def save(self, step: int, state: State, scores: Mapping[str, Any]) -> None:
        """Everything that the next start needs, together: begins, and returns at once."""
        loss = scores.get("loss", math.nan)
        metrics = {"loss": loss} if math.isfinite(loss) else {}
        # Stream positions count global batches: one process' state is every process' state.
        position = {**self.stream.state(), "of": prepare.stream_digest(self.config)}
        self.checkpoints.save(step, state, position, metrics)

    def begin(self) -> tuple[int, State]:
        """(step, state) to go on from: this run's newest intact one, else a fresh one."""
        if self.checkpoints.steps():
            step, state, position = self.checkpoints.restore(self.steps.abstract_state())
            if position.get("of") == prepare.stream_digest(self.config):
                self.stream.restore(position)
            else:
                _say("data: the mixture is not the one before; its stream begins anew")
            _say(f"going on from step {step}")
            return step, state
        state = self.steps.init()
        if self.config.init_from is None:
            return 0, self._seeded(state)
        return 0, self._inherit(state)

    def _seeded(self, state: State) -> State:
        """The embeddings of learned tokenizers' codes begin as their codebooks lie."""
        table = state["params"]["embedding"]
        table = from_codebooks(table, self.tokenizers, self.vocabulary, self.config.seed)
        state["params"]["embedding"] = table
        if "ema" in state:
            state["ema"]["embedding"] = jnp.copy(
                table
            )  # an array cannot be donated under two names
        return state

    def _inherit(self, fresh: State) -> State:
        """Parameters of another run, with its moments and average where this optimiser has them too."""
        parent = Checkpoints(str(self.config.init_from), log=_say)
        sizes = TableSizes.from_vocabulary(parent.vocabulary)
        theirs = Steps(EncoderDecoder(self.config.model, sizes), self.config, self.mesh)
        abstract = theirs.abstract_state()
        step = parent.intact_step()
        parts = {"params", *parent.matching(step, abstract)} - {"progress"}
        wanted = {name: abstract[name] for name in parts}
        _, state, _ = parent.restore(wanted, step)
        if "ema" in fresh:
            # A copy: an array cannot be donated under two names.
            state.setdefault("ema", jax.tree.map(jnp.copy, state["params"]))
        kept = {name: fresh[name] for name in state}
        state = grow(state, kept, parent.vocabulary, self.vocabulary)
        if "optimizer" in state:
            state["optimizer"] = optim.restart_schedule(state["optimizer"])
        _say(f"starting from {', '.join(sorted(parts))} of {parent.path / str(step)}")
        return fresh | state
