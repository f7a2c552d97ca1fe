"""Made data: the captions are true of the values, splits are disjoint, joins agree; wrong options in one line."""

from __future__ import annotations

import numpy as np
import pytest

from unitok.config import SourceConfig
from unitok.data.sources import build_source
from unitok.data.synthetic import NUMBERS, shape_of
from unitok.errors import InputError
from unitok.values import Graph, Image


def made(name: str, split: str = "train", **options):
    config = SourceConfig(kind="synthetic", options={"name": name, "size": 200, **options})
    return build_source(config, split)


def bursts(samples: np.ndarray) -> int:
    """Stretches of sound, apart by 10 ms of silence or more."""
    loud = np.abs(samples) > 0.01
    near = np.convolve(loud, np.ones(160), "same") > 0.5
    return int(near[0]) + int((np.diff(near.astype(int)) == 1).sum())


def test_beeps_are_as_many_as_the_caption_says_and_at_its_pitch():
    for record in made("sounds", kinds=["beeps"]):
        audio, count = record["audio"], record["count"]
        assert bursts(audio.samples) == count and audio.rate == 16_000
        assert record["caption"].startswith(NUMBERS[count])
        spectrum = np.abs(np.fft.rfft(audio.samples, 16_000))
        loudest = int(spectrum.argmax())
        wanted = {"low": 250, "middle": 500, "high": 1000}[record["pitch"]]
        assert wanted / 1.1 < loudest < wanted * 1.1 and record["pitch"] in record["caption"]


def test_glides_go_where_they_say_and_vowels_have_their_first_formant():
    for record in made("sounds", kinds=["glides"]):
        half = np.split(record["audio"].samples, 2)
        crossings = [int((np.diff(np.sign(part)) != 0).sum()) for part in half]
        assert (crossings[1] > crossings[0]) == ("rising" in record["caption"])
    vowels = made("sounds", kinds=["vowels"])
    share: dict[str, list[float]] = {}
    for record in vowels:
        power = np.abs(np.fft.rfft(record["audio"].samples)) ** 2
        hertz = np.fft.rfftfreq(len(record["audio"].samples), 1 / 16_000)
        letter = record["caption"].split()[2][0]
        share.setdefault(letter, []).append(float(power[hertz > 600].sum() / power.sum()))
    mean = {letter: np.mean(values) for letter, values in share.items()}
    assert mean["a"] > mean["e"] > mean["i"]  # first formants at 730, 530, 270 Hz


def test_spikes_are_as_many_as_the_caption_says():
    for record in made("curves", kinds=["spikes"]):
        values = record["series"].values[:, 0]
        high = values > (values.max() + np.median(values)) / 2
        assert high.sum() == record["count"] == NUMBERS.index(record["caption"].split()[2])


def test_seasons_and_trends_are_in_the_values():
    for record in made("curves", kinds=["seasons"]):
        values = np.concatenate([record["past"].values, record["future"].values])[:, 0]
        steps = np.arange(len(values))
        slope, level = np.polyfit(steps, values, 1)
        rest = values - level - slope * steps
        if record["period"]:
            wave = np.exp(-2j * np.pi * steps / record["period"])
            assert abs((rest * wave).sum()) ** 2 / len(values) > 0.2 * (rest**2).sum()
        elif record["trend"] != "flat":
            assert (slope > 0) == (record["trend"] == "rising")
            assert (rest**2).sum() < 0.1 * ((values - values.mean()) ** 2).sum()


def test_graphs_have_the_properties_they_state_and_no_shape_is_on_both_sides():
    import networkx as nx

    shapes = []
    for split in ("train", "test"):
        records = made("graphs", split, size=800)
        assert len(records) > 20
        for record in records:
            graph = record["graph"].to_networkx()
            assert record["num_nodes"] == len(graph) and record["num_edges"] == graph.size()
            assert record["num_components"] == nx.number_connected_components(graph)
            assert record["is_tree"] == nx.is_tree(graph)
            degrees = [int(d) for d in record["degrees"].values[:, 0]]
            assert degrees == sorted((d for _, d in graph.degree), reverse=True)
            assert record["max_degree"] == degrees[0] and record["shape"] == shape_of(graph)
        shapes.append({record["shape"] for record in records})
        assert len({record["family"] for record in records}) == 13, (
            split
        )  # every family on both sides
    assert not shapes[0] & shapes[1]


def test_random_graphs_and_trees_do_not_pass_for_a_named_family():
    named: dict[str, set[str]] = {}
    for record in made("graphs", kinds=["families"], size=600):
        named.setdefault(record["shape"], set()).add(record["family"])
    # a ladder of 6 nodes is a grid, not another family's; no shape has two names
    assert all(len(families) == 1 for families in named.values())


def test_records_depend_on_seed_and_row_alone():
    first, again, other = made("sounds"), made("sounds", size=400), made("sounds", seed=1)
    every = {
        name: [record["past"] for record in made("curves", size=name, test_share=0.001)]
        for name in (200, 300)
    }
    assert every[200] == every[300][:200]
    assert first[0]["audio"] == made("sounds")[0]["audio"] != other[0]["audio"]
    assert len(again) == 2 * len(first)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"name": "smells"}, "no name 'smells'"),
        ({"name": "sounds", "size": 0}, "options.size"),
        ({"name": "sounds", "kinds": ["beep"]}, "no 'beep'"),
        ({"name": "sounds", "seconds": 0.01}, "options.seconds"),
        ({"name": "graphs", "sise": 3}, "did you mean 'size'"),
        ({"name": "graphs", "group": "colour"}, "no field of labels 'colour'"),
    ],
)
def test_wrong_options_cost_one_line(options, words):
    with pytest.raises(InputError, match=words) as caught:
        build_source(SourceConfig(kind="synthetic", options=options), "train")
    assert "\n" not in str(caught.value)


# ---- join ------------------------------------------------------------------------------------


def joined(**options) -> SourceConfig:
    parts = [
        {"kind": "sklearn", "options": {"fields": {"image": "image", "n": "label"}, "stratify": "n"}},
        {"kind": "synthetic", "options": {"name": "graphs", "size": 200, "kinds": ["parts"],
                                          "fields": {"graph": "graph", "n": "num_components"}}},
    ]  # fmt: skip
    return SourceConfig(kind="join", options={"on": "n", "parts": parts, "size": 100, **options})


def test_a_join_pairs_what_agrees_and_keeps_splits_apart():
    train, test = build_source(joined(), "train"), build_source(joined(), "test")
    seen = []
    for source in (train, test):
        assert len(source) == 100 and set(source[0]) == {"image", "graph", "n"}
        assert {record["n"] for record in source} == {1, 2, 3, 4}
        for record in source:
            assert isinstance(record["image"], Image) and isinstance(record["graph"], Graph)
            import networkx as nx

            assert nx.number_connected_components(record["graph"].to_networkx()) == record["n"]
        seen.append({record["image"].pixels.tobytes() for record in source})
    assert not seen[0] & seen[1]
    assert train.identity != test.identity
    assert build_source(joined(), "train")[5]["image"] == train[5]["image"]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"on": ""}, "options.on"),
        ({"parts": [{"kind": "sklearn"}]}, "two sources or more"),
        ({"on": "image"}, "part 0: no field of labels 'image'"),
        ({"parts": [{"kind": "sklearn"}, {"kind": "sk"}]}, "part 1: source.kind: no reader 'sk'"),
        ({"parts": [{"kind": "sklearn"}, {"kine": "sk"}]}, "did you mean parts.1..kind"),
    ],
)
def test_wrong_joins_cost_one_line(options, words):
    with pytest.raises(InputError, match=words):
        build_source(joined(**options), "train")
