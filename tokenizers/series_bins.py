"""The numbers behind the series tokenizer: location and scale, asinh bins, lattices, Chronos's bins.

Everything works on rows, one channel of one series each, and a row's result depends on that row
alone: batches of any make-up give the same codes. Legend: R rows, T time; NaN is a missing value.

Bins. With u = (x - location) / scale and y = asinh(u), bin k holds y within STEP / 2 of
(k - 512) * STEP, where STEP = 2 * asinh(1000) / 1024. The middle bin is centred on the location, so
a value equal to it (the zeros of an intermittent series) comes back exactly. Where the scale comes
from the series itself nothing is clipped, and the error of every sample is at most
scale * cosh(|y_k| + STEP / 2) * STEP / 2, plus half a float32 step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

K = 1024  # bins, places of a refinement, and steps of a lattice
ZERO = K // 2  # the bin centred on the location
REACH = 1000.0
STEP = 2 * np.arcsinh(REACH) / K
TABLE = np.sinh((np.arange(K) - ZERO) * STEP)  # u at the centre of each bin, float64 [K]
U_MAX = 0.999 * np.sinh((K / 2 - 0.5) * STEP)  # largest |u| sure to lie inside the bins (992)
MISSING = -1
ROUNDER = np.float32(1.5 * 2**23)  # a float32 below 2**22 plus this is rounded to an integer ...
ROUNDED = int(ROUNDER.view(np.int32))  # ... which is what the bits of the sum are above these
NEAR = 8  # sorted values looked at on both sides of the middle before all are
BLOCK = 128 * 1024  # values worked on at a time: about what the caches hold

FLOAT_MAX = float(np.finfo(np.float32).max)
FLOAT_TINY = np.finfo(np.float32).tiny
WIDE = 1e34  # a row with more spread is computed in float64; with less, an overflow is far off the bins


def joined(arrays: Sequence[Any]) -> np.ndarray:
    """float32 arrays of one shape as one, [number, *shape], to be written over: `np.stack` in half the time."""
    shape = (len(arrays), *arrays[0].shape)
    try:
        return np.frombuffer(bytearray().join(arrays), np.float32).reshape(shape)
    except (BufferError, TypeError, ValueError):  # strided, or empty
        return np.stack(arrays)


# ---- location and scale -------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """What one sort of the rows tells.

    sorted_RT: float32, missing ones last; counts_R: how many are not missing; complete: all are there.
    median_R float32, low_R and high_R float64: 0 where every value is missing. near_TR: the sorted
    values in the middle of each row, float32.
    """

    sorted_RT: np.ndarray
    counts_R: np.ndarray
    complete: bool
    near_TR: np.ndarray
    low_R: np.ndarray
    median_R: np.ndarray
    high_R: np.ndarray

    @cached_property
    def spread_R(self) -> np.ndarray:
        """Largest distance from the median, float64."""
        return np.maximum(self.high_R - self.median_R, self.median_R - self.low_R)

    @cached_property
    def widest(self) -> float:
        """The largest spread."""
        return float(self.spread_R.max(initial=0))

    @classmethod
    def of(cls, x_RT: np.ndarray) -> Summary:
        rows, length = x_RT.shape
        sorted_RT = np.sort(x_RT, axis=-1)
        first = max(0, length // 2 - NEAR)
        near_TR = sorted_RT[:, first : length // 2 + NEAR].T.copy()  # each column in one piece
        high_R = sorted_RT[:, -1].astype(np.float64) if length else np.zeros(0)
        complete = length > 0 and not np.isnan(high_R.max(initial=0))
        if complete:  # one rank for all: a column
            counts_R = np.full(rows, length)
            low_R = sorted_RT[:, 0].astype(np.float64)
            left_R, right_R = near_TR[(length - 1) // 2 - first], near_TR[length // 2 - first]
        else:
            counts_R = length - np.isnan(x_RT).sum(axis=-1)
            ranks_4R = np.stack([0 * counts_R, (counts_R - 1) // 2, counts_R // 2, counts_R - 1])
            ranked_RT = sorted_RT if length else np.zeros((rows, 1), np.float32)
            picked_4R = ranked_RT[np.arange(rows), np.clip(ranks_4R, 0, max(length - 1, 0))]
            _, left_R, right_R, _ = picked_4R = np.where(counts_R > 0, picked_4R, np.float32(0))
            low_R, high_R = picked_4R[[0, 3]].astype(np.float64)
        half = np.float32(0.5)  # halves first: the sum of two large ones would overflow
        median_R = np.where(left_R == right_R, left_R, left_R * half + right_R * half)
        return cls(sorted_RT, counts_R, complete, near_TR, low_R, median_R, high_R)


def location_scale(
    x_RT: np.ndarray, summary: Summary, out: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median and mean distance from it (raised where a spike would leave the bins), float32 [R] each,
    and x - location [R, T], which `bins` needs too, put into `out` (x itself, unless that is wide).
    The summary's sorted rows are written over: memory that the caches hold is half of the speed.

    The scale is 0 for a constant row, whose values are then the location exactly.
    """
    location_R = summary.median_R
    spread_R = summary.spread_R
    with np.errstate(over="ignore"):
        away_RT = np.subtract(x_RT, location_R[:, None], out=out)
        distance_RT = np.abs(away_RT, out=summary.sorted_RT)
        if not summary.complete:
            distance_RT[np.isnan(distance_RT)] = 0
        total_R = distance_RT.sum(axis=-1).astype(np.float64)
    if summary.widest > WIDE:
        for row in np.flatnonzero(spread_R > WIDE):
            distance_T = np.abs(x_RT[row].astype(np.float64) - float(location_R[row]))
            total_R[row] = np.nansum(distance_T)
    counts = x_RT.shape[1] if summary.complete else np.maximum(summary.counts_R, 1)
    scale_R = np.maximum(total_R / counts, spread_R / U_MAX)
    scale_R = np.minimum(np.maximum(scale_R, FLOAT_TINY), FLOAT_MAX)
    if not spread_R.all():
        scale_R[spread_R == 0] = 0
    return location_R, scale_R.astype(np.float32), away_RT


def context_location_scale(x_RT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Location and scale of a past, for the values that follow it: never 0, so that they can move.

    A constant past has its own size as scale, or 1 where that is 0 or everything is missing.
    """
    location_R, scale_R, _ = location_scale(x_RT, Summary.of(x_RT))
    size_R = np.where(np.abs(location_R) > FLOAT_TINY, np.abs(location_R), 1)
    return location_R, np.where(scale_R > 0, scale_R, size_R).astype(np.float32)


# ---- bins ---------------------------------------------------------------------------------


def companded(away_RT: np.ndarray, scale_R: np.ndarray) -> np.ndarray:
    """asinh(away / scale) / STEP, [R, T], in the precision of `away`, which it replaces."""
    divisor_R = scale_R if scale_R.all() else np.where(scale_R > 0, scale_R, np.float32(1))
    away_RT /= divisor_R[:, None]
    np.arcsinh(away_RT, out=away_RT)
    away_RT *= away_RT.dtype.type(1 / STEP)
    return away_RT


def bins(
    x_RT: np.ndarray,
    location_R: np.ndarray,
    scale_R: np.ndarray,
    away_RT: np.ndarray | None = None,
    *,
    whole: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The bin of each value, int32 [R, T]; MISSING where there is none.

    away_RT: x - location where it is known already; it is written over. whole: nothing is missing and
    the scale is the row's own, so nothing lies outside (saves passes; x is read only in wide rows).
    out: int32 [..., T], where to put them.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        y_RT = companded(x_RT - location_R[:, None] if away_RT is None else away_RT, scale_R)
        if scale_R.max(initial=0) > WIDE:  # x - location may overflow float32
            for row in np.flatnonzero(scale_R > WIDE):
                away_1T = x_RT[row : row + 1].astype(np.float64) - float(location_R[row])
                y_RT[row] = companded(away_1T, scale_R[row : row + 1])[0]
        if not whole:
            np.clip(y_RT, -ZERO, K - 1 - ZERO, out=y_RT)
            y_RT[np.isnan(x_RT)] = MISSING - ZERO
        y_RT += ROUNDER
    sums = y_RT.view(np.int32) if out is None else y_RT.view(np.int32).reshape(out.shape)
    return np.subtract(sums, ROUNDED - ZERO, out=out)


def refinements(
    x_RT: np.ndarray, ids_RT: np.ndarray, location_R: np.ndarray, scale_R: np.ndarray
) -> np.ndarray:
    """The place inside the bin, int32 [R, T] in 0..K-1, ZERO being its centre.

    Where the centre is the better of the two it is kept: refining is never worse.
    """
    with np.errstate(invalid="ignore"):
        away_RT = x_RT.astype(np.float64) - location_R[:, None].astype(np.float64)
        y_RT = companded(away_RT, scale_R) - (ids_RT - ZERO)
        places_RT = np.clip(np.rint(np.nan_to_num(y_RT) * K), -ZERO, K - 1 - ZERO) + ZERO
    places_RT = places_RT.astype(np.int32)
    x64_RT = x_RT.astype(np.float64)
    coarse_RT = values(ids_RT, location_R, scale_R)
    fine_RT = values(ids_RT, location_R, scale_R, places_RT)
    worse_RT = np.abs(fine_RT - x64_RT) > np.abs(coarse_RT - x64_RT)
    return np.where(worse_RT, ZERO, places_RT)


def values(
    ids_RT: np.ndarray,
    location_R: np.ndarray,
    scale_R: np.ndarray,
    places_RT: np.ndarray | None = None,
) -> np.ndarray:
    """Centres of the bins (or of the places inside them), float32 [R, T]; NaN for MISSING."""
    if places_RT is None:
        u_RT = TABLE[ids_RT]
    else:
        u_RT = np.sinh((ids_RT - ZERO + (places_RT - ZERO) / K) * STEP)
    x_RT = location_R[:, None].astype(np.float64) + scale_R[:, None].astype(np.float64) * u_RT
    x_RT = np.clip(x_RT, -FLOAT_MAX, FLOAT_MAX)
    return np.where(ids_RT == MISSING, np.nan, x_RT).astype(np.float32)


# ---- lattices -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Lattice:
    """Values offset + (k + shift) * step, k in 0..K-1, of integer or quantised data.

    offset and step are float32, read as the shortest decimals that name them (0.1 is a tenth), and
    the sum is taken in float64: so decimal data come back to the bit.
    """

    offset: float
    step: float
    shift: int = 0

    def values(self, ids: np.ndarray) -> np.ndarray:
        """float32, shape of ids; NaN for MISSING."""
        x = shortest(self.offset) + (np.asarray(ids) + self.shift) * shortest(self.step)
        x = np.clip(x, -FLOAT_MAX, FLOAT_MAX).astype(np.float32)
        return np.where(ids == MISSING, np.float32(np.nan), x)

    def ids(self, x_T: np.ndarray) -> np.ndarray | None:
        """int32 [T], MISSING for NaN; None unless every value comes back exactly."""
        offset, step = shortest(self.offset), shortest(self.step)
        k_T = np.nan_to_num((x_T.astype(np.float64) - offset) / (step if step > 0 else 1.0))
        k_T = np.clip(np.rint(k_T) - self.shift, 0, K - 1).astype(np.int32)
        k_T[np.isnan(x_T)] = MISSING
        return k_T if np.array_equal(self.values(k_T), x_T, equal_nan=True) else None

    def centred(self, x: float) -> Lattice:
        """The same lattice with its K steps around x."""
        step = shortest(self.step)
        return Lattice(
            self.offset, self.step, round((x - shortest(self.offset)) / step) - ZERO if step else 0
        )


def shortest(x: float) -> float:
    """The shortest decimal that rounds to the float32 x, as float64."""
    return float(str(np.float32(x)))


def may_be_lattice(summary: Summary) -> np.ndarray:
    """bool [R]: a lattice of K steps needs a range below K times the smallest gap (with some slack)."""
    enough_R = (summary.high_R - summary.low_R) / (1.3 * K)
    with np.errstate(invalid="ignore", over="ignore"):
        gaps_TR = summary.near_TR[1:] - summary.near_TR[:-1]
    may_R = ~((gaps_TR > 0) & (gaps_TR < enough_R)).any(axis=0)  # most rows show a smaller gap here
    if may_R.any():
        rest = np.flatnonzero(may_R)
        may_R[rest] = _smallest_gap(summary.sorted_RT[rest]) >= enough_R[rest]
    return may_R


def _smallest_gap(sorted_RT: np.ndarray) -> np.ndarray:
    """Smallest difference of two unlike neighbours, [R]; infinite where there are none."""
    with np.errstate(invalid="ignore", over="ignore"):
        gaps_RT = sorted_RT[:, 1:] - sorted_RT[:, :-1]
        gaps_RT[~(gaps_RT > 0)] = np.inf
    return gaps_RT.min(axis=-1, initial=np.inf)


def find_lattice(sorted_T: np.ndarray) -> Lattice | None:
    """The coarsest lattice that holds these finite float32 values [T] (sorted) exactly, or None."""
    distinct_T = np.unique(sorted_T)
    if len(distinct_T) == 0:
        return Lattice(0.0, 0.0)
    low = float(distinct_T[0])
    if len(distinct_T) == 1:
        return Lattice(low, 0.0)
    for step in _steps(distinct_T.astype(np.float64)):
        with np.errstate(over="ignore"):
            lattice = Lattice(low, float(np.float32(step)))
        if np.isfinite(lattice.step) and lattice.ids(distinct_T) is not None:
            return lattice
    return None


def _steps(x_T: np.ndarray) -> list[float]:
    """Candidate steps: the greatest common divisor at 0 to 6 decimals, else the smallest gap."""
    steps = []
    for power in range(7):
        n_T = np.rint(x_T * 10.0**power)
        if np.abs(n_T).max() >= 2.0**53:
            break
        if np.array_equal((n_T / 10.0**power).astype(np.float32), x_T.astype(np.float32)):
            steps.append(int(np.gcd.reduce(np.diff(n_T).astype(np.int64))) / 10.0**power)
            break
    return [*steps, float(np.diff(x_T).min())]
