"""Packing: every example whole, in one row, once; fill; the shape; the gather."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unitok.data import packing
from unitok.interfaces import BATCH_FIELDS, Batch, Example, Tokens

lengths = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30)), max_size=60).map(
    lambda pairs: np.array(pairs, np.int64).reshape(-1, 2)
)


def make_example(number: int, encoder: int, decoder: int) -> Example:
    """An example whose every cell tells whose it is."""
    rng = np.random.default_rng(number)
    draw = lambda n: Tokens(  # noqa: E731
        rng.integers(1, 999, n).astype(np.int32), rng.integers(0, 99, (n, 3)).astype(np.int32),
        rng.integers(0, 5, n).astype(np.int32),
    )  # fmt: skip
    labels, weights = rng.integers(1, 999, decoder), rng.random(decoder)
    return Example(
        draw(encoder), draw(decoder), labels.astype(np.int32), weights.astype(np.float32),
        target_modality=number % 4, bidirectional=number % 3 == 0, task=number,
    )  # fmt: skip


def shares(parts: list[float], n: int, rng: np.random.Generator) -> np.ndarray:
    """Kinds in exact proportion, shuffled, as a mixture draws them."""
    return rng.permutation(np.searchsorted(np.cumsum(parts), (np.arange(n) + 0.5) / n))


def digits_like(n: int, seed: int = 0) -> np.ndarray:
    """Lengths as the demo's: image to label, label to image, caption, text."""
    rng = np.random.default_rng(seed)
    kinds = shares([0.4, 0.4, 0.1, 0.1], n, rng)
    low = np.array([[27, 2], [3, 24], [30, 6], [10, 5]])[kinds]
    high = np.array([[34, 3], [9, 25], [36, 9], [70, 60]])[kinds]
    return rng.integers(low, high)


def long_and_short(n: int, seed: int = 0) -> np.ndarray:
    """Half short text, then images, series and long text."""
    rng = np.random.default_rng(seed)
    kinds = shares([0.5, 0.25, 0.15, 0.1], n, rng)
    low = np.array([[5, 2], [260, 2], [64, 8], [200, 20]])[kinds]
    high = np.array([[60, 20], [296, 40], [200, 64], [500, 90]])[kinds]
    return rng.integers(low, high)


@given(lengths, st.integers(8, 64), st.integers(8, 48), st.none() | st.integers(0, 5))
def test_rows_hold_what_they_are_given(pairs, encoder, decoder, rows):
    placed = packing.pack(pairs, (encoder, decoder), rows)
    total = int(placed.max(initial=-1)) + 1
    used = np.zeros((max(total, 1), 2), int)
    np.add.at(used, placed[placed >= 0], pairs[placed >= 0])
    assert (used <= (encoder, decoder)).all()
    assert rows is None or total <= rows
    fits = (pairs <= (encoder, decoder)).all(axis=1)
    assert not (placed[~fits] >= 0).any()
    if rows is None:
        assert (placed[fits] >= 0).all()  # nothing that fits a row is left out
    else:  # and what is left out finds no room in any row that there is
        rest = np.flatnonzero(fits & (placed < 0))
        free = np.full((rows, 2), (encoder, decoder)) - np.pad(
            used[:rows], ((0, rows - len(used[:rows])), (0, 0))
        )
        assert not any((pairs[i] <= free).all(axis=1).any() for i in rest)


@given(lengths, st.integers(1, 6))
@settings(max_examples=60)
def test_a_prefix_fits_whole(pairs, rows):
    shape = (40, 30)
    kept, placed = packing.pack_prefix(pairs, shape, rows)
    assert len(placed) == kept <= len(pairs) and (placed >= 0).all() and (placed < rows).all()
    assert kept > 0 or len(pairs) == 0
    used = np.zeros((rows, 2), int)
    np.add.at(used, placed, pairs[:kept])
    assert (used <= shape).all()


@pytest.mark.parametrize("make", [digits_like, long_and_short])
def test_the_chosen_shape_fills_nine_tenths_of_fresh_examples(make):
    shape = packing.choose_shape(make(768))
    assert sum(shape) <= packing.MOST_TOKENS and shape[0] % 8 == shape[1] % 8 == 0
    fresh = make(1000, seed=1)
    fresh = fresh[(fresh <= shape).all(axis=1)]
    placed = packing.pack(fresh, shape)
    rows = placed.max() + 1
    assert packing.fill(fresh, shape, rows) >= 0.90 and len(fresh) >= 995
    count, _ = packing.pack_prefix(fresh, shape, rows * 9 // 10, guess=len(fresh) * 9 // 10)
    assert packing.fill(fresh[:count], shape, rows * 9 // 10) >= 0.89


def test_the_shape_matters_more_than_the_algorithm():
    pairs = long_and_short(1000)
    usual = packing.pack(pairs, (512, 128))
    shape = packing.choose_shape(pairs)
    assert packing.fill(pairs, shape, packing.pack(pairs, shape).max() + 1) > 0.1 + packing.fill(
        pairs, (512, 128), usual.max() + 1
    )


@given(lengths.filter(len))
@settings(max_examples=25)
def test_the_chosen_shape_holds_every_example(pairs):
    assert (pairs <= packing.choose_shape(pairs)).all()
    fixed = packing.choose_shape(pairs, (128, None))
    assert fixed[0] == 128 and fixed[1] >= pairs[:, 1].max()
    assert packing.choose_shape(pairs, (128, 64)) == (128, 64)


@given(lengths)
@settings(max_examples=50)
def test_gather_puts_each_example_whole_into_its_row(pairs):
    shape = (48, 32)
    examples = [make_example(i, *pair) for i, pair in enumerate(pairs.tolist())]
    placed = packing.pack(pairs, shape)
    rows = int(placed.max(initial=0)) + 2  # one row stays empty
    batch = Batch(**packing.gather(examples, placed, rows, shape))
    for row in range(rows):
        inside = np.flatnonzero(placed == row)
        encoder = decoder = 0
        for segment, index in enumerate(inside, 1):
            e = examples[index]
            at, to = (
                slice(encoder, encoder + len(e.inputs)),
                slice(decoder, decoder + len(e.labels)),
            )
            for name, expected in (
                ("ids_B", e.inputs.ids),
                ("modality_B", e.inputs.modality),
                ("positions_B", e.inputs.positions),
            ):
                found = getattr(batch, f"encoder_{name}S" + ("3" if "pos" in name else ""))[row, at]
                assert np.array_equal(found, expected)
            assert (batch.encoder_segments_BS[row, at] == segment).all()
            assert np.array_equal(batch.decoder_ids_BT[row, to], e.decoder_inputs.ids)
            assert np.array_equal(batch.decoder_positions_BT3[row, to], e.decoder_inputs.positions)
            assert np.array_equal(batch.decoder_modality_BT[row, to], e.decoder_inputs.modality)
            assert np.array_equal(batch.labels_BT[row, to], e.labels)
            assert np.array_equal(batch.weights_BT[row, to], e.weights)
            assert (batch.decoder_segments_BT[row, to] == segment).all()
            assert (batch.target_modality_BT[row, to] == e.target_modality).all()
            assert (batch.decoder_bidirectional_BT[row, to] == e.bidirectional).all()
            assert (batch.task_BT[row, to] == e.task).all()
            encoder, decoder = encoder + len(e.inputs), decoder + len(e.labels)
        # the rest is padding
        assert (
            not batch.encoder_ids_BS[row, encoder:].any()
            and not batch.labels_BT[row, decoder:].any()
        )
        assert not batch.encoder_segments_BS[row, encoder:].any()
        assert not batch.decoder_segments_BT[row, decoder:].any()
        assert not batch.weights_BT[row, decoder:].any()
        assert (batch.task_BT[row, decoder:] == -1).all()


def test_a_batch_has_the_types_the_model_eats():
    arrays = packing.empty_rows(2, (8, 4))
    assert set(arrays) == set(BATCH_FIELDS)
    kinds = {name: a.dtype for name, a in arrays.items()}
    assert kinds.pop("weights_BT") == np.float32
    assert kinds.pop("decoder_bidirectional_BT") == np.bool_
    assert set(kinds.values()) == {np.dtype(np.int32)}
