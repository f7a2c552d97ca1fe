"""Sources: every reader, splits, derived fields, and data that is wrong in one clear line."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import struct
import sys
import types
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unitok.config import SourceConfig
from unitok.data import files
from unitok.data.distort import _warped
from unitok.data.sources import build_source, from_arrays
from unitok.errors import InputError
from unitok.interfaces import Source
from unitok.values import Image, Series, ValueRefused

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 4, 6)).astype(np.uint8)


def source(kind: str, path: object = "", part: str = "all", names: dict | None = None, **options):
    """The records of split `part`; without one, all there are."""
    if part == "all":
        options = {"split": {"all": [0, 1]}, **options}
    config = SourceConfig(kind=kind, path=str(path), options=options, label_names=names or {})
    return build_source(config, part)


def idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def write_idx(folder: Path) -> Path:
    for stem, array in (
        ("train-images-idx3-ubyte", PIXELS), ("train-labels-idx1-ubyte", np.arange(12, dtype=np.uint8) % 3),
        ("t10k-images-idx3-ubyte", PIXELS[:4]), ("t10k-labels-idx1-ubyte", np.zeros(4, np.uint8)),
    ):  # fmt: skip
        (folder / f"{stem}.gz").write_bytes(gzip.compress(idx(array)))
    return folder


# ---- readers ---------------------------------------------------------------------------------


def test_arrays_in_memory():
    found = from_arrays(
        {"sound": {"modality": "audio", "rate": 8000}},
        image=PIXELS, label=np.arange(12), name=list("abcdefghijkl"), curve=np.zeros((12, 5)),
        sound=np.zeros((12, 20), np.int16),
    )  # fmt: skip
    assert isinstance(found, Source) and len(found) == 12
    record = found[3]
    assert record["image"] == Image(PIXELS[3]) and record["label"] == 3 and record["name"] == "d"
    assert isinstance(record["label"], int) and isinstance(record["curve"], Series)
    assert record["sound"].rate == 8000
    assert set(record) == {"image", "label", "name", "curve", "sound"}
    with pytest.raises(IndexError):
        found[12]


def test_lists_as_data_survive_json():
    config = SourceConfig(
        kind="arrays",
        options={"columns": {"image": PIXELS.tolist()}, "modalities": {"image": "image"}},
    )
    again = SourceConfig(kind="arrays", options=json.loads(json.dumps(config.options)))
    assert build_source(again, "train")[0]["image"].height == 4


def test_digits_are_real_fixed_and_stratified():
    train, test = source("sklearn", part="train"), source("sklearn", part="test")
    assert (len(train), len(test)) == (1438, 359)
    counts = np.bincount([test[i]["label"] for i in range(len(test))])
    assert counts.min() >= 34 and counts.max() <= 37
    assert max(train[i]["image"].pixels.max() for i in range(40)) == 255
    seen = {train[i]["image"].pixels.tobytes() for i in range(len(train))}
    assert not seen & {test[i]["image"].pixels.tobytes() for i in range(len(test))}


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "descriptions"])
def test_other_data_sets_of_sklearn(name):
    found = source("sklearn", name=name)
    assert len(found) > 100
    assert "text" in found[0] if name == "descriptions" else len(found[0]) > 4


def test_idx_folder(tmp_path):
    folder = write_idx(tmp_path)
    train = source("idx", folder, "train", names={"label": ["a", "b", "c"]})
    assert len(train) == 12 and train[4]["label"] == "b" and train[4]["image"] == Image(PIXELS[4])
    assert len(source("idx", folder, "test")) == 4
    shares = {"train": [0, 0.75], "valid": [0.75, 1]}
    sizes = [len(source("idx", folder, part, split=shares)) for part in ("train", "valid", "test")]
    assert sizes == [9, 3, 4]  # the rule divides train; test is the data's own


def test_image_folders(tmp_path, monkeypatch):
    for number, name in enumerate(["cat", "cat", "dog"]):
        files.write_file(Image(PIXELS[number]), tmp_path / "own" / name / f"{number}.png")
        files.write_file(
            Image(PIXELS[number]), tmp_path / "split" / "train" / name / f"{number}.png"
        )
        files.write_file(Image(PIXELS[number]), tmp_path / "flat" / f"{number}.png")
    monkeypatch.setenv("PICTURES", str(tmp_path))
    own = source("images", "${PICTURES}/own")
    assert [(r["label"], r["class"], r["file"]) for r in own] == [
        (0, "cat", "0"),
        (0, "cat", "1"),
        (1, "dog", "2"),
    ]
    assert own[2]["image"].pixels[:, :, 0].tolist() == PIXELS[2].tolist()
    assert len(source("images", tmp_path / "split", "train")) == 3
    assert set(source("images", tmp_path / "flat")[0]) == {"image", "file"}


def test_csv_and_jsonl_with_media(tmp_path):
    for i in range(3):
        files.write_file(Image(PIXELS[i]), tmp_path / "pics" / f"{i}.png")
    rows = [{"file": f"pics/{i}.png", "n": i, "x": i / 2, "word": "a,b"} for i in range(3)]
    (tmp_path / "d.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    lines = ["file,n,x,word", *(f'{r["file"]},{r["n"]},{r["x"]},"{r["word"]}"' for r in rows)]
    (tmp_path / "train.csv").write_text("\r\n".join(lines))
    for found in (
        source("jsonl", tmp_path / "d.jsonl", modalities={"file": "image"}, fields={"image": "file", "n": "n", "word": "word"}),
        source("csv", f"{tmp_path}/{{split}}.csv", "train", modalities={"file": "image"}, fields={"image": "file", "n": "n", "word": "word"}),
    ):  # fmt: skip
        assert dict(found[1]) == {"image": Image(PIXELS[1]), "n": 1, "word": "a,b"}
    assert source("csv", tmp_path / "train.csv")[1]["x"] == 0.5


def test_npz(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", image=PIXELS, label=np.arange(12))
    assert len(source("npz", tmp_path / "a.npz")) == 12
    np.savez(tmp_path / "b.npz", train_image=PIXELS, test_image=PIXELS[:2])
    assert len(source("npz", tmp_path / "b.npz", "test")) == 2
    assert source("npz", tmp_path / "b.npz", "train")[5]["image"] == Image(PIXELS[5])


def test_tfds_rows_become_records(monkeypatch):
    rows = [
        {"image": PIXELS[i][:, :, None], "label": np.int64(i), "text": b"caf\xc3\xa9"}
        for i in range(4)
    ]
    library = types.ModuleType("tensorflow_datasets")
    asked = {}
    library.data_source = lambda name, **rest: asked.update(name=name, **rest) or rows
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", library)
    found = source("tfds", "fashion_mnist", "train", names={"label": list("abcd")})
    assert asked == {"name": "fashion_mnist", "split": "train", "data_dir": None, "download": False}
    assert dict(found[2]) == {"image": Image(PIXELS[2]), "label": "c", "text": "café"}
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match=r"unitok-jax\[tfds\]"):
        source("tfds", "fashion_mnist", "train")


@pytest.mark.slow
def test_the_real_tfds_reads_what_it_prepared(tmp_path):
    pytest.importorskip("tensorflow", reason="preparing needs the extra `tfds-prepare`")
    tfds = pytest.importorskip("tensorflow_datasets")

    class Prints(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        url_infos: ClassVar = {}  # nothing to download: no checksums to look for

        def _info(self):
            kinds = {"image": tfds.features.Image(shape=(9, 11, 1)), "label": tfds.features.ClassLabel(num_classes=4)}  # fmt: skip
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(kinds))

        def _split_generators(self, _):
            return {"train": self._generate_examples(0, 8), "test": self._generate_examples(8, 12)}

        def _generate_examples(self, first, end):
            for i in range(first, end):
                yield i, {"image": made[i], "label": i % 4}

    made = np.random.default_rng(0).integers(0, 256, (12, 9, 11, 1)).astype(np.uint8)
    Prints(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    for part, rows in (("train", range(8)), ("test", range(8, 12))):
        found = source(
            "tfds", "prints", part, names={"label": list("abcd")}, data_dir=str(tmp_path)
        )
        read = {found[i]["image"].pixels.tobytes(): found[i]["label"] for i in range(len(found))}
        assert read == {made[i].tobytes(): "abcd"[i % 4] for i in rows}
    with pytest.raises(InputError, match=r"split 'valid' is not there"):
        source("tfds", "prints", "valid", data_dir=str(tmp_path))


def test_windows_of_one_long_series(tmp_path):
    lines = ["date,x,y", *(f"2020-{i},{i},{-i}" for i in range(100))]
    (tmp_path / "long.csv").write_text("\n".join(lines))
    rule = {"past": 10, "future": 5, "stride": 5, "freq": "h"}
    train, test = (
        source("csv", tmp_path / "long.csv", part, windows=rule, test_share=0.3)
        for part in ("train", "test")
    )
    for found, first, last in ((train, 10, 70), (test, 70, 100)):
        for record in found:
            past, future = record["past"].values[:, 0], record["future"].values[:, 0]
            assert np.array_equal(np.diff(np.concatenate([past, future])), np.ones(14))
            assert first <= future[0] and future[-1] < last  # no answer of the test is trained on
    assert (len(train), len(test)) == (12, 6)
    assert train[0]["past"].freq == "h" and train[0]["past"].channels == 2


def test_mixed_windows_go_on_from_their_past_and_stay_in_their_channel(tmp_path):
    """Sums of straight lines are straight lines; channel y falls where x rises."""
    lines = ["x,y", *(f"{i},{-i * i}" for i in range(1, 200))]
    (tmp_path / "long.csv").write_text("\n".join(lines))
    rule = {"past": 10, "future": 5, "each": True}
    mix = {"split": "train", "copies": 3, "mix": 3, "fields": ["past", "future"], "same": "channel"}
    plain = source("csv", tmp_path / "long.csv", "train", windows=rule, test_share=0.3)
    more = source("csv", tmp_path / "long.csv", "train", windows=rule, test_share=0.3, augment=mix)
    test = source("csv", tmp_path / "long.csv", "test", windows=rule, test_share=0.3, augment=mix)
    assert len(more) == 3 * len(plain) and {r["channel"] for r in test} == {"x", "y"}
    alone = summed = 0
    for place, record in enumerate(more):
        whole = np.concatenate([record[f].values[:, 0] for f in ("past", "future")])
        first = plain[place % len(plain)]
        if place < len(plain):
            assert np.array_equal(record["past"].values, first["past"].values)
            continue
        assert record["channel"] == first["channel"]
        bent = np.diff(whole, 2 if record["channel"] == "x" else 3)
        assert np.abs(bent).max() < 1e-4 * np.abs(whole).max()
        assert (whole > 0).all() if record["channel"] == "x" else (whole < 0).all()
        ratio = record["past"].values / first["past"].values
        alone, summed = alone + (np.ptp(ratio) < 1e-6), summed + (np.ptp(ratio) >= 1e-6)
        assert np.array_equal(record["past"].values, more[place]["past"].values)
    assert alone > len(plain) / 3 and summed > len(plain)  # a third of them have no partner


@pytest.mark.parametrize(
    "wrong, says",
    [({"fields": ["then"]}, "no field of series 'then'"), ({"same": "when"}, "no plain field 'when'"),
     ({"mix": 0}, "positive integers"), ({"shift": 0.1}, "want split, copies and mix")],
)  # fmt: skip
def test_a_wrong_mixing_rule_is_refused(tmp_path, wrong, says):
    (tmp_path / "long.csv").write_text("\n".join(["x", *map(str, range(90))]))
    rule = {"split": "train", "copies": 2, "mix": 2, "fields": ["past"], **wrong}
    with pytest.raises(InputError, match=says):
        source(
            "csv",
            tmp_path / "long.csv",
            "train",
            windows={"past": 5, "future": 2},
            test_share=0.3,
            augment=rule,
        )


def test_distorted_series_keep_their_labels_ends_and_missing_values(tmp_path):
    """The changes one at a time: noise of the size asked for, one factor for all, time bent but in order."""
    rng = np.random.default_rng(0)
    table = np.round(np.cumsum(rng.normal(size=(40, 60)), axis=1), 3)
    rows = [f"{i % 3},{','.join(map(str, row))}" for i, row in enumerate(table)]
    (tmp_path / "s.csv").write_text(
        "\n".join([",".join(["label", *(f"v{i}" for i in range(60))]), *rows])
    )

    def read(split: str = "train", **changes: float):
        rule = {"split": "train", "copies": 4, "fields": ["series"], **changes}
        shape = {"gather": {"series": [1, None]}, "test_share": 0.25}
        return source("csv", tmp_path / "s.csv", split, augment=rule, **shape)

    plain = [r["series"].values for r in read()][:30]
    labels = [r["label"] for r in read()][:30]
    assert len(read()) == 120 and len(read("test", noise=0.5)) == 10
    for changes in ({"noise": 0.1}, {"gain": 0.3}, {"warp": 0.1}):
        more = read(**changes)
        values = [r["series"].values for r in more]
        assert [r["label"] for r in more] == labels * 4
        assert all(np.array_equal(a, b) for a, b in zip(values[:30], plain))
        assert all(np.array_equal(r["series"].values, v) for r, v in zip(more, values))
        for place in range(30, 120):
            x, y = plain[place % 30][:, 0], values[place][:, 0]
            assert not np.array_equal(x, y)
            if "noise" in changes:
                assert 0.06 < np.std(y - x) / np.std(x) < 0.14
            elif "gain" in changes:
                ratio = y[np.abs(x) > 0.01] / x[np.abs(x) > 0.01]
                assert np.ptp(ratio) < 1e-4 and 0.7 <= ratio[0] <= 1.3
            else:
                assert y[0] == x[0] and y[-1] == pytest.approx(x[-1], abs=1e-5)
                assert y.min() >= x.min() - 1e-5 and y.max() <= x.max() + 1e-5
    line = np.linspace(0, 1, 50)[:, None]
    for seed in range(50):  # at the most that may be asked for, time never runs backward
        amounts = 0.199 * np.random.default_rng(seed).uniform(-1, 1, 2)
        assert (np.diff(_warped(line, amounts)[:, 0]) > 0).all()
    gap = np.where(np.arange(50) == 20, np.nan, 1.0)[:, None]
    assert 1 <= np.isnan(_warped(gap, np.array([0.1, 0.1]))).sum() <= 4


@pytest.mark.parametrize("wrong", [{"warp": 0.3}, {"copies": 0}, {"fields": []}, {"noisy": 1}])
def test_a_wrong_rule_of_distortion_is_refused(tmp_path, wrong):
    (tmp_path / "s.csv").write_text("label,a,b\n0,1,2\n1,2,3\n")
    gather = {"series": [1, None]}
    rule = {"split": "train", "copies": 2, "fields": ["series"], "noise": 0.1, **wrong}
    with pytest.raises(InputError, match="and if wanted noise"):
        source("csv", tmp_path / "s.csv", "train", gather=gather, augment=rule)
    rule = {"split": "train", "copies": 2, "fields": ["label"], "noise": 0.1}
    with pytest.raises(InputError, match="no field of series 'label'"):
        source("csv", tmp_path / "s.csv", "train", gather=gather, augment=rule)


@pytest.mark.skipif(
    "UNITOK_DATA" not in os.environ, reason="UNITOK_DATA names no folder of real data"
)
def test_fashion_mnist_from_its_own_files():
    found = source("idx", "${UNITOK_DATA}/fashion-mnist", "test")
    assert len(found) == 10_000 and found[0]["image"].pixels.shape == (28, 28, 1)
    assert np.bincount([found[i]["label"] for i in range(10_000)]).tolist() == [1000] * 10


# ---- splits and options ----------------------------------------------------------------------


@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=4),
    st.integers(0, 99) | st.none(),
    st.booleans(),
    st.integers(1, 60),
)
@settings(max_examples=60)
def test_shares_cut_every_record_into_exactly_one_split(weights, seed, stratify, n):
    edges = np.concatenate([[0], np.cumsum(weights) / sum(weights)])
    edges[-1] = 1.0
    shares = {f"s{i}": [a, b] for i, (a, b) in enumerate(itertools.pairwise(edges)) if a < b}
    options = {
        "columns": {"n": list(range(n)), "k": [i % 3 for i in range(n)]},
        "split": shares,
        "seed": seed,
    }
    if stratify:
        options["stratify"] = "k"
    config, found = SourceConfig(kind="arrays", options=options), []
    for name in shares:
        try:
            part = build_source(config, name)
        except InputError as error:
            assert "no records" in str(error)
            continue
        numbers = [record["n"] for record in part]
        assert numbers == [record["n"] for record in build_source(config, name)]
        assert numbers == sorted(numbers)
        if seed is None and not stratify:
            assert numbers == list(range(numbers[0], numbers[-1] + 1))  # cut along the file
        found += numbers
    assert sorted(found) == list(range(n))


def test_identity_hangs_on_all_that_decides_the_records(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n2\n3\n")
    base = source("csv", tmp_path / "a.csv").identity
    assert base == source("csv", tmp_path / "a.csv").identity
    others = [source("csv", tmp_path / "a.csv", limit=2).identity, source("csv", tmp_path / "a.csv", seed=1).identity,
              source("sklearn").identity, from_arrays(x=np.arange(3)).identity, from_arrays(x=np.arange(1, 4)).identity]  # fmt: skip
    (tmp_path / "a.csv").write_text("x\n1\n2\n4444\n")
    others.append(source("csv", tmp_path / "a.csv").identity)
    assert len({base, *others}) == 7


def test_limit_derive_and_label_names():
    columns = {"image": PIXELS, "label": [i % 2 for i in range(12)]}
    crop = {"from": "image", "crop": [0, 0, 0.5, 1]}
    found = source("arrays", columns=columns, derive={"word": "label", "top": crop}, limit=5,
                   names={"word": ["even", "odd"]})  # fmt: skip
    assert len(found) == 5
    for record in found:
        assert record["word"] == ["even", "odd"][record["label"]]
        assert np.array_equal(record["top"].pixels, record["image"].pixels[:2])


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 0.99), st.floats(0.001, 1))
def test_a_crop_always_leaves_a_pixel(height, width, low, size):
    high = min(low + size, 1.0)
    if low >= high:
        return
    found = source("arrays", columns={"image": np.zeros((1, height, width), np.uint8)},
                   derive={"part": {"from": "image", "crop": [low, 0, high, 1]}})  # fmt: skip
    assert 1 <= found[0]["part"].height <= height and found[0]["part"].width == width


def test_augmented_records_are_the_same_records_moved():
    """Copy 0 is the data itself, labels go along, pictures move within their bound, other splits stay."""
    dot = np.zeros((6, 20, 20), np.uint8)
    dot[:, 10, 10] = 255
    columns = {"image": dot, "label": list(range(6))}
    rule = {"split": "train", "field": "image", "copies": 5, "shift": 0.1}
    build = lambda part: source(  # noqa: E731
        "arrays",
        part=part,
        columns=columns,
        split={"train": [0, 0.5], "test": [0.5, 1]},
        augment=rule,
    )
    train, test = build("train"), build("test")
    assert (len(train), len(test)) == (15, 3)
    labels = [record["label"] for record in train]
    assert labels == labels[:3] * 5 and not set(labels) & {r["label"] for r in test}
    assert all(np.array_equal(train[i]["image"].pixels[..., 0], dot[0]) for i in range(3))
    moved = [train[i]["image"].pixels[..., 0].astype(float) for i in range(3, 15)]
    assert len({one.tobytes() for one in moved}) == 12
    for one in moved:
        centre = np.array(np.nonzero(one)).mean(axis=1)
        assert np.abs(centre - 10).max() <= 0.1 * 20 + 0.5
    again = build("train")
    assert all(np.array_equal(a["image"].pixels, b["image"].pixels) for a, b in zip(train, again))


WRONG = {
    "augment": (lambda _: source("sklearn", "", "train", augment={"split": "train", "field": "image"}), "copies"),
    "kind": (lambda _: source("cvs"), "did you mean 'csv'"),
    "option": (lambda _: source("sklearn", limt=3), "did you mean 'limit'"),
    "split": (lambda _: source("sklearn", part="dev"), "no split 'dev'; there are train, test"),
    "shares": (lambda _: source("sklearn", part="a", split={"a": [1, 0]}), "options.split"),
    "share": (lambda _: source("sklearn", part="train", test_share=2), "test_share"),
    "name": (lambda _: source("sklearn", name="digit"), "no data set 'digit'"),
    "float images": (lambda _: from_arrays({"image": "image"}, image=PIXELS / 255), "uint8 0..255, got float64"),
    "zero images": (lambda _: from_arrays(image=np.zeros((3, 0, 4), np.uint8)), "size zero"),
    "odd images": (lambda _: from_arrays(image=np.zeros((3, 4, 4, 2), np.uint8)), "want"),
    "no rate": (lambda _: from_arrays({"a": "audio"}, a=np.zeros((2, 9))), "rate"),
    "unequal": (lambda _: from_arrays(a=[1, 2], b=[1]), "unequal length"),
    "column": (lambda _: source("sklearn", fields={"x": "imag"}), "did you mean 'image'"),
    "names": (lambda _: source("sklearn", names={"label": ["a"]}), "has no name"),
    "names of images": (lambda _: source("sklearn", names={"image": ["a"]}), "no integers"),
    "stratify": (lambda _: source("sklearn", stratify="image"), "stratify"),
    "limit": (lambda _: source("sklearn", limit=0), "limit"),
    "crop": (lambda _: source("sklearn", derive={"x": {"from": "image", "crop": [0, 0, 2, 1]}}), "crop"),
    "derive": (lambda _: source("sklearn", derive={"x": 3}), "derive.x"),
    "no folder": (lambda t: source("images", t / "gone"), "no such folder"),
    "no pictures": (lambda t: source("images", t), "no pictures"),
    "no idx": (lambda t: source("idx", t, "train"), "train-images-idx3-ubyte.gz: not found"),
    "no csv": (lambda t: source("csv", t / "a.csv"), "not found"),
    "variable": (lambda _: source("csv", "${NOT_SET_ANYWHERE}/a.csv"), "NOT_SET_ANYWHERE"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_sources_are_refused_in_one_line(tmp_path, name):
    call, says = WRONG[name]
    with pytest.raises(InputError, match=says) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)


BROKEN = {
    "cut gz": lambda b: gzip.compress(b)[:-20],
    "flipped gz": lambda b: bytes([*gzip.compress(b)[:30], 7, 7, 7, *gzip.compress(b)[33:]]),
    "cut data": lambda b: gzip.compress(b[:-3]),
    "more data": lambda b: gzip.compress(b + b"\0"),
    "floats": lambda b: gzip.compress(b[:2] + b"\x0d" + b[3:]),
    "no magic": lambda b: gzip.compress(b"\1" + b[1:]),
    "no header": lambda b: gzip.compress(b[:6]),
    "huge": lambda b: gzip.compress(b[:4] + struct.pack(">III", 2**31, 2**31, 2**31)),
    "bomb": lambda b: gzip.compress(bytes(17 << 20)),
    "labels": lambda b: gzip.compress(idx(np.zeros(12, np.uint8))),
    "empty images": lambda b: gzip.compress(idx(np.zeros((12, 0, 4), np.uint8))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_idx_files_are_refused(tmp_path, name):
    path = write_idx(tmp_path) / "train-images-idx3-ubyte.gz"
    path.write_bytes(BROKEN[name](idx(PIXELS)))
    with pytest.raises(InputError):
        source("idx", tmp_path, "train")


TABLES = {
    "a.jsonl": ('{"a": 1}\n{"b": 2}', "line 2 lacks a"), "b.jsonl": ("[1]", "no object"),
    "c.jsonl": ("{", "no JSON"), "d.jsonl": ("", "empty"), "e.jsonl": ("[" * 99_999, "no JSON"),
    "a.csv": ("x,y\n1", "1 cells"), "b.csv": ("x,x\n1,2", "same name"), "c.csv": ("", "empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_broken_tables_are_refused(tmp_path, name):
    content, says = TABLES[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says):
        source(name.split(".")[1], tmp_path / name)


def test_npz_of_objects_or_lies_is_refused(tmp_path):
    np.savez(tmp_path / "o.npz", a=np.array([{}, None], object))
    (tmp_path / "n.npz").write_bytes(b"PK\3\4nonsense")
    good = tmp_path / "g.npz"
    np.savez(good, image=PIXELS)
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 255
    good.write_bytes(data)
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(17 << 20, np.uint8))
    for name in ("o", "n", "g", "bomb"):
        with pytest.raises(InputError):
            source("npz", tmp_path / f"{name}.npz")


def test_media_may_not_leave_their_folder(tmp_path):
    files.write_file(Image(PIXELS[0]), tmp_path / "secret.png")
    folder = tmp_path / "data"
    folder.mkdir()
    for path in ("../secret.png", str(tmp_path / "secret.png")):
        (folder / "d.jsonl").write_text(json.dumps({"image": path}))
        with pytest.raises(InputError, match="leaves"):
            source("jsonl", folder / "d.jsonl", modalities={"image": "image"})[0]["image"]


def test_values_are_read_when_they_are_asked_for(tmp_path):
    (tmp_path / "d.jsonl").write_text('{"image": "gone.png", "n": 5}')
    record = source("jsonl", tmp_path / "d.jsonl", modalities={"image": "image"})[0]
    assert record["n"] == 5
    with pytest.raises((InputError, ValueRefused), match=r"gone\.png: not found"):
        record["image"]
