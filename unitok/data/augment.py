"""More records from the same: those of one split again, with their images moved a little.

    "augment": {"split": "train", "field": "image", "copies": 8, "shift": 0.1, "rotate": 10, "scale": 0.1}

shift: share of the side; rotate: degrees; scale: share. Each is the greatest of a uniform draw. Copy 0 is
the data itself; the codes of all copies are cached, so that moving costs nothing while training. A rule
with `mix` is of series instead, see `mixup.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from unitok.data import mixup
from unitok.data.columns import Column
from unitok.errors import InputError
from unitok.values import Image

MOTIONS = ("shift", "rotate", "scale")


def augmented(
    fields: Mapping[str, Column], rows: np.ndarray, rule: Mapping[str, Any], seed: int
) -> tuple[dict[str, Column], np.ndarray]:
    """(fields, rows): the chosen rows `copies` times over, one field's images moved in all but the first.

    Raises InputError for a rule that is none, or a field that is not there or holds no images.
    """
    if "mix" in rule:
        return mixup.mixed(fields, rows, rule, seed)
    copies, field = rule.get("copies"), str(rule.get("field"))
    if (
        set(rule) - {"split", "field", "copies", *MOTIONS}
        or not isinstance(copies, int)
        or copies < 1
    ):
        raise InputError(
            "source.options.augment: want split, field, copies (a positive integer), and if wanted "
            f"{', '.join(MOTIONS)}; got {dict(rule)}"
        )
    if field not in fields or (len(rows) and not isinstance(fields[field][int(rows[0])], Image)):
        raise InputError(f"source.options.augment.field: no field of images {field!r}")
    total = len(fields[field])
    repeated = {name: mixup.repeated(column, copies) for name, column in fields.items()}
    repeated[field] = _moved(fields[field], rule, copies, seed)
    return repeated, np.concatenate([rows + copy * total for copy in range(copies)])


def _moved(column: Column, rule: Mapping[str, Any], copies: int, seed: int) -> Column:
    """Image `row` of copy c at row + c * len(column), moved by a draw of (seed, row, c); edges go on outward."""
    from scipy import ndimage

    length = len(column)
    shift, rotate, scale = (float(rule.get(key, 0.0)) for key in MOTIONS)

    def read(row: int) -> Image:
        copy, place = divmod(row, length)
        image = column[place]
        if not copy:
            return image
        draw = np.random.default_rng((seed, place, copy)).uniform(-1, 1, 4)
        angle, zoom = np.deg2rad(rotate * draw[0]), 1 + scale * draw[1]
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
        side = np.array(image.pixels.shape[:2])
        centre = (side - 1) / 2
        offset = centre - turn @ (centre + shift * side * draw[2:])
        planes = [
            ndimage.affine_transform(
                plane.astype(np.float32), turn, offset, order=1, mode="nearest"
            )
            for plane in np.moveaxis(image.pixels, 2, 0)
        ]
        return Image(np.round(np.stack(planes, axis=2)).clip(0, 255).astype(np.uint8))

    return Column(length * copies, read)
