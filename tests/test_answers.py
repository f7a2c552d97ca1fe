"""Many answers to choose among: still classes, and the probes' cost stays bounded."""

from __future__ import annotations

import dataclasses
import doctest

import numpy as np
import pytest
from test_probes import save_run, small_config

from unitok.config import SourceConfig, TaskConfig, Template
from unitok.eval import answers, scores_number
from unitok.eval.context import Settings, TaskContext
from unitok.eval.probes import calibration, conformal, labels
from unitok.eval.probes.findings import Probed
from unitok.predictor import Predictor
from unitok.run import read_run

CLASSES, EACH = 60, 12  # more than FEW


@pytest.fixture(scope="module")
def intents(tmp_path_factory: pytest.TempPathFactory) -> TaskContext:
    """An untrained run on texts of 60 classes."""
    rows = range(CLASSES * EACH)
    columns = {"text": [f"say {i}" for i in rows], "label": [f"class {i % CLASSES}" for i in rows]}
    source = SourceConfig(kind="arrays", options={"columns": columns, "test_share": 0.5})
    template = Template(inputs="{text}", targets="{label:text}")
    config = dataclasses.replace(
        small_config(),
        sources={"intents": source},
        tasks={"intent": TaskConfig(source="intents", templates=[template])},
    )
    path = save_run(tmp_path_factory.mktemp("intents") / "run", config, 0)
    predictor = Predictor.load(path)
    predictor.batch_sizes = (32,)
    say = lambda line: None  # noqa: E731
    task = config.tasks["intent"]
    return TaskContext("intent", task, read_run(path), predictor, Settings(), say)


def test_classes_are_answers_that_recur() -> None:
    assert doctest.testmod(answers).attempted > 0 and doctest.testmod(answers).failed == 0
    recurring = [f"intent {i % answers.MOST}" for i in range(answers.RECUR * answers.MOST)]
    assert len(answers.classes(recurring)) == answers.MOST
    assert answers.classes(recurring[:-1]) == [], "one short of recurring"
    assert answers.classes([*recurring, *["one more"] * 99]) == [], "too many"
    numbers = [str(i % 60) for i in range(2000)]
    assert answers.classes(numbers) == [] and len(answers.classes([n[0] for n in numbers])) == 10


def test_sixty_classes_are_calibrated_at_a_bounded_cost(
    intents: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "MOST_ROWS", 25 * CLASSES + 7)
    monkeypatch.setattr(conformal, "LEAST", 20)
    scored: list[int] = []
    whole = intents.predictor.score_batch
    count = lambda requests, given: scored.append(len(requests)) or whole(requests, given)  # noqa: E731
    monkeypatch.setattr(intents.predictor, "score_batch", count)
    probed = Probed(intents, [intents])
    labelled = labels.label_scores(probed)
    assert labelled is not None and labelled.log_probs_NK.shape == (25, CLASSES)
    assert np.isfinite(labelled.log_probs_NK).all()
    assert sum(scored) == 25 * CLASSES
    sets = conformal.probe(probed)
    surely = calibration.probe(probed)
    assert sets is not None and surely is not None
    assert sets["metrics"][0]["items"] == surely["metrics"][0]["items"] == 25
    assert surely["metrics"][0]["baseline"]["value"] == pytest.approx(np.log(CLASSES))
    assert sum(scored) == 25 * CLASSES, "scored once for both probes"
    assert not scores_number.suits(intents)
