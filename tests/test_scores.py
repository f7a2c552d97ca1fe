"""The scorers, driven by a model that knows the answers and by one that does not: no network, so no compilation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from unitok import registry
from unitok.config import Config, ConfigError, SourceConfig, TaskConfig, Template, TokenizerConfig
from unitok.errors import InputError
from unitok.eval import figures, judge, scorers, scores_series
from unitok.eval.context import Settings, TaskContext
from unitok.predictor import Predictor, Request
from unitok.request import Output
from unitok.run import Run
from unitok.values import Audio, Boxes, Graph, Image, Series
from unitok.vocabulary import Vocabulary

ITEMS = 24
NAMES = ("text", "image", "audio", "series", "graph", "coord")
TOKENIZERS = {name: registry.build(name) for name in NAMES}
VOCABULARY = Vocabulary.build({n: (t.size, t.fingerprint) for n, t in TOKENIZERS.items()})
Answer = Callable[[Mapping[str, Any], int], Any]


class Knower(Predictor):
    """Answers by `reply(fields, sample)` instead of a network; everything else is the predictor's own."""

    def __init__(self, reply: Answer) -> None:
        super().__init__(None, None, VOCABULARY, TOKENIZERS)
        self.reply = reply

    def generate_batch(self, requests: Sequence[Request]) -> list[list[Output]]:
        for request in requests:
            self.interpreter.target_grammar(
                request
            )  # constraints that no grammar takes are an error here as well
            self.interpreter.compose(request)
        return [
            [
                Output(self.value(request, sample), [], -0.1, np.zeros(3, np.int32))
                for sample in range(request.num_samples)
            ]
            for request in requests
        ]

    def value(self, request: Request, sample: int) -> Any:
        value, length = self.reply(request.fields, sample), request.constraints.get("length")
        return Series(np.resize(value.values, (length, value.channels))) if length else value

    def score_batch(
        self, requests: Sequence[Request], targets: Sequence[Any], *, constrained: bool = True
    ) -> list[float]:
        return [-0.1 if self.reply(r.fields, 0) == t else -3.0 for r, t in zip(requests, targets)]


def context(
    records: Sequence[Mapping[str, Any]], inputs: str, targets: str, reply: Answer, *metrics: str,
    train: Sequence[Mapping[str, Any]] | None = None, **more: Any,
) -> TaskContext:  # fmt: skip
    config = TaskConfig(
        source="made", templates=[Template(inputs=inputs, targets=targets)], metrics=list(metrics), **more
    )  # fmt: skip
    whole = Config(
        name="scores", steps=1, tokenizers={n: TokenizerConfig(name=n) for n in NAMES},
        sources={"made": SourceConfig(kind="arrays")}, tasks={"task": config},
    )  # fmt: skip
    run = Run(path=None, config=whole, vocabulary=VOCABULARY, tokenizers=TOKENIZERS)  # type: ignore[arg-type]
    task = TaskContext("task", config, run, Knower(reply), Settings(samples=8), lambda line: None)
    task.__dict__.update(test=list(records), train=list(train or records))  # its cached properties
    return task


def scores(task: TaskContext) -> dict[str, dict[str, Any]]:
    found = scorers.choose(task).score(task, {})  # type: ignore[misc]
    for entry in found["metrics"]:
        assert np.isfinite(entry["value"]), entry
        if entry["low"] is not None:
            assert entry["low"] <= entry["value"] + 1e-9 and entry["value"] <= entry["high"] + 1e-9
    assert found["samples"]
    return {entry["name"]: entry for entry in found["metrics"]}


def lookup(records: Sequence[Mapping[str, Any]], source: str, target: str) -> Answer:
    """The answer of the record whose `source` is given: a model that reads its source and nothing else."""
    return lambda fields, _: next(r[target] for r in records if r[source] is fields[source])


# ---- forecasts ---------------------------------------------------------------------------------


def waves(count: int = ITEMS) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    t = np.arange(60)
    out = []
    for _ in range(count):
        x = 5 + np.sin(2 * np.pi * (t + rng.integers(24)) / 24) + rng.normal(0, 0.2, 60)
        out.append({"past": Series(x[:48], "H"), "future": Series(x[48:], "H")})
    return out


FORECAST = ("Go on: {past:series}", "{future:series@past}")


def test_a_perfect_forecast_scores_zero_and_repeat_last_scores_as_the_baseline() -> None:
    records = waves()
    names = ("mase", "wql", "crps", "mae", "mse", "smape", "coverage")
    right = scores(context(records, *FORECAST, lookup(records, "past", "future"), *names))
    for name in ("MASE", "WQL", "CRPS over mean |y|", "MAE", "MSE", "sMAPE"):
        assert right[name]["value"] == pytest.approx(0, abs=1e-6)
        assert 0 < right[name]["bound"]["value"] < 0.05 * right[name]["baseline"]["value"]
        assert right[name]["lower"] and right[name]["baseline"]["name"] == "seasonal naive"
    last = lambda fields, _: Series(np.full(12, fields["past"].values[-1, 0]), "H")  # noqa: E731
    flat = scores(context(records, *FORECAST, last, *names))
    assert f"repeat-last {flat['MASE']['value']:.3g}" in flat["MASE"]["note"]
    assert flat["MASE"]["value"] > flat["MASE"]["baseline"]["value"]


def test_samples_from_the_right_distribution_beat_their_own_median_and_cover() -> None:
    records, rng = waves(60), np.random.default_rng(1)
    clean = {id(r["past"]): r["future"].values for r in records}

    def reply(fields: Mapping[str, Any], sample: int) -> Series:
        return Series(clean[id(fields["past"])] + rng.normal(0, 0.2, (12, 1)), "H")

    found = scores(context(records, *FORECAST, reply, "crps", "mae", "coverage"))
    assert found["inside the 80 % band"]["value"] > 0.8  # its centre is the truth itself
    sure = scores(context(records, *FORECAST, lambda f, s: reply(f, 0), "coverage"))
    assert sure["inside the 80 % band"]["items"] == 60


def test_more_samples_than_usual_are_no_reason_for_fewer_items(monkeypatch) -> None:
    records = waves(60)
    task = context(records, *FORECAST, lookup(records, "past", "future"), "mae")
    monkeypatch.setattr(
        scores_series, "TOKENS", 20 * 30 * task.room()
    )  # thirty items of the usual samples
    for samples, items in ((10, 60), (20, 30), (100, 30)):
        more = dataclasses.replace(task, settings=Settings(samples=samples))
        more.__dict__.update(test=records, train=records)
        assert scorers.choose(more).score(more, {})["forecast_items"] == items  # type: ignore[misc]


def test_values_are_sampled_as_the_task_says_and_forecasts_are_no_exception() -> None:
    asked: set[tuple[float, float]] = set()

    def score(
        inputs: str, targets: str, records: Any, answer: Any, *metrics: str, **more: Any
    ) -> str:
        task = context(records, inputs, targets, answer, *metrics, **more)
        plain = task.predictor.generate_batch

        def spy(requests: Sequence[Request]) -> Any:
            asked.update((r.temperature, r.min_p) for r in requests)
            return plain(requests)

        task.predictor.generate_batch = spy  # type: ignore[method-assign]
        return scorers.choose(task).score(task, {})["about"]  # type: ignore[misc, no-any-return]

    records = waves()
    heat: dict[str, Any] = {"eval_temperature": 0.6, "eval_min_p": 0.02}
    about = score(*FORECAST, records, lookup(records, "past", "future"), "mase", **heat)
    assert asked == {(0.6, 0.02)} and "sampled at temperature 0.6, min-p 0.02" in about
    asked.clear()
    graphs = [{"n": str(n), "graph": Graph(n, [(0, 1)])} for n in range(2, 9)]
    build = (
        "A graph of {n:text} nodes.",
        "{graph}",
        graphs,
        lookup(graphs, "n", "graph"),
        "uniqueness",
    )
    assert "sampled at temperature 0.6, min-p 0.02" in score(*build, **heat)
    assert asked == {(0.6, 0.02)}
    asked.clear()
    assert "greedily" in score(*build[:-1], "isomorphic", **heat) and asked == {(0.0, 0.0)}


def test_series_read_off_a_graph_are_exact_or_not() -> None:
    records = some_graphs()
    for record in records:
        ends = np.bincount(record["graph"].edges.reshape(-1), minlength=record["num_nodes"])
        record["degrees"] = Series(np.sort(ends)[::-1].astype(np.float32))
    task = context(
        records,
        "{shown:graph}",
        "{degrees:series}",
        lookup(records, "shown", "degrees"),
        "exact_match",
        "mae",
    )
    found = scores(task)
    assert found["exact match"]["value"] == 1 == found["exact match"]["bound"]["value"]
    assert (
        found["exact match, source shuffled"]["value"]
        < 0.5
        > found["exact match"]["baseline"]["value"]
    )
    assert found["MAE"]["value"] == 0


# ---- graphs ------------------------------------------------------------------------------------


def some_graphs() -> list[dict[str, Any]]:
    import networkx as nx

    out = []
    for seed in range(ITEMS):
        drawn = nx.gnp_random_graph(4 + seed % 5, 0.5, seed=seed)
        graph = Graph(drawn.number_of_nodes(), np.array(list(drawn.edges()), int).reshape(-1, 2))
        size = {"num_nodes": graph.num_nodes, "num_edges": graph.num_edges}
        out.append({"graph": graph, "shown": Graph(graph.num_nodes, graph.edges), **size})
    return out


SETS = ("degree MMD²", "WL-kernel MMD²")


def test_graphs_with_the_stated_properties() -> None:
    records = some_graphs()
    by_size = {(r["num_nodes"], r["num_edges"]): r["graph"] for r in records}
    stated = ("{num_nodes:text} nodes, {num_edges:text} edges", "{graph}")
    names = ("properties", "validity", "uniqueness", "novelty", "degree_mmd", "wl_mmd")
    right = lambda f, _: by_size[f["num_nodes"], f["num_edges"]]  # noqa: E731
    found = scores(context(records, *stated, right, *names))
    assert (
        found["stated properties hold"]["value"]
        == 1
        == found["stated properties hold"]["bound"]["value"]
    )
    assert found["stated properties hold"]["baseline"]["value"] < 0.5
    assert found["novel"]["value"] == 0 and 0.5 < found["unique"]["value"] <= 1
    assert all(0 <= found[name]["value"] < found[name]["baseline"]["value"] for name in SETS)
    path = Graph(9, [[i, i + 1] for i in range(8)])
    wrong = scores(context(records, *stated, lambda f, s: path, *names))
    assert wrong["unique"]["value"] == 1 / ITEMS and wrong["novel"]["value"] == 1
    assert wrong["stated properties hold"]["value"] == np.mean([by_size.get((9, 8)) is not None])
    assert all(wrong[name]["value"] > found[name]["value"] for name in SETS)


def test_graphs_by_what_the_task_says_they_show() -> None:
    """A number that the inputs never spell as text: the property is held against the record's own field."""
    records = [
        {**r, "wanted": r["num_edges"], "size": "big" if r["num_nodes"] > 6 else "small"}
        for r in some_graphs()
    ]
    shows = {"num_edges": "wanted", "judge": "size"}
    right = lookup(records, "shown", "graph")
    task = context(records, "{shown:graph}", "{graph}", right, "properties", "judge", shows=shows)
    found = scores(task)
    assert found["stated properties hold"]["value"] == 1
    assert found["stated properties hold, source shuffled"]["value"] < 0.5
    assert found["recognised by the judge"]["value"] == 1  # each is its own nearest
    with pytest.raises(
        InputError, match=r"tasks.task.shows: 'num_edge' is no property.*'num_edges'"
    ):
        scorers.choose(
            context(records, "{shown:graph}", "{graph}", right, shows={"num_edge": "wanted"})
        )
    with pytest.raises(InputError, match=r"tasks.task.shows: 'sizes' is no field.*'size'"):
        scorers.choose(
            context(records, "{shown:graph}", "{graph}", right, shows={"judge": "sizes"})
        )


def test_a_graph_copied_under_other_names_is_right_and_a_shuffled_source_is_not() -> None:
    records = some_graphs()
    turned = lambda f, _: f["shown"].relabel(np.arange(f["shown"].num_nodes)[::-1])  # noqa: E731
    task = context(records, "The same: {shown:graph}", "{graph}", turned, "isomorphic", "validity")
    found = scores(task)
    assert found["equal up to relabelling"]["value"] == 1
    assert found["equal up to relabelling, source shuffled"]["value"] < 0.5


def test_molecules_by_their_smiles() -> None:
    pytest.importorskip("rdkit", reason="needs rdkit, in the extra `chem`")
    smiles = ["CCO", "c1ccccc1", "CC(=O)O", "CN", "C1CC1", "C=O"]
    records = [{"smiles": s, "graph": Graph.from_smiles(s)} for s in smiles]
    read = lambda f, _: Graph.from_smiles(f["smiles"]).relabel(  # noqa: E731
        np.arange(Graph.from_smiles(f["smiles"]).num_nodes)[::-1]
    )
    found = scores(context(records, "{smiles:text}", "{graph}", read, "smiles", "validity"))
    assert found["canonical SMILES right"]["value"] == found["valid"]["value"] == 1
    broken = Graph(3, [[0, 1], [1, 2]], node_labels=[999, 1, 1], edge_labels=[1, 1])
    found = scores(
        context(records, "{smiles:text}", "{graph}", lambda f, s: broken, "smiles", "validity")
    )
    assert found["canonical SMILES right"]["value"] == found["valid"]["value"] == 0


def test_a_molecule_written_in_other_words_is_right_but_no_exact_match() -> None:
    pytest.importorskip("rdkit", reason="needs rdkit, in the extra `chem`")
    other = {
        "CCO": "OCC",
        "CC(=O)O": "C(C)(=O)O",
        "CN": "CN",
        "C=O": "CO",
        "CC#N": "C(C",
        "C1CC1": "",
    }
    records = [{"graph": Graph.from_smiles(s), "smiles": s} for s in other]
    reply = lambda f, _: other[next(r["smiles"] for r in records if r["graph"] is f["graph"])]  # noqa: E731
    names = ("exact_match", "smiles")
    found = scores(context(records, "{graph}", "{smiles:text}", reply, *names))
    assert found["canonical SMILES right"]["value"] == 3 / 6  # one atom less, no SMILES, nothing
    assert found["exact match"]["value"] == 1 / 6


# ---- text: answers, captions, numbers ----------------------------------------------------------


def pictures(answers: Sequence[Any]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(2)
    return [{"image": Image(rng.integers(0, 256, (8, 8), np.uint8)), "a": a} for a in answers]


def test_a_reader_falls_to_the_baseline_when_its_source_is_shuffled() -> None:
    records = pictures([["yes", "no", "perhaps"][i % 3] for i in range(60)])
    task = context(
        records, "Is it? {image}", "{a:text}", lookup(records, "image", "a"), "accuracy", "auroc"
    )
    found = scores(task)
    assert found["accuracy"]["value"] == found["AUROC"]["value"] == found["macro F1"]["value"] == 1
    shuffled = found["accuracy, source shuffled"]
    assert shuffled["low"] < 1 / 3 < shuffled["high"] and shuffled["items"] == 60
    deaf = scores(
        context(records, "Is it? {image}", "{a:text}", lambda f, s: "no", "accuracy", "auroc")
    )
    assert deaf["accuracy"]["value"] == deaf["accuracy, source shuffled"]["value"] == 1 / 3
    assert deaf["AUROC"]["value"] == 0.5


def test_captions_by_every_score_of_text() -> None:
    words = ["a", "red", "dog", "sees", "the", "old", "cat", "near", "one", "big", "house"]
    rng = np.random.default_rng(3)
    records = pictures([" ".join(rng.permutation(words)[:7]) for _ in range(ITEMS)])
    names = ("exact_match", "bleu", "rouge_l", "cider", "wer", "cer")
    right = scores(context(records, "{image}", "{a:text}", lookup(records, "image", "a"), *names))
    for name in ("exact match", "BLEU", "ROUGE-L", "chrF"):
        assert right[name]["value"] == pytest.approx(1)
        assert right[name]["baseline"]["value"] < 0.9
    assert right["CIDEr"]["value"] > 9 > right["CIDEr"]["baseline"]["value"]
    for name in ("word error rate", "character error rate"):
        assert right[name]["value"] == 0 < right[name]["baseline"]["value"] and right[name]["lower"]


def test_numbers_beside_the_median_with_failures_counted() -> None:
    values = np.random.default_rng(4).normal(10, 3, 80).round(2)
    records = pictures([f"{v}" for v in values])
    found = scores(context(records, "{image}", "{a:text}", lookup(records, "image", "a")))
    assert found["MAE"]["value"] == found["RMSE"]["value"] == 0 and found["R²"]["value"] == 1
    assert found["MAE, source shuffled"]["value"] > 1
    lost = scores(context(records, "{image}", "{a:text}", lambda f, s: "many"))
    assert lost["not a number"]["value"] == 1
    assert lost["MAE"]["value"] == pytest.approx(lost["MAE"]["baseline"]["value"])
    assert lost["R²"]["value"] < 0.05 and lost["R²"]["baseline"]["value"] == pytest.approx(0)


# ---- boxes, sounds, the judge ------------------------------------------------------------------


def test_boxes_found_and_the_usual_box() -> None:
    rng = np.random.default_rng(5)
    records = pictures(range(ITEMS))
    for record in records:
        low = rng.uniform(0, 4, (2, 2))
        record["boxes"] = Boxes(
            np.concatenate([low, low + rng.uniform(1, 4, (2, 2))], 1), ["a", "b"]
        )
    seen = ("Where? {image}", "{boxes:coord@image}")
    right = scores(context(records, *seen, lookup(records, "image", "boxes")))
    assert right["mAP 50:95"]["value"] == right["AP50"]["value"] == 1
    assert right["mAP 50:95"]["bound"]["value"] > 0.9 > right["mAP 50:95"]["baseline"]["value"]
    assert right["mAP 50:95, source shuffled"]["value"] < 0.5
    one = figures.boxes_svg(records[0]["image"], Boxes(np.array([[0, 0, 2, 2]]), ["b"]), ["a", "b"])
    assert 'class="box c1"' in one  # its label's colour, though the other label is not there
    blind = scores(context(records, *seen, lambda f, s: Boxes(np.zeros((0, 4)), [])))
    assert blind["AP50"]["value"] == 0


def tone(high: bool, rng: np.random.Generator) -> Audio:
    t = np.arange(3200) / 8000
    wave = np.sin(2 * np.pi * (1800 if high else 300) * t + rng.uniform(0, 6)) * rng.uniform(
        0.1, 0.9
    )
    return Audio((wave + rng.normal(0, 0.01, len(t))).astype(np.float32), 8000)


def curve(up: bool, rng: np.random.Generator) -> Series:
    x = np.linspace(0, 1, 20) * (1 if up else -1)
    return Series(rng.uniform(-9, 9) + rng.uniform(1, 5) * (x + rng.normal(0, 0.1, 20)))


@pytest.mark.parametrize("make", [tone, curve])
def test_the_judge_hears_sounds_and_reads_series(make: Callable[..., Any]) -> None:
    rng = np.random.default_rng(6)
    kinds = [bool(i % 2) for i in range(60)]
    values = [make(kind, rng) for kind in kinds]
    reader = judge.train_judge(values[:40], [str(k) for k in kinds[:40]], steps=25)
    assert np.mean(np.array(reader.recognise(values[40:])) == [str(k) for k in kinds[40:]]) >= 0.9
    index, distance = judge.nearest(values[:5], values, reader.size)
    assert index.tolist() == [0, 1, 2, 3, 4] and distance.max() < 0.1


def test_examples_tokenized_in_one_batch_are_those_made_one_by_one() -> None:
    for records, inputs, targets in (
        (waves(), *FORECAST), (some_graphs(), "{shown:graph}", "{graph}"), (pictures("abc"), "{image}", "{a:text}"),
    ):  # fmt: skip
        task = context(records, inputs, targets, lambda f, s: "")
        for i, example in enumerate(task.examples):
            source, target, _ = task.pair(i, task.records[i])
            np.testing.assert_array_equal(example.inputs.ids, source.ids)
            np.testing.assert_array_equal(example.inputs.positions, source.positions)
            np.testing.assert_array_equal(example.labels, target.ids)


# ---- refused at the door -----------------------------------------------------------------------


def test_a_metric_of_no_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        TaskConfig(source="x", templates=[Template(inputs="", targets="")], metrics=["acuracy"])


@pytest.mark.parametrize(
    "targets, metric, hint",
    [("{a:text}", "psnr", "text"), ("{image}", "accuracy", "image"), ("{a:text}", "mase", "text")],
)
def test_a_metric_that_does_not_suit_is_refused(targets: str, metric: str, hint: str) -> None:
    task = context(pictures(["yes", "no"]), "What? {image}", targets, lambda f, s: "", metric)
    with pytest.raises(InputError, match=f"tasks.task.metrics: '{metric}'.*targets are {hint}"):
        scorers.choose(task)


def test_a_judge_needs_a_label() -> None:
    task = context(pictures(["yes", "no"]), "Again: {image}", "{image}", lambda f, s: "", "judge")
    with pytest.raises(InputError, match="'judge' needs the label"):
        scorers.choose(task)
