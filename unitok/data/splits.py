"""Which records a split holds: shares of an order, a rule on a field, a list of numbers; and how many of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from unitok.data import limits
from unitok.data.columns import Column
from unitok.errors import InputError

DEFAULT = {"train": [0.0, 0.9], "test": [0.9, 1.0]}


def shares(options: Mapping[str, Any], has_splits: bool) -> dict[str, Any]:
    """Split name -> [from, to] or a rule on a field; empty where the format's own splits hold."""
    if "split" in options:
        given = options["split"]
        if not isinstance(given, Mapping) or not all(map(_sound, given.values())):
            raise InputError(
                'source.options.split: want {name: [from, to]} in 0..1, or {name: {"field": ..., "in": [...]}} '
                f'or {{"field": ..., "from": ..., "to": ...}}, got {given!r}'
            )
        return dict(given)
    if "test_share" in options:
        share = options["test_share"]
        if not isinstance(share, (int, float)) or not 0 < share < 1:
            raise InputError(f"source.options.test_share: want a share in (0, 1), got {share!r}")
        return {"train": [0.0, 1.0 - share], "test": [1.0 - share, 1.0]}
    return {} if has_splits else dict(DEFAULT)


def _sound(rule: Any) -> bool:
    if isinstance(rule, Mapping):
        return "field" in rule and (
            set(rule) == {"field", "in"} or {"field"} < set(rule) <= {"field", "from", "to"}
        )
    return isinstance(rule, (list, tuple)) and len(rule) == 2 and 0 <= rule[0] < rule[1] <= 1


def cut(
    fields: Mapping[str, Column], total: int, span: Any, options: Mapping[str, Any]
) -> np.ndarray:
    """The records whose place in the (seeded, stratified) order lies inside the span, or whose field is as the
    rule says; in file order."""
    if isinstance(span, Mapping):
        column = fields.get(span["field"])
        if column is None or column.plain is None:
            raise InputError(f"source.options.split: no field of labels {span['field']!r}")
        if "in" in span:
            return np.flatnonzero([value in span["in"] for value in column.plain])
        low, high = span.get("from", -np.inf), span.get("to", np.inf)
        if any(isinstance(value, str) for value in column.plain):
            raise InputError(
                f"source.options.split: {span['field']!r} holds words; from and to want numbers"
            )
        return np.flatnonzero([low <= value < high for value in column.plain])
    seed, stratify, group = options.get("seed", 0), options.get("stratify"), options.get("group")
    group_of = np.arange(total) if group is None else _classes(fields, group, "group")
    counts = np.bincount(group_of)
    order = np.arange(len(counts))
    order = order if seed is None else np.random.default_rng(seed).permutation(order)
    class_of = np.zeros(len(counts), int)  # of a group: its last record's
    if stratify is not None:
        class_of[group_of] = _classes(fields, stratify, "stratify")
    place = np.empty(len(counts))
    for one in np.unique(class_of):
        members = order[class_of[order] == one]
        sizes = counts[members]
        place[members] = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    place = place[group_of]
    return np.flatnonzero((place >= span[0]) & (place < span[1]))


def _classes(fields: Mapping[str, Column], name: str, option: str) -> np.ndarray:
    """Number of each record's value of a field of labels, int [N]."""
    column = fields.get(name)
    if column is None or column.plain is None:
        raise InputError(f"source.options.{option}: no field of labels {name!r}")
    return np.unique([str(value) for value in column.plain], return_inverse=True)[1]


def listed(rule: Any, split: str, fields: Mapping[str, Column], total: int) -> np.ndarray:
    """The records that a file lists, in its order: by number, or by the value of a field.

    rule: a path, or {"file": path, "field": name}; `{split}` in a path stands for the split. A .json file
    without it holds {split: [...]}, others one number or value a line. A value may leave out the suffix of
    a file's name, as Pascal VOC does. Raises InputError for what is not there, or is twice.
    """
    rule = rule if isinstance(rule, Mapping) else {"file": rule}
    if not set(rule) <= {"file", "field"} or not isinstance(rule.get("file"), str):
        raise InputError(
            f'source.options.rows: want a path, or {{"file": path, "field": name}}, got {rule!r}'
        )
    file = limits.expand(rule["file"].replace("{split}", split))
    words = _in_json(file, split) if file.endswith(".json") else limits.read_text(file).split()
    if "field" not in rule:
        if not all(word.isascii() and word.isdigit() and int(word) < total for word in words):
            raise InputError(f"{file}: want record numbers of 0 to {total - 1}, one a line")
        return np.array([int(word) for word in words], np.int64)
    column = fields.get(rule["field"])
    if column is None or column.plain is None:
        raise InputError(f"source.options.rows: no field of labels {rule['field']!r}")
    place: dict[str, int | None] = {}
    for row, value in enumerate(column.plain):
        for word in {str(value), os.path.splitext(str(value))[0]}:
            place[word] = None if word in place else row  # None: several
    rows = [place.get(word) for word in words]
    if None in rows:
        word = words[rows.index(None)]
        many = "several records" if word in place else "no record"
        raise InputError(f"{file}: {many} with {rule['field']} {word!r}")
    return np.array(rows, np.int64)


def _in_json(file: str, split: str) -> list[str]:
    try:
        content = json.loads(limits.read_text(file))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: no JSON ({str(error)[:80]})") from None
    there = content if isinstance(content, dict) else {}
    if not isinstance(there.get(split), list):
        raise InputError(
            f"{file}: no list of split {split!r}; there are {', '.join(there) or 'none'}"
        )
    return [str(word) for word in there[split]]


def limit(rows: np.ndarray, most: Any, seed: Any) -> np.ndarray:
    if most is None or len(rows) <= most:
        return rows
    if not isinstance(most, int) or most < 1:
        raise InputError(f"source.options.limit: want a positive integer, got {most!r}")
    if seed is None:
        return rows[:most]
    return np.sort(np.random.default_rng([seed, 1]).permutation(rows)[:most])
