"""One file <-> one value, and files that mean harm: one clear InputError each, nothing else."""

from __future__ import annotations

import errno
import gzip
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from unitok.data import files, limits
from unitok.errors import InputError
from unitok.values import Audio, Boxes, Graph, Image, Series

PHOTO = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp"])
@pytest.mark.parametrize("pixels", [PHOTO, PHOTO[:, :, :1]], ids=["rgb", "grey"])
def test_lossless_pictures_come_back(tmp_path, suffix, pixels):
    path = tmp_path / f"a{suffix}"
    files.write_file(Image(pixels), path)
    found = files.read_file(path, "image").pixels
    assert np.array_equal(found, np.broadcast_to(pixels, found.shape))


def test_jpeg_comes_back_about_right(tmp_path):
    ramp = np.linspace(0, 255, 32).astype(np.uint8)[None].repeat(32, 0)
    files.write_file(Image(ramp), tmp_path / "a.jpg")
    found = files.read_file(tmp_path / "a.jpg", "image").pixels[:, :, 0]
    assert np.abs(found.astype(int) - ramp).max() < 12


def test_alpha_palette_and_16_bit_pictures(tmp_path):
    from PIL import Image as Pillow

    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:2, :, 3] = 255
    Pillow.fromarray(clear).save(tmp_path / "alpha.png")
    found = files.read_image(tmp_path / "alpha.png").pixels
    assert (found[:2] == 0).all() and (found[2:] == 255).all()
    Pillow.fromarray(PHOTO).convert("P").save(tmp_path / "palette.png")
    assert files.read_image(tmp_path / "palette.png").channels == 3
    Pillow.fromarray(np.array([[0, 257, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert files.read_image(tmp_path / "deep.png").pixels[0, :, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize(("suffix", "bound"), [(".wav", 1e-4), (".flac", 1e-4), (".ogg", 0.2)])
def test_sound_comes_back_at_its_rate(tmp_path, suffix, bound):
    wave = (0.5 * np.sin(np.arange(4000) / 20)).astype(np.float32)
    files.write_file(Audio(wave, 8000), tmp_path / f"a{suffix}")
    found = files.read_file(tmp_path / f"a{suffix}", "audio")
    assert found.rate == 8000 and len(found.samples) == 4000
    assert np.abs(found.samples - wave).max() < bound


def test_stereo_is_averaged(tmp_path):
    import soundfile

    both = np.stack([np.full(100, 0.5), np.full(100, -0.25)], axis=1)
    soundfile.write(str(tmp_path / "s.wav"), both, 16000)
    assert np.allclose(files.read_audio(tmp_path / "s.wav").samples, 0.125, atol=1e-4)


@settings(max_examples=30)
@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 3)),
                     elements=st.floats(-(2.0**99), 2.0**99, width=32) | st.just(float("nan"))))  # fmt: skip
def test_series_come_back_exactly(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("series")
    for suffix in (".csv", ".tsv", ".npy"):
        files.write_file(Series(values), folder / f"a{suffix}")
        if suffix != ".npy" and np.isnan(values[0]).any():
            continue  # a column that begins with a missing value reads as numbers from the first filled cell
        assert files.read_file(folder / f"a{suffix}", "series") == Series(values)


def test_csv_leaves_dates_out_and_keeps_gaps(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("date,x,y\n2020-01-01,1,\n2020-01-02,nan,2.5\n")
    values = files.read_series(path).values
    assert np.array_equal(values, [[1, np.nan], [np.nan, 2.5]], equal_nan=True)
    with gzip.open(tmp_path / "b.csv.gz", "wt") as file:
        file.write("1,2\n3,4\n")
    assert files.read_series(tmp_path / "b.csv.gz").values.tolist() == [[1, 2], [3, 4]]


@given(st.text(st.characters(codec="utf-8")))
def test_text_comes_back_whatever_it_is(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("t") / "a.txt"
    files.write_file(text, path)
    assert files.read_file(path, "text") == text


def test_boxes_come_back(tmp_path):
    boxes = Boxes(np.array([[0, 1, 2, 3.5]]), ["cell"])
    files.write_file(boxes, tmp_path / "a.json")
    assert files.read_file(tmp_path / "a.json", "coord") == boxes


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


WRITTEN = {
    "a.png": Image(PHOTO),
    "a.wav": Audio(np.zeros(50, np.float32), 8000),
    "a.npy": Series(np.zeros(3)),
    "a.csv": Series(np.zeros(3)),
    "a.edges": Graph(2, [[0, 1]]),
    "a.json": Boxes([[0, 1, 2, 3]], ["cell"]),
    "a.txt": "words",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, name):
    path = tmp_path / name
    path.write_text("before")
    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        files.write_file(WRITTEN[name], path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    link = tmp_path / f"link{path.suffix}"
    link.symlink_to(path)
    files.write_file(WRITTEN[name], link)
    assert (
        link.is_symlink() and path.read_bytes() != b"before" and len(list(tmp_path.iterdir())) == 2
    )


def test_a_device_is_written_to_not_replaced():
    files.write_file("words", os.devnull)
    assert Path(os.devnull).is_char_device()


# ---- hostile files ---------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def wav(rate: int, channels: int, claimed: int, samples: bytes = b"\0\0" * 10) -> bytes:
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    data = b"data" + struct.pack("<I", claimed) + samples
    return (
        b"RIFF"
        + struct.pack("<I", 28 + len(data))
        + b"WAVE"
        + b"fmt "
        + struct.pack("<I", 16)
        + fmt
        + data
    )


def npy(header: str) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


HOSTILE = {
    "bomb.png": ("image", png_header(50_000, 50_000), "2500000000|50000 x 50000"),
    "cut.png": ("image", png_header(8, 8), "damaged|picture"),
    "noise.jpg": ("image", b"\xff\xd8\xff" + bytes(range(200)), "picture"),
    "empty.png": ("image", b"", "picture"),
    "vector.png": ("image", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "picture"),
    "rate0.wav": ("audio", wav(0, 1, 20), "rate|recording|samples"),
    "channels0.wav": ("audio", wav(8000, 0, 20), "recording|rate"),
    "noise.ogg": ("audio", b"OggS" + bytes(100), "recording"),
    "none.wav": ("audio", wav(8000, 1, 0, b""), "samples"),
    "words.csv": ("series", b"the cat\nsat on\n", "no column of numbers"),
    "mixed.csv": ("series", b"1,2\n3,four\n", "four.*row 2"),
    "ragged.csv": ("series", b"1,2\n3\n", "1 cells in row 2"),
    "inf.csv": ("series", b"1\ninf\n", "infinity"),
    "nul.csv": ("series", b"1,\0\n", "NUL"),
    "line.csv": ("series", b"1," * (600 << 10), "characters"),
    "empty.csv": ("series", b"", "empty"),
    "latin.csv": ("series", b"caf\xe9\n1\n", "UTF-8"),
    "lies.npy": ("series", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"), "npy"),
    "object.npy": ("series", npy("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }"), "npy"),
    "code.npy": ("series", npy("{'descr': __import__('os').system('true')}"), "npy"),
    "corrupt.csv.gz": ("series", gzip.compress(b"1,2\n" * 100)[:-9] + b"garbage!!", "corrupt gzip"),
    "plain.csv.gz": ("series", b"1,2\n", "corrupt gzip"),
    "bomb.csv.gz": ("series", gzip.compress(b"1\n" * (9 << 20)), "once decompressed"),
    "latin.txt": ("text", b"\xff\xfe", "UTF-8"),
    "deep.json": ("coord", b"[" * 100_000, "boxes"),
    "other.json": ("coord", b'{"coords": "x"}', "boxes"),
    "film.mov": ("series", b"", "csv, tsv"),
    "smell.txt": ("smell", b"", "no file format holds 'smell'"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_cost_one_clear_line(tmp_path, name):
    modality, content, says = HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        files.read_file(path, modality)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_header_that_promises_too_much_gives_what_is_there(tmp_path):
    (tmp_path / "lies.wav").write_bytes(wav(8000, 1, 2 << 30))
    assert len(files.read_audio(tmp_path / "lies.wav").samples) <= 11


def test_too_long_a_recording_is_refused_while_reading(tmp_path, monkeypatch):
    files.write_file(Audio(np.zeros(200_000, np.float32), 8000), tmp_path / "a.flac")
    monkeypatch.setattr(limits, "MAX_SAMPLES", 100_000)
    with pytest.raises(InputError, match="cut it"):
        files.read_audio(tmp_path / "a.flac")


@settings(max_examples=60)
@given(
    st.binary(max_size=300),
    st.sampled_from(["image", "audio", "series", "coord"]),
    st.integers(0, 3),
)
def test_random_bytes_never_escape(tmp_path_factory, noise, modality, cut):
    suffix = {"image": ".png", "audio": ".wav", "series": ".csv", "coord": ".json"}[modality]
    good = {"image": png_header(2, 2), "audio": wav(8000, 1, 20), "series": b"1,2\n",
            "coord": json.dumps({"coords": []}).encode()}[modality]  # fmt: skip
    path = tmp_path_factory.mktemp("noise") / f"a{suffix}"
    path.write_bytes(good[: len(good) * cut // 3] + noise)
    try:
        files.read_file(path, modality)
    except InputError as error:
        assert str(path) in str(error)


def test_missing_files_folders_and_wrong_extensions(tmp_path):
    with pytest.raises(InputError, match="not found"):
        files.read_file(tmp_path / "gone.png", "image")
    with pytest.raises(InputError, match="folder"):
        files.read_file(tmp_path, "image")
    with pytest.raises(InputError, match="UNITOK_NOT_SET"):
        files.read_file("${UNITOK_NOT_SET}/a.png", "image")
    for value in (Image(PHOTO), Audio(np.zeros(3, np.float32), 8000), Series(np.zeros(3))):
        with pytest.raises(InputError, match="written as"):
            files.write_file(value, tmp_path / "a.xyz")
    with pytest.raises(InputError, match="no value"):
        files.write_file(3, tmp_path / "a.txt")


def test_graph_files_go_to_their_own_module(tmp_path):
    graphs = pytest.importorskip("unitok.data.graphs", reason="graph files are read there")
    path = tmp_path / "a.graphml"
    path.write_text('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><graphml>&a;</graphml>')
    with pytest.raises(InputError):
        files.read_file(path, "graph")
    assert callable(graphs.write_graph)
