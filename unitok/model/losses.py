"""Cross entropy over the vocabulary table: fused with the head, chunked by rows, masked by modality.

Axes: B rows, T length, D d_model, V table rows, M modalities.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from unitok.model.layers import dot, outer, transposed

NEVER = -1e9
CHUNK_FROM = 16_384  # table rows from which chunks pay for themselves
# logits of a chunk, 64 MB: smaller ones read and write the table's gradient more often
CHUNK_CELLS = 2**24


class Head(NamedTuple):
    """Static settings of the loss. common: ids below it are always allowed; real: ids from it on never;
    scale: of the logits; time_chunk: time steps a chunk, 0 for one piece."""

    real: int
    common: int
    scale: float
    dtype: Any
    z_loss: float = 0.0
    smoothing: float = 0.0
    time_chunk: int = 0


class Targets(NamedTuple):
    """What each slot has to predict. ids int32; low, high int32: the block allowed besides the common ids;
    allowed int32: how many ids that makes; coefficient float32: of this slot in the loss. All [B, T]."""

    ids: jax.Array
    low: jax.Array
    high: jax.Array
    allowed: jax.Array
    coefficient: jax.Array


class Scores(NamedTuple):
    """Per slot, float32 [B, T], not differentiable: negative log-likelihood, whether the label is (joint)
    best, log of the partition function."""

    nll: jax.Array
    correct: jax.Array
    log_z: jax.Array


def time_chunk(chunk_rows: int | None, rows: int, batch: int, length: int) -> int:
    """Time steps of a chunk, for `batch` rows on a device. Chunks cut time, not the batch, so that a sharded batch stays where it is."""
    if chunk_rows is None:
        chunk_rows = CHUNK_CELLS // rows if rows >= CHUNK_FROM else 0
    steps = max(chunk_rows // batch, 1) if chunk_rows else 0
    return 0 if steps >= length else steps


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def cross_entropy(
    hidden_BTD: jax.Array, table_VD: jax.Array, targets: Targets, head: Head
) -> tuple[jax.Array, Scores]:
    """sum over slots of coefficient * (nll + z_loss * log_z ** 2), and the scores of each slot.

    nll is against (1 - smoothing) * one-hot + smoothing * uniform over the allowed ids; Scores.nll is
    without smoothing. z-loss: Chowdhery et al. 2022. Asked for gradients, the forward pass makes them
    too, chunk by chunk: the logits of more than one chunk never exist at once and none is computed twice.
    """

    def chunk(_: None, piece: Any) -> Any:
        h, y = piece
        _, scores, loss, _ = _chunk_scores(h, y, table_VD, head)
        return None, (loss, scores)

    _, (loss, scores) = _over_chunks(chunk, None, hidden_BTD, targets, head)
    return jnp.sum(loss), _joined(scores, hidden_BTD.shape, head)


def _forward(hidden_BTD: Any, table_VD: Any, targets: Targets, head: Head) -> Any:
    table = table_VD.astype(head.dtype)

    def chunk(sofar_DV: Any, piece: Any) -> Any:
        h, y = piece
        logits, scores, loss, allow = _chunk_scores(h, y, table, head)
        p = jnp.exp(logits - scores.log_z[..., None])
        columns = lax.broadcasted_iota(jnp.int32, logits.shape, 2)
        dlogits = p * (1 + 2 * head.z_loss * scores.log_z)[..., None]
        dlogits -= jnp.where(columns == y.ids[..., None], 1 - head.smoothing, 0.0)
        if head.smoothing:
            uniform = head.smoothing / jnp.maximum(y.allowed, 1)  # 0 in the padding of a chunk
            dlogits -= jnp.where(allow, uniform[..., None], 0.0)
        dlogits = (dlogits * (y.coefficient * head.scale)[..., None]).astype(head.dtype)
        dh = dot(dlogits, table, ((2,), (0,))).astype(h.dtype)
        rows = h.shape[0] * h.shape[1]
        dtable_DV = outer(h.astype(head.dtype).reshape(rows, -1), dlogits.reshape(rows, -1))
        return dtable_DV if sofar_DV is None else sofar_DV + dtable_DV, (loss, scores, dh)

    start = jnp.zeros(table_VD.shape[::-1], jnp.float32) if head.time_chunk else None
    dtable_DV, (loss, scores, dh) = _over_chunks(chunk, start, hidden_BTD, targets, head)
    shape = hidden_BTD.shape
    saved = (_joined(dh, shape, head), transposed(dtable_DV).astype(table_VD.dtype))
    return (jnp.sum(loss), _joined(scores, shape, head)), saved


def _backward(head: Head, saved: Any, cotangents: Any) -> Any:
    dh, dtable = saved
    g = cotangents[0]
    return (dh * g).astype(dh.dtype), dtable * g, None


cross_entropy.defvjp(_forward, _backward)


def _chunk_scores(h: Any, y: Targets, table_VD: Any, head: Head) -> Any:
    """Masked float32 logits [b, t, V], scores, loss of each slot, and the mask."""
    logits = dot(h.astype(head.dtype), table_VD.astype(head.dtype), ((2,), (1,))) * head.scale
    columns = lax.broadcasted_iota(jnp.int32, logits.shape, 2)
    allow = (columns >= y.low[..., None]) & (columns < y.high[..., None])
    allow |= columns < head.common
    logits = jnp.where(allow, logits, NEVER)
    top = jnp.max(logits, axis=-1)
    log_z = top + jnp.log(jnp.sum(jnp.exp(logits - top[..., None]), axis=-1))
    # a masked sum, not a gather: it fuses, and the vocabulary may be sharded
    label = jnp.sum(jnp.where(columns == y.ids[..., None], logits, 0.0), axis=-1)
    nll = log_z - label
    loss = nll
    if head.smoothing:
        mean = jnp.sum(jnp.where(allow, logits, 0.0), axis=-1) / jnp.maximum(y.allowed, 1)
        loss = log_z - (1 - head.smoothing) * label - head.smoothing * mean
    loss = y.coefficient * (loss + head.z_loss * log_z**2)
    return logits, Scores(nll, (label >= top).astype(jnp.float32), log_z), loss, allow


def _over_chunks(step: Any, carry: Any, hidden: Any, targets: Targets, head: Head) -> Any:
    """`step(carry, (hidden, targets))` over time chunks, or once over the whole."""
    steps = head.time_chunk
    if not steps:
        return step(carry, (hidden, targets))

    def cut(x: jax.Array) -> jax.Array:
        B, T = x.shape[:2]
        padded = jnp.pad(x, ((0, 0), (0, -T % steps)) + ((0, 0),) * (x.ndim - 2))
        return jnp.moveaxis(padded.reshape(B, -1, steps, *x.shape[2:]), 1, 0)

    pieces = jax.tree.map(cut, (hidden, targets))
    return lax.scan(step, carry, pieces)


def _joined(tree: Any, shape: tuple[int, ...], head: Head) -> Any:
    """Chunks [C, B, t, ...] back to [B, T, ...]."""
    if not head.time_chunk:
        return tree
    B, T = shape[:2]
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(B, -1, *x.shape[3:])[:, :T], tree)


def slot_coefficients(
    weights_BT: jax.Array, modality_BT: jax.Array, segments_BT: jax.Array, modalities: int, how: str
) -> jax.Array:
    """What each slot counts in the loss, float32 [B, T]; they sum to 1 where any weight is positive.

    token: all alike. example: a mean over each example's tokens, then over the examples, so that a label
    of one token counts as much as a paragraph. modality: a mean over each target modality's tokens, and
    the means weighted by the modalities' shares of the examples (an example with labels of several is
    split by their weights), so that an image of many tokens does not outweigh the label of one, nor a
    rare modality a common one.
    """
    total = jnp.maximum(jnp.sum(weights_BT), 1e-9)
    if how == "token":
        return weights_BT / total
    same_segment = (segments_BT[:, :, None] == segments_BT[:, None, :]).astype(jnp.float32)
    in_example = jnp.einsum("bts,bs->bt", same_segment, weights_BT)
    votes_BT = jnp.where(weights_BT > 0, weights_BT / jnp.maximum(in_example, 1e-9), 0.0)
    if how == "example":
        return votes_BT / jnp.maximum(jnp.sum(votes_BT), 1e-9)
    member_BTM = modality_BT[..., None] == jnp.arange(modalities)
    votes_M = jnp.sum(votes_BT[..., None] * member_BTM, axis=(0, 1))
    tokens_M = jnp.sum(weights_BT[..., None] * member_BTM, axis=(0, 1))
    share_M = votes_M / jnp.maximum(jnp.sum(votes_M), 1e-9)
    a_token_M = share_M / jnp.maximum(tokens_M, 1e-9)
    return weights_BT * jnp.sum(member_BTM * a_token_M, axis=-1)
