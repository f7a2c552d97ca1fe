"""Weights of 8 bits: what the product gives, what it costs in memory, what it does to a model."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unitok.config import ModelConfig
from unitok.model import EncoderDecoder, TableSizes
from unitok.model.layers import matmul, table_product, table_rows
from unitok.model.precision import INPUTS, TABLES, Int8, in_dtype, int8_product
from unitok.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build([("text", 3000, "t"), ("image", 100, "i")])
GROUPED = ModelConfig(
    d_model=32, d_ff=48, num_heads=4, num_kv_heads=2, encoder_layers=1, decoder_layers=2
)
T5 = ModelConfig.t5(d_model=32, d_ff=48, num_heads=4, encoder_layers=1, decoder_layers=2)


def size_of(tree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def restored(params):
    """Float32 parameters with the values that the 8 bits stand for."""

    def matrix(path, leaf):
        if not isinstance(leaf, Int8):
            return leaf
        whole = leaf.values * leaf.scales.reshape(*leaf.scales.shape, *[1] * leaf.inputs)
        if path[-1].key in TABLES:
            return whole
        return jnp.moveaxis(whole, range(-leaf.inputs, 0), range(1, 1 + leaf.inputs))

    is_leaf = lambda leaf: isinstance(leaf, Int8)  # noqa: E731
    return jax.tree_util.tree_map_with_path(matrix, params, is_leaf=is_leaf)


@pytest.mark.parametrize(
    "config", [GROUPED, pytest.param(T5, marks=pytest.mark.slow)], ids=["grouped queries", "t5"]
)
def test_eight_bits_are_the_model_of_rounded_weights_and_inputs(config):
    """Every matrix, the encoder's and the decoder's, is used as its values times its scales; what meets it
    is rounded to 1 part in 254 of its largest, so that the logits move by a few hundredths of their spread."""
    model = EncoderDecoder(config, TableSizes.from_vocabulary(VOCABULARY))
    params = jax.jit(model.init)(jax.random.key(0))
    small = jax.jit(in_dtype, static_argnums=1)(params, "int8")
    is_leaf = lambda leaf: isinstance(leaf, Int8)  # noqa: E731
    for (path, leaf), whole in zip(
        jax.tree_util.tree_leaves_with_path(small, is_leaf=is_leaf),
        jax.tree.leaves(params),
        strict=True,
    ):
        assert is_leaf(leaf) == (path[-1].key in (*TABLES, *INPUTS)), path
        assert (
            size_of(leaf) < 0.3 * size_of(whole)
            if is_leaf(leaf)
            else leaf is whole or (leaf == whole).all()
        )
    rounded = restored(small)
    for (path, got), leaf in zip(
        jax.tree_util.tree_leaves_with_path(rounded), jax.tree.leaves(params), strict=True
    ):
        if path[-1].key in (*TABLES, *INPUTS):
            assert 0 < np.abs(got - leaf).max() < 0.02 * np.abs(leaf).max(), path
        else:
            np.testing.assert_array_equal(got, leaf)

    rng = np.random.default_rng(0)
    ids = rng.integers(140, VOCABULARY.size, (2, 6)).astype(np.int32)
    places = np.tile(np.arange(6, dtype=np.int32)[None, :, None], (2, 1, 3))
    modality, ones = np.full((2, 6), 2, np.int32), np.ones((2, 6), np.int32)

    @jax.jit
    def run(params):
        memory = model.encode(params, ids, places, modality, ones)
        layers = model.unstacked(params)
        cache = model.start_cache(layers, memory, ones, 6)
        logits, _ = model.extend(layers, cache, ids, places, modality, 0)
        return logits[..., : VOCABULARY.size]

    got, want, exact = map(np.asarray, (run(small), run(rounded), run(params)))
    assert 0 < np.sqrt(np.mean((got - want) ** 2)) < 0.03 * exact.std()
    assert 0 < np.abs(got - exact).max() < exact.std()


@pytest.mark.parametrize("rows", [128, 2176])
def test_a_table_of_eight_bits_is_the_table(rows):
    keys = jax.random.split(jax.random.key(rows), 2)
    table = jax.random.normal(keys[0], (rows, 16))
    x = jax.random.normal(keys[1], (3, 2, 16))
    small = in_dtype({"head": table}, "int8")["head"]
    whole = restored({"head": small})["head"]
    got = jax.jit(table_product)(x, small)
    assert got.shape == (3, 2, rows) and got.dtype == jnp.float32
    bound = np.abs(x).max(axis=-1, keepdims=True) / 254 * np.abs(whole).sum(axis=1)
    assert (np.abs(got - x @ whole.T) <= bound + 1e-5).all()
    ids = jnp.array([0, rows - 1, rows + 5])
    np.testing.assert_array_equal(table_rows(small, ids), whole[jnp.array([0, rows - 1, rows - 1])])


@pytest.mark.parametrize("shape", [(1, 64), (1, 1, 64), (5, 64), (2, 3, 64)])
def test_the_product_of_eight_bits_is_numpys_of_whole_numbers(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32) * np.float32(30)
    values = rng.integers(-127, 128, (40, 64)).astype(np.int8)
    scales = rng.uniform(0.5, 2, 40).astype(np.float32)
    step = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    rounded = np.round(x / step).astype(np.int64)
    assert np.abs(rounded).max() == 127
    got = jax.jit(int8_product)(x, Int8(jnp.asarray(values), jnp.asarray(scales)))
    np.testing.assert_allclose(
        got, (rounded @ values.T.astype(np.int64)) * step * scales, rtol=1e-6
    )


def test_a_row_of_eight_bits_is_the_same_alone_and_in_company():
    """To the bit, at any number of rows: sums of integers have no order."""
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(70, 1, 96)), jnp.float32)
    w = in_dtype({"wo": jnp.asarray(rng.normal(size=(1, 96, 50)))}, "int8")["wo"]
    layer = Int8(w.values[0], w.scales[0])
    product = jax.jit(int8_product)
    together = product(x, layer)
    for rows in (1, 4, 16):
        np.testing.assert_array_equal(product(x[:rows], layer), together[:rows])
    assert not np.asarray(product(jnp.zeros((1, 96)), layer)).any()


def test_each_output_has_its_own_scale():
    """A loud channel takes no bits from a quiet one, and zeros stay zeros."""
    w = jnp.array([[1000.0, 0.001, 0.0], [500.0, -0.002, 0.0]])
    small = in_dtype({"wo": w[None]}, "int8")["wo"]
    layer = Int8(small.values[0], small.scales[0])
    got = matmul(jnp.eye(2), layer, jnp.float32)
    np.testing.assert_allclose(got, w, rtol=1 / 126)  # half a step of the largest, and nothing more
    assert (got[:, 2] == 0).all()
