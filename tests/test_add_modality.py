"""docs/add-a-modality.md holds: its Python and its commands run; one file of one's own conforms, joins a trained
checkpoint's vocabulary, trains and answers."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pages import ROOT, SMALL, commands, run, small_demo, snippets

import unitok
from unitok import registry
from unitok.conformance import check_tokenizer
from unitok.errors import InputError
from unitok.run import read_run

PAGE = "docs/add-a-modality.md"
FILE = ROOT / "examples" / "palette.py"
VALUES = [[[0, 0, 0]], [[255, 255, 255], [12, 200, 99]], [[i, 255 - i, 7] for i in range(8)]]


@pytest.fixture(scope="module")
def palette():
    spec = importlib.util.spec_from_file_location("palette", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def near(value, decoded) -> bool:
    return np.shape(value) == np.shape(decoded) and np.abs(np.subtract(value, decoded)).max() <= 4.2


def test_it_is_short_and_conforms(palette):
    assert len(FILE.read_text().splitlines()) < 100
    check_tokenizer(lambda: registry.build("palette"), VALUES, near, requests=({}, {"colours": 3}))
    for wrong in ([], [[1, 2]], [[0, 0, 256]], [[0, 0, 0]] * 9):
        with pytest.raises(ValueError, match="palette"):
            registry.build("palette").encode(wrong)


def test_the_conformance_snippet(palette):
    suite, _ = snippets(PAGE)
    exec(suite, {"numpy": np, "values": VALUES})


def test_the_page_s_commands_grow_a_trained_demo_and_it_answers(palette, tmp_path, monkeypatch):
    """The demo's own tokenizers, so that what the example takes over from its config is there too."""
    for name in ("configs", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    evaluate, train = commands(PAGE)
    assert run("unitok train --config=configs/demo.py", *SMALL, *small_demo()) == 0
    assert run(train, *SMALL) == 0
    mine, parent = read_run("runs/palette"), read_run("runs/demo")
    assert mine.vocabulary.extends(parent.vocabulary)
    assert mine.vocabulary.modalities == (*parent.vocabulary.modalities, "palette")

    variable, *words = shlex.split(evaluate)  # in a process that has not seen the file
    environment = {**os.environ, **dict([variable.split("=")])}
    assert words.pop(0) == "unitok"
    told = [sys.executable, "-m", "unitok", *words, "--items=2", "--tasks=mood", "--probes=none"]
    done = subprocess.run(told, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path("runs/palette/report/report.html").is_file()

    *_, answers = snippets(PAGE)
    drawn, mood = (line.partition("#")[0] for line in answers.splitlines()[1:])
    scope = {"unitok": unitok}
    exec(answers.splitlines()[0], scope)
    assert np.shape(eval(drawn, scope)) == (3, 3)
    assert isinstance(eval(mood, scope), str)


def test_another_process_finds_it_by_the_variable(tmp_path):
    code = "from unitok import registry; print(registry.build('palette').size)"
    environment = {**os.environ, "UNITOK_PLUGINS": str(FILE)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert run.stdout.strip() == "40", run.stderr


def test_wrong_plugins_cost_one_line(tmp_path, monkeypatch):
    for path, says in ((tmp_path / "no.py", "no Python file"), (tmp_path / "bad.py", "NameError")):
        if "bad" in path.name:
            path.write_text("nonsense")
        monkeypatch.setenv("UNITOK_PLUGINS", str(path))
        with pytest.raises(InputError, match=says):
            registry.names()
    monkeypatch.delenv("UNITOK_PLUGINS")
    with pytest.raises(KeyError, match="UNITOK_PLUGINS"):
        registry.build("colour scheme")
    with pytest.raises(ValueError, match="another name"):
        registry.register(type("Own", (), {"name": "text"}))
