"""File formats: each reader turns a path and options into columns. `sources.py` does the rest.

A reader is told which of the format's own splits to read, or None for all there is. It raises
InputError with the file and the remedy. Axes: N records, H height, W width.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unitok.data import columns, files, kernels, libraries, limits, synthetic, tables, text_formats
from unitok.data.columns import Loaded
from unitok.errors import InputError


@dataclass(frozen=True)
class Reader:
    """read(path, options, split). has_splits(path): whether there are splits in the data's own layout, of
    which a split rule divides `train`; options: what the format takes besides the common ones."""

    read: Callable[[str, Mapping[str, Any], str | None], Loaded]
    options: tuple[str, ...] = ()
    has_splits: Callable[[str], bool] = lambda path: False
    defaults: Mapping[str, Any] = field(default_factory=dict)


# ---- in memory -------------------------------------------------------------------------------


def read_arrays(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """options.columns: {field: array or list}; options.modalities says what is no scalar."""
    given = options.get("columns")
    if not isinstance(given, Mapping) or not given:
        raise InputError("source arrays: want options.columns, a mapping from field to values")
    kinds = options.get("modalities") or {}
    return Loaded({n: columns.from_array(n, values, kinds.get(n)) for n, values in given.items()})


# ---- idx -------------------------------------------------------------------------------------

_IDX_FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
              "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}  # fmt: skip


def read_idx(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """image and label from a folder of MNIST's four files, .gz or plain; splits train and test."""
    folder = _folder(path)
    if split not in _IDX_FILES:
        raise InputError(f"{folder}: no split {split!r}; idx folders hold train and test")
    found = []
    for stem in _IDX_FILES[split]:
        plain, packed = folder / stem, folder / f"{stem}.gz"
        if not plain.is_file() and not packed.is_file():
            raise InputError(f"{packed}: not found; put the four idx files into {folder}")
        found.append(packed if packed.is_file() else plain)
    pixels, labels = (read_idx_file(file) for file in found)
    if pixels.ndim != 3 or labels.ndim != 1 or len(pixels) != len(labels):
        raise InputError(
            f"{found[0]}: {list(pixels.shape)} images beside {list(labels.shape)} labels; "
            "the files do not belong together"
        )
    fields = {"image": columns.images("image", pixels), "label": columns.scalars(labels)}
    return Loaded(fields, columns.stamp(*found))


def read_idx_file(path: Path) -> np.ndarray:
    """One idx file of unsigned bytes: magic 0 0 8 axes, big-endian sizes, then the data."""
    header = limits.read_bytes(path)
    if len(header) < 4 or header[:2] != b"\0\0":
        raise InputError(f"{path}: not an idx file (wrong magic number); download it again")
    kind, axes = header[2], header[3]
    if kind != 8:
        raise InputError(
            f"{path}: idx type 0x{kind:02x}; only unsigned bytes (0x08) are pixels or labels"
        )
    if len(header) < 4 + 4 * axes:
        raise InputError(f"{path}: cut off inside its header; download it again")
    shape = struct.unpack(f">{axes}I", header[4 : 4 + 4 * axes])
    size = 1
    for side in shape:
        size *= side
    if axes == 0 or len(header) - 4 - 4 * axes != size:
        raise InputError(
            f"{path}: the header says {list(shape)}, {size} bytes, but "
            f"{len(header) - 4 - 4 * axes} follow; download it again"
        )
    return np.frombuffer(header, np.uint8, offset=4 + 4 * axes).reshape(shape)


# ---- files in folders ------------------------------------------------------------------------


def read_images(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """image, file, and (where there are subfolders) label and class: `[split/][class/]name.png`."""
    top = folder = _folder(path)
    if split is not None:
        folder = top / split
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder; make one a split, or give options.split shares"
            )
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    found: list[tuple[str, int]] = []
    for number, name in enumerate(classes or [""]):
        listed = sorted((folder / name).iterdir())
        found += [
            (str(p.relative_to(folder)), number)
            for p in listed
            if p.suffix.lower() in files.IMAGE_FORMATS
        ]
    if not found:
        raise InputError(
            f"{folder}: no pictures ({', '.join(files.IMAGE_FORMATS)}), in it or one folder below"
        )
    paths = [path for path, _ in found]
    fields = {
        "image": columns.media("image", paths, str(folder), "image"),
        "file": columns.scalars([Path(path).stem for path in paths]),
    }
    if classes:
        fields["label"] = columns.scalars([number for _, number in found])
        fields["class"] = columns.scalars([classes[number] for _, number in found])
    return Loaded(fields, columns.stamp(*(folder / path for path in paths)))


# ---- npz -------------------------------------------------------------------------------------


def read_npz(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """A field an array. Where the path has no {split}, arrays named `SPLIT_field` or `field` are taken."""
    file = tables.split_files(path, options, split if "{split}" in path else None)[0]
    arrays = read_npz_arrays(file)
    if split is not None and "{split}" not in path:
        own = {
            n.removeprefix(f"{split}_"): a for n, a in arrays.items() if n.startswith(f"{split}_")
        }
        if not own:
            raise InputError(f"{file}: no arrays named {split}_...; give options.split shares")
        arrays = own
    kinds = options.get("modalities") or {}
    fields = {name: columns.from_array(name, a, kinds.get(name)) for name, a in arrays.items()}
    return Loaded(fields, columns.stamp(file))


def _npz_names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []  # reading it says what is wrong


def read_npz_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of an .npz file. Sizes are summed from the zip directory first; objects are refused."""
    path = limits.existing(path)
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
        if total > limits.unpacked(path):
            raise InputError(f"{path}: {total} bytes once decompressed; split it")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, KeyError, MemoryError,
            NotImplementedError, SyntaxError, TypeError, OverflowError) as error:  # fmt: skip
        raise InputError(
            f"{path}: not a readable .npz of plain arrays ({str(error)[:100]}); write it with numpy.savez"
        ) from None


# ---- shared ----------------------------------------------------------------------------------


def _folder(path: str) -> Path:
    folder = Path(limits.expand(path))
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check the path")
    return folder


def _split_in_path(path: str) -> bool:
    return "{split}" in path


def _split_folders(path: str) -> bool:
    return (Path(limits.expand(path)) / "train").is_dir()


def _split_arrays(path: str) -> bool:
    return _split_in_path(path) or any(
        name.startswith("train_") for name in _npz_names(limits.existing(limits.expand(path)))
    )


_FILES = ("name", "split_names")  # options of readers of files

READERS: dict[str, Reader] = {
    "arrays": Reader(read_arrays, ("columns",)),
    "sklearn": Reader(libraries.read_sklearn, ("name",), defaults={"test_share": 0.2}),
    "synthetic": Reader(
        synthetic.read_synthetic, ("name", "size", "kinds", "seconds"), defaults={"test_share": 0.2}
    ),
    "kernels": Reader(
        kernels.read_kernels, ("size", "past", "future", "freq"), defaults={"test_share": 0.02}
    ),
    "idx": Reader(read_idx, has_splits=lambda path: True),
    "images": Reader(read_images, has_splits=_split_folders),
    "csv": Reader(tables.read_csv, ("delimiter", "gather", *_FILES), _split_in_path),
    "jsonl": Reader(tables.read_jsonl, _FILES, _split_in_path),
    "json": Reader(tables.read_json, ("columns", *_FILES), _split_in_path),
    "text": Reader(text_formats.read_text, ("chunk", *_FILES), _split_in_path, {"seed": None}),
    "files": Reader(tables.read_files, ("modality", *_FILES), _split_in_path),
    "dgcnn": Reader(text_formats.read_dgcnn, _FILES, _split_in_path),
    "parquet": Reader(libraries.read_parquet, _FILES, _split_in_path),
    "tsf": Reader(text_formats.read_tsf, _FILES, _split_in_path),
    "npz": Reader(read_npz, has_splits=_split_arrays),
    "tfds": Reader(libraries.read_tfds, ("data_dir",), lambda path: True),
}
