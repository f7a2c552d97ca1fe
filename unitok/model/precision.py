"""Weights as decoding holds them: in the compute dtype, or as 8-bit integers with a scale an output.

Int8 is weight-only and symmetric: w = values * scale, scale = max |w| / 127 over the inputs of each
output channel (each row of the embedding and head tables). The product casts the integers to the
operands' dtype, sums in float32 and multiplies by the scales, so nothing else is approximated.

Axes: D inputs, N outputs, V rows of the embedding table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

TABLES = ("embedding", "head")  # [V, D]: a scale a row, for the look-up as for the logits
# which axes a matrix is summed over, by its name, without the axis of layers
INPUTS = {
    "qkv": (0,), "cross_q": (0,), "cross_kv": (0,), "wi": (0,), "wo": (0,),
    "out": (0, 1), "cross_out": (0, 1),
}  # fmt: skip


@partial(jax.tree_util.register_dataclass, data_fields=["values", "scales"], meta_fields=[])
@dataclass(frozen=True)
class Int8:
    """A quantised matrix. values int8 [...]; scales float32, 1 along the axes that are summed over."""

    values: Any
    scales: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def ndim(self) -> int:
        return self.values.ndim

    def reshape(self, inputs: int, *outputs: int) -> Int8:
        """With all axes of the inputs joined in the first."""
        return Int8(self.values.reshape(inputs, *outputs), self.scales.reshape(1, *outputs))


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
    if name in TABLES:
        axes: tuple[int, ...] = (1,)
    elif name in INPUTS:
        axes = tuple(axis + 1 for axis in INPUTS[name])  # layers are stacked on axis 0
    else:
        return leaf
    leaf = jnp.asarray(leaf, jnp.float32)
    scales = jnp.maximum(jnp.abs(leaf).max(axis=axes, keepdims=True), 1e-12) / 127
    return Int8(jnp.round(leaf / scales).astype(jnp.int8), scales)
