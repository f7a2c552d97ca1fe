"""docs/data.md: every snippet gives a source whose template composes; parquet and MP3 by the real libraries."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from unitok import sequence
from unitok.config import SourceConfig, Template
from unitok.data import files, limits
from unitok.data.sources import build_source
from unitok.errors import InputError
from unitok.values import Audio, Boxes, Graph, Image, Series

PAGE = Path(__file__).resolve().parent.parent / "docs" / "data.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
RNG = np.random.default_rng(0)


def picture() -> Image:
    return Image(RNG.integers(0, 256, (6, 5, 3)).astype(np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The files that the page speaks of."""
    top = tmp_path_factory.mktemp("page")
    for label in ("cat", "dog"):
        for i in range(5):
            files.write_file(picture(), top / "photos" / label / f"{i}.png")
    for i in range(10):
        files.write_file(picture(), top / "pictures" / f"{i}.jpg")
        files.write_file(picture(), top / "quiz" / "images" / f"{i}.png")
        files.write_file(Graph(3, [[0, 1], [1, 2]]), top / "graphs" / f"path_{i}.edges")
    rows = ["file,caption", *(f'{i}.jpg,"a {i}, drawn"' for i in range(10))]
    (top / "pictures" / "captions.csv").write_text("\n".join(rows))
    quiz = [[f"which {i}?", "red", i] for i in range(10)]
    (top / "quiz" / "questions.json").write_text(json.dumps(quiz))
    cells = {}
    for name in "abc":
        files.write_file(picture(), top / "cells" / "images" / f"{name}.png")
        cells[f"{name}.png"] = [{"at": [0, 1, 4, 3], "is": "red"}]
    (top / "cells" / "boxes.json").write_text(json.dumps(cells))
    splits = {"train": ["a", "b"], "test": ["c"]}
    (top / "cells" / "splits.json").write_text(json.dumps(splits))
    with zipfile.ZipFile(top / "sounds.zip", "w") as archive:
        for digit in range(10):
            for speaker in ("ann", "bob"):
                name = f"{digit}_{speaker}_0.wav"
                files.write_file(
                    Audio(RNG.normal(0, 0.1, 400).astype(np.float32), 8000), top / name
                )
                archive.write(top / name, f"wavs/{name}")
    hours = ["date,load,price", *(f"2020-{i},{np.sin(i / 4)},{i % 24}" for i in range(600))]
    (top / "power.csv").write_text("\n".join(hours))
    for part in ("train", "test"):
        (top / f"beats_{part}.tsv").write_text("1\t0.5\t0.6\n2\t0.1\t0.9\n")
        papers = {"sentences": ["We do.", "It works."], "summaries": ["It works.", "We did."]}
        (top / f"papers_{part}.jsonl").write_text(json.dumps(papers))
    (top / "solubility.csv").write_text("smiles,value\n" + "CCO,-0.77\n" * 10)
    (top / "play.txt").write_text(
        "First Citizen:\nBefore we proceed any further, hear me speak.\n" * 90
    )
    return top


@pytest.fixture(scope="module")
def parquet_file(folder) -> Path:
    """Written beside the others, and only for those who ask: the rest of the page needs no pyarrow."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, in the extra `test`")
    import pyarrow.parquet as parquet

    packed = []
    for i in range(10):
        files.write_file(picture(), folder / f"p{i}.png")
        packed.append({"bytes": (folder / f"p{i}.png").read_bytes(), "path": f"p{i}.png"})
    rows = {
        "image": packed,
        "label": list(range(10)),
        "curve": [[1.0, float(i)] for i in range(10)],
    }
    parquet.write_table(pyarrow.table(rows), folder / "pictures.parquet")
    return folder / "pictures.parquet"


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_every_snippet_gives_records_for_its_template(folder, monkeypatch, request, number):
    if "smiles" in SNIPPETS[number]:
        pytest.importorskip("rdkit", reason="needs rdkit, in the extra `test`")
    if "parquet" in SNIPPETS[number]:
        request.getfixturevalue("parquet_file")
    monkeypatch.chdir(folder)
    scope = {"SourceConfig": SourceConfig, "Template": Template}
    exec(SNIPPETS[number], scope)
    source, template = scope["source"], scope["template"]
    kinds = {"image": Image, "audio": Audio, "series": Series, "graph": Graph, "coord": Boxes}
    for split in ("train", "test"):
        found = build_source(source, split)
        record = found[len(found) - 1]
        for field in sequence.fields(template.inputs) + sequence.fields(template.targets):
            value = record[field.name]
            if field.modality == "text":
                assert sequence.as_text(value)
            else:
                assert isinstance(value, kinds[field.modality])


def test_parquet_by_pyarrow(folder, parquet_file, tmp_path, monkeypatch):
    modalities = {"image": "image", "curve": "series"}
    whole = {"split": {"all": [0, 1]}, "modalities": modalities}
    config = SourceConfig(kind="parquet", path=str(parquet_file), options=whole)
    record = build_source(config, "all")[3]
    assert record["image"] == files.read_file(folder / "p3.png", "image") and record["label"] == 3
    assert record["curve"] == Series(np.array([1.0, 3.0], np.float32))
    import pyarrow
    import pyarrow.parquet as parquet

    rows = {"day": ["a", "b"], "x": [1.5, None], "y": [2, 3], "at": [7, 5]}
    table = pyarrow.table(rows).replace_schema_metadata({"pandas": '{"index_columns": ["at"]}'})
    parquet.write_table(table, tmp_path / "s.parquet")
    numbers = Series(np.array([[1.5, 2], [np.nan, 3]]))
    monkeypatch.setitem(sys.modules, "pandas", None)  # which the extra does not bring
    assert files.read_file(tmp_path / "s.parquet", "series") == numbers
    data = bytearray(parquet_file.read_bytes())
    data[len(data) // 2 :] = b"PAR1"
    for content in (bytes(data), b"", b"PAR1" * 9):
        (tmp_path / "broken.parquet").write_bytes(content)
        with pytest.raises(InputError, match="not a readable parquet") as caught:
            build_source(
                SourceConfig(kind="parquet", path=str(tmp_path / "broken.parquet")), "train"
            )
        assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match="not a readable parquet"):
            files.read_file(tmp_path / "broken.parquet", "series")


def repeated(path: Path, rows: int, size: int) -> Path:
    """A few kilobytes that decode to rows x size: the dictionary holds the string once."""
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    parquet.write_table(pyarrow.table({"x": range(rows), "long": ["a" * size] * rows}), path)
    assert path.stat().st_size < rows * size / 100
    return path


@pytest.mark.parametrize("nested", [False, True])
def test_parquet_of_one_string_many_times_is_refused_while_reading(tmp_path, monkeypatch, nested):
    path = repeated(tmp_path / "a.parquet", 2000, 10_000)
    if nested:  # few bytes, but a Python object each
        import pyarrow
        import pyarrow.parquet as parquet

        parquet.write_table(pyarrow.table({"x": [{"y": [[None] * 50]}] * 2000}), path)
    monkeypatch.setattr(limits, "MAX_BYTES", 3_000_000)
    config = SourceConfig(kind="parquet", path=str(path), options={"split": {"all": [0, 1]}})
    with pytest.raises(InputError, match="3000000 bytes once decoded"):
        build_source(config, "all")


def test_a_series_reads_no_more_of_a_parquet_file_than_its_numbers(tmp_path, monkeypatch):
    path = repeated(tmp_path / "a.parquet", 200, 1_000_000)
    import pyarrow

    kept = pyarrow.default_memory_pool()
    counted = pyarrow.proxy_memory_pool(kept)
    pyarrow.set_memory_pool(counted)
    try:
        values = files.read_file(path, "series").values
    finally:
        pyarrow.set_memory_pool(kept)
    assert values[:, 0].tolist() == list(range(200)) and 0 < counted.max_memory() < 20_000_000
    monkeypatch.setattr(limits, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="1000 bytes once decoded"):
        files.read_file(path, "series")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    config = SourceConfig(kind="parquet", path=str(tmp_path / "a.parquet"))
    for read in (
        lambda: build_source(config, "train"),
        lambda: files.read_file(tmp_path / "a.parquet", "series"),
    ):
        with pytest.raises(InputError, match=r"unitok-jax\[parquet\]"):
            read()


def test_mp3_by_libsndfile(tmp_path):
    tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32) / 2
    files.write_file(Audio(tone, 16_000), tmp_path / "a.mp3")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.mp3", "a.mp3")
    for path in (tmp_path / "a.mp3", f"{tmp_path}/a.zip!a.mp3"):
        found = files.read_file(path, "audio")
        spectrum = np.abs(np.fft.rfft(found.samples[:16_000]))
        assert found.rate == 16_000 and int(spectrum.argmax()) == 440
    content = (tmp_path / "a.mp3").read_bytes()
    for broken in (content[:40], b"\0" * 400):
        (tmp_path / "b.mp3").write_bytes(broken)
        with pytest.raises(InputError):
            files.read_file(tmp_path / "b.mp3", "audio")
