"""Templates to tokens and back: the round trip, the positions, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakeText, house
from hypothesis import given
from hypothesis import strategies as st

from unitok.config import Template
from unitok.errors import InputError
from unitok.sequence import Codes, Composer, as_text, fields, parts
from unitok.values import Image, Series
from unitok.vocabulary import BOS, EOS, PAD

TOKENIZERS, VOCABULARY = house()
COMPOSER = Composer(TOKENIZERS, VOCABULARY)
TEXT, IMAGE, SERIES = (VOCABULARY.modality_id(name) for name in ("text", "image", "series"))

plain = st.text(st.characters(codec="utf-8", exclude_characters="{}"), max_size=12)
images = st.builds(
    lambda h, w, seed: Image(
        (np.random.default_rng(seed).integers(0, 16, (h, w)) * 16).repeat(2, 0).repeat(2, 1).astype(np.uint8)
    ),
    st.integers(1, 4), st.integers(1, 4), st.integers(0, 99),
)  # fmt: skip
series = st.lists(st.integers(-99, 99), min_size=1, max_size=9).map(
    lambda x: Series(np.array(x, np.float32))
)


@given(st.lists(st.one_of(plain, images, series), max_size=5))
def test_what_is_composed_parses_back(values):
    names = [f"f{i}" for i in range(len(values))]
    kinds = ["text" if isinstance(v, str) else type(v).__name__.lower() for v in values]
    template = "".join(f"{{{name}:{kind}}}" for name, kind in zip(names, kinds))
    tokens = COMPOSER.compose(template, dict(zip(names, values)))
    found = COMPOSER.parse(np.concatenate([[BOS], tokens.ids, [EOS, PAD, 5]]))
    assert all(segment.error is None for segment in found)
    # texts that touch are one text
    expected: list = []
    for value in values:
        if isinstance(value, str) and expected and isinstance(expected[-1], str):
            expected[-1] += value
        elif value != "":
            expected.append(value)
    assert [segment.value for segment in found] == expected


@given(plain, plain, plain)
def test_a_filled_template_is_the_sentence_typed_whole(before, word, after):
    filled = COMPOSER.compose(before + "{word:text}" + after, {"word": word})
    assert np.array_equal(filled.ids, COMPOSER.compose(before + word + after, {}).ids)


def test_real_text_tokenizer_gives_one_sentence_too():
    from unitok import registry
    from unitok.vocabulary import Vocabulary

    text = registry.build("text")
    composer = Composer({"text": text}, Vocabulary.build({"text": (text.size, text.fingerprint)}))
    filled = composer.compose("Draw the digit {label:text}.", {"label": 3})
    assert np.array_equal(filled.ids, composer.compose("Draw the digit 3.", {}).ids)
    assert composer.parse(filled.ids)[0].value == "Draw the digit 3."


@given(images, plain, st.integers(0, 50))
def test_positions_run_over_text_and_keep_the_grid(image, text, start):
    tokens = COMPOSER.compose("{t:text}{image}!", {"t": text, "image": image}, start=start)
    n = len(text.encode())
    order = np.arange(start, start + n)
    assert np.array_equal(tokens.positions[:n], np.stack([order] * 3, axis=1))
    begin = start + n
    local = TOKENIZERS["image"].positions(TOKENIZERS["image"].encode(image))
    assert (tokens.positions[n] == begin).all()
    assert np.array_equal(tokens.positions[n + 1 : -2], begin + 1 + local)
    end = begin + 1 + local.max() + 1
    assert (tokens.positions[-2] == end).all()
    assert (tokens.positions[-1] == end + 1).all()
    assert tokens.modality.tolist() == [TEXT] * n + [IMAGE] * (len(local) + 2) + [TEXT]


def test_pair_ends_the_targets_and_names_their_modality():
    record = {"image": Image(np.zeros((4, 4), np.uint8)), "label": 7}
    pair = lambda targets: COMPOSER.pair(Template(inputs="{image}", targets=targets), record)  # noqa: E731
    for targets, modality in (("{label:text}", TEXT), ("It is {label:text}.", TEXT), ("{image}", IMAGE),
                              ("{image}{image}", 0), ("Look: {image}", 0)):  # fmt: skip
        inputs, body, found = pair(targets)
        assert found == modality
        assert body.ids[-1] == EOS and (body.ids != EOS).sum() == len(body) - 1
        assert (body.positions[0] == 1).all() and (inputs.positions[0] == 0).all()
        assert (body.positions[-1] == body.positions[:-1].max() + 1).all()


def test_a_context_reaches_the_tokenizer_and_the_parser():
    past, future = Series(np.array([1.0, 50.0])), Series(np.array([51.0, 49.0]))
    record = {"past": past, "future": future}
    tokens = COMPOSER.compose("{future:series@past}", record)
    assert VOCABULARY.to_local("series", tokens.ids[1:-1]).tolist() == [257, 255]
    (segment,) = COMPOSER.parse(tokens.ids, {"series": past})
    assert segment.value == future


def test_codes_stand_for_their_value():
    image = Image(np.full((4, 6), 128, np.uint8))
    codes = Codes(TOKENIZERS["image"].encode(image))
    for template in ("see {image}", "{image}{image}"):
        a, b = (COMPOSER.compose(template, {"image": x}) for x in (image, codes))
        assert np.array_equal(a.ids, b.ids) and np.array_equal(a.positions, b.positions)


def test_braces_fields_and_numbers():
    assert parts("{{a}} {b}{c:text}") == ("{a} ", *fields("{b}{c:text}"))
    (field,) = fields("{future:series@past}")
    assert (field.name, field.modality, field.context) == ("future", "series", "past")
    assert [as_text(x) for x in (3, np.int64(4), 2.50, np.float32(0.1), True)] == [
        "3", "4", "2.5", "0.1", "yes",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("template", "says"),
    [("{label} x", "no tokenizer 'label'"), ("{gone:text}", "no field 'gone'"), ("a { b", "brace"),
     ("{image:text}", "name its modality"), ("{label:series@gone}", "no field 'gone'")],
)  # fmt: skip
def test_a_wrong_template_is_refused_by_name(template, says):
    record = {"label": 1, "image": Image(np.zeros((2, 2), np.uint8))}
    with pytest.raises(InputError, match=says):
        COMPOSER.compose(template, record)


@given(st.lists(st.integers(0, VOCABULARY.size - 1), max_size=60))
def test_parse_is_total_and_loses_no_id(ids):
    found = COMPOSER.parse(ids)
    kept = ids[: ids.index(EOS)] if EOS in ids else ids
    kept = [i for i in kept if i not in (PAD, BOS)]
    assert np.concatenate([[], *(segment.ids for segment in found)]).tolist() == kept
    assert all((s.value is None) == (s.error is not None) for s in found)


def test_a_tokenizer_without_block_is_refused():
    with pytest.raises(KeyError, match="no block 'other'"):
        Composer({"other": FakeText()}, VOCABULARY)
