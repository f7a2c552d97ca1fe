"""What may follow what in the tokens of a series, and where each token lies: inside jit, without branches.

Registers: the phase (what is expected next), the mode, a counter within the phase, channels, length,
header tokens so far, and a flag (in PARAMETERS: whether the float being spelled is about to become
infinite or NaN). Whatever is allowed leaves room for the rest within the budget; the smallest choice is always there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from unitok.tokenizers import series_bins

# ---- the codes, shared with series.py -----------------------------------------------------

BIN = 0
REFINE = BIN + series_bins.K
BYTE = REFINE + series_bins.K
MISSING = BYTE + 256
MODES = ("plain", "lattice", "refine")
MODE = MISSING + 1
FREQS: tuple[str, ...] = (
    "",
    "ns",
    "us",
    "ms",
    "s",
    "S",
    "min",
    "T",
    "5min",
    "10min",
    "15min",
    "30min",
    "h",
    "H",
    "D",
)
FREQS += ("B", "W", "MS", "ME", "M", "QS", "QE", "Q", "YS", "YE", "Y", "A")
FREQ = MODE + len(MODES)  # FREQS[0] stands for None
SPELLED = FREQ + len(FREQS)  # any other tag follows as one length byte and its printable characters
SIZE = SPELLED + 1

LONGEST_FREQ = 32
LENGTH_BYTES, CHANNEL_BYTES, PARAMETER_BYTES = 3, 2, 8
FIXED = 2 + CHANNEL_BYTES + LENGTH_BYTES  # header tokens besides a spelled tag and the parameters

(AT_MODE, AT_FREQ, AT_FREQ_LENGTH, AT_FREQ_BYTE, AT_CHANNELS_1, AT_CHANNELS_0, AT_LENGTH_2,
 AT_LENGTH_1, AT_LENGTH_0, AT_PARAMETERS, AT_VALUE, AT_PLACE, AT_END) = range(13)  # fmt: skip


@dataclass(frozen=True)
class SeriesGrammar:
    """Automaton of the asinh layout. None leaves a choice open.

    modes: those that may be chosen. freq: header codes of the frequency. parameters: whether location
    and scale follow the header (they do not when a context gives them).
    """

    modes: tuple[str, ...]
    parameters: bool
    length: int | None = None
    channels: int | None = None
    freq: tuple[int, ...] | None = None
    size: int = SIZE
    num_registers: int = 7

    @property
    def min_tokens(self) -> int:
        per_value = 2 if self.modes == ("refine",) else 1
        channels, length = self.channels or 1, self.length or 0
        freq = 1 if self.freq is None else len(self.freq)
        parameters = PARAMETER_BYTES * channels * self.parameters
        return FIXED - 1 + freq + parameters + per_value * channels * length + 1

    def registers(self) -> np.ndarray:
        return np.zeros(self.num_registers, np.int32)

    def step(self, registers: Any, code: Any, budget: Any) -> tuple[Any, Any, Any]:
        begin = code < 0
        position = jnp.where(begin, 0, self._position(registers))
        registers = jnp.where(begin, registers, self._consume(registers, code))
        return registers, self._allowed(registers, budget), position.astype(jnp.int32)

    # ---- consuming a code -----------------------------------------------------------------

    def _position(self, registers: Any) -> Any:
        phase, _, count, channels, _, header, _ = registers
        channels = jnp.maximum(channels, 1)
        value = count - (phase == AT_PLACE)  # the place of a value already counted
        time = header + PARAMETER_BYTES * self.parameters + value // channels
        zero = jnp.int32(0)
        in_header = jnp.stack([header, zero, zero])
        in_parameters = jnp.stack(
            [header + count % PARAMETER_BYTES, count // PARAMETER_BYTES, zero]
        )
        in_body = jnp.stack([time, value % channels, (phase == AT_PLACE).astype(jnp.int32)])
        return jnp.where(
            phase < AT_PARAMETERS,
            in_header,
            jnp.where(phase == AT_PARAMETERS, in_parameters, in_body),
        )

    def _consume(self, registers: Any, code: Any) -> Any:
        phase, mode, count, channels, length, header, flag = registers
        byte = code - BYTE
        at = lambda wanted: phase == wanted  # noqa: E731

        mode = jnp.where(at(AT_MODE), code - MODE, mode)
        channels = jnp.where(at(AT_CHANNELS_1) | at(AT_CHANNELS_0), channels * 256 + byte, channels)
        in_length = (phase >= AT_LENGTH_2) & (phase <= AT_LENGTH_0)
        length = jnp.where(in_length, length * 256 + byte, length)
        total = length * channels

        counts = (phase == AT_PARAMETERS) | (phase == AT_VALUE)
        after = jnp.where(counts, count + 1, count)
        after = jnp.where(at(AT_FREQ_LENGTH), byte, after)
        after = jnp.where(at(AT_FREQ_BYTE), count - 1, after)
        missing_place = (mode != MODES.index("refine")) | (code == MISSING)
        body = jnp.where(after >= total, AT_END, AT_VALUE)
        first = jnp.where(total > 0, AT_VALUE, AT_END)

        following = phase + 1
        following = jnp.where(at(AT_FREQ) & (code != SPELLED), AT_CHANNELS_1, following)
        following = jnp.where(at(AT_FREQ_BYTE) & (after > 0), AT_FREQ_BYTE, following)
        if not self.parameters:
            following = jnp.where(at(AT_LENGTH_0), first, following)
        left = after < PARAMETER_BYTES * channels
        following = jnp.where(at(AT_PARAMETERS), jnp.where(left, AT_PARAMETERS, first), following)
        following = jnp.where(at(AT_VALUE), jnp.where(missing_place, body, AT_PLACE), following)
        following = jnp.where(at(AT_PLACE), body, following)
        following = jnp.where(at(AT_END), AT_END, following)
        after = jnp.where(at(AT_PARAMETERS) & ~left, 0, after)
        flag = jnp.where(at(AT_PARAMETERS) & (count % 4 == 0), (byte & 127) == 127, 0)
        header = header + (phase < AT_PARAMETERS)
        new = [following, mode, after, channels, length, header, flag]
        return jnp.stack([jnp.asarray(x).astype(jnp.int32) for x in new])

    # ---- what may come next ---------------------------------------------------------------

    def _allowed(self, registers: Any, budget: Any) -> Any:
        phase, mode, count, channels, _, _, flag = registers
        codes = jnp.arange(SIZE + 1)
        byte = codes - BYTE
        is_byte = (byte >= 0) & (byte < 256)
        is_bin = (codes >= BIN) & (codes < REFINE)
        is_place = (codes >= REFINE) & (codes < BYTE)
        left = budget - 1  # after the next code

        whole = channels * 256 + byte  # of the two channel bytes
        parameter = count % PARAMETER_BYTES
        finite = jnp.where(flag != 0, byte < 128, (parameter != 4) | (byte < 128))
        by_phase = [
            self._modes_with_room(codes, left),
            self._freqs(codes, count, left, spelled=False),
            self._freq_lengths(byte, left),
            self._freqs(codes, count, left, spelled=True),
            is_byte & self._channels_fit(jnp.maximum(byte * 256, 1), mode, left - 5, byte, 8),
            is_byte & (whole >= 1) & self._channels_fit(whole, mode, left - 4, byte, 0),
            *(is_byte & self._length_fits(registers, byte, left, shift) for shift in (16, 8, 0)),
            is_byte & finite,
            is_bin | (codes == MISSING),
            is_place,
            codes == SIZE,
        ]
        return jnp.stack(by_phase)[phase]

    def _per_channel(self, mode: Any) -> Any:
        """Fewest tokens that one channel needs after the header."""
        per_value = jnp.where(mode == MODES.index("refine"), 2, 1)
        return PARAMETER_BYTES * self.parameters + per_value * (self.length or 0)

    def _modes_with_room(self, codes: Any, left: Any) -> Any:
        mode = codes - MODE
        freq = 1 if self.freq is None else len(self.freq)
        need = freq + CHANNEL_BYTES + LENGTH_BYTES + 1
        need = need + self._per_channel(mode) * (self.channels or 1)
        wanted = codes < 0
        for name in self.modes:
            wanted = wanted | (mode == MODES.index(name))
        return wanted & ((need <= left) | (mode == MODES.index(self.modes[0])))

    def _freq_room(self, left: Any) -> Any:
        """How many characters of a spelled frequency fit."""
        need = CHANNEL_BYTES + LENGTH_BYTES + 1 + self._per_channel(2) * (self.channels or 1)
        return jnp.minimum(LONGEST_FREQ, left - need)

    def _freq_lengths(self, byte: Any, left: Any) -> Any:
        if self.freq is not None:
            return byte == (self.freq[1] - BYTE if len(self.freq) > 1 else 1)
        return (byte >= 1) & (byte <= jnp.maximum(self._freq_room(left), 1))

    def _freqs(self, codes: Any, count: Any, left: Any, *, spelled: bool) -> Any:
        if self.freq is None:
            if spelled:
                return (codes >= BYTE + 32) & (codes < BYTE + 127)
            roomy = self._freq_room(left - 1) >= 1
            return ((codes >= FREQ) & (codes < SPELLED)) | ((codes == SPELLED) & roomy)
        if not spelled:
            return codes == self.freq[0]
        tag = jnp.asarray([*self.freq[2:], 0], jnp.int32)
        return codes == tag[jnp.clip(len(self.freq) - 2 - count, 0, len(self.freq) - 2)]

    def _channels_fit(self, channels: Any, mode: Any, room: Any, byte: Any, shift: int) -> Any:
        """Whether this many channels fit; room: tokens left for their parameters and values."""
        if self.channels is not None:
            return byte == (self.channels >> shift) & 255
        need = self._per_channel(mode)
        most = jnp.where(need > 0, room // jnp.maximum(need, 1), 65535)
        return channels <= jnp.maximum(most, 1)

    def _length_fits(self, registers: Any, byte: Any, left: Any, shift: int) -> Any:
        if self.length is not None:
            return byte == (self.length >> shift) & 255
        _, mode, _, channels, length, _, _ = registers
        channels = jnp.maximum(channels, 1)
        per_value = jnp.where(mode == MODES.index("refine"), 2, 1)
        free = left - shift // 8 - 1 - PARAMETER_BYTES * self.parameters * channels
        return length * 256 + byte <= jnp.maximum(free // (per_value * channels), 0) >> shift
