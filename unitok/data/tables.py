"""Rows from files: csv, jsonl, json, or a value a file. Other formats of text: `text_formats.py`.

The path may be a pattern (`ucr.zip!*/*_{split}.tsv`): the files are read one after another, their rows
joined; `options.name`, a regular expression with named groups, makes fields of what each path says.
Every function raises InputError naming the file, the line and the remedy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unitok.data import archives, columns, files, limits
from unitok.data.columns import Column, Loaded
from unitok.errors import InputError
from unitok.values import Series

Rows = dict[str, list[Any]]  # field -> a value a row


def from_files(
    path: str, options: Mapping[str, Any], split: str | None, read: Callable[[Path], Rows]
) -> Loaded:
    """The rows of all files of a path or pattern, with the fields of options.name and options.modalities."""
    found = split_files(path, options, split)
    tables = [read(file) for file in found]
    names = set(tables[0])
    for file, table in zip(found, tables):
        if set(table) != names:
            raise InputError(
                f"{file}: columns {', '.join(table)}; {found[0].name} has {', '.join(tables[0])}"
            )
    sizes = [len(next(iter(table.values()))) for table in tables]
    rows: Rows = {name: [value for table in tables for value in table[name]] for name in tables[0]}
    for name, values in path_fields(found, options.get("name")).items():
        rows[name] = [value for value, size in zip(values, sizes) for _ in range(size)]
    fields = {name: columns.scalars(values) for name, values in rows.items()}
    for name, modality in (options.get("modalities") or {}).items():
        if name not in fields:
            raise InputError(
                f"{found[0]}: modalities names column {name!r}, which is missing; there are {', '.join(fields)}"
            )
        plain = rows[name]
        if plain and (isinstance(plain[0], bytes) or _holds_bytes(plain[0])):
            fields[name] = columns.packed(name, plain, modality)
        elif plain and isinstance(plain[0], str) and modality != "text":
            fields[name] = columns.media(name, plain, folder_of(found[0]), modality)
        else:
            fields[name] = columns.from_array(name, plain, modality)
    return Loaded(fields, columns.stamp(*found), folder=folder_of(found[0]))


def _holds_bytes(value: Any) -> bool:
    return isinstance(value, dict) and "bytes" in value


def split_files(path: str, options: Mapping[str, Any], split: str | None) -> list[Path]:
    """The data files: `{split}` in the path stands for the split's name, or for what split_names calls it."""
    if split is not None and "{split}" not in path:
        raise InputError(f"{path}: no split {split!r} in one file; give options.split shares")
    own = (options.get("split_names") or {}).get(split, split or "")
    pattern = limits.expand(path.replace("{split}", own))
    found = archives.matching(pattern)
    if not found:
        raise InputError(f"{pattern}: no file matches; check the path")
    return [limits.existing(file) for file in found]


def path_fields(paths: Sequence[Path], pattern: str | None) -> dict[str, list[Any]]:
    """Fields from the named groups of a regular expression found in each path; numbers become such."""
    if not pattern:
        return {}
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise InputError(f"source.options.name: no regular expression ({error})") from None
    if not wanted.groupindex:
        raise InputError(r"source.options.name: want named groups, as (?P<label>\d)_")
    rows = []
    for path in paths:
        match = wanted.search(path.as_posix())
        if match is None:
            raise InputError(f"{path}: options.name {pattern!r} does not match it; narrow the path")
        rows.append(match)
    return {name: typed([row[name] or "" for row in rows]) for name in wanted.groupindex}


def folder_of(file: Path) -> str:
    """Where files named in a data file lie: beside it, on disk or in its archive."""
    inside = archives.split_path(file)
    if inside is None:
        return str(file.parent)
    return f"{inside[0]}!{inside[1].rpartition('/')[0]}"


# ---- csv -------------------------------------------------------------------------------------


def read_csv(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """A field a column, plain or .gz. Columns of integers or numbers become such; empty cells of numbers NaN.
    Without a header they are c0, c1, ... options.gather {field: [first, last]}: these columns, counted from
    0 and last included (null: the last there is), become one series."""

    def read(file: Path) -> Rows:
        header, cells = files.read_table(file, options.get("delimiter", _delimiter(file)))
        if header is None:
            header = [f"c{i}" for i in range(len(cells[0]))]
        if len(set(header)) != len(header):
            raise InputError(f"{file}: two columns of the same name; rename one")
        gathered = options.get("gather") or {}
        rows, taken = _gather(gathered, cells, len(header), file) if gathered else ({}, set())
        kept = [i for i in range(len(header)) if i not in taken]
        return {**{header[i]: typed([row[i] for row in cells]) for i in kept}, **rows}

    return from_files(path, options, split, read)


def _gather(
    rule: Mapping[str, Any], cells: list[list[str]], width: int, file: Path
) -> tuple[Rows, set[int]]:
    found: Rows = {}
    taken: set[int] = set()
    for name, span in rule.items():
        if not isinstance(span, (list, tuple)) or len(span) != 2 or not isinstance(span[0], int):
            raise InputError(
                f"source.options.gather.{name}: want [first, last] columns, got {span!r}"
            )
        last = width - 1 if span[1] is None else span[1]
        if not 0 <= span[0] <= last < width:
            raise InputError(f"{file}: gather.{name} takes columns {span[0]} to {last} of {width}")
        taken |= set(range(span[0], last + 1))
        found[name] = [
            Series(numbers(row[span[0] : last + 1], file, i)) for i, row in enumerate(cells)
        ]
    return found, taken


def numbers(cells: list[str], file: Path, row: int) -> np.ndarray:
    """Cells as float32; empty ones and `?` are missing. Those missing at the end are not there: padding."""
    while cells and cells[-1].strip() in ("", "NaN", "nan"):
        cells = cells[:-1]
    try:
        return np.array(
            [float(c) if c.strip() not in ("", "?") else np.nan for c in cells], np.float32
        )
    except ValueError as error:
        raise InputError(
            f"{file}: row {row + 1} holds something that is no number ({error})"
        ) from None


def typed(cells: list[str]) -> list[Any]:
    """All as integers or all as numbers where they are; else the strings."""
    for kind in (int, float):
        try:
            return [kind(cell) if cell or kind is int else float("nan") for cell in cells]
        except ValueError:
            continue
    return cells


def _delimiter(file: Path) -> str:
    return "\t" if ".tsv" in file.suffixes else ","


# ---- json ------------------------------------------------------------------------------------


def read_jsonl(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """One JSON object a line, plain or .gz; every line has the fields of the first."""

    def read(file: Path) -> Rows:
        rows = []
        for number, line in enumerate(limits.read_text(file).split("\n"), 1):
            if not line.strip():
                continue
            if len(line) > limits.MAX_LINE:
                raise InputError(
                    f"{file}: line {number} is longer than {limits.MAX_LINE} characters"
                )
            try:
                rows.append((f"line {number}", json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise InputError(f"{file}: line {number} is no JSON ({str(error)[:80]})") from None
        return _table(file, rows, "one JSON object a line")

    return from_files(path, options, split, read)


def read_json(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """A list of objects, or an object of objects (its keys are field `key`), or of anything else (fields `key`
    and `value`); or a list of lists, whose places options.columns names."""
    names = options.get("columns")

    def read(file: Path) -> Rows:
        try:
            content = json.loads(limits.read_text(file))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file}: no JSON ({str(error)[:80]})") from None
        if isinstance(content, dict):
            content = [
                {**(row if isinstance(row, dict) else {"value": row}), "key": key}
                for key, row in content.items()
            ]
        if not isinstance(content, list):
            raise InputError(f"{file}: want a list or an object of records")
        rows = []
        for number, row in enumerate(content, 1):
            if isinstance(row, list) and names is not None and len(row) == len(names):
                row = dict(zip(names, row))
            elif isinstance(row, list):
                want = f"{len(names)} places" if names else "options.columns, names of its places"
                raise InputError(f"{file}: record {number} is a list of {len(row)}; want {want}")
            rows.append((f"record {number}", row))
        return _table(file, rows, "a list of records")

    return from_files(path, options, split, read)


def _table(file: Path, rows: list[tuple[str, Any]], want: str) -> Rows:
    first = rows[0][1] if rows else None
    if not rows or not isinstance(first, dict):
        what = "empty" if not rows else f"{rows[0][0]} is no object"
        raise InputError(f"{file}: {what}; want {want}")
    for where, row in rows:
        if not isinstance(row, dict) or not set(first) <= set(row):
            missing = sorted(set(first) - set(row)) if isinstance(row, dict) else []
            what = f"lacks {', '.join(missing)}" if missing else "is no object"
            raise InputError(f"{file}: {where} {what}; want the fields of the first line")
    return {name: [row[name] for _, row in rows] for name in first}


# ---- one value a file ------------------------------------------------------------------------


def read_files(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """One record a file of a pattern: the value under the name of options.modality, `file` (the name without
    suffix), and the fields of options.name."""
    modality = options.get("modality")
    if not isinstance(modality, str):
        raise InputError("source files: want options.modality: image, audio, series, graph or text")
    found = split_files(path, options, split)
    fields: dict[str, Column] = {
        modality: Column(len(found), lambda row: files.read_file(found[row], modality)),
        "file": columns.scalars([file.stem for file in found]),
    }
    for name, values in path_fields(found, options.get("name")).items():
        fields[name] = columns.scalars(values)
    return Loaded(fields, columns.stamp(*found))
