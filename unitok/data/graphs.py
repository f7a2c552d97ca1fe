"""Graphs to and from networkx, and to and from files.

suffix                        what
.edges .edgelist .txt .tsv    `u v [label]` a line; what `write_graph` adds in comments: see `_edge_list`
.graphml .xml                 GraphML without DTD or entities; labels are the integer attribute `label`
.g6 .graph6 .s6 .sparse6      the first graph of the file, undirected, without labels
.smi .smiles                  the first molecule of the file (extra `chem`)

Any of them may be followed by .gz. A file is checked for its size before anything is built from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from unitok.atomic import replacing
from unitok.data import limits, molecules
from unitok.errors import InputError
from unitok.values import Graph, ValueRefused

MAX_NODES = 1_000_000
MAX_TEXT = 64 << 20


# ---- networkx -----------------------------------------------------------------------------


def to_networkx(graph: Graph) -> Any:
    """Graph or DiGraph with nodes 0..N-1; attributes `label`, and `features` where there are any."""
    import networkx as nx

    out = nx.DiGraph() if graph.directed else nx.Graph()
    out.add_nodes_from(range(graph.num_nodes))
    out.add_edges_from(map(tuple, graph.edges.tolist()))
    for name, rows in (("label", graph.node_labels), ("features", graph.node_features)):
        for node, row in enumerate([] if rows is None else rows.tolist()):
            out.nodes[node][name] = row
    for name, rows in (("label", graph.edge_labels), ("features", graph.edge_features)):
        for (u, v), row in zip(graph.edges.tolist(), [] if rows is None else rows.tolist()):
            out.edges[u, v][name] = row
    return out


def from_networkx(graph: Any) -> Graph:
    """Nodes in their order there. `label` (non-negative integers) and `features` of nodes and edges are
    kept where every one has them; other attributes are not.

    Raises ValueRefused for parallel edges, and where only some have a label.
    """
    index = {node: i for i, node in enumerate(graph.nodes)}
    edges = np.array([(index[u], index[v]) for u, v in graph.edges()], np.int64)
    nodes = [data for _, data in graph.nodes(data=True)]
    links = [data for _, _, data in graph.edges(data=True)]
    return Graph(
        len(index),
        edges.reshape(-1, 2),
        graph.is_directed(),
        _column(nodes, "label", "node"),
        _column(links, "label", "edge"),
        _column(nodes, "features", "node"),
        _column(links, "features", "edge"),
    )


def _column(rows: list[dict[str, Any]], name: str, what: str) -> np.ndarray | None:
    values = [row[name] for row in rows if name in row]
    if not values:
        return None
    if len(values) < len(rows):
        raise ValueRefused(f"Graph.{what}_{name}: {len(rows) - len(values)} of {len(rows)} lack it")
    if name == "features":
        return np.asarray(values, np.float32)
    if not all(isinstance(v, int | np.integer) and 0 <= v < 2**63 for v in values):
        raise ValueRefused(
            f"Graph.{what}_labels: want non-negative integers below 2**63 as `label`"
        )
    return np.array(values, np.int64)


# ---- files --------------------------------------------------------------------------------


def read_graph(path: str | Path) -> Graph:
    """The graph in a file. Raises InputError naming the file and the remedy."""
    path = limits.existing(path)
    read = _format(path)[0]
    text = limits.read_text(path, MAX_TEXT)
    try:
        return read(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())[:200]}") from None


def write_graph(value: Graph, path: str | Path) -> None:
    """Write it in the format of the suffix, whole or not at all. Raises InputError where that format cannot hold it."""
    path = Path(path)
    if value.node_features is not None or value.edge_features is not None:
        raise InputError(f"{path}: features cannot be written; leave them out, or use labels")
    try:
        text = _format(path)[1](value)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if path.suffix == ".gz":
        raise InputError(f"{path}: compressed graphs are read, not written; drop the .gz")
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8")


def _format(path: Path) -> tuple[Callable[[str], Graph], Callable[[Graph], str]]:
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    for suffixes, read, write in (
        ((".edges", ".edgelist", ".txt", ".tsv"), _edge_list, _to_edge_list),
        ((".graphml", ".xml"), _graphml, _to_graphml),
        ((".g6", ".graph6"), _graph6, lambda graph: _to_graph6(graph, sparse=False)),
        ((".s6", ".sparse6"), _graph6, lambda graph: _to_graph6(graph, sparse=True)),
        ((".smi", ".smiles"), _smiles, lambda graph: molecules.to_smiles(graph) + "\n"),
    ):
        if suffix.lower() in suffixes:
            return read, write
    raise InputError(
        f"{path}: no graph format has the suffix {suffix!r}; "
        "use .edges, .graphml, .g6, .s6 or .smi (see unitok.data.graphs)"
    )


# ---- edge lists ---------------------------------------------------------------------------


def _edge_list(text: str) -> Graph:
    """`u v [label]` a line, # begins a comment. An edge repeated with the same label is one edge.

    A first line `# graph {"nodes": N, "directed": false, ...}` says that nodes are 0..N-1, isolated
    ones included, and may hold their labels; else nodes are what the lines name, integers in order.
    """
    lines = text.splitlines()
    head: dict[str, Any] = {}
    if lines and lines[0].startswith("# graph {"):
        head = json.loads(lines[0][len("# graph ") :])
        if type(head.get("nodes")) is not int or not 0 <= head["nodes"] <= MAX_NODES:
            raise ValueError(f"want between 0 and {MAX_NODES} nodes in its first line")
    rows = [line.split("#")[0].split() for line in lines]
    rows = [row for row in rows if row]
    widths = {len(row) for row in rows}
    if not widths <= {2, 3} or len(widths) > 1:
        number = 1 + next(i for i, line in enumerate(lines) if line.split("#")[0].split() in rows)
        raise ValueError(f"want two node names a line and perhaps a label (from line {number} on)")
    if not rows and not head:
        raise ValueError("no edges, and no first line that says how many nodes there are")

    index = _node_index([name for row in rows for name in row[:2]], head.get("nodes"))
    count = head.get("nodes", len(index))
    directed = bool(head.get("directed", False))
    labels: dict[tuple[int, int], int | None] = {}
    for row in rows:
        u, v = index[row[0]], index[row[1]]
        pair = (u, v) if directed or u <= v else (v, u)
        label = _integer(row[2], "edge label") if len(row) == 3 else None
        if labels.setdefault(pair, label) != label:
            raise ValueError(f"the edge {row[0]} {row[1]} comes with two labels; keep one")
    node_labels = head.get("node_labels")
    labelled = widths == {3} or bool(head.get("edge_labels", False))
    return Graph(
        count,
        np.array(list(labels), np.int64).reshape(-1, 2),
        directed,
        None if node_labels is None else _integers(node_labels),
        np.array(list(labels.values()), np.int64) if labelled else None,
    )


def _node_index(names: list[str], nodes: int | None) -> dict[str, int]:
    if nodes is not None:
        index = {name: _integer(name, "node") for name in dict.fromkeys(names)}
        if any(i >= nodes for i in index.values()):
            raise ValueError(f"a node beyond the {nodes} of its first line")
        return index
    distinct = list(dict.fromkeys(names))
    if len(distinct) > MAX_NODES:
        raise ValueError(f"more than {MAX_NODES} nodes; cut it into parts")
    if all(name.isascii() and name.isdigit() and len(name) < 19 for name in distinct):
        distinct.sort(key=int)
    return {name: i for i, name in enumerate(distinct)}


def _integer(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 2**63):
        raise ValueError(f"{text[:40]!r} is no {what}: want a non-negative integer below 2**63")
    return int(text)


def _integers(values: Any) -> np.ndarray:
    if not isinstance(values, list) or not all(type(v) is int and 0 <= v < 2**63 for v in values):
        raise ValueError("want node_labels as a list of non-negative integers")
    return np.array(values, np.int64)


def _to_edge_list(graph: Graph) -> str:
    head: dict[str, Any] = {"nodes": graph.num_nodes, "directed": graph.directed}
    if graph.node_labels is not None:
        head["node_labels"] = graph.node_labels.tolist()
    columns = [graph.edges]
    if graph.edge_labels is not None:
        head["edge_labels"] = True
        columns.append(graph.edge_labels[:, None])
    rows = np.concatenate(columns, axis=1).tolist()
    lines = [f"# graph {json.dumps(head)}", *(" ".join(map(str, row)) for row in rows)]
    return "\n".join(lines) + "\n"


# ---- GraphML, graph6, SMILES --------------------------------------------------------------


def _graphml(text: str) -> Graph:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities may expand without bound
        raise ValueError("has a DTD or entities; remove the <!DOCTYPE ...> part")
    if text.count("<node") > MAX_NODES:
        raise ValueError(f"more than {MAX_NODES} nodes; cut it into parts")
    from xml.etree.ElementTree import ParseError

    import networkx as nx

    try:
        graph = nx.parse_graphml(text)
    except (ParseError, nx.NetworkXError, TypeError, AttributeError) as error:
        raise ValueError(f"not readable as GraphML ({error})") from None
    if graph.is_multigraph():
        raise ValueError("has parallel edges; merge them")
    return from_networkx(graph)


def _to_graphml(graph: Graph) -> str:
    import networkx as nx

    return "\n".join(nx.generate_graphml(to_networkx(graph))) + "\n"


def _graph6(text: str) -> Graph:
    """The first line; its number of nodes is read before networkx builds them."""
    import networkx as nx

    lines = text.split()
    line = lines[0] if lines else ""
    for mark in (">>graph6<<", ">>sparse6<<"):
        line = line.removeprefix(mark)
    sparse = line.startswith(":")
    codes = [ord(character) - 63 for character in line[sparse:]]
    if not codes or min(codes) < 0 or max(codes) > 63:
        raise ValueError("not readable as graph6 or sparse6; the first line has other characters")
    skip, digits = (0, 1) if codes[0] < 63 else (1, 3) if codes[1:2] != [63] else (2, 6)
    nodes = 0
    for code in codes[skip : skip + digits]:
        nodes = nodes * 64 + code
    if len(codes) < skip + digits or nodes > MAX_NODES:
        raise ValueError(f"more than {MAX_NODES} nodes, or cut short")
    if not sparse and len(codes) - skip - digits != -(-(nodes * (nodes - 1) // 2) // 6):
        raise ValueError(f"not as long as graph6 of {nodes} nodes is")
    parse = nx.from_sparse6_bytes if sparse else nx.from_graph6_bytes
    try:
        return from_networkx(nx.Graph(parse(line.encode())))
    except (nx.NetworkXError, AssertionError) as error:
        raise ValueError(f"not readable as graph6 or sparse6 ({error})") from None


def _to_graph6(graph: Graph, *, sparse: bool) -> str:
    import networkx as nx

    loops = bool((graph.edges[:, 0] == graph.edges[:, 1]).any())
    labels = graph.node_labels is not None or graph.edge_labels is not None
    if graph.directed or labels or (loops and not sparse):
        raise ValueError(
            "graph6 holds no directions, labels or loops (sparse6: loops); use .graphml"
        )
    write = nx.to_sparse6_bytes if sparse else nx.to_graph6_bytes
    return write(to_networkx(graph), header=False).decode()


def _smiles(text: str) -> Graph:
    words = text.split(maxsplit=1)
    if not words:
        raise ValueError("empty; want a SMILES string in its first line")
    return molecules.from_smiles(words[0])
