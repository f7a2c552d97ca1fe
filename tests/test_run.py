"""The run folder: whole or refused, its tokenizers the ones it was built with, one writer at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unitok import registry
from unitok.config import Config, SourceConfig, TaskConfig, Template, TokenizerConfig
from unitok.errors import InputError
from unitok.run import lock_run, read_run, write_run
from unitok.vocabulary import Vocabulary, VocabularyMismatch

HOLD = """
import sys, time
from unitok.run import lock_run
with lock_run(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def parts() -> tuple[Config, Vocabulary, dict]:
    tokenizers = {"series": registry.build("series"), "coord": registry.build("coord")}
    vocabulary = Vocabulary.build({n: (t.size, t.fingerprint) for n, t in tokenizers.items()})
    config = Config(
        name="tiny",
        steps=3,
        tokenizers={name: TokenizerConfig(name=name) for name in tokenizers},
        sources={"s": SourceConfig(kind="csv", path="x.csv")},
        tasks={"t": TaskConfig(source="s", templates=[Template(inputs="{a}", targets="{b}")])},
    )
    return config, vocabulary, tokenizers


@pytest.fixture
def folder(tmp_path) -> Path:
    write_run(tmp_path / "run", *parts())
    return tmp_path / "run"


def test_what_is_written_is_read(folder) -> None:
    config, vocabulary, tokenizers = parts()
    run = read_run(folder)
    assert (run.config, run.vocabulary) == (config, vocabulary)
    assert list(run.tokenizers) == ["series", "coord"]
    for name, tokenizer in tokenizers.items():
        assert run.tokenizers[name].fingerprint == tokenizer.fingerprint
    before = {p: p.stat().st_mtime_ns for p in (folder / "tokenizers").rglob("*")}
    write_run(folder, config, vocabulary, tokenizers)
    assert {p: p.stat().st_mtime_ns for p in (folder / "tokenizers").rglob("*")} == before


@pytest.mark.parametrize(
    "name", ["config.json", "vocabulary.json", "tokenizers/series/tokenizer.json"]
)
@pytest.mark.parametrize("harm", ["missing", "half", "other", "binary"])
def test_damage_is_one_error_that_names_the_file(folder, name: str, harm: str) -> None:
    file = folder / name
    data = file.read_bytes()
    if harm == "missing":
        file.unlink()
    else:
        new = {"half": data[: len(data) // 2], "other": b'{"format": 1}', "binary": b"\xff\x00"}
        file.write_bytes(new[harm])
    with pytest.raises((InputError, VocabularyMismatch)) as caught:
        read_run(folder)
    assert name.split("/")[0].removesuffix(".json") in str(caught.value)


def test_no_run_there(tmp_path) -> None:
    with pytest.raises(InputError, match="not found"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no run folder"):
        read_run(tmp_path)


def test_another_tokenizer_is_refused_naming_both(folder) -> None:
    _, _, tokenizers = parts()
    wrong = {**tokenizers, "series": tokenizers["coord"]}
    with pytest.raises(VocabularyMismatch) as caught:
        read_run(folder, wrong)
    for name in ("series", "coord"):
        assert tokenizers[name].fingerprint in str(caught.value)
    with pytest.raises(VocabularyMismatch, match="coord"):
        read_run(folder, {"series": tokenizers["series"]})


def test_a_half_saved_tokenizer_is_replaced(folder) -> None:
    config, vocabulary, tokenizers = parts()
    stale = folder / "tokenizers" / "series.new"
    shutil.copytree(folder / "tokenizers" / "series", stale)
    (folder / "tokenizers" / "series" / "tokenizer.json").write_text("{")
    write_run(folder, config, vocabulary, tokenizers)
    assert read_run(folder).tokenizers["series"].fingerprint == tokenizers["series"].fingerprint
    assert not stale.exists()


def test_the_second_writer_is_refused_and_a_dead_one_replaced(tmp_path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {holder.pid} on "), lock_run(tmp_path):
            pass
        holder.kill()
    held = f"process {os.getpid()} on "
    with lock_run(tmp_path), pytest.raises(InputError, match=held), lock_run(tmp_path):
        pass
    with lock_run(tmp_path):
        pass


def test_a_workdir_that_cannot_be_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="another folder"), lock_run(tmp_path / "file" / "run"):
        pass
