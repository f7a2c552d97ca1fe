"""Evaluation of a small untrained run from end to end, and the pieces it stands on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from unitok import grammar, objectives, registry
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
from unitok.eval import baselines, bits, completion, judge, likelihood, runner, scorers
from unitok.eval.context import Settings
from unitok.eval.main import main
from unitok.metrics import text
from unitok.model import EncoderDecoder, TableSizes
from unitok.predictor import Predictor
from unitok.run import write_run
from unitok.values import Image
from unitok.vocabulary import Vocabulary

ITEMS = 6


def tiny_config() -> Config:
    digits = SourceConfig(
        kind="sklearn",
        options={"name": "digits", "test_share": 0.2, "limit": 60},
        label_names={"label": [str(d) for d in range(10)]},
    )
    drawing = [Template(inputs="Draw a {label:text}.", targets="{image}")]
    return Config(
        name="tiny",
        steps=1,
        tokenizers={"text": TokenizerConfig(name="text"), "image": TokenizerConfig(name="image")},
        sources={"digits": digits},
        tasks={
            "read": TaskConfig(
                source="digits",
                templates=[Template(inputs="Which? {image}", targets="{label:text}")],
                held_out_templates=[Template(inputs="{image} Say it.", targets="{label:text}")],
                metrics=["accuracy"],
            ),
            "draw": TaskConfig(source="digits", templates=drawing, metrics=["judge"]),
            "complete": TaskConfig(
                source="digits",
                templates=[Template(inputs="Complete.", targets="{image}")],
                objective=ObjectiveConfig(kind="prefix"),
                metrics=["psnr"],
            ),
            "denoise": TaskConfig(
                source="digits",
                templates=[Template(inputs="", targets="A picture that shows a {label:text}")],
                objective=ObjectiveConfig(kind="span_corruption"),
                metrics=["bits"],
            ),
        },
        model=ModelConfig(d_model=32, d_ff=32, num_heads=2, encoder_layers=1, decoder_layers=1),
        eval_items=ITEMS,
    )


@pytest.fixture(scope="module", autouse=True)
def small_programs() -> Iterator[None]:
    """Batches and rows as small as the run: most of these tests' time is compilation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "BATCH_SIZES", (ITEMS,))
        patch.setattr(likelihood, "ROWS", 2)
        patch.setattr(likelihood, "MIN_LENGTH", 64)
        patch.setattr(completion, "ROWS", ITEMS)
        patch.setattr(judge, "FEWEST_STEPS", 60)
        yield


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as training leaves it, its weights as they were drawn."""
    path = tmp_path_factory.mktemp("runs") / "tiny"
    tokenizers = {
        "text": registry.build("text"),
        "image": registry.build("image"),
    }
    vocabulary = Vocabulary.build({n: (t.size, t.fingerprint) for n, t in tokenizers.items()})
    config = tiny_config()
    write_run(path, config, vocabulary, tokenizers)
    model = EncoderDecoder(config.model, TableSizes.from_vocabulary(vocabulary))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    rng = np.random.default_rng(0)  # drawing them by jax would cost ten times the evaluation
    params = jax.tree.map(lambda x: rng.normal(0.0, 0.3, x.shape).astype(np.float32), shapes)
    checkpoints = Checkpoints(path)
    checkpoints.save(1, {"params": params}, {})
    checkpoints.wait()
    (path / "metrics.jsonl").write_text('{"step": 1, "split": "train", "nll": {"text": 2.0}}\n')
    return path


@pytest.fixture(scope="module")
def predictor(tiny_run: Path) -> Predictor:
    return Predictor.load(tiny_run)


@pytest.fixture(scope="module")
def evaluated(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    page = runner.evaluate(tiny_run, out, say=lambda line: None)
    assert page == out / "report.html"
    return out


def contexts(predictor: Predictor, tiny_run: Path) -> dict[str, Any]:
    from unitok.eval.context import TaskContext
    from unitok.run import read_run

    run = read_run(tiny_run)
    return {
        name: TaskContext(name, task, run, predictor, Settings(items=ITEMS), lambda line: None)
        for name, task in run.config.tasks.items()
    }


def test_every_task_has_scores_baselines_bounds_and_bits(evaluated: Path) -> None:
    results = json.loads((evaluated / "metrics.json").read_text())
    assert list(results["tasks"]) == ["read", "draw", "complete", "denoise"]
    for name, task in results["tasks"].items():
        assert task["items"] == ITEMS
        for entry in task["metrics"]:
            assert np.isfinite(entry["value"]), (name, entry)
            if entry["low"] is not None:
                assert entry["low"] <= entry["value"] <= entry["high"]
        for cost in task["bits"].values():
            assert 0 < cost["low"] <= cost["value"] <= cost["high"]
    first = {name: task["metrics"][0] for name, task in results["tasks"].items()}
    assert first["read"]["name"] == "accuracy" and first["read"]["baseline"]["value"] > 0
    assert first["draw"]["bound"]["name"] == first["complete"]["bound"]["name"] == "reconstructions"
    assert first["complete"]["unit"] == "dB" and first["denoise"]["unit"] == "bits"
    assert results["tasks"]["draw"]["judge_accuracy"] > 0.2
    assert "exact, unseen wording" in [m["name"] for m in results["tasks"]["read"]["metrics"]]
    assert results["tokenizers"]["image"]["used"] >= 1
    assert [b["name"] for b in results["run"]["vocabulary"]["blocks"]][-2:] == ["text", "image"]
    assert '"samples"' not in (evaluated / "metrics.json").read_text()
    assert "data:image/png" in (evaluated / "report.html").read_text()


def test_same_run_gives_the_same_numbers_and_finished_tasks_stay(
    evaluated: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in evaluated.rglob("*.json"):
        target = tmp_path / file.relative_to(evaluated)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    (tmp_path / "tasks" / "complete.json").unlink()  # interrupted before this one
    torn = tmp_path / "tasks" / "denoise.json"
    torn.write_bytes(torn.read_bytes()[:100])
    done = []
    whole = runner.evaluate_task
    monkeypatch.setattr(
        runner, "evaluate_task", lambda task, judges: done.append(task.name) or whole(task, judges)
    )
    runner.evaluate(tiny_run, tmp_path, say=lambda line: None)
    assert done == ["complete", "denoise"]
    assert (tmp_path / "metrics.json").read_text() == (evaluated / "metrics.json").read_text()
    other = Settings(items=2, seed=1)
    runner.evaluate(tiny_run, tmp_path, ["denoise"], other, say=lambda line: None)
    assert done == ["complete", "denoise", "denoise"]  # other settings: another identity


@pytest.mark.parametrize(
    "argv, named",
    [
        (["--checkpoint=no/such/run"], "no/such/run"),
        (["--checkpoint={run}", "--tasks=raed"], "did you mean 'read'"),
        (["--checkpoint={run}", "--items=0"], "--items"),
        (["--checkpoint={run}", "--samples=0"], "--samples"),
        (["--checkpoint={run}", "--items=x"], "unitok eval --help"),
        (
            ["--checkpoint={run}", f"--out={__file__}"],
            __file__,
        ),  # a file: before anything is computed
    ],
)
def test_wrong_usage_gets_one_line_and_exit_code_two(
    argv: list[str], named: str, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([a.format(run=tiny_run) for a in argv]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert named in lines[-1] and "Traceback" not in "".join(lines)


def test_packing_does_not_change_what_an_answer_costs(predictor: Predictor, tiny_run: Path) -> None:
    for task in contexts(predictor, tiny_run).values():
        together = likelihood.nats(predictor.model, predictor.params, task.examples)
        for example, cost in zip(task.examples[:3], together):
            alone = likelihood.nats(predictor.model, predictor.params, [example])[0]
            assert len(cost) == int((example.weights > 0).sum())
            np.testing.assert_allclose(cost, alone, atol=2e-4)


def test_unigram_is_a_distribution_over_what_the_mask_allows(
    predictor: Predictor, tiny_run: Path
) -> None:
    task = contexts(predictor, tiny_run)["draw"]
    unigram = baselines.Unigram(task.train_examples, predictor.vocabulary)
    modality = predictor.vocabulary.modality_id("image")
    low, high = predictor.vocabulary.ranges()[modality]
    allowed = np.concatenate([np.arange(predictor.vocabulary.ranges()[2, 0]), np.arange(low, high)])
    empty = task.examples[0]
    whole = type(empty)(
        empty.inputs, empty.decoder_inputs, allowed, np.ones(len(allowed)), modality
    )
    assert np.exp(-unigram.nats(whole)).sum() == pytest.approx(1)


def test_a_continued_grammar_goes_on_where_the_whole_one_would(
    predictor: Predictor, tiny_run: Path
) -> None:
    task = contexts(predictor, tiny_run)["complete"]
    rules = grammar.target(predictor.vocabulary, predictor.tokenizers, "image")
    _, targets, _ = task.pair(0, task.records[0])
    budget = len(targets) + 2
    allowed, positions, modality = map(np.asarray, grammar.trace(rules, targets.ids, budget))
    for cut in (0, 3, len(targets) - 2):
        left = budget - cut
        _, continued = completion._standing(rules, targets.ids[:cut], left)
        masks, places, blocks = map(np.asarray, grammar.trace(continued, targets.ids[cut:], left))
        np.testing.assert_array_equal(masks, allowed[cut:])
        # what is fed stands where it stands in the whole target, but for the BOS that begins
        np.testing.assert_array_equal(places[1:], positions[cut + 1 :])
        np.testing.assert_array_equal(blocks[1:], modality[cut + 1 :])
        assert places[0].tolist() == [0, 0, 0] and blocks[0] == 0


def test_completions_keep_what_was_given_and_always_decode(
    predictor: Predictor, tiny_run: Path
) -> None:
    task = contexts(predictor, tiny_run)["complete"]
    rules = grammar.target(predictor.vocabulary, predictor.tokenizers, "image")
    examples, beginnings, wholes = [], [], []
    for i, record in enumerate(task.records):
        inputs, targets, modality = task.pair(i, record)
        share = (0.6, 0.8)[i % 2]  # behind the header; two places to stand in: two programs
        rng = np.random.default_rng(i)
        example = objectives.prefix(inputs, targets, modality, rng, shown=(share, share))
        examples.append(example)
        beginnings.append(targets.ids[: len(targets) - len(example.labels)])
        wholes.append(targets.ids)
    room = max(len(e.labels) for e in examples)
    rest = completion.complete(predictor, rules, beginnings, examples, room)
    for begun, new, whole in zip(beginnings, rest, wholes):
        ids = np.concatenate([begun, new])
        (segment,) = predictor.composer.parse(ids)
        assert segment.error is None and segment.value.pixels.shape == (8, 8, 1)
        assert len(ids) == len(whole) - 1


def test_judge_learns_and_is_deterministic() -> None:
    rng = np.random.default_rng(0)

    def sample(n: int) -> tuple[list[Image], list[str]]:
        images, labels = [], []
        for i in range(n):
            pixels = rng.integers(0, 60, (9, 7), np.uint8)
            if i % 2:
                pixels[2:7, 3] = 255
            else:
                pixels[4, 1:6] = 255
            images.append(Image(pixels))
            labels.append("upright" if i % 2 else "lying")
        return images, labels

    train, test = sample(80), sample(40)
    reader = judge.train_judge(*train, steps=40)
    assert np.mean(np.array(reader.recognise(test[0])) == test[1]) >= 0.95
    again = judge.train_judge(*train, steps=40)
    np.testing.assert_array_equal(reader.probabilities(test[0]), again.probabilities(test[0]))
    logits = reader.features(test[0]) @ reader.params["out"]  # one layer away from what it answers
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        odds / odds.sum(axis=1, keepdims=True), reader.probabilities(test[0]), rtol=1e-4, atol=1e-6
    )


def test_nearest_finds_itself_and_takes_other_sizes() -> None:
    rng = np.random.default_rng(1)
    pool = [Image(rng.integers(0, 256, (8, 8), np.uint8)) for _ in range(300)]
    index, distance = judge.nearest(pool[::-1], pool, (8, 8, 1))
    np.testing.assert_array_equal(index, np.arange(300)[::-1])
    np.testing.assert_allclose(distance, 0, atol=1e-2)
    odd = [Image(rng.integers(0, 256, (5, 13, 3), np.uint8))]
    assert judge.stack(odd, (8, 8, 1)).shape == (1, 8, 8, 1)


def test_text_costs_bits_by_byte_and_modalities_are_added_up_over_tasks(evaluated: Path) -> None:
    results = json.loads((evaluated / "metrics.json").read_text())
    denoise = results["tasks"]["denoise"]
    by_name = {m["name"]: m for m in denoise["metrics"]}
    assert list(by_name) == ["bits per token", "bits per byte"]
    per_byte = by_name["bits per byte"]
    assert per_byte["lower"] and per_byte["baseline"]["name"] == "unigram"
    assert per_byte["low"] < per_byte["value"] < per_byte["high"]
    found = results["likelihood"]
    tasks = {name: t["bits"] for name, t in results["tasks"].items()}
    for modality, b in found.items():
        inside = {name: costs[modality] for name, costs in tasks.items() if modality in costs}
        assert b["tasks"] == {name: x["nats"] for name, x in inside.items()}
        tokens = sum(x["tokens"] for x in inside.values())
        assert b["tokens"] == tokens and b["items"] == ITEMS * len(inside)
        total = sum(x["nats"] * x["tokens"] for x in inside.values())
        assert b["value"] == pytest.approx(total / tokens)
        assert b["mean"]["value"] == pytest.approx(np.mean(list(b["tasks"].values())))
        assert b["low"] < b["value"] < b["high"]
    assert set(found["text"]["tasks"]) == {"read", "denoise"}
    assert "parts" not in denoise["bits"]["text"]
    assert set(found["image"]["tasks"]) == {"draw", "complete"}
    page = (evaluated / "report.html").read_text()
    assert "negative log-likelihood by modality" in page
    assert "NLL a token, image" in (evaluated / "model-card.md").read_text()


def test_bits_by_byte_is_the_cost_of_the_bytes_that_are_asked(
    predictor: Predictor, tiny_run: Path
) -> None:
    tasks = contexts(predictor, tiny_run)
    task = tasks["denoise"]
    task = dataclasses.replace(
        task, config=dataclasses.replace(task.config, metrics=["bits_per_byte"])
    )
    assert scorers.choose(task).score is None
    _, costs = bits.bits(task)
    (found,) = bits.score_bits(task, costs)["metrics"]
    asked = [
        "".join(s.value for s in task.predictor.composer.parse(e.labels) if s.modality == "text")
        for e in task.examples
    ]
    assert all(asked)
    nats = sum(float(cost.sum()) for cost in costs)
    assert found["value"] == pytest.approx(text.bits_per_byte(nats, "".join(asked)))
    pixels = dataclasses.replace(
        tasks["complete"],
        config=dataclasses.replace(tasks["complete"].config, metrics=["bits_per_byte"]),
    )
    with pytest.raises(InputError, match=r"tasks\.complete\.metrics: 'bits_per_byte'"):
        scorers.choose(pixels)
