"""Graph files, networkx and molecules: what is written comes back, hostile files are named."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import os
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from unitok import tokenizers
from unitok.data.files import read_file
from unitok.data.graphs import read_graph, write_graph
from unitok.errors import InputError
from unitok.values import Graph, ValueRefused

PLAIN = Graph(6, np.array([[0, 1], [1, 2], [4, 2]]))
LOOPED = Graph(3, np.array([[0, 0], [0, 2]]))
RICH = Graph(
    4, np.array([[1, 0], [0, 1], [3, 3]]), True, np.array([5, 0, 2**62, 1]), np.array([7, 8, 9])
)
EDGELESS = Graph(3, [], node_labels=np.array([1, 1, 2]), edge_labels=np.zeros(0, np.int64))


@pytest.mark.parametrize(
    ("suffix", "values"),
    [
        ("edges", [PLAIN, LOOPED, RICH, EDGELESS, Graph(0, [])]),
        ("graphml", [PLAIN, LOOPED, RICH, Graph(2, [])]),
        ("s6", [PLAIN, LOOPED, Graph(70, np.array([[0, 69]]))]),
        ("g6", [PLAIN, Graph(70, np.array([[0, 69]])), Graph(1, [])]),
    ],
)
def test_files_come_back(tmp_path: Path, suffix: str, values: list[Graph]) -> None:
    for value in values:
        write_graph(value, tmp_path / f"a.{suffix}")
        assert read_graph(tmp_path / f"a.{suffix}").canonical_edges() == value.canonical_edges()


def test_other_programs_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("# comment\nann bob 3\nbob eve 4\nbob ann 3\n")
    graph = read_graph(tmp_path / "a.txt")
    assert (graph.num_nodes, graph.edges.tolist()) == (3, [[0, 1], [1, 2]])
    assert graph.edge_labels.tolist() == [3, 4]
    (tmp_path / "b.edges").write_text("10 7\n7 3\n")
    assert read_graph(tmp_path / "b.edges").edges.tolist() == [[1, 2], [0, 1]]
    with gzip.open(tmp_path / "c.edges.gz", "wt") as file:
        file.write("0 1\n")
    assert read_graph(tmp_path / "c.edges.gz").num_edges == 1
    (tmp_path / "d.g6").write_text(
        ">>graph6<<" + nx.to_graph6_bytes(nx.path_graph(5), header=False).decode()
    )
    assert read_graph(tmp_path / "d.g6").num_edges == 4


BOMB = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><graphml>&a;</graphml>'
HOSTILE = {
    "a.graphml": BOMB,
    "b.graphml": "<graphml><graph>",
    "c.graphml": "<other/>",
    "d.s6": ":" + "~~" + "~" * 6,  # 2**36 nodes in nine characters
    "e.g6": "~~~~",
    "f.g6": "D",
    "g.g6": "äö",
    "h.edges": "1 2 3 4 5\n",
    "i.edges": "1 2\n3 4 5\n",
    "j.edges": "",
    "k.edges": '# graph {"nodes": 1000000000000}\n',
    "l.edges": '# graph {"nodes": 2}\n0 5\n',
    "m.edges": "# graph {nonsense\n0 5\n",
    "n.edges": "0 1 -3\n",
    "o.edges": "0 1 2\n1 0 3\n",
    "p.smi": "",
    "q.pickle": "x",
    "r.edges": '# graph {"nodes": 2, "node_labels": ["x", 1]}\n0 1\n',
    "s.edges": '# graph {"nodes": true}\n',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_broken_and_hostile_files_are_one_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(HOSTILE[name], encoding="utf-8")
    with pytest.raises(InputError, match=name):
        read_graph(tmp_path / name)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    for name in ("a.edges", "a.graphml", "a.s6", "a.smi"):
        (tmp_path / name).write_bytes(bytes(range(256)))
        with pytest.raises(InputError, match=name):
            read_graph(tmp_path / name)
    with pytest.raises(InputError, match="not found"):
        read_graph(tmp_path / "none.edges")


def test_formats_that_cannot_hold_it_say_so(tmp_path: Path) -> None:
    for value, name in ((RICH, "a.s6"), (LOOPED, "a.g6"), (PLAIN, "a.doc")):
        with pytest.raises(InputError, match=name):
            write_graph(value, tmp_path / name)
    with pytest.raises(InputError, match="features"):
        write_graph(Graph(1, [], node_features=np.zeros((1, 1))), tmp_path / "a.edges")


def test_networkx_there_and_back() -> None:
    featured = Graph(
        2, np.array([[0, 1]]), node_features=np.ones((2, 3)), edge_features=np.ones((1, 1))
    )
    for value in (PLAIN, LOOPED, RICH, featured):
        assert Graph.from_networkx(value.to_networkx()).canonical_edges() == value.canonical_edges()
    with pytest.raises(ValueRefused, match="1 of 3"):
        graph = nx.path_graph(3)
        graph.nodes[0]["label"] = graph.nodes[1]["label"] = 1
        Graph.from_networkx(graph)
    with pytest.raises(ValueRefused, match="parallel"):
        Graph.from_networkx(nx.MultiGraph([(0, 1), (0, 1)]))


# ---- molecules ----------------------------------------------------------------------------

SMILES = [
    "CCO",
    "c1ccccc1",
    "c1cc[nH]c1",
    "O=C([O-])c1ccc([N+](=O)[O-])cc1",
    "C[C@H](N)C(=O)O",
    "C[C@@H](O)[C@H](O)C",  # alike neighbours: a locant tells them apart
    "C[C@H]1CC[C@@H](C)CC1",  # a ring's cis and trans
    "OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O",
    "F/C=C/F",
    "C/C=C\\C=C\\C",
    "CC/C(C)=N/O",
    "[Na+].[Cl-]",
    "[13CH4]",
    "[2H]OC",
    "[CH3]",
    "[Fe]",
    "C[S@](=O)c1ccccc1",
    "N[Pt](Cl)Cl",
    "[NH3]->[Cu]",
    "*CC",
    "FS(F)(F)(F)(F)F",
    "C#N",
    "[H][H]",
]


@pytest.mark.parametrize("smiles", SMILES)
def test_molecules_come_back_as_the_same_canonical_smiles(smiles: str) -> None:
    chem = pytest.importorskip("rdkit.Chem", reason="molecules need the extra `chem`")
    canonical = chem.MolToSmiles(chem.MolFromSmiles(smiles))
    tok, rng = tokenizers.build("graph"), np.random.default_rng(0)
    graph = Graph.from_smiles(smiles)
    for _ in range(5):  # however the nodes are numbered
        assert tok.decode(tok.encode(graph, rng=rng)).to_smiles() == canonical
        graph = graph.relabel(rng.permutation(graph.num_nodes))


CLIQUE = list(itertools.combinations(range(60), 2))  # of iron, whose valence has no limit


@pytest.mark.parametrize(
    "smiles",
    [
        "C" * 20_000,
        "C" * 200_000,
        "C(" * 50_000 + "C" + ")" * 50_000,
        "C" * 4_000,
        "C1CC1" * 300,
    ],
    ids=["crashes", "hangs", "nested", "many atoms", "many rings"],
)
def test_a_smiles_too_large_for_rdkit_is_refused_before_it_is_sanitised(
    smiles: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chem = pytest.importorskip("rdkit.Chem", reason="molecules need the extra `chem`")
    real = chem.MolFromSmiles

    def parse(text: str, sanitize: bool = True) -> Any:  # past this, RDKit takes the tests with it
        assert len(text) <= 5_000 and not sanitize
        return real(text, sanitize=False)

    monkeypatch.setattr(chem, "MolFromSmiles", parse)
    with pytest.raises(ValueRefused, match="more than") as caught:
        Graph.from_smiles(smiles)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("nodes", "edges"),
    [(20_000, [(i, i + 1) for i in range(19_999)]), (60, CLIQUE), (2_000, CLIQUE)],
    ids=["chain", "clique", "clique among loose atoms"],
)
def test_a_graph_too_large_for_rdkit_is_no_molecule(
    nodes: int, edges: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    chem = pytest.importorskip("rdkit.Chem", reason="molecules need the extra `chem`")
    monkeypatch.setattr(chem, "SanitizeMol", lambda mol: pytest.fail("was sanitised"))
    labels = np.full(nodes, 26)
    graph = Graph(nodes, edges, node_labels=labels, edge_labels=np.zeros(len(edges), np.int64))
    with pytest.raises(ValueRefused, match=r"^Graph: .* rings"):
        graph.to_smiles()


def test_no_molecule_is_changed_in_silence(tmp_path: Path) -> None:
    pytest.importorskip("rdkit", reason="molecules need the extra `chem`")
    for smiles in ("no smiles", "c1ccc1c", "[CH3:7]C"):
        with pytest.raises(ValueRefused, match="SMILES"):
            Graph.from_smiles(smiles)
    five_bonds = Graph(
        6, np.array([[0, i] for i in range(1, 6)]), False, np.full(6, 6), np.zeros(5, int)
    )
    for graph in (five_bonds, PLAIN, RICH, Graph(1, [], node_labels=np.array([2**62]))):
        with pytest.raises(ValueRefused, match="Graph"):
            graph.to_smiles()
    (tmp_path / "a.smi").write_text("OCC ethanol\nCC ethane\n")
    graph = read_graph(tmp_path / "a.smi")
    write_graph(graph, tmp_path / "b.smi")
    assert (tmp_path / "b.smi").read_text() == "CCO\n"


@pytest.mark.skipif("UNITOK_DATA" not in os.environ, reason="UNITOK_DATA names no folder")
@pytest.mark.parametrize("name", ["esol", "bbbp"])
def test_real_molecules_come_back(name: str) -> None:
    chem = pytest.importorskip("rdkit.Chem", reason="molecules need the extra `chem`")
    base = pytest.importorskip("rdkit.rdBase")
    file = Path(os.environ["UNITOK_DATA"]) / "moleculenet" / f"{name}.csv.gz"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(file.read_bytes()).decode())))
    tok = tokenizers.build("graph")
    with base.BlockLogs():
        for row in rows[::12]:
            mol = chem.MolFromSmiles(row["smiles"])
            if mol is not None:
                graph = tok.decode(tok.encode(Graph.from_smiles(row["smiles"])))
                assert graph.to_smiles() == chem.MolToSmiles(mol)


def test_a_message_names_its_file_once(tmp_path):
    for name in ("junk.g6", "junk.json"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError) as caught:
            read_graph(tmp_path / name) if name.endswith("g6") else read_file(
                tmp_path / name, "coord"
            )
        assert str(caught.value).count(name) == 1
