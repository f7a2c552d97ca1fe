"""docs/add-a-modality.md holds: one file of one's own conforms, joins a trained checkpoint's vocabulary, trains."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unitok
from unitok import registry
from unitok.config_cli import read_config
from unitok.conformance import check_tokenizer
from unitok.errors import InputError
from unitok.run import read_run
from unitok.train import loop

ROOT = Path(__file__).resolve().parent.parent
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


def test_it_joins_a_trained_model_by_growth_and_trains(palette, tiny, tmp_path):
    base = read_config(tiny)
    parent = loop.train(dataclasses.replace(base, steps=2, workdir=str(tmp_path / "parent")))
    mine = dataclasses.replace(
        palette.get_config(base), steps=4, init_from=str(parent), workdir=str(tmp_path / "mine")
    )
    run = read_run(loop.train(mine))
    old, new = read_run(parent).vocabulary, run.vocabulary
    assert new.extends(old) and new.modalities == (*old.modalities, "palette")
    model = unitok.load(run.path)
    drawn = model.generate("A warm palette", to="palette", constraints={"colours": 2}, seed=0)[
        0
    ].value
    assert np.shape(drawn) == (2, 3)
    assert isinstance(model.generate("Mood of {palette}", palette=drawn, to="text", max_new_tokens=4)[0].value, str)  # fmt: skip


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
