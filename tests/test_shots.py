"""Solved examples before a question: the prompt as written by hand, and in a training stream."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fakes import house

from unitok.config import (
    Config,
    ConfigError,
    DataConfig,
    ObjectiveConfig,
    SourceConfig,
    TaskConfig,
    Template,
    TokenizerConfig,
)
from unitok.data import sources
from unitok.data.mixture import build_stream
from unitok.data.tasks import build_tasks
from unitok.interfaces import BATCH_FIELDS
from unitok.sequence import Composer
from unitok.shots import few_shot
from unitok.values import Series

TOKENIZERS, VOCABULARY = house()
COMPOSER = Composer(TOKENIZERS, VOCABULARY)
QUESTIONS = [f"q{i:02}" for i in range(40)]
ADD = Template(inputs="{text} =", targets="{a:text}")


def config_of(shots: int, records: int = 40, **more) -> Config:
    columns = {"text": QUESTIONS[:records], "a": [q.upper() for q in QUESTIONS[:records]]}
    splits = {"train": [0, 0.5], "test": [0.5, 1]}
    return Config(
        name="shots", steps=1,
        tokenizers={name: TokenizerConfig(name=name) for name in TOKENIZERS},
        sources={"made": SourceConfig(kind="arrays", options={"columns": columns, "split": splits})},
        tasks={"add": TaskConfig(source="made", templates=[ADD], shots=shots, **more)},
        data=DataConfig(batch_size=4, window=40, encoder_length=64, decoder_length=24),
    )  # fmt: skip


TRAINING = sources.build_source(config_of(0).sources["made"], "train")


def prompts(shots: int, split: str, count: int = 300) -> list[tuple[list[str], str]]:
    """(the lines of the inputs, the answer) of the first examples of a split, as text."""
    (task,) = build_tasks(config_of(shots), COMPOSER, split, None)
    read = lambda ids: VOCABULARY.to_local("text", ids[ids >= VOCABULARY.block("text").first_code])  # noqa: E731
    text = lambda ids: TOKENIZERS["text"].decode(read(ids))  # noqa: E731
    made = [task.example(n % len(task), np.random.default_rng([3, n])) for n in range(count)]
    return [(text(e.inputs.ids).split("\n"), text(e.labels)) for e in made]


def test_a_prompt_is_what_a_person_would_write() -> None:
    asked, given = few_shot(
        ADD, [{"text": "1+1", "a": 2}, {"text": "{2}", "a": 4}], {"text": "3+3", "a": 6}
    )
    inputs, targets, _ = COMPOSER.pair(asked, given)
    by_hand = COMPOSER.pair(
        Template(inputs="1+1 = 2\n{{2}} = 4\n3+3 =", targets="{a:text}"), {"a": "6"}
    )
    np.testing.assert_array_equal(inputs.ids, by_hand[0].ids)
    np.testing.assert_array_equal(inputs.positions, by_hand[0].positions)
    np.testing.assert_array_equal(targets.ids, by_hand[1].ids)
    assert few_shot(ADD, [], {"text": "3+3", "a": 6})[0].inputs == "{text_0:text} ="


def test_a_solved_value_is_encoded_given_its_own_context() -> None:
    rows = [{"past": Series([p]), "future": Series([p + 1, p + 2])} for p in (5.0, 50.0)]
    template = Template(inputs="Go on: {past:series}", targets="{future:series@past}")
    inputs, targets, _ = COMPOSER.pair(*few_shot(template, rows[:1], rows[1]))
    values = [s.value for s in COMPOSER.parse(inputs.ids) if s.modality == "series"]
    assert [v.values[:, 0].tolist() for v in values] == [[5.0], [1.0, 2.0], [50.0]]  # less the past
    assert (targets.ids == COMPOSER.pair(template, rows[1])[1].ids).all()


def test_training_shows_other_records_rightly_solved_and_validation_none() -> None:
    train = prompts(3, "train")
    own = {r["text"] for r in map(TRAINING.__getitem__, range(len(TRAINING)))}
    for lines, answer in train:
        *solved, asked = [line.partition(" =") for line in lines]
        assert asked[0].upper() == answer and asked[2] == ""
        assert all(right == f" {question.upper()}" for question, _, right in solved)
        questions = [question for question, _, _ in (*solved, asked)]
        assert len(set(questions)) == len(questions) and set(questions) <= own
    counts = np.bincount([len(lines) - 1 for lines, _ in train], minlength=4) / len(train)
    assert len(counts) == 4 and (abs(counts - 1 / 4) < 0.1).all()
    assert all(len(lines) == 1 for lines, _ in prompts(3, "eval"))


def test_the_stream_goes_on_where_it_was_to_the_bit() -> None:
    config = config_of(3)
    make = lambda: build_stream(config, TOKENIZERS, VOCABULARY, split="train", workdir=None)  # noqa: E731
    straight, first, second = make(), make(), make()
    for _ in range(7):
        next(straight), next(first)
    second.restore(first.state())
    for _ in range(7):
        a, b = next(straight), next(second)
        for name in BATCH_FIELDS:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_source_of_few_records_shows_what_it_has() -> None:
    (task,) = build_tasks(config_of(9, records=4), COMPOSER, "train", None)
    assert len(task) == 2 and task.shots == 1
    task.example(0, np.random.default_rng(0))


@pytest.mark.parametrize(
    "more, says",
    (
        ({"shots": -1}, "tasks.shots: want 0 or more, got -1"),
        (
            {"shots": 2, "objective": ObjectiveConfig(kind="prefix")},
            "tasks.shots: .*prefix asks none",
        ),
    ),
)
def test_wrong_numbers_are_refused(more: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        dataclasses.replace(config_of(0).tasks["add"], **more)
