"""Weights as decoding holds them: in the compute dtype, or as 8-bit integers with a scale an output.

Int8 is symmetric: w = values * scale, scale = max |w| / 127 over the inputs of each output channel (each
row of the embedding and head tables). `int8_product` rounds what meets such a matrix to 8 bits too, each row
by its own largest magnitude when it comes (as CTranslate2 does), because processors multiply 8 by 8 bits
several times faster than anything wider. The sums are of integers, exact; nothing else is approximated.

Axes: D inputs, N outputs, V rows of the embedding table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

FEW = 4  # rows that one row is made to be: of a vector XLA's CPU backend casts the whole matrix
TABLES = ("embedding", "head")  # [V, D]: a scale a row, for the look-up as for the logits
# how many axes a matrix is summed over, by its name: the first, after that of layers
INPUTS = {"qkv": 1, "cross_q": 1, "cross_kv": 1, "wi": 1, "wo": 1, "out": 2, "cross_out": 2}


@partial(jax.tree_util.register_dataclass, data_fields=["values", "scales"], meta_fields=["inputs"])
@dataclass(frozen=True)
class Int8:
    """A quantised matrix. values int8 [*outputs, *inputs]: in the order in which a product of few rows reads
    them; scales float32 [*outputs]; inputs: how many axes those are. Stacked layers come before all."""

    values: Any
    scales: Any
    inputs: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """As the matrix that it stands for has it: inputs, outputs."""
        outputs = self.values.ndim - self.inputs
        return self.values.shape[outputs:] + self.values.shape[:outputs]

    def reshape(self, inputs: int, *outputs: int) -> Int8:
        """With all axes of the inputs joined in the first."""
        return Int8(self.values.reshape(*outputs, inputs), self.scales.reshape(outputs))


def int8_product(x: jax.Array, w_DN: Int8) -> jax.Array:
    """x [..., D] with a matrix of one axis of inputs and one of outputs, x rounded to 8 bits: float32 [..., N].

    A row's result depends on neither the rows beside it nor their number.
    """
    x32 = x.astype(jnp.float32)
    step = jnp.maximum(jnp.abs(x32).max(axis=-1, keepdims=True), 1e-30) / 127
    rounded = jnp.round(x32 / step).astype(jnp.int8)
    contract = lambda a, b: (((a.ndim - 1,), (b.ndim - 1,)), ((), ()))  # noqa: E731
    times = partial(lax.dot_general, preferred_element_type=jnp.int32)
    if x.size == x.shape[-1]:  # the matrix first: then it is read as it lies, and not packed anew
        rows_RD = jnp.broadcast_to(rounded.reshape(1, -1), (FEW, x.shape[-1]))
        sums_NR = times(w_DN.values, rows_RD, contract(w_DN.values, rows_RD))
        sums = sums_NR[:, 0].reshape(*x.shape[:-1], -1)
    else:
        sums = times(rounded, w_DN.values, contract(rounded, w_DN.values))
    return sums.astype(jnp.float32) * step * w_DN.scales


def in_dtype(params: Any, dtype: str) -> Any:
    """Tables and matrices in `dtype` once, not at every step; norms and biases stay float32.

    dtype: "bfloat16", "float32", or "int8" for `Int8` matrices.
    """

    def cast(path: Any, leaf: Any) -> Any:
        name = path[-1].key
        if dtype == "int8":
            return _quantised(name, leaf)
        return leaf.astype(dtype) if name in TABLES or leaf.ndim >= 3 else leaf

    return jax.tree_util.tree_map_with_path(cast, params)


def _quantised(name: str, leaf: Any) -> Any:
    """A table [V, D] lies as wanted already; of a matrix [L, *inputs, *outputs] the outputs go first."""
    if name not in TABLES and name not in INPUTS:
        return leaf
    inputs = 1 if name in TABLES else INPUTS[name]
    values = jnp.asarray(leaf, jnp.float32)
    if name in INPUTS:
        values = jnp.moveaxis(values, range(1, 1 + inputs), range(-inputs, 0))
    axes = tuple(range(-inputs, 0))
    scales = jnp.maximum(jnp.abs(values).max(axis=axes, keepdims=True), 1e-12) / 127
    return Int8(jnp.round(values / scales).astype(jnp.int8), scales.squeeze(axes), inputs)
