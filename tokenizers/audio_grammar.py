"""Which audio codes may follow which: the six header tokens, then exactly the frames they announce.

Local codes: 0..63 digits in base 64; 64..319 loudness (64 is silence); then 1,024 ids for each of the Q
codes of a frame. Header: loudness; number of frames, three digits, high digit first; samples missing
from the last frame (0..319), two digits. Then frame after frame its Q codes, of silence too:
what a few tokens can claim is never longer than what they spell out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

FRAME = 320  # samples at 16 kHz: 20 ms
BASE, LOUDNESS_LEVELS, CODES = 64, 256, 1024
LOUDNESS = BASE  # id of silence; the levels follow
FIRST_CODE = BASE + LOUDNESS_LEVELS
HEADER = 6
FRAME_DIGITS, TAIL_DIGITS = (1, 2, 3), (4, 5)  # places in the header
MAX_FRAMES = BASE ** len(FRAME_DIGITS) - 1
HEADER_BITS = 8 + 3 * 6 + float(np.log2(FRAME))


def header_ids(level: int, length: int) -> np.ndarray:
    """int32 [6] of `length` samples; level: 0 (silence) .. 255."""
    frames = -(-length // FRAME)
    tail = frames * FRAME - length
    digits = [frames // BASE**2, frames // BASE % BASE, frames % BASE, tail // BASE, tail % BASE]
    return np.array([LOUDNESS + level, *digits], np.int32)


def parse_header(ids: np.ndarray) -> tuple[int, int]:
    """(loudness level, samples). Raises ValueError where the six header tokens are not that."""
    head = [int(i) for i in ids[:HEADER]]
    if len(head) < HEADER or not LOUDNESS <= head[0] < FIRST_CODE or max(head[1:]) >= BASE:
        raise ValueError(
            f"audio: {head} is no header; want a loudness {LOUDNESS}..{FIRST_CODE - 1}, "
            f"then five digits below {BASE}"
        )
    frames = (head[1] * BASE + head[2]) * BASE + head[3]
    tail = head[4] * BASE + head[5]
    if tail >= FRAME or (tail and not frames):
        raise ValueError(
            f"audio: {tail} samples cannot be missing from the last of {frames} frames"
        )
    return head[0] - LOUDNESS, frames * FRAME - tail


def positions_of(count: int, codes_per_frame: int) -> np.ndarray:
    """int32 [n, 3] of n = count tokens: time, codebook, 0. See `AudioGrammar`."""
    index = np.arange(count, dtype=np.int32)
    code = np.maximum(index - HEADER, 0)
    time = np.where(index < HEADER, index, HEADER + code // codes_per_frame)
    level = np.where(index < HEADER, 0, code % codes_per_frame)
    return np.stack([time, level, np.zeros_like(index)], axis=1).astype(np.int32)


@dataclass(frozen=True)
class AudioGrammar:
    """Loudness, digits of the number of frames and of the tail, then Q codes a frame, then the end.

    A digit of the number of frames is allowed only while the codes it commits to fit in the budget.
    Positions: header token i at (i, 0, 0), code q of frame t at (6 + t, q, 0).
    Registers: tokens consumed, frames and tail as spelled so far.
    """

    size: int
    codes_per_frame: int
    length: int | None = None  # samples, where the request fixes them

    num_registers: ClassVar[int] = 3

    @property
    def min_tokens(self) -> int:
        frames = 0 if self.length is None else -(-self.length // FRAME)
        return HEADER + frames * self.codes_per_frame + 1

    def registers(self) -> np.ndarray:
        return np.array([-1, 0, 0], np.int32)

    def step(self, registers: Any, code: Any, budget: Any) -> tuple[Any, Any, Any]:
        index, frames, tail = registers[0], registers[1], registers[2]
        code = jnp.asarray(code, jnp.int32)
        position = self._position(index)
        for digits, is_frames in ((FRAME_DIGITS, True), (TAIL_DIGITS, False)):
            for power, place in enumerate(reversed(digits)):
                value = jnp.where(index == place, code * BASE**power, 0)
                frames, tail = frames + value * is_frames, tail + value * (not is_frames)
        index = index + 1  # tokens consumed by now, begin not counted
        total = HEADER + frames * self.codes_per_frame
        allowed = jnp.where(
            index < HEADER,
            self._header_allowed(index, frames, tail, budget - (HEADER - index) - 1),
            self._codes_allowed(index, index >= total),
        )
        return jnp.stack([index, frames, tail]), allowed, position

    def _position(self, index: Any) -> Any:
        code = jnp.maximum(index - HEADER, 0)
        time = jnp.where(
            index < HEADER, jnp.maximum(index, 0), HEADER + code // self.codes_per_frame
        )
        level = jnp.where(index < HEADER, 0, code % self.codes_per_frame)
        return jnp.stack([time, level, jnp.zeros_like(time)]).astype(jnp.int32)

    def _header_allowed(self, index: Any, frames: Any, tail: Any, room: Any) -> Any:
        """bool [size + 1] of header token `index`; room: codes that still fit after the header."""
        digits = jnp.arange(BASE, dtype=jnp.int32)
        fits = jnp.zeros(BASE, jnp.bool_)
        for power, place in enumerate(reversed(FRAME_DIGITS)):
            most = jnp.maximum(room, 0) // self.codes_per_frame  # no product that could overflow
            ok = (frames + digits * BASE**power <= most) | (digits == 0)
            fits = jnp.where(index == place, self._forced(ok, place), fits)
        for power, place in enumerate(reversed(TAIL_DIGITS)):
            ok = (tail + digits * BASE**power < FRAME) & ((frames > 0) | (digits == 0))
            fits = jnp.where(index == place, self._forced(ok, place), fits)
        loudness = jnp.broadcast_to(index == 0, (LOUDNESS_LEVELS,))
        return jnp.concatenate([fits, loudness, jnp.zeros(self.size + 1 - FIRST_CODE, jnp.bool_)])

    def _forced(self, ok: Any, place: int) -> Any:
        if self.length is None:
            return ok
        return jnp.arange(BASE) == int(header_ids(0, self.length)[place])

    def _codes_allowed(self, index: Any, complete: Any) -> Any:
        token = jnp.arange(self.size + 1, dtype=jnp.int32)
        level = (index - HEADER) % self.codes_per_frame
        is_code = (token - FIRST_CODE) // CODES == level
        return jnp.where(complete, token == self.size, is_code & (token >= FIRST_CODE))
