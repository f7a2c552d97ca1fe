"""The report page: self-contained, well formed, and nobody's text becomes markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unitok.eval import figures, report
from unitok.eval.context import metric
from unitok.eval.probes import findings
from unitok.metrics.bootstrap import Estimate
from unitok.values import Audio, Boxes, Graph, Image, Series
from unitok.vocabulary import Vocabulary

VOID = {"meta", "link", "img", "br", "hr", "input"}
VALUES = {
    "grey": Image(np.arange(64, dtype=np.uint8).reshape(8, 8)),
    "colour": Image(np.zeros((70, 90, 3), np.uint8)),
    "series": Series(np.array([[1.0, 2.0], [np.nan, 3.0], [2.0, 1.0]])),
    "missing": Series(np.full(4, np.nan)),
    "graph": Graph(4, [[0, 1], [2, 2]], node_labels=[0, 1, 2, 9]),
    "no nodes": Graph(0, []),
    "audio": Audio(np.sin(np.arange(800) / 9).astype(np.float32), 8000),
    "silence": Audio(np.zeros(0, np.float32), 8000),
    "boxes": Boxes([[0, 0, 4, 4]], ["a <b>"]),
    "text": "<script>alert(1)</script> & more",
}


class Page(HTMLParser):
    """Checks that tags close in order, and gathers what a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def results() -> dict[str, Any]:
    score = {
        "key": "accuracy", "lower": False, "name": "accuracy", "value": 0.964, "low": 0.94, "high": 0.98, "items": 360, "unit": "%",
        "baseline": {"name": "always “3”", "value": 0.1}, "bound": None, "note": "",
        "yardstick": {"value": 0.99, "source": "Somebody <2020>"},
    }  # fmt: skip
    decibel = {
        **score,
        "name": "PSNR",
        "value": 24.123,
        "low": None,
        "high": None,
        "unit": "dB",
        "yardstick": None,
    }
    other = {**decibel, "name": "accuracy, source shuffled", "value": 0.111, "unit": "%"}
    columns = [{"name": name, "part": figures.show(value)} for name, value in VALUES.items()]
    sample = {
        "inputs": [figures.show("What is <this>?")], "columns": columns, "text": "7 <i>", "truth": "1",
        "right": False, "note": "",
    }  # fmt: skip
    task = {
        "about": "Text.", "source": "s", "split": "test", "items": 360, "available": 1360,
        "template": {"inputs": "{image}", "targets": "{label:text}"}, "metrics": [score, decibel, other], "target": "text", "objective": "seq2seq",
        "figures": [{"title": "points", "svg": figures.scatter(np.arange(9.0), np.ones(9), "x", "<y>")}],
        "bits": {"text": {"value": 0.2134, "low": 0.1, "high": 0.3, "nats": 0.1, "unigram": 2.0,
                          "tokens": 720, "bits_per_byte": None}},
        "confusion": {"labels": ["<a>", "b"], "matrix": [[3, 0, 1], [0, 4, 0]], "other": True,
                      "note": "Rows are the truth."},
        "samples": [sample], "samples_note": "", "samples_wide": True,
    }  # fmt: skip
    vocabulary = Vocabulary.build([("text", 500, ""), ("image", 20, "abcdef0123456789")])
    blocks = [
        {"name": b.name, "start": b.start, "size": b.size, "fingerprint": b.fingerprint}
        for b in vocabulary.blocks
    ]
    return {
        "format": 2, "tasks": {"read <x>": task}, "tokenizers": {}, "probes": {"some": probe()},
        "run": {"name": "a & b", "folder": "r", "step": 2, "steps": 2000, "parameters": 1234567, "ema": True,
                "vocabulary": {"size": vocabulary.size, "fingerprint": "f", "blocks": blocks}},
    }  # fmt: skip


def probe() -> dict[str, Any]:
    """A probe's findings with everything that they may hold."""
    cells = ["x <y>", findings.number(Estimate(0.25, 0.2, 0.3, 9), "%"), findings.number(None)]
    found = findings.findings(
        "of <this>",
        [metric("gap <m>", Estimate(0.1, 0.0, 0.2, 9), "%", ("chance <c>", 0.5))],
        [findings.table("T<1>", ["a", "b", "c"], [cells], "n <t>")],
        [findings.chart("C <2>", {"one <1>": ([0.0, 1.0], [1.0, 2.0])}, "x", "y")],
        [{"title": "G <3>", "labels": ["r"], "columns": ["c <4>"], "values": [[0.87]]}],
    )
    return {"title": "A probe <p>", "about": "what <it> is", "tasks": {"read <x>": found}}


CURVES = {"training: loss": {"text": [(1.0, 3.0), (2.0, 2.0)], "im<g>": [(1.0, 1.0)]}}


def test_page_is_well_formed_and_fetches_nothing() -> None:
    text = report.render(results(), CURVES, {"name": "x", "html": "</pre><script>"})
    page = Page(text)
    assert all(address.startswith(("data:", "#")) for address in page.addresses), page.addresses
    assert not re.search(r"url\((?!['\"]?data:)|@import", text)
    assert {"link", "script", "iframe"}.isdisjoint(page.tags)
    for wanted in (
        "96.4 %",
        "24.12 dB",
        "94.0 to 98.0",
        "0.213",
        "1,234,567",
        "11.1 %",
        "Somebody <2020>",
        "A probe <p>",
        "x <y>",
        "chance <c>",
        "20.0 to 30.0",
    ):
        assert wanted in page.text, f"the page does not say {wanted}"
    assert VALUES["text"] in page.text  # as text, not as a tag


def test_tasks_held_out_of_training_are_said_to_be() -> None:
    config = {"tasks": {"read <x>": {"weight": 0.0}, "other": {"weight": 1.0}}}
    text = Page(report.render(results(), config=config)).text
    assert "1 of the tasks is held out of training altogether: read <x>." in " ".join(text.split())
    config["tasks"]["read <x>"]["weight"] = 0.5
    assert "held out" not in Page(report.render(results(), config=config)).text


def test_a_probe_in_short() -> None:
    """Two kinds of score of three tasks, and one that only a single task has."""
    values = {"a": (0.2, 0.9), "b": (0.6, 0.1), "c": (0.8, 0.5)}
    of_tasks = {}
    for task, (recall, gap) in values.items():
        chance = metric(
            "recall, up", Estimate(recall, recall - 0.1, recall + 0.1, 9), "%", ("chance", 0.25)
        )
        error = metric("gap", Estimate(gap, gap - 0.1, gap + 0.1, 9), "%", None, ("all", 0.4))
        of_tasks[task] = findings.findings("", [chance, findings.lower(error)])
    of_tasks["a"]["metrics"].append(metric("rare", Estimate(0.5, 0.4, 0.6, 9), "%"))
    recall, gap = findings.in_short({"tasks": of_tasks})
    assert recall["score"] == "recall" and recall["median"] == "60.0 %" and recall["tasks"] == 3
    assert recall["lowest"] == {"value": "20.0 %", "of": "a", "what": "up"}
    assert recall["highest"]["of"] == "c" and recall["beside"] == "2 of 3 surely better than chance"
    assert (
        gap["lower"] and gap["beside"] == "1 of 3 surely worse than all"
    )  # 0.8 to 1.0; 0.4 to 0.6 may be as good
    kept = metric("coverage", Estimate(0.91, 0.85, 0.95, 9), "%", ("promised", 0.9))
    (line,) = findings.in_short({"tasks": {"a": findings.findings("", [kept])}})
    assert line["beside"] == "1 of 1 may be what was promised"
    assert findings.in_short({"tasks": {"a": findings.findings("")}}) == []


@pytest.mark.parametrize("name", list(VALUES))
def test_every_value_can_be_shown(name: str) -> None:
    shown = figures.show(VALUES[name])
    assert json.loads(json.dumps(shown)) == shown
    assert shown["kind"] in ("image", "svg", "audio", "text")
    Page(shown.get("svg", ""))


def test_png_keeps_every_pixel() -> None:
    import io

    from PIL import Image as Pillow

    picture = Pillow.open(io.BytesIO(figures.png(VALUES["grey"])))
    np.testing.assert_array_equal(np.asarray(picture), VALUES["grey"].pixels[:, :, 0])


def test_curves_survive_a_torn_file_and_a_step_run_twice(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "split": "train", "nll": {"text": 9.0}},
        {
            "step": 1,
            "split": "train",
            "nll": {"text": 3.0, "image": 2.0},
            "accuracy": {"text": 0.5},
        },
        {"step": 2, "split": "eval", "nll": {"text": 2.0}},
        {"step": 3, "split": "train", "nll": {"text": float("nan")}},
        {"note": "no step"},
    ]
    file = tmp_path / "metrics.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 4, "spl')
    curves = report.read_curves(file)
    assert curves["training: loss, nats per token"] == {"text": [(1.0, 3.0)], "image": [(1.0, 2.0)]}
    assert curves["validation: loss, nats per token"] == {"text": [(2.0, 2.0)]}
    assert report.read_curves(tmp_path / "nothing.jsonl") == {}


def test_long_curves_are_averaged_not_cut() -> None:
    curve = [(float(i), float(i)) for i in range(1001)]
    few = report._averaged(curve)
    assert len(few) <= report.SMOOTHING
    assert few[0][0] < 30 and few[-1][0] > 970
    np.testing.assert_allclose([x for x, _ in few], [y for _, y in few])


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-3.2, 17.0), (1e-4, 3e-4), (0, 12345), (5, 5)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    ticks = figures._ticks(low, high)
    assert 1 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))
    step = (ticks[1] - ticks[0]) if len(ticks) > 1 else 1
    assert ticks[0] > low - step and ticks[-1] <= high + 1e-9
