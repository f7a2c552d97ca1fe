"""Series to tokens and back: the bound of every sample, exact modes, forecasting, Chronos's own ids."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unitok import tokenizers
from unitok.conformance import check_grammar, check_tokenizer, check_value
from unitok.tokenizers import series_bins as sb
from unitok.tokenizers.series_chronos import CENTERS, ChronosTokenizer
from unitok.tokenizers.series_grammar import BYTE, MISSING, MODE, REFINE
from unitok.values import Series, ValueRefused

PLAIN, LATTICE, FINE = (tokenizers.build("series", mode=m) for m in ("plain", "lattice", "refine"))
STEP = 2 * np.arcsinh(1000) / 1024
HEADER = 7  # mode, frequency, channels (2), length (3)

finite = st.floats(width=32, allow_infinity=False, allow_nan=True)
shapes = st.tuples(st.integers(0, 30), st.integers(1, 3))
series = arrays(np.float32, shapes, elements=finite).map(Series)
wave = np.sin(np.arange(300) / 7).astype(np.float32)


def frozen(ids: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Location and scale [C], read from the header's byte tokens."""
    raw = bytes((ids[HEADER : HEADER + 8 * channels] - BYTE).tolist())
    pairs = np.frombuffer(raw, ">f4").reshape(-1, 2).astype(np.float64)
    return pairs[:, 0], pairs[:, 1]


def bound(ids: np.ndarray, value: Series) -> np.ndarray:
    """The formula's bound on the error of each sample [T, C], half a float32 step included."""
    _, scale = frozen(ids, value.channels)
    bins = ids[HEADER + 8 * value.channels :].reshape(value.values.shape).astype(np.float64)
    y = np.where(bins == MISSING, 0, np.abs(bins - 512)) * STEP
    size = np.minimum(np.abs(np.nan_to_num(value.values)), np.float32(1e38))
    half_step = np.spacing(size).astype(float)
    return scale * np.cosh(y + STEP / 2) * STEP / 2 + half_step


def errors(value: Series, back: Series) -> np.ndarray:
    assert np.array_equal(np.isnan(value.values), np.isnan(back.values))
    return np.abs(
        np.nan_to_num(value.values.astype(float)) - np.nan_to_num(back.values.astype(float))
    )


def snr(value: Series, back: Series) -> float:
    noise = np.mean(errors(value, back) ** 2)
    return 10 * np.log10(np.var(value.values.astype(float)) / max(noise, 1e-300))


VALUES = [
    Series(wave[:40]),
    Series(np.stack([wave[:9], np.where(np.arange(9) == 4, np.nan, wave[:9])], 1), "h"),
    Series(np.arange(20), "every full moon"),
    Series(np.zeros((0, 4))),
    Series(np.full(20, np.nan), "D"),
]  # 32 to 63 codes each: one compilation of the check


def in_bound(value: Series, back: Series) -> bool:
    """For the conformance suite: the shape, what is missing, the frequency, and 1.5 % of the spread."""
    if value.values.shape != back.values.shape or value.freq != back.freq:
        return False
    spread = np.nanmax(np.abs(value.values), initial=0.0)
    return bool((errors(value, back) <= 0.015 * spread).all())


def test_conformance() -> None:
    requests = [{}, {"context": VALUES[1], "length": 6}]
    check_tokenizer(
        lambda: tokenizers.build("series"), VALUES, in_bound, requests=requests, slacks=(0, 1, 40)
    )
    check_value(FINE, VALUES[1], in_bound, request={"channels": 2, "freq": "h"})
    check_grammar(FINE, {"channels": 2, "freq": "h"}, slacks=(0, 40))


def test_conformance_of_the_chronos_layout() -> None:
    tok = tokenizers.build("series", layout="chronos")
    same_shape = lambda a, b: a.values.shape == b.values.shape and not errors(a, a).any()  # noqa: E731
    check_tokenizer(
        tok, [VALUES[0], VALUES[4]], same_shape, requests=[{}, {"length": 5}], slacks=(0, 9)
    )


@settings(max_examples=150, deadline=None)
@given(series)
def test_every_sample_is_within_the_bound_of_the_formula(value: Series) -> None:
    ids = PLAIN.encode(value)
    assert (errors(value, PLAIN.decode(ids)) <= bound(ids, value)).all()


@settings(max_examples=80, deadline=None)
@given(series)
def test_refining_is_never_worse(value: Series) -> None:
    coarse, fine = (errors(value, tok.decode(tok.encode(value))) for tok in (PLAIN, FINE))
    assert (fine <= coarse).all()


@settings(max_examples=80, deadline=None)
@given(
    arrays(np.int64, shapes, elements=st.integers(0, 1023)),
    st.integers(-(10**5), 10**5),
    st.sampled_from([1.0, 0.1, 0.01, 0.25, 50.0]),
)
def test_a_lattice_comes_back_to_the_bit(k: np.ndarray, offset: int, step: float) -> None:
    value = Series(((k + offset % 999) * step).astype(np.float32))
    ids = LATTICE.encode(value)
    assert ids[0] == MODE + 1 and LATTICE.decode(ids) == value


@settings(max_examples=50, deadline=None)
@given(series, series)
def test_a_batch_changes_nothing(a: Series, b: Series) -> None:
    for tok in (LATTICE, FINE):
        for one, ids in zip([a, b, a], tok.encode_batch([a, b, a])):
            assert np.array_equal(ids, tok.encode(one))


def test_long_batches_change_nothing() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_t(2, (300, 257)).astype(np.float32)
    rows[3, 5] = np.nan
    values = [Series(row) for row in rows]
    for one, ids in zip(values, LATTICE.encode_batch(values)):
        assert np.array_equal(ids, LATTICE.encode(one))


@given(st.integers(-20, 20), st.integers(-1000, 1000))
@settings(max_examples=60, deadline=None)
def test_ids_are_invariant_under_affine_maps(exponent: int, offset: int) -> None:
    x = np.random.default_rng(1).integers(-2000, 2000, (200, 2))  # exact in float32 when mapped
    ids, mapped = (
        PLAIN.encode(Series(v.astype(np.float32))) for v in (x, (x + offset) * 2.0**exponent)
    )
    assert np.array_equal(ids[HEADER + 16 :], mapped[HEADER + 16 :])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, PLAIN.size - 1), max_size=40), series, st.integers(0, 30))
def test_decode_is_total(noise: list[int], value: Series, at: int) -> None:
    ids = LATTICE.encode(value).tolist()
    for candidate in (noise, ids[:at] + noise, ids[:at] + noise[:1] + ids[at + 1 :]):
        with contextlib.suppress(ValueError):
            assert isinstance(LATTICE.decode(np.array(candidate, np.int32)), Series)


@pytest.mark.parametrize("c", [0.0, 7.3, -1e-30, 3e38])
def test_a_constant_comes_back_exactly(c: float) -> None:
    value = Series(np.full((50, 2), c, np.float32))
    assert all(tok.decode(tok.encode(value)) == value for tok in (PLAIN, LATTICE, FINE))


def test_hard_series() -> None:
    for value in (Series(np.full(9, np.nan)), Series(np.float32([1.5])), Series(np.zeros((0, 3)))):
        assert all(tok.decode(tok.encode(value)) == value for tok in (PLAIN, LATTICE, FINE))
    assert (PLAIN.encode(Series(np.full(3, np.nan)))[-3:] == MISSING).all()
    offset = Series((1e4 + np.sin(np.arange(512) / 9)).astype(np.float32))
    assert snr(offset, PLAIN.decode(PLAIN.encode(offset))) > 42
    for length in (100, 5000):
        spike = np.zeros(length, np.float32)
        spike[length // 3] = 100.3
        back = PLAIN.decode(PLAIN.encode(Series(spike)))
        assert snr(Series(spike), back) > 42
        assert (back.values[spike == 0] == 0).all()
    with pytest.raises(ValueRefused, match="infinity"):
        Series(np.float32([1, np.inf]))


@pytest.mark.parametrize("name", ["gauss", "walk", "student", "growth", "poisson", "two values"])
def test_signal_to_noise_at_ten_bits(name: str) -> None:
    rng = np.random.default_rng(2)
    x = {
        "gauss": rng.standard_normal(512),
        "walk": rng.standard_normal(512).cumsum(),
        "student": rng.standard_t(2, 512),
        "growth": np.exp(np.linspace(0, 8, 512)),
        "poisson": rng.poisson(3, 512),
        "two values": rng.random(512) < 0.5,
    }[name]
    value = Series(x.astype(np.float32))
    assert snr(value, PLAIN.decode(PLAIN.encode(value))) > 42


def test_forecasting_takes_everything_from_the_past() -> None:
    past, future = Series(wave[:200] * 5 + 1, "h"), Series(wave[200:] * 5 + 1, "h")
    ids = PLAIN.encode(future, context=past)
    assert len(ids) == HEADER + future.length  # no location, no scale
    other = Series(np.concatenate([future.values[:50], future.values[50:] * 9]), "h")
    assert np.array_equal(ids[HEADER:][:50], PLAIN.encode(other, context=past)[HEADER:][:50])
    assert snr(future, PLAIN.decode(ids, context=past)) > 42
    with pytest.raises(ValueError, match="context"):
        PLAIN.decode(ids)
    with pytest.raises(ValueError, match="channels"):
        PLAIN.decode(ids, context=Series(np.zeros((4, 2))))
    with pytest.raises(ValueRefused, match="channels"):
        PLAIN.encode(future, context=Series(np.zeros((4, 2))))


def test_forecasting_from_hard_pasts() -> None:
    future = Series(np.float32([3, 4, np.nan, 5]))
    for past in (np.full(5, 4.0), np.zeros(5), np.full(5, np.nan), np.zeros(0)):
        context = Series(past.astype(np.float32))
        back = PLAIN.decode(PLAIN.encode(future, context=context), context=context)
        assert (errors(future, back) < 0.05).all()
    counts = Series(np.arange(50, dtype=np.float32))
    ids = LATTICE.encode(Series(np.float32([60, 70, -3])), context=counts)
    assert LATTICE.decode(ids, context=counts).values[:, 0].tolist() == [60, 70, -3]
    with pytest.raises(ValueError, match="lattice"):
        LATTICE.decode(ids, context=Series(wave))


def test_codes_are_stable_when_what_was_decoded_is_encoded_again() -> None:
    past = Series(wave)
    ids = PLAIN.encode(Series(wave[:99] * 3), context=past)
    again = PLAIN.encode(PLAIN.decode(ids, context=past), context=past)
    assert np.array_equal(ids, again)


def test_layout_of_the_tokens() -> None:
    value = Series(np.float32([[1, np.nan], [3, 4], [9, 2]]), "h")
    ids = FINE.encode(value)
    positions = FINE.positions(ids)
    body = ids[HEADER + 16 :]
    assert (body == MISSING).sum() == 1 and ((body >= REFINE) & (body < BYTE)).sum() == 5
    times = positions[HEADER + 16 :]
    assert times[:, 0].tolist() == [15, 15, 15, 16, 16, 16, 16, 17, 17, 17, 17]  # time-major
    assert times[:, 1].tolist() == [0, 0, 1, 0, 0, 1, 1, 0, 0, 1, 1]  # channel beside it
    location, scale = frozen(ids, 2)
    assert location.tolist() == [3, 3] and np.allclose(scale, [8 / 3, 1])


@pytest.mark.parametrize("tok", [LATTICE, PLAIN, FINE, ChronosTokenizer()])
def test_a_column_of_a_table_is_encoded_like_its_copy_and_left_alone(tok: Any) -> None:
    table = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    table[:, 1] = np.arange(50)  # on a lattice
    before = table.copy()
    columns = [Series(table[:, c]) for c in range(3)]
    copies = [Series(table[:, c].copy()) for c in range(3)]
    for one, other in zip(tok.encode_batch(columns), tok.encode_batch(copies)):
        assert np.array_equal(one, other)
    assert np.array_equal(table, before)


def test_names_what_it_refuses() -> None:
    with pytest.raises(ValueRefused, match="str"):
        LATTICE.encode("no series")
    with pytest.raises(ValueRefused, match="freq"):
        LATTICE.encode(Series(wave, "Umlaute: ü"))
    with pytest.raises(ValueError, match="coarse"):
        tokenizers.build("series", mode="coarse")
    with pytest.raises(ValueError, match="layout"):
        tokenizers.build("series", layout="totem")


# ---- Chronos's own ids --------------------------------------------------------------------


def chronos_reference(x: np.ndarray, scale: float | None = None) -> tuple[list[int], float]:
    """MeanScaleUniformBins, value by value from its definition (float32 as there)."""
    edges = np.concatenate([[-1e20], (CENTERS[1:] + CENTERS[:-1]) / np.float32(2), [1e20]])
    there = ~np.isnan(x)
    if scale is None:
        scale = float(np.abs(x[there]).mean()) if there.any() else 1.0
        scale = scale if scale > 0 else 1.0
    ids = np.searchsorted(edges.astype(np.float32), x / np.float32(scale), side="right") + 2
    ids = np.minimum(ids, 4095)
    ids[~there] = 0
    return [*ids.tolist(), 1], scale


@settings(max_examples=100, deadline=None)
@given(
    arrays(
        np.float32, st.integers(1, 40), elements=st.floats(-100, 100, width=32) | st.just(np.nan)
    )
)
def test_chronos_ids_follow_its_definition(x: np.ndarray) -> None:
    # a scale in one rounding's reach of the reference's: given as context, both have the same
    context = Series(np.float32([2.0, -2.0, np.nan]))
    expected, _ = chronos_reference(x, 2.0)
    assert ChronosTokenizer().encode(Series(x), context=context).tolist() == expected


def test_chronos_ids_on_ordinary_series() -> None:
    tok = tokenizers.build("series", layout="chronos")
    rng = np.random.default_rng(3)
    x = rng.standard_t(3, (50, 512)).astype(np.float32)
    x[0, :7], x[1, 5], x[2, 5] = np.nan, 1e30, -1e30
    ids = np.array(tok.encode_batch([Series(row) for row in x]))
    expected = np.array([chronos_reference(row)[0] for row in x])
    assert (ids != expected).mean() < 1e-4  # the sum behind the scale may round differently
    assert (
        (ids[0, :7] == 0).all()
        and (ids[:, -1] == 1).all()
        and ids.min(initial=9, where=ids > 1) > 2
    )
    back = tok.decode(ids[5], context=Series(x[5]))
    scale = np.abs(x[5]).mean()
    inside = np.abs(x[5]) < 15 * scale
    assert (np.abs(back.values[:, 0] - x[5])[inside] <= 0.00367 * scale).all()


def test_chronos_ids_end_with_the_table_however_far_the_future_jumps() -> None:
    tok = tokenizers.build("series", layout="chronos")
    past, future = Series(np.float32([1e-30, -1e-30])), Series(np.float32([3e38, -3e38, np.nan]))
    ids = tok.encode(future, context=past)  # beyond float32, in multiples of the past's scale
    assert ids.tolist() == [4095, 2, 0, 1]
    assert np.isfinite(tok.decode(ids, context=past).values[:2]).all()


def test_chronos_centers_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="compares with torch.linspace")
    assert np.array_equal(torch.linspace(-15, 15, 4093).numpy(), CENTERS)


def test_the_table_of_centres_is_exact() -> None:
    ids = np.arange(1024)[None]
    x = sb.values(ids, np.zeros(1, np.float32), np.ones(1, np.float32))
    assert np.array_equal(sb.bins(x, np.zeros(1, np.float32), np.ones(1, np.float32)), ids)
    assert x[0, 512] == 0 and x[0, 0] == pytest.approx(-1000, rel=1e-6)
