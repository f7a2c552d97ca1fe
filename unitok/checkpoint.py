"""Checkpoints that are whole or absent, verified before use. The only file that names orbax.

    checkpoints/STEP/                written by orbax beside its place, then renamed
    checkpoints/STEP/manifest.json   written last: size and SHA-256 of every file, shapes of every array,
                                     vocabulary, data position, metrics, and its own SHA-256

A step counts as saved once its manifest lies there: orbax alone names steps that are not durable yet
and restores flipped bits without a word. The state is a dict of pytrees, each stored under its name,
so that the predictor reads `params` or `ema` without the optimizer.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from unitok.checksums import MANIFEST, damage, read_manifest, remove, write_manifest
from unitok.errors import InputError, RunError
from unitok.run import read_vocabulary
from unitok.vocabulary import Vocabulary

State = dict[str, Any]


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Checkpoints:
    """The checkpoints of one run folder. Reading changes nothing; whoever saves holds `run.lock_run`.

    keep: newest steps that stay, besides the best by `metrics["loss"]`. vocabulary: of the state that is
    saved, and what a restored step must have been saved with; None: the run folder's own.
    """

    def __init__(
        self,
        workdir: str | Path,
        keep: int = 3,
        vocabulary: Vocabulary | None = None,
        log: Callable[[str], None] = _to_stderr,
    ) -> None:
        self.path = (Path(workdir) / "checkpoints").absolute()
        self.keep = keep
        self._vocabulary = vocabulary
        self._workdir = Path(workdir)
        self._log = log
        self._damaged: set[int] = set()  # what this object has found so, by reading every file
        self._intact: set[int] = set()
        self._writer: ThreadPoolExecutor | None = None
        self._pending: tuple[int, Future[None]] | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        if self._vocabulary is None:
            self._vocabulary = read_vocabulary(self._workdir)
        return self._vocabulary

    # ---- what there is ----------------------------------------------------------------------

    def steps(self) -> list[int]:
        """Steps that are durable, ascending; those found damaged by this object left out."""
        if not self.path.is_dir():
            return []
        found = [int(p.name) for p in self.path.iterdir() if p.name.isdigit()]
        return sorted(
            s for s in found if s not in self._damaged and (self._folder(s) / MANIFEST).is_file()
        )

    def best_step(self) -> int | None:
        """The step of least validation loss, or None where no step was saved with one."""
        losses = {}
        for step in self.steps():
            manifest = read_manifest(self._folder(step))
            loss = (manifest or {}).get("metrics", {}).get("loss")
            if isinstance(loss, float | int) and math.isfinite(loss):
                losses[step] = loss
        return min(losses, key=lambda step: losses[step]) if losses else None

    def metrics(self, step: int) -> dict[str, Any]:
        """What was saved with a step, {} where its manifest cannot be read."""
        return (read_manifest(self._folder(step)) or {}).get("metrics", {})

    def _folder(self, step: int) -> Path:
        return self.path / str(step)

    # ---- saving -----------------------------------------------------------------------------

    def save(
        self, step: int, state: State, data_state: Any, metrics: Mapping[str, Any] | None = None
    ) -> None:
        """Begin to save; returns once the arrays may be donated. One save runs at a time.

        data_state and metrics: JSON-able. Raises RunError where the save before this one failed.
        """
        self.wait()
        manifest = {
            "format": 1,
            "step": step,
            "vocabulary": self.vocabulary.manifest(),
            "data": json.loads(json.dumps(data_state)),
            "metrics": json.loads(json.dumps(dict(metrics or {}))),
            "arrays": _signature(state),
        }
        if jax.process_index() == 0:
            remove(self._folder(step))  # a step written again after falling back behind it
        _barrier("unitok save")
        try:
            response = ocp.save_checkpointables_async(self._folder(step), state)
        except Exception as error:
            raise self._save_failed(step, error) from error
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending = (step, self._writer.submit(self._finish, response, manifest))

    def _finish(self, response: Any, manifest: dict[str, Any]) -> None:
        """In the writer's thread: wait for orbax, then make the step count, then drop old ones."""
        response.result()
        if jax.process_index() != 0:
            return
        folder = self._folder(manifest["step"])
        write_manifest(folder, manifest)
        self._damaged.discard(manifest["step"])
        self._intact.discard(manifest["step"])
        self._prune()

    def wait(self) -> None:
        """Until the last save is durable. Raises RunError where it failed, saying what is safe."""
        if self._pending is None:
            return
        (step, future), self._pending = self._pending, None
        try:
            future.result()
        except Exception as error:
            raise self._save_failed(step, error) from error

    def _save_failed(self, step: int, error: Exception) -> RunError:
        steps = self.steps()
        safe = f"step {steps[-1]} is safe" if steps else "no earlier step was saved"
        return RunError(
            f"{self._folder(step)}: could not be saved ({type(error).__name__}: {str(error)[:200]}); "
            f"{safe}; mend the disk and run the same command again"
        )

    def _prune(self) -> None:
        """Keep the newest `keep` and the best; remove the rest, half-written and damaged ones too."""
        kept = {str(step) for step in [*self.steps()[-self.keep :], self.best_step()]}
        for folder in self.path.iterdir():
            if folder.is_dir() and folder.name not in kept:
                remove(folder)

    # ---- restoring --------------------------------------------------------------------------

    def restore(self, abstract_state: State, step: int | None = None) -> tuple[int, State, Any]:
        """(step, state, data position) of the newest intact step, or of `step`.

        abstract_state: dict of pytrees of ShapeDtypeStruct with shardings; only its names are read.
        Every file is verified first. A damaged step is named on one line and the next older one is taken.
        Raises InputError where there is no step, or it has other arrays than `abstract_state`;
        VocabularyMismatch; RunError where no step is intact.
        """
        step = self.intact_step(step)
        manifest = read_manifest(self._folder(step))
        assert manifest is not None, "verified above"
        saved = Vocabulary.from_manifest(manifest["vocabulary"])
        here = f"run {self._workdir}"
        self.vocabulary.require_same(saved, here, f"checkpoint {self._folder(step)}")
        self._require_arrays(step, manifest["arrays"], abstract_state)
        state = ocp.load_checkpointables(self._folder(step), abstract_state)
        return step, {name: state[name] for name in abstract_state}, manifest["data"]

    def matching(self, step: int, abstract_state: State) -> list[str]:
        """Names of the parts of the state that were saved with just these arrays."""
        saved = (read_manifest(self._folder(step)) or {}).get("arrays", {})
        parts = []
        for name, part in abstract_state.items():
            mine = {key: shape for key, (shape, _) in _signature({name: part}).items()}
            theirs = {k: v[0] for k, v in saved.items() if k.split("/")[0] == name}
            if mine == theirs:
                parts.append(name)
        return parts

    def intact_step(self, step: int | None = None) -> int:
        """The newest step whose every file has its checksum (`step` itself where it is given)."""
        chosen = self._verify(step) if jax.process_index() == 0 else 0
        if isinstance(chosen, Exception):
            error, chosen = chosen, -1
        if jax.process_count() > 1:  # one process reads the disk, all go on from the same step
            chosen = int(multihost_utils.broadcast_one_to_all(np.int32(chosen)))
        if chosen < 0:
            raise error if jax.process_index() == 0 else RunError("process 0 found no checkpoint")
        return chosen

    def _verify(self, step: int | None) -> int | Exception:
        steps = self.steps()
        if step is not None and step not in steps:
            return InputError(
                f"{self.path}: no step {step}; there are {', '.join(map(str, steps)) or 'none'}"
            )
        if not steps:
            return InputError(f"{self.path}: no checkpoint; was anything saved in this run folder?")
        for candidate in reversed(steps) if step is None else [step]:
            problem = None if candidate in self._intact else damage(self._folder(candidate))
            if problem is None:
                self._intact.add(candidate)
                if candidate != steps[-1] and step is None:
                    self._log(f"checkpoint: going on from the newest intact step, {candidate}")
                return candidate
            self._damaged.add(candidate)
            self._log(f"checkpoint {self._folder(candidate)} is damaged ({problem}); left aside")
        rest = ", ".join(map(str, self.steps()))
        return RunError(
            f"{self.path}: "
            + (
                f"step {step} is damaged; there are {rest or 'no others'}"
                if step is not None
                else "no step is intact"
            )
            + "; restore the folder from a copy, or train again in another --workdir"
        )

    def _require_arrays(self, step: int, saved: Mapping[str, Any], wanted: State) -> None:
        for name, (shape, _) in _signature(wanted).items():
            if name not in saved or saved[name][0] != shape:
                there = saved[name][0] if name in saved else "nothing"
                raise InputError(
                    f"{self._folder(step)}: holds {there} under {name}, this config wants {shape}; the "
                    "model or optimizer is another one: use another --workdir, or take the config back"
                )


def restore_params(
    workdir: str | Path, step: int | None = None, ema: bool = True, abstract: Any = None
) -> tuple[int, Any]:
    """(step, parameters) for use, the optimizer left on disk.

    ema: the averaged weights, where the run keeps them. abstract: pytree of ShapeDtypeStruct that says
    sharding and dtype (any mesh, any float type); None: on the first device as they were saved.
    Raises as `Checkpoints.restore`.
    """
    checkpoints = Checkpoints(workdir)
    step = checkpoints.intact_step(step)
    manifest = read_manifest(checkpoints._folder(step))
    arrays = (manifest or {})["arrays"]
    name = "ema" if ema and any(key.startswith("ema/") for key in arrays) else "params"
    if abstract is None:
        abstract = _abstract(arrays, name)
    _, state, _ = checkpoints.restore({name: abstract}, step)
    return step, state[name]


# ---- growth of the vocabulary -------------------------------------------------------------

# Parameters with a row (axis 0) for each id or each modality.
TABLES = {"embedding": "ids", "head": "ids", "modality": "modalities"}


def grow(state: State, fresh: State, old: Vocabulary, new: Vocabulary) -> State:
    """`state` of vocabulary `old` for vocabulary `new`, which appends blocks to it.

    fresh: a just initialised state of the new vocabulary: its shapes, shardings and new rows are taken
    (so new rows are distributed as all others were, with empty moments). Rows of old ids keep their bits
    in embedding, head, modality embedding, the optimizer's moments and the EMA. Padding rows past the old
    vocabulary were never trained, and count as new. Raises VocabularyMismatch where `new` does not extend
    `old`.
    """
    if not new.extends(old):
        new.require_same(old, "the grown vocabulary", "the checkpoint")
    kept = {"ids": old.size, "modalities": len(old.blocks)}
    rows = {"ids": old.padded_size, "modalities": len(old.blocks)}

    def merge(path: Any, fresh_leaf: Any, leaf: Any) -> Any:
        what = TABLES.get(_name(path[-1]))
        if what is None or leaf.ndim == 0 or leaf.shape[0] != rows[what]:
            return leaf  # no table, or the factored moment (Adafactor) of its other axis
        added = fresh_leaf[kept[what] :].astype(leaf.dtype)
        return jnp.concatenate([leaf[: kept[what]], added])

    shardings = jax.tree.map(lambda leaf: leaf.sharding, fresh)
    return jax.jit(
        lambda a, b: jax.tree_util.tree_map_with_path(merge, a, b), out_shardings=shardings
    )(fresh, state)


# ---- pytrees ------------------------------------------------------------------------------


def _name(key: Any) -> str:
    return str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))


def _signature(state: State) -> dict[str, tuple[list[int], str]]:
    """Path of every array -> (shape, dtype), in JSON's types."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {"/".join(map(_name, p)): [list(x.shape), str(x.dtype)] for p, x in leaves}  # type: ignore[misc]


def _abstract(arrays: Mapping[str, Any], part: str) -> Any:
    """The nested dict of one part of the state, each array whole on the first device."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    tree: dict[str, Any] = {}
    for path, (shape, dtype) in arrays.items():
        first, *keys = path.split("/")
        if first != part:
            continue
        node = tree
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype), sharding=sharding)
    return tree


def _barrier(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
