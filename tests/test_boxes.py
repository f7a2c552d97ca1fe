"""Boxes from files, moved with their picture, and detection as a task from training to the report."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unitok.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    FitConfig,
    ModelConfig,
    OptimizerConfig,
    SourceConfig,
    TaskConfig,
    Template,
    TokenizerConfig,
)
from unitok.data import boxes
from unitok.data.sources import build_source
from unitok.data.tasks import Task
from unitok.errors import InputError
from unitok.eval import runner
from unitok.interfaces import Source
from unitok.sequence import Composer
from unitok.tokenizers.coord import CoordTokenizer
from unitok.train import loop
from unitok.values import Boxes
from unitok.vocabulary import Vocabulary

RULE = {"from": "value", "boxes": "at", "order": "xyxy", "label": "is"}
SPLITS = {"file": "{}!splits.json", "field": "key"}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three pictures of 8 x 12 and the boxes in them, the second one's lowest first; a split by names without suffix."""
    from PIL import Image as Pillow

    cells = {
        "a.png": [{"at": [1, 2, 5, 8], "is": "red"}],
        "b.png": [{"at": [0, 4, 2, 8], "is": "red"}, {"at": [6, 1, 9, 3], "is": "white"}],
        "c.png": [],
    }
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as out:
        out.writestr("cells.json", json.dumps(cells))
        out.writestr("splits.json", json.dumps({"train": ["b", "c"], "val": ["a"], "bad": ["d"]}))
        out.writestr("test.txt", "c\na.png\n")
        for name in cells:
            with out.open(f"images/{name}", "w") as file:
                Pillow.new("RGB", (12, 8), (9, 99, 200)).save(file, "PNG")
    return tmp_path / "cells.zip"


def cells(archive: Path, split: str = "all", derive: dict | None = None, **options) -> Source:
    shares = {} if "rows" in options else {"split": {"all": [0, 1]}}
    config = SourceConfig(
        kind="json",
        path=f"{archive}!cells.json",
        options={**shares, "derive": {"cells": RULE} if derive is None else derive, **options},
    )
    return build_source(config, split)


# ---- from files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "numbers"),
    {"xyxy": [1, 2, 5, 8], "yxyx": [2, 1, 8, 5], "xywh": [1, 2, 4, 6]}.items(),
)
def test_three_orders_of_four_numbers_are_one_box(order: str, numbers: list[int]) -> None:
    column = boxes.Column(1, lambda row: None, [[{"at": numbers, "is": "red"}]])
    found = boxes.from_lists("x", column, {**RULE, "order": order})[0]
    assert found == Boxes(np.array([[2, 1, 8, 5]]), ["red"])


def test_boxes_beside_pictures(archive: Path) -> None:
    rules = {
        "cells": RULE,
        "white": {**RULE, "keep": ["white"]},
        "small": {"from": "cells", "scale": 0.5},
        "reds": {"from": "cells", "count": "red"},
        "number": {"from": "cells", "count": None},
        "photo": {"from": "key", "file": "images/{}", "modality": "image"},
        "image": {"from": "photo", "scale": 0.5},
    }
    found = cells(archive, derive=rules)
    assert found[1]["cells"] == Boxes(np.array([[1, 6, 3, 9], [4, 0, 8, 2]]), ["white", "red"])
    assert found[1]["white"] == Boxes(np.array([[1, 6, 3, 9]]), ["white"])
    assert found[1]["small"].coords.tolist() == [[0.5, 3, 1.5, 4.5], [2, 0, 4, 1]]
    assert [(r["reds"], r["number"]) for r in found] == [(1, 1), (1, 2), (0, 0)]
    assert found[2]["cells"] == Boxes(np.zeros((0, 4)), [])
    assert found[0]["image"].pixels.shape == (4, 6, 3)
    assert (found[0]["image"].pixels == (9, 99, 200)).all()


def test_a_split_is_listed_by_names(archive: Path) -> None:
    rows = {**SPLITS, "file": SPLITS["file"].format(archive)}
    assert [r["key"] for r in cells(archive, "train", rows=rows, derive={})] == ["b.png", "c.png"]
    rows["file"] = f"{archive}!{{split}}.txt"
    assert [r["key"] for r in cells(archive, "test", rows=rows, derive={})] == ["c.png", "a.png"]


WRONG = {
    "order": ({"cells": {**RULE, "order": "xxyy"}}, {}, "want one of yxyx, xyxy, xywh"),
    "keep": ({"cells": {**RULE, "keep": "red"}}, {}, "a list of labels"),
    "no label": ({"cells": {**RULE, "label": "name"}}, {}, "row 1, box 0: want four numbers 'at'"),
    "no list": ({"cells": {**RULE, "from": "key"}}, {}, "row 1: want a list of boxes"),
    "no rule": ({"cells": {"from": "value", "boxes": "at"}}, {}, "boxes, order and label"),
    "count": ({"cells": {"from": "key", "count": "red"}}, {}, "count wants boxes"),
    "factor": ({"cells": {"from": "key", "scale": 2}}, {}, "a factor over 0"),
    "scale": ({"cells": {"from": "key", "scale": 0.5}}, {}, "want an image or boxes"),
    "not there": ({}, {"rows": SPLITS, "split": "bad"}, "no record with key 'd'"),
    "no split": ({}, {"rows": SPLITS, "split": "dev"}, "'dev'; there are train, val, bad"),
    "rows": ({}, {"rows": {"path": "x"}, "split": "train"}, "options.rows: want a path"),
    "field": ({}, {"rows": {**SPLITS, "field": "k"}, "split": "train"}, "no field of labels 'k'"),
    "augment": (
        None,
        {"augment": {"split": "all", "field": "image", "copies": 2, "boxes": ["key"]}},
        "augment.boxes: no field of boxes 'key'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_boxes_are_refused_in_one_line(archive: Path, name: str) -> None:
    derive, options, says = WRONG[name]
    if "file" in options.get("rows", {}):
        options["rows"] = {**options["rows"], "file": options["rows"]["file"].format(archive)}
    if derive is None:
        derive = {"image": {"from": "key", "file": "images/{}", "modality": "image"}}
    with pytest.raises(InputError, match=says) as caught:
        cells(archive, derive=derive, **options)[1]["cells"]
    assert "\n" not in str(caught.value)


# ---- moved -----------------------------------------------------------------------------------


def squares(count: int, seed: int = 0, side: int = 24) -> dict:
    """Grey pictures of one bright square each, which is labelled large or small."""
    rng = np.random.default_rng(seed)
    pixels = np.full((count, side, side), 40, np.uint8)
    found = []
    for index, size in enumerate(rng.choice([6, 12], count).tolist()):
        y, x = rng.integers(1, side - size, 2).tolist()  # no edge touches the picture's
        pixels[index, y : y + size, x : x + size] = 220
        found.append([{"at": [y, x, y + size, x + size], "is": "small" if size == 6 else "large"}])
    return {"image": pixels, "value": found}


def moving(columns: dict, **motion) -> Source:
    rule = {**RULE, "order": "yxyx"}
    return build_source(
        SourceConfig(
            kind="arrays",
            options={
                "columns": columns, "split": {"train": [0, 1]}, "derive": {"cells": rule},
                "augment": {"split": "train", "field": "image", "boxes": ["cells"], **motion},
            },
        ),
        "train",
    )  # fmt: skip


@settings(max_examples=20)
@given(st.integers(0, 99), st.booleans(), st.floats(0, 0.3), st.floats(0, 0.3))
def test_boxes_go_where_the_pixels_go(seed: int, flip: bool, shift: float, scale: float) -> None:
    """To a pixel, which is as sharp as an edge is drawn; boxes mostly outside are gone."""
    found = moving(squares(3, seed), copies=4, flip=flip, shift=shift, scale=scale)
    for record in list(found):
        # the picture's edge goes on outward: where a square ends is seen while it does not touch it
        bright = np.argwhere(record["image"].pixels[..., 0] > 130)
        if len(record["cells"].labels):
            (y0, x0, y1, x1) = record["cells"].coords[0]
            assert 0 <= y0 <= y1 <= 24 and 0 <= x0 <= x1 <= 24
            if min(y0, x0) > 1 and max(y1, x1) < 23:
                edges = [*bright.min(0), *(bright.max(0) + 1)]
                assert np.abs(record["cells"].coords[0] - edges).max() <= 1


def test_a_flip_is_exact_and_a_box_outside_is_left_out() -> None:
    value = Boxes(np.array([[1, 2, 3, 6], [0, 0, 10, 4], [9, 1, 9, 1]]), ["a", "b", "point"])
    # pixel p of the copy shows pixel 9 - p: upside down
    upside = boxes.moved(value, np.diag([-1.0, 1.0]), np.array([9.0, 0.0]), (10, 10))
    assert upside.labels == ["b", "point", "a"]
    assert upside.coords.tolist() == [[0, 0, 10, 4], [1, 1, 1, 1], [7, 2, 9, 6]]
    left = boxes.moved(value, np.eye(2), np.array([0.0, 3.0]), (10, 10))  # everything 3 to the left
    assert left.labels == ["a"] and left.coords.tolist() == [[1, 0, 3, 3]]


def test_a_task_takes_boxes_in_a_picture_whose_codes_are_cached() -> None:
    """The picture's own size is the frame, though a learned tokenizer has encoded it before."""
    from fakes import FakeImage, FakeText

    tokenizers = {"text": FakeText(), "image": FakeImage(), "coord": CoordTokenizer(bins=25)}
    source = moving(squares(4), copies=1)
    config = TaskConfig(
        source="squares",
        templates=[Template(inputs="{image}", targets="{cells:coord@image}")],
        random_order=False,
    )
    rows = [(name, t.size, t.fingerprint) for name, t in tokenizers.items()]
    composer = Composer(tokenizers, Vocabulary.build(rows))
    task = Task("find", 0, config, source, composer, None)
    block = composer.vocabulary.block("coord")
    for index in range(4):
        labels = task.example(index, np.random.default_rng(0)).labels
        codes = [int(i) - block.first_code for i in labels if i >= block.first_code][:4]
        assert codes == source[index]["cells"].coords[0].tolist()  # 24 pixels: a bin each


# ---- detection, from training to the report ---------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that finds squares, on embedded pictures alone."""
    folder = tmp_path_factory.mktemp("squares")
    source = SourceConfig(
        kind="arrays",
        options={
            "columns": {k: v if k == "value" else v.tolist() for k, v in squares(240).items()},
            "modalities": {"image": "image"}, "test_share": 0.1,
            "derive": {"cells": {**RULE, "order": "yxyx"}},
        },
    )  # fmt: skip
    config = Config(
        name="squares", steps=160, workdir=str(folder / "run"),
        tokenizers={
            "text": TokenizerConfig(name="text"),
            "image": TokenizerConfig(
                name="image", options={"patch": 6, "codes": 64, "width": 16, "depth": 1},
                fit=FitConfig(source="squares", steps=60, batch_size=32, learning_rate=4e-3),
            ),
            "coord": TokenizerConfig(name="coord", options={"bins": 13}),
        },
        sources={"squares": source},
        tasks={
            "find": TaskConfig(
                source="squares", metrics=["ap50", "map"], random_order=False,
                templates=[Template(inputs="{image}", targets="{cells:coord@image}")],
            ),
        },
        model=ModelConfig(d_model=48, d_ff=96, num_heads=2, encoder_layers=1, decoder_layers=1),
        data=DataConfig(batch_size=16, window=200),
        optimizer=OptimizerConfig(learning_rate=4e-3, warmup_steps=20),
        checkpoint=CheckpointConfig(every=160, validate_every=160, validate_batches=2),
    )  # fmt: skip
    loop.train(config)
    return folder / "run"


def test_detection_is_learned_and_shown(run: Path) -> None:
    page = runner.evaluate(run, say=lambda line: None, probes=["none"])
    found = json.loads((page.parent / "metrics.json").read_text())["tasks"]["find"]["metrics"]
    by_name = {metric["name"]: metric for metric in found}
    score, shuffled = by_name["mAP 50:95"], by_name["mAP 50:95, source shuffled"]
    assert score["value"] > 2 * max(score["baseline"]["value"], shuffled["value"])
    assert by_name["AP50"]["bound"]["value"] == 1  # bins are finer than half an overlap
    html = page.read_text()
    assert html.count('<rect class="box') >= 2 * 6  # truth and answer, each drawn over its picture
