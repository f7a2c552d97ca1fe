"""Boxes come back to half a bin, labels exactly; what is generated is whole boxes in order."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from unitok import tokenizers
from unitok.conformance import check_tokenizer, check_value
from unitok.tokenizers.coord import CoordTokenizer
from unitok.values import Boxes, Image, ValueRefused

COORD = CoordTokenizer()
VALUES = [
    Boxes(np.zeros((0, 4)), []),
    Boxes(np.array([[0, 0, 1023, 1023]]), ["all of it"]),
    Boxes(np.array([[5, 5, 5, 5], [1, 2, 3, 4], [1, 2, 3, 4]]), ["", "", "犬 \0\u2581"]),
    Boxes(np.array([[0.4, 0.6, 700.5, 1022.9]]), ["\U0001f389"]),
]


def within_half_a_bin(height: float, width: float) -> Any:
    size = np.array([height, width] * 2)
    bound = size / 1023 / 2 + size * 1e-6  # float32 holds a coordinate no better

    def equal(value: Boxes, back: Boxes) -> bool:
        if len(value.labels) != len(back.labels):
            return False
        # boxes less than a bin apart may change places: some pairing has to fit, not that by order
        near = (np.abs(value.coords[:, None] - back.coords[None]) <= bound).all(axis=-1)
        named = np.array(value.labels, object)[:, None] == np.array(back.labels, object)[None]
        fits = near & named
        return bool(fits[linear_sum_assignment(~fits)].all())

    return equal


def test_conforms() -> None:
    labels = {"labels": ("cat", "cats", "", "犬")}
    check_tokenizer(
        CoordTokenizer.build,
        VALUES,
        within_half_a_bin(1023, 1023),
        requests=({}, labels, {"labels": ("long label",), "max_boxes": 2}),
        slacks=(0, 1, 2, 3, 4, 5, 6, 16, 40),
    )
    check_tokenizer(CoordTokenizer(bins=16), [Boxes(np.array([[0, 1, 2, 15]]), ["x"])])
    check_value(COORD, VALUES[0], request={"max_boxes": 0})


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_half_a_bin_in_any_image(data: st.DataObject) -> None:
    height, width = (data.draw(st.integers(1, 5000)) for _ in range(2))
    n = data.draw(st.integers(0, 4))
    unit = data.draw(st.lists(st.floats(0, 1, width=32), min_size=4 * n, max_size=4 * n))
    corners = np.sort(np.array(unit).reshape(n, 2, 2), axis=1) * [height, width]
    value = Boxes(corners.reshape(n, 4), data.draw(st.lists(st.text(), min_size=n, max_size=n)))
    ids = COORD.encode(value, (height, width))
    back = COORD.decode(ids, (height, width))
    assert within_half_a_bin(height, width)(value, back) and back.labels == value.labels
    assert np.array_equal(COORD.encode(back, (height, width)), ids)  # idempotent
    if height * width < 1 << 20:
        image = Image(np.zeros((height, width), np.uint8))
        assert np.array_equal(COORD.encode(value, image), ids) and COORD.decode(ids, image) == back


def test_rounding_has_no_bias() -> None:
    edges = np.random.default_rng(0).uniform(0, 384, (4000, 2))
    coords = np.concatenate([0 * edges, edges], axis=1)
    value = Boxes(coords, [""] * len(coords))
    error = COORD.decode(COORD.encode(value, (384, 384)), (384, 384)).coords - value.coords
    assert np.abs(error).max() <= 0.19 and abs(error[:, 2:].mean()) < 0.01


def test_boxes_that_stick_out_are_clipped_to_the_image() -> None:
    value = Boxes(np.array([[-5, 10, 700, 30.0]]), ["a"])
    assert COORD.decode(COORD.encode(value, (480, 640)), (480, 640)).coords[0, [0, 2]].tolist() == [
        0,
        480,
    ]


def test_random_order_is_an_order_of_the_same_boxes() -> None:
    value = Boxes(np.tile(np.arange(9)[:, None], 4), [f"box {i}" for i in range(9)])
    shuffled = COORD.decode(COORD.encode(value, rng=np.random.default_rng(1)))
    assert shuffled != value and sorted(shuffled.labels) == value.labels
    assert all(
        f"box {int(box[0])}" == label for box, label in zip(shuffled.coords, shuffled.labels)
    )


@pytest.mark.parametrize(
    ("coords", "label", "context", "message"),
    [
        ([5, 0, 4, 9], "", None, "ends before"),
        ([0, 0, 2000, 9], "", None, "as context"),
        ([500, 0, 600, 9], "", (480, 640), "wholly outside"),
        ([0, 0, 1, 1], "\udc00", None, "surrogate"),
        ([0, 0, 1, 1], "", (0, 5), "coord.context"),
        ([0, 0, 1, 1], "", "image.png", "coord.context"),
        ([0, 0, 1, 1], "", 7, "coord.context"),
    ],
)
def test_what_cannot_be_is_refused(coords: Any, label: str, context: Any, message: str) -> None:
    with pytest.raises(ValueRefused, match=message):
        COORD.encode(Boxes(np.array([coords]), [label]), context)


def test_wrong_requests_and_values_are_refused() -> None:
    with pytest.raises(ValueRefused, match="want Boxes"):
        COORD.encode("a string")
    for request in ({"labels": []}, {"labels": "cat"}, {"max_boxes": -1}):
        with pytest.raises(ValueError, match="coord"):
            COORD.grammar(**request)
    with pytest.raises(ValueError, match="bins"):
        CoordTokenizer(bins=1)
    assert (
        tokenizers.build("coord").fingerprint == COORD.fingerprint != CoordTokenizer(7).fingerprint
    )


@pytest.mark.skipif("UNITOK_DATA" not in os.environ, reason="UNITOK_DATA names no data folder")
def test_blood_cells_come_back() -> None:
    """BCCD: 292 images of 480 x 640, each with its cells."""
    (file,) = (Path(os.environ["UNITOK_DATA"]) / "bccd").glob("*.zip")
    with zipfile.ZipFile(file) as archive:
        images = json.loads(archive.read("annotations.json")).values()
    for cells in images:
        coords = np.array([cell["xyxy"] for cell in cells], np.float32)[:, [1, 0, 3, 2]]
        value = Boxes(coords, [cell["category"] for cell in cells])
        back = COORD.decode(COORD.encode(value, (480, 640)), (480, 640))
        assert back.labels == value.labels
        assert (np.abs(back.coords - coords) <= np.array([480, 640] * 2) / 1023 / 2 + 1e-3).all()
