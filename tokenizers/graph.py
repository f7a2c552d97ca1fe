"""Graphs as a typed trail: the nodes along a walk, each with the edges back to those before it.

A node is one token that says whether it is linked to the one before (LINKED) or not (JUMP); every
other edge is one token REF at its newer end, by the distance back; labels are a token each. So a
graph of m edges, unlabelled, takes m + 1 tokens and one more for each jump; the header costs nothing,
being the first node's token. Codes and grammar: graph_grammar.py. The walk: graph_walk.py.

`decode` gives the graph with its nodes renamed by `order`, edges and labels exactly. Legend: N nodes
of a union of graphs, M links, I items (a node, or an edge back), n tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unitok.interfaces import Grammar
from unitok.tokenizers import graph_grammar as gg
from unitok.tokenizers.base import BaseTokenizer
from unitok.tokenizers.graph_grammar import BASE, TABLE
from unitok.tokenizers.graph_read import Reader, bits_of
from unitok.tokenizers.graph_walk import Union, walk
from unitok.values import Graph, ValueRefused

ABSENT = -1
BATCH_EDGES = 1 << 16  # edges of one union


class GraphTokenizer(BaseTokenizer):
    """Graphs to tokens and back, exactly up to the nodes' numbering. Nothing to fit, no options."""

    name = modality = "graph"
    size = gg.SIZE

    # ---- encode ---------------------------------------------------------------------------

    def encode(
        self, value: Graph, context: Any = None, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """int32 [n]. rng: a random trail instead of the canonical one. context is not used.

        Raises ValueRefused for what is no Graph, or has features.
        """
        _check(value)
        return _encode([value], rng)[0]

    def encode_batch(self, values: Sequence[Graph]) -> list[np.ndarray]:
        """As `encode`, one by one; the array work is shared."""
        out: list[Any] = [None] * len(values)
        groups: dict[Any, list[int]] = {}
        for index, value in enumerate(values):
            _check(value)
            groups.setdefault(_bits(value), []).append(index)
        for members in groups.values():
            part: list[int] = []
            room = BATCH_EDGES
            ends: list[int | None] = [*members, None]
            for member in ends:
                if member is None or room < 0:
                    for i, ids in zip(part, _encode([values[i] for i in part], None)):
                        out[i] = ids
                    part, room = [], BATCH_EDGES
                if member is not None:
                    part.append(member)
                    room -= values[member].num_edges + values[member].num_nodes
        return out

    def order(self, value: Graph, rng: np.random.Generator | None = None) -> np.ndarray:
        """New index -> old index of the encoding, int64 [N]; with rng in the state `encode` was given."""
        _check(value)
        return walk([value], Union.of([value]), rng)[0]

    # ---- decode ---------------------------------------------------------------------------

    def decode(self, ids: np.ndarray, context: Any = None) -> Graph:
        """The graph. Raises ValueError where the tokens are not one."""
        return Reader(self.check_ids(ids).tolist()).graph()

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """int32 [n, 3]: token, its node, and the node it refers to (its own where there is none)."""
        ids = self.check_ids(ids)
        is_node = (ids < gg.EMPTY) | ((ids >= gg.LINKED) & (ids <= gg.JUMP))
        node = np.maximum(np.cumsum(is_node) - 1, 0)
        is_ref = (ids >= gg.REF) & (ids < gg.FAR)
        target = node - np.where(is_ref, (ids - gg.REF) % TABLE, 0)
        return np.stack([np.arange(len(ids)), node, target], axis=1).astype(np.int32)

    def grammar(
        self,
        directed: bool | None = None,
        node_labels: bool | None = None,
        edge_labels: bool | None = None,
        max_nodes: int | None = None,
    ) -> Grammar:
        """Tokens of a whole graph; the header's choices are fixed where given."""
        most = gg.MAX_NODES if max_nodes is None else max_nodes
        if not 0 <= most <= gg.MAX_NODES:
            raise ValueError(f"graph: max_nodes {max_nodes} outside 0..{gg.MAX_NODES}")
        return gg.GraphGrammar(directed, node_labels, edge_labels, most)

    def bits_per_item(self, value: Graph) -> float:
        """Each token, the end counted, at the logarithm of the choices its place leaves: see `bits_of`."""
        return bits_of(self.encode(value).tolist())


def _check(value: Any) -> None:
    if not isinstance(value, Graph):
        raise ValueRefused(f"graph: want a Graph, got {type(value).__name__}")
    for name in ("node_features", "edge_features"):
        if getattr(value, name) is not None:
            raise ValueRefused(
                f"Graph.{name}: the graph tokenizer writes labels, not real features; quantise them "
                f"into {name.replace('features', 'labels')}, or leave them out (set {name}=None)"
            )
    if value.num_nodes > gg.MAX_NODES:
        raise ValueRefused(f"Graph.num_nodes: {value.num_nodes} is beyond {gg.MAX_NODES}")


def _bits(value: Graph) -> int:
    bits = gg.DIRECTED * value.directed
    bits += gg.NODE_LABELS * (value.node_labels is not None)
    return bits + gg.EDGE_LABELS * (value.edge_labels is not None)


# ---- graphs to tokens ---------------------------------------------------------------------


def _encode(graphs: list[Graph], rng: np.random.Generator | None) -> list[np.ndarray]:
    """Graphs of one kind (`_bits`), as one union."""
    union = Union.of(graphs)
    order_N, linked_N = walk(graphs, union, rng)
    new_N = np.empty_like(order_N)
    new_N[order_N] = np.arange(len(order_N))
    edges = _links_as_written(graphs[0].directed, union, new_N)
    node_I, is_edge_I, distance_I, kind_I, edge_I2 = _items(edges, linked_N)

    main_I = np.where(is_edge_I, gg.REF + TABLE * kind_I + distance_I, gg.LINKED + kind_I)
    main_I = np.where(~is_edge_I & (distance_I == 0), gg.JUMP, main_I)
    far_I = is_edge_I & (distance_I >= TABLE)
    columns = [np.where(far_I, gg.FAR + kind_I, main_I)]
    if far_I.any():
        first_I = np.repeat(union.starts_G[:-1], np.diff(union.starts_G))[node_I]
        columns += _far_columns(distance_I, node_I - first_I, far_I)
    if graphs[0].edge_labels is not None:
        labels_E = np.concatenate([graph.edge_labels for graph in graphs])
        for edge_I in edge_I2:
            labels_I = np.full(len(edge_I), ABSENT)
            labels_I[edge_I >= 0] = labels_E[edge_I[edge_I >= 0]]
            columns += _label_columns(labels_I, gg.EDGE, gg.EDGE_TABLE)
    if graphs[0].node_labels is not None:
        labels_N = np.concatenate([graph.node_labels for graph in graphs])[order_N]
        labels_I = np.where(is_edge_I, ABSENT, labels_N[node_I])
        columns += _label_columns(labels_I, gg.NODE, gg.NODE_TABLE)

    tokens_Ik = np.stack(columns, axis=1)
    there_Ik = tokens_Ik != ABSENT
    flat_n = tokens_Ik[there_Ik].astype(np.int32)
    ends_I = np.concatenate([[0], np.cumsum(there_Ik.sum(axis=1))])
    begins_G = ends_I[np.searchsorted(node_I, union.starts_G)]
    bits = _bits(graphs[0])
    pieces = []
    for graph, begin, end in zip(graphs, begins_G.tolist(), begins_G[1:].tolist()):
        if graph.num_nodes == 0:
            pieces.append(np.array([gg.EMPTY + bits], np.int32))
            continue
        flat_n[begin] = gg.FIRST + bits  # the header stands for the first node, a jump
        pieces.append(flat_n[begin:end])
    return pieces


def _links_as_written(
    directed: bool, union: Union, new_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For links and loops: newer node, distance back, kind, and the edges behind them [2, M]
    (first the one towards the newer node)."""
    ends_M2 = new_N[union.links_M2]
    newer_M, distance_M = ends_M2.max(axis=1), np.abs(ends_M2[:, 0] - ends_M2[:, 1])
    to_newer, to_older = union.forward_M, union.backward_M
    if directed:
        turned_M = ends_M2[:, 0] > ends_M2[:, 1]  # low -> high goes from the newer to the older
        to_newer, to_older = (
            np.where(turned_M, to_older, to_newer),
            np.where(turned_M, to_newer, to_older),
        )
    kind_M = np.where(to_older < 0, 0, np.where(to_newer < 0, 1, 2))
    first_M = np.where(kind_M == 1, to_older, to_newer)
    second_M = np.where(kind_M == 2, to_older, ABSENT)
    loops = np.flatnonzero(union.loop_N >= 0)
    if len(loops):
        none = np.zeros(len(loops), np.int64)
        newer_M = np.concatenate([newer_M, new_N[loops]])
        distance_M = np.concatenate([distance_M, none])
        kind_M = np.concatenate([kind_M, none])
        first_M = np.concatenate([first_M, union.loop_N[loops]])
        second_M = np.concatenate([second_M, none + ABSENT])
    return newer_M, distance_M, kind_M, np.stack([first_M, second_M])


def _items(
    edges: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], linked_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """In writing order: node, whether it is an edge back, distance, kind, edges [2, I].

    A node's own item has distance 1 where it is linked (its link is written with it), else 0.
    """
    newer_M, distance_M, kind_M, edge_M2 = edges
    count = len(linked_N)
    with_node_M = linked_N[newer_M] & (distance_M == 1)
    own_kind_N, own_edge_N2 = np.zeros(count, np.int64), np.full((2, count), ABSENT)
    own_kind_N[newer_M[with_node_M]] = kind_M[with_node_M]
    own_edge_N2[:, newer_M[with_node_M]] = edge_M2[:, with_node_M]
    rest = ~with_node_M
    node_I = np.concatenate([np.arange(count), newer_M[rest]])
    distance_I = np.concatenate([linked_N.astype(np.int64), distance_M[rest]])
    is_edge_I = np.arange(len(node_I)) >= count
    width = int(distance_M.max(initial=0)) + 2
    by = np.argsort(node_I * width + (distance_I + 1) * is_edge_I)
    return (
        node_I[by],
        is_edge_I[by],
        distance_I[by],
        np.concatenate([own_kind_N, kind_M[rest]])[by],
        np.concatenate([own_edge_N2, edge_M2[:, rest]], axis=1)[:, by],
    )


def _far_columns(
    distance_I: np.ndarray, newest_I: np.ndarray, far_I: np.ndarray
) -> list[np.ndarray]:
    """The hexadecimal digits of far distances, as many as the newest node's index has."""
    most = len(f"{int(newest_I.max()):x}")
    columns = []
    for power in range(most - 1, -1, -1):
        digit_I = gg.DIGIT + (distance_I >> (4 * power)) % BASE
        wanted_I = far_I & ((newest_I >> (4 * power)) > 0)
        columns.append(np.where(wanted_I, digit_I, ABSENT))
    return columns


def _label_columns(labels_I: np.ndarray, first: int, table: int) -> list[np.ndarray]:
    """One column where all labels are in the table; else the digits of the others behind it."""
    inside_I = labels_I < table
    tokens_I = np.where(labels_I >= 0, first + labels_I, ABSENT)
    if inside_I.all():
        return [tokens_I]
    most = len(f"{int(labels_I.max()):x}")
    shifts = 4 * np.arange(most)
    digits_I = (labels_I[:, None] >> shifts > 0).sum(axis=1)
    columns = [np.where(inside_I, tokens_I, gg.SPELLED + digits_I - 1)]
    for power in range(most - 1, -1, -1):
        digit_I = gg.DIGIT + (labels_I >> (4 * power)) % BASE
        columns.append(np.where(~inside_I & (power < digits_I), digit_I, ABSENT))
    return columns
