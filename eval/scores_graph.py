"""Tasks that answer with a graph: is it valid, new, what was asked for, the truth itself; and as a set, like the real ones?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from unitok.eval import exchanged, figures
from unitok.eval.context import SAMPLES, TaskContext, metric
from unitok.eval.judge_graphs import GraphJudge
from unitok.metrics import bootstrap, graphs
from unitok.sequence import TEXT, as_text
from unitok.values import Graph

DETERMINED = ("isomorphic", "smiles")  # there is one right graph
SETS = ("degree_mmd", "wl_mmd")
NAMES = frozenset(["validity", "uniqueness", "novelty", "properties", "judge", *DETERMINED, *SETS])
KNOWN = 5000  # training graphs that novelty is judged by, at the most
JUDGED = 2000  # training graphs that the judge compares with, at the most
SET_SIZE = 200  # graphs of each set that are compared as distributions, at the most
KERNELS = {"degree_mmd": graphs.degree_kernel, "wl_mmd": graphs.wl_kernel}
TITLES = {
    "properties": "stated properties hold", "judge": "recognised by the judge", "isomorphic": "equal up to relabelling",
    "smiles": "canonical SMILES right", "degree_mmd": "degree MMD²", "wl_mmd": "WL-kernel MMD²",
}  # fmt: skip
Measure = Callable[
    [Sequence[int], Sequence[Graph]], list[bool]
]  # (items, a graph for each) -> right?


def score_graphs(task: TaskContext) -> dict[str, Any]:
    """By default: valid, unique, novel, with the stated properties where some are stated, else equal to the truth."""
    field = task.target_field(task.config.templates[0]).name
    truth = [record[field] for record in task.records]
    known, known_records = task.train_values(field, KNOWN)
    molecules = _molecules(known)
    wanted = task.config.metrics or _default(task, molecules)
    made = _ask(task, task.records)
    measures, notes = _measures(task, wanted, truth, known, known_records)
    seed, found = task.settings.seed, []
    tokenizer = task.predictor.tokenizers["graph"]
    rebuilt = tokenizer.decode_batch(tokenizer.encode_batch(truth))
    everything = range(len(made))
    for name, right in measures.items():
        score = bootstrap.mean(np.array(right(everything, made), float), seed)
        chosen = np.random.default_rng(seed).integers(0, len(known), len(made))
        chance = float(np.mean(right(everything, [known[i] for i in chosen])))
        bound = ("reconstructions", float(np.mean(right(everything, rebuilt))))
        baseline = ("a training graph at random", chance)
        found.append(metric(TITLES[name], score, "%", baseline, bound, notes.get(name, ""), key=name))  # fmt: skip
    ask = lambda records: _ask(task, records, exchanged.DOING)  # noqa: E731
    if found and (other := exchanged.exchange(task, made, ask)):
        hits = measures[found[0]["key"]](other.places, other.outputs)
        found.append(other.metric(found[0], bootstrap.mean(np.array(hits, float), seed)))
    found += _each(wanted, made, truth, known, molecules, seed)
    found += [_distance(name, made, truth, known, seed) for name in SETS if name in wanted]
    verdicts = next(iter(measures.values()))(everything, made) if measures else None
    return {
        "about": f"Graphs, {task.sampled if _sampling(task) else 'written greedily'}.",
        "metrics": found,
        "confusion": None,
        "samples": [
            _sample(task, i, made[i], truth[i], None if verdicts is None else bool(verdicts[i]))
            for i in range(min(SAMPLES, len(made)))
        ],
        "samples_note": "First items of the split. Colours are node labels.",
        "samples_wide": False,
    }  # fmt: skip


# ---- asking the model --------------------------------------------------------------------------


def stated(task: TaskContext) -> dict[str, str]:
    """Properties that the answer is to have, with the field of the record that says so: those of
    `shows`, and text fields of the inputs that bear a property's name."""
    fields = task.input_fields(task.config.templates[0])
    named = {f.name: f.name for f in fields if f.modality == TEXT and f.name in graphs.PROPERTIES}
    return {**named, **{k: v for k, v in task.config.shows.items() if k != "judge"}}


def _default(task: TaskContext, molecules: bool) -> list[str]:
    if stated(task) or "judge" in task.config.shows:
        return ["judge", "properties", "validity", "uniqueness", "novelty", "degree_mmd"]
    return ["isomorphic", "validity", *(["smiles"] if molecules else [])]


def _sampling(task: TaskContext) -> dict[str, float]:
    """Empty, for greedy, where there is one right answer; else sampled, for all would be alike."""
    wanted = task.config.metrics or _default(task, molecules=False)
    determined = set(DETERMINED) & set(wanted) or not task.temperature
    return {} if determined else {**task.sampling, "guidance": task.guidance}


def _ask(
    task: TaskContext, records: Sequence[Mapping[str, Any]], what: str = "drawing graphs"
) -> list[Graph]:
    room, greedy = task.room(), {"temperature": 0.0}
    requests = [
        task.request(
            i, record, "graph", max_new_tokens=room, seed=task.settings.seed + i, **(_sampling(task) or greedy),
        )
        for i, record in enumerate(records)
    ]  # fmt: skip
    return [output.value for output in task.ask(requests, what)]


# ---- right or wrong, graph by graph ------------------------------------------------------------


def _measures(
    task: TaskContext, wanted: Sequence[str], truth: Sequence[Graph], known: Sequence[Graph], known_records: Any
) -> tuple[dict[str, Measure], dict[str, str]]:  # fmt: skip
    """The wanted ways to be right, in the order of TITLES, with notes: one measure for generated, rebuilt and chance graphs."""
    properties, found, notes = stated(task), {}, {}
    if "properties" in wanted and properties:
        found["properties"] = lambda items, made: [
            all(as_text(graphs.property_of(g, n)) == as_text(task.records[i][f]) for n, f in properties.items())
            for i, g in zip(items, made)
        ]  # fmt: skip
        notes["properties"] = ", ".join(properties)
    if "judge" in wanted and (label := task.config.shows.get("judge")):
        asked = [as_text(record[label]) for record in task.records]
        reader = GraphJudge(known[:JUDGED], [as_text(r[label]) for r in known_records[:JUDGED]])
        found["judge"] = lambda items, made: [
            word == asked[i] for i, word in zip(items, reader.recognise(made))
        ]
        own = np.mean([a == b for a, b in zip(reader.recognise(truth), asked)])
        notes["judge"] = (
            f"its {label}, by the nearest of {len(reader.pool):,} training graphs under the WL kernel, "
            f"which is right for {100 * own:.1f} % of the real test graphs"
        )
    if "isomorphic" in wanted:
        found["isomorphic"] = lambda items, made: [
            graphs.isomorphic(truth[i], g) for i, g in zip(items, made)
        ]
    if "smiles" in wanted and _molecules(known):
        found["smiles"] = lambda items, made: [
            graphs.valid_molecule(g) and truth[i].to_smiles() == g.to_smiles()
            for i, g in zip(items, made)
        ]
    return found, notes


def _molecules(known: Sequence[Graph]) -> bool:
    """Whether the data are molecules: RDKit is there and takes the first labelled graphs for such."""
    try:
        import rdkit  # noqa: F401
    except ImportError:
        return False
    first = known[:20]
    labelled = all(g.node_labels is not None and g.edge_labels is not None for g in first)
    return labelled and all(graphs.valid_molecule(g) for g in first)


# ---- what is told without a truth --------------------------------------------------------------


def _each(
    wanted: Sequence[str], made: Sequence[Graph], truth: Sequence[Graph], known: Sequence[Graph],
    molecules: bool, seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Validity, uniqueness, novelty; beside them those of the true graphs."""
    found = []
    if "validity" in wanted:
        check = graphs.valid_molecule if molecules else lambda g: g.num_nodes > 0
        share_valid = lambda these: np.array([check(g) for g in these], float)  # noqa: E731
        blind = (
            None  # random graphs that hold nothing but nodes are all valid: only molecules can fail
        )
        if molecules:
            rng = np.random.default_rng([seed, 4])
            like = [_random_like(graph, rng) for graph in truth]
            blind = ("random bonds, same atoms", float(share_valid(like).mean()))
        valid = bootstrap.mean(share_valid(made), seed)
        note = (
            "RDKit takes it for a molecule"
            if molecules
            else "has a node; that it decodes the grammar sees to"
        )
        found.append(metric("valid", valid, "%", blind, None, note, key="validity"))
    if "uniqueness" in wanted:
        share = graphs.uniqueness_estimate(made, seed)
        one, bound = (
            ("one graph for all", 1 / len(made)),
            ("of the true graphs", graphs.uniqueness(truth)),
        )
        found.append(metric("unique", share, "%", one, bound, key="uniqueness"))
    if "novelty" in wanted:
        seen = {graphs.fingerprint(graph) for graph in known}
        new = lambda these: np.array([graphs.fingerprint(g) not in seen for g in these], float)  # noqa: E731
        own = ("of the true graphs", float(new(truth).mean()))
        note = f"none of {len(known):,} training graphs"
        score, copied = bootstrap.mean(new(made), seed), ("a training graph at random", 0.0)
        found.append(metric("novel", score, "%", copied, own, note, key="novelty"))
    return found


def _distance(
    name: str, made: Sequence[Graph], truth: Sequence[Graph], known: Sequence[Graph], seed: int
) -> dict[str, Any]:
    """Beside random graphs of the true ones' sizes, and the distance that training graphs have."""
    size = min(SET_SIZE, len(made), len(known))
    rng = np.random.default_rng([seed, 3])
    real, drawn = list(truth[:size]), list(made[:size])
    blind = [_random_like(graph, rng) for graph in real]
    training = [known[i] for i in rng.permutation(len(known))[:size]]
    value = lambda these: graphs.squared_mmd(these, real, KERNELS[name])  # noqa: E731
    baseline, bound = (
        ("random edges, same sizes", value(blind)),
        ("training graphs", value(training)),
    )
    score = graphs.mmd_estimate(drawn, real, KERNELS[name], seed)
    return metric(TITLES[name], score, "", baseline, bound, key=name)


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


def _sample(
    task: TaskContext, index: int, made: Graph, truth: Graph, right: bool | None
) -> dict[str, Any]:
    facts = [f"{name} {as_text(graphs.property_of(made, name))}" for name in stated(task)]
    columns = [("truth", truth), ("model", made)]
    return {
        "item": task.items[index],
"inputs": task.shown_inputs(task.template(index), task.records[index]),
        "columns": [{"name": n, "part": figures.show(g)} for n, g in columns],
        "text": None if right is None else "as asked" if right else "not as asked",
        "truth": None, "right": right,
        "note": "; ".join(facts) or f"{made.num_nodes} nodes, {made.num_edges} edges",
    }  # fmt: skip
