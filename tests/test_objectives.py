"""Objectives: what is hidden cannot be seen, what is asked restores it, rates are what was set."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import house
from hypothesis import given, settings
from hypothesis import strategies as st

from unitok import objectives, spans
from unitok.config import ConfigError, ObjectiveConfig, Template
from unitok.interfaces import Example, Tokens
from unitok.sequence import Composer
from unitok.values import Image
from unitok.vocabulary import BOS, EOS, MASK, MODES

TOKENIZERS, VOCABULARY = house()
COMPOSER = Composer(TOKENIZERS, VOCABULARY)
SENTINEL = VOCABULARY.modality_id("sentinel")
IMAGE = VOCABULARY.modality_id("image")
FIRST = VOCABULARY.sentinel(0)


def make(inputs: str, text: str, side: int, order: str = "ti", seed: int = 0):
    """A pair whose targets hold a text, an image of side x side codes, or both."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side * 2, side * 2)).astype(np.uint8)
    template = Template(inputs=inputs, targets={"t": "{t:text}", "i": "{image}", "ti": "{t:text}{image}",
                                                "it": "{image}{t:text}"}[order])  # fmt: skip
    return COMPOSER.pair(template, {"t": text, "image": Image(pixels)})


def build(kind: str, **options) -> objectives.Objective:
    return objectives.build(ObjectiveConfig(kind=kind, options=options), VOCABULARY)


def join(seen_ids, label_ids) -> list[int]:
    """Fill each sentinel of what was seen with what the labels say stood there (T5's inverse)."""
    answers: dict[int, list[int]] = {}
    current: list[int] = []
    for i in label_ids:
        if i == EOS:
            break
        if VOCABULARY.modality_of(np.array(i)) == SENTINEL:
            current = answers.setdefault(int(i), [])
        else:
            current.append(int(i))
    out: list[int] = []
    for i in seen_ids:
        out += answers.pop(int(i)) if int(i) in answers else [int(i)]
    assert not answers, "a span was asked that no sentinel shows"
    return out


def check_sound(example: Example) -> None:
    n = len(example.labels)
    assert len(example.decoder_inputs) == len(example.weights) == n
    assert example.labels[-1] == EOS
    if not example.bidirectional:
        assert example.decoder_inputs.ids[0] == BOS
        assert np.array_equal(example.decoder_inputs.ids[1:], example.labels[:-1])
        assert (example.decoder_inputs.positions[0] == 0).all()
    asked = example.labels[example.weights > 0]
    if example.target_modality:  # the loss masks all other blocks: no label may lie outside
        block = VOCABULARY.blocks[example.target_modality]
        first = VOCABULARY.blocks[2].start
        assert ((asked < first) | ((asked >= block.start) & (asked < block.end))).all()


pairs = st.builds(
    make,
    st.sampled_from(["", "Restore: "]),
    st.text("abcdef", min_size=1, max_size=40),
    st.integers(1, 6),
    st.sampled_from(["t", "i", "ti", "it"]),
    st.integers(0, 9),
)
seeds = st.integers(0, 2**32 - 1)


@given(pairs, seeds)
def test_seq2seq_shifts_and_keeps_everything(pair, seed):
    inputs, targets, modality = pair
    example = build("seq2seq")(inputs, targets, modality, np.random.default_rng(seed))
    check_sound(example)
    assert example.inputs is inputs and np.array_equal(example.labels, targets.ids)
    assert (example.weights == 1).all() and example.target_modality == modality


@given(pairs, seeds)
def test_prefix_splits_the_targets_without_loss(pair, seed):
    inputs, targets, modality = pair
    example = build("prefix")(inputs, targets, modality, np.random.default_rng(seed))
    check_sound(example)
    shown = example.inputs[len(inputs) :]
    assert np.concatenate([shown.ids, example.labels]).tolist() == targets.ids.tolist()
    assert len(example.labels) >= min(2, len(targets))  # something besides EOS is left to write
    after = inputs.positions.max() + 1 if len(inputs) else 0
    assert np.array_equal(shown.positions, targets.positions[: len(shown)] - 1 + after)
    rest = example.decoder_inputs[1:]  # what is written keeps its place
    assert np.array_equal(rest.positions, targets.positions[len(shown) : -1])


def test_prefix_shows_the_share_that_was_set():
    inputs, targets, modality = make("", "x" * 100, 1, "t")
    shares = [
        1 - (len(build("prefix", shown=[0.25, 0.75])(
            inputs, targets, modality, np.random.default_rng(s)).labels) - 1) / 100
        for s in range(300)
    ]  # fmt: skip
    assert min(shares) >= 0.245 and max(shares) <= 0.755 and abs(np.mean(shares) - 0.5) < 0.03
    half = build("prefix", shown=[0.5, 0.5])(inputs, targets, modality, np.random.default_rng(0))
    assert len(half.labels) == 51


@given(pairs, seeds)
def test_next_token_asks_for_the_whole_stretch(pair, seed):
    inputs, targets, modality = pair
    example = build("next_token")(inputs, targets, modality, np.random.default_rng(seed))
    check_sound(example)
    assert len(example.inputs) == 0 and (example.weights == 1).all()
    assert example.labels.tolist() == inputs.ids.tolist() + targets.ids.tolist()
    whole = Tokens.concatenate([inputs, targets])
    fed = example.decoder_inputs
    assert np.array_equal(fed.positions[1 : len(inputs) + 1], inputs.positions + 1)
    assert np.array_equal(fed.modality[1:], whole.modality[:-1])


@given(pairs, seeds, st.sampled_from(["R", "S", "X", None]))
@settings(max_examples=200)
def test_span_corruption_hides_and_restores(pair, seed, mode):
    inputs, targets, modality = pair
    rows = [row for row in objectives.UL2 if mode in (None, row[0])]
    example = build("span_corruption", denoisers=rows)(
        inputs, targets, modality, np.random.default_rng(seed)
    )
    check_sound(example)
    assert example.inputs.ids[0] in MODES.values()
    assert np.array_equal(example.inputs.ids[1 : len(inputs) + 1], inputs.ids)
    seen = example.inputs[1 + len(inputs) :]
    body = targets.ids[:-1].tolist()
    if example.inputs.ids[0] == MODES["S"]:
        assert seen.ids.tolist() + example.labels[:-1].tolist() == body
    else:
        assert join(seen.ids, example.labels) == body
        # as many codes are seen as are not asked: nothing is in both places
        asked = (VOCABULARY.modality_of(example.labels[:-1]) != SENTINEL).sum()
        assert (seen.modality != SENTINEL).sum() + asked == len(body) and asked > 0
        sentinels = seen.ids[seen.modality == SENTINEL]
        assert sentinels.tolist() == list(range(FIRST, FIRST + len(sentinels)))


def test_text_closes_up_and_images_keep_their_places():
    x = [("X", 0.5, 3, 1.0)]
    for seed in range(20):
        inputs, targets, modality = make("", "abcdefghijklmnop", 5, "ti", seed)
        rng = np.random.default_rng(seed)
        example = build("span_corruption", denoisers=x)(inputs, targets, modality, rng)
        seen = example.inputs[1:]
        marks = np.flatnonzero(seen.ids == VOCABULARY.begin("image"))[0]
        text, image = seen[:marks], seen[marks:]
        # text: consecutive whatever was cut, so the cut's length does not show
        assert np.array_equal(text.positions[:, 0], 1 + np.arange(len(text)))
        whole = targets[16:-1]
        shift = image.positions[0, 0] - whole.positions[0, 0]
        places = {tuple(p): i for p, i in zip((whole.positions + shift)[3:-1], whole.ids[3:-1])}
        codes = image.ids >= VOCABULARY.block("image").first_code + 64
        for place, i in zip(image.positions[codes], image.ids[codes]):
            assert places[tuple(place)] == i
        # and the decoder is fed each asked code at the place it had in the image
        fed = example.decoder_inputs
        mine = np.flatnonzero(fed.ids >= VOCABULARY.block("image").first_code + 64)
        # the text's answers and this image's first sentinel come before: that is where the image begins
        begins = np.flatnonzero(fed.modality == IMAGE)[0] - 1
        moved = fed.positions[mine] - begins + whole.positions[0]
        truth = {tuple(p): i for p, i in zip(whole.positions[3:-1], whole.ids[3:-1])}
        assert [truth[tuple(p)] for p in moved] == fed.ids[mine].tolist()


@pytest.mark.parametrize(("rate", "mean"), [(0.15, 3), (0.5, 3), (0.5, 8), (0.15, 64)])
def test_rates_and_span_lengths_are_what_was_set(rate, mean):
    n = 256
    total, runs, hits = 0, 0, np.zeros(n)
    for seed in range(60):
        mask = spans.random_spans(n, round(n * rate), mean, np.random.default_rng(seed), 100)
        total += mask.sum()
        runs += spans.count(mask)
        hits += mask
        assert mask.sum() == round(n * rate)
    assert abs(total / runs - mean) <= max(0.15 * mean, abs(round(n * rate) - mean))
    # no place is spared: the ends are masked as well as the middle
    assert hits[: n // 16].sum() > 0 and hits[-n // 16 :].sum() > 0
    assert hits[: n // 2].sum() / hits.sum() == pytest.approx(0.5, abs=0.12)


@given(
    st.integers(0, 60),
    st.integers(0, 60),
    st.floats(1, 20),
    seeds,
    st.integers(0, 5),
    st.booleans(),
)
def test_random_spans_is_exact_for_all_arguments(n, masked, mean, seed, most, whole):
    mask = spans.random_spans(n, min(masked, n), mean, np.random.default_rng(seed), most, whole)
    assert mask.shape == (n,) and spans.count(mask) <= max(most, 0)
    if most and (whole or n >= 2):
        expected = min(masked, n) if whole else min(max(masked, 1), n - 1)
        assert mask.sum() == expected


def test_more_spans_than_sentinels_grow_instead():
    inputs, targets, modality = make("", "ab" * 400, 20, "ti")
    example = build("span_corruption", denoisers=[["X", 0.5, 1, 1]])(
        inputs, targets, modality, np.random.default_rng(0)
    )
    assert join(example.inputs.ids[1:], example.labels) == targets.ids[:-1].tolist()
    assert (example.inputs.modality == SENTINEL).sum() <= 100


@given(pairs, seeds)
@settings(max_examples=200)
def test_cross_modal_causal_hides_and_restores(pair, seed):
    inputs, targets, modality = pair
    example = build("cross_modal", bidirectional=0.0)(
        inputs, targets, modality, np.random.default_rng(seed)
    )
    check_sound(example)
    assert not example.bidirectional and np.array_equal(
        example.inputs.ids[: len(inputs)], inputs.ids
    )
    assert join(example.inputs.ids[len(inputs) :], example.labels) == targets.ids[:-1].tolist()
    assert (example.labels != EOS).any()


@given(pairs, seeds)
@settings(max_examples=200)
def test_cross_modal_parallel_asks_only_under_masks(pair, seed):
    inputs, targets, modality = pair
    example = build("cross_modal", bidirectional=1.0)(
        inputs, targets, modality, np.random.default_rng(seed)
    )
    check_sound(example)
    if not example.bidirectional:
        return  # no value with axes had anything hidden
    fed, asked = example.decoder_inputs, example.weights > 0
    assert asked.any() and np.array_equal(fed.ids == MASK, asked)
    assert np.array_equal(fed.ids[~asked], example.labels[~asked])
    whole = targets[:-1]
    start = np.flatnonzero(whole.ids == VOCABULARY.begin("image"))[0]
    stop = np.flatnonzero(whole.ids == VOCABULARY.end("image"))[0] + 1
    assert np.array_equal(example.labels[:-1], whole.ids[start:stop])
    # a masked slot tells its place and its modality, as parallel decoding feeds it
    moved = fed.positions[:-1] - fed.positions[0] + whole.positions[start]
    assert np.array_equal(moved, whole.positions[start:stop])
    assert (fed.positions[0] == 1).all()
    assert (fed.modality[:-1] == VOCABULARY.modality_id("image")).all()
    # the image is nowhere in the encoder
    assert not (example.inputs.modality == VOCABULARY.modality_id("image")).any()


def test_cross_modal_budgets_reach_every_share_and_single_modalities():
    shown, alone = [], 0
    for seed in range(300):
        inputs, targets, modality = make("", "abcdefghij" * 2, 4, "ti")
        example = build("cross_modal", bidirectional=0.0)(
            inputs, targets, modality, np.random.default_rng(seed)
        )
        asked = example.labels[VOCABULARY.modality_of(example.labels) > SENTINEL]
        shown.append(1 - len(asked) / 38)
        alone += len(set(VOCABULARY.modality_of(asked).tolist())) == 1
    counts = np.histogram(shown, bins=4, range=(0, 1))[0]
    assert (counts > 20).all(), counts
    assert 15 < alone < 285  # one modality asked given the other, but not always


def test_objectives_are_pure_functions_of_their_arguments():
    for kind in ("seq2seq", "prefix", "next_token", "span_corruption", "cross_modal"):
        for seed in range(5):
            a, b = (
                build(kind)(*make("Say: ", "hello world", 4), np.random.default_rng(seed))
                for _ in range(2)
            )
            assert np.array_equal(a.inputs.ids, b.inputs.ids) and np.array_equal(a.labels, b.labels)
            assert np.array_equal(a.decoder_inputs.positions, b.decoder_inputs.positions)


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [("prefix", {"shwn": [0, 1]}, "did you mean 'shown'"), ("prefix", {"shown": [0.9, 0.1]}, "shown"),
     ("seq2seq", {"rate": 1}, "no such option"), ("span_corruption", {"denoisers": [["R", 2, 3, 1]]}, "denoisers"),
     ("span_corruption", {"denoisers": [["R", 0.2, 3, 0]]}, "positive weight"),
     ("cross_modal", {"bidirectional": 2}, "bidirectional"), ("cross_modal", {"concentrations": [0]}, "concentrations")],
)  # fmt: skip
def test_wrong_options_are_refused_by_name(kind, options, says):
    with pytest.raises(ConfigError, match=says):
        build(kind, **options)
