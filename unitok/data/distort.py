"""More series from the same: those of one split again, noisier, larger or smaller, faster and slower.

    "augment": {"split": "train", "copies": 8, "fields": ["series"], "noise": 0.05, "gain": 0.2, "warp": 0.1}

noise: standard deviation of what is added to each value, as a share of the channel's own. gain: greatest share
by which all is multiplied up or down. warp: greatest share of the length by which a moment is displaced; time
stays in order (Um et al. 2017; Iwana & Uchida 2021). Each is a draw of (seed, record, copy); all fields of a record
get the same gain and warp. Copy 0 is the data itself; missing values stay missing, or move with their moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from unitok.data.columns import Column, check_series, repeated
from unitok.errors import InputError
from unitok.values import Series

CHANGES = ("noise", "gain", "warp")
OPTIONS = {"split", "copies", "fields", *CHANGES}


def distorted(
    fields: Mapping[str, Column], rows: np.ndarray, rule: Mapping[str, Any], seed: int
) -> tuple[dict[str, Column], np.ndarray]:
    """(fields, rows): the chosen rows `copies` times over, the series changed in all but the first copy.

    Raises InputError for a rule that is none, or fields that are not there or hold no series.
    """
    copies: Any = rule.get("copies")
    names: Any = rule.get("fields")
    shares = [rule.get(name, 0.0) for name in CHANGES]
    sound = (
        isinstance(copies, int) and copies > 0 and isinstance(names, (list, tuple)) and bool(names)
    )
    sound = sound and all(
        isinstance(s, (int, float)) and 0 <= s < limit for s, limit in zip(shares, (9, 1, 0.2))
    )
    if set(rule) - OPTIONS or not sound:
        raise InputError(
            "source.options.augment: want split, copies (a positive integer), fields (names of series), "
            f"and if wanted noise (from 0), gain (0 to 1), warp (0 to 0.2); got {dict(rule)}"
        )
    check_series(fields, rows, names)
    made = {name: repeated(column, copies) for name, column in fields.items()}
    for order, name in enumerate(names):
        made[name] = _distorted_column(fields[name], shares, copies, seed, order)
    total = len(fields[names[0]])
    return made, np.concatenate([rows + copy * total for copy in range(copies)])


def _distorted_column(
    column: Column, shares: list[float], copies: int, seed: int, order: int
) -> Column:
    noise, gain, warp = shares

    def read(row: int) -> Series:
        copy, place = divmod(row, len(column))
        value = column[place]
        if not copy or not value.length:
            return value
        shared = np.random.default_rng((seed, place, copy))
        factor = 1 + gain * shared.uniform(-1, 1)
        x_TC = _warped(value.values.astype(np.float64), warp * shared.uniform(-1, 1, 2))
        own = np.random.default_rng((seed, place, copy, order))
        seen_C = [channel[np.isfinite(channel)] for channel in x_TC.T]
        size_C = np.array([channel.std() if channel.size else 0.0 for channel in seen_C])
        x_TC = factor * (x_TC + noise * size_C * own.standard_normal(x_TC.shape))
        return Series(x_TC.astype(np.float32), value.freq)

    return Column(len(column) * copies, read)


def _warped(x_TC: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """x at moments displaced by two sines, of half a period and of one, which leave both ends in place. A moment
    between a missing value and another is missing."""
    length = len(x_TC)
    if length < 3 or not amounts.any():
        return x_TC
    t = np.linspace(0, 1, length)
    half, whole = amounts / 2  # slope at most 1.5 pi times the share, below 1: time stays in order
    moved = t + half * np.sin(np.pi * t) + whole * np.sin(2 * np.pi * t)
    at = np.clip(moved, 0, 1) * (length - 1)
    low = np.minimum(at.astype(int), length - 2)
    share = (at - low)[:, None]
    return np.where(share == 0, x_TC[low], (1 - share) * x_TC[low] + share * x_TC[low + 1])
