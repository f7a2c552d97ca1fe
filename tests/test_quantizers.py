"""Quantizers: exact indices, dead codes revived, float32 codes, gradients that reach every stage.

Axes: N vectors, K codes, d dimensions, Q codes a vector.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unitok.tokenizers.quantizers import FSQ, EmaVQ, Product, Residual, draw_by_weight, nearest

LEVELS = [(2,), (3, 2), (8, 5, 5, 5), (8, 8, 8, 6, 5)]
KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=(0, 2))
def fitted(quantizer: object, z: jax.Array, steps: int) -> dict:
    """The state after `steps` updates on the same vectors."""

    def update(i: jax.Array, state: dict) -> dict:
        return quantizer.train(state, z, jax.random.fold_in(KEY, i))[3]

    return jax.lax.fori_loop(0, steps, update, quantizer.init(KEY))


train = jax.jit(lambda quantizer, state, z: quantizer.train(state, z, KEY), static_argnums=0)


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_every_index_comes_back(levels: tuple[int, ...]) -> None:
    """decode -> z in the middle of the bin -> encode is the identity on all codes."""
    fsq = FSQ(levels)
    codes = jnp.arange(math.prod(levels))[:, None]
    centres = fsq.decode({}, codes)
    z = jnp.log((1 + centres) / (1 - centres)) / 1.6  # the inverse of 2 sigmoid(1.6 z) - 1
    assert np.array_equal(fsq.encode({}, z), codes)
    assert np.array_equal(fsq.join(fsq.split(codes[:, 0])), codes[:, 0])


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_stays_in_range_for_any_input(levels: tuple[int, ...]) -> None:
    z = jnp.array([[v] * len(levels) for v in (-np.inf, -1e30, -1.0, 0.0, 1.0, 1e30, np.inf)])
    codes = np.asarray(FSQ(levels).encode({}, z))
    assert codes.min() == 0 and codes.max() == math.prod(levels) - 1


def test_fsq_codes_are_integers_even_from_bfloat16() -> None:
    """Joined in bfloat16 most of these codes would be wrong: the index needs more than 8 bits."""
    fsq = FSQ((7, 5, 5, 5, 5))
    codes = jnp.arange(math.prod(fsq.levels))
    bins = fsq.split(codes)
    radix = jnp.array([1, 7, 35, 175, 875], jnp.bfloat16)
    trap = jnp.sum(bins.astype(jnp.bfloat16) * radix, -1).astype(jnp.int32)
    assert (trap != codes).mean() > 0.5
    centres = fsq.centres(bins)
    z = (jnp.log((1 + centres) / (1 - centres)) / 1.6).astype(jnp.bfloat16)
    assert np.array_equal(fsq.encode({}, z)[:, 0], codes)


def test_nearest_is_float32_whatever_the_default_precision() -> None:
    """In bfloat16 neighbouring codes melt together; ours are those of float64."""
    rng = np.random.default_rng(0)
    codebook, z = rng.normal(size=(512, 8)), rng.normal(size=(2000, 8))
    truth = ((z[:, None] - codebook) ** 2).sum(-1).argmin(1)
    low = jnp.asarray(codebook, jnp.bfloat16), jnp.asarray(z, jnp.bfloat16)
    trap = jnp.argmin(jnp.sum(low[0] ** 2, -1) - 2 * low[1] @ low[0].T, -1)
    assert (np.asarray(trap) != truth).mean() > 0.02
    with jax.default_matmul_precision("bfloat16"):
        codes, error = jax.jit(nearest)(
            jnp.asarray(codebook, jnp.float32), jnp.asarray(z, jnp.float32)
        )
    assert codes.dtype == jnp.int32 and np.array_equal(codes, truth)
    np.testing.assert_allclose(error, ((z - codebook[truth]) ** 2).sum(-1), rtol=1e-4)


def test_ema_vq_takes_its_codebook_from_the_first_batch() -> None:
    z = jnp.asarray(np.random.default_rng(0).normal(5, 0.1, size=(512, 4)), jnp.float32)
    state = fitted(EmaVQ(16, 4), z, 1)
    assert float(jnp.abs(state["codebook"] - 5).max()) < 1  # init alone is centred on zero


def test_ema_vq_revives_dead_codes() -> None:
    """Nine tenths of the vectors are one blank: every code still ends up used, most off the blank."""
    rng = np.random.default_rng(0)
    z = np.concatenate([np.zeros((1800, 4)), rng.normal(size=(200, 4))])
    z = jnp.asarray(rng.permutation(z), jnp.float32)
    used = []
    for quantizer in (EmaVQ(32, 4, revive=0.0), EmaVQ(32, 4)):
        state = fitted(quantizer, z, 60)
        used.append(len(np.unique(quantizer.encode(state, z))))
    assert used[0] < 16 and used[1] == 32


def test_ema_vq_fits_better_with_more_codes_and_is_reproducible() -> None:
    z = jnp.asarray(np.random.default_rng(1).normal(size=(600, 3)), jnp.float32)
    errors = []
    for size in (4, 64):
        quantizer = EmaVQ(size, 3)
        state, again = fitted(quantizer, z, 40), fitted(quantizer, z, 40)
        assert np.array_equal(state["codebook"], again["codebook"])
        back = quantizer.decode(state, quantizer.encode(state, z))
        errors.append(float(jnp.mean((back - z) ** 2)))
    assert errors[0] > 3 * errors[1]


def test_commitment_and_straight_through_have_gradients() -> None:
    z = jnp.asarray(np.random.default_rng(2).normal(size=(64, 4)), jnp.float32)
    for quantizer in (EmaVQ(8, 4), FSQ((5, 5, 5, 5)), Residual((EmaVQ(8, 4), EmaVQ(8, 4)))):
        state = fitted(quantizer, z, 2)
        through = jax.grad(lambda z, q=quantizer, s=state: train(q, s, z)[0].sum())(z)
        assert float(jnp.abs(through).min()) > 0
    # the second stage commits too: its loss, taken alone, moves z (the trap of `residual - quantized`)
    second = Residual((EmaVQ(8, 4, commitment=0.0), EmaVQ(8, 4)))
    for quantizer in (EmaVQ(8, 4), second):
        state = fitted(quantizer, z, 2)
        pull = jax.grad(lambda z, q=quantizer, s=state: train(q, s, z)[2])(z)
        assert float(jnp.abs(pull).max()) > 0


@pytest.mark.parametrize(
    "quantizer",
    [
        FSQ((5, 4, 3, 2)),
        Product((Residual((EmaVQ(8, 2), EmaVQ(4, 2))), FSQ((3, 3)))),
    ],
    ids=lambda q: type(q).__name__,
)
def test_codes_in_range_and_encode_agrees_with_train(quantizer: object) -> None:
    z = jnp.asarray(np.random.default_rng(3).normal(size=(5, 60, 4)), jnp.float32)
    before = fitted(quantizer, z, 20)
    quantized, codes, loss, _ = train(quantizer, before, z)
    assert codes.shape == (5, 60, len(quantizer.sizes)) and np.isfinite(float(loss))
    assert np.array_equal(codes, quantizer.encode(before, z))
    assert (np.asarray(codes) >= 0).all() and (np.asarray(codes) < np.array(quantizer.sizes)).all()
    np.testing.assert_allclose(quantized, quantizer.decode(before, codes), atol=1e-5)


def test_residual_stages_each_lower_the_error() -> None:
    z = jnp.asarray(np.random.default_rng(4).normal(size=(800, 4)), jnp.float32)
    errors = []
    for depth in (1, 3):
        quantizer = Residual(tuple(EmaVQ(16, 4) for _ in range(depth)))
        state = fitted(quantizer, z, 40)
        back = quantizer.decode(state, quantizer.encode(state, z))
        errors.append(float(jnp.mean((back - z) ** 2)))
    assert errors[0] > 3 * errors[1]


def test_draw_by_weight_follows_the_weights() -> None:
    weight = jnp.asarray([0.0, 1.0, 0.0, 3.0])
    drawn = np.bincount(np.asarray(draw_by_weight(KEY, weight, 400)), minlength=4)
    assert drawn.tolist() == [0, 100, 0, 300]
