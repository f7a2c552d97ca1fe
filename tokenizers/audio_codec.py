"""MDCT frames to codes and back: residual vector quantization with signed codebooks.

Each level holds H = 512 vectors, each of them usable with either sign (a sound upside down sounds
the same, and MDCT coefficients change sign from frame to frame): code = shape + 512 if negative. A level
quantizes what the levels before it left (RVQ; Zeghidour et al. 2021, arXiv:2107.03312).
Codes are computed in float32 at full precision.

Legend: G frames, Q levels, H shapes a level, N coefficients a frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unitok.tokenizers.audio_grammar import CODES, FRAME

Array = Any
SHAPES = CODES // 2


def initial_weights(levels: int) -> dict[str, np.ndarray]:
    """Random shapes, each level half as loud as the one before."""
    rng = np.random.default_rng(0)
    shapes_QHN = rng.standard_normal((levels, SHAPES, FRAME)) / FRAME**0.5
    shapes_QHN *= 0.5 ** np.arange(levels)[:, None, None]
    return {"shapes": shapes_QHN.astype(np.float16)}


def full_precision(weights: Mapping[str, np.ndarray], levels: int) -> dict[str, Array]:
    """The first `levels` levels in float32. Raises ValueError where `weights` are no such codec's."""
    shapes = np.asarray(weights.get("shapes", np.zeros(0)))
    if shapes.ndim != 3 or shapes.shape[1:] != (SHAPES, FRAME) or len(shapes) < levels:
        raise ValueError(
            f"audio: weights 'shapes' {list(shapes.shape)}, want [{levels} or more, {SHAPES}, {FRAME}]"
        )
    return {"shapes": jnp.asarray(shapes[:levels], jnp.float32)}


def encode(params: Mapping[str, Array], x_GN: Array) -> Array:
    """int32 [G, Q]."""

    def level(rest_GN: Array, shapes_HN: Array) -> tuple[Array, Array]:
        dots_GH = rest_GN @ shapes_HN.T
        gain_GH = 2 * jnp.abs(dots_GH) - jnp.sum(shapes_HN**2, axis=1)
        shape_G = jnp.argmax(gain_GH, axis=1).astype(jnp.int32)
        negative_G = jnp.take_along_axis(dots_GH, shape_G[:, None], axis=1)[:, 0] < 0
        code_G = shape_G + SHAPES * negative_G.astype(jnp.int32)
        return rest_GN - signed(shapes_HN, code_G), code_G

    with jax.default_matmul_precision("highest"):
        return jax.lax.scan(level, x_GN, params["shapes"])[1].T


def decode(params: Mapping[str, Array], codes_GQ: Array) -> Array:
    """float32 [G, N]."""
    return sum(signed(shapes, codes_GQ[:, q]) for q, shapes in enumerate(params["shapes"]))


def signed(shapes_HN: Array, code_G: Array) -> Array:
    sign_G = jnp.where(code_G < SHAPES, 1.0, -1.0)
    return shapes_HN[code_G % SHAPES] * sign_G[:, None]


def code_vectors(params: Mapping[str, Array], header: int) -> np.ndarray:
    """float32 [header + Q 1,024, N]: rows of NaN for the header, then each level's signed shapes, of RMS 1."""
    shapes_QHN = np.asarray(params["shapes"])
    shapes_QHN = shapes_QHN / np.sqrt(np.mean(shapes_QHN**2, axis=(1, 2), keepdims=True))
    both_QKN = np.concatenate([shapes_QHN, -shapes_QHN], axis=1)
    head = np.full((header, FRAME), np.nan, np.float32)
    return np.concatenate([head, both_QKN.reshape(-1, FRAME)]).astype(np.float32)
