"""Building blocks: the mixed-precision matmul, RMSNorm, dropout, the MLP.

Parameters are float32; `dtype` is that of the operands of matrix products and of activations.
Axes: D in, N out, B rows, T length, U gate and linear half, F d_ff.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from unitok.config import ModelConfig
from unitok.model.precision import Int8, int8_product
from unitok.sharding import BATCH, constrain

TILE = 8
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=True),  # T5's gelu_new
    "relu": jax.nn.relu,
}


def dot(a: jax.Array, b: jax.Array, contract: Any, batch: Any = ((), ())) -> jax.Array:
    """`lax.dot_general` with float32 accumulation and result, whatever the operands' dtype."""
    return lax.dot_general(a, b, (contract, batch), preferred_element_type=jnp.float32)


def outer(a: jax.Array, b: jax.Array) -> jax.Array:
    """a^T b over the last two axes: a [..., R, M], b [..., R, N] to float32 [..., M, N].

    On CPU the narrower of the two is transposed, and the result where that was b: the rest is a product
    without any transposition, the only form whose bfloat16 operands XLA's CPU backend keeps.
    """
    (*batch, R, M), N = a.shape, b.shape[-1]
    axes = tuple(range(len(batch)))
    if any(size % TILE for size in (R, M, N)):
        return dot(a, b, ((a.ndim - 2,), (b.ndim - 2,)), (axes, axes))
    if M > N:
        return transposed(outer(b, a))
    return dot(transposed(a), b, ((a.ndim - 1,), (b.ndim - 2,)), (axes, axes))


def transposed(x: jax.Array) -> jax.Array:
    """x with its last two axes, multiples of TILE, swapped.

    XLA folds a plain transposition into the product next to it. On CPU that undoes the form which
    `outer` chose, so there it is written over tiles, which XLA leaves alone.
    """
    *batch, R, C = x.shape
    n = len(batch)

    def tiles(x: jax.Array) -> jax.Array:
        tiled = x.reshape(*batch, R // TILE, TILE, C // TILE, TILE)
        return tiled.transpose(*range(n), n + 2, n + 3, n, n + 1).reshape(*batch, C, R)

    return lax.platform_dependent(x, cpu=tiles, default=lambda x: jnp.swapaxes(x, -1, -2))


def matmul(x: jax.Array, w_DN: jax.Array | Int8, dtype: Any) -> jax.Array:
    """x [..., D] @ w [D, N] with operands in `dtype` and float32 accumulation, result in `dtype`."""
    if isinstance(w_DN, Int8):
        return int8_product(x, w_DN).astype(dtype)
    return _matmul(x, w_DN, dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _matmul(x: jax.Array, w_DN: jax.Array, dtype: Any) -> jax.Array:
    """The VJP is written out because autodiff of a `preferred_element_type` product upcasts the cotangent:
    the backward products, two thirds of the work, would then run on float32 operands.
    """
    return dot(x.astype(dtype), w_DN.astype(dtype), ((x.ndim - 1,), (0,))).astype(dtype)


def _matmul_forward(x: jax.Array, w_DN: jax.Array, dtype: Any) -> Any:
    return _matmul(x, w_DN, dtype), (x, w_DN)


def _matmul_backward(dtype: Any, saved: Any, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, w_DN = saved
    dy = dy.astype(dtype)
    dx = dot(dy, w_DN.astype(dtype), ((x.ndim - 1,), (1,))).astype(x.dtype)
    x_RD, dy_RN = x.astype(dtype).reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    dw_DN = outer(x_RD, dy_RN).astype(w_DN.dtype)
    return dx, dw_DN


_matmul.defvjp(_matmul_forward, _matmul_backward)


def table_rows(table_VD: jax.Array | Int8, ids: jax.Array) -> jax.Array:
    """Rows [..., D] of the embedding table; ids beyond it read its last row."""
    take = lambda x: jnp.take(x, ids, axis=0, mode="clip")  # noqa: E731
    if isinstance(table_VD, Int8):
        return take(table_VD.values) * take(table_VD.scales)[..., None]
    return take(table_VD)


def table_product(x: jax.Array, table_VD: jax.Array | Int8) -> jax.Array:
    """x [..., D] with every row of the table, operands in x's dtype: float32 [..., V]."""
    if isinstance(table_VD, Int8):
        return int8_product(x, table_VD)
    return dot(x, table_VD.astype(x.dtype), ((x.ndim - 1,), (1,)))


def rms_norm(x: jax.Array, scale_D: jax.Array, eps: float) -> jax.Array:
    """Root-mean-square norm over the last axis (Zhang and Sennrich 2019), in float32."""
    x32 = x.astype(jnp.float32)
    inverse = lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return (x32 * inverse * scale_D).astype(x.dtype)


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Inverted dropout; x itself without a key.

    16 random bits an element (two elements a 32-bit draw): half the generator's cost, and the rate is
    right to 1 / 65,536.
    """
    if key is None or rate == 0.0:
        return x
    width = x.shape[-1]
    draws = jax.random.bits(key, (*x.shape[:-1], -(-width // 2)), jnp.uint32)
    bits = lax.bitcast_convert_type(draws, jnp.uint16).reshape(*x.shape[:-1], -1)[..., :width]
    dropped = round(rate * 65536)
    keep = bits >= jnp.uint16(dropped)
    return jnp.where(keep, x * jnp.asarray(65536 / (65536 - dropped), x.dtype), 0)


def mlp(
    params: Mapping[str, Any], x_BTD: jax.Array, config: ModelConfig, key: jax.Array | None
) -> jax.Array:
    """act(x wi_0) [* (x wi_1)] wo (Shazeer 2020 where gated); both halves of wi are one product."""
    wi_DUF = params["wi"]
    halves = matmul(x_BTD, wi_DUF.reshape(wi_DUF.shape[0], -1), x_BTD.dtype)
    hidden_BTUF = halves.reshape(*x_BTD.shape[:-1], *wi_DUF.shape[1:])
    h_BTF = ACTIVATIONS[config.activation](hidden_BTUF[..., 0, :])
    if config.gated:
        h_BTF = h_BTF * hidden_BTUF[..., 1, :]
    h_BTF = constrain(dropout(h_BTF, config.dropout, key), BATCH, None, "tensor")
    return matmul(h_BTF, params["wo"], x_BTD.dtype)
