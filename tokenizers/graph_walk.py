"""The order in which a graph's nodes are written: a trail that jumps as seldom as it can.

Many graphs are worked on as one disjoint union, so that the array work is shared; only the walk itself
is a loop. Legend: N nodes of the union, G graphs, M links (pairs of different nodes with an edge
either way), A = 2 M ends of links, sorted by node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise

import numpy as np

from unitok.values import Graph

ROUNDS = 3  # of colour refinement: what lies this far away decides between nodes


@dataclass(frozen=True)
class Union:
    """The disjoint union of some graphs, all directed or none.

    starts_G: first node of each graph, one more at the end; links_M2: nodes (low, high); forward_M and
    backward_M: the edge low -> high and high -> low (undirected: forward), -1 where there is none;
    loop_N: the edge from a node to itself, or -1. Edges are counted over all graphs, in order.
    """

    starts_G: np.ndarray
    links_M2: np.ndarray
    forward_M: np.ndarray
    backward_M: np.ndarray
    loop_N: np.ndarray

    @classmethod
    def of(cls, graphs: Sequence[Graph]) -> Union:
        starts_G = np.cumsum([0] + [graph.num_nodes for graph in graphs])
        count = int(starts_G[-1])
        sizes = [graph.num_edges for graph in graphs]
        edges = np.concatenate([graph.edges for graph in graphs] or [np.zeros((0, 2), np.int64)])
        edges = edges + np.repeat(starts_G[:-1], sizes)[:, None]
        loop_N = np.full(count, -1)
        index = np.arange(len(edges))
        is_loop = edges[:, 0] == edges[:, 1]
        if is_loop.any():
            loop_N[edges[is_loop, 0]] = index[is_loop]
            edges, index = edges[~is_loop], index[~is_loop]
        if graphs and graphs[0].directed:
            return cls(starts_G, *_merged(edges, index, count), loop_N)
        edges = np.stack([edges.min(axis=1), edges.max(axis=1)], axis=1)
        return cls(starts_G, edges, index, np.full(len(edges), -1), loop_N)

    def adjacency(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where each node's ends begin [N + 1], the neighbours [A], and the links [A]."""
        ends_A = self.links_M2.T.ravel()
        by_A = np.argsort(ends_A, kind="stable")
        begins_N = np.zeros(len(self.loop_N) + 1, np.int64)
        np.cumsum(np.bincount(ends_A, minlength=len(self.loop_N)), out=begins_N[1:])
        count = len(self.links_M2)
        return begins_N, self.links_M2[:, ::-1].T.ravel()[by_A], by_A % max(count, 1)


def _merged(
    edges: np.ndarray, index: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One link for the two edges between a pair of nodes."""
    low, high = edges.min(axis=1), edges.max(axis=1)
    keys, link = np.unique(low * max(count, 1) + high, return_inverse=True)
    links_M2 = np.stack([keys // max(count, 1), keys % max(count, 1)], axis=1)
    forward_M, backward_M = np.full(len(keys), -1), np.full(len(keys), -1)
    up = edges[:, 0] == low
    forward_M[link[up]] = index[up]
    backward_M[link[~up]] = index[~up]
    return links_M2, forward_M, backward_M


def walk(
    graphs: Sequence[Graph], union: Union, rng: np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """order_N: new index -> old index, graph after graph; linked_N, by new index: follows a neighbour.

    From each node the walk goes on to the unvisited neighbour that has fewest unvisited neighbours
    itself; where there is none it jumps to a dead end, else to any node left (Warnsdorff's rule: few
    jumps, so few tokens). Ties fall by refined colour, a property of the graph up to three links away:
    so graphs that are the same up to numbering mostly get the same tokens, though not always. With rng
    every choice is random instead.
    """
    begins_N, neighbours_A, links_A = union.adjacency()
    count = len(union.loop_N)
    if rng is None:
        colours_N = _colours(graphs, union, begins_N, neighbours_A, links_A)
        rank_N = np.empty(count, np.int64)
        rank_N[np.argsort(colours_N, kind="stable")] = np.arange(count)
        weight = max(count, 1)
    else:
        rank_N, weight = rng.permutation(count), 0
    key_N = np.diff(begins_N) * weight + rank_N
    graph_N = np.repeat(np.arange(len(graphs)), np.diff(union.starts_G))
    ranked_N = np.lexsort((key_N, graph_N))
    order, linked = _trails(
        union.starts_G.tolist(),
        begins_N.tolist(),
        neighbours_A.tolist(),
        key_N.tolist(),
        ranked_N.tolist(),
        np.argsort(rank_N).tolist(),
        weight,
    )
    return np.array(order, np.int64), np.array(linked, bool)


def _trails(
    starts: list[int],
    begins: list[int],
    neighbours: list[int],
    key: list[int],
    ranked: list[int],
    node_of_rank: list[int],
    weight: int,
) -> tuple[list[int], bytearray]:
    """The loop of `walk`, on plain lists: about 0.1 microseconds an end of a link."""
    seen = bytearray(len(key))
    order: list[int] = []
    linked = bytearray(len(key))
    dead_end = 2 * weight  # keys below it have at most one unvisited neighbour
    for start, stop in pairwise(starts):
        waiting: list[int] = []  # keys of dead ends, some of them out of date
        at, node = start, -1
        for index in range(start, stop):
            if node < 0:
                while seen[ranked[at]]:
                    at += 1
                node = ranked[at]
                while waiting and waiting[0] < key[node]:
                    better = node_of_rank[heappop(waiting) % weight]
                    if not seen[better]:
                        node = better
                        break
            else:
                linked[index] = 1
            seen[node] = 1
            order.append(node)
            following, least = -1, 1 << 62
            for other in neighbours[begins[node] : begins[node + 1]]:
                if not seen[other]:
                    now = key[other] = key[other] - weight
                    if now < least:
                        following, least = other, now
                    if now < dead_end:
                        heappush(waiting, now)
            node = following
    return order, linked


def _colours(
    graphs: Sequence[Graph],
    union: Union,
    begins_N: np.ndarray,
    neighbours_A: np.ndarray,
    links_A: np.ndarray,
) -> np.ndarray:
    """Colours of nodes that do not depend on their numbers, uint64 [N] (Weisfeiler and Leman's refinement)."""
    labels_N = _gather([(g.node_labels, g.num_nodes) for g in graphs])
    labels_E = _gather([(g.edge_labels, g.num_edges) for g in graphs])
    colours_N = _mixed(_mixed(labels_N) + np.diff(begins_N).astype(np.uint64))
    if (union.loop_N >= 0).any():
        colours_N[union.loop_N >= 0] += _mixed(labels_E[union.loop_N[union.loop_N >= 0]] + _ODD)
    directed = bool(graphs and graphs[0].directed)
    ends_A = _link_colours(union, directed, labels_E, begins_N, neighbours_A, links_A)
    total_A = np.zeros(len(neighbours_A) + 1, np.uint64)
    for _ in range(ROUNDS):
        np.cumsum(
            _mixed(colours_N[neighbours_A] + ends_A), out=total_A[1:]
        )  # wraps around, as sums may
        colours_N = _mixed(colours_N * _ODD + total_A[begins_N[1:]] - total_A[begins_N[:-1]])
    return colours_N


def _link_colours(
    union: Union,
    directed: bool,
    labels_E: np.ndarray,
    begins_N: np.ndarray,
    neighbours_A: np.ndarray,
    links_A: np.ndarray,
) -> np.ndarray:
    """What each end of a link looks like from its node: directions and labels, uint64 [A]."""
    if not directed and not labels_E.any():
        return np.zeros(len(links_A), np.uint64)
    both_2M = np.stack([union.forward_M, union.backward_M])
    colours_2M = np.where(both_2M >= 0, _mixed(labels_E[both_2M] + _ODD), np.uint64(0))
    nodes_A = np.repeat(np.arange(len(begins_N) - 1), np.diff(begins_N))
    downward_A = (nodes_A > neighbours_A).astype(np.int64) * directed
    return colours_2M[downward_A, links_A] * _ODD + colours_2M[1 - downward_A, links_A]


_ODD = np.uint64(0x9E3779B97F4A7C15)


def _mixed(x: np.ndarray) -> np.ndarray:
    """A hash of each uint64 (the finisher of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _gather(parts: Sequence[tuple[np.ndarray | None, int]]) -> np.ndarray:
    """Labels of all graphs one after another, 1 more each, 0 where there are none, uint64."""
    arrays = [np.zeros(n, np.uint64) if x is None else x.astype(np.uint64) + 1 for x, n in parts]
    return np.concatenate(arrays or [np.zeros(0, np.uint64)])
