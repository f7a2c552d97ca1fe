"""Fields made of other fields: `options.derive` of a source.

"word": "label"                                          a copy, for other label_names
"top": {"from": "image", "crop": [0, 0, 0.5, 1]}         y0 x0 y1 x1 as shares of the picture
"molecule": {"from": "smiles", "format": "smiles"}       text as a graph (extra `chem`)
"abstract": {"from": "sentences", "join": " "}           a list of strings as one
"target": {"from": "targets", "pick": 0}                 one place of a list
"image": {"from": "id", "file": "images/{}.png", "modality": "image"}   a file beside the data file
"boxes": {"from": "cells", "boxes": "xyxy", "order": "xyxy", "label": "category"}  a list of objects as Boxes
          (order xyxy, yxyx or xywh; if wanted "keep": [labels]), in reading order
"small": {"from": "image", "scale": 0.25}                a picture, or the boxes in it, made smaller
"cats": {"from": "boxes", "count": "cat"}                how many boxes bear a label (null: any)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unitok.data import boxes, columns
from unitok.data.columns import Column
from unitok.errors import InputError
from unitok.values import Graph, ValueRefused

RULES: dict[str, tuple[set[str], set[str]]] = {  # kind -> what it needs beside it, what it may have
    "crop": (set(), set()),
    "format": (set(), set()),
    "join": (set(), set()),
    "pick": (set(), set()),
    "file": ({"modality"}, set()),
    "boxes": ({"order", "label"}, {"keep"}),
    "count": (set(), set()),
    "scale": (set(), set()),
}


def derive(name: str, rule: Mapping[str, Any], old: Column, folder: str | None) -> Column:
    """The column that `rule` makes of `old`. folder: where files named by a rule lie, None where there are none.

    Raises InputError naming the rule and the remedy.
    """
    kind = next((kind for kind in RULES if kind in rule), "")
    needs, may = RULES.get(kind, (set(), set()))
    if not kind or not needs <= set(rule) - {"from", kind} <= needs | may:
        raise InputError(
            f'source.options.derive.{name}: want a field or {{"from": field, ...}} with one of crop, format, '
            "join, pick, count, scale, file and modality, or boxes, order and label"
        )
    value = rule[kind]
    if kind == "crop":
        return columns.cropped(name, old, value)
    if kind == "scale":
        return columns.scaled(name, old, value)
    if kind == "count":
        return boxes.counted(name, old, value)
    if old.plain is None:
        raise InputError(
            f"source.options.derive.{name}: {rule['from']} holds no text, number or list"
        )
    plain = old.plain
    if kind == "boxes":
        return boxes.from_lists(name, old, rule)
    if kind == "format":
        if value != "smiles":
            raise InputError(f"source.options.derive.{name}: format {value!r}; there is smiles")
        return Column(len(old), lambda row: _molecule(name, row, str(plain[row])))
    if kind == "join":
        return columns.scalars([_joined(name, row, str(value)) for row in plain])
    if kind == "pick":
        return columns.scalars([_picked(name, row, value) for row in plain])
    if folder is None or str(value).count("{}") != 1:
        raise InputError(
            f"source.options.derive.{name}: want a file name with one {{}}, of a source read from a file"
        )
    return columns.media(name, [str(value).format(row) for row in plain], folder, rule["modality"])


def _molecule(name: str, row: int, smiles: str) -> Graph:
    try:
        return Graph.from_smiles(smiles.strip())
    except ValueRefused as error:
        raise InputError(f"field {name!r}, row {row}: {error}") from None


def _joined(name: str, value: Any, between: str) -> str:
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise InputError(
            f"source.options.derive.{name}: join wants lists of strings, got {str(value)[:60]}"
        )
    return between.join(value)


def _picked(name: str, value: Any, place: Any) -> Any:
    if (
        not isinstance(value, list)
        or not isinstance(place, int)
        or not -len(value) <= place < len(value)
    ):
        raise InputError(f"source.options.derive.{name}: no place {place!r} in {str(value)[:60]}")
    return value[place]
