"""Graph tokenizer: tokens and bits an edge beside other layouts, exactness on real graphs, speed.

    UNITOK_DATA=DIR python benchmarks/graph_tokenizer.py [--each=30] [--random=10000] [--molecules=5000]

Layouts, on ten families of unlabelled graphs: edge list (number of nodes, then two ids an edge);
GraphGPT's Eulerian path (components eulerised by networkx, cut where the last new edge is done, a jump
edge between components); SENT as AutoGraph samples it (random trail, neighbours in brackets), and the
same along our walk; sparse6. Bits: ours by the choices at each place (`bits_per_item`), the others'
tokens at the logarithm of their vocabulary for that graph, sparse6 at 6 a character. Claims: fewest
tokens on at least eight families; every graph comes back exactly (decode against the input relabelled
by `order`, in O(m), and networkx on small ones), molecules to the same canonical SMILES wherever RDKit
can parse them; at least 200,000 edges a second.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import os
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import networkx as nx
import numpy as np

from unitok import tokenizers
from unitok.tokenizers import graph_grammar as gg
from unitok.values import Graph

TOK = tokenizers.build("graph")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=30, help="graphs a family in the table")
    parser.add_argument("--random", type=int, default=10_000, help="random graphs to bring back")
    parser.add_argument("--molecules", type=int, default=5_000, help="of QM9")
    flags = parser.parse_args()
    held = layouts(flags.each)
    held &= exactness(flags.random, flags.molecules, Path(os.environ.get("UNITOK_DATA", "none")))
    return 0 if speed() and held else 1


# ---- families -----------------------------------------------------------------------------


def delaunay(n: int, seed: int) -> nx.Graph:
    from scipy.spatial import Delaunay

    triangles = Delaunay(np.random.default_rng(seed).random((n, 2))).simplices
    return nx.Graph([(int(t[i]), int(t[i - 1])) for t in triangles for i in range(3)])


FAMILIES: dict[str, Callable[[int], nx.Graph]] = {
    "random tree n24": lambda s: nx.random_labeled_tree(24, seed=s),
    "cycle n24": lambda s: nx.cycle_graph(24),
    "grid 6x6": lambda s: nx.grid_2d_graph(6, 6),
    "ER n20 p.1": lambda s: nx.gnp_random_graph(20, 0.1, seed=s),
    "ER n20 p.5": lambda s: nx.gnp_random_graph(20, 0.5, seed=s),
    "BA n32 m2": lambda s: nx.barabasi_albert_graph(32, 2, seed=s),
    "SBM 2x20": lambda s: nx.stochastic_block_model([20, 20], [[0.3, 0.05], [0.05, 0.3]], seed=s),
    "3-regular n32": lambda s: nx.random_regular_graph(3, 32, seed=s),
    "Delaunay n64": lambda s: delaunay(64, s),
    "ER n256 m768": lambda s: nx.gnm_random_graph(256, 768, seed=s),
}


def made(name: str, seed: int) -> nx.Graph:
    """With nodes 0..n-1, in an order that tells nothing."""
    graph = nx.convert_node_labels_to_integers(nx.Graph(FAMILIES[name](seed)))
    return nx.relabel_nodes(
        graph, dict(enumerate(np.random.default_rng(seed).permutation(len(graph)).tolist()))
    )


def value_of(graph: nx.Graph) -> Graph:
    edges = np.array(graph.edges(), np.int64).reshape(-1, 2)
    return Graph(len(graph), edges, graph.is_directed())


# ---- other layouts: number of tokens ------------------------------------------------------


def euler_tokens(graph: nx.Graph, rng: np.random.Generator) -> int:
    """Nodes of the path, and the mark of each jump edge between components."""
    tokens = 0
    for component in nx.connected_components(graph):
        part = nx.Graph(graph.subgraph(component))
        tokens += 1
        if len(part) > 1:
            whole = part if nx.is_eulerian(part) else nx.eulerize(part)
            start = sorted(part)[int(rng.integers(len(part)))]
            path = [frozenset(edge[:2]) for edge in nx.eulerian_circuit(whole, source=start)]
            tokens += max(path.index(edge) for edge in set(path)) + 1
    return tokens + nx.number_connected_components(graph) - 1


def random_trail(graph: nx.Graph, rng: np.random.Generator) -> tuple[list[int], list[bool]]:
    """Nodes, and whether each follows a neighbour: uniform among the unvisited, as AutoGraph samples."""
    left, order, linked = set(graph), [], []
    while left:
        near = [v for v in graph[order[-1]] if v in left] if order else []
        choices = near or sorted(left)
        order.append(choices[int(rng.integers(len(choices)))])
        linked.append(bool(near))
        left.remove(order[-1])
    return order, linked


def sent_tokens(graph: nx.Graph, order: list[int], linked: list[bool]) -> int:
    """Nodes, a reset between trails, and brackets around the earlier neighbours besides the last node."""
    place = {node: i for i, node in enumerate(order)}
    tokens = len(order) + sum(not link for link in linked[1:])
    for i, node in enumerate(order):
        back = sum(place[v] < i for v in graph[node]) - linked[i]
        tokens += back + 2 * (back > 0)
    return tokens


def layouts(each: int) -> bool:
    names = ["edge list", "Euler (GraphGPT)", "SENT", "SENT, our walk", "ours"]
    print("| family | " + " | ".join(names) + " | ours, random order |", end="")
    print(" bits: ours | edge list | Euler | SENT | sparse6 |")
    print("|---" * 12 + "|")
    wins = ties = 0
    for family in FAMILIES:
        rng = np.random.default_rng(0)
        total = np.zeros(11)
        edges = 0
        for seed in range(each if "256" not in family else max(1, each // 6)):
            graph = made(family, seed)
            value, n, m = value_of(graph), len(graph), graph.number_of_edges()
            ids, order = TOK.encode(value), TOK.order(value).tolist()
            follows = [bool(gg.LINKED <= i < gg.JUMP) for i in ids if i < gg.REF]
            counts = [
                2 * m + 1,
                euler_tokens(graph, rng),
                sent_tokens(graph, *random_trail(graph, rng)),
                sent_tokens(graph, order, follows),
                len(ids),
                len(TOK.encode(value, rng=rng)),
            ]
            bits = [TOK.bits_per_item(value)]
            bits += [tokens * np.log2(n + marks) for tokens, marks in zip(counts, (0, 1, 3))]
            bits.append(6 * len(nx.to_sparse6_bytes(graph, header=False).strip()))
            total += [*counts, *bits]
            edges += m
        rival = total[:3].min()
        wins += bool(total[4] < rival)
        ties += bool(total[4] == rival)
        cells = " | ".join(f"{x / edges:.2f}" for x in total)
        print(f"| {family}{' (not best)' if total[4] > rival else ''} | {cells} |", flush=True)
    print(
        f"\nclaim, fewest tokens on 8 of 10: {'holds' if wins >= 8 else 'DOES NOT HOLD'} "
        f"({wins}, and {ties} tied)\n"
    )
    return wins >= 8


# ---- exactness ----------------------------------------------------------------------------


def comes_back(value: Graph, seed: int) -> bool:
    """Canonical and random order, against the relabelled input; networkx too where it is small."""
    for rng in (lambda: None, lambda: np.random.default_rng(seed)):
        back = TOK.decode(TOK.encode(value, rng=rng()))
        expected = value.relabel(TOK.order(value, rng=rng()))
        if back.canonical_edges() != expected.canonical_edges():
            return False
    if value.num_nodes > 10:
        return True
    same = lambda a, b: a.get("label") == b.get("label")  # noqa: E731
    return nx.is_isomorphic(
        value.to_networkx(), back.to_networkx(), node_match=same, edge_match=same
    )


def random_values(count: int) -> Iterator[Graph]:
    """The ten families, sizes varied by cutting nodes off; directed, labelled and looped ones among them."""
    names = list(FAMILIES)
    for seed in range(count):
        rng = np.random.default_rng(seed)
        name = names[seed % len(names)]
        graph = made(name, seed)
        graph = nx.convert_node_labels_to_integers(
            graph.subgraph(rng.permutation(len(graph))[: rng.integers(0, len(graph) + 1)].tolist())
        )
        edges = np.array(graph.edges(), np.int64).reshape(-1, 2)
        directed = bool(rng.random() < 0.3)
        if directed and len(edges):
            edges = np.concatenate([edges, edges[rng.random(len(edges)) < 0.3, ::-1]])
        if rng.random() < 0.2:
            loops = np.flatnonzero(rng.random(len(graph)) < 0.2)
            edges = np.concatenate([edges, np.stack([loops, loops], axis=1)])
        high = int(rng.choice([4, 1000, 2**40]))
        labels = [rng.integers(0, high, k) for k in (len(graph), len(edges))]
        node, edge = (x if rng.random() < 0.3 else None for x in labels)
        yield Graph(len(graph), edges, directed, node, edge)


def tu_graphs(folder: Path, name: str) -> Iterator[Graph]:
    """DGCNN's text format: a line `n label` a graph, then a line `label degree neighbours` a node."""
    with zipfile.ZipFile(folder / "tu-graphs" / "tu-graphs.zip") as archive:
        lines = iter(archive.read(f"{name}/{name}.txt").decode().split("\n"))
    for _ in range(int(next(lines))):
        n = int(next(lines).split()[0])
        rows = [[int(float(x)) for x in next(lines).split()] for _ in range(n)]
        edges = {tuple(sorted((u, v))) for u, row in enumerate(rows) for v in row[2 : 2 + row[1]]}
        labels = np.array([row[0] for row in rows])
        yield Graph(n, np.array(sorted(edges), np.int64).reshape(-1, 2), node_labels=labels)


def cora(folder: Path) -> Iterator[Graph]:
    """What lies within two links of each paper, with the papers' classes."""
    data = np.load(folder / "planetoid-cora" / "cora.npz")
    whole = nx.Graph()
    whole.add_nodes_from((i, {"label": int(x)}) for i, x in enumerate(data["label"]))
    whole.add_edges_from(data["edges"].tolist())
    for node in whole:
        yield Graph.from_networkx(nx.ego_graph(whole, node, radius=2))


def smiles_of(folder: Path, name: str) -> list[str]:
    rows = csv.DictReader(io.StringIO(gzip.decompress((folder / name).read_bytes()).decode()))
    return [next(x for key, x in row.items() if key.lower() == "smiles") for row in rows]


def molecules(name: str, smiles: Iterable[str]) -> bool:
    try:
        from rdkit import Chem, rdBase
    except ImportError:
        print(f"| {name} | skipped: RDKit is not installed | | |")
        return True
    count = exact = unparsed = tokens = 0
    with rdBase.BlockLogs():
        for text in smiles:
            mol = Chem.MolFromSmiles(text)
            count += 1
            if mol is None:
                unparsed += 1
                continue
            ids = TOK.encode(Graph.from_smiles(text))
            tokens += len(ids)
            exact += TOK.decode(ids).to_smiles() == Chem.MolToSmiles(mol)
    parsed = count - unparsed
    note = f"{unparsed} RDKit cannot parse; {tokens / parsed:.1f} tokens a molecule"
    print(f"| {name} | {count} | {exact} of {parsed} | {note} |", flush=True)
    return exact == parsed


def exactness(count: int, of_qm9: int, folder: Path) -> bool:
    print("| graphs | number | come back exactly | |\n|---|---|---|---|")
    sets: dict[str, Iterable[Graph]] = {"random, ten families": random_values(count)}
    if folder.is_dir():
        sets |= {name: tu_graphs(folder, name) for name in ("MUTAG", "PROTEINS", "PTC")}
        sets["Cora, two links around each"] = cora(folder)
    held = True
    for name, values in sets.items():
        right = [comes_back(value, seed) for seed, value in enumerate(values)]
        print(f"| {name} | {len(right)} | {sum(right)} | |", flush=True)
        held &= all(right)
    if folder.is_dir():
        held &= molecules("ESOL", smiles_of(folder, "moleculenet/esol.csv.gz"))
        held &= molecules("BBBP", smiles_of(folder, "moleculenet/bbbp.csv.gz"))
        qm9 = smiles_of(folder, "qm9-smiles/qm9_smiles.csv.gz")
        some = np.random.default_rng(0).permutation(len(qm9))[:of_qm9]
        held &= molecules("QM9, drawn", [qm9[i] for i in some])
    else:
        print("real graphs skipped: set UNITOK_DATA to the folder of data sets")
    print(f"\nclaim, 100 % exact: {'holds' if held else 'DOES NOT HOLD'}\n")
    return held


# ---- speed --------------------------------------------------------------------------------


def speed() -> bool:
    print("| graphs | edges/s in a batch | one by one | decoded |\n|---|---|---|---|")
    held = True
    for n, m, count in ((24, 30, 1000), (64, 180, 500), (256, 768, 100), (10_000, 50_000, 2)):
        values = [value_of(nx.gnm_random_graph(n, m, seed=seed)) for seed in range(count)]
        codes = TOK.encode_batch(values)
        rates = []
        for call in (
            lambda: TOK.encode_batch(values),  # noqa: B023
            lambda: [TOK.encode(value) for value in values],  # noqa: B023
            lambda: TOK.decode_batch(codes),  # noqa: B023
        ):
            times = []
            for _ in range(7):
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
            rates.append(m * count / min(times))
        print(
            f"| {count:,} of {n:,} nodes, {m:,} edges | {' | '.join(f'{x:,.0f}' for x in rates)} |"
        )
        held &= rates[0] >= 200_000
    print(f"\nclaim, 200,000 edges/s: {'holds' if held else 'DOES NOT HOLD'}")
    return held


if __name__ == "__main__":
    raise SystemExit(main())
