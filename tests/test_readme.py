"""README holds: its commands and its Python run as they stand, on a small folder of pictures."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from pages import ROOT, SMALL, commands, run, small_demo, snippets

import unitok
from unitok.data import files
from unitok.predictor import Predictor
from unitok.run import read_run
from unitok.values import Audio, Image

USE, OWN = snippets("README.md")
PHOTOS = {"rose": (200, 30, 40), "tulip": (240, 200, 20)}
FIT = ["--steps=2", "--batch_size=4", "--crop=16", "--codes=8", "--width=8", "--depth=0"]

# What a command is given besides, so that it takes seconds. README may not name another without a test.
RUN = {
    "unitok generate": [],
    "unitok roundtrip text": [],
    "unitok roundtrip audio": [],
    "unitok inspect": [],
    "unitok prepare": small_demo(),
    "unitok fit image": FIT,
    "python eval/main.py": ["--items=1", "--tasks=name", "--probes=none"],
}
ELSEWHERE = {
    "make": "test_house.py",
    "python train/main.py": "test_configs.py, and here by the reader's own config",
    "unitok serve": "test_serve.py: it does not end",
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """A reader's folder: pictures in the home directory, a sound, README's config, and its run, runs/mine."""
    top, rng = tmp_path_factory.mktemp("desk"), np.random.default_rng(0)
    for name, colour in PHOTOS.items():
        for i in range(10):
            pixels = np.clip(colour + rng.normal(0, 20, (16, 16, 3)), 0, 255).astype(np.uint8)
            (top / "flowers" / name).mkdir(parents=True, exist_ok=True)
            files.write_file(Image(pixels), top / "flowers" / name / f"{i}.png")
    (top / "photos").symlink_to(top / "flowers")
    (top / "configs").symlink_to(ROOT / "configs")
    (top / "README.md").symlink_to(ROOT / "README.md")
    time = np.arange(8000) / 16000
    files.write_file(
        Audio(np.sin(2 * np.pi * 440 * time).astype(np.float32) / 4, 16000), top / "clip.wav"
    )
    (top / "my_config.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top)
        patch.setenv("HOME", str(top))  # of ~/flowers
        command = OWN.splitlines()[0].removeprefix("# my_config.py").strip()
        assert run(command, *SMALL, "--workdir=runs/mine") == 0
    (top / "runs" / "demo").symlink_to(top / "runs" / "mine")
    return top


@pytest.fixture(autouse=True)
def at_the_desk(desk, monkeypatch) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.setenv("HOME", str(desk))


def words_of(command: str) -> str:
    """The words before the first flag or path: which command it is."""
    name = next((name for name in [*RUN, *ELSEWHERE] if f"{command} ".startswith(f"{name} ")), None)
    assert name, f"README: {command!r} has no test; name it in RUN"
    return name


def of_readme(name: str) -> str:
    (command,) = [c for c in commands("README.md") if words_of(without_variables(c)) == name]
    return command


def without_variables(command: str) -> str:
    return shlex.join(w for w in shlex.split(command) if not w.partition("=")[0].isupper())


def test_your_own_data_trains(desk) -> None:
    found = read_run("runs/mine")
    assert found.vocabulary.modalities == ("text", "image")
    assert set(found.config.tasks) == {"name", "paint"}
    assert unitok.load("runs/mine").step == 2


def test_every_command_is_run_or_named() -> None:
    named = {words_of(without_variables(command)) for command in commands("README.md")}
    assert named == {*RUN, *ELSEWHERE}


@pytest.mark.parametrize(
    ("name", "says", "writes"),
    [
        ("unitok roundtrip text", "exact: 1 of 1", None),
        ("unitok roundtrip audio", "kbit/s", "look/roundtrip.png"),
        ("unitok inspect", "2 of 2 steps trained", None),
        ("unitok generate", "seven.png", "seven.png"),
        ("unitok fit image", "saved to my_tokenizer", "my_tokenizer/tokenizer.json"),
        ("python eval/main.py", "report.html", "runs/mine/report/report.html"),
    ],
)
def test_a_command_runs(desk, capsys, name: str, says: str, writes: str | None) -> None:
    assert run(of_readme(name), *RUN[name]) == 0, capsys.readouterr().err
    assert says in capsys.readouterr().out
    assert writes is None or (desk / writes).stat().st_size > 0
    if name == "unitok generate":
        assert files.read_image(desk / "seven.png").pixels.size > 0


def test_prepare_tells_the_rows_of_the_demo(desk, capsys, monkeypatch) -> None:
    """Its folder is runs/demo, which is the run of the others: hence a place of its own."""
    (desk / "apart").mkdir()
    (desk / "apart" / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(desk / "apart")
    assert run(of_readme("unitok prepare"), *RUN["unitok prepare"]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    for task in ("recognise", "draw"):
        assert task in out
    assert (
        "audio" in out and "graph" in out and (desk / "apart/runs/demo/vocabulary.json").is_file()
    )


def test_the_python_runs(desk, capsys) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    scope = {"pixels": pixels}
    exec(USE, scope)
    assert isinstance(scope["model"], Predictor)
    assert scope["ids"].dtype == np.int32 and scope["ids"].min() >= 0
    assert scope["ids"].max() < scope["tok"].size
    assert scope["image"].pixels.shape == pixels.shape
    (answer,) = scope["out"]
    assert isinstance(answer.value, str) and answer.log_prob <= 0
    assert capsys.readouterr().out.strip().endswith(str(answer.log_prob))
