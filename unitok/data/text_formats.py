"""Plain text, graphs in DGCNN's format, series in .tsf: rows for `tables.py`, which joins files and adds fields.

Every function raises InputError naming the file, the line and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unitok.data import limits, tables
from unitok.data.columns import Loaded
from unitok.errors import InputError
from unitok.values import Graph, Series, ValueRefused


def read_text(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """field text: pieces of options.chunk characters (500), cut after a line end or space; joined they are the file."""
    size = options.get("chunk", 500)
    if not isinstance(size, int) or size < 1:
        raise InputError(
            f"source.options.chunk: want a positive number of characters, got {size!r}"
        )

    def read(file: Path) -> tables.Rows:
        text, pieces, at = limits.read_text(file), [], 0
        while at < len(text):
            stop = at + size
            if stop < len(text):
                end = max(text.rfind("\n", at, stop), at) or at
                end = end if end > at + size // 2 else text.rfind(" ", at, stop)
                stop = end + 1 if end > at else stop
            pieces.append(text[at:stop])
            at = stop
        if not pieces:
            raise InputError(f"{file}: empty; want text")
        return {"text": pieces}

    return tables.from_files(path, options, split, read)


def read_dgcnn(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """graph (with node labels) and label: the text format of Zhang et al. 2018. First the number of graphs;
    then of each its `nodes label`, and a line `tag degree neighbour neighbour ...` a node."""

    def read(file: Path) -> tables.Rows:
        lines = limits.read_text(file).split("\n")
        at = 0

        def whole(least: int) -> list[int]:
            nonlocal at
            at += 1
            try:
                row = [int(word) for word in lines[at - 1].split()]
            except (ValueError, IndexError):
                row = []
            if len(row) < least:
                raise InputError(
                    f"{file}: line {at} holds no {least} whole numbers; want DGCNN's text format"
                )
            return row

        rows: tables.Rows = {"graph": [], "label": []}
        for _ in range(whole(1)[0]):
            nodes, label = whole(2)[:2]
            tags, pairs = [], set()
            for node in range(nodes):
                tag, degree, *around = whole(2)
                if len(around) < degree:
                    raise InputError(
                        f"{file}: line {at} says {degree} neighbours and names {len(around)}"
                    )
                tags.append(tag)
                pairs |= {(min(node, other), max(node, other)) for other in around[:degree]}
            try:
                graph = Graph(
                    nodes, np.array(sorted(pairs), np.int64), node_labels=np.array(tags, np.int64)
                )
            except ValueRefused as error:
                raise InputError(f"{file}: the graph that ends in line {at}: {error}") from None
            rows["graph"].append(graph)
            rows["label"].append(label)
        return rows

    return tables.from_files(path, options, split, read)


def read_tsf(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """series, its attributes, and (where the file has a @horizon) past and future: the format of the Monash
    archive (Godahewa et al. 2021). `?` is a missing value."""

    def read(file: Path) -> tables.Rows:
        head, mark, body = limits.read_text(file).partition("@data")
        if not mark:
            raise InputError(f"{file}: no @data; not a .tsf file")
        names = re.findall(r"^@attribute\s+(\S+)", head, re.M)
        found = re.search(r"^@horizon\s+(\d+)", head, re.M)
        horizon = int(found[1]) if found else 0
        rows: tables.Rows = {
            name: [] for name in [*names, "series", *(("past", "future") if horizon else ())]
        }
        for number, line in enumerate(filter(None, map(str.strip, body.split("\n"))), 1):
            *values, last = line.split(":")
            if len(values) != len(names):
                raise InputError(
                    f"{file}: series {number} has {len(values)} attributes, not {len(names)}"
                )
            series = tables.numbers(last.split(","), file, number - 1)
            if len(series) <= horizon:
                raise InputError(
                    f"{file}: series {number} is no longer than the horizon of {horizon}"
                )
            for name, value in zip(names, values):
                rows[name].append(value)
            rows["series"].append(Series(series))
            if horizon:
                rows["past"].append(Series(series[:-horizon]))
                rows["future"].append(Series(series[-horizon:]))
        return rows

    return tables.from_files(path, options, split, read)
