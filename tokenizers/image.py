"""Images: a convolutional codec and a quantizer; height, width and channels travel inside the tokens.

Local codes: 0..31 the digits of (height - 1) and (width - 1), two each in base 32, high digit first;
32 grey, 33 RGB; from 34 on the codes of the patches in raster order. An image of any size from 1 x 1
to 1024 x 1024 is padded to whole patches by repeating its edge, and cropped again by `decode`. Grey
images pass through the same weights as RGB with three equal channels, and come back as their mean.

Axes: H W pixels, h w patches, C channels, G images of one program call, K codes, D of the codec.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from unitok.tokenizers import codec as codecs
from unitok.tokenizers.base import BaseTokenizer
from unitok.tokenizers.image_grammar import (
    CHANNEL_CODES,
    FIRST_CODE,
    HEADER,
    HEADER_BITS,
    MAX_SIDE,
    ImageGrammar,
    header_ids,
    parse_header,
)
from unitok.tokenizers.quantizers import FSQ, EmaVQ
from unitok.values import Image, ValueRefused

GROUP_PATCHES = 512  # patches worth one program call; smaller images are grouped up to it
MAX_GROUP = 32


class ImageTokenizer(BaseTokenizer):
    """uint8 images to codes and back. Lossy: the bound is what `fit` printed, see the model card.

    patch: pixels a side of one code's square. codes: codebook size of the EMA-VQ; with `levels`
    (for example [8, 5, 5, 5]) FSQ is used and codes is their product. width, depth: of the codec.
    Without `weights` it is unfitted: right in every shape, but its pictures mean nothing.
    The weights are half precision from the beginning (what is saved is what encodes); arithmetic is
    float32 at full precision on every device.
    """

    name: ClassVar[str] = "image"
    modality: ClassVar[str] = "image"

    def __init__(
        self,
        *,
        patch: int = 4,
        codes: int = 1024,
        dim: int = 8,
        width: int = 64,
        depth: int = 2,
        levels: Sequence[int] | None = None,
        weights: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        for label, number in (("patch", patch), ("codes", codes), ("dim", dim), ("width", width)):
            if not isinstance(number, int) or number < 1:
                raise ValueError(f"image.{label}: want a positive integer, got {number!r}")
        self.quantizer = make_quantizer(codes, dim, levels)
        self.codec = codecs.ConvCodec(patch, self.quantizer.dim, 3, width, depth)
        self.patch, self.num_codes = patch, self.quantizer.sizes[0]
        self.size = FIRST_CODE + self.num_codes
        if weights is None:
            weights = half_precision(*initial_state(self.codec, self.quantizer, seed=0))
        self._weights = dict(weights)
        self._params, self._state = full_precision(self.codec, self.quantizer, self._weights)

    @classmethod
    def fit(
        cls,
        values: Sequence[Image],
        *,
        steps: int = 1000,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        seed: int = 0,
        log: Any = print,
        crop: int = 32,
        scales: Sequence[int] = (1,),
        grey: float = 0.0,
        flip: bool = False,
        **options: Any,
    ) -> Self:
        """A tokenizer fitted to `values`; `options` are the constructor's.

        Images of one small shape are used whole, others in random crops of `crop` pixels, at the
        reductions `scales`; grey: the share of crops turned grey; flip: mirror half of them.
        """
        from unitok.tokenizers import codec_fit

        blank, values = cls(**options), list(values)  # a source may make each value anew
        whole = codec_fit.used_whole(values, tuple(scales))
        draw = codec_fit.image_crops(
            values, blank.patch, crop=crop, scales=tuple(scales), grey=grey, flip=flip
        )
        params, state = codec_fit.fit_codec(
            blank.codec,
            blank.quantizer,
            draw,
            loss=codec_fit.whole_loss if whole else codec_fit.crop_loss,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            log=log,
        )
        return cls(**options, weights=half_precision(params, state))

    # ---- what it is made of ----------------------------------------------------------------

    def options(self) -> dict[str, Any]:
        return {
            "patch": self.patch,
            "codes": self.num_codes,
            "dim": self.quantizer.dim,
            "width": self.codec.width,
            "depth": self.codec.depth,
            "levels": list(self.quantizer.levels) if isinstance(self.quantizer, FSQ) else None,
        }

    def weights(self) -> dict[str, np.ndarray]:
        return self._weights

    @classmethod
    def from_parts(
        cls, options: Mapping[str, Any], weights: Mapping[str, np.ndarray], blobs: Any
    ) -> Self:
        return cls(**options, weights=weights)

    def code_vectors(self) -> np.ndarray | None:
        """The codebook, float32 [size, dim]; NaN for the header. None under FSQ."""
        book = self._weights.get("quantizer/codebook")
        if book is None:
            return None
        header = np.full((FIRST_CODE, book.shape[1]), np.nan, np.float32)
        return np.concatenate([header, book.astype(np.float32)])

    # ---- values to codes -------------------------------------------------------------------

    def encode(self, value: Image, context: Any = None, rng: Any = None) -> np.ndarray:
        return self.encode_batch([value])[0]

    def encode_batch(self, values: Sequence[Image]) -> list[np.ndarray]:
        for value in values:
            check_image(value)
        grids = [self._grid(value.height, value.width) for value in values]
        out: list[Any] = [None] * len(values)
        for canvas, members in _by_canvas(grids).items():
            for part in _chunks(members, group_size(canvas)):
                for i, codes_hw in zip(part, self._encode_group(canvas, [values[i] for i in part])):
                    h, w = grids[i]
                    head = header_ids(values[i].height, values[i].width, values[i].channels)
                    out[i] = np.concatenate([head, FIRST_CODE + codes_hw[:h, :w].reshape(-1)])
        return out

    def _encode_group(self, canvas: tuple[int, int], values: list[Image]) -> np.ndarray:
        group, p = group_size(canvas), self.patch
        x_GHWC = np.zeros((group, canvas[0] * p, canvas[1] * p, 3), np.uint8)
        sizes_G2 = np.zeros((group, 2), np.int32)
        for row, value in enumerate(values):
            h, w = sizes_G2[row] = self._grid(value.height, value.width)
            pad = ((0, h * p - value.height), (0, w * p - value.width), (0, 0))
            x_GHWC[row, : h * p, : w * p] = np.pad(value.pixels, pad, mode="edge")
        return np.asarray(
            _encode_program(self.codec, self.quantizer, self._params, self._state, x_GHWC, sizes_G2)
        )

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        return -(-height // self.patch), -(-width // self.patch)

    # ---- codes to values -------------------------------------------------------------------

    def decode(self, ids: np.ndarray, context: Any = None) -> Image:
        """Raises ValueError where the header is wrong or the number of codes is not the header's."""
        return self.decode_batch([ids])[0]

    def decode_batch(self, ids: Sequence[np.ndarray]) -> list[Image]:
        shapes, codes = zip(*[self._parse(one) for one in ids]) if len(ids) else ((), ())
        out: list[Any] = [None] * len(ids)
        for canvas, members in _by_canvas([part.shape for part in codes]).items():
            for part in _chunks(members, group_size(canvas)):
                for i, pixels in zip(part, self._decode_group(canvas, [codes[i] for i in part])):
                    height, width, channels = shapes[i]
                    pixels = pixels[:height, :width]
                    if channels == 1:
                        pixels = pixels.mean(-1, keepdims=True)
                    out[i] = Image(np.round(pixels).astype(np.uint8))
        return out

    def _parse(self, ids: np.ndarray) -> tuple[tuple[int, int, int], np.ndarray]:
        ids = self.check_ids(ids)
        height, width, channels = parse_header(ids)
        grid = self._grid(height, width)
        codes = ids[HEADER:] - FIRST_CODE
        if len(codes) != grid[0] * grid[1] or (codes < 0).any():
            raise ValueError(
                f"image: {height} x {width} pixels need {grid[0] * grid[1]} patch codes, "
                f"got {int((codes >= 0).sum())} of {len(codes)} tokens"
            )
        return (height, width, channels), codes.reshape(grid)

    def _decode_group(self, canvas: tuple[int, int], codes: list[np.ndarray]) -> np.ndarray:
        group = group_size(canvas)
        codes_Ghw = np.zeros((group, *canvas), np.int32)
        sizes_G2 = np.zeros((group, 2), np.int32)
        for row, part in enumerate(codes):
            sizes_G2[row] = part.shape
            codes_Ghw[row, : part.shape[0], : part.shape[1]] = part
        return np.asarray(
            _decode_program(
                self.codec, self.quantizer, self._params, self._state, codes_Ghw, sizes_G2
            )
        )

    # ---- what the sequence and the decoding loop need --------------------------------------

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Header token i at (i, i, i); the code of row r, column c at (5, 5 + r, 5 + c)."""
        ids = self.check_ids(ids)
        out = np.repeat(np.arange(len(ids), dtype=np.int32)[:, None], 3, axis=1)
        if len(ids) > HEADER:
            columns = self._grid(*parse_header(ids)[:2])[1]
            index = np.arange(len(ids) - HEADER, dtype=np.int32)
            out[HEADER:, 0] = HEADER
            out[HEADER:, 1] = HEADER + index // columns
            out[HEADER:, 2] = HEADER + index % columns
        return out

    def grammar(
        self, height: int | None = None, width: int | None = None, channels: int | None = None
    ) -> ImageGrammar:
        """The header, then exactly its number of codes. What the request fixes is forced."""
        for label, side in (("height", height), ("width", width)):
            if side is not None and not 1 <= side <= MAX_SIDE:
                raise ValueError(f"image.{label}: want 1..{MAX_SIDE} pixels, got {side}")
        if channels is not None and channels not in CHANNEL_CODES:
            raise ValueError(f"image.channels: want 1 (grey) or 3 (RGB), got {channels}")
        return ImageGrammar(self.size, self.patch, height, width, channels)

    def bits_per_item(self, value: Image) -> float:
        """Nominal rate in bits: 21 of header (four base-32 digits, one flag), log2 K a patch."""
        check_image(value)
        h, w = self._grid(value.height, value.width)
        return HEADER_BITS + h * w * float(np.log2(self.num_codes))


def check_image(value: Any) -> None:
    if not isinstance(value, Image):
        raise ValueRefused(f"image tokenizer: want an Image, got {type(value).__name__}")
    if max(value.height, value.width) > MAX_SIDE:
        raise ValueRefused(
            f"Image.pixels: {value.height} x {value.width} is beyond {MAX_SIDE} a side; scale it down"
        )


# ---- programs ----------------------------------------------------------------------------------


def canvas_side(patches: int) -> int:
    """The grid side that `patches` is computed in: exact up to 8, then 12, 16, 24, 32, 48, ...

    So there are few programs to compile whatever sizes come, and at most half a side is wasted.
    """
    if patches <= 8:
        return patches
    power = 1 << (patches - 1).bit_length()
    return 3 * power // 4 if patches <= 3 * power // 4 else power


def group_size(canvas: tuple[int, int]) -> int:
    """Images a program call takes, always the same for one canvas: codes never depend on the batch."""
    wanted = max(1, GROUP_PATCHES // (canvas[0] * canvas[1]))
    return min(MAX_GROUP, 1 << (wanted.bit_length() - 1))


def _by_canvas(grids: Sequence[Any]) -> dict[tuple[int, int], list[int]]:
    members: dict[tuple[int, int], list[int]] = {}
    for i, (h, w) in enumerate(grids):
        members.setdefault((canvas_side(h), canvas_side(w)), []).append(i)
    return members


def _chunks(items: list[int], size: int) -> list[list[int]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def _mask(sizes_G2: Any, canvas: tuple[int, int]) -> Any:
    rows = jnp.arange(canvas[0])[None, :, None] < sizes_G2[:, 0, None, None]
    return rows & (jnp.arange(canvas[1])[None, None, :] < sizes_G2[:, 1, None, None])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _encode_program(
    codec: Any, quantizer: Any, params: Any, state: Any, x_GHWC: Any, sizes_G2: Any
) -> Any:
    with jax.default_matmul_precision("highest"):
        x_GHWC = x_GHWC.astype(jnp.float32) / 127.5 - 1
        mask = _mask(sizes_G2, (x_GHWC.shape[1] // codec.patch, x_GHWC.shape[2] // codec.patch))
        return quantizer.encode(state, codec.encode(params, x_GHWC, mask))[..., 0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _decode_program(
    codec: Any, quantizer: Any, params: Any, state: Any, codes_Ghw: Any, sizes_G2: Any
) -> Any:
    with jax.default_matmul_precision("highest"):
        z_GhwD = quantizer.decode(state, codes_Ghw[..., None])
        x_GHWC = codec.decode(params, z_GhwD, _mask(sizes_G2, codes_Ghw.shape[1:]))
        return jnp.clip((x_GHWC + 1) * 127.5, 0, 255)


# ---- weights ------------------------------------------------------------------------------------


def make_quantizer(codes: int, dim: int, levels: Sequence[int] | None) -> EmaVQ | FSQ:
    if levels is None:
        return EmaVQ(codes, dim)
    if not levels or min(levels) < 2:
        raise ValueError(f"image.levels: want integers from 2 on, got {list(levels)}")
    return FSQ(tuple(int(level) for level in levels))


def initial_state(codec: Any, quantizer: Any, seed: int) -> tuple[Any, Any]:
    key = jax.random.key(seed)
    return codec.init(key), quantizer.init(key)


def half_precision(params: Any, state: Any) -> dict[str, np.ndarray]:
    """What is saved: the codec's arrays and the codebook (not its moving counts), float16."""
    kept = {"codec": params, "quantizer": {k: v for k, v in state.items() if k == "codebook"}}
    return {k: np.asarray(v).astype(np.float16) for k, v in codecs.flatten(kept).items()}


def full_precision(codec: Any, quantizer: Any, weights: Mapping[str, Any]) -> tuple[Any, Any]:
    """(params, state) in float32. Raises ValueError where `weights` are not this codec's."""
    params, state = jax.eval_shape(lambda: initial_state(codec, quantizer, 0))
    state = {k: v for k, v in state.items() if k == "codebook"}
    tree = codecs.unflatten({"codec": params, "quantizer": state}, dict(weights))
    tree = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)
    return tree["codec"], tree["quantizer"]
