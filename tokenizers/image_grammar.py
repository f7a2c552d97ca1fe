"""Which image codes may follow which: the five header tokens, then exactly the patches they announce.

Local codes: 0..31 the digits of (height - 1) and (width - 1), two each in base 32, high digit first;
32 grey, 33 RGB; from 34 on the codes of the patches in raster order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

BASE = 32  # of the two digits of a side
MAX_SIDE = BASE * BASE
CHANNEL_CODES = {1: BASE, 3: BASE + 1}
HEADER = 5  # height, height, width, width, channels
FIRST_CODE = BASE + 2
HEADER_BITS = 4 * 5 + 1


def header_ids(height: int, width: int, channels: int) -> np.ndarray:
    digits = [*divmod(height - 1, BASE), *divmod(width - 1, BASE), CHANNEL_CODES[channels]]
    return np.array(digits, np.int32)


def parse_header(ids: np.ndarray) -> tuple[int, int, int]:
    """(height, width, channels). Raises ValueError where the five header tokens are not that."""
    head = [int(i) for i in ids[:HEADER]]
    if len(head) < HEADER or max(head[:4]) >= BASE or head[4] not in CHANNEL_CODES.values():
        raise ValueError(
            f"image: {head} is no header; want four digits below {BASE}, then {BASE} or {BASE + 1}"
        )
    channels = 1 if head[4] == CHANNEL_CODES[1] else 3
    return BASE * head[0] + head[1] + 1, BASE * head[2] + head[3] + 1, channels


@dataclass(frozen=True)
class ImageGrammar:
    """Digits of height and width, channels, then ceil(H / p) ceil(W / p) codes, then the end.

    A digit is allowed only while the codes it commits to fit in the budget. Registers: tokens
    consumed, height, width (while spelled: the smallest that the digits so far can still mean).
    """

    size: int
    patch: int
    height: int | None = None
    width: int | None = None
    channels: int | None = None

    num_registers: ClassVar[int] = 3

    @property
    def min_tokens(self) -> int:
        rows, columns = (-(-(side or 1) // self.patch) for side in (self.height, self.width))
        return HEADER + rows * columns + 1

    def registers(self) -> np.ndarray:
        return np.array([-1, self.height or 1, self.width or 1], np.int32)

    def step(self, registers: Any, code: Any, budget: Any) -> tuple[Any, Any, Any]:
        index, height, width = registers[0], registers[1], registers[2]
        code = jnp.asarray(code, jnp.int32)
        if self.height is None:
            height += _spelled(index, 0, code)
        if self.width is None:
            width += _spelled(index, 2, code)
        columns = _ceil(width, self.patch)
        position = _position(index, columns)
        index = index + 1  # tokens consumed by now, begin not counted
        total = HEADER + _ceil(height, self.patch) * columns
        allowed = jnp.where(
            index < HEADER,
            self._header_allowed(index, height, width, budget - (HEADER - index) - 1),
            self._codes_allowed(index >= total),
        )
        return jnp.stack([index, height, width]), allowed, position

    def _header_allowed(self, index: Any, height: Any, width: Any, room: Any) -> Any:
        """bool [size + 1] of header token `index`; room: codes that still fit after the header."""
        digits = jnp.arange(BASE, dtype=jnp.int32)
        place = jnp.where(index % 2 == 0, BASE, 1)
        is_height, is_width = index < 2, (index >= 2) & (index < 4)
        rows = _ceil(height + jnp.where(is_height, digits * place, 0), self.patch)
        columns = _ceil(width + jnp.where(is_width, digits * place, 0), self.patch)
        fits = (rows * columns <= room) | (digits == 0)
        digit_ok = jnp.where(is_height, _forced(self.height, index, fits), False)
        digit_ok = jnp.where(is_width, _forced(self.width, index - 2, fits), digit_ok)
        channel = CHANNEL_CODES[self.channels] if self.channels else None
        flags = jnp.arange(BASE, FIRST_CODE) == channel if channel else jnp.ones(2, jnp.bool_)
        rest = jnp.zeros(self.size + 1 - FIRST_CODE, jnp.bool_)
        return jnp.concatenate([digit_ok, flags & (index == HEADER - 1), rest])

    def _codes_allowed(self, complete: Any) -> Any:
        token = jnp.arange(self.size + 1, dtype=jnp.int32)
        is_code = (token >= FIRST_CODE) & (token < self.size)
        return jnp.where(complete, token == self.size, is_code)


def _ceil(side: Any, patch: int) -> Any:
    return (side + patch - 1) // patch


def _spelled(index: Any, first: int, code: Any) -> Any:
    """What header digit `code` at token `index` adds to the side whose digits stand at first, first + 1."""
    return jnp.where(index == first, BASE * code, jnp.where(index == first + 1, code, 0))


def _forced(side: int | None, place: Any, fits: Any) -> Any:
    if side is None:
        return fits
    digit = jnp.where(place == 0, (side - 1) // BASE, (side - 1) % BASE)
    return jnp.arange(BASE) == digit


def _position(index: Any, columns: Any) -> Any:
    raster = jnp.maximum(index - HEADER, 0)
    code = jnp.stack([HEADER + 0 * raster, HEADER + raster // columns, HEADER + raster % columns])
    return jnp.where(index < HEADER, jnp.full(3, jnp.maximum(index, 0)), code).astype(jnp.int32)
