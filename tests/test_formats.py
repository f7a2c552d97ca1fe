"""Rows from files: archives read in place, patterns, names, splits by field or list; broken ones in one line."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unitok.config import SourceConfig
from unitok.data import archives, files
from unitok.data.sources import build_source
from unitok.errors import InputError
from unitok.values import Audio, Graph, Image, Series

DGCNN = "2\n3 1\n4 1 1\n5 2 0 2\n4 1 1\n2 0\n1 0\n1 0\n"
TSF = "# c\n@relation x\n@attribute series_name string\n@horizon 2\n@data\nT1:1,2,3,4\nT2:5,?,7\n"


def source(kind: str, path: object, part: str = "all", **options):
    if part == "all":
        options = {"split": {"all": [0, 1]}, **options}
    return build_source(SourceConfig(kind=kind, path=str(path), options=options), part)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A zip of everything: sounds named digit_speaker_take, two tables, graphs, a question file with pictures."""
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for take in range(6):
        for digit in (3, 7):
            sound = Audio(np.full(80 + take, digit / 10, np.float32), 8000)
            files.write_file(sound, tmp_path / "make" / "wavs" / f"{digit}_ann_{take}.wav")
    files.write_file(Image(pixels), tmp_path / "make" / "images" / "5.png")
    text = {
        "A/A_TRAIN.tsv": "1\t0.5\t0.25\n-1\t1.5\t2\n", "B/B_TRAIN.tsv": "2\t1\t2\n2\t3\tNaN\n",
        "A/A_TEST.tsv": "1\t9\t9\n", "A/README.md": "no data",
        "questions.json": json.dumps([["what?", "red", 5], ["where?", "left", 5]]),
        "g.txt": DGCNN, "test_idx.txt": "1\n", "train_idx.txt": "0\n",
        "rows.jsonl": '{"said": [["a"], ["b", "c"]], "x": [1, 2, 3]}\n{"said": ["d"], "x": [4, 5, 6]}',
    }  # fmt: skip
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for file in sorted((tmp_path / "make").rglob("*.*")):
            made.write(file, file.relative_to(tmp_path / "make").as_posix())
        for name, content in text.items():
            made.writestr(name, content)
        made.writestr("packed.csv.gz", gzip.compress(b"n,w\n1,a\n2,b\n"))
    return path


# ---- one value a file ------------------------------------------------------------------------


def test_sounds_in_an_archive_with_fields_of_their_names(archive):
    takes = {"train": {"field": "take", "from": 2}, "test": {"field": "take", "to": 2}}
    options = {
        "modality": "audio",
        "name": r"(?P<digit>\d)_(?P<speaker>\w+?)_(?P<take>\d)\.wav",
        "split": takes,
    }
    train, test = (source("files", f"{archive}!wavs/*.wav", part, **options) for part in takes)
    assert (len(train), len(test)) == (8, 4)
    assert {record["take"] for record in test} == {0, 1}
    record = train[4]
    assert (record["digit"], record["speaker"], record["file"]) == (7, "ann", "7_ann_2")
    assert record["audio"].rate == 8000 and len(record["audio"].samples) == 82
    only = {"test": {"field": "digit", "in": [7]}}
    assert len(source("files", f"{archive}!**/*.wav", "test", **{**options, "split": only})) == 6


def test_patterns_on_disk_and_in_archives_agree(archive, tmp_path):
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "out")
    for pattern in ("wavs/*.wav", "**/*.tsv", "*/*_TRAIN.tsv", "?/*", "*.txt", "wavs/3_ann_?.wav"):
        inside = [p.split("!")[1] for p in archives.matching(f"{archive}!{pattern}")]
        outside = [
            Path(p).relative_to(tmp_path / "out").as_posix()
            for p in archives.matching(f"{tmp_path}/out/{pattern}")
        ]
        assert inside == outside and inside


# ---- tables ----------------------------------------------------------------------------------


def test_tables_of_several_files_gather_series_and_take_names_from_paths(archive):
    options = {
        "gather": {"series": [1, None]}, "name": r"!(?P<set>\w)/",
        "split_names": {"train": "TRAIN", "test": "TEST"}, "fields": {"x": "series", "y": "c0", "set": "set"},
    }  # fmt: skip
    train = source("csv", f"{archive}!*/*_{{split}}.tsv", "train", **options)
    assert [(r["set"], r["y"]) for r in train] == [("A", 1), ("A", -1), ("B", 2), ("B", 2)]
    assert train[1]["x"] == Series(np.array([1.5, 2], np.float32))
    assert train[3]["x"].length == 1  # what is missing at the end is not there
    assert len(source("csv", f"{archive}!*/*_{{split}}.tsv", "test", **options)) == 1
    assert source("csv", f"{archive}!packed.csv.gz")[1]["w"] == "b"


def test_questions_about_pictures_beside_them(archive):
    rule = {"image": {"from": "id", "file": "images/{}.png", "modality": "image"}}
    found = source(
        "json", f"{archive}!questions.json", columns=["question", "answer", "id"], derive=rule
    )
    assert found[1]["answer"] == "left" and found[1]["image"].pixels.shape == (4, 4, 3)
    for path in ("../{}.png", "/images/../../{}.png"):
        rule["image"]["file"] = path
        with pytest.raises(InputError, match="no such file in the archive"):
            source(
                "json", f"{archive}!questions.json", columns=["q", "a", "id"], derive=rule
            )[0]["image"]  # fmt: skip


def test_a_picture_of_many_questions_is_tokenized_once(archive):
    from fakes import FakeImage

    from unitok.data.cache import encode_all

    rule = {"image": {"from": "id", "file": "images/{}.png", "modality": "image"}}
    names = ["question", "answer", "id"]
    found = source("json", f"{archive}!questions.json", columns=names, derive=rule)
    tokenizer = FakeImage()
    table = encode_all(tokenizer, found, "image")
    assert tokenizer.encoded == 1 and len(table) == 2
    assert table[0].tolist() == table[1].tolist() == tokenizer.encode(found[1]["image"]).tolist()


def test_lists_explode_join_and_pick(archive):
    whole = source("jsonl", f"{archive}!rows.jsonl", explode="said", modalities={"x": "series"})
    assert [(r["said"], r["x"].values[0, 0]) for r in whole] == [("a", 1), ("b", 1), ("c", 1), ("d", 4)]  # fmt: skip
    nested = {"first": {"from": "said", "pick": 0}, "all": {"from": "said", "join": "+"}}
    with pytest.raises(InputError, match="join wants lists of strings"):
        source("jsonl", f"{archive}!rows.jsonl", derive=nested)
    nested["all"]["from"] = "first"
    nested["first"]["pick"] = -1
    with pytest.raises(InputError, match="join wants lists of strings, got d"):
        source("jsonl", f"{archive}!rows.jsonl", derive=nested)


def test_groups_stay_together():
    columns = {"who": [i // 7 for i in range(70)], "n": list(range(70))}
    options = {"columns": columns, "group": "who", "test_share": 0.3}
    sides = [{r["who"] for r in source("arrays", "", part, **options)} for part in ("train", "test")]  # fmt: skip
    assert not sides[0] & sides[1] and len(sides[0]) == 7 and len(sides[1]) == 3


# ---- text, graphs, series --------------------------------------------------------------------


@given(st.text(st.sampled_from("ab \né"), min_size=1, max_size=200), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_pieces_of_a_text_are_the_text(tmp_path_factory, text, chunk):
    path = tmp_path_factory.mktemp("t") / "a.txt"
    path.write_bytes(text.encode())
    pieces = [record["text"] for record in source("text", path, chunk=chunk)]
    assert "".join(pieces) == text and max(map(len, pieces)) <= chunk


def test_text_is_cut_along_the_file(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"line {i}\n" for i in range(100)))
    train, test = (source("text", tmp_path / "a.txt", part, chunk=10) for part in ("train", "test"))  # fmt: skip
    assert train[0]["text"] == "line 0\n" and test[len(test) - 1]["text"] == "line 99\n"
    assert (len(train), len(test)) == (90, 10)


def test_dgcnn_graphs_with_their_own_lists_of_records(archive):
    rows = f"{archive}!{{split}}_idx.txt"
    train = source("dgcnn", f"{archive}!g.txt", "train", rows=rows)
    test = source("dgcnn", f"{archive}!g.txt", "test", rows=rows)
    assert len(train) == len(test) == 1
    assert (train[0]["label"], test[0]["label"]) == (1, 0)
    assert train[0]["graph"] == Graph(3, [[0, 1], [1, 2]], node_labels=np.array([4, 5, 4]))
    assert test[0]["graph"].num_edges == 0


def test_tsf(tmp_path):
    (tmp_path / "a.tsf").write_text(TSF)
    first, second = source("tsf", tmp_path / "a.tsf")
    assert first["series_name"] == "T1" and first["series"].values[:, 0].tolist() == [1, 2, 3, 4]
    assert first["past"].length == 2 and first["future"].values[:, 0].tolist() == [3, 4]
    assert np.isnan(second["future"].values[0, 0]) and second["past"].length == 1


def test_windows_of_each_channel_standardised_on_the_training_stretch(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.normal(5, 3, (200, 2)) * [1, 10]
    lines = ["a,b", *(f"{x},{y}" for x, y in table)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    rule = {"past": 8, "future": 4, "each": True, "standardise": [0, 0.5]}
    found = source("csv", tmp_path / "t.csv", "test", windows=rule, split={"test": [0.5, 1]})
    expected = (table - table[:100].mean(0)) / table[:100].std(0)
    assert len(found) == 2 * (100 - 4 + 1)
    for row in (0, 1, 37):
        first, channel = 100 - 8 + row // 2, row % 2
        assert found[row]["channel"] == "ab"[channel]
        assert np.allclose(found[row]["past"].values[:, 0], expected[first : first + 8, channel])
        assert np.allclose(found[row]["future"].values[:, 0], expected[first + 8 : first + 12, channel])  # fmt: skip


def test_smiles_become_molecules(tmp_path):
    pytest.importorskip("rdkit")
    (tmp_path / "m.csv").write_text("smiles,y\nCCO,1\nC1CC,2\n")
    found = source("csv", tmp_path / "m.csv", derive={"m": {"from": "smiles", "format": "smiles"}})
    assert found[0]["m"].to_smiles() == "CCO" and found[1]["smiles"] == "C1CC"
    with pytest.raises(InputError, match=r"row 1.*cannot parse"):
        found[1]["m"]


# ---- what is wrong ---------------------------------------------------------------------------

WRONG = {
    "gone": (lambda a, t: source("csv", f"{a}!no.csv"), "no such file in the archive"),
    "no archive": (lambda a, t: source("csv", f"{t}/no.zip!a.csv"), "no.zip: not found"),
    "no match": (lambda a, t: source("files", f"{a}!*.mp3", modality="audio"), "no file matches"),
    "no modality": (lambda a, t: source("files", f"{a}!*.txt"), "options.modality"),
    "name": (lambda a, t: source("files", f"{a}!wavs/*", modality="audio", name="(?P<d>x)"), "does not match"),
    "regex": (lambda a, t: source("files", f"{a}!wavs/*", modality="audio", name="("), "no regular expression"),
    "groups": (lambda a, t: source("files", f"{a}!wavs/*", modality="audio", name="(a)"), "named groups"),
    "gather": (lambda a, t: source("csv", f"{a}!A/*.tsv", gather={"x": [1, 9]}), "columns 1 to 9 of 3"),
    "gather span": (lambda a, t: source("csv", f"{a}!A/*.tsv", gather={"x": 1}), "want .first, last."),
    "widths": (lambda a, t: source("csv", f"{a}!**/*.?sv*"), "columns n, w; A_TEST.tsv has"),
    "words": (lambda a, t: source("csv", f"{a}!packed.csv.gz", gather={"x": [0, 1]}), "no number"),
    "lists": (lambda a, t: source("json", f"{a}!questions.json", columns=["a"]), "list of 3; want 1 places"),
    "no columns": (lambda a, t: source("json", f"{a}!questions.json"), "options.columns"),
    "no json": (lambda a, t: source("json", f"{a}!g.txt"), "no JSON"),
    "no dgcnn": (lambda a, t: source("dgcnn", f"{a}!rows.jsonl"), "line 1 holds no 1 whole numbers"),
    "no rows": (lambda a, t: source("dgcnn", f"{a}!g.txt", rows=f"{a}!g.txt"), "record numbers of 0 to 1"),
    "split rule": (lambda a, t: source("dgcnn", f"{a}!g.txt", split={"all": {"in": [1]}}), "options.split"),
    "split field": (lambda a, t: source("dgcnn", f"{a}!g.txt", split={"all": {"field": "x", "in": [1]}}), "no field of labels 'x'"),
    "explode": (lambda a, t: source("dgcnn", f"{a}!g.txt", explode="label"), "no lists of strings"),
    "format": (lambda a, t: source("csv", f"{a}!packed.csv.gz", derive={"g": {"from": "w", "format": "inchi"}}), "there is smiles"),
    "two rules": (lambda a, t: source("csv", f"{a}!packed.csv.gz", derive={"g": {"from": "w", "pick": 0, "join": ""}}), "one of"),
    "window": (lambda a, t: source("csv", f"{a}!packed.csv.gz", windows={"past": 1, "future": 1, "strid": 1}), "did you mean 'stride'"),
    "windows of words": (lambda a, t: source("csv", f"{a}!packed.csv.gz", windows={"past": 1, "future": 1, "columns": ["w"]}), "columns of numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rules_are_refused_in_one_line(archive, tmp_path, name):
    call, says = WRONG[name]
    with pytest.raises(InputError, match=says) as caught:
        call(archive, tmp_path)
    assert "\n" not in str(caught.value)


BROKEN = {
    "d.txt": ("dgcnn", ["", "1\n2 0\n", "1\n1 0\n0 3 0\n", "1\n2 0\n0 1 5\n0 0\n", "1\n1 0\n-1 0\n", "x"]),
    "a.tsf": ("tsf", ["", "@data", "@data\na:1", "@attribute a string\n@data\nx:1,b", "@horizon 2\n@data\n1,2"]),
    "a.json": ("json", ["", "{", "3", "[]", "[1]", "[{}, 1]", '[{"a": 1}, {}]', "[" * 50_000]),
    "a.txt": ("text", [""]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_in_one_line(tmp_path, name):
    kind, contents = BROKEN[name]
    for content in contents:
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError) as caught:
            source(kind, tmp_path / name)
        assert "\n" not in str(caught.value)


def test_archives_that_lie_or_are_damaged_are_refused(tmp_path, archive):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a.csv", b"0" * (17 << 20))
        made.writestr("b.csv.gz", gzip.compress(bytes(17 << 20)))
    for member in ("a.csv", "b.csv.gz"):
        with pytest.raises(InputError, match="split it"):
            source("csv", f"{bomb}!{member}")
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        info = opened.getinfo("questions.json")
    at = info.header_offset + 30 + len(info.filename) + 8
    data[at] ^= 255
    (tmp_path / "flipped.zip").write_bytes(data)
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.zip").write_bytes(b"")
    for name in ("flipped", "cut", "empty"):
        with pytest.raises(InputError):
            source("json", f"{tmp_path}/{name}.zip!questions.json", columns=["q", "a", "id"])


@pytest.mark.skipif("UNITOK_DATA" not in os.environ, reason="UNITOK_DATA names no folder of data")
def test_official_splits_of_real_data():
    folder = "${UNITOK_DATA}"
    fold = f"{folder}/tu-graphs/tu-graphs.zip!MUTAG"
    sizes = [
        len(source("dgcnn", f"{fold}/MUTAG.txt", part, rows=f"{fold}/10fold_idx/{{split}}_idx-1.txt"))
        for part in ("train", "test")
    ]  # fmt: skip
    assert sum(sizes) == 188
    assert len(source("csv", f"{folder}/banking77/banking77.zip!{{split}}.csv", "test")) == 3080
    months = 1 / 17_420 * 720
    rule = {"past": 96, "future": 96, "each": True, "standardise": [0, 12 * months]}
    test = source("csv", f"{folder}/etth1/ETTh1.csv.gz", "test", windows=rule,
                  split={"test": [16 * months, 20 * months]})  # fmt: skip
    errors = [
        (test[i]["future"].values - test[i]["past"].values[-1]) ** 2 for i in range(len(test))
    ]
    assert (
        len(test) == 7 * 2785 and abs(np.mean(errors) - 1.294) < 0.002
    )  # repeat-last, as published
