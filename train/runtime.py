"""What lies between the program and the machine: processes, compilation cache, batches onto devices."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import signal as signals
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from unitok.config import Config, ConfigError
from unitok.errors import InputError
from unitok.interfaces import Batch

# ---- processes ----------------------------------------------------------------------------


def start_processes(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
    """Join the other processes of this run, where flags, JAX_* variables or a cluster ask for it.

    coordinator: HOST:PORT of process 0; without it JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and
    JAX_PROCESS_ID are read, then Slurm's, Open MPI's and TPU pods' own variables. Raises InputError.
    """
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    if coordinator is None and processes is None and process is None:
        if _in_cluster():
            jax.distributed.initialize()
        return
    processes = _given("--processes", "JAX_NUM_PROCESSES", processes)
    process = _given("--process", "JAX_PROCESS_ID", process)
    if coordinator is None:
        raise InputError("--coordinator is missing; give HOST:PORT of process 0")
    if not 0 <= process < processes:
        raise InputError(f"--process: want 0 to {processes - 1}, got {process}")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(coordinator, processes, process)


def _given(flag: str, variable: str, value: int | None) -> int:
    text = os.environ.get(variable, "") if value is None else str(value)
    if not text.isdigit():
        raise InputError(f"{flag}: a number is wanted, here or as {variable}")
    return int(text)


def _in_cluster() -> bool:
    sizes = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    many = any(int(os.environ.get(name) or 1) > 1 for name in sizes)
    return many or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


def barrier(name: str) -> None:
    """Until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def broadcast(number: int) -> int:
    """The first process' number, in every process, once all have asked."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


# ---- batches ------------------------------------------------------------------------------


def feeding(sharding: Any, config: Config) -> tuple[int, int]:
    """(index, count): which of how many equal parts of a batch's rows this process reads.

    Processes that only differ along the mesh's tensor axis read the same part. Raises ConfigError where
    the rows do not divide, or a process would hold rows that do not lie side by side.
    """
    rows, parts, shape = config.data.batch_size, config.optimizer.accumulate, sharding.mesh.shape
    if rows % (parts * shape["data"] * shape["fsdp"]):
        raise ConfigError(
            f"data.batch_size: {rows} rows do not divide into optimizer.accumulate {parts} x mesh.data "
            f"{shape['data']} x mesh.fsdp {shape['fsdp']}"
        )
    slices = [
        index[0].indices(rows)
        for index in sharding.addressable_devices_indices_map((rows,)).values()
    ]
    mine = {row for start, stop, _ in slices for row in range(start, stop)}
    first, size = min(mine), len(mine)
    if max(mine) - first + 1 != size or rows % size or first % size:
        raise ConfigError(
            "mesh: a process' rows of the batch are not one block; order data before tensor"
        )
    return first // size, rows // size


def to_devices(batch: Batch, sharding: Any) -> Batch:
    """This process' rows as its part of the global arrays."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


# ---- the program's surroundings -----------------------------------------------------------


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, unless JAX was told of one already.

    The folder's name holds the versions, the flags and the processor's features: what was compiled for
    another machine or library is never loaded.
    """
    if jax.config.values.get("jax_compilation_cache_dir") is not None:  # type: ignore[attr-defined]
        return
    parts = [jax.__version__, jax.lib.__version__, platform.machine(), _processor_features()]
    parts.append(os.environ.get("XLA_FLAGS", ""))
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "unitok" / "compiled" / name
    with contextlib.suppress(OSError):  # a home that cannot be written: compile every time
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _processor_features() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return platform.processor()


class StopRequest:
    """Whether the run was asked to stop (SIGTERM); all processes answer yes at the same step."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Alone, catch SIGTERM here; among several processes JAX's preemption service does."""
        alone = jax.process_count() == 1
        if not alone or threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = signals.signal(signals.SIGTERM, lambda *_: self._asked.set())
        try:
            yield self
        finally:
            signals.signal(signals.SIGTERM, before)

    def at(self, step: int) -> bool:
        """Asked once after every step."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked.is_set()
