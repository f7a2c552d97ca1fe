"""Where a token is: multi-axis rotary embeddings, and T5's relative position bias.

Axes: B rows, T queries, S keys, K head size, H heads, R buckets.
"""

from __future__ import annotations

import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np


def rotary_angles(positions_BT3: jax.Array, head_size: int, theta: float) -> jax.Array:
    """Angles of the rotary embedding (Su et al. 2021) over (time, height, width), float32 [B, T, K/2].

    Frequency pair i turns with axis i mod 3. Dealt out in turn, every axis spans all frequencies,
    whereas consecutive thirds would leave one axis only fast pairs and another only slow ones. A token
    whose three coordinates are equal, as text's are, gets exactly the ordinary one-axis embedding.
    """
    pairs = np.arange(head_size // 2)
    frequency = (theta ** (-2.0 * pairs / head_size)).astype(np.float32)
    return positions_BT3[..., pairs % 3].astype(jnp.float32) * frequency


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Turn pair (i, i + K/2) of x [..., T, K] by its angle; cos, sin [..., T, K/2] broadcast."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


@lru_cache(maxsize=16)
def relative_buckets(buckets: int, max_distance: int, bidirectional: bool) -> np.ndarray:
    """T5's bucket of each key offset -max_distance..max_distance (key minus query), int32 [2 max + 1].

    Exact for near offsets, logarithmic up to max_distance (Raffel et al. 2020); causal form: all later
    keys share bucket 0. A table, because the logarithm lands on whole numbers, where another rounding
    would choose another bucket.
    """
    offset = np.arange(-max_distance, max_distance + 1)
    base = np.zeros_like(offset)
    if bidirectional:
        buckets //= 2
        base = (offset > 0) * buckets
        distance = np.abs(offset)
    else:
        distance = np.maximum(-offset, 0)
    exact = buckets // 2
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact))
    far = ratio / np.float32(math.log(max_distance / exact)) * np.float32(buckets - exact)
    far = np.minimum(exact + far.astype(np.int64), buckets - 1)
    return (base + np.where(distance < exact, distance, far)).astype(np.int32)


def relative_bias(
    table_RH: jax.Array, query_slots: jax.Array, key_slots: jax.Array, max_distance: int, both: bool
) -> jax.Array:
    """Bias of each (query, key) pair, float32 [..., H, T, S]; slots are int32 [..., T] and [S].

    T5 counts tokens, so offsets are of slots in the row: inside a packed segment they are the same.
    """
    buckets = relative_buckets(table_RH.shape[0], max_distance, both)
    by_offset_HO = table_RH[jnp.asarray(buckets)].T
    offset = key_slots - query_slots[..., :, None]
    index = jnp.clip(offset, -max_distance, max_distance) + max_distance
    return jnp.moveaxis(by_offset_HO[:, index], 0, -3)
