"""A judge of generated values: a small convolutional network trained on real ones and their labels.

It measures what a person would ask of a drawn digit: can it be read? Its own accuracy on real test
items stands beside every share it reports, and its share on tokenizer reconstructions of the truth
is the bound that the tokenizer sets. It looks at pictures: of a sound at its log-mel spectrogram, of
a series at its curve.

Axes: N images, B batch, H W C height, width, channels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image as Pillow

from unitok.metrics.audio import FLOOR, log_mel
from unitok.values import Audio, Image, Series

MAX_SIDE = 32  # larger images are judged at this size, sounds and series at this size always
FINE = 8  # places that a curve is sampled at, for each column of its picture
BATCH = 128
WIDTHS, HIDDEN = (32, 64), 128
PASSES, FEWEST_STEPS, MOST_STEPS = 50, 600, 1500
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 1e-3
NOISE = 0.1  # added to pixels of -1..1 while training
ADAM = optax.scale_by_adam()
Params = dict[str, Any]


@dataclass(frozen=True)
class Judge:
    """A trained judge: `labels` are its classes, `size` the (height, width, channels) it looks at."""

    params: Params
    labels: tuple[str, ...]
    size: tuple[int, int, int]

    def probabilities(self, images: Sequence[Any]) -> np.ndarray:
        """float32 [N, K]."""
        return self._of_each(_probabilities, images, len(self.labels))

    def features(self, images: Sequence[Any]) -> np.ndarray:
        """float32 [N, HIDDEN]: the last hidden layer, for distances between sets of images."""
        return self._of_each(_features, images, HIDDEN)

    def _of_each(self, program: Any, images: Sequence[Any], width: int) -> np.ndarray:
        pixels = stack(images, self.size)
        out = []
        for start in range(0, len(pixels), BATCH):
            part = pixels[start : start + BATCH]
            padded = np.zeros((BATCH, *self.size), np.float32)
            padded[: len(part)] = part
            out.append(np.asarray(program(self.params, padded))[: len(part)])
        return np.concatenate(out) if out else np.zeros((0, width), np.float32)

    def recognise(self, images: Sequence[Any]) -> list[str]:
        """The most probable label of each image."""
        return [self.labels[i] for i in self.probabilities(images).argmax(axis=1)]


def train_judge(
    images: Sequence[Any],
    labels: Sequence[str],
    seed: int = 0,
    steps: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Judge:
    """Train on real images, sounds or series. Deterministic in its arguments on one machine.

    steps: None for about 50 passes, but at least 600 and at most 1,500 steps.
    """
    classes = tuple(sorted(set(labels)))
    size = common_size(images)
    pixels = stack(images, size)
    target = np.array([classes.index(label) for label in labels], np.int32)
    steps = steps or int(np.clip(PASSES * len(images) / BATCH, FEWEST_STEPS, MOST_STEPS))
    rng = np.random.default_rng(seed)
    params = _init(rng, size, len(classes))
    state = jax.jit(ADAM.init)(params)
    for step in range(steps):
        pick = rng.integers(0, len(pixels), BATCH)
        batch = _shift(pixels[pick], rng) + rng.normal(0, NOISE, (BATCH, *size)).astype(np.float32)
        rate = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
        params, state = _step(params, state, batch, target[pick], np.float32(rate))
        if progress:
            progress(step + 1, steps)
    return Judge(jax.device_get(params), classes, size)


def common_size(images: Sequence[Any]) -> tuple[int, int, int]:
    """The size all are judged at: that of the first image, at most MAX_SIDE a side; colour if any has it."""
    first = images[0]
    if isinstance(first, Audio):
        return MAX_SIDE, MAX_SIDE, 1
    if isinstance(first, Series):
        return MAX_SIDE, MAX_SIDE, max(series.channels for series in images)
    scale = min(1.0, MAX_SIDE / max(first.height, first.width))
    channels = max(image.channels for image in images)
    return max(1, round(first.height * scale)), max(1, round(first.width * scale)), channels


def stack(images: Sequence[Any], size: tuple[int, int, int]) -> np.ndarray:
    """float32 [N, H, W, C] in -1..1, resized and brought to the same number of channels where needed."""
    out = np.zeros((len(images), *size), np.float32)
    for row, image in zip(out, images):
        pixels = picture(image)
        if pixels.shape[:2] != size[:2]:
            planes = [Pillow.fromarray(plane) for plane in np.moveaxis(pixels, 2, 0)]
            shape = (size[1], size[0])
            pixels = np.stack(
                [np.asarray(p.resize(shape, Pillow.Resampling.BOX)) for p in planes], axis=2
            )
        if isinstance(image, Image) and pixels.shape[2] > size[2]:
            pixels = pixels.mean(axis=2, keepdims=True)
        if isinstance(image, Series):  # a channel that one series lacks is an empty plane
            whole = np.zeros(size, np.uint8)
            whole[..., : pixels.shape[2]] = pixels[..., : size[2]]
            pixels = whole
        row[:] = pixels / 127.5 - 1
    return out


def picture(value: Any) -> np.ndarray:
    """What the judge looks at, uint8 [H, W, C]: pixels, a log-mel spectrogram, or the curve of each channel.

    A spectrogram is scaled to its own range, so that loudness plays no part; a curve to its own mean and
    standard deviation, three of which reach the edge.
    """
    if isinstance(value, Audio):
        mel = log_mel(value.samples, value.rate)
        low = max(float(mel.max()) - 4, np.log10(FLOOR))  # four decades below the loudest
        scaled = (mel - low) / max(float(mel.max()) - low, 1e-9)
        return (255 * np.clip(scaled[::-1], 0, 1)).astype(np.uint8)[..., None]
    if isinstance(value, Series):
        return np.stack([_curve(channel) for channel in value.values.T], axis=2)
    return value.pixels


def _curve(values: np.ndarray) -> np.ndarray:
    """One channel [T] as a drawn line, uint8 [MAX_SIDE, MAX_SIDE]; black where all is missing."""
    out = np.zeros((MAX_SIDE, MAX_SIDE), np.uint8)
    seen = np.flatnonzero(np.isfinite(values))
    if not len(seen):
        return out
    standard = (values[seen] - values[seen].mean()) / max(float(values[seen].std()), 1e-6)
    at = np.linspace(0, len(values) - 1, MAX_SIDE * FINE)
    line = np.interp(at, seen, standard)
    row = np.clip(np.round((3 - line) / 6 * (MAX_SIDE - 1)), 0, MAX_SIDE - 1).astype(int)
    out[row, np.repeat(np.arange(MAX_SIDE), FINE)] = 255
    return out


def nearest(
    queries: Sequence[Any], pool: Sequence[Any], size: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The closest image of the pool to each query by Euclidean distance of pixels: (index [N], RMS distance 0..255)."""
    p = stack(pool, size).reshape(len(pool), -1)
    length = (p**2).sum(1)
    index = np.zeros(len(queries), np.int64)
    distance = np.zeros(len(queries))
    for start in range(
        0, len(queries), BATCH
    ):  # a stretch at a time: the table of distances is large
        q = stack(queries[start : start + BATCH], size).reshape(-1, p.shape[1])
        best = (length[None] - 2 * q @ p.T).argmin(axis=1)
        index[start : start + len(q)] = best
        distance[start : start + len(q)] = np.sqrt(((q - p[best]) ** 2).mean(axis=1)) * 127.5
    return index, distance


# ---- the network ------------------------------------------------------------------------------


def _init(rng: np.random.Generator, size: tuple[int, int, int], classes: int) -> Params:
    """He et al. 2015; drawn in numpy, so that nothing has to be compiled for it."""
    height, width, channels = size
    flat = -(-height // 4) * -(-width // 4) * WIDTHS[1]

    def normal(rows: int, columns: int, scale: float = 1.0) -> np.ndarray:
        return (rng.normal(0, scale * np.sqrt(2 / rows), (rows, columns))).astype(np.float32)

    zeros = {"near": WIDTHS[0], "far": WIDTHS[1], "hidden": HIDDEN}
    return {
        "near": normal(9 * channels, WIDTHS[0]),
        "far": normal(9 * WIDTHS[0], WIDTHS[1]),
        "hidden": normal(flat, HIDDEN),
        "out": normal(HIDDEN, classes, 0.1),
        "bias": {name: np.zeros(n, np.float32) for name, n in zeros.items()},
    }


@jax.jit
def _features(params: Params, pixels_BHWC: jax.Array) -> jax.Array:
    x = _conv(pixels_BHWC, params["near"], params["bias"]["near"])
    x = _conv(x, params["far"], params["bias"]["far"])
    x = x.reshape(len(x), -1)
    return jax.nn.relu(x @ params["hidden"] + params["bias"]["hidden"])


def _logits(params: Params, pixels_BHWC: jax.Array) -> jax.Array:
    return _features(params, pixels_BHWC) @ params["out"]


def _conv(x_BHWC: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
    """3 x 3 convolution as one matrix product (its gradient is many times faster so on a CPU), then 2 x 2 maxima."""
    _, height, width, _ = x_BHWC.shape
    padded = jnp.pad(x_BHWC, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    x = jax.nn.relu(jnp.concatenate(shifts, axis=-1) @ weight + bias)
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    return x.reshape(len(x), -(-height // 2), 2, -(-width // 2), 2, -1).max(axis=(2, 4))


@jax.jit
def _probabilities(params: Params, pixels: jax.Array) -> jax.Array:
    return jax.nn.softmax(_logits(params, pixels))


@partial(jax.jit, donate_argnums=(0, 1))
def _step(params: Params, state: Any, pixels: Any, target: Any, rate: Any) -> Any:
    def loss(params: Params) -> jax.Array:
        logits = _logits(params, pixels)
        return optax.softmax_cross_entropy_with_integer_labels(logits, target).mean()

    updates, state = ADAM.update(jax.grad(loss)(params), state)
    params = jax.tree.map(lambda p, u: p - rate * (u + WEIGHT_DECAY * p), params, updates)
    return params, state


def _shift(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moved by up to a tenth of the side, at least one pixel in small images: places are not to be learned by heart."""
    reach = max(1, pixels.shape[1] // 14)
    dy, dx = rng.integers(-reach, reach + 1, 2)
    out = np.full_like(pixels, -1)
    height, width = pixels.shape[1:3]
    to_y, to_x = slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0))
    from_y, from_x = (
        slice(max(-dy, 0), height + min(-dy, 0)),
        slice(max(-dx, 0), width + min(-dx, 0)),
    )
    out[:, to_y, to_x] = pixels[:, from_y, from_x]
    return out
