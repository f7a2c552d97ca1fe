"""Where a token is: multi-axis rotary embeddings, its place in its own value, and T5's relative position bias.

Axes: B rows, T queries, S keys, K head size, H heads, R buckets, E features of a place.
"""

from __future__ import annotations

import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# neighbours apart at one end, 4,096 places at the other: a period shorter than a value, such as a series of 300
# steps, would give two of its places the same features
PLACE_FREQUENCIES = np.pi / 2.0 ** np.arange(12)
PLACE_FEATURES = 2 * 3 * len(PLACE_FREQUENCIES)


def place_features(place_BT3: jax.Array) -> jax.Array:
    """Sine and cosine (Vaswani et al. 2017) of each token's place, float32 [B, T, E].

    Rotary embeddings know distances only: "the patch in the second row", which a classifier of images
    needs, or "the third beep of four", which whoever writes them needs, would have to be put together
    from distances to the begin mark.
    """
    angles = place_BT3[..., None].astype(jnp.float32) * jnp.asarray(PLACE_FREQUENCIES, jnp.float32)
    waves = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return waves.reshape(*place_BT3.shape[:-1], PLACE_FEATURES)


def places_in_values(
    positions_BT3: jax.Array, modality_BT: jax.Array, segments_BT: jax.Array
) -> jax.Array:
    """Positions less that of the value's first token, [B, T, 3]; a value: a stretch of one modality and segment."""
    same = (modality_BT[:, 1:] == modality_BT[:, :-1]) & (segments_BT[:, 1:] == segments_BT[:, :-1])
    slots = jnp.arange(positions_BT3.shape[1], dtype=jnp.int32)
    first_BT = lax.cummax(jnp.pad(jnp.where(same, 0, slots[1:]), ((0, 0), (1, 0))), axis=1)
    return positions_BT3 - jnp.take_along_axis(positions_BT3, first_BT[..., None], axis=1)


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
