"""Scores of generated graphs: properties, sameness up to relabelling, distances of sets of graphs.

Axes: N, M graphs, F features.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unitok.metrics import bootstrap
from unitok.metrics.bootstrap import Estimate
from unitok.values import Graph

WL_ROUNDS = 3


# ---- one graph --------------------------------------------------------------------------------


def _components(graph: Graph) -> int:
    import networkx as nx

    whole = graph.to_networkx()
    return nx.number_connected_components(whole.to_undirected() if graph.directed else whole)


def _degrees(graph: Graph) -> np.ndarray:
    """Ends of edges at each node, self loops twice, [nodes]."""
    return np.bincount(graph.edges.reshape(-1), minlength=graph.num_nodes)


def _is_bipartite(graph: Graph) -> bool:
    import networkx as nx

    return bool(nx.is_bipartite(graph.to_networkx()))


PROPERTIES: dict[str, Callable[[Graph], Any]] = {
    "num_nodes": lambda g: g.num_nodes,
    "num_edges": lambda g: g.num_edges,
    "num_components": _components,
    "num_cycles": lambda g: g.num_edges - g.num_nodes + _components(g),  # independent ones
    "max_degree": lambda g: int(_degrees(g).max(initial=0)),
    "is_connected": lambda g: g.num_nodes > 0 and _components(g) == 1,
    "is_tree": lambda g: g.num_nodes > 0 and _components(g) == 1 and g.num_edges == g.num_nodes - 1,
    "is_bipartite": _is_bipartite,
}


def property_of(graph: Graph, name: str) -> Any:
    """A named property (`PROPERTIES`); edges are taken without their direction.

    Raises KeyError for a name that is none.

    >>> path = Graph(3, [[0, 1], [1, 2]])
    >>> property_of(path, "is_tree"), property_of(path, "num_edges"), property_of(path, "max_degree")
    (True, 2, 2)
    """
    return PROPERTIES[name](graph)


def wl_labels(graph: Graph, rounds: int = WL_ROUNDS) -> list[Counter]:
    """Counts of the Weisfeiler-Lehman colours before and after each round (Shervashidze et al. 2011), [rounds + 1].

    Node and edge labels count, and direction where there is one. A colour is a digest: the same in every process.

    >>> triangle, path = Graph(3, [[0, 1], [1, 2], [2, 0]]), Graph(3, [[0, 1], [1, 2]])
    >>> [len(colours) for colours in wl_labels(path, 1)], [len(colours) for colours in wl_labels(triangle, 1)]
    ([1, 2], [1, 1])
    """
    around: list[list[tuple[int, str]]] = [[] for _ in range(graph.num_nodes)]
    edge_labels = (
        [""] * graph.num_edges if graph.edge_labels is None else graph.edge_labels.tolist()
    )
    for (u, v), label in zip(graph.edges.tolist(), edge_labels):
        around[u].append((v, f">{label}" if graph.directed else f"-{label}"))
        if u != v or graph.directed:
            around[v].append((u, f"<{label}" if graph.directed else f"-{label}"))
    nodes = ["0"] * graph.num_nodes if graph.node_labels is None else graph.node_labels.tolist()
    colours = [str(label) for label in nodes]
    out = [Counter(colours)]
    for _ in range(rounds):
        near = (sorted(f"{mark} {colours[v]}" for v, mark in edges) for edges in around)
        colours = [_digest(f"{own}|{'|'.join(others)}") for own, others in zip(colours, near)]
        out.append(Counter(colours))
    return out


def fingerprint(graph: Graph) -> str:
    """Equal for isomorphic graphs; different ones that Weisfeiler and Lehman tell apart in 3 rounds differ.

    >>> fingerprint(Graph(3, [[0, 1], [1, 2]])) == fingerprint(Graph(3, [[0, 2], [2, 1]]))
    True
    """
    colours = [sorted(counts.items()) for counts in wl_labels(graph)]
    return _digest(f"{graph.directed} {graph.num_nodes} {graph.num_edges} {colours}")


def isomorphic(a: Graph, b: Graph) -> bool:
    """Equal up to relabelling, node and edge labels included: by fingerprint, then VF2 (Cordella et al. 2004).

    >>> isomorphic(Graph(3, [[0, 1], [1, 2]]), Graph(3, [[0, 2], [2, 1]]))
    True
    >>> isomorphic(Graph(2, [[0, 1]], node_labels=[1, 2]), Graph(2, [[0, 1]], node_labels=[1, 1]))
    False
    """
    import networkx as nx

    if a.directed != b.directed or fingerprint(a) != fingerprint(b):
        return False
    same = lambda x, y: x.get("label") == y.get("label")  # noqa: E731
    return bool(
        nx.is_isomorphic(a.to_networkx(), b.to_networkx(), node_match=same, edge_match=same)
    )


def valid_molecule(graph: Graph) -> bool:
    """Whether RDKit (extra `chem`) takes the graph as a molecule of at least one atom."""
    if graph.num_nodes == 0:
        return False
    try:
        graph.to_smiles()
    except ValueError:
        return False
    return True


def same_molecule(truth: str, written: str) -> bool:
    """Whether two SMILES mean one molecule, stereochemistry included: their canonical SMILES (extra `chem`)
    are equal. What is no SMILES is no molecule. Raises ValueRefused where the truth is none. So "OCC" is
    "CCO", and "CC(" is nothing.
    """
    canonical = Graph.from_smiles(truth).to_smiles()
    try:
        return Graph.from_smiles(written).to_smiles() == canonical
    except ValueError:
        return False


# ---- sets of graphs ---------------------------------------------------------------------------


def uniqueness(graphs: Sequence[Graph]) -> float:
    """Share of distinct graphs, by fingerprint.

    >>> uniqueness([Graph(2, [[0, 1]]), Graph(2, [[1, 0]]), Graph(1, []), Graph(3, [])])
    0.75
    """
    return len({fingerprint(graph) for graph in graphs}) / len(graphs)


def uniqueness_estimate(graphs: Sequence[Graph], seed: int = 0) -> Estimate:
    """`uniqueness` with a 95 % interval from the jackknife (Efron and Stein 1981).

    A bootstrap resample holds copies and would take them for duplicates. Left out, a graph costs a distinct one
    exactly where it has no copy; so the pseudo-values are the graphs without copies, whose share is resampled. The
    jackknife's variance is on average not below the true one: where duplicates are few, about twice as large.

    >>> estimate = uniqueness_estimate([Graph(n, []) for n in (1, 1, 2, 3)])
    >>> estimate.value, estimate.low < 0.75 < estimate.high
    (0.75, True)
    """
    found = [fingerprint(graph) for graph in graphs]
    copies = Counter(found)
    single = bootstrap.mean(np.array([copies[f] == 1 for f in found], float), seed)
    value = len(copies) / len(found)
    low, high = value + single.low - single.value, value + single.high - single.value
    return Estimate(value, max(0.0, low), min(1.0, high), len(found))


def novelty(graphs: Sequence[Graph], known: Sequence[Graph]) -> float:
    """Share of graphs that are none of `known`, by fingerprint.

    >>> novelty([Graph(2, [[0, 1]]), Graph(3, [])], known=[Graph(2, [[1, 0]])])
    0.5
    """
    seen = {fingerprint(graph) for graph in known}
    return float(np.mean([fingerprint(graph) not in seen for graph in graphs]))


def wl_kernel(a: Sequence[Graph], b: Sequence[Graph], rounds: int = WL_ROUNDS) -> np.ndarray:
    """Normalised Weisfeiler-Lehman subtree kernel, [N, M] in 0..1: cosine of the counts of all rounds' colours.

    >>> path = Graph(3, [[0, 1], [1, 2]])
    >>> wl_kernel([path], [Graph(3, [[0, 1], [1, 2], [2, 0]])], 1).round(3).tolist()  # 12 / sqrt(14 * 18)
    [[0.756]]
    """
    index: dict[tuple[int, str], int] = {}
    counts = [
        {
            index.setdefault((turn, colour), len(index)): n
            for turn, found in enumerate(wl_labels(graph, rounds))
            for colour, n in found.items()
        }
        for graph in [*a, *b]
    ]
    table = np.zeros((len(counts), max(len(index), 1)))
    for row, found in zip(table, counts):
        row[list(found)] = list(found.values())
    table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    return table[: len(a)] @ table[len(a) :].T


def degree_kernel(a: Sequence[Graph], b: Sequence[Graph], sigma: float = 1.0) -> np.ndarray:
    """exp(-TV^2 / (2 sigma^2)) of degree distributions, TV their total variation (Liao et al. 2019, GRAN), [N, M].

    >>> degree_kernel([Graph(2, [[0, 1]])], [Graph(2, [])]).round(4).tolist()  # TV is 1
    [[0.6065]]
    """
    degrees = [_degrees(graph) for graph in [*a, *b]]
    size = 1 + max((int(d.max(initial=0)) for d in degrees), default=0)
    table = np.stack([np.bincount(d, minlength=size) / max(len(d), 1) for d in degrees])
    distance = np.abs(table[: len(a), None] - table[None, len(a) :]).sum(axis=2) / 2
    return np.exp(-(distance**2) / (2 * sigma**2))


def mmd_estimate(
    a: Sequence[Graph], b: Sequence[Graph], kernel: Callable[..., np.ndarray], seed: int = 0
) -> Estimate:
    """`squared_mmd` with its 95 % interval, both sets resampled (`bootstrap.distances`).

    >>> same = [Graph(n, []) for n in (1, 2, 3, 4)]
    >>> mmd_estimate(same, same, wl_kernel).value
    0.0
    """
    n, m = len(a), len(b)
    both = kernel([*a, *b], [*a, *b])
    rng = np.random.default_rng(seed)
    weights = np.concatenate(
        [
            rng.multinomial(n, np.full(n, 1 / n), bootstrap.RESAMPLES) / n,
            -rng.multinomial(m, np.full(m, 1 / m), bootstrap.RESAMPLES) / m,
        ],
        axis=1,
    )
    draws = np.maximum(((weights @ both) * weights).sum(axis=1), 0.0)
    return bootstrap.distances(squared_mmd(a, b, kernel), draws, n)


def squared_mmd(a: Sequence[Graph], b: Sequence[Graph], kernel: Callable[..., np.ndarray]) -> float:
    """Maximum mean discrepancy squared, the biased estimate of Gretton et al. 2012: 0 for equal sets, never negative.

    >>> squared_mmd([Graph(2, [[0, 1]])], [Graph(2, [])], degree_kernel).__round__(4)  # 2 - 2 * 0.6065
    0.7869
    """
    value = kernel(a, a).mean() + kernel(b, b).mean() - 2 * kernel(a, b).mean()
    return float(max(value, 0.0))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
