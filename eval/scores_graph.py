"""Tasks that answer with a graph: is it valid, new, what was asked for, the truth itself; and as a set, like the real ones?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unitok.eval import figures
from unitok.eval.context import SAMPLES, SHUFFLED_NOTE, TaskContext, metric, plain_metric
from unitok.metrics import bootstrap, graphs
from unitok.sequence import TEXT, as_text
from unitok.values import Graph

SETS = ("degree_mmd", "wl_mmd")
NAMES = frozenset(
    ["validity", "uniqueness", "novelty", "properties", "isomorphic", "smiles", *SETS]
)
KNOWN = 5000  # training graphs that novelty is judged by, at the most
SET_SIZE = 200  # graphs of each set that are compared as distributions, at the most
KERNELS = {"degree_mmd": graphs.degree_kernel, "wl_mmd": graphs.wl_kernel}
TITLES = {"degree_mmd": "degree MMD²", "wl_mmd": "WL-kernel MMD²"}


def score_graphs(task: TaskContext) -> dict[str, Any]:
    """By default: valid, unique, novel, with the stated properties where the inputs state some, else equal to the truth."""
    template = task.config.templates[0]
    field = task.target_field(template).name
    truth = [record[field] for record in task.records]
    known, known_records = task.train_values(field, KNOWN)
    stated = [
        f.name for f in task.input_fields(template)
        if f.modality == TEXT and f.name in graphs.PROPERTIES
    ]  # fmt: skip
    if (
        not stated and "properties" in task.config.metrics
    ):  # shown in another modality: the record says it
        stated = [name for name in task.records[0] if name in graphs.PROPERTIES]
    molecules = _molecules(known)
    wanted = task.config.metrics or _default(stated, molecules)
    made = [output.value for output in _ask(task, task.records)]
    tokenizer = task.predictor.tokenizers["graph"]
    rebuilt = tokenizer.decode_batch(tokenizer.encode_batch(truth))
    other = [
        known[i]
        for i in np.random.default_rng(task.settings.seed).integers(0, len(known), len(made))
    ]
    seed, found = task.settings.seed, []

    def share(name: str, title: str, right: Any, note: str = "") -> None:
        """right: graphs [N] -> 0 or 1 each, so that generated, rebuilt and other graphs are held to one measure."""
        score = bootstrap.mean(np.array(right(made), float), seed)
        baseline = ("a training graph at random", float(np.mean(right(other))))
        bound = ("reconstructions", float(np.mean(right(rebuilt))))
        found.append(metric(title, score, "%", baseline, bound, note, key=name))

    matches = lambda these: [_has(g, r, stated) for g, r in zip(these, task.records)]  # noqa: E731
    same = lambda these: [graphs.isomorphic(a, b) for a, b in zip(truth, these)]  # noqa: E731
    if "properties" in wanted and stated:
        share("properties", "stated properties hold", matches, ", ".join(stated))
    if "isomorphic" in wanted:
        share("isomorphic", "equal up to relabelling", same)
    if "smiles" in wanted and molecules:
        share(
            "smiles",
            "canonical SMILES right",
            lambda these: [_same_smiles(a, b) for a, b in zip(truth, these)],
        )
    if task.reads_values and found:
        found.append(_shuffled(task, found[0], truth, stated))
    if "validity" in wanted:
        found.append(_validity(made, molecules, seed))
    if "uniqueness" in wanted:
        own = ("of the true graphs", graphs.uniqueness(truth))
        found.append(
            plain_metric(
                "unique", graphs.uniqueness(made), len(made), "%", "", None, own, key="uniqueness"
            )
        )
    if "novelty" in wanted:
        new = bootstrap.mean(np.array([graphs.novelty([g], known) for g in made]), seed)
        own = ("of the true graphs", graphs.novelty(truth, known))
        found.append(
            metric(
                "novel",
                new,
                "%",
                None,
                own,
                f"none of {len(known):,} training graphs",
                key="novelty",
            )
        )
    found += [_distance(name, made, truth, known, seed) for name in SETS if name in wanted]
    right = (
        matches(made) if stated else same(made) if {"isomorphic", "smiles"} & set(wanted) else None
    )
    return {
        "about": f"Graphs, sampled at temperature {_temperature(task):g}." if _temperature(task) else "Graphs, written greedily.",
        "metrics": found,
        "confusion": None,
        "samples": [
            _sample(task, i, made[i], truth[i], stated, known_records, None if right is None else bool(right[i]))
            for i in range(min(SAMPLES, len(made)))
        ],
        "samples_note": "First items of the split. Colours are node labels.",
        "samples_wide": False,
    }  # fmt: skip


def _default(stated: Sequence[str], molecules: bool) -> list[str]:
    if stated:
        return ["properties", "validity", "uniqueness", "novelty", "degree_mmd"]
    return ["isomorphic", "validity", *(["smiles"] if molecules else [])]


def _temperature(task: TaskContext) -> float:
    """Greedy where there is one right answer; else sampled, for all would be alike."""
    return (
        0.0
        if {"isomorphic", "smiles"} & set(task.config.metrics or ["isomorphic"])
        and not _stated(task)
        else task.settings.temperature
    )


def _stated(task: TaskContext) -> bool:
    fields = task.input_fields(task.config.templates[0])
    return any(f.modality == TEXT and f.name in graphs.PROPERTIES for f in fields)


def _ask(
    task: TaskContext, records: Sequence[Mapping[str, Any]], what: str = "drawing graphs"
) -> Any:
    room, heat = task.room(), _temperature(task)
    guidance = task.guidance if heat else 1.0
    return task.ask(
        [
            task.request(
                i, record, "graph", max_new_tokens=room, temperature=heat, guidance=guidance,
                seed=task.settings.seed + i,
            )
            for i, record in enumerate(records)
        ],
        what,
    )  # fmt: skip


def _has(graph: Graph, record: Mapping[str, Any], names: Sequence[str]) -> bool:
    return all(as_text(graphs.property_of(graph, n)) == as_text(record[n]) for n in names)


def _molecules(known: Sequence[Graph]) -> bool:
    """Whether the data are molecules: RDKit is there and takes the first labelled graphs for such."""
    try:
        import rdkit  # noqa: F401
    except ImportError:
        return False
    first = known[:20]
    labelled = all(g.node_labels is not None and g.edge_labels is not None for g in first)
    return labelled and all(graphs.valid_molecule(g) for g in first)


def _same_smiles(truth: Graph, other: Graph) -> bool:
    return graphs.valid_molecule(other) and truth.to_smiles() == other.to_smiles()


def _validity(made: Sequence[Graph], molecules: bool, seed: int) -> dict[str, Any]:
    if molecules:
        valid = np.array([graphs.valid_molecule(g) for g in made], float)
        note = "RDKit takes it for a molecule"
    else:
        valid = np.array([g.num_nodes > 0 for g in made], float)
        note = "has a node; that it decodes the grammar sees to"
    return metric("valid", bootstrap.mean(valid, seed), "%", note=note, key="validity")


def _distance(
    name: str, made: Sequence[Graph], truth: Sequence[Graph], known: Sequence[Graph], seed: int
) -> dict[str, Any]:
    """Beside random graphs of the true ones' sizes, and the distance that training graphs have."""
    size = min(SET_SIZE, len(made), len(known))
    rng = np.random.default_rng([seed, 3])
    real, drawn = list(truth[:size]), list(made[:size])
    blind = [_random_like(graph, rng) for graph in real]
    training = [known[i] for i in rng.permutation(len(known))[:size]]
    kernel = KERNELS[name]
    value = lambda these: graphs.squared_mmd(these, real, kernel)  # noqa: E731
    baseline = ("random edges, same sizes", value(blind))
    return plain_metric(
        TITLES[name], value(drawn), size, "", "", baseline, ("training graphs", value(training)), key=name
    )  # fmt: skip


def _random_like(graph: Graph, rng: np.random.Generator) -> Graph:
    """As many nodes and edges, placed at random, and the labels dealt out anew (Erdos and Renyi 1959)."""
    n = graph.num_nodes
    pairs = [(u, v) for u in range(n) for v in range(n) if (u != v if graph.directed else u < v)]
    count = min(graph.num_edges, len(pairs))
    chosen = rng.permutation(len(pairs))[:count]
    deal = lambda labels, rows: None if labels is None else rng.permutation(labels)[:rows]  # noqa: E731
    return Graph(
        n, np.array([pairs[i] for i in chosen], int).reshape(-1, 2), graph.directed,
        deal(graph.node_labels, n), deal(graph.edge_labels, count),
    )  # fmt: skip


def _shuffled(
    task: TaskContext, first: dict[str, Any], truth: Sequence[Graph], stated: Sequence[str]
) -> dict[str, Any]:
    places, records = task.shuffled()
    made = [output.value for output in _ask(task, records, "with sources shuffled")]
    right = {
        "properties": lambda i, g: _has(g, task.records[i], stated),
        "isomorphic": lambda i, g: graphs.isomorphic(truth[i], g),
        "smiles": lambda i, g: _same_smiles(truth[i], g),
    }[first["key"]]
    hits = np.array([right(i, g) for i, g in zip(places, made)], float)
    baseline = first["baseline"]
    return metric(
        f"{first['name']}, source shuffled", bootstrap.mean(hits, task.settings.seed), "%",
        (baseline["name"], baseline["value"]), None, SHUFFLED_NOTE,
    )  # fmt: skip


def _sample(
    task: TaskContext, index: int, made: Graph, truth: Graph, stated: Sequence[str], known_records: Any, right: bool | None
) -> dict[str, Any]:  # fmt: skip
    columns = [("truth", truth), ("model", made)]
    facts = [f"{name} {as_text(graphs.property_of(made, name))}" for name in stated]
    return {
        "inputs": task.shown_inputs(task.template(index), task.records[index]),
        "columns": [{"name": n, "part": figures.show(g)} for n, g in columns],
        "text": None if right is None else "as asked" if right else "not as asked",
        "truth": None, "right": right,
        "note": "; ".join(facts) or f"{made.num_nodes} nodes, {made.num_edges} edges",
    }  # fmt: skip
