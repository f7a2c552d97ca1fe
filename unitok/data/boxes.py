"""Boxes as files hold them, their number, and their motion with the picture they lie in.

Axes: N boxes; coordinates y0 x0 y1 x1 in pixels, from the picture's upper left edge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unitok.data.columns import Column
from unitok.errors import InputError
from unitok.values import Boxes, ValueRefused

ORDERS = {  # four numbers as a file gives them [N, 4], as y0 x0 y1 x1
    "yxyx": lambda a: a,
    "xyxy": lambda a: a[:, [1, 0, 3, 2]],  # Pascal VOC
    "xywh": lambda a: np.stack(  # COCO
        [a[:, 1], a[:, 0], a[:, 1] + a[:, 3], a[:, 0] + a[:, 2]], 1
    ),
}


def from_lists(name: str, column: Column, rule: Mapping[str, Any]) -> Column:
    """Boxes of lists of objects: {"boxes": key of four numbers, "order": one of ORDERS, "label": key of the name}.

    With `keep`, only boxes of these labels. In reading order, by y0 and then x0: the order of a file means
    nothing, and a sequence is learned sooner that has one. Raises InputError naming the row and the box.
    """
    where = f"source.options.derive.{name}"
    order, keep = rule["order"], rule.get("keep")
    if order not in ORDERS:
        raise InputError(f"{where}.order: want one of {', '.join(ORDERS)}, got {order!r}")
    if keep is not None and not isinstance(keep, (list, tuple)):
        raise InputError(f"{where}.keep: want a list of labels, got {keep!r}")
    lists = column.plain or []

    def read(row: int) -> Boxes:
        found = lists[row]
        if not isinstance(found, list):
            raise InputError(f"{where}, row {row}: want a list of boxes, got {str(found)[:60]}")
        coords, labels = [], []
        for index, box in enumerate(found):
            try:
                numbers = [float(number) for number in box[rule["boxes"]]]
                label = str(box[rule["label"]])
                if len(numbers) != 4:
                    raise ValueError
            except (TypeError, ValueError, KeyError, OverflowError):
                raise InputError(
                    f"{where}, row {row}, box {index}: want four numbers {rule['boxes']!r} and a label "
                    f"{rule['label']!r}, got {str(box)[:80]}"
                ) from None
            if keep is None or label in keep:
                coords.append(numbers)
                labels.append(label)
        four_N4 = ORDERS[order](np.array(coords, np.float64).reshape(-1, 4))
        try:
            return in_reading_order(Boxes(four_N4, labels))
        except ValueRefused as error:
            raise InputError(f"{where}, row {row}: {error}") from None

    return Column(len(column), read)


def counted(name: str, column: Column, label: Any) -> Column:
    """How many boxes bear `label`, or for null how many there are."""

    def read(row: int) -> int:
        value = column[row]
        if not isinstance(value, Boxes):
            raise InputError(
                f"source.options.derive.{name}: count wants boxes, got a {type(value).__name__}"
            )
        return sum(label is None or one == label for one in value.labels)

    return Column(len(column), read)


def in_reading_order(value: Boxes) -> Boxes:
    """Top to bottom, then left to right, by the upper left corner."""
    order = np.lexsort((value.coords[:, 1], value.coords[:, 0]))
    return Boxes(value.coords[order], [value.labels[i] for i in order])


def moved(
    value: Boxes, to_old: np.ndarray, offset: np.ndarray, size: Sequence[int], least: float = 0.5
) -> Boxes:
    """Boxes of a picture of `size` (height, width) after its pixels were moved: pixel p now shows pixel to_old @ p + offset.

    A box becomes the one around its moved corners, cut to the picture; those of which less than `least` of the
    area stays inside are left out. In reading order.
    """
    y0, x0, y1, x1 = value.coords.T.astype(np.float64)
    corners_2N4 = np.stack([np.stack([y0, y0, y1, y1], 1), np.stack([x0, x1, x0, x1], 1)])
    # an edge lies half a pixel from the middle of its pixel
    new_2N4 = np.einsum("ij,jnk->ink", np.linalg.inv(to_old), corners_2N4 - 0.5 - offset[:, None, None]) + 0.5  # fmt: skip
    whole_N4 = np.concatenate([new_2N4.min(2), new_2N4.max(2)]).T
    cut_N4 = np.clip(whole_N4, 0, [*size, *size])
    area = lambda boxes: np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)  # noqa: E731
    stays = area(cut_N4) >= least * area(whole_N4)
    # a point has no area: it stays while it is inside
    stays &= (whole_N4[:, 2:] >= 0).all(1) & (whole_N4[:, :2] <= size).all(1)
    labels = [label for label, kept in zip(value.labels, stays) if kept]
    return in_reading_order(Boxes(cut_N4[stays], labels))
