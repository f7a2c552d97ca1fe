"""The encoder-decoder: T5 1.1 modernised, with T5's own layout as one setting.

`EncoderDecoder` is static and hashable (a config and the table's sizes); parameters and caches are
arguments. Every method is a pure function to be called inside `jax.jit`.

Axes: B rows, S encoder length, T decoder length, D d_model, V table rows, M modalities, C cache slots,
N key-value heads, K head size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from unitok.config import LossConfig, ModelConfig
from unitok.interfaces import Batch
from unitok.model import attention, losses
from unitok.model.attention import Context, attend, merge_heads
from unitok.model.layers import dot, dropout, mlp, rms_norm
from unitok.model.parameters import init_params
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


class Cache(NamedTuple):
    """Keys and values of decoding, one array a decoder layer; the batch is axis 0 of every leaf.

    self_*: [B, N, C, K], filled slot by slot; cross_*: [B, N, S, K], computed once; memory_mask bool [B, S].
    """

    self_k: tuple[jax.Array, ...]
    self_v: tuple[jax.Array, ...]
    cross_k: tuple[jax.Array, ...]
    cross_v: tuple[jax.Array, ...]
    memory_mask: jax.Array


@dataclass(frozen=True)
class EncoderDecoder:
    """The model as pure functions of its parameters."""

    config: ModelConfig
    sizes: TableSizes

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Fresh float32 parameters: a nested dict, layers stacked on axis 0 under 'encoder' and 'decoder'."""
        return init_params(self.config, self.sizes.rows, len(self.sizes.ranges), key)

    # ---- the two stacks -------------------------------------------------------------------

    def encode(
        self,
        params: Params,
        ids_BS: jax.Array,
        positions_BS3: jax.Array,
        modality_BS: jax.Array,
        segments_BS: jax.Array,
        *,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """The encoder's output [B, S, D] in the compute dtype. Segment 0 is padding."""
        config, keys = self.config, _keys(dropout_key, 3)
        mask = attention.encoder_mask(segments_BS)
        context = self._context(params, "encoder", mask, positions_BS3)

        def layer(p: Params, x: jax.Array, key: jax.Array | None) -> jax.Array:
            return self._mlp(p, self._self_attention(p, x, context, _fold(key, 0)), key)

        x_BSD = self._embed(params, ids_BS, modality_BS, keys[0])
        if config.place_embedding:
            waves_BSE = place_features(positions_BS3, modality_BS, segments_BS)
            x_BSD = x_BSD + (waves_BSE @ params["place"]).astype(x_BSD.dtype)
        x_BSD = self._stack(layer, params["encoder"], x_BSD, config.encoder_layers, keys[1])
        x_BSD = rms_norm(x_BSD, params["encoder_norm"], config.norm_eps)
        return dropout(x_BSD, config.dropout, keys[2])

    def decode(
        self,
        params: Params,
        memory_BSD: jax.Array,
        memory_segments_BS: jax.Array,
        ids_BT: jax.Array,
        positions_BT3: jax.Array,
        modality_BT: jax.Array,
        segments_BT: jax.Array,
        bidirectional_BT: jax.Array,
        *,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """Hidden states [B, T, D] after the last norm, teacher-forced; `logits` turns them into scores."""
        config, keys = self.config, _keys(dropout_key, 3)
        mask = attention.decoder_mask(segments_BT, bidirectional_BT)
        context = self._context(params, "decoder", mask, positions_BT3)
        reads = attention.cross_mask(segments_BT, memory_segments_BS)

        def layer(p: Params, x: jax.Array, key: jax.Array | None) -> jax.Array:
            x = self._self_attention(p, x, context, _fold(key, 0))
            k, v = attention.cross_keys_values(p, memory_BSD, config)
            x = self._cross_attention(p, x, k, v, reads, _fold(key, 1))
            return self._mlp(p, x, key)

        x_BTD = self._embed(params, ids_BT, modality_BT, keys[0])
        x_BTD = self._stack(layer, params["decoder"], x_BTD, config.decoder_layers, keys[1])
        x_BTD = rms_norm(x_BTD, params["decoder_norm"], config.norm_eps)
        return dropout(x_BTD, config.dropout, keys[2])

    def logits(self, params: Params, hidden: jax.Array) -> jax.Array:
        """float32 [..., V]; rows past the real ids at -1e9."""
        dtype = jnp.dtype(self.config.dtype)
        table = self._head_table(params).astype(dtype)
        scores = dot(hidden.astype(dtype), table, ((hidden.ndim - 1,), (1,))) * self._head_scale
        return jnp.where(jnp.arange(self.sizes.rows) < self.sizes.real, scores, losses.NEVER)

    # ---- losses ---------------------------------------------------------------------------

    def loss(
        self,
        params: Params,
        batch: Batch,
        loss_config: LossConfig,
        dropout_key: jax.Array | None = None,
        coefficient_BT: jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The scalar to minimise and its parts. coefficient_BT: of the whole batch, where this is a part of it.

        metrics, float32: nll_M, tokens_M, correct_M summed over the labels of each target modality (the
        block the target is confined to, else the label's own), z_loss: the share of the z-loss in the
        scalar. nll is in nats, without smoothing.
        """
        hidden_BTD = self._hidden(params, batch, dropout_key)
        modality_BT = self.label_modality(batch.labels_BT, batch.target_modality_BT)
        M = len(self.sizes.ranges)
        if coefficient_BT is None:
            coefficient_BT = self.coefficients(batch, loss_config)
        loss, scores = self._scores(params, hidden_BTD, batch, coefficient_BT, loss_config)
        scores = lax.stop_gradient(scores)
        member_BTM = (modality_BT[..., None] == jnp.arange(M)) * batch.weights_BT[..., None]
        by_modality = lambda x_BT: jnp.einsum("bt,btm->m", x_BT, member_BTM)  # noqa: E731
        return loss, {
            "nll_M": by_modality(scores.nll),
            "tokens_M": jnp.sum(member_BTM, axis=(0, 1)),
            "correct_M": by_modality(scores.correct),
            "z_loss": jnp.sum(coefficient_BT * loss_config.z_loss * scores.log_z**2),
        }

    def coefficients(self, batch: Batch, loss_config: LossConfig) -> jax.Array:
        """What each label counts in the loss of this batch, float32 [B, T]: free of the parameters."""
        modality_BT = self.label_modality(batch.labels_BT, batch.target_modality_BT)
        return losses.slot_coefficients(
            batch.weights_BT,
            modality_BT,
            batch.decoder_segments_BT,
            len(self.sizes.ranges),
            loss_config.normalise,
        )

    def token_log_probs(self, params: Params, batch: Batch) -> jax.Array:
        """Log-probability of each label under its target modality's mask, float32 [B, T]; 0 where its weight is 0."""
        hidden_BTD = self._hidden(params, batch, None)
        _, scores = self._scores(params, hidden_BTD, batch, batch.weights_BT, LossConfig())
        return jnp.where(batch.weights_BT > 0, -scores.nll, 0.0)

    def label_modality(self, labels_BT: jax.Array, target_modality_BT: jax.Array) -> jax.Array:
        """The modality a label counts for: the one its target is confined to, else its own block's. int32 [B, T]."""
        starts = jnp.array([start for start, _ in self.sizes.ranges[1:]], jnp.int32)
        own_BT = jnp.sum(labels_BT[..., None] >= starts, axis=-1)
        return jnp.where(target_modality_BT > 0, target_modality_BT, own_BT)

    def _hidden(self, params: Params, batch: Batch, key: jax.Array | None) -> jax.Array:
        keys = _keys(key, 2)
        memory_BSD = self.encode(
            params,
            batch.encoder_ids_BS,
            batch.encoder_positions_BS3,
            batch.encoder_modality_BS,
            batch.encoder_segments_BS,
            dropout_key=keys[0],
        )
        return self.decode(
            params,
            memory_BSD,
            batch.encoder_segments_BS,
            batch.decoder_ids_BT,
            batch.decoder_positions_BT3,
            batch.decoder_modality_BT,
            batch.decoder_segments_BT,
            batch.decoder_bidirectional_BT,
            dropout_key=keys[1],
        )

    def _scores(
        self,
        params: Params,
        hidden_BTD: jax.Array,
        batch: Batch,
        coefficient_BT: jax.Array,
        config: LossConfig,
    ) -> tuple[jax.Array, losses.Scores]:
        sizes, (B, T) = self.sizes, batch.labels_BT.shape
        everything, common_only = (0, sizes.real, sizes.real), (0, 0, sizes.common)
        blocks = [(a, b, sizes.common + b - a) for a, b in sizes.ranges[2:]]
        allowed_M3 = jnp.array([everything, common_only, *blocks], jnp.int32)
        low, high, count = jnp.moveaxis(allowed_M3[batch.target_modality_BT], -1, 0)
        head = losses.Head(
            sizes.real,
            sizes.common,
            self._head_scale,
            jnp.dtype(self.config.dtype),
            config.z_loss,
            config.label_smoothing,
            losses.time_chunk(config.chunk_rows, sizes.rows, B, T),
        )
        targets = losses.Targets(batch.labels_BT, low, high, count, coefficient_BT)
        return losses.cross_entropy(hidden_BTD, self._head_table(params), targets, head)

    # ---- decoding with a cache ------------------------------------------------------------

    def unstacked(self, params: Params) -> dict[str, Any]:
        """The same parameters with the decoder's layers apart, as `extend` reads them too: call it
        outside the decoding loop, or every step copies every layer out of its stack."""
        layers = _unstack(params["decoder"], self.config.decoder_layers)
        return {**params, "decoder": tuple(layers)}

    def start_cache(
        self, params: Params, memory_BSD: jax.Array, memory_segments_BS: jax.Array, length: int
    ) -> Cache:
        """An empty cache of `length` slots; keys and values of the memory computed once.

        Decoding reads every memory token whose segment is not 0: one example a row.
        """
        config, B = self.config, memory_BSD.shape[0]
        layers = _unstack(params["decoder"], config.decoder_layers)
        cross = [attention.cross_keys_values(p, memory_BSD, config) for p in layers]
        shape = (B, config.kv_heads, length, config.head_size)
        empty = tuple(jnp.zeros(shape, memory_BSD.dtype) for _ in layers)
        k, v = tuple(k for k, _ in cross), tuple(v for _, v in cross)
        return Cache(empty, tuple(jnp.zeros_like(e) for e in empty), k, v, memory_segments_BS > 0)

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
        keys = jnp.arange(cache.self_k[0].shape[2], dtype=jnp.int32)
        mask = keys <= slots[..., :, None]
        mask = jnp.broadcast_to(mask, (ids_BT.shape[0], *mask.shape[-2:]))
        context = self._context(params, "decoder", mask, positions_BT3, slots, keys)
        reads = jnp.broadcast_to(
            cache.memory_mask[:, None], (*ids_BT.shape, cache.memory_mask.shape[1])
        )
        x_BTD = self._embed(params, ids_BT, modality_BT, None)
        new_k, new_v = [], []
        for i, p in enumerate(_unstack(params["decoder"], config.decoder_layers)):
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

    # ---- parts ----------------------------------------------------------------------------

    def _embed(
        self, params: Params, ids_BT: jax.Array, modality_BT: jax.Array, key: jax.Array | None
    ) -> jax.Array:
        config = self.config
        x_BTD = jnp.take(params["embedding"], ids_BT, axis=0, mode="clip")
        if config.tied_head and not config.head_scale:
            x_BTD = x_BTD * config.d_model**0.5  # the table is small for the head's sake
        if config.modality_embedding:
            x_BTD = x_BTD + jnp.take(params["modality"], modality_BT, axis=0, mode="clip")
        x_BTD = dropout(x_BTD.astype(config.dtype), config.dropout, key)
        return constrain(x_BTD, BATCH, None, None)

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
        return self._add(x_BTD, mlp(p, h_BTD, self.config, _fold(key, 2)), _fold(key, 3))

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
        for i, p in enumerate(_unstack(stacked, layers)):
            x = layer(p, x, None if keys is None else keys[i])
        return x

    def _head_table(self, params: Params) -> jax.Array:
        return params["embedding"] if self.config.tied_head else params["head"]

    @property
    def _head_scale(self) -> float:
        return self.config.d_model**-0.5 if self.config.head_scale else 1.0


def _keys(key: jax.Array | None, count: int) -> Any:
    return (None,) * count if key is None else jax.random.split(key, count)


def _fold(key: jax.Array | None, data: int) -> jax.Array | None:
    return None if key is None else jax.random.fold_in(key, data)


def _unstack(stacked: Params, layers: int) -> list[Params]:
    """The dict of each layer. `split` transposes to one concatenation; indexing would add whole stacks."""
    if isinstance(stacked, tuple):  # already apart
        return list(stacked)
    leaves, tree = jax.tree.flatten(stacked)
    parts = [[part[0] for part in lax.split(leaf, (1,) * layers)] for leaf in leaves]
    return [jax.tree.unflatten(tree, layer) for layer in zip(*parts, strict=True)]


def _write(slots_BNCK: jax.Array, new_BNTK: jax.Array, index: jax.Array | int) -> jax.Array:
    """`new` into slots index..index+T-1, the index common to the rows or one a row."""
    put = lambda old, new, at: lax.dynamic_update_slice_in_dim(old, new, at, axis=-2)  # noqa: E731
    if jnp.ndim(index) == 0:
        return put(slots_BNCK, new_BNTK, index)
    return jax.vmap(put)(slots_BNCK, new_BNTK, index)
