"""MDCT frames to codes and back: first how loud each band is, then the waveform within, residually.

The first code of a frame names one of 1,024 spectral envelopes (the powers of 24 bands, companded: what
the frame sounds like). Each further level holds 512 shapes, usable with either sign (a sound upside down
sounds the same), that are scaled band by band with gains that belong to the envelope, and quantizes what
the levels before it left: residual, gain-shape and classified vector quantization (Gray 1984; RVQ as in
Zeghidour et al. 2021, arXiv:2107.03312). Nothing depends on a frame's neighbours, so no error spreads.
Where the shapes leave a band emptier than its envelope says, `decode` adds noise, but little of it.

The search keeps the BEAM best choices at every level. Codes are computed in float32 at full precision.
Legend: G frames, Q codes a frame, S = Q - 1 levels of shapes, H shapes, K envelopes, N coefficients,
B bands, M choices kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unitok.tokenizers.audio_grammar import CODES, FRAME

Array = Any
Params = dict[str, Array]

# 100 Hz wide up to 1.2 kHz, then growing: edges in MDCT coefficients of 25 Hz
EDGES = (0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 56, 66, 77, 90, 106, 124, 145, 170, 199,
         233, 273, 320)  # fmt: skip
BANDS = len(EDGES) - 1
SHAPES = CODES // 2
COMPANDING, POWER_FLOOR = 0.15, 1e-8  # envelopes are powers to this exponent: between linear and dB
BEAM = 4
FILL = 0.01  # a band's noise at the most, in the mean power of a band

WIDTHS = np.diff(EDGES).astype(np.float32)
NOISE = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), (256, FRAME))
IN_BAND = np.repeat(np.eye(BANDS, dtype=np.float32), np.diff(EDGES), axis=0)  # [N, B]


def initial_weights(levels: int) -> dict[str, np.ndarray]:
    """Unfitted: random envelopes and shapes, each level half as loud as the one before."""
    rng = np.random.default_rng(0)
    rms_KB = np.exp(rng.normal(-2, 1.5, (CODES, BANDS)))
    shapes_SHN = rng.standard_normal((levels - 1, SHAPES, FRAME))
    gains_SKB = np.log(rms_KB) - 0.7 * np.arange(1, levels)[:, None, None]
    return half_precision(
        {"envelopes": rms_KB ** (2 * COMPANDING), "gains": gains_SKB, "shapes": shapes_SHN}
    )


def half_precision(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(array).astype(np.float16) for name, array in params.items()}


def full_precision(weights: Mapping[str, np.ndarray], levels: int) -> Params:
    """The first `levels` codes' arrays in float32. Raises ValueError where `weights` do not hold them."""
    wanted = {
        "envelopes": (CODES, BANDS),
        "gains": (levels - 1, CODES, BANDS),
        "shapes": (levels - 1, SHAPES, FRAME),
    }
    params = {}
    for name, shape in wanted.items():
        found = np.asarray(weights.get(name, np.zeros(0)))
        cut = found[: levels - 1] if len(shape) == 3 else found
        if cut.shape != shape:
            raise ValueError(f"audio: weights {name!r} {list(found.shape)}, want {list(shape)}")
        params[name] = jnp.asarray(cut, jnp.float32)
    return params


# ---- bands ---------------------------------------------------------------------------------------


def band_powers(x_GN: Array) -> Array:
    """Mean power of each band, [G, B], of the pseudo spectrum: a coefficient alone swings with the phase,
    with the difference of its neighbours it hardly does (Daudet and Sandler 2004)."""
    padded = jnp.pad(x_GN, ((0, 0), (1, 1)))
    power_GN = 0.5 * (x_GN**2 + (padded[:, 2:] - padded[:, :-2]) ** 2)
    return power_GN @ IN_BAND / WIDTHS


def nearest_envelope(envelopes_KB: Array, x_GN: Array) -> Array:
    companded_GB = (band_powers(x_GN) + POWER_FLOOR) ** COMPANDING
    distance_GK = jnp.sum(envelopes_KB**2, axis=1) - 2 * companded_GB @ envelopes_KB.T
    return jnp.argmin(distance_GK, axis=1).astype(jnp.int32)


def band_gains(params: Params, envelope_G: Array, level: int) -> Array:
    """What the level's shapes are multiplied with, [G, B]."""
    return jnp.exp(params["gains"][level][envelope_G])


# ---- codes -----------------------------------------------------------------------------------------


def encode(params: Params, x_GN: Array) -> Array:
    """int32 [G, Q]."""
    with jax.default_matmul_precision("highest"):
        envelope_G = nearest_envelope(params["envelopes"], x_GN)
        rest_GMN = x_GN[:, None]  # one choice to begin with
        codes_GMQ = envelope_G[:, None, None]
        for level, shapes_HN in enumerate(params["shapes"]):
            gain_GB = band_gains(params, envelope_G, level)
            parent_GM, code_GM = best_shapes(shapes_HN, gain_GB, rest_GMN, BEAM)
            kept = jnp.take_along_axis(rest_GMN, parent_GM[..., None], axis=1)
            scaled = signed(shapes_HN, code_GM) * (gain_GB @ IN_BAND.T)[:, None]
            rest_GMN = kept - scaled
            before = jnp.take_along_axis(codes_GMQ, parent_GM[..., None], axis=1)
            codes_GMQ = jnp.concatenate([before, code_GM[..., None]], axis=2)
        best_G = jnp.argmin(jnp.sum(rest_GMN**2, axis=2), axis=1)
        return jnp.take_along_axis(codes_GMQ, best_G[:, None, None], axis=1)[:, 0]


def best_shapes(
    shapes_HN: Array, gain_GB: Array, rest_GMN: Array, keep: int
) -> tuple[Array, Array]:
    """(which of the M choices it continues, code), int32 [G, keep] each: those that leave least.

    |rest - sign gain shape|^2 = |rest|^2 - 2 |rest . gain shape| + |gain shape|^2, the last by bands.
    """
    frames, choices, _ = rest_GMN.shape
    scaled_GMN = rest_GMN * (gain_GB @ IN_BAND.T)[:, None]
    dots_GMH = (scaled_GMN.reshape(-1, FRAME) @ shapes_HN.T).reshape(frames, choices, SHAPES)
    energy_GH = gain_GB**2 @ (shapes_HN**2 @ IN_BAND).T
    left_GMH = jnp.sum(rest_GMN**2, axis=2)[..., None] - 2 * jnp.abs(dots_GMH) + energy_GH[:, None]
    flat = left_GMH.reshape(frames, -1)
    found = []
    for _ in range(min(keep, SHAPES)):  # much cheaper than a sort
        found.append(jnp.argmin(flat, axis=1))
        flat = flat.at[jnp.arange(frames), found[-1]].set(jnp.inf)
    index = jnp.stack(found, axis=1)
    negative = jnp.take_along_axis(dots_GMH.reshape(frames, -1), index, axis=1) < 0
    code = index % SHAPES + SHAPES * negative
    return (index // SHAPES).astype(jnp.int32), code.astype(jnp.int32)


def signed(shapes_HN: Array, code: Array) -> Array:
    sign = jnp.where(code < SHAPES, 1.0, -1.0)
    return shapes_HN[code % SHAPES] * sign[..., None]


def decode(params: Params, codes_GQ: Array, frame_G: Array) -> Array:
    """float32 [G, N]. frame_G: each frame's number within its sound, which draws its noise."""
    with jax.default_matmul_precision("highest"):
        x_GN = jnp.zeros((len(codes_GQ), FRAME), jnp.float32)
        for level, shapes_HN in enumerate(params["shapes"]):
            gain_GB = band_gains(params, codes_GQ[:, 0], level)
            x_GN = x_GN + signed(shapes_HN, codes_GQ[:, level + 1]) * (gain_GB @ IN_BAND.T)
        return filled(params, codes_GQ[:, 0], x_GN, frame_G)


def filled(params: Params, envelope_G: Array, x_GN: Array, frame_G: Array) -> Array:
    """[G, N]: with noise of what the bands lack."""
    noise_GN = jnp.asarray(NOISE)[frame_G % len(NOISE)]
    return x_GN + noise_GN * (missing_rms(params, envelope_G, x_GN) @ IN_BAND.T)


def missing_rms(params: Params, envelope_G: Array, x_GN: Array) -> Array:
    """[G, B]: what a band lacks of its envelope's power, at most FILL of the frame's power a band.

    So quiet bands, which the shapes leave empty because they hardly count, sound as they did, and the
    loud ones, where the waveform is right, lose next to nothing.
    """
    power_GB = params["envelopes"][envelope_G] ** (1 / COMPANDING) - POWER_FLOOR
    power_GB = jnp.maximum(power_GB, 0.0)
    most_G1 = FILL * jnp.sum(power_GB * WIDTHS, axis=1, keepdims=True) / BANDS
    missing_GB = jnp.maximum(power_GB - band_powers(x_GN), 0.0)
    return jnp.sqrt(jnp.minimum(missing_GB, most_G1 / WIDTHS))


def code_vectors(params: Params, header: int) -> np.ndarray:
    """float32 [header + Q 1,024, B + N]: rows of NaN for the header; envelopes; signed shapes. Levels of RMS 1."""
    envelopes_KB = np.asarray(params["envelopes"])
    envelopes_KB = envelopes_KB - envelopes_KB.mean(axis=0)
    shapes_SHN = np.asarray(params["shapes"])
    both_SKN = np.concatenate([shapes_SHN, -shapes_SHN], axis=1)
    rows = len(both_SKN) * CODES
    out = np.full((header + CODES + rows, BANDS + FRAME), np.nan, np.float32)
    out[header:] = 0
    out[header : header + CODES, :BANDS] = envelopes_KB / max(float(envelopes_KB.std()), 1e-6)
    spread = np.sqrt(np.mean(both_SKN**2, axis=(1, 2), keepdims=True))
    out[header + CODES :, BANDS:] = (both_SKN / spread).reshape(rows, FRAME)
    out[header : header + CODES] *= np.sqrt(FRAME / BANDS)  # the same length as a shape's row
    return out
