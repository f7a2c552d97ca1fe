"""The training stream: weighted tasks, packed window by window, exact to resume. The only file that names grain.

A run reads K logical streams (`config.data.streams`); a process owns a contiguous share of them, and a
batch is the rows of its streams in order, so the global batch is the same for every process count that
divides K. Window w of stream k is a pure function of (config, k, w): its draws are fixed by ordinals (the
j-th record of a task's e-th shuffled epoch), are packed together into a fixed number of rows, and what
does not fit any more is left out. A fixed number of rows makes the position in the data one integer, the
number of batches read, whatever the processes.

Axes: B rows of a batch, R rows of a window, S encoder length, T decoder length.
"""

from __future__ import annotations

import functools
import math
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
from absl import flags

from unitok.config import Config, ConfigError
from unitok.data import packing
from unitok.data.tasks import Task, build_tasks
from unitok.errors import InputError
from unitok.interfaces import BATCH_FIELDS, Batch, Example, Tokenizer
from unitok.sequence import Composer
from unitok.vocabulary import Vocabulary

SPARE = 1.06  # draws at hand for each that is expected to fit
SAMPLE = 768  # examples whose lengths choose the row's shape
SPLITS = ("train", "eval")


class Mixture:
    """Which record comes when: pure functions of a block number, nothing else. tasks share `blocks` evenly."""

    def __init__(self, tasks: list[Task], weights: list[float], seed: int, split: str) -> None:
        self.tasks, self.seed = tasks, seed
        self.salt = SPLITS.index(split)
        self.shares = np.array(weights) / np.sum(weights)

    def draws(self, block: int, size: int) -> list[tuple[int, int]]:
        """(task, ordinal) of the draws of a block of about `size`, shuffled.

        Task t gets ordinals floor(block * size * share) .. floor((block + 1) * size * share) - 1, so its
        share is exact over any stretch of blocks.
        """
        edges = [
            (math.floor(block * size * s), math.floor((block + 1) * size * s)) for s in self.shares
        ]
        pairs = [(t, n) for t, (low, high) in enumerate(edges) for n in range(low, high)]
        order = self._rng(7, block).permutation(len(pairs))
        return [pairs[i] for i in order]

    def example(self, task: int, ordinal: int) -> Example:
        """The record that a task's ordinal stands for: epoch e goes through a permutation of its own."""
        epoch, place = divmod(ordinal, len(self.tasks[task]))
        index = int(self._order(task, epoch)[place])
        return self.tasks[task].example(index, self._rng(11, task, ordinal))

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, self.salt, *key))

    @functools.lru_cache(maxsize=64)  # noqa: B019 (a mixture lives as long as the run)
    def _order(self, task: int, epoch: int) -> np.ndarray:
        return self._rng(13, task, epoch).permutation(len(self.tasks[task]))


class Windows:
    """Random access to packed windows of the local streams: a source for grain. Element i is stream i % n's
    window start + i // n, n streams."""

    def __init__(self, plan: Plan, mixture: Mixture, local: range, start: int) -> None:
        self.plan, self.mixture, self.local, self.start = plan, mixture, local, start

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, index: int) -> dict[str, Any]:
        window = self.start + index // len(self.local)
        return self.plan.window(self.mixture, self.local[index % len(self.local)], window)


class Plan:
    """How windows are cut: the row's shape, rows a window (R, whole batches of them), draws a window, and
    how many examples are expected to fit."""

    def __init__(
        self, shape: tuple[int, int], rows: int, draws: int, guess: int, config: Config
    ) -> None:
        self.shape, self.rows, self.draws, self.guess = shape, rows, draws, guess
        self.streams, self.seed = config.data.streams, config.seed
        self.refuse = config.data.too_long == "refuse"

    def window(self, mixture: Mixture, stream: int, window: int) -> dict[str, Any]:
        """The arrays of R rows, examples [R, tasks] in each, and examples dropped [tasks] as too long."""
        block = window * self.streams + stream
        examples: list[Example] = []
        owners: list[int] = []
        dropped = np.zeros(len(mixture.tasks), np.int64)
        used, full = np.zeros(2, np.int64), np.array(self.shape) * self.rows
        for task, ordinal in mixture.draws(block, self.draws):
            if (used > full).any():  # nothing after this draw can be part of a prefix that fits
                break
            example = mixture.example(task, ordinal)
            lengths = np.array([len(example.inputs), len(example.labels)])
            if (lengths > self.shape).any():
                self._too_long(mixture.tasks[task], lengths)
                dropped[task] += 1
                continue
            used += lengths
            examples.append(example)
            owners.append(task)
        kept, placed = packing.pack_prefix(lengths_of(examples), self.shape, self.rows, self.guess)
        # the first rows packed are the fullest: no batch should be all of one kind
        shuffle = np.random.default_rng((self.seed, 17, block)).permutation(self.rows)
        placed = shuffle[placed]
        arrays = packing.gather(examples[:kept], placed, self.rows, self.shape)
        counts = np.zeros((self.rows, len(mixture.tasks)), np.int64)
        np.add.at(counts, (placed, np.array(owners[:kept], np.int64)), 1)
        return {"arrays": arrays, "counts": counts, "dropped": dropped}

    def _too_long(self, task: Task, lengths: np.ndarray) -> None:
        if self.refuse:
            raise InputError(
                f"tasks.{task.name}: an example of {lengths[0]} + {lengths[1]} tokens in rows of "
                f"{self.shape[0]} + {self.shape[1]}; raise data.encoder_length and data.decoder_length, "
                "or set data.too_long='drop'"
            )


class Stream:
    """An endless iterator of numpy Batches: this process' rows. Reads ahead in threads, or in processes of
    its own (`workers`): the batches are the same. `close` ends those."""

    def __init__(
        self,
        plan: Plan,
        mixture: Mixture,
        local: range,
        rows_per_stream: int,
        prefetch: int,
        workers: int = 0,
    ) -> None:
        self._plan, self._mixture, self._local = plan, mixture, local
        self._rows, self._prefetch, self._workers = rows_per_stream, prefetch, workers
        self._batches = 0
        self._reader: Iterator[dict[str, Any]] | None = None
        self._held: list[dict[str, Any]] = []
        self._names = [task.name for task in mixture.tasks]
        self._examples = np.zeros(len(self._names), np.int64)
        self._dropped = np.zeros(len(self._names), np.int64)
        self._tokens = self._cells = 0

    @property
    def lengths(self) -> tuple[int, int]:
        """(S, T) of the rows."""
        return self._plan.shape

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Batch:
        per_window = self._plan.rows // self._rows
        window, place = divmod(self._batches, per_window)
        if self._reader is None:
            self._reader = self._read_from(window)
            self._held = []
        if place == 0 or not self._held:
            self._held = [next(self._reader) for _ in self._local]
            if place == 0:
                self._dropped += sum(held["dropped"] for held in self._held)
        rows = slice(place * self._rows, (place + 1) * self._rows)
        batch = Batch(
            **{
                name: np.concatenate([held["arrays"][name][rows] for held in self._held])
                for name in BATCH_FIELDS
            }
        )
        self._batches += 1
        self._examples += sum(held["counts"][rows].sum(axis=0) for held in self._held)
        self._tokens += int((batch.encoder_segments_BS > 0).sum())
        self._tokens += int((batch.decoder_segments_BT > 0).sum())
        self._cells += batch.encoder_ids_BS.size + batch.decoder_ids_BT.size
        return batch

    def _read_from(self, window: int) -> Iterator[dict[str, Any]]:
        windows = Windows(self._plan, self._mixture, self._local, window)
        per_window = self._plan.rows // self._rows
        ahead = max(1, math.ceil(self._prefetch / per_window)) * len(self._local)
        each = math.ceil(ahead / max(1, self._workers))  # windows ahead in one process
        # more threads than two only take turns at the interpreter's lock
        options = grain.ReadOptions(num_threads=min(each, 2), prefetch_buffer_size=each)
        dataset = grain.MapDataset.source(windows).to_iter_dataset(options)
        if self._workers:
            if (
                not flags.FLAGS.is_parsed()
            ):  # grain asks its own, which only absl's main would parse
                flags.FLAGS.mark_as_parsed()
            processes = grain.MultiprocessingOptions(self._workers, per_worker_buffer_size=each)
            dataset = dataset.mp_prefetch(processes, worker_init_fn=_begin_worker)
        return iter(dataset)

    def close(self) -> None:
        """End the processes that read ahead; the next batch starts them again."""
        if self._reader is not None and self._workers:
            self._reader.close()  # type: ignore[attr-defined]
        self._reader, self._held = None, []

    # ---- position and statistics ----------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The position: {"batches": n}, the same in every process. The next batch is number n."""
        return {"batches": self._batches, **self._shape_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to a position, forward or back; the next batch is what it was. Raises InputError for a state
        of a stream cut in another way."""
        for name, here in self._shape_state().items():
            if name in state and list(state[name]) != here:
                raise InputError(
                    f"data position: {name} was {list(state[name])} when it was saved, now {here}; "
                    "go on with the same data, tasks and config.data, or start from its parameters alone "
                    "with --config.init_from"
                )
        batches = state.get("batches")
        if not isinstance(batches, int) or batches < 0:
            raise InputError(f"data position: want a number of batches, got {batches!r}")
        self.close()
        self._batches = batches

    def _shape_state(self) -> dict[str, Any]:
        plan = self._plan
        return {"cut": [*plan.shape, plan.rows, plan.draws, plan.streams, self._rows, plan.seed]}

    def statistics(self) -> dict[str, Any]:
        """Since this process began: fill (share of cells that hold tokens), examples and dropped by task."""
        return {
            "fill": self._tokens / self._cells if self._cells else 0.0,
            "tokens": self._tokens,
            "examples": dict(zip(self._names, self._examples.tolist())),
            "dropped": dict(zip(self._names, self._dropped.tolist())),
        }


def _begin_worker(index: int, count: int) -> None:
    """A reading process leaves the accelerator to the one that trains, and ends when that one says so:
    a signal to stop goes to the whole group, and the trainer needs its batches until it has saved."""
    jax.config.update("jax_platforms", "cpu")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def build_stream(
    config: Config,
    tokenizers: Mapping[str, Tokenizer],
    vocabulary: Vocabulary,
    *,
    split: str,
    workdir: str | Path | None,
    process_index: int = 0,
    process_count: int = 1,
    lengths: tuple[int, int] | None = None,
) -> Stream:
    """The stream of `split` ("train" or "eval": each task's own train_split or eval_split).

    lengths: (S, T) chosen before (a training stream's, for its validation); else the config's, else
    chosen from a sample of the training mixture. The token cache lies in config.data.cache_dir or
    workdir/cache; without either, in memory. Raises ConfigError or InputError.
    """
    if split not in SPLITS:
        raise ValueError(f"split: want train or eval, got {split!r}")
    data = config.data
    if data.streams % process_count:
        raise ConfigError(
            f"data.streams: {data.streams} streams cannot be shared by {process_count} processes; "
            f"set a multiple of {process_count}"
        )
    folder = data.cache_dir or (Path(workdir) / "cache" if workdir is not None else None)
    composer = Composer(tokenizers, vocabulary)
    mixture = build_mixture(config, composer, split, Path(folder) if folder else None)
    fixed = (data.encoder_length, data.decoder_length)
    if lengths is None and None in fixed and split == "eval":
        train = build_mixture(config, composer, "train", Path(folder) if folder else None)
        lengths = packing.choose_shape(sample_lengths(train), fixed)
    plan = make_plan(config, mixture, lengths)
    share = data.streams // process_count
    local = range(process_index * share, (process_index + 1) * share)
    workers = data.workers if split == "train" else 0  # validation reads the same few batches again
    return Stream(plan, mixture, local, data.batch_size // data.streams, data.prefetch, workers)


def build_mixture(config: Config, composer: Composer, split: str, folder: Path | None) -> Mixture:
    """The tasks of a split with their weights ** (1 / temperature)."""
    tasks = build_tasks(config, composer, split, folder)
    weights = [task.config.weight ** (1 / config.data.temperature) for task in tasks]
    return Mixture(tasks, weights, config.seed, split)


def make_plan(config: Config, mixture: Mixture, lengths: tuple[int, int] | None) -> Plan:
    """Shape and window size from a sample of the mixture: a pure function of config and data."""
    data = config.data
    sample = sample_lengths(mixture)
    shape = lengths or packing.choose_shape(sample, (data.encoder_length, data.decoder_length))
    fits = sample[(sample <= shape).all(axis=1)]
    if not len(fits):
        least = sample.min(axis=0)
        raise InputError(
            f"data.encoder_length: no example fits rows of {shape[0]} + {shape[1]} tokens; the shortest "
            f"need {least[0]} and {least[1]}"
        )
    per_row = len(fits) / (int(packing.pack(fits, shape).max()) + 1)
    rows_per_batch = data.batch_size // data.streams
    rows = max(1, round(data.window / per_row / rows_per_batch)) * rows_per_batch
    kept = len(fits) / len(sample)  # the overlong are drawn too, then dropped
    draws = math.ceil(rows * per_row / kept * SPARE) + 2 * len(mixture.tasks)
    return Plan(shape, rows, draws, max(1, int(rows * per_row)), config)


def sample_lengths(mixture: Mixture, size: int = SAMPLE) -> np.ndarray:
    """(encoder, decoder) lengths [about `size`, 2] of the mixture's first examples."""
    return lengths_of([mixture.example(t, n) for t, n in mixture.draws(0, size)])


def lengths_of(examples: list[Example]) -> np.ndarray:
    pairs = [(len(example.inputs), len(example.labels)) for example in examples]
    return np.array(pairs, np.int64).reshape(-1, 2)
