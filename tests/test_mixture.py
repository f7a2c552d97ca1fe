"""The training stream: a pure function of seed, stream and window; exact to resume; nothing lost unseen."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeAudio, FakeImage, house
from hypothesis import given, settings
from hypothesis import strategies as st

from unitok.config import (
    Config,
    ConfigError,
    DataConfig,
    ObjectiveConfig,
    SourceConfig,
    TaskConfig,
    Template,
    TokenizerConfig,
)
from unitok.data import cache, sources
from unitok.data.mixture import Stream, build_stream
from unitok.data.tasks import Task, build_tasks
from unitok.errors import InputError
from unitok.interfaces import BATCH_FIELDS, Batch
from unitok.sequence import Composer
from unitok.tokenizers import build
from unitok.values import Graph
from unitok.vocabulary import BOS, EOS, PAD, Vocabulary

WORDS = [" ".join(["red", "green", "blue", "old", "new"][: 1 + i % 5]) + f" {i}" for i in range(60)]


def make_config(streams: int = 1, seed: int = 0, tasks: dict | None = None, **data) -> Config:
    digits = SourceConfig(
        kind="sklearn", options={"limit": 90}, label_names={"label": list("0123456789")}
    )
    words = SourceConfig(kind="arrays", options={"columns": {"text": WORDS}})
    return Config(
        name="t",
        steps=1,
        seed=seed,
        tokenizers={name: TokenizerConfig(name=name) for name in ("text", "image", "series")},
        sources={"digits": digits, "words": words},
        tasks=tasks or {
            "read": TaskConfig(source="digits", weight=2.0, templates=[
                Template(inputs="Which? {image}", targets="{label:text}"), Template(inputs="{image}", targets="{label:text}")]),
            "draw": TaskConfig(source="digits", templates=[Template(inputs="{label:text}", targets="{image}")], condition_dropout=0.25),
            "mend": TaskConfig(source="words", templates=[Template(inputs="", targets="{text}")], objective=ObjectiveConfig(kind="span_corruption")),
            "fill": TaskConfig(source="digits", weight=0.5, templates=[Template(inputs="", targets="{image}")], objective=ObjectiveConfig(kind="cross_modal")),
        },
        data=DataConfig(**{"batch_size": 8, "streams": streams, "window": 120, "encoder_length": 80, "decoder_length": 48, **data}),
    )  # fmt: skip


def stream(config: Config, split: str = "train", **more) -> Stream:
    tokenizers, vocabulary = house()
    return build_stream(config, tokenizers, vocabulary, split=split, **{"workdir": None, **more})


def take(source: Stream, n: int) -> list[Batch]:
    return [next(source) for _ in range(n)]


def same(a: list[Batch], b: list[Batch]) -> bool:
    pairs = [
        (getattr(x, f), getattr(y, f)) for x, y in zip(a, b, strict=True) for f in BATCH_FIELDS
    ]
    return all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in pairs)


def test_the_stream_is_a_pure_function_of_the_seed():
    a, b, other = (
        stream(make_config(window=40)),
        stream(make_config(window=40)),
        stream(make_config(seed=1, window=40)),
    )
    first = take(a, 8)
    assert same(first, take(b, 8))
    assert not same(first, take(other, 8))
    assert not same(first[:1], first[1:2])
    assert not same(take(stream(make_config(window=40), "eval"), 1), first[:1])


@pytest.fixture(scope="module")
def two_streams() -> tuple[Stream, Stream]:
    config = make_config(streams=2, window=30)
    return stream(config), stream(config)


@given(st.integers(0, 14), st.integers(1, 8), st.integers(0, 9))
@settings(max_examples=8, deadline=None)
def test_resuming_is_exact_from_any_position(two_streams, before, after, elsewhere):
    whole, again = two_streams
    whole.restore({"batches": 0})
    take(whole, before)
    state = json.loads(json.dumps(whole.state()))
    rest = take(whole, after)
    again.restore({"batches": elsewhere})  # where it was does not matter
    take(again, 1)
    again.restore(state)
    assert again.state() == state and same(take(again, after), rest)
    assert len(json.dumps(state)) < 200


def test_reading_processes_give_the_same_batches_from_any_position():
    moved = {"split": "train", "field": "image", "copies": 2, "shift": 0.1}
    plain = make_config(streams=2)
    digits = plain.sources["digits"]
    digits = dataclasses.replace(digits, options={**digits.options, "augment": moved})
    plain = dataclasses.replace(plain, sources={**plain.sources, "digits": digits})
    want = take(stream(plain), 9)
    data = dataclasses.replace(plain.data, workers=3, prefetch=2)
    source = stream(dataclasses.replace(plain, data=data))
    try:
        assert same(take(source, 5), want[:5])
        state = source.state()
        take(source, 2)
        source.restore(state)
        assert same(take(source, 4), want[5:])
    finally:
        source.close()


def test_two_processes_read_what_one_reads_and_one_takes_over():
    config = make_config(streams=4, window=30)
    one = stream(config)
    two = [stream(config, process_index=p, process_count=2) for p in range(2)]
    whole = take(one, 9)
    for batch, *parts in zip(whole, *(take(s, 9) for s in two)):
        joined = {f: np.concatenate([getattr(p, f) for p in parts]) for f in BATCH_FIELDS}
        assert same([Batch(**joined)], [batch])
        assert parts[0].labels_BT.shape[0] == 4
    assert two[0].state() == two[1].state() == one.state()
    four = [stream(config, process_index=p, process_count=4) for p in range(4)]
    for part in four:
        part.restore(two[1].state())
    parts = [next(s) for s in four]
    joined = {f: np.concatenate([getattr(p, f) for p in parts]) for f in BATCH_FIELDS}
    assert same([Batch(**joined)], take(one, 1))


def test_a_position_of_another_stream_is_refused():
    state = stream(make_config(window=40)).state()
    for other in (
        make_config(batch_size=4, window=40),
        make_config(seed=3, window=40),
        make_config(streams=2, window=40),
    ):
        with pytest.raises(InputError, match="data position"):
            stream(other).restore(state)
    with pytest.raises(InputError, match="number of batches"):
        stream(make_config(window=40)).restore({**state, "batches": -1})


def test_batches_hold_whole_examples_of_every_task():
    source = stream(make_config())
    for batch in take(source, 30):
        real = batch.decoder_segments_BT > 0
        assert (batch.task_BT[~real] == -1).all() and (batch.weights_BT[~real] == 0).all()
        assert (batch.labels_BT[real] != PAD).all()
        for row in range(8):
            segments, where = batch.decoder_segments_BT[row], batch.encoder_segments_BS[row]
            for segment in range(1, segments.max() + 1):
                own = segments == segment
                assert own.any() and batch.labels_BT[row][own][-1] == EOS
                if not batch.decoder_bidirectional_BT[row][own][0]:
                    assert batch.decoder_ids_BT[row][own][0] == BOS
                assert len(set(batch.task_BT[row][own])) == 1
            assert set(where[where > 0]) <= set(segments[segments > 0])
    counts = source.statistics()["examples"]
    assert set(counts) == {"read", "draw", "mend", "fill"} and source.statistics()[
        "dropped"
    ] == dict.fromkeys(counts, 0)
    total = sum(counts.values())
    for name, share in (
        ("read", 2 / 4.5),
        ("draw", 1 / 4.5),
        ("mend", 1 / 4.5),
        ("fill", 0.5 / 4.5),
    ):
        assert abs(counts[name] / total - share) < 0.03
    assert source.statistics()["fill"] >= 0.85  # windows of 120 only; the demo's are tested below


def test_temperature_flattens_the_weights():
    counts = []
    for temperature in (1.0, 4.0):
        source = stream(make_config(temperature=temperature))
        take(source, 20)
        examples = source.statistics()["examples"]
        counts.append(examples["fill"] / examples["read"])
    assert abs(counts[0] - 1 / 4) < 0.08 and abs(counts[1] - (1 / 4) ** (1 / 4)) < 0.12


def test_an_epoch_shows_nearly_every_record_once():
    tasks = {
        "copy": TaskConfig(source="words", templates=[Template(inputs="{text}", targets="{text}")])
    }
    source = stream(make_config(tasks=tasks, batch_size=2, window=30))
    seen: list[bytes] = []
    while len(seen) < 5 * 54:
        batch = next(source)
        for row in range(2):
            for segment in range(1, batch.decoder_segments_BT[row].max() + 1):
                seen.append(
                    batch.labels_BT[row][batch.decoder_segments_BT[row] == segment].tobytes()
                )
    counts = np.unique(seen, return_counts=True)[1]
    # five epochs of 54 records, of which windows leave out a few at random; drawn with replacement the
    # counts would have a variance of 5
    assert len(counts) == 54 and counts.var() < 2.5


def test_condition_dropout_empties_the_inputs_at_its_rate():
    draw = {"draw": dataclasses.replace(make_config().tasks["draw"], condition_dropout=0.25)}
    source = stream(make_config(tasks=draw))
    empty = total = 0
    for batch in take(source, 30):
        for row in range(8):
            for segment in range(1, batch.decoder_segments_BT[row].max() + 1):
                total += 1
                empty += not (batch.encoder_segments_BS[row] == segment).any()
    assert abs(empty / total - 0.25) < 0.04


@pytest.mark.parametrize("random_order", (True, False))
def test_graphs_are_written_in_a_random_order_or_in_the_canonical_one(random_order):
    records = {"graph": [Graph(6, [[i, (i + 1) % 6] for i in range(6)] + [[0, 3]])]}
    task = TaskConfig(
        source="g", templates=[Template(inputs="{graph}", targets="{graph}")], random_order=random_order
    )  # fmt: skip
    config = dataclasses.replace(
        make_config(), tokenizers={name: TokenizerConfig(name=name) for name in ("text", "graph")},
        sources={"g": SourceConfig(kind="arrays", options={"columns": records})}, tasks={"g": task},
    )  # fmt: skip
    tokenizers = {"text": house()[0]["text"], "graph": build("graph")}
    sizes = {name: (t.size, t.fingerprint) for name, t in tokenizers.items()}
    composer = Composer(tokenizers, Vocabulary.build(sizes))
    (made,) = build_tasks(config, composer, "train", None)
    examples = [made.example(0, np.random.default_rng(seed)) for seed in range(20)]
    assert (len({tuple(e.inputs.ids.tolist()) for e in examples}) > 1) == random_order
    assert (len({tuple(e.labels.tolist()) for e in examples}) > 1) == random_order


def test_overlong_examples_are_counted_or_refused_never_cut():
    limits = {"encoder_length": 40, "decoder_length": 16}
    dropping = stream(make_config(**limits))
    batches = take(dropping, 40)
    dropped = dropping.statistics()["dropped"]
    # an image of 20 tokens and an end does not fit 16; text of more than a few words neither
    assert dropped["draw"] > 0 and dropped["fill"] > 0 and dropped["read"] == 0
    assert dropping.statistics()["examples"]["draw"] == 0
    for batch in batches:
        ends = (batch.labels_BT == EOS).sum()
        assert ends == sum(batch.decoder_segments_BT.max(axis=1))
    with pytest.raises(InputError, match=r"tasks\.(draw|fill|mend).*too_long='drop'"):
        take(stream(make_config(too_long="refuse", **limits)), 10)
    with pytest.raises(InputError, match="no example fits"):
        stream(make_config(encoder_length=1, decoder_length=1))


@pytest.mark.parametrize("name", ["digits", "demo"])
def test_the_embedded_mixtures_fill_their_rows_and_drop_nothing(name):
    from unitok import registry
    from unitok.vocabulary import Vocabulary

    config = importlib.import_module(f"unitok.configs.{name}").get_config()
    fakes = {"image": FakeImage(), "audio": FakeAudio()}
    tokenizers = {n: fakes.get(n) or registry.build(n) for n in config.tokenizers}
    vocabulary = Vocabulary.build([(n, t.size, t.fingerprint) for n, t in tokenizers.items()])
    source = build_stream(config, tokenizers, vocabulary, split="train", workdir=None)
    take(source, 60)
    found = source.statistics()
    assert found["fill"] >= 0.90, found
    assert not sum(found["dropped"].values()), found["dropped"]
    assert min(found["examples"].values()) > 0
    evaluation = build_stream(config, tokenizers, vocabulary, split="eval", workdir=None)
    assert evaluation.lengths == source.lengths  # one compiled program for both
    assert len(next(evaluation).labels_BT) == config.data.batch_size


# ---- the door --------------------------------------------------------------------------------


def one(kind: str = "seq2seq", inputs: str = "{label:text}", targets: str = "{image}") -> dict:
    return {"a": TaskConfig(source="digits", templates=[Template(inputs=inputs, targets=targets)], objective=ObjectiveConfig(kind=kind))}  # fmt: skip


@pytest.mark.parametrize(
    ("tasks", "error", "says"),
    [(one("prefix", "{image}", "{image}"), ConfigError, "the inputs show image"),
     (one("span_corruption", "{image} {label:text}", "{label:text}"), ConfigError, "the inputs show label"),
     (one(targets="{picture:image}"), InputError, "no field 'picture'; it has image, label"),
     (one(inputs="{image:series@gone}"), InputError, "no field 'gone'"), (one(targets=""), ConfigError, "empty targets"),
     (one(targets="{label}"), InputError, "no tokenizer 'label'")],
)  # fmt: skip
def test_wrong_templates_are_refused_before_training(tasks, error, says):
    with pytest.raises(error, match=says):
        stream(make_config(tasks=tasks))


def test_streams_must_share_out_evenly():
    with pytest.raises(ConfigError, match=r"data\.streams"):
        stream(make_config(streams=2), process_count=3)


# ---- the cache of codes ----------------------------------------------------------------------


def digits() -> sources.Records:
    return sources.build_source(SourceConfig(kind="sklearn", options={"limit": 20}), "train")


def test_graphs_in_canonical_order_are_cached_and_the_examples_stay_what_they_were(tmp_path):
    """In random order they are new each time; a task with an order reads the same codes from the disk."""
    tokenizers = {"text": build("text"), "graph": build("graph")}
    composer = Composer(
        tokenizers, Vocabulary.build([(n, t.size, "") for n, t in tokenizers.items()])
    )
    template = Template(inputs="Which family? {graph}", targets="{family:text}")

    def task(random_order: bool, folder: Path | None) -> Task:
        config = TaskConfig(source="made", templates=[template], random_order=random_order)
        options = {"name": "graphs", "size": 60}
        source = sources.build_source(SourceConfig(kind="synthetic", options=options), "train")
        return Task("family", 0, config, source, composer, folder)

    task(True, tmp_path)
    assert not list(tmp_path.iterdir())
    kept = task(False, tmp_path)
    (file,) = tmp_path.iterdir()
    before = file.stat().st_mtime_ns
    again = task(False, tmp_path)
    assert file.stat().st_mtime_ns == before
    for index in range(len(kept)):
        inputs = composer.pair(template, kept.source[index])[0]
        for example in (kept, again):
            made = example.example(index, np.random.default_rng(index))
            assert np.array_equal(made.inputs.ids, inputs.ids)
            assert np.array_equal(made.inputs.positions, inputs.positions)
    shuffled, fresh = task(True, None), 0
    for index in range(len(kept)):  # but a cycle's tokens are the same from everywhere
        draws = (shuffled.example(index, np.random.default_rng(n)) for n in range(3))
        fresh += len({draw.inputs.ids.tobytes() for draw in draws}) > 1
    assert fresh > 10


def test_codes_are_cached_by_fingerprint_and_source(tmp_path):
    source = digits()
    first = FakeImage()
    table = cache.codes_of(first, source, "image", tmp_path)
    assert first.encoded == 20 and len(list(tmp_path.iterdir())) == 1
    again = FakeImage()
    found = cache.codes_of(again, digits(), "image", tmp_path)
    assert again.encoded == 0
    for i in range(20):
        assert np.array_equal(found[i], first.encode(source[i]["image"]))
        assert np.array_equal(found[i], table[i])
    other = FakeImage(levels=8)  # another fingerprint
    found = cache.codes_of(other, source, "image", tmp_path)
    assert other.encoded == 20 and found.codes.max() < other.size
    half = sources.build_source(SourceConfig(kind="sklearn", options={"limit": 10}), "train")
    cache.codes_of(again, half, "image", tmp_path)
    assert again.encoded == 10 and len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "swap"])
def test_damaged_or_foreign_caches_are_made_anew(tmp_path, harm):
    tokenizer = FakeImage()
    truth = cache.codes_of(tokenizer, digits(), "image", tmp_path)
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    if harm == "swap":  # the file of another tokenizer under this one's name
        cache.codes_of(FakeImage(levels=8), digits(), "image", tmp_path)
        (other,) = set(tmp_path.iterdir()) - {path}
        path.write_bytes(other.read_bytes())
    else:
        middle = len(data) // 2
        data[middle] ^= 1
        path.write_bytes({"flip": data, "cut": data[:middle], "empty": b""}[harm])
    again = FakeImage()
    found = cache.codes_of(again, digits(), "image", tmp_path)
    assert again.encoded == 20 and np.array_equal(found.codes, truth.codes)
    fresh = FakeImage()
    cache.codes_of(fresh, digits(), "image", tmp_path)
    assert fresh.encoded == 0 and not list(tmp_path.glob(".*"))


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(
        cache.np, "savez", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(OSError, match="disk full"):
        cache.codes_of(FakeImage(), digits(), "image", tmp_path)
    assert not list(tmp_path.iterdir())


def test_cached_codes_give_the_same_stream(tmp_path):
    a, b = stream(make_config(), workdir=tmp_path), stream(make_config(), workdir=tmp_path)
    plain = stream(make_config())
    first = take(a, 5)
    assert same(first, take(b, 5)) and same(first, take(plain, 5))
    assert list((tmp_path / "cache").glob("codes-*.npz"))


def test_a_broken_record_names_its_task_and_number(tmp_path):
    (tmp_path / "d.csv").write_text("file,word\n" + "\n".join(f"{i}.csv,w" for i in range(20)))
    config = SourceConfig(
        kind="csv", path=str(tmp_path / "d.csv"), options={"modalities": {"file": "series"}}
    )
    tokenizers, vocabulary = house()
    task = TaskConfig(
        source="d", templates=[Template(inputs="{file:series}", targets="{word:text}")]
    )
    bad = Task(
        "t", 0, task, sources.build_source(config, "train"), Composer(tokenizers, vocabulary), None
    )
    with pytest.raises(InputError, match=r"task t, record 3: .*\.csv: not found"):
        bad.example(3, np.random.default_rng(0))
