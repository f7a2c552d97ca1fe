"""What a comparison draws: the same items of all checkpoints, and their calibration on common axes."""

from __future__ import annotations

from typing import Any

from unitok.config import SourceConfig
from unitok.eval import runner, side_by_side
from unitok.eval.probes.findings import chart, findings

LINE = ((0.0, 1.0), (0.0, 1.0))


def sample(item: int, text: str | None = None, right: bool | None = None, **columns: str) -> Any:
    shown = [{"name": n, "part": {"kind": "text", "text": t}} for n, t in columns.items()]
    return {
        "item": item, "inputs": [{"kind": "text", "text": f"question {item}"}], "columns": shown,
        "text": text, "truth": None if text is None else "yes", "right": right, "note": "",
    }  # fmt: skip


def task(*samples: Any, of: str = "same") -> dict[str, Any]:
    return {"read": {"of": of, "target": "text", "samples": list(samples)}}


def asked(*charts: Any) -> dict[str, Any]:
    return {"probes": {"calibration": {"tasks": {"read": findings("", charts=charts)}}}}


def test_items_that_all_show_stand_in_one_row_disagreements_first() -> None:
    first = task(sample(7, "yes", True), sample(1, "yes", True), sample(4, "yes", True))
    second = task(sample(1, "yes", True), sample(4, "no", False), sample(9, "no", False))
    rows = side_by_side.samples([first, second])["read"]
    assert [row["inputs"][0]["text"] for row in rows] == ["question 4", "question 1"]
    assert [cell["text"] for cell in rows[0]["cells"]] == ["yes", "no"]
    assert rows[0]["truth"] == "yes"


def test_what_is_alike_is_shown_once() -> None:
    one = sample(0, truth="a", tokenizer="a'", model="b")
    other = sample(0, truth="a", tokenizer="a''", model="c")
    (row,) = side_by_side.samples([task(one), task(other)])["read"]
    assert [c["name"] for c in row["given"]] == ["truth"]
    assert [[c["name"] for c in cell["columns"]] for cell in row["cells"]] == [
        ["tokenizer", "model"]
    ] * 2
    (row,) = side_by_side.samples([task(one), task(one)])["read"]
    assert row["given"] == [] and len(row["cells"][0]["columns"]) == 3, "both answered alike"


def test_other_items_are_not_compared_and_rows_are_few() -> None:
    many = [sample(i, "yes", True) for i in range(20)]
    assert len(side_by_side.samples([task(*many)] * 3)["read"]) == side_by_side.MOST_ROWS
    assert side_by_side.samples([task(*many), task(*many, of="others")]) == {}
    assert side_by_side.samples([task(*many), {}]) == {}


def test_what_is_said_about_a_source_does_not_make_its_items_others() -> None:
    plain = runner._data(SourceConfig(kind="sklearn"))
    assert runner._data(SourceConfig(kind="sklearn", about="digits", licence="BSD")) == plain
    assert runner._data(SourceConfig(kind="sklearn", path="elsewhere")) != plain


def test_calibration_is_drawn_on_common_axes() -> None:
    answers = "Reliability, answers"
    first = asked(
        chart(answers, {"perfect": LINE, "as trained": ((0.5,), (0.4,))}, "sure", "right"),
        chart("Reliability, tokens", {"perfect": LINE, "text": LINE, "image": LINE}, "x", "y"),
    )
    second = asked(
        chart(answers, {"perfect": LINE, "as trained": ((0.9,), (0.8,))}, "sure", "right"),
        chart("Reliability, tokens", {"perfect": LINE, "text": LINE}, "x", "y"),
        chart("Abstention", {"model": LINE, "oracle": LINE}, "x", "y"),
    )
    drawn = side_by_side.calibration(["a", "b"], [first, second])["read"]
    assert [c["title"] for c in drawn] == [answers, "Reliability, tokens: text"]
    assert drawn[0]["curves"] == {
        "a": [[0.5, 0.4]],
        "b": [[0.9, 0.8]],
        "perfect": [[0.0, 0.0], [1.0, 1.0]],
    }
    assert next(iter(drawn[0]["curves"])) == "a", "colours go by checkpoint"
    assert side_by_side.calibration(["a", "b"], [first, {"probes": {}}]) == {}
