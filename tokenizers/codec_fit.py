"""Fitting a codec with its quantizer: one loop for images, sound and any other grid.

AdamW, warmup and cosine, gradient clipping, EMA of the weights. (A last stage that fits the decoder
alone to a frozen encoder was tried: it gained nothing, 25.2 against 25.3 dB on digits.)

Axes: B batch, H W pixels, C channels, Q codes a vector.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unitok.errors import RunError
from unitok.values import Image, ValueRefused

Array = Any
Draw = Callable[[np.random.Generator, int], np.ndarray]

SMALL = 64  # images up to this side, all of one shape, are used whole
LOG_FLOOR = 1e-4  # of a squared error on [-1, 1]: what lies beyond 46 dB is worth no effort
LOG_WEIGHT = 0.2  # beside the quantizer's commitment


def fit_codec(
    codec: Any,
    quantizer: Any,
    draw: Draw,
    *,
    loss: Callable[[Array, Array], Array],
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int = 0,
    log: Callable[[str], None] = print,
) -> tuple[Any, Any]:
    """(params, quantizer state) of `codec`, any object with init, encode(params, x), decode(params, z).

    draw(rng, n) gives x [n, ...], float32 or uint8 (uint8 is scaled to [-1, 1]); loss(x_hat, x) is a
    scalar. Returns the averaged weights. Raises RunError when the loss stops being finite.
    """
    rng = np.random.default_rng(seed)
    key = jax.random.key(seed)
    params = codec.init(key)
    state = quantizer.init(key)
    optimizer, run = _make_step(codec, quantizer, loss, learning_rate, steps)
    copy = functools.partial(jax.tree.map, jnp.copy)  # donated: no buffer may appear twice
    carry = (params, copy(params), copy(state), optimizer.init(params))
    progress = _Progress(quantizer, steps, log)
    for step in range(steps):
        carry, metrics = run(carry, draw(rng, batch_size), jax.random.fold_in(key, step))
        progress.update(step, metrics)
    return carry[1], carry[2]


def adamw(learning_rate: float, steps: int) -> Any:
    warmup = min(100, max(1, steps // 10))
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, warmup, max(steps, warmup + 1)
    )
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.98, weight_decay=1e-4)
    )


@functools.lru_cache(maxsize=8)  # the same fit again, with another seed say, compiles nothing
def _make_step(
    codec: Any, quantizer: Any, loss: Any, learning_rate: float, steps: int
) -> tuple[Any, Any]:
    optimizer, decay = adamw(learning_rate, steps), max(0.9, 1 - 10 / steps)

    def objective(params: Any, state: Any, x: Array, key: Array) -> tuple[Array, Any]:
        z = codec.encode(params, x)
        quantized, codes, commitment, state = quantizer.train(state, z, key)
        x_hat = codec.decode(params, quantized)
        return loss(x_hat, x) + commitment, (state, codes, jnp.mean((x_hat - x) ** 2))

    @functools.partial(jax.jit, donate_argnums=0)
    def step(carry: Any, x: Array, key: Array) -> tuple[Any, Any]:
        params, average, state, moments = carry
        x = x.astype(jnp.float32) / 127.5 - 1 if x.dtype == jnp.uint8 else x
        value_and_grad = jax.value_and_grad(objective, has_aux=True)
        (value, (state, codes, error)), gradient = value_and_grad(params, state, x, key)
        updates, moments = optimizer.update(gradient, moments, params)
        params = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)
        return (params, average, state, moments), {"loss": value, "codes": codes, "mse": error}

    return optimizer, step


class _Progress:
    """A line about every tenth of the way: loss, PSNR, codes used, perplexity, seconds left."""

    def __init__(self, quantizer: Any, steps: int, log: Callable[[str], None]) -> None:
        self.sizes, self.steps, self.log = quantizer.sizes, steps, log
        self.every = max(1, steps // 10)
        self.start = time.perf_counter()
        self.pending: list[Any] = []

    def update(self, step: int, metrics: Any) -> None:
        self.pending.append(metrics)
        self.pending = self.pending[-32:]
        if (step + 1) % self.every and step + 1 != self.steps:
            return
        loss = float(metrics["loss"])
        if not np.isfinite(loss):
            raise RunError(
                f"tokenizer fit: loss {loss} at step {step + 1}; lower the learning rate"
            )
        codes = np.concatenate(
            [np.asarray(m["codes"]).reshape(-1, len(self.sizes)) for m in self.pending]
        )
        mse = float(np.mean([float(m["mse"]) for m in self.pending]))
        stats = [code_statistics(codes[:, q], size) for q, size in enumerate(self.sizes)]
        used = sum(used for used, _ in stats)
        perplexity = float(np.mean([p / size for (_, p), size in zip(stats, self.sizes)]))
        elapsed = time.perf_counter() - self.start
        self.log(
            f"step {step + 1}/{self.steps}  loss {loss:.4f}  psnr {10 * np.log10(4 / mse):.2f} dB  "
            f"codes {used}/{sum(self.sizes)}  perplexity/size {perplexity:.2f}  "
            f"{elapsed:.0f} s, {elapsed / (step + 1) * (self.steps - step - 1):.0f} s left"
        )
        self.pending = []
        if used < 0.05 * sum(self.sizes) and step + 1 == self.every:
            self.log("early check: fewer than 5 % of the codes are used; is the data constant?")


def code_statistics(codes: np.ndarray, size: int) -> tuple[int, float]:
    """(codes used at least once, perplexity exp(entropy) of their distribution), of int [n]."""
    counts = np.bincount(np.asarray(codes).reshape(-1), minlength=size)
    p = counts[counts > 0] / max(1, counts.sum())
    return len(p), float(np.exp(-(p * np.log(p)).sum()))


# ---- images --------------------------------------------------------------------------------------


def whole_loss(x_hat: Array, x: Array) -> Array:
    """The mean over images of the log of each one's error: what the mean PSNR counts, up to a factor.

    The log keeps the few hard images from taking all of the codec, and the loss at one size beside the
    quantizer's commitment from the first step to the last.
    """
    return LOG_WEIGHT * jnp.mean(jnp.log(_errors(x_hat, x) + LOG_FLOOR))


def crop_loss(x_hat: Array, x: Array) -> Array:
    """The same of the batch as one image: crops are parts of pictures whose PSNR is over all of their parts."""
    return LOG_WEIGHT * jnp.log(jnp.mean(_errors(x_hat, x)) + LOG_FLOOR)


def _errors(x_hat: Array, x: Array) -> Array:
    """[B]: mean squared error of the pixels, and half of that of their differences down and right.

    The differences stress fine detail, which squared error alone learns last (digits, a short fit:
    17.6 dB with them, 15.8 without).
    """
    error = x_hat - x
    down, right = error[:, 1:] - error[:, :-1], error[:, :, 1:] - error[:, :, :-1]
    pixels, *slopes = (jnp.mean(part**2, (1, 2, 3)) for part in (error, down, right))
    return pixels + 0.5 * sum(slopes)


def used_whole(values: Sequence[Image], scales: tuple[int, ...]) -> bool:
    """Whether a fit takes these images whole: all of one small shape, and no reduction asked for."""
    first = values[0].pixels.shape if len(values) else (0, 0)
    if max(first[:2]) > SMALL or scales != (1,):
        return False
    return all(value.pixels.shape == first for value in values)


def image_crops(
    values: Sequence[Image],
    patch: int,
    *,
    crop: int,
    scales: tuple[int, ...],
    grey: float,
    flip: bool,
) -> Draw:
    """draw(rng, n) -> uint8 [n, s, s, 3]: whole images where all have one small shape, else random crops."""
    if len(values) == 0:
        raise ValueRefused("tokenizer fit: no images; give at least one")
    for value in values:
        if not isinstance(value, Image):
            raise ValueRefused(f"tokenizer fit: want images, got {type(value).__name__}")
    if used_whole(values, scales):
        height, width, _ = values[0].pixels.shape
        side = (-(-height // patch) * patch, -(-width // patch) * patch)
        whole = np.stack([_padded(value.pixels, side) for value in values])
        pools, areas = [whole], np.ones(1)
    else:
        side = (-(-crop // patch) * patch,) * 2
        reduced = [_reduced(value.pixels, s) for value in values for s in scales]
        pools = [_padded(pixels, side)[None] for pixels in reduced]
        areas = np.sqrt([pool.shape[1] * pool.shape[2] for pool in pools])
    chance = areas / areas.sum()

    def draw(rng: np.random.Generator, count: int) -> np.ndarray:
        out = np.empty((count, *side, 3), np.uint8)
        for row, which in enumerate(rng.choice(len(pools), count, p=chance)):
            pool = pools[which]
            i = rng.integers(len(pool))
            y, x = (rng.integers(have - want + 1) for have, want in zip(pool.shape[1:3], side))
            picture = pool[i, y : y + side[0], x : x + side[1]]
            if flip and rng.random() < 0.5:
                picture = picture[:, ::-1]
            if rng.random() < grey:
                picture = np.round(picture.mean(-1, keepdims=True)).astype(np.uint8)
            out[row] = picture
        return out

    return draw


def _padded(pixels: np.ndarray, side: tuple[int, int]) -> np.ndarray:
    """At least `side`, three channels, the edge repeated."""
    down, right = (max(0, want - have) for want, have in zip(side, pixels.shape))
    pixels = np.pad(pixels, ((0, down), (0, right), (0, 0)), mode="edge")
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _reduced(pixels: np.ndarray, scale: int) -> np.ndarray:
    """The mean of scale x scale pixels; the image itself where it is too small."""
    if scale == 1 or min(pixels.shape[:2]) < 2 * scale:
        return pixels
    h, w = pixels.shape[0] // scale, pixels.shape[1] // scale
    boxes = pixels[: h * scale, : w * scale].reshape(h, scale, w, scale, -1).astype(np.float32)
    return np.round(boxes.mean((1, 3))).astype(np.uint8)
