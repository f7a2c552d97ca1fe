"""The retrieval probe: which modalities it sets beside each other, and which partner counts as right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unitok.config import (
    Config,
    ObjectiveConfig,
    SourceConfig,
    TaskConfig,
    Template,
    TokenizerConfig,
)
from unitok.eval.context import Settings, TaskContext
from unitok.eval.probes import retrieval
from unitok.eval.probes.findings import Probed
from unitok.predictor import Request
from unitok.run import Run
from unitok.vocabulary import Vocabulary

SAME = ObjectiveConfig(kind="contrastive")
COUNTS = SourceConfig(
    kind="join",
    options={
        "on": "count",
        "size": 60,
        "parts": [
            {
                "kind": "synthetic",
                "options": {
                    "name": name, "kinds": [kind], "size": 120, "test_share": 0.5,
                    "fields": {"count": "count", field: field},
                },
            }
            for name, kind, field in (("sounds", "beeps", "audio"), ("curves", "spikes", "series"))
        ],
    },
)  # fmt: skip


class Bytes:
    """A stand-in for a tokenizer: a value's bytes are its codes."""

    def encode(self, value: Any) -> np.ndarray:
        numbers = value.samples if hasattr(value, "samples") else value.values
        return np.frombuffer(np.ascontiguousarray(numbers).tobytes(), np.uint8).astype(np.int32)


class Knowing:
    """Embeds as a model that has learned to count would, or one that tells items apart and nothing more."""

    def __init__(self, counts: bool) -> None:
        self.tokenizers = {"audio": Bytes(), "series": Bytes()}
        self.counts, self.known = counts, dict[bytes, int]()

    def embed_batch(self, requests: Sequence[Request]) -> np.ndarray:
        vectors = np.random.default_rng(0).normal(size=(len(requests), 64))
        for vector, request in zip(vectors, requests):
            (value,) = request.fields.values()
            if self.counts:
                count = int(value) if isinstance(value, str) else self.known[value.ids.tobytes()]
                vector[count] += 100
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def contexts(predictor: Any = None, **tasks: TaskConfig) -> list[TaskContext]:
    config = Config(
        name="x", steps=1, tokenizers={"text": TokenizerConfig(name="text")},
        sources={"counts": COUNTS}, tasks=tasks,
    )  # fmt: skip
    run = Run(Path("x"), config, Vocabulary.build({}), {})
    quiet = lambda line: None  # noqa: E731
    return [TaskContext(n, t, run, predictor, Settings(), quiet) for n, t in tasks.items()]


def task(*sides: tuple[str, str], **settings: Any) -> TaskConfig:
    templates = [Template(inputs=inputs, targets=targets) for inputs, targets in sides]
    return TaskConfig(source="counts", templates=templates, **settings)


def named(question: retrieval.Question) -> set[tuple[str, str]]:
    return {(a.name, b.name) for a, b in question.asked}


def test_all_modalities_of_a_source_meet_whichever_task_names_them() -> None:
    question = retrieval.question(
        contexts(
            hear=task(("How many? {audio}", "{count:text}")),
            look=task(("{series} How many?", "{count:text}"), weight=0.0),
            more=task(("{sound:audio}", "{word:text}")),
            later=task(("{past:series}", "{future:series@past}")),
        )
    )
    pairs = [("audio", "count"), ("series", "count"), ("audio", "series")]
    assert named(question) == {*pairs, *((b, a) for a, b in pairs)}
    assert not question.trained


def test_contrastive_sides_are_asked_as_they_are_trained_and_come_first() -> None:
    question = retrieval.question(
        contexts(
            hear=task(("How many? {audio}", "{count:text}")),
            same=task(("{audio}", "a {word:text}"), ("{series}", "a {word:text}"), objective=SAME),
            words=task(("{word:text}", "{other:text}"), objective=SAME),
            held=task(("{audio}", "{series}"), objective=SAME, weight=0.0),
        )
    )
    assert [side.template for side in question.sides] == [
        "{audio}", "a {word:text}", "{series}", "{word:text}", "{other:text}",
    ]  # fmt: skip
    assert question.sides[3].name == "{word:text}"  # the name is taken
    assert ("{word:text}", "other") in named(question)  # of one modality, but trained
    assert ("word", "other") not in named(question)
    audio, word, series = question.sides[:3]
    taught = lambda a, b: retrieval._taught(a, b, question.trained)  # noqa: E731
    assert taught(audio, word) == taught(word, series) == "trained"
    assert taught(audio, series) == "by way of word"
    assert taught(audio, question.sides[4]) == "no"


def test_the_sides_of_a_source_are_bounded() -> None:
    many = [(f"{{a{i}:audio}}", f"{{b{i}:text}}") for i in range(30)]
    question = retrieval.question(contexts(same=task(*many, objective=SAME)))
    assert len(question.sides) == retrieval.MOST_SIDES
    assert len(question.asked) <= retrieval.MOST_SIDES * (retrieval.MOST_SIDES - 1)


@pytest.mark.parametrize("counts", [True, False])
def test_in_a_join_all_that_agrees_is_right(counts: bool) -> None:
    """Which beeps stand beside which spikes is chance: one who counts must not be wrong for it."""
    knowing = Knowing(counts)
    found = contexts(
        knowing,
        hear=task(("{audio}", "{count:text}")),
        look=task(("{series}", "{count:text}"), eval_items=20),
    )
    for record in found[0].records:
        for field in ("audio", "series"):
            knowing.known[Bytes().encode(record[field]).tobytes()] = record["count"]
    assert retrieval.probe(Probed(found[1], found)) is None  # asked of the one with more items
    result = retrieval.probe(Probed(found[0], found))
    assert result is not None and "same count is right" in result["about"]
    recall = {m["name"]: m for m in result["metrics"]}
    assert len(recall) == 6
    for name, m in recall.items():
        assert m["baseline"]["value"] == pytest.approx(0.25, abs=0.12), name
        if counts:
            assert m["value"] == 1.0, name
        elif m["items"] > 10:  # four words tell nothing about chance
            assert m["value"] == pytest.approx(m["baseline"]["value"], abs=0.2), name
    rows = {row[0]: row for row in result["tables"][0]["rows"]}
    assert rows["audio → count"][4]["value"] is None  # 4 words: all are among the first 5
    assert rows["count → audio"][4]["value"] is not None


def test_the_scores_of_a_contrastive_task_are_of_its_own_pairs() -> None:
    knowing = Knowing(counts=False)
    (same,) = contexts(
        knowing,
        same=task(("{audio}", "{count:text}"), ("{series}", "{count:text}"), objective=SAME),
    )
    names = {m["name"] for m in retrieval.score_pairs(same)["metrics"]}
    pairs = [("audio", "count"), ("series", "count")]
    both = [pair for a, b in pairs for pair in ((a, b), (b, a))]
    assert names == {f"recall@1, {a} → {b}" for a, b in both}
