"""The encoder-decoder: T5 1.1 modernised, with T5's own layout as one setting.

`EncoderDecoder` is static and hashable (a config and the table's sizes); parameters and caches are
arguments. Every method is a pure function to be called inside `jax.jit`. Here: the two stacks,
teacher-forced, and the loss; `blocks` has the layer's parts, `decoding` the way with a cache.

Axes: B rows, S encoder length, T decoder length, D d_model, V table rows, M modalities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from unitok.config import LossConfig
from unitok.interfaces import Batch
from unitok.model import attention, contrastive, losses
from unitok.model.blocks import Params, fold, keys_of
from unitok.model.decoding import CachedDecoder
from unitok.model.layers import dropout, rms_norm
from unitok.model.parameters import init_params
from unitok.model.positions import places_in_values
from unitok.sharding import rows_of_a_device


@dataclass(frozen=True)
class EncoderDecoder(CachedDecoder):
    """The model as pure functions of its parameters."""

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
        config, keys = self.config, keys_of(dropout_key, 3)
        mask = attention.encoder_mask(segments_BS)
        context = self._context(params, "encoder", mask, positions_BS3)

        def layer(p: Params, x: jax.Array, key: jax.Array | None) -> jax.Array:
            return self._mlp(p, self._self_attention(p, x, context, fold(key, 0)), key)

        x_BSD = self._embed(params, ids_BS, modality_BS, keys[0])
        x_BSD = self._placed(
            params, "encoder", x_BSD, places_in_values(positions_BS3, modality_BS, segments_BS)
        )
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
        config, keys = self.config, keys_of(dropout_key, 3)
        mask = attention.decoder_mask(segments_BT, bidirectional_BT)
        context = self._context(params, "decoder", mask, positions_BT3)
        reads = attention.cross_mask(segments_BT, memory_segments_BS)

        def layer(p: Params, x: jax.Array, key: jax.Array | None) -> jax.Array:
            x = self._self_attention(p, x, context, fold(key, 0))
            k, v = attention.cross_keys_values(p, memory_BSD, config)
            x = self._cross_attention(p, x, k, v, reads, fold(key, 1))
            return self._mlp(p, x, key)

        x_BTD = self._embed(params, ids_BT, modality_BT, keys[0])
        x_BTD = self._placed(params, "decoder", x_BTD, positions_BT3)
        x_BTD = self._stack(layer, params["decoder"], x_BTD, config.decoder_layers, keys[1])
        x_BTD = rms_norm(x_BTD, params["decoder_norm"], config.norm_eps)
        return dropout(x_BTD, config.dropout, keys[2])

    # ---- losses ---------------------------------------------------------------------------

    def loss(
        self,
        params: Params,
        batch: Batch,
        loss_config: LossConfig,
        dropout_key: jax.Array | None = None,
        coefficient_BT: jax.Array | None = None,
        pairs: tuple[contrastive.PairTask, ...] = (),
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The scalar to minimise and its parts. coefficient_BT: of the whole batch, where this is a part of it;
        pairs: the contrastive tasks, whose loss is added, and whose sums join the metrics.

        metrics, float32: nll_M, tokens_M, correct_M summed over the labels of each target modality (the
        block the target is confined to, else the label's own), z_loss: the share of the z-loss in the
        scalar. nll is in nats, without smoothing.
        """
        memory_BSD, hidden_BTD = self._hidden(params, batch, dropout_key)
        modality_BT = self.label_modality(batch.labels_BT, batch.target_modality_BT)
        M = len(self.sizes.ranges)
        if coefficient_BT is None:
            coefficient_BT = self.coefficients(batch, loss_config)
        loss, scores = self._scores(params, hidden_BTD, batch, coefficient_BT, loss_config)
        scores = lax.stop_gradient(scores)
        member_BTM = (modality_BT[..., None] == jnp.arange(M)) * batch.weights_BT[..., None]
        by_modality = lambda x_BT: jnp.einsum("bt,btm->m", x_BT, member_BTM)  # noqa: E731
        found: dict[str, jax.Array] = {}
        if pairs:
            second_BTD = self._second_sides(params, batch, pairs, fold(dropout_key, 2))
            extra, found = contrastive.loss(memory_BSD, second_BTD, batch, pairs)
            loss += extra
        return loss, found | {
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
        _, hidden_BTD = self._hidden(params, batch, None)
        _, scores = self._scores(params, hidden_BTD, batch, batch.weights_BT, LossConfig())
        return jnp.where(batch.weights_BT > 0, -scores.nll, 0.0)

    def label_modality(self, labels_BT: jax.Array, target_modality_BT: jax.Array) -> jax.Array:
        """The modality a label counts for: the one its target is confined to, else its own block's. int32 [B, T]."""
        starts = jnp.array([start for start, _ in self.sizes.ranges[1:]], jnp.int32)
        own_BT = jnp.sum(labels_BT[..., None] >= starts, axis=-1)
        return jnp.where(target_modality_BT > 0, target_modality_BT, own_BT)

    def _hidden(
        self, params: Params, batch: Batch, key: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Encoder output [B, S, D] and decoder output [B, T, D]."""
        keys = keys_of(key, 2)
        memory_BSD = self.encode(
            params,
            batch.encoder_ids_BS,
            batch.encoder_positions_BS3,
            batch.encoder_modality_BS,
            batch.encoder_segments_BS,
            dropout_key=keys[0],
        )
        hidden_BTD = self.decode(
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
        return memory_BSD, hidden_BTD

    def _second_sides(
        self, params: Params, batch: Batch, pairs: Any, key: jax.Array | None
    ) -> jax.Array:
        """What the encoder makes of the pairs' second sides, which lie in the decoder's rows: [B, T, D]."""
        return self.encode(
            params,
            batch.decoder_ids_BT,
            batch.decoder_positions_BT3,
            batch.decoder_modality_BT,
            jnp.where(contrastive.of_tasks(batch, pairs), batch.decoder_segments_BT, 0),
            dropout_key=key,
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
            losses.time_chunk(config.chunk_rows, sizes.rows, rows_of_a_device(B), T),
        )
        targets = losses.Targets(batch.labels_BT, low, high, count, coefficient_BT)
        return losses.cross_entropy(hidden_BTD, self._head_table(params), targets, head)
