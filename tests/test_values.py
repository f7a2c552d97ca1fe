"""Values check themselves at the door and compare by content."""

from __future__ import annotations

import numpy as np
import pytest

from unitok.values import Audio, Boxes, Graph, Image, Series, ValueRefused


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: Image(np.zeros((4, 4, 3), np.float32)), r"Image.pixels.*uint8"),
        (lambda: Image(np.zeros((0, 4, 3), np.uint8)), r"Image.pixels.*empty"),
        (lambda: Image(np.zeros((4, 4, 2), np.uint8)), r"Image.pixels"),
        (lambda: Audio(np.zeros(4, np.int16), 8000), r"Audio.samples"),
        (lambda: Audio(np.zeros((4, 2), np.float32), 8000), r"Audio.samples.*mono"),
        (lambda: Audio(np.array([np.nan], np.float32), 8000), r"Audio.samples.*NaN"),
        (lambda: Audio(np.zeros(4, np.float32), 0), r"Audio.rate"),
        (lambda: Series(np.array([1.0, np.inf])), r"Series.values.*infinity"),
        (lambda: Series(np.array([1e300])), r"Series.values.*float32"),
        (lambda: Series(np.array(["a"])), r"Series.values"),
        (lambda: Series(np.zeros((3, 0))), r"Series.values"),
        (lambda: Graph(2, np.array([[0, 2]])), r"Graph.edges"),
        (lambda: Graph(-1, np.zeros((0, 2))), r"Graph.num_nodes"),
        (lambda: Graph(2, np.array([[0, 1], [1, 0]])), r"Graph.edges.*twice"),
        (lambda: Graph(2, np.array([[0, 1]]), node_labels=np.array([1])), r"Graph.node_labels"),
        (lambda: Graph(1, [], node_labels=np.array([-1])), r"Graph.node_labels"),
        (lambda: Boxes(np.array([[0, 0, 1, np.nan]]), ["a"]), r"Boxes.coords"),
        (lambda: Boxes(np.zeros((2, 4)), ["a"]), r"Boxes.labels"),
    ],
)
def test_a_bad_field_is_named(make, names: str) -> None:
    with pytest.raises(ValueRefused, match=names):
        make()


def test_equality_is_by_content_and_nan_equals_nan() -> None:
    assert Series(np.array([1.0, np.nan])) == Series(np.array([[1.0], [np.nan]]))
    assert Series(np.array([1.0]), "h") != Series(np.array([1.0]), "d")
    assert Image(np.zeros((2, 2), np.uint8)) == Image(np.zeros((2, 2, 1), np.uint8))
    assert Graph(2, [[0, 1]], node_labels=np.array([1, 2])) != Graph(2, [[0, 1]])
    assert Boxes(np.zeros((1, 4)), ["a"]) != Boxes(np.zeros((1, 4)), ["b"])


def test_directed_pairs_are_two_edges() -> None:
    assert Graph(2, np.array([[0, 1], [1, 0]]), directed=True).num_edges == 2


def test_relabel_follows_new_to_old() -> None:
    graph = Graph(3, np.array([[0, 1], [1, 2]]), node_labels=np.array([7, 8, 9]))
    moved = graph.relabel(np.array([2, 0, 1]))
    assert moved.node_labels.tolist() == [9, 7, 8]
    assert moved.canonical_edges().edges.tolist() == [[0, 2], [1, 2]]
    with pytest.raises(ValueRefused, match="order"):
        graph.relabel(np.array([0, 0, 1]))
