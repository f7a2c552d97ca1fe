"""A convolutional codec: patches to vectors and back, the same for images and any other grid.

space-to-depth -> 1x1 -> residual blocks -> 1x1 -> z, and its mirror. Parameters are plain nested
dicts of float32 arrays; the code is plain jax. A mask keeps what lies outside a value at zero before
every convolution, which makes a value in a larger canvas come out as if the canvas ended with it.

Axes: B batch, H W pixels, h w patches (H / patch, W / patch), C channels, D width, d of z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Array = Any
Params = dict[str, Any]


@dataclass(frozen=True)
class ConvCodec:
    """Static description. patch: pixels a side of a patch; depth: residual blocks on each side."""

    patch: int
    dim: int
    channels: int = 3
    width: int = 64
    depth: int = 2

    def init(self, key: Array) -> Params:
        """Parameters; the last layer of each residual branch starts at zero, so blocks begin as identities."""
        keys = iter(jax.random.split(key, 4 + 4 * self.depth))
        patch_size = self.patch * self.patch * self.channels
        return {
            "encoder": {
                "in": _dense(next(keys), patch_size, self.width),
                "blocks": [self._block(next(keys)) for _ in range(self.depth)],
                "out": _dense(next(keys), self.width, self.dim),
            },
            "decoder": {
                "in": _dense(next(keys), self.dim, self.width),
                "blocks": [self._block(next(keys)) for _ in range(self.depth)],
                "out": _dense(next(keys), self.width, patch_size, scale=0.3),
            },
        }

    def _block(self, key: Array) -> Params:
        spread = (2 / (9 * self.width)) ** 0.5
        kernel = jax.random.normal(key, (3, 3, self.width, self.width), jnp.float32) * spread
        return {
            "conv": {"kernel": kernel, "bias": jnp.zeros(self.width, jnp.float32)},
            "mix": _dense(key, self.width, self.width, scale=0.0),
        }

    def encode(self, params: Params, x_BHWC: Array, mask_Bhw: Array | None = None) -> Array:
        """Pixels in [-1, 1] to z_Bhwd."""
        return self._trunk(params["encoder"], space_to_depth(x_BHWC, self.patch), mask_Bhw)

    def decode(self, params: Params, z_Bhwd: Array, mask_Bhw: Array | None = None) -> Array:
        """z to pixels, nominally in [-1, 1] (not clipped)."""
        return depth_to_space(self._trunk(params["decoder"], z_Bhwd, mask_Bhw), self.patch)

    def _trunk(self, params: Params, x_BhwC: Array, mask_Bhw: Array | None) -> Array:
        mask = 1.0 if mask_Bhw is None else mask_Bhw[..., None].astype(x_BhwC.dtype)
        x_BhwD = apply_dense(params["in"], x_BhwC)
        for block in params["blocks"]:
            h_BhwD = jax.nn.silu(_conv(block["conv"], jax.nn.silu(x_BhwD) * mask))
            x_BhwD = x_BhwD + apply_dense(block["mix"], h_BhwD)
        return apply_dense(params["out"], x_BhwD)


def space_to_depth(x_BHWC: Array, patch: int) -> Array:
    """[B, H, W, C] -> [B, H/p, W/p, p p C]."""
    batch, height, width, channels = x_BHWC.shape
    x = x_BHWC.reshape(batch, height // patch, patch, width // patch, patch, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // patch, width // patch, patch * patch * channels)


def depth_to_space(x_Bhwc: Array, patch: int) -> Array:
    """The inverse of `space_to_depth`."""
    batch, h, w, depth = x_Bhwc.shape
    x = x_Bhwc.reshape(batch, h, w, patch, patch, depth // patch**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, h * patch, w * patch, depth // patch**2)


def _dense(key: Array, fan_in: int, fan_out: int, scale: float = 1.0) -> Params:
    kernel = jax.random.normal(key, (fan_in, fan_out), jnp.float32) * scale * fan_in**-0.5
    return {"kernel": kernel, "bias": jnp.zeros(fan_out, jnp.float32)}


def apply_dense(layer: Params, x: Array) -> Array:
    return x @ layer["kernel"] + layer["bias"]


def _conv(layer: Params, x_BhwD: Array) -> Array:
    y = lax.conv_general_dilated(
        x_BhwD, layer["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + layer["bias"]


def flatten(tree: Any, prefix: str = "") -> dict[str, Array]:
    """Nested dicts and lists to {"a/0/b": array}, for safetensors."""
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {k: v for key, sub in items for k, v in flatten(sub, f"{prefix}{key}/").items()}
    return {prefix[:-1]: tree}


def unflatten(like: Any, flat: dict[str, Array], prefix: str = "") -> Any:
    """The inverse, shaped after `like`. Raises ValueError naming an array that is missing or misshapen."""
    if isinstance(like, dict):
        return {key: unflatten(sub, flat, f"{prefix}{key}/") for key, sub in like.items()}
    if isinstance(like, list):
        return [unflatten(sub, flat, f"{prefix}{i}/") for i, sub in enumerate(like)]
    name = prefix[:-1]
    if name not in flat:
        raise ValueError(f"weights: {name} is missing")
    if tuple(flat[name].shape) != tuple(like.shape):
        raise ValueError(
            f"weights: {name} has shape {list(flat[name].shape)}, want {list(like.shape)}"
        )
    return flat[name]
