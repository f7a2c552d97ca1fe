"""Vectors to integer codes and back: EMA-VQ, FSQ, and both stacked (residual, product).

Every quantizer is a frozen (hashable, static) description; its arrays travel in a `state` dict.
Codes are computed in float32 whatever the compute type: in bfloat16 neighbouring codes melt together.
The same protocol everywhere:

    init(key) -> state
    encode(state, z[..., d]) -> int32 [..., Q]          Q codes a vector, q-th in 0..sizes[q]-1
    decode(state, codes[..., Q]) -> float32 [..., d]
    train(state, z, key) -> (quantized, codes, loss, state)    straight-through; loss: commitment

Axes: N vectors, K codes, d dimensions, Q codes a vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax

Array = Any
State = dict[str, Any]

CHUNK = 8192  # vectors compared with a codebook at once


class Quantizer(Protocol):
    dim: int
    sizes: tuple[int, ...]  # number of codes of each of the Q codes

    def init(self, key: Array) -> State: ...
    def encode(self, state: State, z: Array) -> Array: ...
    def decode(self, state: State, codes: Array) -> Array: ...
    def train(self, state: State, z: Array, key: Array) -> tuple[Array, Array, Array, State]: ...


def straight_through(z: Array, quantized: Array) -> Array:
    """Value of `quantized`, gradient of the identity (Bengio et al. 2013, arXiv:1308.3432)."""
    return z + lax.stop_gradient(quantized - z)


@dataclass(frozen=True)
class EmaVQ:
    """Nearest codebook vector; the codebook is the moving mean of what it was given.

    VQ-VAE with EMA updates (van den Oord et al. 2017, arXiv:1711.00937, appendix A.1), initialised
    from data; a code whose moving count falls below `revive` times the mean count is moved onto a
    vector of the batch, drawn in proportion to squared error as in k-means++ (Arthur and
    Vassilvitskii 2007), so that easy, frequent vectors (a blank background) do not win every code.
    """

    size: int
    dim: int
    decay: float = 0.95
    commitment: float = 0.25
    revive: float = 0.1

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.size,)

    def init(self, key: Array) -> State:
        """Random until the first `train` call, which takes the codebook from its data."""
        codebook_Kd = jax.random.normal(key, (self.size, self.dim), jnp.float32)
        return {
            "codebook": codebook_Kd,
            "counts": jnp.ones(self.size, jnp.float32),
            "sums": codebook_Kd,
            "ready": jnp.zeros((), jnp.bool_),
        }

    def encode(self, state: State, z: Array) -> Array:
        rows_Nd = z.reshape(-1, self.dim)
        if len(rows_Nd) <= CHUNK:
            codes_N, _ = nearest(state["codebook"], rows_Nd)
        else:  # the N x K distances of a large picture would fill the memory
            codes_N = lax.map(
                lambda z_d: nearest(state["codebook"], z_d)[0], rows_Nd, batch_size=CHUNK
            )
        return codes_N.reshape(*z.shape[:-1], 1)

    def decode(self, state: State, codes: Array) -> Array:
        return state["codebook"].astype(jnp.float32)[codes[..., 0]]

    def train(self, state: State, z: Array, key: Array) -> tuple[Array, Array, Array, State]:
        z_Nd = lax.stop_gradient(z).reshape(-1, self.dim).astype(jnp.float32)
        state = lax.cond(
            state["ready"], lambda s: s, lambda s: self._from_data(s, z_Nd, key), state
        )
        codes_N, error_N = nearest(state["codebook"], z_Nd)
        quantized = state["codebook"][codes_N].reshape(z.shape)
        # the commitment comes before the straight-through line: after it, it would be zero
        loss = self.commitment * jnp.mean((z - lax.stop_gradient(quantized)) ** 2)
        state = self._update(state, z_Nd, codes_N, error_N, key)
        return straight_through(z, quantized), codes_N.reshape(z.shape[:-1])[..., None], loss, state

    def _from_data(self, state: State, z_Nd: Array, key: Array) -> State:
        """A codebook of batch vectors; codes that no vector chose count as dead, hence move at once."""
        codebook_Kd = z_Nd[draw_by_weight(key, jnp.ones(len(z_Nd)), self.size)]
        counts_K, sums_Kd = self._tally(nearest(codebook_Kd, z_Nd)[0], z_Nd)
        return {
            "codebook": codebook_Kd,
            "counts": counts_K,
            "sums": sums_Kd,
            "ready": jnp.ones((), jnp.bool_),
        }

    def _tally(self, codes_N: Array, z_Nd: Array) -> tuple[Array, Array]:
        counts_K = jnp.zeros(self.size, jnp.float32).at[codes_N].add(1.0)
        sums_Kd = jnp.zeros((self.size, self.dim), jnp.float32).at[codes_N].add(z_Nd)
        return counts_K, sums_Kd

    def _update(
        self, state: State, z_Nd: Array, codes_N: Array, error_N: Array, key: Array
    ) -> State:
        new_counts_K, new_sums_Kd = self._tally(codes_N, z_Nd)
        counts_K = self.decay * state["counts"] + (1 - self.decay) * new_counts_K
        sums_Kd = self.decay * state["sums"] + (1 - self.decay) * new_sums_Kd
        mean_count = len(z_Nd) / self.size
        dead_K = counts_K < self.revive * mean_count
        fresh_Kd = z_Nd[draw_by_weight(key, error_N, self.size)]
        # a revived code starts with the mean count: it lives ln(revive)/ln(decay) steps unused
        counts_K = jnp.where(dead_K, mean_count, counts_K)
        sums_Kd = jnp.where(dead_K[:, None], fresh_Kd * mean_count, sums_Kd)
        return {
            "codebook": sums_Kd / counts_K[:, None],
            "counts": counts_K,
            "sums": sums_Kd,
            "ready": state["ready"],
        }


def nearest(codebook_Kd: Array, z: Array) -> tuple[Array, Array]:
    """Index int32 [...] of the nearest codebook vector, and the squared distance to it, in float32."""
    codebook_Kd, z = codebook_Kd.astype(jnp.float32), z.astype(jnp.float32)
    # HIGHEST: the default precision of a GPU or TPU would round the products (TF32, bfloat16)
    dots = jnp.einsum("...d,kd->...k", z, codebook_Kd, precision=lax.Precision.HIGHEST)
    scores = jnp.sum(codebook_Kd**2, -1) - 2 * dots
    codes = jnp.argmin(scores, -1).astype(jnp.int32)
    error = jnp.sum((z - codebook_Kd[codes]) ** 2, -1)
    return codes, error


def draw_by_weight(key: Array, weight_N: Array, count: int) -> Array:
    """Indices int32 [count] drawn in proportion to weight_N: systematic sampling, as few repeats as can be."""
    cumulative_N = jnp.cumsum(weight_N + 1e-12)
    points = (jnp.arange(count) / count + jax.random.uniform(key)) % 1 * cumulative_N[-1]
    return jnp.minimum(jnp.searchsorted(cumulative_N, points), len(weight_N) - 1)


@dataclass(frozen=True)
class FSQ:
    """Finite scalar quantization: dimension i falls into one of levels[i] equal bins (no state).

    Mentzer et al. 2023 (arXiv:2309.15505), in the centroid form: u = sigmoid(1.6 z), bin
    floor(u L), decoded to its centre 2 (bin + 1/2) / L - 1. No even/odd offset is needed and L = 2 works.
    """

    levels: tuple[int, ...]

    @property
    def dim(self) -> int:
        return len(self.levels)

    @property
    def sizes(self) -> tuple[int, ...]:
        return (math.prod(self.levels),)

    def init(self, key: Array) -> State:
        return {}

    def encode(self, state: State, z: Array) -> Array:
        return self.join(self.bins(z))[..., None]

    def decode(self, state: State, codes: Array) -> Array:
        return self.centres(self.split(codes[..., 0]))

    def train(self, state: State, z: Array, key: Array) -> tuple[Array, Array, Array, State]:
        bins = self.bins(z)
        smooth = 2 * jax.nn.sigmoid(1.6 * z.astype(jnp.float32)) - 1
        quantized = straight_through(smooth, self.centres(bins))
        return quantized, self.join(bins)[..., None], jnp.zeros((), jnp.float32), state

    def bins(self, z: Array) -> Array:
        """int32 [..., d], dimension i in 0..levels[i]-1."""
        levels = jnp.asarray(self.levels, jnp.float32)
        unit = jax.nn.sigmoid(1.6 * z.astype(jnp.float32))
        return jnp.clip(jnp.floor(unit * levels), 0, levels - 1).astype(jnp.int32)

    def centres(self, bins: Array) -> Array:
        return 2 * (bins.astype(jnp.float32) + 0.5) / jnp.asarray(self.levels, jnp.float32) - 1

    def join(self, bins: Array) -> Array:
        """Level indices to one code, in integers: mixed radix, first dimension fastest."""
        radix = [math.prod(self.levels[:i]) for i in range(self.dim)]
        return jnp.sum(bins * jnp.asarray(radix, jnp.int32), -1, dtype=jnp.int32)

    def split(self, codes: Array) -> Array:
        radix = [math.prod(self.levels[:i]) for i in range(self.dim)]
        return (
            codes[..., None] // jnp.asarray(radix, jnp.int32) % jnp.asarray(self.levels, jnp.int32)
        )


@dataclass(frozen=True)
class Residual:
    """Each stage quantizes what the stages before it left (RVQ; Zeghidour et al. 2021, arXiv:2107.03312)."""

    stages: tuple[Any, ...]

    @property
    def dim(self) -> int:
        return self.stages[0].dim

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(size for stage in self.stages for size in stage.sizes)

    def init(self, key: Array) -> State:
        keys = jax.random.split(key, len(self.stages))
        return {str(i): stage.init(keys[i]) for i, stage in enumerate(self.stages)}

    def encode(self, state: State, z: Array) -> Array:
        codes, rest = [], z.astype(jnp.float32)
        for i, stage in enumerate(self.stages):
            codes.append(stage.encode(state[str(i)], rest))
            rest = rest - stage.decode(state[str(i)], codes[-1])
        return jnp.concatenate(codes, -1)

    def decode(self, state: State, codes: Array) -> Array:
        return sum(
            stage.decode(state[str(i)], part)
            for i, (stage, part) in enumerate(zip(self.stages, _cut(codes, self.stages)))
        )

    def train(self, state: State, z: Array, key: Array) -> tuple[Array, Array, Array, State]:
        keys = jax.random.split(key, len(self.stages))
        total, rest = jnp.zeros_like(z), z
        codes, loss, new_state = [], jnp.zeros((), jnp.float32), {}
        for i, stage in enumerate(self.stages):
            quantized, part, stage_loss, new_state[str(i)] = stage.train(
                state[str(i)], rest, keys[i]
            )
            quantized = lax.stop_gradient(quantized)
            # the constant is subtracted, not the straight-through value: with that the next stage's
            # commitment would have no gradient
            rest = rest - quantized
            total, loss = total + quantized, loss + stage_loss
            codes.append(part)
        return straight_through(z, total), jnp.concatenate(codes, -1), loss, new_state


@dataclass(frozen=True)
class Product:
    """Each part quantizes its own slice of the dimensions (product quantization; Jegou et al. 2011)."""

    parts: tuple[Any, ...]

    @property
    def dim(self) -> int:
        return sum(part.dim for part in self.parts)

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(size for part in self.parts for size in part.sizes)

    def init(self, key: Array) -> State:
        keys = jax.random.split(key, len(self.parts))
        return {str(i): part.init(keys[i]) for i, part in enumerate(self.parts)}

    def _slices(self, z: Array) -> list[Array]:
        edges = [sum(part.dim for part in self.parts[:i]) for i in range(1, len(self.parts))]
        return jnp.split(z, edges, axis=-1)

    def encode(self, state: State, z: Array) -> Array:
        codes = [
            part.encode(state[str(i)], piece)
            for i, (part, piece) in enumerate(zip(self.parts, self._slices(z)))
        ]
        return jnp.concatenate(codes, -1)

    def decode(self, state: State, codes: Array) -> Array:
        pieces = [
            part.decode(state[str(i)], piece)
            for i, (part, piece) in enumerate(zip(self.parts, _cut(codes, self.parts)))
        ]
        return jnp.concatenate(pieces, -1)

    def train(self, state: State, z: Array, key: Array) -> tuple[Array, Array, Array, State]:
        keys = jax.random.split(key, len(self.parts))
        pieces, codes, loss, new_state = [], [], jnp.zeros((), jnp.float32), {}
        for i, (part, piece) in enumerate(zip(self.parts, self._slices(z))):
            quantized, ids, part_loss, new_state[str(i)] = part.train(state[str(i)], piece, keys[i])
            pieces.append(quantized)
            codes.append(ids)
            loss = loss + part_loss * part.dim / self.dim
        return jnp.concatenate(pieces, -1), jnp.concatenate(codes, -1), loss, new_state


def _cut(codes: Array, members: tuple[Any, ...]) -> list[Array]:
    """Split [..., Q] into each member's own codes."""
    edges, at = [], 0
    for member in members[:-1]:
        at += len(member.sizes)
        edges.append(at)
    return jnp.split(codes, edges, axis=-1)
