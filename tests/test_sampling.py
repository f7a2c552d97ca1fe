"""Filters and penalties against a plain numpy reading of their papers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from unitok import sampling

WIDTH = 12
LOGITS = st.lists(st.integers(-40, 40), min_size=WIDTH, max_size=WIDTH).map(
    lambda row: np.array(row, np.float32) / 8
)
filter_top = jax.jit(sampling.filter_top)


def kept(logits, top_k, top_p, min_p):
    row = filter_top(logits[None], jnp.array([top_k]), jnp.array([top_p]), jnp.array([min_p]))[0]
    row = np.asarray(row)
    assert ((row == logits) | (row == -np.inf)).all(), "a kept logit changed"
    return set(np.flatnonzero(row > -np.inf).tolist())


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


@settings(deadline=None, max_examples=60)
@given(LOGITS, st.integers(0, WIDTH), st.floats(0.05, 1.0), st.floats(0.0, 1.0))
def test_filters_nest_and_keep_the_best(logits, top_k, top_p, min_p):
    everything = kept(logits, 0, 1.0, 0.0)
    assert everything == set(range(WIDTH))
    found = kept(logits, top_k, top_p, min_p)
    assert set(np.flatnonzero(logits == logits.max()).tolist()) <= found
    assert found <= kept(logits, top_k, top_p, 0.0) <= kept(logits, top_k, 1.0, 0.0)
    floor = np.sort(logits)[::-1][(top_k or WIDTH) - 1]
    in_k = logits >= floor
    assert kept(logits, top_k, 1.0, 0.0) == set(np.flatnonzero(in_k).tolist())
    ratio = np.exp(logits - logits.max())
    assert kept(logits, 0, 1.0, min_p) >= set(np.flatnonzero(ratio > min_p + 1e-5).tolist())
    assert kept(logits, 0, 1.0, min_p) <= set(np.flatnonzero(ratio > min_p - 1e-5).tolist())
    nucleus = sorted(kept(logits, 0, top_p, 0.0))
    probs = softmax(logits)
    assert probs[nucleus].sum() >= top_p - 1e-4, "less than the mass asked for"
    least = logits[nucleus].min()
    assert probs[logits > least].sum() < top_p + 1e-4, "more than the least set"


def test_masked_ids_stay_out_and_extreme_temperatures_stay_finite():
    logits = jnp.array([[3.0, -jnp.inf, 2.0, 1e4]])
    for temperature in (1e-9, 0.1, 1.0, 1e6):
        scaled = sampling.scaled(logits, jnp.array([[temperature]]))
        out = np.asarray(
            sampling.filter_top(scaled, jnp.array([0]), jnp.array([0.9]), jnp.zeros(1))
        )
        assert out[0, 1] == -np.inf and out[0, 3] == 0 and not np.isnan(out).any()


def test_penalty_lowers_what_was_seen_only():
    logits, seen = jnp.array([[2.0, -2.0, 1.0]]), jnp.array([[True, True, False]])
    np.testing.assert_allclose(sampling.penalise(logits, seen, jnp.array([2.0])), [[1, -4, 1]])
    np.testing.assert_array_equal(sampling.penalise(logits, seen, jnp.array([1.0])), logits)


def test_gumbel_argmax_samples_the_softmax():
    logits = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = np.asarray(sampling.first_argmax(logits + sampling.gumbel(keys, 3)))
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.03)


def test_first_argmax_breaks_ties_low():
    x = jnp.array([[1.0, 3.0, 3.0], [-jnp.inf, -jnp.inf, -1e9]])
    np.testing.assert_array_equal(sampling.first_argmax(x), [1, 2])
