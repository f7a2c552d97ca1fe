"""Fitting the audio codec: k-means for the envelopes, then gradient descent on gains and shapes together.

Each step draws stretches of the recordings at random places (so a frame begins anywhere), walks the levels
as the encoder does, greedily, and moves gains and chosen shapes down the squared error that is left after
each level, in proportion to the root of the frame's power: between what SI-SDR counts (power) and what ears
do (decibels). A shape that is hardly chosen is replaced by a busy one with some noise.

Legend: G frames, N coefficients, S levels of shapes, H shapes, K envelopes, B bands.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unitok.errors import RunError
from unitok.tokenizers import audio_codec as codec
from unitok.tokenizers import audio_spectral
from unitok.tokenizers.audio_grammar import CODES, FRAME
from unitok.tokenizers.codec_fit import code_statistics
from unitok.tokenizers.mdct import mdct
from unitok.tokenizers.quantizers import draw_by_weight
from unitok.values import ValueRefused

Array = Any

STRETCH = 32  # frames drawn in one piece
ENVELOPE_FRAMES, ENVELOPE_ROUNDS = 24576, 12  # for k-means
QUIET = 0.03  # mean power, of the sound's own, below which frames no longer gain weight
USED, REVIVE, REVIVE_EVERY = (
    0.97,
    0.05,
    8,
)  # memory of use; share of the mean use, steps between looks


def fit(
    sounds: Sequence[np.ndarray],
    *,
    levels: int,
    emphasis: Sequence[float],
    spectral: float,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    log: Callable[[str], Any],
) -> dict[str, np.ndarray]:
    """Weights of `levels` codes a frame (half precision), fitted to `sounds`: float32 [T] of loudness 1.

    batch_size: stretches of 32 frames a step. emphasis: weight of the error left after each level. spectral:
    weight of the spectral distance of what `decode` gives, after those levels whose emphasis is 1 or more.
    Raises RunError when the loss stops being finite, ValueRefused where there is nothing to hear.
    """
    rng = np.random.default_rng(seed)
    tape = joined(sounds)
    key = jax.random.key(seed)
    params = initial(lambda n: draw(tape, rng, n), levels, rng)
    log(f"fit: {len(tape) / 16000:.0f} s of sound, envelopes from {ENVELOPE_FRAMES} frames")
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(
            optax.warmup_cosine_decay_schedule(0.0, learning_rate, min(30, steps), steps + 1)
        ),
    )
    learned = {name: params[name] for name in ("gains", "shapes")}
    use_SH = jnp.full((levels - 1, codec.SHAPES), batch_size * STRETCH / codec.SHAPES)
    carry = (learned, optimizer.init(learned), use_SH)
    weights = Weights(tuple(emphasis), spectral)
    start = time.perf_counter()
    for step in range(steps):
        carry, metrics = _step(
            optimizer, weights, carry, params["envelopes"], draw(tape, rng, batch_size),
            jax.random.fold_in(key, step), step,
        )  # fmt: skip
        if (step + 1) % max(1, steps // 10) == 0 or step + 1 == steps:
            log(_progress(step + 1, steps, metrics, time.perf_counter() - start))
    return codec.half_precision({"envelopes": params["envelopes"], **carry[0]})


def joined(sounds: Sequence[np.ndarray]) -> np.ndarray:
    """All sounds one after the other, a frame of silence between them."""
    gap = np.zeros(FRAME, np.float32)
    parts = [part for sound in sounds for part in (sound.astype(np.float32), gap)]
    tape = np.concatenate(parts) if parts else gap
    if len(tape) < 2 * STRETCH * FRAME or not tape.any():
        raise ValueRefused("audio fit: less than 1.3 seconds of sound; give more recordings")
    return tape


def draw(tape: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """float32 [G, N], G = 32 count: the frames of stretches that begin anywhere."""
    length = STRETCH * FRAME
    starts = rng.integers(0, len(tape) - length + 1, count)
    return np.concatenate([mdct(tape[at : at + length], FRAME) for at in starts])


# ---- where it begins -----------------------------------------------------------------------------


def initial(sample: Callable[[int], np.ndarray], levels: int, rng: np.random.Generator) -> Any:
    """Envelopes by k-means; gains: the envelopes, less at each level; shapes: frames drawn by loudness."""
    x_GN = sample(-(-ENVELOPE_FRAMES // STRETCH))
    companded_GB = (np.asarray(codec.band_powers(x_GN)) + codec.POWER_FLOOR) ** codec.COMPANDING
    envelopes_KB = k_means(companded_GB, CODES, rng)
    nearest_G = _nearest(envelopes_KB, companded_GB)
    log_rms_KB = np.log(np.maximum(envelopes_KB, 1e-3)) / (2 * codec.COMPANDING)
    flat_GN = x_GN / np.maximum(np.exp(log_rms_KB)[nearest_G] @ codec.IN_BAND.T, 1e-3)
    loudness_G = np.sqrt(np.sum(x_GN**2, axis=1)) + 1e-9
    chosen_SH = rng.choice(len(x_GN), (levels - 1, codec.SHAPES), p=loudness_G / loudness_G.sum())
    less_S = np.minimum(0.15 * np.arange(levels - 1), 0.8)
    return {
        "envelopes": jnp.asarray(envelopes_KB, jnp.float32),
        "gains": jnp.asarray(log_rms_KB - less_S[:, None, None], jnp.float32),
        "shapes": jnp.asarray(0.5 * flat_GN[chosen_SH], jnp.float32),
    }


def k_means(x_GB: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Lloyd's algorithm; an empty cluster moves to a vector drawn in proportion to its squared error."""
    means_KB = x_GB[rng.choice(len(x_GB), count, replace=len(x_GB) < count)].copy()
    for _ in range(ENVELOPE_ROUNDS):
        nearest_G = _nearest(means_KB, x_GB)
        sizes_K = np.bincount(nearest_G, minlength=count)
        sums_KB = np.zeros_like(means_KB)
        np.add.at(sums_KB, nearest_G, x_GB)
        means_KB = np.where(
            sizes_K[:, None] > 0, sums_KB / np.maximum(sizes_K, 1)[:, None], means_KB
        )
        error_G = np.sum((x_GB - means_KB[nearest_G]) ** 2, axis=1) + 1e-12
        empty = np.flatnonzero(sizes_K == 0)
        means_KB[empty] = x_GB[rng.choice(len(x_GB), len(empty), p=error_G / error_G.sum())]
    return means_KB


def _nearest(means_KB: np.ndarray, x_GB: np.ndarray) -> np.ndarray:
    return np.argmin(np.sum(means_KB**2, axis=1) - 2 * x_GB @ means_KB.T, axis=1)


# ---- a step --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """Of the terms of the loss: of the error left after each level [S], and of the spectrum."""

    emphasis: tuple[float, ...]
    spectral: float


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _step(
    optimizer: Any,
    weights: Weights,
    carry: Any,
    envelopes_KB: Array,
    x_GN: Array,
    key: Array,
    step: int,
) -> tuple[Any, Any]:
    learned, moments, use_SH = carry
    value_and_grad = jax.value_and_grad(_objective, has_aux=True)
    (loss, (left_S, codes_GQ)), gradient = value_and_grad(learned, envelopes_KB, weights, x_GN)
    updates, moments = optimizer.update(gradient, moments)
    learned = optax.apply_updates(learned, updates)
    chosen_SG = codes_GQ[:, 1:].T % codec.SHAPES
    counts_SH = jax.vmap(lambda c: jnp.zeros(codec.SHAPES).at[c].add(1.0))(chosen_SG)
    use_SH = USED * use_SH + (1 - USED) * counts_SH
    shapes, use_SH = jax.lax.cond(
        step % REVIVE_EVERY == 0, _revived, lambda shapes, use, key: (shapes, use),
        learned["shapes"], use_SH, key,
    )  # fmt: skip
    metrics = {"loss": loss, "left": left_S, "codes": codes_GQ}
    return ({**learned, "shapes": shapes}, moments, use_SH), metrics


def _objective(
    learned: Any, envelopes_KB: Array, weights: Weights, x_GN: Array
) -> tuple[Array, Any]:
    """The error left after each level under the greedy choice, and its share of the power, [S]."""
    params = {"envelopes": envelopes_KB, **learned}
    fixed = jax.lax.stop_gradient(params)
    envelope_G = codec.nearest_envelope(envelopes_KB, x_GN)
    rest_GN, left, codes = x_GN, [], [envelope_G]
    spectra: Array = 0.0
    for level in range(len(learned["shapes"])):
        gain_GB = codec.band_gains(fixed, envelope_G, level)
        rest = jax.lax.stop_gradient(rest_GN)[:, None]
        code_G = codec.best_shapes(fixed["shapes"][level], gain_GB, rest, 1)[1][:, 0]
        gain_GN = codec.band_gains(params, envelope_G, level) @ codec.IN_BAND.T
        rest_GN = rest_GN - codec.signed(learned["shapes"][level], code_G) * gain_GN
        left.append(jnp.sum(rest_GN**2, axis=1))
        codes.append(code_G)
        if weights.spectral and weights.emphasis[level] >= 1:
            made_GN, place_G = x_GN - rest_GN, jnp.arange(len(x_GN))
            # the noise is heard, but nothing is learned from it: where a band lacks nothing it has no slope
            noise_GN = codec.filled(fixed, envelope_G, made_GN, place_G) - made_GN
            heard_GN = made_GN + jax.lax.stop_gradient(noise_GN)
            spectra = spectra + audio_spectral.distance(x_GN, heard_GN, STRETCH)
    left_SG, power_G = jnp.stack(left), jnp.sum(x_GN**2, axis=1)
    weighted_S = jnp.mean(left_SG / jnp.sqrt(power_G + QUIET * FRAME), axis=1) / FRAME**0.5
    share_S = jnp.sum(left_SG, axis=1) / jnp.sum(power_G)
    waveform = jnp.sum(jnp.asarray(weights.emphasis) * weighted_S)
    return waveform + weights.spectral * spectra, (share_S, jnp.stack(codes, axis=1))


def _revived(shapes_SHN: Array, use_SH: Array, key: Array) -> tuple[Array, Array]:
    """Shapes that are hardly used become busy ones with some noise, and count as used for a while."""
    keys = jax.random.split(key, len(use_SH))
    mean_use = jnp.mean(use_SH)
    busy_SH = jax.vmap(draw_by_weight, (0, 0, None))(keys, use_SH, codec.SHAPES)
    copies_SHN = jnp.take_along_axis(shapes_SHN, busy_SH[..., None], axis=1)
    noise_SHN = 1 + 0.2 * jax.random.normal(key, shapes_SHN.shape)
    dead_SH = use_SH < REVIVE * mean_use
    fresh_SHN = jnp.where(dead_SH[..., None], copies_SHN * noise_SHN, shapes_SHN)
    return fresh_SHN, jnp.where(dead_SH, mean_use, use_SH)


def _progress(step: int, steps: int, metrics: Any, elapsed: float) -> str:
    loss = float(metrics["loss"])
    if not np.isfinite(loss):
        raise RunError(f"audio fit: loss {loss} at step {step}; lower the learning rate")
    codes_GQ = np.asarray(metrics["codes"])
    found = [code_statistics(codes_GQ[:, q], CODES) for q in range(codes_GQ.shape[1])]
    decibels = -10 * np.log10(np.asarray(metrics["left"]))
    return (
        f"step {step}/{steps}  loss {loss:.4f}  SNR after each level "
        f"{' '.join(f'{d:.1f}' for d in decibels)} dB  perplexity {found[0][1]:.0f}, "
        f"{np.mean([p for _, p in found[1:]]):.0f}  {elapsed:.0f} s, "
        f"{elapsed / step * (steps - step):.0f} s left"
    )
