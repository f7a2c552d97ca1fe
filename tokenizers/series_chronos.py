"""Chronos's own bins as a second layout of the series tokenizer: ids for weights trained on them.

Legend: R rows (series of one length), T time, n tokens.
Source: Ansari et al. 2024, arXiv 2403.07815; `MeanScaleUniformBins` of chronos-forecasting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from unitok.interfaces import Grammar
from unitok.tokenizers.base import BaseTokenizer
from unitok.tokenizers.series_bins import BLOCK, FLOAT_MAX, ROUNDED, ROUNDER, joined
from unitok.tokenizers.series_header import check_series
from unitok.values import Series, ValueRefused

TOKENS, SPECIAL, LIMIT = 4096, 2, 15.0
PAD, EOS = 0, 1


def _centers() -> np.ndarray:
    """float32 [4093] from -15 to 15, as `torch.linspace` counts: from both ends, one rounding each."""
    count = TOKENS - SPECIAL - 1
    step = float(np.float32(2 * LIMIT) / np.float32(count - 1))
    index = np.arange(count)
    up = -LIMIT + step * index  # float64 stands for the fused multiply-add there
    down = LIMIT - step * (count - 1 - index)
    return np.where(index < count // 2, up, down).astype(np.float32)


CENTERS = _centers()
_EDGES = (CENTERS[1:] + CENTERS[:-1]) / np.float32(2)
_LOWER = np.concatenate([[-np.inf], _EDGES]).astype(np.float32)
_UPPER = np.concatenate([_EDGES, [np.inf]]).astype(np.float32)
_PER_UNIT = np.float32((len(CENTERS) - 1) / (2 * LIMIT))
_MIDDLE = np.float32((len(CENTERS) - 1) / 2)  # the place of 0


def mean_scale(x_RT: np.ndarray) -> np.ndarray:
    """Mean absolute value of what is not missing, float32 [R]; 1 where that is 0 or nothing is there."""
    size_RT = np.abs(x_RT)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        scale_R = size_RT.sum(axis=-1) / np.float32(x_RT.shape[1])
        odd = np.flatnonzero(~np.isfinite(scale_R))  # missing values, or a sum beyond float32
        there = ~np.isnan(size_RT[odd])
        total = np.nansum(size_RT[odd], axis=-1)
        total = np.where(np.isfinite(total), total, np.nansum(size_RT[odd].astype(float), axis=-1))
        scale_R[odd] = total / there.sum(axis=-1)
    return np.where(scale_R > 0, scale_R, np.float32(1))


def bin_ids(x_RT: np.ndarray, scale_R: np.ndarray) -> np.ndarray:
    """`MeanScaleUniformBins` of chronos-forecasting in closed form: int32 [R, T], 0 for NaN, else 2..4095.

    Its conventions: buckets open to the right, NaN and padding share id 0, a value below -1e20 scales
    falls into id 2, ids are clamped to 4095.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scaled_RT = x_RT / scale_R[:, None]
        place_RT = scaled_RT * _PER_UNIT
        place_RT += _MIDDLE
        np.clip(place_RT, 0, len(CENTERS) - 1, out=place_RT)
        whole_RT = place_RT + ROUNDER
        ids_RT = whole_RT.view(np.int32) - np.int32(ROUNDED - SPECIAL - 1)
        # within 1 % of an edge the closed form may round to the wrong side: look the edge up there
        whole_RT -= ROUNDER
        place_RT -= whole_RT
        near = np.flatnonzero(np.abs(place_RT, out=place_RT) > np.float32(0.49))
        x, ids = scaled_RT.ravel()[near], ids_RT.ravel()
        at = ids[near] - (SPECIAL + 1)
        ids[near] += (x >= _UPPER[at]).astype(np.int32) - (x < _LOWER[at])
        if not scaled_RT.min(initial=0) > -1e20:  # something is missing, or as low as that
            ids_RT[scaled_RT < -1e20] = SPECIAL
            ids_RT[np.isnan(scaled_RT)] = PAD
    return ids_RT


@dataclass(frozen=True)
class ChronosGrammar:
    """Chronos's layout: `length` values (any number where None), then its EOS."""

    length: int | None = None
    size: int = TOKENS
    num_registers: int = 2  # values so far, EOS seen

    @property
    def min_tokens(self) -> int:
        return (self.length or 0) + 2

    def registers(self) -> np.ndarray:
        return np.zeros(2, np.int32)

    def step(self, registers: Any, code: Any, budget: Any) -> tuple[Any, Any, Any]:
        count, ended = registers
        begin = code < 0
        position = jnp.where(begin, 0, jnp.stack([count, 0 * count, 0 * count]))
        ended = jnp.where(begin, 0, ended | (code == EOS)).astype(jnp.int32)
        count = jnp.where(begin, 0, count + 1).astype(jnp.int32)
        codes = jnp.arange(self.size + 1)
        is_eos = codes == EOS
        is_value = ~is_eos & (codes < self.size)
        if self.length is None:
            open_ = is_eos | (is_value & (budget >= 3))
        else:
            open_ = jnp.where(count < self.length, is_value, is_eos)
        allowed = jnp.where(ended != 0, codes == self.size, open_)
        return jnp.stack([count, ended]), allowed, position.astype(jnp.int32)


class ChronosTokenizer(BaseTokenizer):
    """Chronos's layout: ids equal to `MeanScaleUniformBins` (4,096 ids, PAD 0, EOS 1), its EOS appended.

    For weights trained on those ids. One channel; a missing value is PAD, as there; the scale (mean
    absolute value) lies outside the tokens: `context` gives it, to encode and to decode, from its last
    512 values; without one, decode returns multiples of the scale. Nothing else is ever cut.
    Source: Ansari et al. 2024, arXiv 2403.07815, and chronos-forecasting.
    """

    name = modality = "series"
    size = TOKENS
    context_length = 512

    def options(self) -> dict[str, Any]:
        return {"layout": "chronos"}

    @classmethod
    def from_parts(cls, options: Mapping[str, Any], weights: Any, blobs: Any) -> Any:
        return cls()

    def encode(
        self, value: Series, context: Series | None = None, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """int32 [T + 1]. Raises ValueRefused unless there is one channel."""
        return self.encode_batch([value], [context])[0]

    def encode_batch(
        self, values: Sequence[Series], contexts: Sequence[Series | None] | None = None
    ) -> list[np.ndarray]:
        if contexts is not None or {type(value) for value in values} - {Series}:
            for value, context in zip(values, contexts or [None] * len(values)):
                check_series(value, context)
        shapes = [value.values.shape for value in values]
        groups: dict[tuple[int, ...], list[int]] = {}
        if shapes and shapes.count(shapes[0]) == len(shapes):
            groups[shapes[0]] = list(range(len(shapes)))
        else:
            for index, shape in enumerate(shapes):
                groups.setdefault(shape, []).append(index)
        out: list[Any] = [None] * len(values)
        for (length, channels), members in groups.items():
            check_series(values[members[0]], None)
            if channels != 1:
                raise ValueRefused(
                    f"Series.values: Chronos's layout has one channel, not {channels}"
                )
            step = max(1, BLOCK // max(1, length))
            for start in range(0, len(members), step):
                part = members[start : start + step]
                x_RT = joined([values[i].values for i in part]).reshape(len(part), length)
                scale_R = mean_scale(x_RT)
                for row, i in enumerate(part if contexts else ()):
                    context = contexts[i] if contexts else None
                    if context is not None:
                        scale_R[row] = self._scale(context)
                ids_Rn = np.full((len(part), length + 1), EOS, np.int32)
                ids_Rn[:, :-1] = bin_ids(x_RT, scale_R)
                for i, ids in zip(part, ids_Rn):
                    out[i] = ids
        return out

    def _scale(self, context: Series) -> float:
        return float(mean_scale(context.values[-self.context_length :, 0][None])[0])

    def decode(self, ids: np.ndarray, context: Series | None = None) -> Series:
        """The series, of one channel. Raises ValueError for an EOS that is not last."""
        ids = self.check_ids(ids)
        ids = ids[:-1] if len(ids) and ids[-1] == EOS else ids
        if (ids == EOS).any():
            raise ValueError("series: an end mark inside the values")
        places = np.clip(ids - SPECIAL - 1, 0, len(CENTERS) - 1)
        scale = 1.0 if context is None else self._scale(context)
        x = CENTERS[places].astype(np.float64) * scale
        x = np.clip(x, -FLOAT_MAX, FLOAT_MAX)
        x[ids == PAD] = np.nan
        return Series(x.astype(np.float32), None if context is None else context.freq)

    def positions(self, ids: np.ndarray) -> np.ndarray:
        return np.stack([np.arange(len(ids)), *np.zeros((2, len(ids)))], axis=1).astype(np.int32)

    def grammar(
        self,
        length: int | None = None,
        channels: int | None = None,
        context: Series | None = None,
        mode: str | None = None,
    ) -> Grammar:
        """`length` values and the end mark; any number where None."""
        if channels not in (None, 1):
            raise ValueError(f"series: Chronos's layout has one channel, not {channels}")
        return ChronosGrammar(length)
