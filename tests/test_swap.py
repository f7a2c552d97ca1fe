"""`unitok swap`: two real runs that differ in one tokenizer, every task's change in a table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from pages import SMALL

from unitok.errors import InputError
from unitok.eval import likelihood, runner
from unitok.eval.probes import swap
from unitok.run import read_run

MINE = """
from unitok.config import *

def get_config():
    digits = SourceConfig(kind="sklearn", options={"name": "digits", "test_share": 0.5, "limit": 40},
                          label_names={"label": [str(d) for d in range(10)]})
    both = {"read": ("Which? {image}", "{label:text}"), "draw": ("Draw {label:text}.", "{image}")}
    return Config(
        name="mine", steps=2, eval_items=8,
        tokenizers={"text": TokenizerConfig(name="text"), "image": TokenizerConfig(name="image")},
        sources={"digits": digits},
        tasks={name: TaskConfig(source="digits", templates=[Template(inputs=i, targets=t)],
                                metrics=["accuracy"] if name == "read" else ["psnr"])
               for name, (i, t) in both.items()},
    )
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("swap")
    (folder / "mine.py").write_text(MINE)
    rate = "--swap.image.options.variant=low"
    return [f"--config={folder / 'mine.py'}", rate, *SMALL, f"--out={folder / 'out'}", "--probes=none"]  # fmt: skip


@pytest.fixture(scope="module")
def out(command: list[str]) -> Path:
    with pytest.MonkeyPatch.context() as patch:  # of eight items none needs a program for 64
        patch.setattr(runner, "BATCH_SIZES", (8,))
        patch.setattr(likelihood, "ROWS", 2)
        patch.setattr(likelihood, "MIN_LENGTH", 64)
        assert swap.main(command) == 0
    return Path(command[-2].removeprefix("--out="))


def scores(out: Path) -> dict[tuple[str, str], dict[str, Any]]:
    rows = json.loads((out / "compared" / "metrics.json").read_text())["scores"]
    return {(row["task"], row["name"]): row for row in rows}


def test_the_flags_change_the_tokenizer_alone(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    as_is, swapped = swap.configs(
        [f"--config={file}", "--config.steps=7", "--swap.image.options.codes=64"]
    )
    assert as_is.steps == swapped.steps == 7
    options = [config.tokenizers["image"].options for config in (as_is, swapped)]
    assert options == [{}, {"codes": 64}]
    assert dataclasses.replace(swapped, tokenizers=as_is.tokenizers) == as_is
    for argv, named in (
        ([f"--config={file}"], "--swap is missing"),
        ([f"--config={file}", "--swap.image.name=image"], "it is so already"),
        ([f"--config={file}", "--swap.image.options.codes=64", "--workdir=x"], "--workdir"),
    ):
        with pytest.raises(InputError, match=named):
            swap.configs(argv)


def test_both_runs_are_trained_and_only_the_tokenizer_differs(out: Path) -> None:
    as_is, swapped = (read_run(out / name) for name in ("as-is", "swapped"))
    assert as_is.config.tokenizers["image"].options == {}
    assert swapped.config.tokenizers["image"].options == {"variant": "low"}
    assert as_is.config.tasks == swapped.config.tasks and as_is.config.seed == swapped.config.seed
    prints = [{b.name: b.fingerprint for b in run.vocabulary.blocks} for run in (as_is, swapped)]
    assert prints[0]["image"] != prints[1]["image"] and prints[0]["text"] == prints[1]["text"]
    for run in (as_is, swapped):
        steps = [json.loads(line).get("step") for line in (run.path / "metrics.jsonl").open()]
        assert steps[-1] == 2


def test_every_task_s_change_is_in_the_table(out: Path) -> None:
    rows = scores(out)
    assert {task for task, _ in rows} == {"read", "draw", "all tasks"}
    assert {
        ("all tasks", "NLL / token, image"),
        ("read", "bits / token, text"),
        ("draw", "bits / token, image"),
    } <= set(rows)
    for (_, name), row in rows.items():
        first, second = (m["value"] for m in row["scores"])
        assert row["changes"][1]["value"] == pytest.approx(second - first), name
    drawn = rows["draw", next(name for _, name in rows if name.startswith("PSNR"))]
    # the ceiling that a tokenizer sets moves with it: the coarse one draws no digit as well
    fine, coarse = (m["bound"]["value"] for m in drawn["scores"])
    assert coarse < fine
    page = (out / "compared" / "report.html").read_text()
    assert "tokenizers.image.options" in page and "as-is" in page and "swapped" in page


def test_the_same_command_again_trains_and_evaluates_nothing(
    command: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if "tasks" in p.parts or "checkpoints" in p.parts}  # fmt: skip
    table = scores(out)
    assert swap.main(command) == 0
    assert before and all(p.stat().st_mtime_ns == at for p, at in before.items())
    assert scores(out) == table
    assert "the comparison is in" in capsys.readouterr().out
