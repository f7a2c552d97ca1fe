"""Parquet files through pyarrow (extra `parquet`), no more of them than `limits.MAX_BYTES` once decoded.

What a file says of its sizes bounds nothing: a dictionary page holds a long string once, its column any
number of times. So batches are decoded one after another and what they really take is added up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unitok.data import limits
from unitok.errors import InputError

OBJECT_BYTES = 32  # of a number as a Python object, and of the place that names it in a list
ROWS = 64  # decoded at once where cells are of any length
FIXED_ROWS = 1 << 16  # where they are numbers


def read_objects(path: Path) -> dict[str, list[Any]]:
    """Every column as Python objects: numbers, strings, bytes, lists, dicts. Raises InputError."""
    found: dict[str, list[Any]] = {}
    total = 0
    for batch in _batches(path, ROWS, numbers=False):
        total += batch.nbytes + OBJECT_BYTES * sum(map(_cells, batch.columns))
        _require_room(path, total)
        for name, column in zip(batch.schema.names, batch.columns):
            found.setdefault(name, []).extend(column.to_pylist())
    if not found:
        raise InputError(f"{path}: no rows; want one row a record")
    return found


def read_numbers(path: Path) -> np.ndarray:
    """float64 [rows, columns] of the columns of numbers; nulls are NaN. No other column is read."""
    parts: list[np.ndarray] = []
    total = 0
    for batch in _batches(path, FIXED_ROWS, numbers=True):
        total += 8 * batch.num_rows * batch.num_columns
        _require_room(path, total)
        columns = [c.to_numpy(zero_copy_only=False) for c in batch.columns]
        parts.append(np.stack([c.astype(np.float64) for c in columns], axis=1))
    if not parts:
        raise InputError(f"{path}: no rows; a series needs one row a time step")
    return np.concatenate(parts)


def _batches(path: Path, rows: int, *, numbers: bool) -> Iterator[Any]:
    try:
        from pyarrow import parquet, types
    except ImportError:
        raise InputError(
            f"{path}: reading parquet needs pyarrow; pip install 'unitok-jax[parquet]'"
        ) from None
    try:
        opened = parquet.ParquetFile(limits.opened(path))
        schema, meta = opened.schema_arrow, opened.metadata
        # an early word on honest files: the running sum is what holds
        groups = (meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        if not numbers:
            _require_room(path, sum(groups))
        if len(set(schema.names)) != len(schema.names):
            raise InputError(f"{path}: two columns of the same name; rename one")
        names = schema.names
        if numbers:
            index = (schema.pandas_metadata or {}).get("index_columns", [])  # of pandas' rows
            names = [
                field.name
                for field in schema
                if (types.is_integer(field.type) or types.is_floating(field.type))
                and field.name not in index
            ]
            if not names:
                raise InputError(
                    f"{path}: no column of numbers; a series needs one row a time step"
                )
            _require_room(path, 8 * meta.num_rows * len(names))
        yield from opened.iter_batches(rows, columns=names, use_threads=False)
    except InputError:
        raise
    except Exception as error:  # arrow's own errors on damaged files
        message = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not a readable parquet file ({message})") from None


def _require_room(path: Path, size: int) -> None:
    if size > limits.MAX_BYTES:
        raise InputError(f"{path}: more than {limits.MAX_BYTES} bytes once decoded; split it")


def _cells(array: Any) -> int:
    """How many Python objects an arrow array becomes, those inside lists and structs included."""
    from pyarrow import types

    kind = array.type
    if types.is_struct(kind):
        return len(array) + sum(map(_cells, array.flatten()))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return len(array) + _cells(array.flatten())
    if types.is_map(kind):
        return len(array) + _cells(array.keys) + _cells(array.items)
    return len(array)
