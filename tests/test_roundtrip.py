"""`unitok roundtrip` on files good and bad, and the classical codecs that stand beside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from unitok import registry
from unitok.data.files import read_file, write_file
from unitok.eval import classical, fidelity, figures
from unitok.eval.roundtrip import draw, main
from unitok.metrics.series import snr_db
from unitok.values import Audio, Boxes, Graph, Image, Series


def photo(height: int, width: int, seed: int = 0) -> Image:
    """Something smooth with some texture, as codecs expect it."""
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(seed)
    base = 110 + 60 * np.sin(x / 5 + seed) + 50 * np.cos(y / 7) + rng.normal(0, 6, (height, width))
    return Image(np.clip(base, 0, 255).astype(np.uint8))


def files(folder: Path) -> dict[str, str]:
    made = {
        "text": ("note.txt", "Any string comes back: \u2581 \r\n \x00 e\u0301"),
        "image": ("photo.png", photo(24, 17)),
        "series": ("sales.csv", Series(np.array([[1.0, 5.5], [np.nan, 6.0], [3.0, 7.5]]))),
        "graph": ("ring.graphml", Graph(5, [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]])),
        "audio": ("clip.mp3", Audio(np.sin(np.arange(8000) / 5) / 2, 16_000)),
        "coord": ("boxes.json", Boxes([[0, 1, 20, 30], [5, 5, 9, 8]], ["cell", "cell"])),
    }
    for name, value in made.values():
        write_file(value, folder / name)
    return {modality: str(folder / name) for modality, (name, _) in made.items()}


@pytest.mark.parametrize("modality", ["text", "image", "series", "graph"])
def test_table_json_and_out_agree(
    modality: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files(tmp_path)[modality]
    out = tmp_path / "out"
    assert main([modality, path, "--json", f"--out={out}"]) == 0
    found = json.loads(capsys.readouterr().out)
    (item,) = found["items"]
    tokenizer = registry.build(modality)
    value = read_file(path, modality)
    assert item["tokens"] == len(tokenizer.encode(value))
    assert item["bits"] == pytest.approx(tokenizer.bits_per_item(value))
    assert item["classical"], "nothing stands beside"
    for name in ("exact", "exact up to relabelling"):
        assert item["fidelity"].get(name, True) is True
    (written,) = [f for f in out.iterdir() if f.name != "roundtrip.png"]
    again = read_file(written, modality)
    back = tokenizer.decode(tokenizer.encode(value))
    if modality == "graph":  # a file keeps the edges, not their order
        again, back = again.canonical_edges(), back.canonical_edges()
    assert again == back
    assert Pillow.open(out / "roundtrip.png").size[0] > 500
    assert main([modality, path]) == 0
    table = capsys.readouterr().out
    assert Path(path).name in table and f"{item['bits']:,.0f}" in table


# part of a text or half of a recording is still one; and nothing is a text of no bytes
STILL_ONE = {("text", "cut"), ("text", "head"), ("text", "empty"), ("audio", "cut")}


@pytest.mark.parametrize("broken", ["missing", "empty", "noise", "cut", "head"])
@pytest.mark.parametrize("modality", ["text", "image", "series", "graph", "audio", "coord"])
def test_broken_files_cost_one_line_and_exit_code_two(
    modality: str, broken: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:  # capfd: C libraries write to stderr past Python
    path = Path(files(tmp_path)[modality])
    whole = path.read_bytes()
    if broken == "missing":
        path.unlink()
    else:
        noise = b"\xff\xfe\x00" + np.random.default_rng(0).bytes(300)
        cut = {"cut": whole[: len(whole) // 2], "head": whole[:4]}
        path.write_bytes({"empty": b"", "noise": noise, **cut}[broken])
    code = main([modality, str(path)])
    error = capfd.readouterr().err.strip().splitlines()
    if (modality, broken) in STILL_ONE:
        assert code == 0 and not error
        return
    assert code == 2
    assert len(error) == 1 and path.name in error[0] and "Traceback" not in error[0]
    assert "not exist" not in error[0]


@pytest.mark.parametrize(
    "argv, named",
    [
        (["imgae", "x.png"], "did you mean 'image'"),
        (["text", "x.txt", "--tokenizer=nowhere"], "nowhere"),
        (["text"], "unitok roundtrip --help"),
        (["text", "x.txt", f"--out={__file__}"], __file__),  # a file, where a folder has to be
    ],
)
def test_wrong_usage(argv: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert named in line


def test_tokenizer_of_another_modality_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.build("series").save(tmp_path / "tokenizer")
    path = files(tmp_path)["text"]
    assert main(["text", path, f"--tokenizer={tmp_path / 'tokenizer'}"]) == 2
    assert "'series'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "graph", [Graph(1001, [[0, 1]]), Graph(210, np.transpose(np.triu_indices(210)))]
)
def test_a_graph_of_too_many_nodes_or_edges_is_counted_not_drawn(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    import networkx as nx
    from matplotlib import pyplot as plt

    monkeypatch.setattr(nx, "spring_layout", lambda *_, **__: pytest.fail("was laid out"))
    figure, axis = plt.subplots()
    draw(axis, graph)
    (text,) = axis.texts
    said = f"{graph.num_nodes:,} nodes and {graph.num_edges:,} edges"
    assert said in text.get_text() and said in figures.graph_svg(graph)
    plt.close(figure)


# ---- the rivals --------------------------------------------------------------------------------


@pytest.mark.parametrize("count, shape", [(7, (8, 8)), (5, (28, 20))])
def test_mosaic_gives_every_tile_back(count: int, shape: tuple[int, int]) -> None:
    images = [photo(*shape, seed=i) for i in range(count)]
    tiles = classical._tiles(classical.mosaic(images), *shape, count)
    for image, tile in zip(images, tiles):
        np.testing.assert_array_equal(image.pixels, tile)


def test_image_codecs_come_near_the_bits_they_are_given() -> None:
    picture = photo(128, 128)
    for rival in classical.image_rivals([picture], 24_000):
        assert rival.bits == pytest.approx(24_000, rel=0.35), rival
        assert 20 < rival.scores["PSNR"] < 60
    small = [photo(8, 8, seed=i) for i in range(64)]
    mosaic, single = classical.image_rivals(small, 150), classical.image_rivals(small[:1], 150)
    assert all(m.bits < s.bits for m, s in zip(mosaic, single)), "the header no longer weighs"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(6, 14))
def test_uniform_quantizer_keeps_its_bound_and_its_budget(seed: int, bits: int) -> None:
    values = np.random.default_rng(seed).normal(size=200).astype(np.float32)
    budget = 200 * bits + 64
    uniform, mu_law = classical.series_rivals(Series(values), budget)
    assert uniform.codec == f"uniform, {2**bits:,} levels"
    step = float(np.ptp(values.astype(np.float64))) / (2**bits - 1)
    error = np.abs(classical._uniform(values[:, None].astype(np.float64), 2**bits)[:, 0] - values)
    assert error.max() <= step / 2 * (1 + 1e-6)
    assert uniform.scores["SNR"] > 6.02 * bits - 14
    assert mu_law.scores["SNR"] > 6.02 * bits - 16


def test_sparse6_is_counted_as_networkx_writes_it() -> None:
    import networkx as nx

    ring = nx.cycle_graph(12)
    text = nx.to_sparse6_bytes(ring, header=False).strip().decode()
    graph = Graph(12, np.array(ring.edges))
    (_, sparse6) = classical.graph_rivals(graph)
    assert sparse6.bits == 6 * (len(text) - 1)
    assert len(classical.graph_rivals(Graph(3, [[0, 1]], directed=True))) == 1


def test_opus_is_aligned_and_better_at_more_bits() -> None:
    pytest.importorskip("av", reason="needs PyAV, in the extra `audio`")
    rng = np.random.default_rng(0)
    time = np.arange(16000) / 16000
    tones = sum(np.sin(2 * np.pi * f * time + rng.random() * 6) for f in (220, 523, 1310)) / 6
    value = Audio(tones.astype(np.float32), 16000)
    snr = []
    for rate in (8, 64):
        coded = classical.opus(value, 1000 * rate * value.seconds)
        assert coded is not None
        spent, decoded = coded
        assert spent == pytest.approx(1000 * rate, rel=0.1)
        assert decoded.rate == 16000 and len(decoded.samples) == 16000
        snr.append(snr_db(value.samples, decoded.samples))
    assert snr[1] > 15 and snr[1] > snr[0]


def test_summary_averages_over_items() -> None:
    tokenizer = registry.build("text")
    items = [fidelity.measure(tokenizer, text) for text in ("one", "and another one", "")]
    summary = fidelity.summarise(items)
    assert summary["items"] == 3
    assert summary["bits"] == pytest.approx(np.mean([item.bits for item in items]))
    assert summary["scores"]["exact"][0] == 1
    assert [rival.codec for rival in summary["rivals"]] == ["gzip", "xz"]
