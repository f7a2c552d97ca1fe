"""Columns: random access by row, decoding a value only when it is asked for.

Axes: N rows, H height, W width, C channels, T time.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unitok.data import archives, files
from unitok.errors import InputError
from unitok.values import Audio, Boxes, Image, Series


@dataclass(frozen=True)
class Column:
    """`read(row)` gives the value; `plain` holds the raw scalars where there are any (labels, numbers, strings)."""

    length: int
    read: Callable[[int], Any]
    plain: Sequence[Any] | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> Any:
        return self.read(row)


def check_series(fields: Mapping[str, Column], rows: np.ndarray, names: Sequence[str]) -> None:
    """Raises InputError for names that are not there or hold no series."""
    for name in names:
        if name not in fields or (len(rows) and not isinstance(fields[name][int(rows[0])], Series)):
            raise InputError(f"source.options.augment.fields: no field of series {name!r}")


def repeated(column: Column, copies: int) -> Column:
    """A column `copies` times over."""
    plain = None if column.plain is None else list(column.plain) * copies
    return Column(len(column) * copies, lambda row: column[row % len(column)], plain)


@dataclass(frozen=True)
class Loaded:
    """Columns by field, what identifies their content (paths, sizes and times of files), and unless told
    otherwise: the field of labels that splits hold in equal proportion, the field whose values are not divided."""

    columns: dict[str, Column]
    identity: Any = None
    stratify: str | None = None
    group: str | None = None
    folder: str | None = None  # where files that a record names lie


def scalars(values: Sequence[Any] | np.ndarray) -> Column:
    """Strings and numbers as plain Python values."""
    items = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return Column(len(items), items.__getitem__, items)


def images(name: str, pixels_NHWC: np.ndarray) -> Column:
    """Images from uint8 [N, H, W] or [N, H, W, C]. Raises InputError for another dtype or no pixels."""
    if pixels_NHWC.dtype != np.uint8:
        raise InputError(
            f"field {name!r}: images are uint8 0..255, got {pixels_NHWC.dtype}; scale and cast them"
        )
    if pixels_NHWC.ndim not in (3, 4) or (
        pixels_NHWC.ndim == 4 and pixels_NHWC.shape[3] not in (1, 3)
    ):
        raise InputError(
            f"field {name!r}: want [N, H, W] or [N, H, W, 1 or 3], got {list(pixels_NHWC.shape)}"
        )
    if 0 in pixels_NHWC.shape[1:]:
        raise InputError(f"field {name!r}: images of size zero, {list(pixels_NHWC.shape)}")
    return Column(len(pixels_NHWC), lambda row: Image(pixels_NHWC[row]))


def series(name: str, values: Sequence[Any], freq: str | None = None) -> Column:
    """Series from [N, T] or [N, T, C] numbers, or a list of [T] or [T, C] of any lengths."""
    if isinstance(values, np.ndarray) and (values.dtype.kind not in "fiub" or values.ndim > 3):
        raise InputError(
            f"field {name!r}: series are numbers [N, T] or [N, T, C], got {values.dtype}"
        )
    return Column(len(values), lambda row: Series(np.asarray(values[row], np.float32), freq))


def audio(name: str, samples: Sequence[Any], rate: int) -> Column:
    """Mono recordings from [N, T] floats or a list of [T]; int16 is divided by 32768."""
    if isinstance(samples, np.ndarray) and samples.dtype.kind not in "fi":
        raise InputError(
            f"field {name!r}: audio is floats in [-1, 1] or int16, got {samples.dtype}"
        )

    def read(row: int) -> Audio:
        one = np.asarray(samples[row])
        return Audio(one.astype(np.float32) / (32768 if one.dtype.kind == "i" else 1), rate)

    return Column(len(samples), read)


def media(name: str, paths: Sequence[str], folder: str, modality: str) -> Column:
    """Files named by `paths`, relative to `folder` and inside it; of an archive: `a.zip!folder`."""
    inside = archives.split_path(folder)
    root = os.path.realpath(inside[0] if inside else folder)

    def read(row: int) -> Any:
        if inside:
            path = posixpath.normpath(posixpath.join("/", inside[1], str(paths[row])))
            return files.read_file(f"{root}!{path[1:]}", modality)
        path = os.path.realpath(os.path.join(root, str(paths[row])))
        # a data file from elsewhere must not name the reader's own files
        if os.path.commonpath([root, path]) != root:
            raise InputError(
                f"field {name!r}: {paths[row]!r} leaves {root}; put the files beside the data file"
            )
        return files.read_file(path, modality)

    return Column(len(paths), read, list(paths))


def packed(name: str, values: Sequence[Any], modality: str) -> Column:
    """Files inside a table: bytes, or {"bytes": ..., "path": ...} as Hugging Face's data sets hold them."""

    def read(row: int) -> Any:
        value = values[row]["bytes"] if isinstance(values[row], dict) else values[row]
        if not isinstance(value, bytes):
            raise InputError(f"field {name!r}, row {row}: no bytes; the table holds only a path")
        return files.read_packed(value, modality, f"field {name!r}, row {row}")

    return Column(len(values), read)


def stamp(*paths: Path) -> str:
    """Hash of names, sizes and times of files: what a cache hangs on. Of archives, those of the archive."""
    rows = []
    for path in paths:
        inside = archives.split_path(path)
        stat = (inside[0] if inside else path).stat()
        rows.append((str(path.absolute()), stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:32]


def from_array(name: str, values: Any, modality: Any = None) -> Column:
    """A column from an array or list. modality: image, series, audio (with a rate), text, or None: guessed.

    Guessed: uint8 of three or four axes is images; other numbers of two or three axes are series; one
    axis, or strings, are scalars. As data: "image", {"modality": "audio", "rate": 16000}, ...
    """
    settings = dict(modality) if isinstance(modality, Mapping) else {"modality": modality}
    kind = settings.get("modality")
    if kind is None and isinstance(values, np.ndarray):
        numbers = values.dtype.kind in "fiub" and values.ndim in (2, 3)
        kind = (
            "image" if values.dtype == np.uint8 and values.ndim >= 3
            else "series" if numbers
            else None
        )  # fmt: skip
    if kind == "image":
        array = np.asarray(values)
        if (
            isinstance(values, list)
            and array.dtype.kind == "i"
            and 0 <= array.min() <= array.max() <= 255
        ):
            array = array.astype(np.uint8)  # a list has no dtype of its own
        return images(name, array)
    if kind == "audio":
        if "rate" not in settings:
            raise InputError(
                f'field {name!r}: audio needs {{"modality": "audio", "rate": samples per second}}'
            )
        return audio(name, values, int(settings["rate"]))
    if kind == "series":
        return series(name, values, settings.get("freq"))
    if kind not in (None, "text"):
        raise InputError(f"field {name!r}: modality {kind!r}; want image, audio, series or text")
    return scalars(values)


def named(name: str, column: Column, names: Sequence[str]) -> Column:
    """Integers of `column` as their names. Raises InputError, at once, for an integer without name."""
    if column.plain is None:
        raise InputError(f"label_names.{name}: the field holds no integers")
    words = []
    for value in column.plain:
        number = int(value) if isinstance(value, (int, float)) else -1
        if not 0 <= number < len(names) or number != value:
            raise InputError(
                f"label_names.{name}: {value!r} has no name; want integers 0..{len(names) - 1}"
            )
        words.append(names[number])
    return scalars(words)


def cropped(name: str, column: Column, box: Sequence[float]) -> Column:
    """Images cut to `box`: y0 x0 y1 x1 as shares of height and width, at least one pixel."""
    if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
        raise InputError(
            f"derive.{name}: want a crop [y0, x0, y1, x1] of shares with y0 < y1 <= 1 and x0 < x1 <= 1"
        )

    def read(row: int) -> Image:
        image = column[row]
        top, bottom = _pixels(box[0], box[2], image.height)
        left, right = _pixels(box[1], box[3], image.width)
        return Image(image.pixels[top:bottom, left:right])

    return Column(len(column), read)


def _pixels(low: float, high: float, side: int) -> tuple[int, int]:
    first = min(round(low * side), side - 1)
    return first, max(round(high * side), first + 1)


def scaled(name: str, column: Column, factor: Any) -> Column:
    """Images (by the mean of the pixels that fall on one) and Boxes, `factor` times as large; at least one pixel."""
    if not isinstance(factor, (int, float)) or isinstance(factor, bool) or not 0 < factor <= 1:
        raise InputError(f"derive.{name}.scale: want a factor over 0 and up to 1, got {factor!r}")

    def read(row: int) -> Image | Boxes:
        value = column[row]
        if isinstance(value, Boxes):
            return Boxes(value.coords * factor, value.labels)
        if not isinstance(value, Image):
            raise InputError(
                f"derive.{name}.scale: row {row} is a {type(value).__name__}; want an image or boxes"
            )
        return files.smaller(value, factor)

    return Column(len(column), read)


def taken(column: Column, rows: Sequence[int]) -> Column:
    """These rows of a column, in this order, perhaps several times."""
    plain = None if column.plain is None else [column.plain[row] for row in rows]
    return Column(len(rows), lambda row: column[rows[row]], plain)
