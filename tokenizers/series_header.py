"""The header of a series' tokens, written and read, and where the parts behind it lie.

Legend: n tokens, T time, C channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unitok.tokenizers import series_bins as sb
from unitok.tokenizers import series_grammar as sg
from unitok.tokenizers.series_grammar import (
    BYTE,
    FREQ,
    FREQS,
    MISSING,
    MODE,
    MODES,
    REFINE,
    SPELLED,
)
from unitok.values import Series, ValueRefused

PLAIN, LATTICE, FINE = range(3)  # indices into MODES
MAX_LENGTH, MAX_CHANNELS = 256**sg.LENGTH_BYTES - 1, 256**sg.CHANNEL_BYTES - 1


def check_series(value: Any, context: Any) -> None:
    for name, one in (("value", value), ("context", context)):
        if not isinstance(one, Series) and not (name == "context" and one is None):
            raise ValueRefused(f"series: want a Series as {name}, got {type(one).__name__}")
    length, channels = value.values.shape
    if length > MAX_LENGTH or channels > MAX_CHANNELS:
        raise ValueRefused(
            f"Series.values: [{length}, {channels}] is beyond [{MAX_LENGTH}, {MAX_CHANNELS}]; cut it"
        )
    if context is not None and context.channels != channels:
        raise ValueRefused(
            f"Series.values: {channels} channels, but the context has {context.channels}"
        )


def freq_codes(freq: str | None) -> list[int]:
    if freq is None or freq in FREQS:
        return [FREQ + FREQS.index(freq or "")]
    if len(freq) > sg.LONGEST_FREQ or not all(" " <= character <= "~" for character in freq):
        raise ValueRefused(
            f"Series.freq: want at most {sg.LONGEST_FREQ} printable ASCII characters, got {freq!r}"
        )
    return [SPELLED, BYTE + len(freq), *(BYTE + byte for byte in freq.encode())]


def _bytes(number: int, count: int) -> list[int]:
    return [BYTE + byte for byte in number.to_bytes(count, "big")]


def header(freq: str | None, channels: int, length: int) -> np.ndarray:
    """The header for mode PLAIN, parameters apart."""
    fixed = _bytes(channels, sg.CHANNEL_BYTES) + _bytes(length, sg.LENGTH_BYTES)
    return np.array([MODE, *freq_codes(freq), *fixed], np.int32)


class Layout:
    """The header of checked ids, and where its parts are. Raises ValueError where there is no header."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = ids
        self.at = 0
        self.mode = self._take(1, MODE, len(MODES), "a mode")[0]
        self.freq = self._freq()
        self.channels = self._number(sg.CHANNEL_BYTES, "the number of channels")
        self.length = self._number(sg.LENGTH_BYTES, "the length")
        if self.channels == 0:
            raise ValueError("series: a header without channels")
        self.start = self.at
        self.own_parameters = self.at < len(ids) and BYTE <= ids[self.at] < MISSING
        size = sg.PARAMETER_BYTES * self.channels * self.own_parameters
        self._parameter_bytes = self._take(size, BYTE, 256, "location and scale")

    def _take(self, count: int, first: int, choices: int, what: str) -> list[int]:
        part = self.ids[self.at : self.at + count] - first
        if len(part) < count or (count and (part.min() < 0 or part.max() >= choices)):
            raise ValueError(f"series: want {what} at token {self.at} of {len(self.ids)}")
        self.at += count
        return part.tolist()

    def _number(self, count: int, what: str) -> int:
        return int.from_bytes(bytes(self._take(count, BYTE, 256, what)), "big")

    def _freq(self) -> str | None:
        code = self._take(1, FREQ, len(FREQS) + 1, "a frequency")[0]
        if code < len(FREQS):
            return FREQS[code] or None
        count = self._number(1, "the length of the frequency")
        characters = bytes(self._take(count, BYTE + 32, 95, "a character"))
        return "".join(chr(32 + c) for c in characters) or None

    def parameters(self) -> tuple[np.ndarray, np.ndarray]:
        pairs_C2 = np.frombuffer(bytes(self._parameter_bytes), ">f4").reshape(-1, 2)
        if not np.isfinite(pairs_C2).all() or np.signbit(pairs_C2[:, 1]).any():
            raise ValueError("series: a location or scale is not finite, or a scale is negative")
        return pairs_C2[:, 0].astype(np.float32), pairs_C2[:, 1].astype(np.float32)

    def body(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Bins (sb.MISSING where missing), int [C, T], and in mode FINE the places inside them."""
        body = self.ids[self.at :]
        is_place = (body >= REFINE) & (body < BYTE)
        is_bin = body < REFINE
        wants_place = np.concatenate([[False], is_bin[:-1]]) if len(body) else is_bin
        right = is_place == wants_place if self.mode == FINE else ~is_place
        if not (right & (is_place | is_bin | (body == MISSING))).all():
            raise ValueError("series: a token that is no value among the values")
        if self.mode == FINE and len(body) and is_bin[-1]:
            raise ValueError("series: the last value lacks its place")
        values = body[~is_place]
        if len(values) != self.length * self.channels:
            raise ValueError(
                f"series: {len(values)} values for length {self.length} and {self.channels} channels"
            )
        bins = np.where(values == MISSING, sb.MISSING, values)
        shape = (self.length, self.channels)
        if self.mode != FINE:
            return bins.reshape(shape).T, None
        places = np.full(len(values), sb.ZERO)
        places[bins != sb.MISSING] = body[is_place] - REFINE
        return bins.reshape(shape).T, places.reshape(shape).T

    def positions(self) -> np.ndarray:
        out_n3 = np.zeros((len(self.ids), 3), np.int32)
        out_n3[: self.start, 0] = np.arange(self.start)
        size, index = self.at - self.start, np.arange(self.at - self.start)
        out_n3[self.start : self.at, 0] = self.start + index % sg.PARAMETER_BYTES
        out_n3[self.start : self.at, 1] = index // sg.PARAMETER_BYTES
        body = self.ids[self.at :]
        is_place = (body >= REFINE) & (body < BYTE)
        value = np.maximum(np.cumsum(~is_place) - 1, 0)
        first = self.start + (sg.PARAMETER_BYTES if size else 0)
        out_n3[self.at :, 0] = first + value // self.channels
        out_n3[self.at :, 1] = value % self.channels
        out_n3[self.at :, 2] = is_place
        return out_n3
