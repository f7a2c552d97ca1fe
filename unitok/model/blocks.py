"""What both ways through the decoder share, teacher-forced and with a cache: the layer's parts.

`Blocks` is static and hashable (a config and the table's sizes); parameters are arguments.

Axes: B rows, S encoder length, T decoder length, D d_model, V table rows, N key-value heads, K head size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from unitok.config import ModelConfig
from unitok.model import attention, losses
from unitok.model.attention import Context, attend, merge_heads
from unitok.model.layers import dot, dropout, mlp, rms_norm, table_product, table_rows
from unitok.model.positions import place_features, relative_bias, rotary_angles
from unitok.sharding import BATCH, constrain
from unitok.vocabulary import Vocabulary

Params = Mapping[str, Any]
SCAN_FROM = 8  # layers: scan compiles once a stack, unrolled runs faster; the bits are the same


@dataclass(frozen=True)
class TableSizes:
    """Rows of the embedding table, how many are real ids, and (first, one past last) id of each block."""

    rows: int
    real: int
    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def from_vocabulary(cls, vocabulary: Vocabulary) -> TableSizes:
        ranges = tuple((int(a), int(b)) for a, b in vocabulary.ranges())
        return cls(vocabulary.padded_size, vocabulary.size, ranges)

    @property
    def common(self) -> int:
        """Ids below this (special ids and sentinels) are allowed under every target modality."""
        return self.ranges[2][0] if len(self.ranges) > 2 else self.real


@dataclass(frozen=True)
class Blocks:
    """The parts of a layer, the embedding and the head as pure functions of the parameters."""

    config: ModelConfig
    sizes: TableSizes

    def logits(
        self, params: Params, hidden: jax.Array, span: tuple[int, int] | None = None
    ) -> jax.Array:
        """float32 [..., V]; rows past the real ids at -1e9. span: of the ids first to last - 1 only."""
        dtype = jnp.dtype(self.config.dtype)
        x = hidden.astype(dtype)
        if span is not None:
            rows = lambda table_VD: table_VD[span[0] : span[1]]  # noqa: E731
            scores = table_product(x, jax.tree.map(rows, self._head_table(params)))
        elif "head_DV" in params:  # as `CachedDecoder.unstacked` lays it
            scores = dot(x, params["head_DV"].astype(dtype), ((x.ndim - 1,), (0,)))
        else:
            scores = table_product(x, self._head_table(params))
        real = jnp.arange(*(span or (0, self.sizes.rows))) < self.sizes.real
        return jnp.where(real, scores * self._head_scale, losses.NEVER)

    def _embed(
        self, params: Params, ids_BT: jax.Array, modality_BT: jax.Array, key: jax.Array | None
    ) -> jax.Array:
        config = self.config
        x_BTD = table_rows(params["embedding"], ids_BT)
        if config.tied_head and not config.head_scale:
            x_BTD = x_BTD * config.d_model**0.5  # the table is small for the head's sake
        if config.modality_embedding:
            x_BTD = x_BTD + jnp.take(params["modality"], modality_BT, axis=0, mode="clip")
        x_BTD = dropout(x_BTD.astype(config.dtype), config.dropout, key)
        return constrain(x_BTD, BATCH, None, None)

    def _placed(
        self, params: Params, side: str, x_BTD: jax.Array, place_BT3: jax.Array
    ) -> jax.Array:
        """Told where each token lies: in its value (encoder), or in the target, which starts at 0 (decoder)."""
        if not self.config.place_embedding:
            return x_BTD
        return x_BTD + (place_features(place_BT3) @ params[f"{side}_place"]).astype(x_BTD.dtype)

    def _context(
        self,
        params: Params,
        side: str,
        mask_BTS: jax.Array,
        positions_BT3: jax.Array,
        query_slots: jax.Array | None = None,
        key_slots: jax.Array | None = None,
    ) -> Context:
        config = self.config
        if config.positions == "rope":
            angles = rotary_angles(positions_BT3, config.head_size, config.rope_theta)[
                :, None, None
            ]
            return Context(mask_BTS, None, jnp.cos(angles), jnp.sin(angles))
        slots = jnp.arange(positions_BT3.shape[1])
        bias = relative_bias(
            params[f"{side}_bias"],
            slots if query_slots is None else query_slots,
            slots if key_slots is None else key_slots,
            config.relative_max_distance,
            side == "encoder",
        )
        return Context(mask_BTS, bias)

    def _self_attention(
        self, p: Params, x_BTD: jax.Array, context: Context, key: jax.Array | None
    ) -> jax.Array:
        h_BTD = rms_norm(x_BTD, p["attention_norm"], self.config.norm_eps)
        q, k, v = attention.self_qkv(p, h_BTD, self.config, context)
        out_BTD = merge_heads(attend(q, k, v, context.mask, context.bias), p["out"])
        return self._add(x_BTD, out_BTD, key)

    def _cross_attention(
        self, p: Params, x_BTD: jax.Array, k: Any, v: Any, mask_BTS: Any, key: jax.Array | None
    ) -> jax.Array:
        h_BTD = rms_norm(x_BTD, p["cross_norm"], self.config.norm_eps)
        q = attention.cross_queries(p, h_BTD, self.config)
        return self._add(x_BTD, merge_heads(attend(q, k, v, mask_BTS, None), p["cross_out"]), key)

    def _mlp(self, p: Params, x_BTD: jax.Array, key: jax.Array | None) -> jax.Array:
        h_BTD = rms_norm(x_BTD, p["mlp_norm"], self.config.norm_eps)
        return self._add(x_BTD, mlp(p, h_BTD, self.config, fold(key, 2)), fold(key, 3))

    def _add(self, x_BTD: jax.Array, branch_BTD: jax.Array, key: jax.Array | None) -> jax.Array:
        return constrain(x_BTD + dropout(branch_BTD, self.config.dropout, key), BATCH, None, None)

    def _stack(
        self, layer: Callable[..., jax.Array], stacked: Params, x: Any, layers: int, key: Any
    ) -> jax.Array:
        """x through all layers: scanned or unrolled, rematerialised where configured."""
        config = self.config
        keys = None if key is None else jax.random.split(key, layers)
        if config.remat:
            layer = jax.checkpoint(layer)
        scan = layers >= SCAN_FROM if config.scan_layers is None else config.scan_layers
        if scan:
            step = lambda x, pk: (layer(pk[0], x, pk[1]), None)  # noqa: E731
            return lax.scan(step, x, (stacked, keys))[0]
        for i, p in enumerate(unstack(stacked, layers)):
            x = layer(p, x, None if keys is None else keys[i])
        return x

    def _head_table(self, params: Params) -> jax.Array:
        return params["embedding"] if self.config.tied_head else params["head"]

    @property
    def _head_scale(self) -> float:
        return self.config.d_model**-0.5 if self.config.head_scale else 1.0


def keys_of(key: jax.Array | None, count: int) -> Any:
    return (None,) * count if key is None else jax.random.split(key, count)


def fold(key: jax.Array | None, data: int) -> jax.Array | None:
    return None if key is None else jax.random.fold_in(key, data)


def unstack(stacked: Params, layers: int) -> list[Params]:
    """The dict of each layer. `split` transposes to one concatenation; indexing would add whole stacks."""
    if isinstance(stacked, tuple):  # already apart
        return list(stacked)
    leaves, tree = jax.tree.flatten(stacked)
    parts = [[part[0] for part in lax.split(leaf, (1,) * layers)] for leaf in leaves]
    return [jax.tree.unflatten(tree, layer) for layer in zip(*parts, strict=True)]
