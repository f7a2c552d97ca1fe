"""Records of several sources, put together where they agree on a field: an image and a sound of one digit.

    SourceConfig(kind="join", options={"on": "count", "size": 2000, "seed": 0, "parts": [
        {"kind": "sklearn", "options": {"name": "digits", "fields": {"image": "image", "count": "label"}}},
        {"kind": "synthetic", "options": {"name": "sounds", "kinds": ["beeps"]}},
    ]})

The values of `on` that every part has take turns; of each part a record with that value is drawn. A
split of the join is made of the same split of every part, so what is disjoint there is disjoint here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from unitok.config import ConfigError, SourceConfig, from_dict
from unitok.data import columns
from unitok.data.columns import Column, Loaded
from unitok.errors import InputError

Build = Callable[[SourceConfig, str], Any]


def read_join(build: Build, path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """options: parts (sources as data), on (the field), size (records; the largest part's if not given), seed."""
    specs, on = options.get("parts"), options.get("on")
    if not isinstance(specs, list) or len(specs) < 2 or not on:
        raise InputError(
            "source join: want options.parts, two sources or more, and options.on, a field"
        )
    parts = [_part(build, number, spec, str(split)) for number, spec in enumerate(specs)]
    members = [_by_value(number, part, on) for number, part in enumerate(parts)]
    common = [key for key in members[0] if all(key in other for other in members)]
    if not common:
        raise InputError(f"source join: the parts share no value of {on!r} in split {split!r}")
    size = options.get("size") or max(len(part) for part in parts)
    rng = np.random.default_rng([options.get("seed") or 0, sum(map(ord, str(split)))])
    keys = [common[row % len(common)] for row in range(size)]
    fields: dict[str, Column] = {}
    for part, rows_of in zip(parts, members):
        chosen = [rows_of[key][int(rng.integers(len(rows_of[key])))] for key in keys]
        rows = [int(part.rows[index]) for index in chosen]
        fields.update(
            {name: columns.taken(part.columns[name], rows) for name in part.fields if name != on}
        )
    fields[on] = columns.scalars(keys)
    return Loaded(fields, [part.identity for part in parts])


def _part(build: Build, number: int, spec: Any, split: str) -> Any:
    try:
        return build(from_dict(SourceConfig, spec, f"parts[{number}]"), split)
    except (ConfigError, InputError) as error:
        raise InputError(f"source join, part {number}: {error}") from None


def _by_value(number: int, part: Any, on: str) -> dict[Any, list[int]]:
    """Value of `on` -> records, in the order of the values' first appearance when sorted."""
    column = part.columns.get(on)
    if column is None or column.plain is None:
        raise InputError(
            f"source join, part {number}: no field of labels {on!r}; it has {', '.join(part.fields)}"
        )
    found: dict[Any, list[int]] = {}
    for index, row in enumerate(part.rows):
        found.setdefault(column.plain[row], []).append(index)
    return {key: found[key] for key in sorted(found, key=str)}
