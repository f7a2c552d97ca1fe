"""Masked spans inside the units of a token stretch: drawing them, and cutting a stretch by them.

A unit is a run of text or one marked value (BEGIN codes END); spans lie inside its codes, so marks
always show. Axes: n tokens or codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unitok.interfaces import Tokens
from unitok.vocabulary import Vocabulary


@dataclass(frozen=True)
class Unit:
    """Tokens start..stop of a stretch, codes first..last of them. axes: whether its positions are a grid or a
    time line of their own (they are kept when codes are masked) and not plain order."""

    start: int
    stop: int
    first: int
    last: int
    modality: int
    axes: bool

    @property
    def codes(self) -> int:
        return self.last - self.first


def units(tokens: Tokens, vocabulary: Vocabulary) -> list[Unit]:
    """The text runs and marked values of a stretch without EOS, in order."""
    found, at, n = [], 0, len(tokens)
    begins, ends = _marks(vocabulary)
    while at < n:
        modality = int(tokens.modality[at])
        if tokens.ids[at] == begins[modality]:
            closing = np.flatnonzero(tokens.ids[at:] == ends[modality])
            stop = at + int(closing[0]) + 1 if len(closing) else n
            first, last = at + 1, stop - 1 if len(closing) else stop
        else:
            other = np.flatnonzero(
                (tokens.modality[at:] != modality) | (tokens.ids[at:] == begins[modality])
            )
            stop = at + int(other[0]) if len(other) else n
            first, last = at, stop
        codes = tokens.positions[first:last]
        found.append(Unit(at, stop, first, last, modality, bool((codes != codes[:, :1]).any())))
        at = stop
    return found


def random_spans(
    n: int,
    masked: int,
    mean_span: float,
    rng: np.random.Generator,
    most: int,
    whole: bool = False,
) -> np.ndarray:
    """bool [n] with exactly `masked` true places (T5's random_spans_noise_mask, with free ends).

    round(masked / mean_span) spans, at least 1, at most `most` and as many as gaps between them allow.
    Unless `whole`, at least one place is masked and at least one is not; n < 2 is then left alone.
    """
    if not whole:
        masked = min(max(masked, 1), n - 1)
    if masked <= 0 or most <= 0:
        return np.zeros(n, bool)
    pieces = max(1, min(round(masked / mean_span), masked, n - masked + 1, most))
    lengths = _composition(masked, pieces, rng)
    # gaps between spans are of one or more, those at the ends of zero or more
    gaps = _composition(n - masked + 2, pieces + 1, rng)
    gaps[0] -= 1
    gaps[-1] -= 1
    runs = np.zeros(2 * pieces + 1, int)
    runs[0::2], runs[1::2] = gaps, lengths
    return np.repeat(np.arange(2 * pieces + 1) % 2 == 1, runs)


def count(mask: np.ndarray) -> int:
    """Number of spans in a mask."""
    return int(_starts(mask).sum())


def corrupt(
    tokens: Tokens, parts: list[Unit], masks: list[np.ndarray], vocabulary: Vocabulary
) -> tuple[Tokens, Tokens]:
    """(what is seen, from position 0; what is asked, from position 1), given a mask [codes] a unit.

    Seen: the units with one sentinel in place of each masked span. Asked: each sentinel, then the span.
    Units with axes keep the relative positions of their tokens, a sentinel standing at its span's first.
    """
    seen: list[Tokens] = []
    asked: list[Tokens] = []
    sentinel, seen_at, asked_at = vocabulary.sentinel(0), 0, 1
    sentinel_block = vocabulary.modality_id("sentinel")
    for unit, codes_mask in zip(parts, masks):
        part = tokens[unit.start : unit.stop]
        mask = np.zeros(len(part), bool)
        mask[unit.first - unit.start : unit.last - unit.start] = codes_mask
        starts = _starts(mask)
        names = sentinel + np.arange(starts.sum(), dtype=np.int32)
        sentinel += len(names)
        origin = int(part.positions[0, 0])

        ids, modality = part.ids.copy(), part.modality.copy()
        ids[starts], modality[starts] = names, sentinel_block
        keep = ~mask | starts
        piece = Tokens(ids[keep], part.positions[keep], modality[keep])
        seen.append(_placed(piece, unit.axes, seen_at, origin))
        seen_at += _extent(part, unit.axes, len(piece), origin)

        if len(names):
            where = np.flatnonzero(starts)
            inside = np.insert(mask, where, True)
            piece = Tokens(
                np.insert(part.ids, where, names)[inside],
                np.insert(part.positions, where, part.positions[where], axis=0)[inside],
                np.insert(part.modality, where, sentinel_block)[inside],
            )
            asked.append(_placed(piece, unit.axes, asked_at, origin))
            asked_at += _extent(part, unit.axes, len(piece), origin)
    return Tokens.concatenate(seen), Tokens.concatenate(asked)


def _placed(piece: Tokens, axes: bool, at: int, origin: int) -> Tokens:
    if axes:
        return Tokens(piece.ids, piece.positions + np.int32(at - origin), piece.modality)
    order = np.arange(at, at + len(piece), dtype=np.int32)
    return Tokens(piece.ids, np.repeat(order[:, None], 3, axis=1), piece.modality)


def _extent(part: Tokens, axes: bool, n: int, origin: int) -> int:
    """How far the cursor moves: over the whole unit where positions are kept, else a step a token."""
    return int(part.positions.max()) + 1 - origin if axes else n


def _starts(mask: np.ndarray) -> np.ndarray:
    return mask & ~np.concatenate([[False], mask[:-1]])


def _composition(total: int, pieces: int, rng: np.random.Generator) -> np.ndarray:
    """`total` as a sum of `pieces` positive integers, every way equally likely."""
    cuts = np.sort(rng.permutation(total - 1)[: pieces - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def _marks(vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Begin and end id by modality, -1 for the blocks without marks."""
    first = np.array([block.start if block.marks else -1 for block in vocabulary.blocks])
    return first, np.where(first >= 0, first + 1, -1)
