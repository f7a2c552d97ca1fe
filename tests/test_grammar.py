"""The composed grammar: always closes, allows nothing else, and places tokens as the Composer does.

Toy tokenizers stand for real ones: bytes-like text, and a grid whose size is spelled before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unitok import grammar
from unitok.sequence import Composer
from unitok.vocabulary import BOS, EOS, PAD, Vocabulary

SIDES = 6  # codes 0..5 of the grid spell a side of 1..6


@dataclass(frozen=True)
class TextGrammar:
    size: int
    min_tokens: int = 1
    num_registers: int = 1

    def registers(self):
        return np.zeros(1, np.int32)

    def step(self, registers, code, budget):
        count = jnp.where(code < 0, 0, registers[0] + 1)
        allowed = jnp.append(jnp.full(self.size, budget > 1), True)
        return count[None], allowed, jnp.full(3, jnp.maximum(count - 1, 0))


@dataclass(frozen=True)
class GridGrammar:
    """Height, width, height x width contents. Registers: codes so far, height, width."""

    size: int
    height: int | None = None
    num_registers: int = 3

    @property
    def min_tokens(self):
        return 3 + (self.height or 1)

    def registers(self):
        return np.zeros(3, np.int32)

    def step(self, registers, code, budget):
        begin = code < 0
        count = jnp.where(begin, 0, registers[0] + 1)
        height = jnp.where(count == 1, code + 1, registers[1])
        width = jnp.where(count == 2, code + 1, registers[2])
        cell = jnp.maximum(count - 3, 0)
        place = jnp.stack([0, 1 + cell // jnp.maximum(width, 1), 1 + cell % jnp.maximum(width, 1)])
        position = jnp.where(count >= 3, place, 0)
        index = jnp.arange(self.size + 1)
        heights = (index < SIDES) & (index + 1 + 3 <= budget)
        if self.height:
            heights = index == self.height - 1
        widths = (index < SIDES) & (height * (index + 1) + 2 <= budget)
        open_cell = (index >= SIDES) & (index < self.size)
        cells = jnp.where(count - 2 < height * width, open_cell, index == self.size)
        allowed = jnp.where(count == 0, heights, jnp.where(count == 1, widths, cells))
        return jnp.stack([count, height, width]).astype(jnp.int32), allowed, position


class ToyText:
    modality, size, fingerprint = "text", 20, "t"

    def encode(self, value, context=None, rng=None):
        return np.array([ord(c) - 97 for c in value], np.int32)

    def decode(self, ids, context=None):
        return "".join(chr(97 + i) for i in ids)

    def positions(self, ids):
        return np.repeat(np.arange(len(ids), dtype=np.int32)[:, None], 3, axis=1)

    def grammar(self):
        return TextGrammar(self.size)


class ToyGrid:
    size, fingerprint = SIDES + 5, "g"

    def __init__(self, modality):
        self.modality = modality

    def encode(self, value, context=None, rng=None):
        return np.concatenate([[s - 1 for s in value.shape], value.ravel() + SIDES]).astype(
            np.int32
        )

    def decode(self, ids, context=None):
        if len(ids) < 2 or max(ids[:2]) >= SIDES or min(ids[2:], default=0) < SIDES:
            raise ValueError("no grid")
        return (ids[2:] - SIDES).reshape(ids[0] + 1, ids[1] + 1)

    def positions(self, ids):
        cells = np.arange(len(ids) - 2)
        places = np.zeros((len(ids), 3), np.int32)
        places[2:, 1], places[2:, 2] = 1 + cells // (ids[1] + 1), 1 + cells % (ids[1] + 1)
        return places

    def grammar(self, height=None):
        return GridGrammar(self.size, height)


TOKENIZERS = {"text": ToyText(), "grid": ToyGrid("grid"), "sheet": ToyGrid("sheet")}
VOCABULARY = Vocabulary.build([(name, t.size, "") for name, t in TOKENIZERS.items()])
COMPOSER = Composer(TOKENIZERS, VOCABULARY)
make = partial(grammar.target, VOCABULARY, TOKENIZERS)


@partial(jax.jit, static_argnums=(0, 1))
def sample(target, length, key, budget, eagerness):
    """Choose among the allowed ids, marks and EOS with odds e ** eagerness against codes."""
    rows = jnp.arange(target.rows)
    marks = jnp.array([VOCABULARY.begin(n) for n in VOCABULARY.modalities] + [EOS])
    logits = jnp.where(jnp.isin(rows, marks), eagerness, 0.0)

    def body(carry, key):
        registers, fed, left = carry
        registers, allowed, position, modality = target.step(registers, fed, left)
        chosen = jax.random.categorical(key, jnp.where(allowed, logits, -jnp.inf)).astype(jnp.int32)
        return (registers, chosen, left - 1), (chosen, position, modality, allowed.any())

    start = (jnp.asarray(target.init()), jnp.int32(BOS), budget)
    return jax.lax.scan(body, start, jax.random.split(key, length))[1]


def samples(target, length=40, count=300):
    """ids, positions and modality of what is fed (BOS first), one row a sample, budgets from the least up."""
    keys = jax.random.split(jax.random.key(0), count)
    budgets = target.min_tokens + jnp.arange(count, dtype=jnp.int32) % (length - target.min_tokens)
    eagerness = jnp.linspace(-6.0, 4.0, count)[::-1]
    run = jax.vmap(partial(sample, target, length))
    ids, positions, modality, some = map(np.asarray, run(keys, budgets, eagerness))
    assert some.all(), "a mask that allows nothing"
    return ids, positions, modality, np.asarray(budgets)


@pytest.mark.parametrize("to", ["text", "grid", "mixed"])
def test_samples_close_parse_and_stand_where_the_composer_puts_them(to):
    target = make(to)
    ids, positions, modality, budgets = samples(target)
    kinds = set()
    for row, row_positions, row_modality, budget in zip(ids, positions, modality, budgets):
        ends = np.flatnonzero(row == EOS)
        assert len(ends) == 1 and ends[0] < budget, "one EOS, within the budget"
        body = row[: ends[0]]
        assert (row[ends[0] + 1 :] == PAD).all()
        segments = COMPOSER.parse(row)
        assert all(segment.error is None for segment in segments)
        kinds |= {tuple(segment.modality for segment in segments)[:3]}
        names = [f"v{i}" for i in range(len(segments))]
        template = "".join(f"{{{n}:{s.modality}}}" for n, s in zip(names, segments))
        again = COMPOSER.compose(template, {n: s.value for n, s in zip(names, segments)}, start=1)
        np.testing.assert_array_equal(again.ids, body)
        np.testing.assert_array_equal(again.positions, row_positions[1 : len(body) + 1])
        np.testing.assert_array_equal(again.modality, row_modality[1 : len(body) + 1])
        assert (row_positions[0] == 0).all() and row_modality[0] == 0
    lengths = {int(np.flatnonzero(row == EOS)[0]) for row in ids}
    assert len(lengths) > 10, f"only lengths {lengths}: proves little"
    if to == "mixed":
        found = {kind for some in kinds for kind in some}
        assert found == {"text", "grid", "sheet"} and any(len(some) == 3 for some in kinds)


def test_masks_of_a_value_allow_its_own_block_only():
    target = make("grid")
    block = VOCABULARY.block("grid")
    ids, *_ = samples(target)
    allowed, _, _ = jax.vmap(partial(grammar.trace, target))(ids, np.full(len(ids), 40))
    before_end = np.cumsum(ids == EOS, axis=1) - (ids == EOS) == 0
    union = np.asarray(allowed)[before_end].any(axis=0)
    assert set(np.flatnonzero(union)) <= {EOS, *range(block.start, block.end)}
    assert union[block.first_code : block.end].all() and union[EOS]


def test_trace_is_the_walk_of_generation():
    target = make("mixed")
    ids, positions, modality, budgets = samples(target)
    walk = jax.jit(jax.vmap(partial(grammar.trace, target)))
    allowed, traced_positions, traced_modality = map(np.asarray, walk(ids, budgets))
    np.testing.assert_array_equal(traced_positions, positions)
    np.testing.assert_array_equal(traced_modality, modality)
    assert np.take_along_axis(allowed, ids[:, :, None], axis=2).all(), (
        "a sampled id was not allowed"
    )


def test_requests_reach_the_tokenizers_grammar():
    mixed = make("text+grid", grid={"height": 2})
    shapes = [
        segment.value.shape
        for row in samples(mixed)[0]
        for segment in COMPOSER.parse(row)
        if segment.modality == "grid"
    ]
    assert len(shapes) > 20 and {shape[0] for shape in shapes} == {2}
    assert len({shape[1] for shape in shapes}) > 1


def test_equal_requests_are_one_static_argument():
    assert make("mixed") == make("mixed") and hash(make("mixed")) == hash(make("mixed"))
    assert make("grid", height=2) != make("grid", height=3)


@pytest.mark.parametrize(
    ("to", "request_", "message"),
    [
        ("gird", {}, "no modality 'gird'"),
        ("text+text", {}, "twice"),
        ("grid+sheet", {}, "text\\+grid"),
        ("text+grid", {"height": 2}, "by modality"),
        ("special", {}, "no modality"),
    ],
)
def test_wrong_targets_are_named(to, request_, message):
    with pytest.raises(ValueError, match=message):
        make(to, **request_)


def test_a_tokenizer_of_another_size_is_refused():
    grown = Vocabulary.build([("text", 20, ""), ("grid", 99, "")])
    with pytest.raises(ValueError, match="99"):
        grammar.target(grown, TOKENIZERS, "grid")
