"""Graphs to tokens and back: exact up to numbering, for every kind of graph; the walk; the grammar."""

from __future__ import annotations

import contextlib

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unitok import tokenizers
from unitok.conformance import check_grammar, check_tokenizer
from unitok.tokenizers import graph_grammar as gg
from unitok.values import Graph, ValueRefused

TOK = tokenizers.build("graph")


@st.composite
def graphs(draw: st.DrawFn, most: int = 9) -> Graph:
    """Any graph: directed or not, loops, isolated nodes, labels in and beyond the tables, or none."""
    n, directed = draw(st.integers(0, most)), draw(st.booleans())
    pairs = [(i, j) for i in range(n) for j in range(n) if directed or i <= j]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    edges = [pair[:: draw(st.sampled_from([1, -1]))] for pair in edges] if not directed else edges
    label = st.integers(0, draw(st.sampled_from([3, 1000, 2**63 - 1])))
    labels = lambda count: draw(st.none() | st.lists(label, min_size=count, max_size=count))  # noqa: E731
    node_labels, edge_labels = labels(n), labels(len(edges))
    return Graph(
        n,
        np.array(edges, np.int64).reshape(-1, 2),
        directed,
        None if node_labels is None else np.array(node_labels, np.int64),
        None if edge_labels is None else np.array(edge_labels, np.int64),
    )


def from_nx(graph: nx.Graph) -> Graph:
    graph = nx.convert_node_labels_to_integers(graph)
    return Graph(len(graph), np.array(graph.edges(), np.int64).reshape(-1, 2), graph.is_directed())


def isomorphic(a: Graph, b: Graph) -> bool:
    if (a.num_nodes, a.directed) != (b.num_nodes, b.directed):
        return False
    same = lambda x, y: x.get("label") == y.get("label")  # noqa: E731
    return nx.is_isomorphic(a.to_networkx(), b.to_networkx(), node_match=same, edge_match=same)


FAMILIES = {
    "empty": nx.empty_graph(0),
    "one node": nx.empty_graph(1),
    "edgeless": nx.empty_graph(5),
    "tree": nx.random_labeled_tree(40, seed=1),
    "cycle": nx.cycle_graph(24),
    "complete": nx.complete_graph(12),
    "star": nx.star_graph(15),
    "disconnected": nx.disjoint_union(nx.path_graph(5), nx.cycle_graph(4)),
    "directed": nx.gnp_random_graph(20, 0.2, seed=2, directed=True),
    "preferential": nx.barabasi_albert_graph(60, 2, seed=3),
    "loops": nx.Graph([(0, 0), (0, 1), (1, 1), (2, 2)]),
}


def test_conformance() -> None:
    ring = [(i, i + 1) for i in range(7)] + [(0, 0), (7, 2)]
    both = Graph(8, np.array([*ring, (2, 1), (0, 7)]), True, np.arange(8) * 99, np.arange(11) * 9)
    values = [both, Graph(3, np.zeros((0, 2))), from_nx(nx.path_graph(9)), Graph(0, [], True)]
    requests = [{"directed": False, "node_labels": False, "edge_labels": False}, {}]
    check_tokenizer(
        lambda: tokenizers.build("graph"), values, isomorphic, requests=requests, slacks=(0, 1, 40)
    )


def test_the_grammar_reaches_beyond_the_table_of_references() -> None:
    check_grammar(
        TOK, {"directed": False, "edge_labels": False, "node_labels": False}, slacks=(700,)
    )


@settings(max_examples=200, deadline=None)
@given(graphs(), st.none() | st.integers(0, 9))
def test_decode_gives_the_input_relabelled_by_order(value: Graph, seed: int | None) -> None:
    rng = lambda: None if seed is None else np.random.default_rng(seed)  # noqa: E731
    back = TOK.decode(TOK.encode(value, rng=rng()))
    expected = value.relabel(TOK.order(value, rng=rng()))
    assert back.canonical_edges() == expected.canonical_edges()


@settings(max_examples=40, deadline=None)
@given(graphs(most=6))
def test_networkx_finds_them_isomorphic(value: Graph) -> None:
    assert isomorphic(value, TOK.decode(TOK.encode(value)))


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name: str) -> None:
    value = from_nx(FAMILIES[name])
    ids = TOK.encode(value)
    back = TOK.decode(ids)
    assert back.canonical_edges() == value.relabel(TOK.order(value)).canonical_edges()
    jumps = int((ids == gg.JUMP).sum())
    assert len(ids) == value.num_edges + 1 + jumps or value.directed or value.num_nodes == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(graphs(), max_size=6))
def test_a_batch_changes_nothing(values: list[Graph]) -> None:
    for value, ids in zip(values, TOK.encode_batch(values)):
        assert np.array_equal(ids, TOK.encode(value))


def test_any_number_of_nodes() -> None:
    value = from_nx(nx.gnm_random_graph(5000, 9000, seed=4))  # references of four digits
    ids = TOK.encode(value, rng=np.random.default_rng(0))
    assert (ids == gg.FAR).any()
    order = TOK.order(value, rng=np.random.default_rng(0))
    assert TOK.decode(ids).canonical_edges() == value.relabel(order).canonical_edges()


def test_the_walk_seldom_jumps() -> None:
    for name, most in (("cycle", 0), ("complete", 0), ("tree", 12)):
        assert (TOK.encode(from_nx(FAMILIES[name])) == gg.JUMP).sum() <= most


def test_random_orders_differ_and_the_canonical_one_ignores_numbering() -> None:
    value = from_nx(FAMILIES["preferential"])
    rng = np.random.default_rng(5)
    strings = {TOK.encode(value, rng=rng).tobytes() for _ in range(100)}
    assert len(strings) == 100
    same = {TOK.encode(value.relabel(rng.permutation(60))).tobytes() for _ in range(10)}
    assert len(same) == 1  # no two of its nodes look alike three links away


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, TOK.size - 1), max_size=30), graphs(), st.integers(0, 20))
def test_decode_is_total(noise: list[int], value: Graph, at: int) -> None:
    ids = TOK.encode(value).tolist()
    for candidate in (noise, ids[:at] + noise, ids[:at] + noise[:1] + ids[at + 1 :]):
        with contextlib.suppress(ValueError):
            TOK.decode(np.array(candidate, np.int32))


@pytest.mark.parametrize(
    "ids",
    [
        [gg.LINKED],
        [gg.FIRST, gg.REF + 1],
        [gg.FIRST, gg.LINKED, gg.REF + 1],  # the link, said again
        [gg.FIRST, gg.JUMP, gg.REF + 1, gg.REF + 1],
        [gg.FIRST, gg.JUMP, gg.REF + 1, gg.REF],
        [gg.FIRST, gg.REF + gg.TABLE],  # a directed kind in an undirected graph
        [gg.EMPTY, gg.JUMP],
        [gg.FIRST + gg.NODE_LABELS, gg.JUMP],
        [gg.FIRST, gg.FAR, gg.DIGIT + 9],
    ],
)
def test_refuses_what_is_no_graph(ids: list[int]) -> None:
    with pytest.raises(ValueError, match="graph"):
        TOK.decode(np.array(ids, np.int32))


def test_positions_point_at_the_node_referred_to() -> None:
    ids = np.array([gg.FIRST, gg.LINKED, gg.LINKED, gg.REF + 2], np.int32)
    assert TOK.positions(ids).tolist() == [[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 2, 0]]


def test_bits_shrink_with_the_choices() -> None:
    value = from_nx(FAMILIES["cycle"])
    ids = TOK.encode(value)
    assert 0 < TOK.bits_per_item(value) < len(ids) * np.log2(TOK.size) / 2


def test_names_what_it_refuses() -> None:
    with pytest.raises(ValueRefused, match="node_features"):
        TOK.encode(Graph(1, [], node_features=np.zeros((1, 2))))
    with pytest.raises(ValueRefused, match="str"):
        TOK.encode("no graph")
