"""A data set as data: `build_source(SourceConfig, split)` gives random access to its records.

    SourceConfig(kind="images", path="photos", options={"split": {"train": [0, 0.9], "test": [0.9, 1]}})

kinds (file formats are code, in `readers.py`; one data set is data, in a config):
    arrays    options.columns: {field: list or array}               sklearn   options.name: digits, ...
    synthetic options.name: sounds, curves, graphs (`synthetic.py`)  join      several sources (`join.py`)
    idx       a folder of the four MNIST-style files                 images    a folder, subfolders = labels
    csv jsonl a file, or one a split where the path holds {split}    npz       named arrays
    tfds      a TensorFlow Datasets name, read through `data_source`

options every kind takes:
    split       {name: [from, to]}: shares of the records, or test_share: 0.2. Where the format has no
                splits of its own and neither is given: train [0, 0.9], test [0.9, 1]
    of          which of the data's own splits `split` divides, where it has some: train
    seed        of the random order that the shares are cut from; null: the file's order
    stratify    a field whose values each split holds in equal proportion
    group       a field whose values are not divided: records that agree on it are in one split
    limit       so many records of the split at the most, a fixed random choice
    fields      {new name: name in the file}: keep these only
    modalities  {field: modality}: how arrays, or files named by a column, become values
    derive      {new field: old field} or {new field: {"from": field, "crop": [y0, x0, y1, x1]}}
    windows     {"past": n, "future": m, "stride": s, "columns": [...], "freq": tag}: one long series
                becomes records of fields past and future; shares are then cut along time
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from unitok.config import SourceConfig
from unitok.data import columns, join, readers
from unitok.data.columns import Column
from unitok.errors import InputError
from unitok.interfaces import Source

OPTIONS = (
    "split", "test_share", "of", "seed", "stratify", "group", "limit", "fields", "modalities", "derive", "windows",
)  # fmt: skip
DEFAULT_SHARES = {"train": [0.0, 0.9], "test": [0.9, 1.0]}


class Row(Mapping[str, Any]):
    """One record: a field is read from disk and decoded when it is asked for."""

    def __init__(self, fields: Mapping[str, Column], row: int) -> None:
        self._fields, self._row = fields, row

    def __getitem__(self, name: str) -> Any:
        return self._fields[name][self._row]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __contains__(self, name: object) -> bool:
        return name in self._fields


class Records:
    """A Source over columns. identity: hash of where the records come from, for caches."""

    def __init__(self, fields: Mapping[str, Column], rows: np.ndarray, identity: str) -> None:
        self.columns, self.rows, self.identity = dict(fields), rows, identity

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(self.columns)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self.rows):  # plain iteration over a Source ends by this
            raise IndexError(f"record {index} of {len(self.rows)}")
        return Row(self.columns, int(self.rows[index]))


def build_source(config: SourceConfig, split: str) -> Source:
    """The records of one split. Raises InputError naming the file or field and the remedy."""
    if config.kind not in READERS:
        near = difflib.get_close_matches(config.kind, READERS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(READERS)}"
        raise InputError(f"source.kind: no reader {config.kind!r}; {hint}")
    reader = READERS[config.kind]
    _check_options(config, reader.options)
    options = {**reader.defaults, **config.options}
    has_splits = reader.has_splits(config.path)
    shares = _shares(options, has_splits)
    cut = split in shares
    if not cut and not has_splits:
        raise InputError(_no_split(config, split, shares))
    whole = options.get("of", "train") if has_splits else None
    loaded = reader.read(config.path, options, whole if cut else split)
    options.setdefault("stratify", loaded.stratify)
    options.setdefault("group", loaded.group)
    if options.get("windows"):
        span = shares[split] if cut else [0.0, 1.0]
        fields, rows = _windows(loaded.columns, options["windows"], span, config)
    else:
        fields = _arrange(loaded.columns, options, config)
        total = _rows(fields, config)
        # the fields that splits go by may be ones that the records leave out
        by = {**loaded.columns, **fields}
        rows = _cut(by, total, shares[split], options) if cut else np.arange(total)
    rows = _limit(rows, options.get("limit"), options.get("seed", 0))
    if not len(rows):
        raise InputError(
            f"{_name(config)}: no records in split {split!r}; check the split's shares"
        )
    identity = [
        config.kind,
        config.path,
        config.options,
        config.label_names,
        split,
        loaded.identity,
    ]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=_bytes).encode())
    return Records(fields, rows, digest.hexdigest()[:32])


def from_arrays(modalities: Mapping[str, Any] | None = None, **arrays: Any) -> Records:
    """A Source from arrays in memory, one argument a field: `from_arrays(image=x, label=y)`."""
    source = SourceConfig(
        kind="arrays",
        options={"columns": arrays, "modalities": dict(modalities or {}), "split": {"all": [0, 1]}},
    )
    return build_source(source, "all")  # type: ignore[return-value]


# ---- splits ----------------------------------------------------------------------------------


def _shares(options: Mapping[str, Any], has_splits: bool) -> dict[str, list[float]]:
    """Split name -> [from, to], empty where the format's own splits hold."""
    if "split" in options:
        shares = options["split"]
        sound = isinstance(shares, Mapping) and all(
            isinstance(span, (list, tuple)) and len(span) == 2 and 0 <= span[0] < span[1] <= 1
            for span in shares.values()
        )
        if not sound:
            raise InputError(f"source.options.split: want {{name: [from, to]}}, got {shares!r}")
        return {name: [float(a), float(b)] for name, (a, b) in shares.items()}
    if "test_share" in options:
        share = options["test_share"]
        if not isinstance(share, (int, float)) or not 0 < share < 1:
            raise InputError(f"source.options.test_share: want a share in (0, 1), got {share!r}")
        return {"train": [0.0, 1.0 - share], "test": [1.0 - share, 1.0]}
    return {} if has_splits else dict(DEFAULT_SHARES)


def _cut(
    fields: Mapping[str, Column], total: int, span: list[float], options: Mapping[str, Any]
) -> np.ndarray:
    """The records whose place in the (seeded, stratified) order lies inside the span, in file order."""
    seed, stratify, group = options.get("seed", 0), options.get("stratify"), options.get("group")
    if stratify is not None and group is not None:
        raise InputError(
            "source.options.group: stratify and group exclude each other; set one null"
        )
    order = np.arange(total) if seed is None else np.random.default_rng(seed).permutation(total)
    place = np.empty(total)
    if group is not None:
        of = _classes(fields, group, "group")
        counts = np.bincount(of)
        by = np.arange(len(counts))
        by = by if seed is None else np.random.default_rng(seed).permutation(by)
        middle = np.empty(len(by))
        middle[by] = (np.cumsum(counts[by]) - counts[by] / 2) / total
        place = middle[of]
        return np.flatnonzero((place >= span[0]) & (place < span[1]))
    classes = np.zeros(total, int) if stratify is None else _classes(fields, stratify, "stratify")
    for one in np.unique(classes):
        members = order[classes[order] == one]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.flatnonzero((place >= span[0]) & (place < span[1]))


def _classes(fields: Mapping[str, Column], name: str, option: str) -> np.ndarray:
    """Number of each record's value of a field of labels, int [N]."""
    column = fields.get(name)
    if column is None or column.plain is None:
        raise InputError(f"source.options.{option}: no field of labels {name!r}")
    return np.unique([str(value) for value in column.plain], return_inverse=True)[1]


def _limit(rows: np.ndarray, limit: Any, seed: Any) -> np.ndarray:
    if limit is None or len(rows) <= limit:
        return rows
    if not isinstance(limit, int) or limit < 1:
        raise InputError(f"source.options.limit: want a positive integer, got {limit!r}")
    if seed is None:
        return rows[:limit]
    return np.sort(np.random.default_rng([seed, 1]).permutation(rows)[:limit])


# ---- columns ---------------------------------------------------------------------------------


def _arrange(
    loaded: Mapping[str, Column], options: Mapping[str, Any], config: SourceConfig
) -> dict[str, Column]:
    """The loaded columns renamed, derived, and with names for labels."""
    fields = dict(loaded)
    if options.get("fields"):
        fields = {
            new: _get(loaded, old, "fields", config) for new, old in options["fields"].items()
        }
    for new, rule in (options.get("derive") or {}).items():
        if isinstance(rule, str):
            fields[new] = _get(fields, rule, "derive", config)
        elif isinstance(rule, Mapping) and set(rule) == {"from", "crop"}:
            old = _get(fields, rule["from"], "derive", config)
            fields[new] = columns.cropped(new, old, rule["crop"])
        else:
            raise InputError(
                f'source.options.derive.{new}: want a field or {{"from": field, "crop": [y0, x0, y1, x1]}}'
            )
    for name, words in config.label_names.items():
        fields[name] = columns.named(name, _get(fields, name, "label_names", config), words)
    return fields


def _windows(
    loaded: Mapping[str, Column], rule: Mapping[str, Any], span: list[float], config: SourceConfig
) -> tuple[dict[str, Column], np.ndarray]:
    """Fields past and future over windows whose future lies inside the span of time."""
    clash = [name for name in ("fields", "derive", "stratify") if config.options.get(name)]
    if clash or config.label_names:
        raise InputError(
            f"source.options.windows: records are past and future; leave out {', '.join(clash) or 'label_names'}"
        )
    unknown = set(rule) - {"past", "future", "stride", "columns", "freq"}
    if unknown or not {"past", "future"} <= set(rule):
        raise InputError(
            "source.options.windows: want past and future (steps), and if wanted stride, columns, freq; "
            f"got {', '.join(rule)}"
        )
    past, future, stride = int(rule["past"]), int(rule["future"]), int(rule.get("stride", 1))
    if past < 1 or future < 1 or stride < 1:
        raise InputError(
            "source.options.windows: past, future and stride are positive numbers of steps"
        )
    names = rule.get("columns") or [
        name
        for name, column in loaded.items()
        if column.plain is not None and column.plain and not isinstance(column.plain[0], str)
    ]
    chosen = [_get(loaded, name, "windows.columns", config).plain for name in names]
    if not chosen:
        raise InputError(f"{_name(config)}: no column of numbers to cut windows from")
    try:
        table = np.stack([np.asarray(column, np.float32) for column in chosen], axis=1)
    except (ValueError, TypeError):
        raise InputError(
            f"{_name(config)}: windows need columns of numbers, got {', '.join(names)}"
        ) from None
    first, last = (round(share * len(table)) for share in span)
    starts = np.arange(max(first, past), last - future + 1, stride) - past
    freq = rule.get("freq")
    fields = {
        "past": columns.windows(table, starts, 0, past, freq),
        "future": columns.windows(table, starts, past, future, freq),
    }
    return fields, np.arange(len(starts))


def _get(fields: Mapping[str, Column], name: str, option: str, config: SourceConfig) -> Column:
    if name not in fields:
        near = difflib.get_close_matches(str(name), fields, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(fields)}"
        raise InputError(
            f"{_name(config)}: {option} names column {name!r}, which is missing; {hint}"
        )
    return fields[name]


def _rows(fields: Mapping[str, Column], config: SourceConfig) -> int:
    lengths = {name: len(column) for name, column in fields.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(f"{_name(config)}: fields of unequal length: {lengths}")
    return next(iter(lengths.values()))


# ---- messages --------------------------------------------------------------------------------


def _check_options(config: SourceConfig, own: tuple[str, ...]) -> None:
    for name in config.options:
        if name not in (*OPTIONS, *own):
            near = difflib.get_close_matches(name, (*OPTIONS, *own), 1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"there are {', '.join((*own, *OPTIONS))}"
            )
            raise InputError(f"source.options.{name}: {config.kind} has no such option; {hint}")


def _no_split(config: SourceConfig, split: str, shares: Mapping[str, Any]) -> str:
    return f"{_name(config)}: no split {split!r}; there are {', '.join(shares)} (options.split)"


def _name(config: SourceConfig) -> str:
    return f"source {config.kind}" + (f" {config.path}" if config.path else "")


def _bytes(value: Any) -> str:
    """Arrays inside options, for the identity."""
    array = np.asarray(value)
    content = array.tobytes() if array.dtype != object else repr(array.tolist()).encode()
    return f"{array.dtype}{array.shape}{hashlib.sha256(content).hexdigest()}"


READERS: dict[str, readers.Reader] = {
    **readers.READERS,
    "join": readers.Reader(
        functools.partial(join.read_join, build_source), ("parts", "on", "size"), lambda path: True
    ),
}
