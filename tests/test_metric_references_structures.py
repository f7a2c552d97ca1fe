"""Boxes and graphs beside another's implementation on random cases: COCO's own code, GraKeL, networkx, RDKit.

Where none knows the whole of it, an independent way to the same number, said as such at the test.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections import Counter

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from unitok.metrics import detection, graphs
from unitok.metrics.detection import Detections
from unitok.values import Graph

SEEDS = st.integers(0, 10_000)


# ---- boxes -------------------------------------------------------------------------------------


def random_scene(rng: np.random.Generator) -> tuple[Detections, Detections]:
    """Boxes of three kinds, and guesses: some near, some mislabelled, some of nothing; with scores."""

    def boxes(count: int) -> tuple[np.ndarray, list[str]]:
        low = rng.uniform(0, 60, (count, 2))
        coords = np.concatenate([low, low + rng.uniform(10, 40, (count, 2))], axis=1)
        return coords, rng.choice(["cat", "dog", "owl"], count).tolist()

    coords, labels = boxes(int(rng.integers(1, 6)))
    near = coords + rng.uniform(-4, 4, coords.shape)
    named = [name if rng.random() < 0.8 else "dog" for name in labels]
    extra, other = boxes(int(rng.integers(0, 4)))
    found = np.concatenate([near, extra])
    return Detections(coords, labels), Detections(found, named + other, rng.random(len(found)))


def coco_precision(scenes: list[tuple[Detections, Detections]]) -> np.ndarray:
    """Average precision [10 thresholds, kinds in the truth] by COCO's own code."""
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools, in the extra `test`")
    from pycocotools.cocoeval import COCOeval

    kinds = ["cat", "dog", "owl"]
    edges = lambda box: [box[1], box[0], box[3] - box[1], box[2] - box[0]]  # noqa: E731
    entry = lambda image, box, name: {  # noqa: E731
        "image_id": image, "category_id": kinds.index(name), "bbox": edges(box), "area": edges(box)[2] * edges(box)[3], "iscrowd": 0,
    }  # fmt: skip
    real = [entry(i, b, n) for i, (t, _) in enumerate(scenes) for b, n in zip(t.coords, t.labels)]
    guessed = [
        {**entry(i, b, n), "score": s}
        for i, (_, f) in enumerate(scenes)
        for b, n, s in zip(f.coords, f.labels, f.scores)  # type: ignore[arg-type]
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "images": [{"id": i} for i in range(len(scenes))],
            "categories": [{"id": i, "name": name} for i, name in enumerate(kinds)],
            "annotations": [{"id": i + 1, **row} for i, row in enumerate(real)],
            "info": {},
        }
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(guessed), "bbox")
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, 2]  # [10, 101, kinds], any area, 100 a picture
    there = [k for k, name in enumerate(kinds) if any(name in t.labels for t, _ in scenes)]
    return precision[:, :, there].mean(axis=1)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_average_precision_agrees_with_coco(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng) for _ in range(5)]
    matched = [detection.match(truth, found) for truth, found in scenes]
    expected = coco_precision(scenes)
    found = detection.average_precision(matched)
    np.testing.assert_allclose(np.stack([found[k] for k in sorted(found)], axis=1), expected, atol=1e-9)  # fmt: skip
    assert detection.mean_average_precision(matched) == pytest.approx(expected.mean())


@given(SEEDS)
def test_overlap_agrees_with_coco(seed: int) -> None:
    mask = pytest.importorskip("pycocotools.mask", reason="needs pycocotools, in the extra `test`")
    truth, found = random_scene(np.random.default_rng(seed))
    a, b = (x[:, [1, 0, 3, 2]] - np.pad(x[:, [1, 0]], ((0, 0), (2, 0))) for x in (found.coords, truth.coords))  # fmt: skip
    expected = mask.iou(np.ascontiguousarray(a), np.ascontiguousarray(b), [0] * len(b))
    np.testing.assert_allclose(detection.iou(found.coords, truth.coords), expected, atol=1e-9)


# ---- graphs ------------------------------------------------------------------------------------


def random_graph(rng: np.random.Generator, directed: bool = False, labels: bool = False) -> Graph:
    nodes = int(rng.integers(2, 9))
    drawn = nx.gnp_random_graph(nodes, 0.4, seed=int(rng.integers(1 << 30)), directed=directed)
    edges = np.array(list(drawn.edges()), int).reshape(-1, 2)
    kinds = {"node_labels": rng.integers(0, 3, nodes), "edge_labels": rng.integers(0, 2, len(edges))}  # fmt: skip
    return Graph(nodes, edges, directed=directed, **(kinds if labels else {}))


@pytest.mark.parametrize("rounds", [1, 3])
def test_wl_kernel_agrees_with_grakel(rounds: int) -> None:
    """Undirected, node labels; GraKeL's subtree kernel knows neither directions nor edge labels."""
    grakel = pytest.importorskip("grakel", reason="needs grakel, in the extra `test`")
    rng = np.random.default_rng(0)
    made = [random_graph(rng) for _ in range(30)]
    kinds = [rng.integers(0, 3, graph.num_nodes) for graph in made]
    made = [Graph(g.num_nodes, g.edges, node_labels=k) for g, k in zip(made, kinds)]
    given_ = [
        grakel.Graph(nx.to_numpy_array(g.to_networkx(), weight=None), dict(enumerate(k.tolist())))
        for g, k in zip(made, kinds)
    ]
    kernel = grakel.WeisfeilerLehman(
        n_iter=rounds, normalize=True, base_graph_kernel=grakel.VertexHistogram
    )
    expected = kernel.fit_transform(given_)
    assert expected.std() > 0.05  # they do differ
    np.testing.assert_allclose(graphs.wl_kernel(made, made, rounds), expected, atol=1e-9)
    near, far = expected[:10, :10].mean() + expected[10:, 10:].mean(), 2 * expected[:10, 10:].mean()
    found = graphs.squared_mmd(made[:10], made[10:], lambda a, b: graphs.wl_kernel(a, b, rounds))
    assert found == pytest.approx(near - far)


def unfolded(graph: Graph, rounds: int) -> Counter:
    """Colours written out: a node's label with those that its edges lead to, `rounds` deep, nothing hashed."""
    drawn = graph.to_networkx()
    node = lambda v: drawn.nodes[v].get("label")  # noqa: E731

    def steps(v: int) -> list[tuple[str, object, int]]:
        if not graph.directed:
            return [("-", data.get("label"), w) for _, w, data in drawn.edges(v, data=True)]
        out = [(">", data.get("label"), w) for _, w, data in drawn.out_edges(v, data=True)]
        return out + [("<", data.get("label"), u) for u, _, data in drawn.in_edges(v, data=True)]

    def colour(v: int, depth: int) -> tuple:
        if depth == 0:
            return (node(v),)
        around = [(mark, label, colour(w, depth - 1)) for mark, label, w in steps(v)]
        return (colour(v, depth - 1), tuple(sorted(around, key=repr)))

    return Counter((d, colour(v, d)) for d in range(rounds + 1) for v in drawn)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.booleans(), st.booleans())
def test_wl_kernel_by_unfolding_every_node(seed: int, directed: bool, labels: bool) -> None:
    """Shervashidze et al. 2011 written out, for what GraKeL leaves out: directions, labels of edges."""
    rng = np.random.default_rng(seed)
    a, b = (random_graph(rng, directed, labels) for _ in range(2))
    x, y = unfolded(a, graphs.WL_ROUNDS), unfolded(b, graphs.WL_ROUNDS)
    dot = lambda p, q: sum(n * q[key] for key, n in p.items())  # noqa: E731
    expected = dot(x, y) / math.sqrt(dot(x, x) * dot(y, y))
    assert graphs.wl_kernel([a], [b])[0, 0] == pytest.approx(expected)
    colours = graphs.wl_labels(a)
    for depth, counts in enumerate(colours):
        same = [n for (d, _), n in x.items() if d == depth]
        assert sorted(counts.values()) == sorted(same)


@given(SEEDS)
def test_degree_kernel_by_networkx_histograms(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (random_graph(rng).to_networkx() for _ in range(2))
    counts = [nx.degree_histogram(g) for g in (a, b)]
    wide = max(map(len, counts))
    p, q = (np.pad(np.array(h) / sum(h), (0, wide - len(h))) for h in counts)
    total = 1 - np.minimum(p, q).sum()  # total variation: what the two do not share
    ours = graphs.degree_kernel([Graph.from_networkx(a)], [Graph.from_networkx(b)])[0, 0]
    assert ours == pytest.approx(math.exp(-(total**2) / 2))


def test_uniqueness_and_novelty_agree_with_isomorphism_by_networkx() -> None:
    rng = np.random.default_rng(1)
    made = [random_graph(rng) for _ in range(60)]
    known = [random_graph(rng) for _ in range(60)]
    small = lambda found: [g for g in found if g.num_nodes < 6]  # noqa: E731  # colours tell these apart
    made, known = small(made), small(known)
    drawn, seen = ([g.to_networkx() for g in found] for found in (made, known))
    first = [not any(nx.is_isomorphic(g, h) for h in drawn[:i]) for i, g in enumerate(drawn)]
    new = [not any(nx.is_isomorphic(g, h) for h in seen) for g in drawn]
    assert 0 < np.mean(new) < 1 and 0 < np.mean(first) < 1
    assert graphs.uniqueness(made) == pytest.approx(np.mean(first))
    assert graphs.novelty(made, known) == pytest.approx(np.mean(new))


@pytest.mark.parametrize("smiles", ["CCO", "c1ccccc1O", "CC(=O)N", "C1CC1", "N#N", "OCC", "CN(C)C"])
def test_molecules_agree_with_rdkit(smiles: str) -> None:
    chem = pytest.importorskip("rdkit.Chem", reason="needs rdkit, in the extra `test`")
    graph = Graph.from_smiles(smiles)
    assert graphs.valid_molecule(graph)
    molecule = chem.MolFromSmiles(smiles)
    for start in range(molecule.GetNumAtoms()):
        other = chem.MolToSmiles(molecule, rootedAtAtom=start, canonical=False)
        assert graphs.same_molecule(smiles, other)
    for other in ("CCO", "CCC", "CC(", ""):
        parsed = chem.MolFromSmiles(other) if other else None
        same = parsed is not None and chem.MolToSmiles(parsed) == chem.MolToSmiles(molecule)
        assert graphs.same_molecule(smiles, other) == same


@given(SEEDS)
def test_squared_mmd_of_the_linear_kernel_is_the_distance_of_means(seed: int) -> None:
    """Gretton et al. 2012: MMD is the distance of mean embeddings, and the linear kernel's embedding is the value."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(7, 3)), rng.normal(size=(4, 3))
    found = graphs.squared_mmd(a, b, sk.pairwise.linear_kernel)  # type: ignore[arg-type]
    assert found == pytest.approx(np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2))
