"""Data sets that other libraries hold or read: scikit-learn's, parquet, TensorFlow Datasets'. See `readers.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from unitok.data import columns, limits, parquet, tables
from unitok.data.columns import Column, Loaded
from unitok.errors import InputError


def read_sklearn(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """Data sets that scikit-learn carries: digits (image, label), descriptions (text), iris, wine,
    breast_cancer (a field a column, and label)."""
    from sklearn import datasets

    name = options.get("name", "digits")
    if name == "digits":
        bunch = datasets.load_digits()
        # 0..16 counts of a 4 x 4 block each; 255 / 16 keeps black 0 and full 255
        pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
        fields = {"image": columns.images("image", pixels), "label": columns.scalars(bunch.target)}
    elif name == "descriptions":
        fields = {"text": columns.scalars(_descriptions(datasets))}
    elif name in ("iris", "wine", "breast_cancer"):
        bunch = getattr(datasets, f"load_{name}")()
        fields = {
            re.sub(r"\W+", "_", feature).strip("_"): columns.scalars(bunch.data[:, i])
            for i, feature in enumerate(bunch.feature_names)
        }
        fields["label"] = columns.scalars(bunch.target)
    else:
        raise InputError(
            f"source sklearn: no data set {name!r}; there are digits, descriptions, iris, wine, breast_cancer"
        )
    return Loaded(fields, name, "label" if "label" in fields else None)


def _descriptions(datasets: Any) -> list[str]:
    """Sentences of the descriptions of scikit-learn's own data sets: prose and lists, 20 to 240 characters."""
    found: dict[str, None] = {}
    for name in ("digits", "iris", "wine", "breast_cancer", "diabetes", "linnerud"):
        text = getattr(datasets, f"load_{name}")().DESCR
        for paragraph in re.split(r"\n\s*\n", text):
            plain = " ".join(paragraph.split())
            for sentence in re.split(r"(?<=[.;:])\s+", plain):
                if 20 <= len(sentence) <= 240 and not re.search(r"-{3}|={3}", sentence):
                    found[sentence] = None
    return list(found)


# ---- parquet ---------------------------------------------------------------------------------


def read_parquet(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """A field a column, through pyarrow: numbers, strings, lists, and files as bytes (options.modalities)."""
    return tables.from_files(path, options, split, parquet.read_objects)


# ---- TensorFlow Datasets ---------------------------------------------------------------------


def read_tfds(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """path: a TFDS name, prepared as array_record; options.data_dir. Read without TensorFlow."""
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise InputError(
            f"source tfds {path}: needs tensorflow-datasets; pip install 'unitok-jax[tfds]'"
        ) from None
    folder = options.get("data_dir")
    try:
        rows = tfds.data_source(
            path, split=split, data_dir=limits.expand(folder) if folder else None, download=False
        )
        first = rows[0]
    except Exception as error:  # TFDS raises many kinds, with long texts of many lines
        message = " ".join(str(error).split())[:100]
        raise InputError(
            f"source tfds {path}: split {split!r} is not there as array_record ({message}); prepare it with "
            f"tfds.data_source({path!r}, download=True) under the extra tfds-prepare"
        ) from None
    kinds = options.get("modalities") or {}
    plain = [name for name, value in first.items() if np.ndim(value) == 0]
    values: dict[str, list[Any]] = {name: [] for name in plain}
    for row in (rows[index] for index in range(len(rows))):  # one pass for all labels and texts
        for name in plain:
            values[name].append(_scalar(row[name]))
    fields = {name: columns.scalars(values[name]) for name in plain}
    for name in set(first) - set(plain):
        fields[name] = _tfds_arrays(rows, name, kinds.get(name))
    return Loaded(fields, [path, split, len(rows)])


def _tfds_arrays(rows: Any, name: str, modality: Any) -> Column:
    """Arrays are decoded row by row, when they are asked for."""

    def read(row: int) -> Any:
        return columns.from_array(name, np.asarray(rows[row][name])[None], modality)[0]

    return Column(len(rows), read)


def _scalar(value: Any) -> Any:
    value = value.item() if isinstance(value, (np.ndarray, np.generic)) else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
