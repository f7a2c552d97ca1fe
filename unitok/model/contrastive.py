"""The contrastive loss between the two sides of an example, over packed batches.

InfoNCE in both directions (Radford et al. 2021, CLIP): among all pairs of the batch, each side has to find
its other side, by the inner product of unit embeddings over a temperature. An example's first side lies in
the encoder's row, its second in the decoder's row under the same segment; the encoder reads both, and an
embedding is the mean of its output over the segment, as `Predictor.embed` takes it. Pairs of one task are
each other's negatives. Equal values in a batch are negatives too, as in CLIP: at the optimum they share the
probability.

Axes: B rows, S row length, K segments of a row, N = B K pairs, D d_model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from unitok.config import Config
from unitok.interfaces import Batch
from unitok.model.losses import NEVER
from unitok.objectives import contrastive_options
from unitok.sharding import BATCH, constrain

MOST_SEGMENTS = 64  # of a row; pairs in segments beyond are left out, and counted


@dataclass(frozen=True)
class PairTask:
    """A contrastive task: its number in the mixture, its temperature, its weight in the loss."""

    number: int
    temperature: float
    weight: float


def pair_tasks(config: Config) -> tuple[PairTask, ...]:
    """Of a run. Micro-batches hold negatives of their own, and their losses are averaged."""
    parts = config.optimizer.accumulate
    found = []
    for number, task in enumerate(config.tasks.values()):
        if task.objective.kind == "contrastive" and task.weight > 0:
            temperature, weight = contrastive_options(task.objective)
            found.append(PairTask(number, temperature, weight / parts))
    return tuple(found)


def of_tasks(batch: Batch, tasks: tuple[PairTask, ...]) -> jax.Array:
    """Which decoder slots hold second sides: bool [B, T]."""
    numbers = jnp.array([task.number for task in tasks], jnp.int32)
    return (batch.task_BT[..., None] == numbers).any(axis=-1) & (batch.decoder_segments_BT > 0)


def loss(
    first_BSD: jax.Array, second_BTD: jax.Array, batch: Batch, tasks: tuple[PairTask, ...]
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The scalar to add, and sums over the pairs: pair_nll (nats, mean of both directions), pair_hits (the
    partner is the nearest, mean of both), pairs, pairs_left_out (segments beyond MOST_SEGMENTS).

    first_BSD, second_BTD: encoder outputs of the encoder's rows, and of the decoder's rows. The scalar is
    the sum over pairs of weight * nll over the number of examples in the batch: a mean, times the share of
    contrastive examples, so that a task counts by its weight in the mixture.
    """
    segments = batch.decoder_segments_BT
    K = min(batch.encoder_ids_BS.shape[1], segments.shape[1], MOST_SEGMENTS)
    a_BKD, there_BK = pooled(first_BSD, batch.encoder_segments_BS, K)
    b_BKD, also_BK = pooled(second_BTD, segments, K)
    member_BTK = segments[..., None] == jnp.arange(1, K + 1)
    task_BK = jnp.max(jnp.where(member_BTK, batch.task_BT[..., None], -1), axis=1)
    numbers = jnp.array([task.number for task in tasks], jnp.int32)
    which_BKP = task_BK[..., None] == numbers
    valid_N = (there_BK & also_BK & which_BKP.any(axis=-1)).reshape(-1)
    of_task = lambda name: which_BKP @ jnp.array([getattr(t, name) for t in tasks], jnp.float32)  # noqa: E731
    temperature_N = jnp.where(valid_N, of_task("temperature").reshape(-1), 1.0)
    weight_N, task_N = of_task("weight").reshape(-1), task_BK.reshape(-1)
    a_ND, b_ND = (x.reshape(-1, x.shape[-1]) for x in (a_BKD, b_BKD))
    own_NN = jnp.eye(len(task_N), dtype=bool)
    nll_N, hit_N = jnp.zeros_like(weight_N), jnp.zeros_like(weight_N)
    for mine_ND, theirs_ND in ((a_ND, b_ND), (b_ND, a_ND)):
        # every device scores its own pairs against all
        mine, theirs = constrain(mine_ND, BATCH, None), constrain(theirs_ND, None, None)
        scores_NN = jnp.einsum("nd,md->nm", mine, theirs) / temperature_N[:, None]
        allowed_NN = valid_N[None, :] & (task_N[:, None] == task_N[None, :])
        scores_NN = jnp.where(allowed_NN, scores_NN, NEVER)
        own_N = jnp.sum(a_ND * b_ND, axis=-1) / temperature_N
        nll_N += 0.5 * (jax.nn.logsumexp(scores_NN, axis=-1) - own_N)
        strangers_NN = jnp.where(own_NN, NEVER, scores_NN)
        hit_N += 0.5 * (own_N > strangers_NN.max(axis=-1))
    sum_of = lambda x_N: jnp.sum(jnp.where(valid_N, x_N, 0.0))  # noqa: E731
    scalar = sum_of(weight_N * nll_N) / jnp.maximum(_examples(segments), 1)
    pairs = jnp.sum(valid_N).astype(jnp.float32)
    left_out = _examples(jnp.where(of_tasks(batch, tasks) & (segments > K), segments, 0))
    found = {
        "pair_nll": sum_of(nll_N), "pair_hits": sum_of(hit_N), "pairs": pairs,
        "pairs_left_out": left_out.astype(jnp.float32),
    }  # fmt: skip
    return scalar, lax.stop_gradient(found)


def pooled(x_BSD: jax.Array, segments_BS: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Mean over each of the segments 1..count at unit length, float32 [B, K, D]; whether it holds anything."""
    member_BSK = (segments_BS[..., None] == jnp.arange(1, count + 1)).astype(jnp.float32)
    total_BKD = jnp.einsum("bsk,bsd->bkd", member_BSK, x_BSD.astype(jnp.float32))
    size_BK = member_BSK.sum(axis=1)
    mean_BKD = total_BKD / jnp.maximum(size_BK, 1)[..., None]
    # of the squares, so that an empty segment has a gradient: zero
    squares = jnp.maximum(jnp.sum(mean_BKD**2, axis=-1, keepdims=True), 1e-24)
    return mean_BKD * lax.rsqrt(squares), size_BK > 0


def _examples(segments_BT: jax.Array) -> Any:
    """Segments that a batch holds: each counted where it begins."""
    before = jnp.pad(segments_BT[:, :-1], ((0, 0), (1, 0)))
    return jnp.sum((segments_BT > 0) & (segments_BT != before))
