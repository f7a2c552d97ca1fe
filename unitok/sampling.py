"""From logits to the next id: repetition penalty, temperature, top-k, top-p, min-p, Gumbel argmax.

Every control is an array with one entry a row, so rows of one batch may differ; which of them are
compiled in at all is static (`unitok.generate.Plan`). Axes: B rows, V rows of the embedding table.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

NEVER = -jnp.inf


def masked(logits: Any, allowed: Any) -> Any:
    """Logits where allowed, minus infinity elsewhere."""
    return jnp.where(allowed, logits, NEVER)


def first_argmax(x: Any) -> Any:
    """argmax over the last axis, ties to the lowest index, int32: two plain reductions, which CPUs
    vectorise, in place of one over (value, index) pairs."""
    best = x.max(axis=-1, keepdims=True)
    index = jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
    return jnp.where(x == best, index, x.shape[-1]).min(axis=-1)


def log_prob(masked_logits: Any, ids: Any) -> Any:
    """log softmax at `ids` over the last axis, float32."""
    picked = jnp.take_along_axis(masked_logits, ids[..., None], axis=-1)[..., 0]
    return picked - jax.nn.logsumexp(masked_logits, axis=-1)


def penalise(logits_BV: Any, seen_BV: Any, penalty_B: Any) -> Any:
    """Repetition penalty of CTRL (Keskar et al. 2019): ids seen before are divided (if negative, multiplied) by it."""
    penalty = penalty_B[:, None]
    down = jnp.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
    return jnp.where(seen_BV, down, logits_BV)


def filter_top(logits_BV: Any, top_k_B: Any, top_p_B: Any, min_p_B: Any) -> Any:
    """Keep the k likeliest ids (0: all), of those the least set whose mass reaches p (Holtzman et al.
    2020; 1: all), of those what has at least min_p of the likeliest one's probability (0: all).

    The likeliest id always stays. Ties at the threshold stay together.
    """
    sorted_BV = -jnp.sort(-logits_BV, axis=-1)
    rank = jnp.arange(logits_BV.shape[-1])[None, :]
    in_k = (rank < top_k_B[:, None]) | (top_k_B[:, None] <= 0)
    probs = jax.nn.softmax(jnp.where(in_k, sorted_BV, NEVER), axis=-1)
    before = jnp.cumsum(probs, axis=-1) - probs
    keep = in_k & ((before < top_p_B[:, None]) | (top_p_B[:, None] >= 1))
    keep = (keep & (probs >= min_p_B[:, None] * probs[:, :1])) | (rank == 0)
    threshold = jnp.where(keep, sorted_BV, jnp.inf).min(axis=-1, keepdims=True)
    return masked(logits_BV, logits_BV >= threshold)


def gumbel(keys_B: Any, rows: int) -> Any:
    """Gumbel noise [B, V], a pure function of each row's own key."""
    return jax.vmap(lambda key: jax.random.gumbel(key, (rows,)))(keys_B)


def scaled(logits: Any, temperature: Any) -> Any:
    """Logits over temperature, the largest shifted to 0 first, so that the least temperature overflows nothing."""
    top = logits.max(axis=-1, keepdims=True)
    return (logits - top) / jnp.maximum(temperature, 1e-6)
