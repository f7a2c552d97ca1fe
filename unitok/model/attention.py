"""Attention over packed rows: segment masks, grouped queries, QK-norm, rotary or relative positions.

Axes: B rows, T queries, S keys, D d_model, N key-value heads, G query heads a key-value head
(H = N G), K head size. Heads stand before length (bhsd): the batched products need no transposition.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from unitok.config import ModelConfig
from unitok.model.layers import dot, matmul, outer, rms_norm
from unitok.model.positions import rotate
from unitok.sharding import BATCH, constrain

MASKED = -1e9
FLOOR = -1e8  # above MASKED: a query that may read nothing gets zeros, not an average of everything


class Context(NamedTuple):
    """What all layers of a stack share. mask bool [B, T, S]; bias float32 [(B,) H, T, S] or None;
    cos, sin float32 [B, 1, 1, T, K/2] or None."""

    mask: jax.Array
    bias: jax.Array | None = None
    cos: jax.Array | None = None
    sin: jax.Array | None = None


def encoder_mask(segments_BS: jax.Array) -> jax.Array:
    """Tokens read their own segment, in both directions. bool [B, S, S]."""
    return segments_BS[:, :, None] == segments_BS[:, None, :]


def decoder_mask(segments_BT: jax.Array, bidirectional_BT: jax.Array) -> jax.Array:
    """Tokens read their own segment up to themselves, or all of it where bidirectional. bool [B, T, T]."""
    slots = jnp.arange(segments_BT.shape[1])
    reach = (slots[None, :] <= slots[:, None]) | bidirectional_BT[:, :, None]
    return encoder_mask(segments_BT) & reach


def cross_mask(segments_BT: jax.Array, memory_segments_BS: jax.Array) -> jax.Array:
    """The decoder's segment k reads the encoder's segment k. bool [B, T, S]."""
    return segments_BT[:, :, None] == memory_segments_BS[:, None, :]


def attend(
    q_BNGTK: jax.Array,
    k_BNSK: jax.Array,
    v_BNSK: jax.Array,
    mask_BTS: jax.Array,
    bias: jax.Array | None,
) -> jax.Array:
    """softmax(q k + bias over the mask) v, [B, N, G, T, K]; the scale is the caller's, inside q.

    Softmax in float32. What is masked gets exactly no probability, and a query without any key gets
    zeros. Keys and values of one row may come without the axis of rows, as a cache of one row keeps them.
    On NVIDIA GPUs, in 16 bits and without a bias, by cuDNN's fused kernel, which keeps the scores on the chip.
    """
    if bias is None and k_BNSK.ndim == 4 and _fuses(q_BNGTK, k_BNSK):
        return attend_fused(q_BNGTK, k_BNSK, v_BNSK, mask_BTS, "cudnn")
    return _attend(q_BNGTK, k_BNSK, v_BNSK, mask_BTS, bias)


def _fuses(q: jax.Array, k: jax.Array) -> bool:
    """Whether the default device has the kernel (compute capability 8 on), and for these shapes."""
    even = q.shape[3] % 2 == k.shape[2] % 2 == 0  # with a mask its VJP wants even lengths
    if q.dtype.itemsize != 2 or not even or q.shape[4] % 8 or q.shape[4] > 128:
        return False
    device = getattr(jax.config, "jax_default_device", None) or jax.devices()[0]
    capability = str(getattr(device, "compute_capability", ""))  # "9.0"; AMD's reads "gfx90a"
    return re.fullmatch(r"\d+\.\d+", capability) is not None and float(capability) >= 8


def attend_fused(
    q_BNGTK: jax.Array,
    k_BNSK: jax.Array,
    v_BNSK: jax.Array,
    mask_BTS: jax.Array,
    kernel: Literal["cudnn", "xla"],
) -> jax.Array:
    """`attend` by `jax.nn.dot_product_attention`; kernel: cudnn, or xla for comparison."""
    B, N, G, T, K = q_BNGTK.shape
    heads_last = lambda x: x.transpose(0, 2, 1, 3)  # noqa: E731
    out_BTHK = jax.nn.dot_product_attention(
        heads_last(q_BNGTK.reshape(B, N * G, T, K)),
        heads_last(k_BNSK),
        heads_last(v_BNSK),
        mask=mask_BTS[:, None],
        scale=1.0,
        implementation=kernel,
    )
    out = heads_last(out_BTHK).reshape(B, N, G, T, K)
    reads_BT = mask_BTS.any(axis=-1)  # the kernel averages all values where nothing may be read
    return jnp.where(reads_BT[:, None, None, :, None], out, 0)


@jax.custom_vjp
def _attend(q: Any, k: Any, v: Any, mask_BTS: Any, bias: Any) -> jax.Array:
    """Scores in memory. The VJP, of four axes, keeps the operands of every product in the compute dtype,
    as `matmul` does."""
    return _attend_forward(q, k, v, mask_BTS, bias)[0]


def _attend_forward(q: Any, k: Any, v: Any, mask_BTS: Any, bias: Any) -> Any:
    B, N, G, T, K = q.shape
    lead, last = k.shape[:-2], k.ndim - 1  # rows and heads, or the heads of the one row
    batch = (tuple(range(len(lead))),) * 2
    scores = dot(q.reshape(*lead, G * T, K), k, ((last,), (last,)), batch)
    scores = scores.reshape(B, N, G, T, -1)
    if bias is not None:
        scores = scores + bias.reshape(*bias.shape[:-3], N, G, *bias.shape[-2:])
    scores = jnp.where(mask_BTS[:, None, None], scores, MASKED)
    weights = jnp.exp(scores - jnp.maximum(jnp.max(scores, axis=-1, keepdims=True), FLOOR))
    total = jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), 1e-30)
    p = (weights / total).astype(q.dtype)
    out = dot(p.reshape(*lead, G * T, -1), v, ((last,), (last - 1,)), batch).astype(q.dtype)
    out = out.reshape(q.shape)
    return out, (q, k, v, p, out, bias)


def _attend_backward(saved: Any, dout: Any) -> Any:
    q, k, v, p, out, bias = saved
    B, N, G, T, _ = q.shape
    both = ((0, 1), (0, 1))
    rows = (B, N, G * T, -1)
    dout = dout.astype(q.dtype)
    dv = outer(p.reshape(rows), dout.reshape(rows))
    dp = dot(dout.reshape(rows), v, ((3,), (3,)), both).reshape(p.shape)
    # rowsum(p dp) = rowsum(out dout) (Dao et al. 2022): K elements a row in place of S
    delta = jnp.sum(out.astype(jnp.float32) * dout.astype(jnp.float32), axis=-1, keepdims=True)
    dscores = p.astype(jnp.float32) * (dp - delta)
    dbias = None
    if bias is not None:
        lead = (B, *bias.shape[-3:])
        dbias = dscores.reshape(lead) if bias.ndim == 4 else dscores.reshape(lead).sum(0)
    dscores = dscores.astype(q.dtype).reshape(rows)
    dq = dot(dscores, k, ((3,), (2,)), both).reshape(q.shape)
    dk = outer(dscores, q.reshape(rows))
    return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), None, dbias


_attend.defvjp(_attend_forward, _attend_backward)


def self_qkv(
    params: Mapping[str, Any], x_BTD: jax.Array, config: ModelConfig, context: Context
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries [B, N, G, T, K], keys and values [B, N, T, K] of self-attention, positions applied.

    One product gives all three: each key-value head holds its G query heads, its key and its value, so
    that sharding the heads over the tensor axis keeps whole groups together.
    """
    heads = _project(x_BTD, params["qkv"])
    q, k, v = heads[:, :, :-2], heads[:, :, -2:-1], heads[:, :, -1]
    if config.qk_norm:
        q = rms_norm(q, params["q_norm"], config.norm_eps)
        k = rms_norm(k, params["k_norm"], config.norm_eps)
    if context.cos is not None and context.sin is not None:
        q, k = rotate(q, context.cos, context.sin), rotate(k, context.cos, context.sin)
    return _scaled(q, config), k[:, :, 0], v


def cross_queries(params: Mapping[str, Any], x_BTD: jax.Array, config: ModelConfig) -> jax.Array:
    """Queries of cross-attention [B, N, G, T, K]: no positions, as in T5."""
    w_DHK = params["cross_q"]
    w_DNGK = w_DHK.reshape(w_DHK.shape[0], config.kv_heads, -1, w_DHK.shape[-1])
    q = _project(x_BTD, w_DNGK)
    if config.qk_norm:
        q = rms_norm(q, params["cross_q_norm"], config.norm_eps)
    return _scaled(q, config)


def cross_keys_values(
    params: Mapping[str, Any], memory_BSD: jax.Array, config: ModelConfig
) -> tuple[jax.Array, jax.Array]:
    """Keys and values of the encoder's output, [B, N, S, K] each."""
    heads = _project(memory_BSD, params["cross_kv"])
    k, v = heads[:, :, 0], heads[:, :, 1]
    if config.qk_norm:
        k = rms_norm(k, params["cross_k_norm"], config.norm_eps)
    return k, v


def merge_heads(out_BNGTK: jax.Array, w_HKD: jax.Array) -> jax.Array:
    """The output projection, [B, T, D]."""
    B, N, G, T, K = out_BNGTK.shape
    rows = out_BNGTK.transpose(0, 3, 1, 2, 4).reshape(B, T, N * G * K)
    return matmul(rows, w_HKD.reshape(N * G * K, -1), out_BNGTK.dtype)


def _project(x_BTD: jax.Array, w_DNQK: jax.Array) -> jax.Array:
    """x w as heads, [B, N, Q, T, K]."""
    flat = matmul(x_BTD, w_DNQK.reshape(w_DNQK.shape[0], -1), x_BTD.dtype)
    heads = flat.reshape(*x_BTD.shape[:2], *w_DNQK.shape[1:]).transpose(0, 2, 3, 1, 4)
    return constrain(heads, BATCH, "tensor", None, None, None)


def _scaled(q: jax.Array, config: ModelConfig) -> jax.Array:
    if not config.scale_attention:
        return q
    return q * jnp.asarray(config.head_size**-0.5, q.dtype)
