"""Scores of shuffled sources: another item's inputs, one's own truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_scores import ITEMS, context, lookup, pictures, scores, some_graphs

from unitok.config import Template
from unitok.eval import exchanged, scorers, scores_text
from unitok.values import Audio, Image, Series

KINDS = ("circle", "square", "wedge")


def sentences(count: int = 60) -> list[dict[str, Any]]:
    return [{"text": f"sentence {i}", "a": KINDS[i % 3]} for i in range(count)]


@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 9))
def test_everybody_gives_once_and_gets_from_another_of_the_same_template(
    count: int, templates: int, seed: int
) -> None:
    donors = exchanged.others(count, templates, seed)
    if donors is None:
        assert count < 2 * templates
        return
    assert sorted(donors) == list(range(count))
    assert all(i != j and (i - j) % templates == 0 for i, j in enumerate(donors))


def test_what_was_made_of_others_is_what_they_would_be_answered_now() -> None:
    """Judging what is there by another truth gives the scores that asking again gives, item by item."""
    records = sentences()
    task = context(records, "Kind of: {text}", "{a:text}", lookup(records, "text", "a"))
    task.config.templates.append(Template(inputs="{text}, of which kind?", targets="{a:text}"))
    ask = lambda these: scores_text.write(task, these, "")  # noqa: E731
    now = exchanged.asked(task, ask)
    kept = exchanged.exchange(task, ask(records), ask)
    assert now is not None and kept is not None and now.places == kept.places
    assert [o.value for o in now.outputs] == [o.value for o in kept.outputs]
    assert [o.value for o in kept.outputs] != [r["a"] for r in records]


def test_a_worked_example() -> None:
    """Six sentences of three kinds, all read rightly: with another's sentence right only where that is of one's own kind."""
    records = sentences(6)
    found = scores(context(records, "{text}", "{a:text}", lookup(records, "text", "a"), "accuracy"))
    donors = exchanged.others(6, 1, 0)
    assert donors is not None and donors.tolist() == [2, 0, 5, 4, 1, 3]
    # kinds 0 1 2 0 1 2 are answered for 2 0 2 1 1 0: rightly at the third place and the fifth
    assert found["accuracy"]["value"] == 1
    assert found["accuracy, source shuffled"]["value"] == 2 / 6
    assert "the inputs come from another item" in found["accuracy, source shuffled"]["note"]


def test_a_question_beside_a_picture_stays() -> None:
    records = [
        {**picture, "q": f"kind {i % 2}?", "a": ("yes", "no")[i % 2]}
        for i, picture in enumerate(pictures(range(40)))
    ]
    by_question = lambda fields, _: ("yes", "no")[int(fields["q"][5])]  # noqa: E731
    asked = ("{q:text} {image}", "{a:text}")
    blind = scores(context(records, *asked, by_question, "accuracy"))
    assert blind["accuracy, source shuffled"]["value"] == 1
    seeing = scores(context(records, *asked, lookup(records, "image", "a"), "accuracy"))
    assert seeing["accuracy"]["value"] == 1 > 0.8 > seeing["accuracy, source shuffled"]["value"]
    assert "no text come from another" in seeing["accuracy, source shuffled"]["note"]


def drawn(kind: str, rng: np.random.Generator) -> Image:
    """Lighter to the right, downwards, or in the middle."""
    ramp = np.tile(np.linspace(0, 200, 8), (8, 1))
    plane = {"circle": ramp, "square": ramp.T, "wedge": np.minimum(ramp, ramp[:, ::-1]) * 2}[kind]
    return Image((plane + rng.integers(0, 40, (8, 8))).astype(np.uint8))


def test_values_that_a_judge_reads_are_judged_by_another_truth() -> None:
    rng = np.random.default_rng(0)
    records = [{**record, "image": drawn(record["a"], rng)} for record in sentences()]
    made = []

    def draw(fields: Mapping[str, Any], _: int) -> Image:
        made.append(fields["a"])
        return drawn(fields["a"], rng)

    found = scores(context(records, "Draw: {a:text}", "{image}", draw, "judge"))
    shuffled = found["recognised by the judge, source shuffled"]
    assert found["recognised by the judge"]["value"] > 0.9
    assert shuffled["low"] < 1 / 3 < shuffled["high"] and shuffled["items"] == 60
    assert len(made) == 60  # each item drawn once


def test_graphs_counts_and_numbers_asked_for_in_words() -> None:
    records = some_graphs()
    sizes = {(r["num_nodes"], r["num_edges"]): r["graph"] for r in records}
    right = lambda f, _: sizes[f["num_nodes"], f["num_edges"]]  # noqa: E731
    asked = ("{num_nodes:text} nodes, {num_edges:text} edges", "{graph}")
    found = scores(context(records, *asked, right, "properties"))
    assert found["stated properties hold"]["value"] == 1
    assert found["stated properties hold, source shuffled"]["value"] < 0.5
    spikes = [{"n": 1 + i % 3, "series": Series(np.eye(1, 40, 9)[0] * 5)} for i in range(ITEMS)]
    one = lambda f, _: Series(sum(np.eye(1, 40, 9 * (k + 1))[0] * 5 for k in range(f["n"])))  # noqa: E731
    counts = scores(
        context(spikes, "{n:text} spikes", "{series}", one, "count", shows={"count": "n"})
    )
    assert counts["as many as asked for"]["value"] == 1
    assert counts["as many as asked for, source shuffled"]["value"] < 0.6
    values = np.random.default_rng(4).normal(10, 3, 80).round(2)
    numbers = [{"name": f"no. {i}", "v": f"{v}"} for i, v in enumerate(values)]
    for name, title in (("rmse", "RMSE"), ("mae", "MAE"), ("r2", "R²")):
        read = scores(
            context(numbers, "{name:text}", "{v:text}", lookup(numbers, "name", "v"), name)
        )
        shuffled = read[f"{title}, source shuffled"]
        assert shuffled["lower"] == (name != "r2") and shuffled["baseline"]["name"] in (
            "training mean",
            "training median",
        )
        assert shuffled["value"] < -0.5 if name == "r2" else shuffled["value"] > 2


@pytest.mark.parametrize(
    "target, metric, name",
    [("image", "psnr", "PSNR"), ("audio", "log_mel", "log-mel distance"), ("series", "mae", "MAE")],
)
def test_outputs_of_the_truth_s_size_are_asked_for_anew(
    target: str, metric: str, name: str
) -> None:
    rng = np.random.default_rng(1)
    values: dict[str, Any] = {
        "image": lambda i: drawn(KINDS[i % 3], rng),
        "audio": lambda i: Audio(
            np.sin(np.arange(3200) * (1 + i % 3) / 4).astype(np.float32), 16000
        ),
        "series": lambda i: Series(np.full(6, i % 3)),
    }
    records = [{"a": KINDS[i % 3], "v": values[target](i)} for i in range(ITEMS)]
    times: list[str] = []

    def reply(fields: Mapping[str, Any], _: int) -> Any:
        times.append(fields["a"])
        return next(r["v"] for r in records if r["a"] == fields["a"])

    task = context(records, "{a:text}", f"{{v:{target}}}", reply, metric)
    by_name = {m["name"]: m for m in scorers.choose(task).score(task, {})["metrics"]}  # type: ignore[misc]
    own, other = by_name[name], by_name[f"{name}, source shuffled"]
    assert len(times) == 2 * ITEMS
    assert other["lower"] == own["lower"]
    assert other["value"] > own["value"] if own["lower"] else other["value"] < own["value"]


def test_where_there_is_no_source_there_is_no_such_score() -> None:
    records = sentences(9)
    alone = context(records, "Say something.", "{a:text}", lambda f, s: "circle", "accuracy")
    assert not any("shuffled" in name for name in scores(alone))
    single = context(records[:1], "{text}", "{a:text}", lambda f, s: "circle", train=records)
    assert not any("shuffled" in name for name in scores(single))
