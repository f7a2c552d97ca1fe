"""The parameters, declared with Flax NNX and handed out as a pure nested dict: the only file that names flax.

Layers are stacked on axis 0, float32 throughout. Axes are those of `unitok.sharding.ParamSpecs`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from unitok.config import ModelConfig
from unitok.model.positions import PLACE_FEATURES


def init_params(config: ModelConfig, rows: int, modalities: int, key: jax.Array) -> dict[str, Any]:
    """Fresh parameters for a table of `rows` rows: a pure function of the key; jit and eval_shape it freely."""
    return nnx.to_pure_dict(nnx.state(Model(config, rows, modalities, key), nnx.Param))


class Model(nnx.Module):
    """All parameters. Embeddings reach the first layer at unit variance, logits start at unit variance."""

    def __init__(self, config: ModelConfig, rows: int, modalities: int, key: jax.Array) -> None:
        D, keys = config.d_model, iter(jax.random.split(key, 9))
        scaled_at_use = config.tied_head and not config.head_scale
        self.embedding = _normal(next(keys), (rows, D), D**-0.5 if scaled_at_use else 1.0)
        if not config.tied_head:
            self.head = _normal(next(keys), (rows, D), D**-0.5)
        if config.modality_embedding:
            self.modality = _normal(next(keys), (modalities, D), 0.02)
        for side, layers, layer in (
            ("encoder", config.encoder_layers, EncoderLayer),
            ("decoder", config.decoder_layers, DecoderLayer),
        ):
            if config.positions == "relative_bias":
                shape = (config.relative_buckets, config.num_heads)
                setattr(self, f"{side}_bias", _normal(next(keys), shape, D**-0.5))
            stacked = jax.vmap(lambda key, layer=layer: layer(config, key))
            setattr(self, side, stacked(jax.random.split(next(keys), layers)))
            setattr(self, f"{side}_norm", nnx.Param(jnp.ones(D)))
        if config.place_embedding:
            for side in ("encoder", "decoder"):
                std = (PLACE_FEATURES / 2) ** -0.5
                setattr(self, f"{side}_place", _normal(next(keys), (PLACE_FEATURES, D), std))


class EncoderLayer(nnx.Module):
    """Self-attention and MLP, each after its norm. Branch outputs start small: 1 / sqrt(2 layers)."""

    def __init__(self, config: ModelConfig, key: jax.Array) -> None:
        D, F, H, N, K = (
            config.d_model,
            config.d_ff,
            config.num_heads,
            config.kv_heads,
            config.head_size,
        )
        q_key, kv_key, out_key, wi_key, wo_key = jax.random.split(key, 5)
        branch = (2 * max(config.encoder_layers, config.decoder_layers)) ** -0.5
        q = _normal(q_key, (D, N, H // N, K), query_std(config))[...]
        kv = _normal(kv_key, (D, N, 2, K), D**-0.5)[...]
        self.attention_norm = nnx.Param(jnp.ones(D))
        self.qkv = nnx.Param(jnp.concatenate([q, kv], axis=2))
        self.out = _normal(out_key, (H, K, D), branch * (H * K) ** -0.5)
        if config.qk_norm:
            self.q_norm, self.k_norm = nnx.Param(jnp.ones(K)), nnx.Param(jnp.ones(K))
        self.mlp_norm = nnx.Param(jnp.ones(D))
        self.wi = _normal(wi_key, (D, 2 if config.gated else 1, F), D**-0.5)
        self.wo = _normal(wo_key, (F, D), branch * F**-0.5)


class DecoderLayer(EncoderLayer):
    """An encoder layer with cross-attention between its two parts."""

    def __init__(self, config: ModelConfig, key: jax.Array) -> None:
        D, H, N, K = config.d_model, config.num_heads, config.kv_heads, config.head_size
        base_key, q_key, kv_key, out_key = jax.random.split(key, 4)
        super().__init__(config, base_key)
        branch = (2 * max(config.encoder_layers, config.decoder_layers)) ** -0.5
        self.cross_norm = nnx.Param(jnp.ones(D))
        self.cross_q = _normal(q_key, (D, H, K), query_std(config))
        self.cross_kv = _normal(kv_key, (D, N, 2, K), D**-0.5)
        self.cross_out = _normal(out_key, (H, K, D), branch * (H * K) ** -0.5)
        if config.qk_norm:
            self.cross_q_norm, self.cross_k_norm = nnx.Param(jnp.ones(K)), nnx.Param(jnp.ones(K))


def query_std(config: ModelConfig) -> float:
    """T5 leaves attention unscaled and starts its queries smaller instead."""
    return (config.d_model * (1 if config.scale_attention else config.head_size)) ** -0.5


def _normal(key: jax.Array, shape: tuple[int, ...], std: float) -> nnx.Param:
    return nnx.Param(std * jax.random.normal(key, shape, jnp.float32))
