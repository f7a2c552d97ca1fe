"""A data set as data: `build_source(SourceConfig, split)` gives random access to its records.

    SourceConfig(kind="images", path="photos", options={"split": {"train": [0, 0.9], "test": [0.9, 1]}})

kinds (file formats are code, in `readers.py` and `tables.py`; one data set is data, in a config):
    arrays     options.columns: {field: list or array}       sklearn  options.name: digits, ...
    synthetic  options.name: sounds, curves, graphs          join     several sources (`join.py`)
    idx        a folder of the four MNIST-style files        images   a folder, subfolders = labels
    csv jsonl json parquet text dgcnn tsf                    rows of files (`tables.py`)
    files      a file a record: options.modality             npz      named arrays
    tfds       a TensorFlow Datasets name, read through `data_source`

paths may hold ${NAME}, {split} (the split's name; options.split_names says what the files call it), for
rows and files * ? ** (options.name, a regular expression, makes fields of the file's path), and point
into an archive: `sounds.zip!recordings/*.wav`.

options every kind takes:
    split       {name: [from, to]}: shares of the records, or {name: {"field": f, "in": [...]}} or
                {name: {"field": f, "from": a, "to": b}} (a <= value < b); or test_share: 0.2. Where the
                format has no splits of its own and none is given: train [0, 0.9], test [0.9, 1]
    rows        a file of record numbers, one a line, whose path holds {split}; or {"file", "field"}: of a
                field's values, see `splits.listed`
    of          which of the data's own splits `split` divides, where it has some: train
    seed        of the random order that the shares are cut from; null: the file's order
    stratify    a field whose values each split holds in equal proportion
    group       a field whose values are not divided: records that agree on it are in one split
    limit       so many records of the split at the most, a fixed random choice
    explode     a field of lists: a record for every string in it
    fields      {new name: name in the file}: keep these only
    modalities  {field: modality}: how arrays, or files named by a column, become values
    derive      {new field: rule}, see `derive.py`
    augment     records of one split again with their images, and boxes, moved, see `augment.py`
    windows     one long series becomes records of fields past and future, see `windows.py`; shares are
                then cut along time
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
from unitok.data import augment, columns, derive, join, readers, splits, windows
from unitok.data.columns import Column, Loaded
from unitok.errors import InputError
from unitok.interfaces import Source

OPTIONS = (
    "split", "test_share", "of", "rows", "seed", "stratify", "group", "limit", "explode", "fields",
    "modalities", "derive", "augment", "windows",
)  # fmt: skip


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

    def alike(self, field: str) -> np.ndarray | None:
        """Of each record the first one with the same value of `field`, int64 [N], where that is known without
        reading: files named by a column. None where all may differ."""
        plain = self.columns[field].plain
        if plain is None:
            return None
        first: dict[Any, int] = {}
        return np.array([first.setdefault(str(plain[row]), i) for i, row in enumerate(self.rows)])

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
    listed = options.get("rows")
    shares = {} if listed else splits.shares(options, has_splits)
    cut = split in shares
    if not cut and not has_splits and not listed:
        raise InputError(_no_split(config, split, shares))
    own = None if listed else options.get("of", "train") if cut else split
    loaded = reader.read(config.path, options, own if has_splits else None)
    options.setdefault("stratify", loaded.stratify)
    options.setdefault("group", loaded.group)
    if options.get("windows"):
        _check_windows(options, config)
        span = shares[split] if cut else [0.0, 1.0]
        fields, rows = windows.cut(loaded.columns, options["windows"], span, _name(config))
    else:
        fields = _arrange(loaded, options, config)
        total = _rows(fields, config)
        # the fields that splits go by may be ones that the records leave out
        by = {**loaded.columns, **fields} if not options.get("explode") else fields
        if listed:
            rows = splits.listed(listed, split, by, total)
        else:
            rows = splits.cut(by, total, shares[split], options) if cut else np.arange(total)
    rows = splits.limit(rows, options.get("limit"), options.get("seed", 0))
    if options.get("augment", {}).get("split") == split:
        fields, rows = augment.augmented(fields, rows, options["augment"], options.get("seed") or 0)
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


# ---- columns ---------------------------------------------------------------------------------


def _arrange(loaded: Loaded, options: Mapping[str, Any], config: SourceConfig) -> dict[str, Column]:
    """The loaded columns multiplied out, renamed, derived, and with names for labels."""
    there = dict(loaded.columns)
    if options.get("explode"):
        there = _explode(there, options["explode"], config)
    fields = there
    if options.get("fields"):
        fields = {new: _get(there, old, "fields", config) for new, old in options["fields"].items()}
    for new, rule in (options.get("derive") or {}).items():
        if isinstance(rule, str):
            fields[new] = _get({**there, **fields}, rule, "derive", config)
        elif isinstance(rule, Mapping) and "from" in rule:
            old = _get({**there, **fields}, rule["from"], "derive", config)
            fields[new] = derive.derive(new, rule, old, loaded.folder)
        else:
            raise InputError(f'source.options.derive.{new}: want a field or {{"from": field, ...}}')
    for name, words in config.label_names.items():
        fields[name] = columns.named(name, _get(fields, name, "label_names", config), words)
    return fields


def _explode(fields: Mapping[str, Column], name: str, config: SourceConfig) -> dict[str, Column]:
    """A record for every string in the lists (of lists) of field `name`."""
    lists = _get(fields, name, "explode", config).plain
    flat = [(row, text) for row, value in enumerate(lists or []) for text in _strings(value)]
    if lists is None or not flat:
        raise InputError(f"source.options.explode: {name!r} holds no lists of strings")
    rows = [row for row, _ in flat]
    out = {field: columns.taken(column, rows) for field, column in fields.items() if field != name}
    out[name] = columns.scalars([text for _, text in flat])
    return out


def _strings(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for part in value for text in _strings(part)]
    return [value] if isinstance(value, str) else []


def _check_windows(options: Mapping[str, Any], config: SourceConfig) -> None:
    clash = [
        name for name in ("fields", "derive", "stratify", "explode", "rows") if options.get(name)
    ]
    if clash or config.label_names:
        raise InputError(
            f"source.options.windows: records are past and future; leave out {', '.join(clash) or 'label_names'}"
        )


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
