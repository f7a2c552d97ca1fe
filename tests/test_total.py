"""Of every registered tokenizer: whatever ids in range it is given, decode gives a value or raises ValueError."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unitok import tokenizers
from unitok.values import Audio, Boxes, Graph, Image, Series

RNG = np.random.default_rng(0)
VALUES: dict[str, list[Any]] = {
    "text": ["", "plain", "\u2581 \U0001f600 \x00\r\n", "1e9 é"],
    "image": [
        Image(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)),
        Image(RNG.integers(0, 256, (5, 12, 1), dtype=np.uint8)),
    ],
    "series": [
        Series(np.zeros((0, 1), np.float32)),
        Series(np.float32([[1, np.nan], [3, 4], [9, 2]]), "h"),
        Series(RNG.normal(size=(7, 1)).astype(np.float32)),
        Series(np.arange(5, dtype=np.float32)[:, None]),
    ],
    "graph": [
        Graph(0, np.zeros((0, 2), int)),
        Graph(5, [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]]),
        Graph(4, [[0, 1], [1, 1], [3, 0]], directed=True, node_labels=[0, 7, 70_000, 2]),
        Graph(3, [[0, 1], [1, 2]], edge_labels=[1, 300]),
    ],
    "coord": [
        Boxes(np.zeros((0, 4)), []),
        Boxes(np.array([[1, 2, 30, 40], [5, 5, 5, 5]]), ["cell", "犬"]),
    ],
    "audio": [Audio(np.sin(np.arange(900) / 9).astype(np.float32) / 2, 16000)],
}


@cache
def built(name: str) -> tuple[Any, list[list[int]]]:
    tokenizer = tokenizers.build(name)
    encoded = [tokenizer.encode(value).tolist() for value in VALUES[tokenizer.modality]]
    return tokenizer, encoded


@st.composite
def damaged(draw: st.DrawFn, encoded: list[list[int]], size: int) -> list[int]:
    """The ids of a value with a few of them replaced, removed, doubled, moved or cut off; or any ids."""
    ids = list(draw(st.sampled_from([*encoded, []])))
    code = st.one_of(st.integers(0, size - 1), st.integers(0, min(size - 1, 40)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(ids)))
        to = draw(st.integers(0, len(ids)))
        how = draw(st.sampled_from(["replace", "insert", "remove", "double", "cut", "splice"]))
        if how == "replace" and at < len(ids):
            ids[at] = draw(code)
        elif how == "insert":
            ids[at:at] = draw(st.lists(code, max_size=4))
        elif how == "remove":
            del ids[at : at + 1]
        elif how == "double":
            ids[to:to] = ids[at : at + 3]
        elif how == "cut":
            del ids[at:]
        else:
            ids = ids[:at] + draw(st.sampled_from(encoded))[to:]
    return ids


def check(name: str, examples: int) -> None:
    tokenizer, encoded = built(name)

    @settings(max_examples=examples, deadline=None)
    @given(damaged(encoded, tokenizer.size))
    def never_anything_else(ids: list[int]) -> None:
        try:
            value = tokenizer.decode(np.array(ids, np.int32))
        except ValueError:
            return
        assert type(value) is type(VALUES[tokenizer.modality][0])

    never_anything_else()


@pytest.mark.parametrize("name", tokenizers.names())
def test_any_ids_decode_or_are_refused(name: str) -> None:
    check(name, 60)


@pytest.mark.slow
@pytest.mark.parametrize("name", tokenizers.names())
def test_many_more_ids(name: str) -> None:
    check(name, 5000)
