"""Decoding with a cache: the keys and values of what was read and written are an argument.

Axes: B rows, S encoder length, T decoder length, D d_model, C cache slots, N key-value heads, K head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from unitok.model import attention
from unitok.model.attention import attend, merge_heads
from unitok.model.blocks import Blocks, Params, unstack
from unitok.model.layers import rms_norm
from unitok.model.precision import Int8


class Cache(NamedTuple):
    """Keys and values of decoding, one array a decoder layer.

    self_*: [B, N, C, K], or [N, C, K] of one row, filled slot by slot; cross_*: [B, N, S, K], computed once;
    memory_mask bool [B, S].
    """

    self_k: tuple[jax.Array, ...]
    self_v: tuple[jax.Array, ...]
    cross_k: tuple[jax.Array, ...]
    cross_v: tuple[jax.Array, ...]
    memory_mask: jax.Array


@dataclass(frozen=True)
class CachedDecoder(Blocks):
    """The decoder a few tokens at a time."""

    def unstacked(self, params: Params) -> dict[str, Any]:
        """The same parameters as `extend` reads them fastest: the decoder's layers apart, and the head
        with its inputs first, which a product with few rows streams through in order. Call it outside
        the decoding loop, or every step copies every layer out of its stack."""
        layers = unstack(params["decoder"], self.config.decoder_layers)
        table = self._head_table(params)
        head = {} if isinstance(table, Int8) else {"head_DV": table.T}
        return {**params, **head, "decoder": tuple(layers)}

    def start_cache(
        self, params: Params, memory_BSD: jax.Array, memory_segments_BS: jax.Array, length: int = 0
    ) -> Cache:
        """An empty cache of `length` slots (`grown` makes room); keys and values of the memory computed once.

        Decoding reads every memory token whose segment is not 0: one example a row.
        """
        config, B = self.config, memory_BSD.shape[0]
        layers = unstack(params["decoder"], config.decoder_layers)
        cross = [attention.cross_keys_values(p, memory_BSD, config) for p in layers]
        shape = (B, config.kv_heads, length, config.head_size)[1 if B == 1 else 0 :]
        empty = tuple(jnp.zeros(shape, memory_BSD.dtype) for _ in layers)
        k, v = tuple(k for k, _ in cross), tuple(v for _, v in cross)
        return Cache(empty, tuple(jnp.zeros_like(e) for e in empty), k, v, memory_segments_BS > 0)

    def grown(self, cache: Cache, length: int) -> Cache:
        """The same cache with room for `length` tokens."""

        def more(slots: jax.Array) -> jax.Array:
            room = [(0, 0)] * slots.ndim
            room[-2] = (0, length - slots.shape[-2])
            return jnp.pad(slots, room)

        more_of_all = lambda layers: tuple(map(more, layers))  # noqa: E731
        return cache._replace(self_k=more_of_all(cache.self_k), self_v=more_of_all(cache.self_v))

    def extend(
        self,
        params: Params,
        cache: Cache,
        ids_BT: jax.Array,
        positions_BT3: jax.Array,
        modality_BT: jax.Array,
        index: jax.Array | int,
    ) -> tuple[jax.Array, Cache]:
        """Feed T >= 1 decoder tokens into slots index..index+T-1, causally; logits [B, T, V] and the new cache.

        index: int32 [] or [B]. Slots from index + T on are not read, so what lies there does not matter.
        """
        config, T = self.config, ids_BT.shape[1]
        slots = jnp.asarray(index, jnp.int32)[..., None] + jnp.arange(T, dtype=jnp.int32)
        keys = jnp.arange(cache.self_k[0].shape[-2], dtype=jnp.int32)
        mask = keys <= slots[..., :, None]
        mask = jnp.broadcast_to(mask, (ids_BT.shape[0], *mask.shape[-2:]))
        context = self._context(params, "decoder", mask, positions_BT3, slots, keys)
        reads = jnp.broadcast_to(
            cache.memory_mask[:, None], (*ids_BT.shape, cache.memory_mask.shape[1])
        )
        x_BTD = self._embed(params, ids_BT, modality_BT, None)
        x_BTD = self._placed(params, "decoder", x_BTD, positions_BT3)
        new_k, new_v = [], []
        for i, p in enumerate(unstack(params["decoder"], config.decoder_layers)):
            h_BTD = rms_norm(x_BTD, p["attention_norm"], config.norm_eps)
            q, k, v = attention.self_qkv(p, h_BTD, config, context)
            # read what was written, in place: fused into the reader, XLA would copy the whole cache
            k, v = lax.optimization_barrier(
                (_write(cache.self_k[i], k, index), _write(cache.self_v[i], v, index))
            )
            new_k.append(k)
            new_v.append(v)
            out = attend(q, k, v, mask, context.bias)
            x_BTD = x_BTD + merge_heads(out, p["out"])
            x_BTD = self._cross_attention(p, x_BTD, cache.cross_k[i], cache.cross_v[i], reads, None)
            x_BTD = self._mlp(p, x_BTD, None)
        hidden_BTD = rms_norm(x_BTD, params["decoder_norm"], config.norm_eps)
        cache = cache._replace(self_k=tuple(new_k), self_v=tuple(new_v))
        return self.logits(params, hidden_BTD), cache


def _write(slots_BNCK: jax.Array, new_BNTK: jax.Array, index: jax.Array | int) -> jax.Array:
    """`new` into slots index..index+T-1, the index common to the rows or one a row."""
    put = lambda old, new, at: lax.dynamic_update_slice_in_dim(old, new, at, axis=-2)  # noqa: E731
    if slots_BNCK.ndim == 3:
        new_BNTK, index = new_BNTK[0], jnp.reshape(index, ())
    if jnp.ndim(index) == 0:
        return put(slots_BNCK, new_BNTK, index)
    return jax.vmap(put)(slots_BNCK, new_BNTK, index)
