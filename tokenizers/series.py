"""Time series as self-contained tokens: a header that says everything, then asinh-companded bins.

    mode  frequency  channels (2 bytes)  length (3 bytes)
    location and scale of each channel, float32 as 4 byte tokens each, most significant first
    values, time-major: all channels of the first moment, then of the second ...

Modes: `plain` has one bin a value; `lattice` has one step of an exact lattice a value (integers,
decimals; location and scale are then its offset and step); `refine` has a second token a value, the
place inside the bin. A missing value is one token of its own in every mode.

Forecasting: `encode(future, context=past)` takes location, scale and lattice from the past alone, and
the header then has no location and scale. Bins, error bound and Chronos's own bins: series_bins.py.
Legend: n tokens, B series of a group, T time, C channels, R = B * C rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unitok.interfaces import Grammar
from unitok.tokenizers import series_bins as sb
from unitok.tokenizers import series_grammar as sg
from unitok.tokenizers.base import BaseTokenizer
from unitok.tokenizers.series_chronos import ChronosTokenizer
from unitok.tokenizers.series_grammar import BYTE, FREQS, MISSING, MODES, REFINE
from unitok.tokenizers.series_header import (
    LATTICE,
    MAX_CHANNELS,
    MAX_LENGTH,
    Layout,
    check_series,
    freq_codes,
    header,
)
from unitok.values import Series


class SeriesTokenizer(BaseTokenizer):
    """Series to tokens and back. mode: 'lattice' (the default: exact where the data lie on a lattice of
    1,024 steps, else plain; the header says which), 'plain' or 'refine'.

    `build(layout='chronos')` gives Chronos's own ids instead, see `ChronosTokenizer`.
    """

    name = modality = "series"
    size = sg.SIZE

    def __init__(self, mode: str = "lattice") -> None:
        if mode not in MODES:
            raise ValueError(f"series: mode {mode!r} is none of {', '.join(MODES)}")
        self.mode = mode

    def options(self) -> dict[str, Any]:
        return {"mode": self.mode}

    @classmethod
    def build(cls, variant: str | None = None, *, layout: str = "asinh", **options: Any) -> Any:
        """layout 'asinh' (options: mode) or 'chronos'."""
        if variant is not None:
            return super().build(variant, layout=layout, **options)
        if layout not in ("asinh", "chronos"):
            raise ValueError(f"series: layout {layout!r} is neither 'asinh' nor 'chronos'")
        return cls(**options) if layout == "asinh" else ChronosTokenizer(**options)

    @classmethod
    def from_parts(cls, options: Mapping[str, Any], weights: Any, blobs: Any) -> Any:
        return cls.build(**options)

    # ---- encode ---------------------------------------------------------------------------

    def encode(
        self, value: Series, context: Series | None = None, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """int32 [n]. context: the past of `value`, of as many channels; its frequency counts where
        `value` has none. There is nothing to augment.

        Raises ValueRefused for anything but a Series, or one too long or wide for the header.
        """
        return self.encode_batch([value], [context])[0]

    def encode_batch(
        self, values: Sequence[Series], contexts: Sequence[Series | None] | None = None
    ) -> list[np.ndarray]:
        """As `encode`, one by one; series of one shape are worked on together."""
        if contexts is not None or {type(value) for value in values} - {Series}:
            for value, context in zip(values, contexts or [None] * len(values)):
                check_series(value, context)
        arrays = [value.values for value in values]
        shapes, freqs = [x_TC.shape for x_TC in arrays], [value.freq for value in values]
        groups: dict[Any, list[int]] = {}
        if contexts is None and values and _all_alike(shapes) and _all_alike(freqs):
            groups[(shapes[0], freqs[0], True)] = list(range(len(values)))
        else:
            for index, kind in enumerate(zip(shapes, freqs)):
                alone = contexts is None or contexts[index] is None
                groups.setdefault((*kind, alone), []).append(index)
        out: list[Any] = [None] * len(values)
        for ((length, channels), freq, alone), members in groups.items():
            check_series(values[members[0]], None)
            head = header(freq, channels, length)
            step = max(1, sb.BLOCK // max(1, length * channels))
            for start in range(0, len(members), step):
                part = members[start : start + step]
                past = None if alone or contexts is None else [contexts[i] for i in part]
                for i, ids in zip(part, self._encode_group([arrays[i] for i in part], past, head)):
                    out[i] = ids
        return out

    def _encode_group(
        self, arrays: list[np.ndarray], contexts: list[Any] | None, head: np.ndarray
    ) -> Any:
        x_BTC = sb.joined(arrays)
        shape = count, length, channels = x_BTC.shape
        x_RT = np.ascontiguousarray(x_BTC.transpose(0, 2, 1)).reshape(count * channels, length)
        if contexts is None:
            summary = sb.Summary.of(x_RT)
            if self.mode == "lattice":
                may_R = sb.may_be_lattice(summary)  # now, while the sorted rows are in the cache
            whole = summary.complete
            # x itself is read no more, but where float32 may not do (half: a scale is a rounded mean)
            spent = whole and self.mode != "refine" and summary.widest <= sb.WIDE / 2
            location_R, scale_R, away_RT = sb.location_scale(x_RT, summary, x_RT if spent else None)
        else:
            away_RT, whole, may_R = None, False, np.ones(len(x_RT), bool)
            pairs = [sb.context_location_scale(_rows(context)) for context in contexts]
            location_R, scale_R = (np.concatenate(parts) for parts in zip(*pairs))
        base = "refine" if self.mode == "refine" else "plain"
        alone = contexts is None
        out_Bn, values_BCT = _framed(base, head, location_R, scale_R, shape, alone)
        sb.bins(x_RT, location_R, scale_R, away_RT, whole=whole, out=values_BCT)
        if self.mode == "refine":
            ids_RT = values_BCT.reshape(x_RT.shape)
            places_RT = sb.refinements(x_RT, ids_RT, location_R, scale_R)
        if not whole:
            values_BCT[values_BCT == sb.MISSING] = MISSING
        if self.mode == "plain":
            return out_Bn
        if self.mode == "refine":
            return _with_places(out_Bn, places_RT.reshape(count, channels, length))
        if not may_R.any():
            return out_Bn
        for b in np.flatnonzero(may_R.reshape(count, channels).all(axis=1)):
            rows = np.ascontiguousarray(arrays[b].T)
            context = None if contexts is None else contexts[b]
            lattices = _lattices(rows if context is None else _rows(context), context is not None)
            ids = [lattice.ids(row) for lattice, row in zip(lattices or (), rows)]
            if lattices and all(k is not None for k in ids):
                offsets = np.array([lattice.offset for lattice in lattices], np.float32)
                steps = np.array([lattice.step for lattice in lattices], np.float32)
                one = (1, length, channels)
                framed_1n, values_1CT = _framed("lattice", head, offsets, steps, one, alone)
                values_1CT[0] = np.stack([k for k in ids if k is not None])
                values_1CT[values_1CT == sb.MISSING] = MISSING
                out_Bn[b] = framed_1n[0]
        return out_Bn

    # ---- decode ---------------------------------------------------------------------------

    def decode(self, ids: np.ndarray, context: Series | None = None) -> Series:
        """The series. Raises ValueError where the tokens are not one, or need the context they lack."""
        layout = Layout(self.check_ids(ids))
        bins_CT, places_CT = layout.body()
        if layout.own_parameters:
            location_C, scale_C = layout.parameters()
            lattices: Any = [sb.Lattice(float(m), float(s)) for m, s in zip(location_C, scale_C)]
        elif context is None:
            raise ValueError("series: these tokens continue a past; decode them with context=past")
        elif context.channels != layout.channels:
            raise ValueError(
                f"series: {layout.channels} channels, but the context has {context.channels}"
            )
        else:
            location_C, scale_C = sb.context_location_scale(_rows(context))
            lattices = _lattices(_rows(context), True) if layout.mode == LATTICE else None
            if lattices is None and layout.mode == LATTICE:
                raise ValueError("series: lattice mode, but the context is on no lattice")
        if layout.mode == LATTICE:
            x_CT = np.stack([lattice.values(k) for lattice, k in zip(lattices, bins_CT)])
        else:
            x_CT = sb.values(bins_CT, location_C, scale_C, places_CT)
        return Series(np.ascontiguousarray(x_CT.T), layout.freq)

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """int32 [n, 3]: time, channel, place. The header advances in time and its parameters have
        their channel; values start where it ends. Raises ValueError where the tokens are no series."""
        return Layout(self.check_ids(ids)).positions()

    def grammar(
        self,
        length: int | None = None,
        channels: int | None = None,
        context: Series | None = None,
        mode: str | None = None,
        freq: str | None = None,
    ) -> Grammar:
        """Tokens of a whole series. length, channels, freq, mode: fixed where given; the context fixes
        channels and frequency, and takes location and scale out of the header."""
        modes: tuple[str, ...] = (
            (mode,) if mode else {"lattice": ("plain", "lattice")}.get(self.mode, (self.mode,))
        )
        if not set(modes) <= set(MODES):
            raise ValueError(f"series: mode {mode!r} is none of {', '.join(MODES)}")
        if context is not None:
            if channels not in (None, context.channels):
                raise ValueError(
                    f"series: {channels} channels asked, context has {context.channels}"
                )
            channels, freq = context.channels, freq or context.freq
            if _lattices(_rows(context), True) is None:
                modes = tuple(m for m in modes if m != "lattice") or ("plain",)
        if not 0 <= (length or 0) <= MAX_LENGTH or not 1 <= (channels or 1) <= MAX_CHANNELS:
            raise ValueError(
                f"series: length {length} outside 0..{MAX_LENGTH} or channels {channels} "
                f"outside 1..{MAX_CHANNELS}"
            )
        fixed = freq is not None or context is not None
        tag = tuple(freq_codes(freq)) if fixed else None
        return sg.SeriesGrammar(modes, context is None, length, channels, tag)

    def bits_per_item(self, value: Series) -> float:
        """Each token at the logarithm of the choices it has: bytes 8 bits, values log2(1025), places 10."""
        ids = self.encode(value)
        in_header = (ids >= BYTE) & (ids < MISSING)
        in_value = (ids < REFINE) | (ids == MISSING)
        in_place = (ids >= REFINE) & (ids < BYTE)
        choices = np.log2(len(MODES)) + np.log2(len(FREQS) + 1)
        return float(
            8 * in_header.sum() + np.log2(sb.K + 1) * in_value.sum() + 10 * in_place.sum() + choices
        )


# ---- putting tokens together --------------------------------------------------------------


def _framed(
    mode: str,
    head: np.ndarray,
    location_R: np.ndarray,
    scale_R: np.ndarray,
    shape: tuple[int, ...],
    with_parameters: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Header and parameters of series of shape [B, T, C], int32 [B, n], with room for the values, and
    that room, [B, C, T], to be written to."""
    count, length, channels = shape
    start = len(head)
    body = start + sg.PARAMETER_BYTES * channels * with_parameters
    out_Bn = np.empty((count, body + length * channels), np.int32)
    out_Bn[:, :start] = head
    out_Bn[:, 0] += MODES.index(mode)
    if with_parameters:
        pairs_R8 = np.stack([location_R, scale_R], axis=1).astype(">f4").view(np.uint8)
        np.add(pairs_R8.reshape(count, -1), np.int32(BYTE), out=out_Bn[:, start:body])
    return out_Bn, out_Bn[:, body:].reshape(count, length, channels).transpose(0, 2, 1)


def _with_places(out_Bn: np.ndarray, places_BCT: np.ndarray) -> list[np.ndarray]:
    """Each value of each series followed by its place, but a missing one alone."""
    count, channels, length = places_BCT.shape
    start = out_Bn.shape[1] - channels * length
    places_Bn = places_BCT.transpose(0, 2, 1).reshape(count, -1) + REFINE
    series = []
    for ids, places in zip(out_Bn, places_Bn):
        both = np.stack([ids[start:], places], axis=1)
        keep = np.stack([np.ones(len(both), bool), both[:, 0] != MISSING], axis=1)
        series.append(np.concatenate([ids[:start], both[keep]]).astype(np.int32))
    return series


def _all_alike(items: list[Any]) -> bool:
    return items.count(items[0]) == len(items)


def _rows(series: Series) -> np.ndarray:
    return np.ascontiguousarray(series.values.T)


def _lattices(x_CT: np.ndarray, past: bool) -> list[sb.Lattice] | None:
    """The lattice of each channel, or None unless all have one. past: leave room around the median."""
    lattices = []
    summary = sb.Summary.of(x_CT)
    if not sb.may_be_lattice(summary).all():
        return None
    for row, count, median in zip(summary.sorted_RT, summary.counts_R, summary.median_R):
        lattice = sb.find_lattice(row[:count])
        if lattice is None or (past and lattice.step == 0):
            return None
        lattices.append(lattice.centred(float(median)) if past else lattice)
    return lattices
