"""More records from the same: those of one split again, with their images moved a little.

    "augment": {"split": "train", "field": "image", "copies": 8, "shift": 0.1, "rotate": 10, "scale": 0.1}

shift: share of the side; rotate: degrees; scale: share. Each is the greatest of a uniform draw. flip: true
mirrors half of the copies left to right and half upside down. boxes: fields of boxes that lie in the image
and go with it (see `boxes.moved`). Copy 0 is the data itself; the codes of all copies are cached, so that
moving costs nothing while training. A rule with `fields` is of series instead, see `distort.py` and `mixup.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from unitok.data import boxes, distort, mixup
from unitok.data.columns import Column, repeated
from unitok.errors import InputError
from unitok.values import Boxes, Image

MOTIONS = ("shift", "rotate", "scale")
Motion = tuple[np.ndarray, np.ndarray]  # [2, 2], [2]: pixel p of the copy shows pixel m @ p + b


def augmented(
    fields: Mapping[str, Column], rows: np.ndarray, rule: Mapping[str, Any], seed: int
) -> tuple[dict[str, Column], np.ndarray]:
    """(fields, rows): the chosen rows `copies` times over, one field's images moved in all but the first.

    Raises InputError for a rule that is none, or a field that is not there or holds no images.
    """
    if "mix" in rule:
        return mixup.mixed(fields, rows, rule, seed)
    if "fields" in rule:
        return distort.distorted(fields, rows, rule, seed)
    copies, field = rule.get("copies"), str(rule.get("field"))
    if (
        set(rule) - {"split", "field", "copies", "flip", "boxes", *MOTIONS}
        or not isinstance(copies, int)
        or copies < 1
        or not isinstance(rule.get("boxes", []), (list, tuple))
    ):
        raise InputError(
            "source.options.augment: want split, field, copies (a positive integer), and if wanted "
            f"{', '.join(MOTIONS)}, flip, boxes (a list of fields); got {dict(rule)}"
        )
    if field not in fields or (len(rows) and not isinstance(fields[field][int(rows[0])], Image)):
        raise InputError(f"source.options.augment.field: no field of images {field!r}")
    for name in rule.get("boxes", ()):
        if name not in fields or (len(rows) and not isinstance(fields[name][int(rows[0])], Boxes)):
            raise InputError(f"source.options.augment.boxes: no field of boxes {name!r}")
    image, total = fields[field], len(fields[field])
    made = {name: repeated(column, copies) for name, column in fields.items()}
    made[field] = _moved(image, image, rule, copies, seed)
    for name in rule.get("boxes", ()):
        made[name] = _moved(fields[name], image, rule, copies, seed)
    return made, np.concatenate([rows + copy * total for copy in range(copies)])


def _moved(
    column: Column, images: Column, rule: Mapping[str, Any], copies: int, seed: int
) -> Column:
    """Value `row` of copy c at row + c * len(column), moved by a draw of (seed, row, c), the same for an image
    and its boxes."""
    length = len(column)
    # all that boxes need of a picture; no functools.cache, which cannot go to a reading process
    sizes: dict[int, tuple[int, int]] = {}

    def read(row: int) -> Any:
        copy, place = divmod(row, length)
        value = column[place]
        if not copy:
            return value
        image = value if isinstance(value, Image) else None if place in sizes else images[place]
        size = sizes[place] if image is None else sizes.setdefault(place, image.pixels.shape[:2])
        to_old, offset = _motion(rule, size, np.random.default_rng((seed, place, copy)))
        if isinstance(value, Boxes):
            return boxes.moved(value, to_old, offset, size)
        return _moved_image(value, to_old, offset)

    return Column(length * copies, read)


def _motion(rule: Mapping[str, Any], size: tuple[int, int], rng: np.random.Generator) -> Motion:
    shift, rotate, scale = (float(rule.get(key, 0.0)) for key in MOTIONS)
    draw = rng.uniform(-1, 1, 4)
    angle, zoom = np.deg2rad(rotate * draw[0]), 1 + scale * draw[1]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    if rule.get("flip"):
        turn = turn * rng.choice([-1.0, 1.0], 2)  # of the columns: each side of the copy mirrored
    side = np.array(size)
    centre = (side - 1) / 2
    return turn, centre - turn @ (centre + shift * side * draw[2:])


def _moved_image(image: Image, to_old: np.ndarray, offset: np.ndarray) -> Image:
    """Edges go on outward."""
    from scipy import ndimage

    planes = [
        ndimage.affine_transform(plane.astype(np.float32), to_old, offset, order=1, mode="nearest")
        for plane in np.moveaxis(image.pixels, 2, 0)
    ]
    return Image(np.round(np.stack(planes, axis=2)).clip(0, 255).astype(np.uint8))
