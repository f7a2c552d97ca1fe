"""Probes on a small untrained run: they run, go on where they were, and fall to chance where they must."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from unitok import registry
from unitok.checkpoint import Checkpoints
from unitok.config import (
    Config,
    ModelConfig,
    ObjectiveConfig,
    SourceConfig,
    TaskConfig,
    Template,
    TokenizerConfig,
)
from unitok.errors import InputError
from unitok.eval import compare, likelihood, model_card, runner, side_by_side
from unitok.eval import main as eval_main
from unitok.eval.context import Settings, TaskContext
from unitok.eval.probes import (
    calibration,
    conformal,
    drop,
    instructions,
    labels,
    numeric,
    outliers,
    retrieval,
)
from unitok.eval.probes import registry as probing
from unitok.eval.probes.findings import Probed
from unitok.interfaces import Example
from unitok.model import EncoderDecoder, TableSizes
from unitok.predictor import Predictor, Request
from unitok.run import read_run, write_run
from unitok.sequence import Codes
from unitok.vocabulary import Vocabulary

ITEMS = 24


def small_config() -> Config:
    digits = SourceConfig(
        kind="sklearn",
        options={"name": "digits", "test_share": 0.5, "limit": 60},
        label_names={"label": [str(d) for d in range(10)]},
        about="scikit-learn's handwritten digits",
        licence="CC BY 4.0",
    )
    both = Template(inputs="{image}", targets="{label:text}")
    return Config(
        name="small",
        steps=1,
        tokenizers={
            "text": TokenizerConfig(name="text"),
            "image": TokenizerConfig(name="image"),
        },
        sources={"digits": digits},
        tasks={
            "read": TaskConfig(
                source="digits",
                templates=[Template(inputs="Which? {image}", targets="{label:text}")],
                held_out_templates=[Template(inputs="{image} Say it.", targets="{label:text}")],
                metrics=["accuracy"],
            ),
            "pairs": TaskConfig(
                source="digits", templates=[both], objective=ObjectiveConfig(kind="contrastive")
            ),
        },
        model=ModelConfig(d_model=32, d_ff=32, num_heads=2, encoder_layers=1, decoder_layers=1),
        eval_items=ITEMS,
    )


def save_run(path: Path, config: Config, seed: int) -> Path:
    tokenizers = {name: registry.build(name) for name in config.tokenizers}
    vocabulary = Vocabulary.build({n: (t.size, t.fingerprint) for n, t in tokenizers.items()})
    write_run(path, config, vocabulary, tokenizers)
    model = EncoderDecoder(config.model, TableSizes.from_vocabulary(vocabulary))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda x: rng.normal(0.0, 0.3, x.shape).astype(np.float32), shapes)
    checkpoints = Checkpoints(path)
    checkpoints.save(1, {"params": params}, {})
    checkpoints.wait()
    return path


@pytest.fixture(scope="module", autouse=True)
def small_programs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "BATCH_SIZES", (ITEMS,))
        patch.setattr(likelihood, "ROWS", 2)
        patch.setattr(likelihood, "MIN_LENGTH", 64)
        patch.setattr(conformal, "LEAST", 10)
        patch.setattr(conformal, "SPLITS", 200)
        patch.setattr(instructions, "SHOTS", (1,))
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [save_run(folder / name, small_config(), seed) for seed, name in enumerate(("a", "b"))]


@pytest.fixture(scope="module")
def compared(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared")

    def evaluate(checkpoint: str, folder: Path) -> Path:
        probes = ["calibration", "conformal", "retrieval", "outliers"] if folder.name == "a" else []
        return runner.evaluate(checkpoint, folder, say=lambda line: None, probes=probes)

    page = compare.evaluate_all([str(path) for path in runs], out, evaluate)
    assert page == out / "report.html"
    return out


def test_the_command_compares_checkpoints_named_with_commas(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ",".join(str(path) for path in runs)
    flags = ["--items=2", "--probes=none", "--tasks=read"]
    assert eval_main.main([f"--checkpoint={both}", f"--out={tmp_path}", *flags]) == 0
    assert capsys.readouterr().out == f"the report is in {tmp_path / 'report.html'}\n"
    for path in runs:
        assert path.name in (tmp_path / "report.html").read_text()
        assert json.loads((tmp_path / path.name / "metrics.json").read_text())["tasks"]
    for given, says in ((both, "--out: needed"), (f"{runs[0]},", "--checkpoint: an empty name")):
        assert eval_main.main([f"--checkpoint={given}", *flags]) == 2
        assert says in capsys.readouterr().err


@pytest.fixture(scope="module")
def tasks(runs: list[Path]) -> dict[str, TaskContext]:
    run = read_run(runs[0])
    predictor = Predictor.load(runs[0])
    predictor.batch_sizes = (ITEMS,)
    quiet = lambda line: None  # noqa: E731
    return {
        name: TaskContext(name, task, run, predictor, Settings(items=ITEMS), quiet)
        for name, task in run.config.tasks.items()
    }


def test_an_untrained_model_is_at_chance_everywhere(compared: Path) -> None:
    results = json.loads((compared / "a" / "metrics.json").read_text())
    assert '"parts"' not in (compared / "a" / "metrics.json").read_text()
    probes = results["probes"]
    assert list(probes) == ["calibration", "conformal", "retrieval", "outliers"]
    metrics = {
        f"{probe} {m['name']}": m
        for probe, section in probes.items()
        for found in section["tasks"].values()
        for m in found["metrics"]
    }
    for name, m in metrics.items():
        assert m["low"] - 1e-9 <= m["value"] <= m["high"] + 1e-9, (name, m)
    nll = metrics["calibration NLL of the right answer"]
    assert nll["value"] > 0 and nll["baseline"]["value"] == pytest.approx(np.log(10), abs=0.4)
    covered = metrics["conformal coverage of 90 % sets, LAC"]
    assert covered["low"] <= 0.95 and covered["value"] > 0.85
    both = [m for name, m in metrics.items() if name.startswith("retrieval recall@1")]
    assert len(both) == 2
    assert all(m["low"] <= m["baseline"]["value"] + 0.05 for m in both)  # no better than chance
    assert 0.2 < metrics["outliers AUROC, another item's answer"]["value"] < 0.8
    page = (compared / "a" / "report.html").read_text()
    assert "Conformal prediction" in page and "Reliability, answers" in page
    assert results["tasks"]["pairs"]["metrics"][0]["name"].startswith("recall@1")
    assert results["tasks"]["pairs"]["bits"] == {}


def test_checkpoints_are_compared_in_pairs(compared: Path) -> None:
    rows = json.loads((compared / "metrics.json").read_text())["scores"]
    accuracy = next(r for r in rows if r["task"] == "read" and r["name"] == "accuracy")
    change = accuracy["changes"][1]
    assert accuracy["changes"][0] is None and change["paired"]
    first, second = (m["value"] for m in accuracy["scores"])
    assert change["value"] == pytest.approx(second - first)
    assert change["low"] <= change["value"] <= change["high"]
    page = (compared / "report.html").read_text()
    assert "a/report.html" in page
    side = page.partition('<h2 id="samples">')[2]
    assert side.count("Which? ") == side.count('alt="input"') == side_by_side.MOST_ROWS
    assert 'id="calibration"' not in page, "the second was not asked"


@pytest.mark.parametrize("lost", [["read"], ["pairs"], ["read", "pairs"]])
def test_a_finished_probe_stays_and_a_torn_one_is_made_again(
    compared: Path,
    runs: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost: list[str],
) -> None:
    for file in (compared / "a").rglob("*.json"):
        target = tmp_path / file.relative_to(compared / "a")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    for name in lost:
        torn = tmp_path / "probes" / f"retrieval-{name}.json"
        torn.write_bytes(torn.read_bytes()[:50])
    done, whole = [], retrieval.probe
    monkeypatch.setattr(retrieval, "probe", lambda p: done.append(p.task.name) or whole(p))
    runner.evaluate(
        runs[0], tmp_path, say=lambda line: None,
        probes=["calibration", "conformal", "retrieval", "outliers"],
    )  # fmt: skip
    assert done == lost
    assert (tmp_path / "metrics.json").read_text() == (compared / "a" / "metrics.json").read_text()


def test_confidence_of_tokens_agrees_with_the_likelihood(tasks: dict[str, TaskContext]) -> None:
    task = tasks["read"]
    found = calibration.token_confidence(task.predictor, task.examples)
    cold = int(np.argmin(np.abs(np.log(calibration.TEMPERATURES))))
    assert calibration.TEMPERATURES[cold] == 1.0
    nats = likelihood.nats(task.predictor.model, task.predictor.params, task.examples)
    for scores, cost in zip(found, nats):
        np.testing.assert_allclose(scores[:, 0, cold], cost, rtol=1e-4, atol=1e-4)
        sure = scores[:, 2, 0] > 0
        np.testing.assert_allclose(np.exp(-scores[sure, 0]), scores[sure, 1], rtol=1e-3)
        assert (scores[:, 1] <= 1 + 1e-6).all()


def test_label_scores_are_those_of_score(tasks: dict[str, TaskContext]) -> None:
    task = tasks["read"]
    labelled = labels.label_scores(Probed(task, [task]))
    assert labelled is not None and labelled.log_probs_NK.shape[0] <= ITEMS
    template = task.template(0)
    known = labels.candidates(task)[template]
    alone = task.predictor.score(
        template.inputs, known[3], to="text", image=task.records[0]["image"]
    )
    assert labelled.log_probs_NK[0, 3] == pytest.approx(alone, abs=1e-3)
    assert (labelled.mass_N <= 1 + 1e-6).all()
    assert labels.label_scores(Probed(tasks["pairs"], [])) is None


def test_instructions_and_dropped_inputs(tasks: dict[str, TaskContext]) -> None:
    task = tasks["read"]
    found = instructions.probe(Probed(task, [task]))
    assert found is not None
    rows = found["tables"][0]["rows"]
    assert [row[:2] for row in rows] == [["trained", "1"], ["held out", "1"]]
    assert all(0 <= row[3]["value"] <= 1 for row in rows)
    wordings = [f"exact after 1 example, wording {name}" for name in ("trained", "held out")]
    both = [name for wording in wordings for name in (wording, f"{wording}, among known answers")]
    assert [m["name"] for m in found["metrics"]] == both
    assert [m["value"] for m in found["metrics"]] == [c["value"] for row in rows for c in row[2:4]]
    dropped = drop.probe(Probed(task, [task]), runner.evaluate_task)
    assert dropped is not None
    names = [row[0] for row in dropped["tables"][0]["rows"]]
    assert names == ["all inputs", "image emptied", "image another item's", "trivial baseline"]
    assert not any("shuffled" in column for column in dropped["tables"][0]["columns"])
    scores = {m["name"]: m for m in dropped["metrics"]}
    assert list(scores) == ["accuracy, image emptied", "accuracy, image another item's"]
    whole, *rest = (row[dropped["tables"][0]["columns"].index("accuracy")]["value"] for row in dropped["tables"][0]["rows"][:3])  # fmt: skip
    assert [m["value"] for m in scores.values()] == rest
    assert all(m["bound"] == {"name": "all inputs", "value": whole} for m in scores.values())
    assert not any("emptied" in line for line in model_card.limits(card_of("drop", dropped)))


def card_of(probe: str, found: dict[str, Any]) -> dict[str, Any]:
    """Results of one probe of one task alone, as `metrics.json` holds them."""
    return {"tasks": {}, "probes": {probe: {"title": "", "about": "", "tasks": {"read": found}}}}


def test_few_shot_prompts_show_solved_items_and_then_the_question(
    tasks: dict[str, TaskContext],
) -> None:
    task = tasks["read"]
    request = instructions.few_shot(task, task.template(0), task.records[0], 0, 2, 8)
    assert request.prompt is not None
    assert request.prompt.count("Which? {image_") == 3 and request.prompt.endswith(
        "{image_2:image}"
    )
    assert request.fields["image_2"] is task.records[0]["image"]
    shown = [row["image"] for row in task.train_records]
    assert any(request.fields["image_0"] is image for image in shown)
    assert request == instructions.few_shot(task, task.template(0), task.records[0], 0, 2, 8)


def test_a_blind_model_does_not_see_the_field(tasks: dict[str, TaskContext]) -> None:
    task = tasks["read"]
    seeing = task.predictor
    blind = drop.Blind(seeing, "image", [], 0)
    asked = [
        Request(prompt="Which? {image}", fields={"image": r["image"]}) for r in task.records[:3]
    ]
    vectors = blind.embed_batch(asked)
    np.testing.assert_allclose(
        vectors, np.repeat(seeing.embed_batch([Request(prompt="Which? ")]), 3, 0), atol=1e-5
    )
    other = drop.Blind(seeing, "image", [r["image"] for r in task.records], 0)
    for record in task.records[:5]:
        prompt, given = other._swap.apply("{image}", record)
        assert prompt == "{image}" and not np.array_equal(
            given["image"].pixels, record["image"].pixels
        )


def test_another_item_s_value_is_never_ones_own_as_codes_either(
    tasks: dict[str, TaskContext],
) -> None:
    """Tokenized records hold codes; the donors are values.."""
    task = tasks["read"]
    images = [r["image"] for r in task.records[:2]]
    encode = task.predictor.tokenizers["image"].encode
    swap = drop.Swap("image", images, task.predictor.tokenizers)
    for own, other in ((0, 1), (1, 0), (0, 1), (0, 1)):
        _, given = swap.apply("{image}", {"image": Codes(encode(images[own]))})
        assert given["image"] is images[other]


def test_shuffled_answers_keep_their_codes(tasks: dict[str, TaskContext]) -> None:
    task = tasks["read"]
    labels_ = np.concatenate([np.arange(20) + task.run.vocabulary.block("text").first_code, [1]])
    plain = task.examples[0]
    fed = dataclasses.replace(
        plain.decoder_inputs, ids=np.concatenate([[2], labels_[:-1]]),
        positions=np.zeros((21, 3), np.int32), modality=np.full(21, 2, np.int32),
    )  # fmt: skip
    example = Example(plain.inputs, fed, labels_, np.ones(21, np.float32))
    (changed,) = outliers._shuffled(task, [example])
    assert sorted(changed.labels) == sorted(labels_) and (changed.labels != labels_).sum() == 5
    assert changed.labels[-1] == 1
    np.testing.assert_array_equal(changed.decoder_inputs.ids[1:], changed.labels[:-1])


def test_numbers_around_a_known_truth_are_covered_as_promised() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(400, 3))
    samples = truth[:, None] + rng.normal(size=(400, 1, 3)) + 0.1 * rng.normal(size=(400, 16, 3))
    found = conformal._numbers(numeric.Drawn(truth, samples, "", ""), 0)
    assert [row[5] for row in found["tables"][0]["rows"]] == ["yes", "yes"]
    assert found["metrics"][0]["value"] == pytest.approx(0.9, abs=0.02)
    assert numeric.as_numbers(["1e3", "nan"]) is None


def test_wrong_probes_are_refused_before_anything_runs(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'retrieval'"):
        runner.evaluate(runs[0], tmp_path, probes=["retreival"])
    assert probing.chosen(["all"]) == list(probing.PROBES) and probing.chosen(["none"]) == []
    assert "drop" not in probing.chosen(None)
    assert not list(tmp_path.iterdir())


def test_the_model_card_says_what_was_measured(compared: Path, runs: list[Path]) -> None:
    card = (compared / "a" / "model-card.md").read_text()
    yaml = pytest.importorskip("yaml")
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "unitok" and front["datasets"] == ["digits"]
    entry = front["model-index"][0]["results"][0]
    assert entry["dataset"]["name"] == "digits" and entry["metrics"][0]["type"] == "accuracy"
    assert "CC BY 4.0" in card and "scikit-learn's handwritten digits" in card
    assert "python eval/main.py --checkpoint=a" in card
    results = json.loads((compared / "a" / "metrics.json").read_text())
    found = model_card.limits(results)
    assert any("read: accuracy" in line and "not surely better" in line for line in found)
    assert any("fewer than 100" in line for line in found)


def test_labels_tell_runs_apart() -> None:
    assert compare.labels([Path("a/x"), Path("a/x")]) == ["x", "x-2"]
    found = compare.change({"value": 1.0}, {"value": np.inf})
    assert found["value"] is None


def test_a_task_that_answers_with_an_image_is_asked_for_no_number(
    tasks: dict[str, TaskContext],
) -> None:
    drawing = [Template(inputs="Draw a {label:text}.", targets="{image}")]
    config = dataclasses.replace(tasks["read"].config, templates=drawing, metrics=[])
    task = dataclasses.replace(tasks["read"], config=config)
    assert conformal.probe(Probed(task, [task], asked=True)) is None
