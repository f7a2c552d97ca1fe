"""Labelled boxes as codes: four coordinate bins, then the label's UTF-8 bytes; the next bin starts the next box.

    y0 x0 y1 x1 'c' 'a' 't'   y0 x0 y1 x1 'd' 'o' 'g'   ...

Codes 0..bins-1 are places, relative to the image given as context; the next 256 are bytes. Labels come
back exactly, coordinates to half a bin. Bins are rounded, as in OFA and 4M: Unified-IO 2 truncates,
which is half a bin off on average and moves at every second encoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from unitok.interfaces import Grammar
from unitok.tokenizers.base import BaseTokenizer
from unitok.tokenizers.text_grammar import FAR, codes_to_end, one_of, utf8
from unitok.values import Boxes, ValueRefused

BYTES = 256
LABEL = 4  # the phase after a box's four coordinates; before that, how many are given


class CoordTokenizer(BaseTokenizer):
    """Boxes, in the order given (in random order with rng: boxes are a set).

    context: the image they lie in (anything with height and width) or (height, width). Boxes that stick
    out are clipped to it. Without context the frame is bins-1 wide and high, so that whole numbers are
    exact, and boxes outside of it are refused. Error: at most half a bin, height / (bins - 1) / 2.
    """

    name = "coord"
    modality = "coord"

    def __init__(self, bins: int = 1024) -> None:
        if not 2 <= int(bins) <= 1 << 16:
            raise ValueError(f"coord.bins: want 2 to {1 << 16}, got {bins}")
        self.bins = int(bins)
        self.size = self.bins + BYTES

    def options(self) -> dict[str, Any]:
        return {"bins": self.bins}

    def encode(
        self, value: Boxes, context: Any = None, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """int32 [n], n = 4 a box and one a byte of its label. Raises ValueRefused, naming the box."""
        if not isinstance(value, Boxes):
            raise ValueRefused(f"coord: want Boxes, got {type(value).__name__}")
        frame = self._frame(context)
        coords = value.coords.astype(np.float64)
        self._check_boxes(coords, frame, clip=context is not None)
        bins_N4 = np.rint(np.clip(coords / frame, 0, 1) * (self.bins - 1)).astype(np.int32)
        order = np.arange(len(coords)) if rng is None else rng.permutation(len(coords))
        parts = [np.zeros(0, np.int32)]
        for index in order.tolist():
            letters = np.frombuffer(_label_bytes(value.labels[index], index), np.uint8)
            parts += [bins_N4[index], letters.astype(np.int32) + self.bins]
        return np.concatenate(parts)

    def decode(self, ids: np.ndarray, context: Any = None) -> Boxes:
        """Raises ValueError unless ids are whole boxes in order (y0 <= y1, x0 <= x1) with UTF-8 labels."""
        ids = self.check_ids(ids)
        frame = self._frame(context)
        is_bin = ids < self.bins
        if len(ids) and not is_bin[0]:
            raise ValueError("coord: the codes begin with a label; a box begins with four places")
        starts = np.flatnonzero(is_bin & ~np.concatenate([[False], is_bin[:-1]]))
        bins: list[np.ndarray] = []
        labels: list[str] = []
        for start, end in zip(starts, [*starts[1:], len(ids)]):
            places = ids[start:end][is_bin[start:end]]
            if len(places) % 4:
                raise ValueError(f"coord: {len(places)} places in a row at {start}, want fours")
            boxes = places.reshape(-1, 4)  # all but the last of a run have an empty label
            bins.append(boxes)
            spelled = (ids[start + len(places) : end] - self.bins).astype(np.uint8).tobytes()
            labels += [""] * (len(boxes) - 1) + [
                spelled.decode("utf-8")
            ]  # UnicodeDecodeError: a ValueError
        bins_N4 = np.concatenate([np.zeros((0, 4), np.int32), *bins])
        if (bins_N4[:, :2] > bins_N4[:, 2:]).any():
            raise ValueError("coord: a box ends before it begins; want y0 <= y1 and x0 <= x1")
        return Boxes((bins_N4 / (self.bins - 1) * frame).astype(np.float32), labels)

    def grammar(
        self,
        *,
        max_boxes: int | None = None,
        labels: Sequence[str] | None = None,
        context: Any = None,
    ) -> Grammar:
        """Whole boxes in order, at most max_boxes, with any label or one of `labels`; context plays no part.

        Raises ValueError for no labels, or a negative number of boxes.
        """
        if isinstance(labels, str) or (labels is not None and not labels):
            raise ValueError(f"coord: labels must be a list of strings, got {labels!r}")
        if max_boxes is not None and max_boxes < 0:
            raise ValueError(f"coord: max_boxes must not be negative, got {max_boxes}")
        spelled = [_label_bytes(label, index) for index, label in enumerate(labels or [])]
        classes, next_state, may_end = one_of(spelled) if spelled else utf8()
        return BoxGrammar(
            bins=self.bins,
            classes=classes.tobytes(),
            next_state=next_state.tobytes(),
            to_end=codes_to_end(next_state, may_end).tobytes(),
            max_boxes=FAR if max_boxes is None else int(max_boxes),
        )

    def _frame(self, context: Any) -> np.ndarray:
        """(height, width, height, width) float64. Raises ValueRefused for a context without a size."""
        if context is None:
            return np.full(4, self.bins - 1.0)
        if hasattr(context, "height") and hasattr(context, "width"):
            context = (context.height, context.width)
        try:
            height, width = (float(side) for side in context)
        except (TypeError, ValueError):
            height = width = np.nan
        if not (0 < height < np.inf and 0 < width < np.inf):
            raise ValueRefused(f"coord.context: want an image or (height, width), got {context!r}")
        return np.array([height, width, height, width])

    def _check_boxes(self, coords: np.ndarray, frame: np.ndarray, clip: bool) -> None:
        inside = (coords >= 0) & (coords <= frame)
        for index, box in enumerate(coords):
            if (box[:2] > box[2:]).any():
                fault = "ends before it begins; give y0 x0 y1 x1"
            elif not clip and not inside[index].all():
                fault = f"lies outside 0..{self.bins - 1}; give the image, or its size, as context"
            elif (box[2:] < 0).any() or (box[:2] > frame[:2]).any():
                fault = f"lies wholly outside the image of {frame[0]:g} x {frame[1]:g}"
            else:
                continue
            raise ValueRefused(f"Boxes.coords[{index}] = {box.tolist()}: {fault}")


@dataclass(frozen=True)
class BoxGrammar:
    """Boxes one after the other; the label follows a byte automaton (see text_grammar.utf8, as bytes here).

    Registers: phase (0 at the start, 1..3 coordinates given, 4 in the label), y0, x0, state of the label,
    codes so far, boxes so far.
    """

    bins: int
    classes: bytes  # uint8 [256]
    next_state: bytes  # int32 [Q, K]
    to_end: bytes  # int32 [Q]
    max_boxes: int
    min_tokens: int = 1  # no boxes at all
    num_registers: int = 6

    @property
    def size(self) -> int:
        return self.bins + BYTES

    def registers(self) -> np.ndarray:
        return np.zeros(6, np.int32)

    def step(self, registers: Any, code: Any, budget: Any) -> tuple[Any, Any, Any]:
        classes_256, next_state_QK, to_end_Q = self._tables()
        phase, y0, x0, state, count, boxes = registers
        begin, is_bin = code < 0, (code >= 0) & (code < self.bins)
        count = count + jnp.where(begin, 0, 1)
        position = jnp.full(3, jnp.maximum(count - 1, 0)).astype(jnp.int32)
        spelled = next_state_QK[state, classes_256[jnp.clip(code - self.bins, 0, BYTES - 1)]]
        state = jnp.where(begin | is_bin, 0, jnp.maximum(spelled, 0))
        phase = jnp.where(is_bin, phase % LABEL + 1, jnp.where(begin, 0, LABEL))
        y0, x0 = jnp.where(phase == 1, code, y0), jnp.where(phase == 2, code, x0)
        boxes = boxes + (is_bin & (phase == 1))

        box_ends = (phase == 0) | ((phase == LABEL) & (to_end_Q[state] == 0))
        # a box is four places and the shortest label, and then the end
        another = box_ends & (boxes < self.max_boxes) & (LABEL + to_end_Q[0] + 1 <= budget)
        lowest = jnp.where(phase == 2, y0, jnp.where(phase == 3, x0, 0))
        within = (phase >= 1) & (phase <= 3)
        bins = (another | within) & (jnp.arange(self.bins) >= lowest)
        reached_K = next_state_QK[state]
        closes_K = (reached_K >= 0) & (to_end_Q[jnp.maximum(reached_K, 0)] + 2 <= budget)
        letters = (phase == LABEL) & closes_K[classes_256]
        codes = jnp.concatenate([bins, letters])
        allowed = jnp.append(codes, box_ends | ~codes.any())
        after = jnp.stack([phase, y0, x0, state, count, boxes]).astype(jnp.int32)
        return after, allowed, position

    def _tables(self) -> tuple[Any, Any, Any]:
        to_end = np.frombuffer(self.to_end, np.int32)
        next_state = np.frombuffer(self.next_state, np.int32).reshape(len(to_end), -1)
        classes = np.frombuffer(self.classes, np.uint8)
        return jnp.asarray(classes), jnp.asarray(next_state), jnp.asarray(to_end)


def _label_bytes(label: str, index: int) -> bytes:
    try:
        return label.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueRefused(
            f"Boxes.labels[{index}] = {label!a}: a lone surrogate is not Unicode"
        ) from None
