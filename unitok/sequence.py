"""Templates and values to one flat stretch of ids with positions and modality, and back to values.

A template is a sentence with fields: `{image}` (a field named as its modality), `{label:text}`,
`{future:series@past}` (encoded given the value of field `past`); `{{` and `}}` are braces. Literal
text and text fields that touch are tokenized as one string, so a sentence gives the same ids whether
a template filled it in or a person typed it whole.

    text           its codes, unmarked             every other value    BEGIN codes END

Positions (time, height, width) under a cursor c: a text code or a mark at (c, c, c), then c + 1; the
codes of a value at c + their local positions, then c = the largest of those + 1. Inputs start at 0; in
the decoder BOS has 0 and the targets start at 1. `unitok.grammar` composes the same inside jit.

Axes: n ids of a stretch.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unitok.config import Template
from unitok.errors import InputError
from unitok.interfaces import Tokenizer, Tokens
from unitok.vocabulary import BOS, EOS, PAD, Vocabulary

TEXT = "text"  # the modality of literal text, and the one whose values need no marks
_PIECE = re.compile(r"\{\{|\}\}|\{(\w+)(?::(\w+))?(?:@(\w+))?\}|[{}]")
_TEXTS_KEPT = 8192  # tokenized strings kept in memory: the literals of templates, class names


@dataclass(frozen=True)
class Field:
    """`{name:modality@context}` of a template."""

    name: str
    modality: str
    context: str | None = None


@dataclass(frozen=True)
class Codes:
    """A value tokenized before (local codes int32 [n]); stands in a record where the value would.

    read: gives the value itself, for what is encoded given it (boxes in an image).
    """

    ids: np.ndarray
    read: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Segment:
    """A stretch of parsed ids. value: None where `error` says why there is none. modality: also
    `sentinel` (value: its index) and `special`."""

    modality: str
    value: Any | None
    ids: np.ndarray
    error: str | None = None


@functools.lru_cache(maxsize=4096)
def parts(template: str) -> tuple[str | Field, ...]:
    """Literal strings and fields, in order. Raises InputError for a brace that opens no field."""
    found: list[str | Field] = []
    literal, at = "", 0
    for match in _PIECE.finditer(template):
        literal += template[at : match.start()]
        at = match.end()
        if match[0] in ("{{", "}}"):
            literal += match[0][0]
        elif match[1] is None:
            raise InputError(
                f"template {template!r}: the brace at character {match.start()} belongs to no field; "
                "write {field}, {field:modality} or {field:modality@context}, and {{ for a brace"
            )
        else:
            found += [literal, Field(match[1], match[2] or match[1], match[3])]
            literal = ""
    return tuple(part for part in (*found, literal + template[at:]) if part != "")


def fields(template: str) -> list[Field]:
    """The fields of a template, in order. Raises InputError for a malformed one."""
    return [part for part in parts(template) if isinstance(part, Field)]


class Composer:
    """Records and templates to Tokens, and ids back to values.

    tokenizers: by name of their vocabulary block. Raises KeyError for one without a block.
    """

    def __init__(self, tokenizers: Mapping[str, Tokenizer], vocabulary: Vocabulary) -> None:
        for name in tokenizers:
            vocabulary.block(name)
        self.tokenizers, self.vocabulary = dict(tokenizers), vocabulary
        self._text_ids = functools.lru_cache(maxsize=_TEXTS_KEPT)(self._tokenize_text)

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process needs to build the same; the texts kept do not go along."""
        return Composer, (self.tokenizers, self.vocabulary)

    # ---- values to tokens -----------------------------------------------------------------

    def compose(
        self,
        template: str,
        record: Mapping[str, Any],
        *,
        rng: np.random.Generator | None = None,
        start: int = 0,
    ) -> Tokens:
        """The filled-in template, without EOS; positions from `start`. rng: a tokenizer's augmentation.

        Raises InputError for a field the record lacks or a modality without tokenizer.
        """
        ids: list[np.ndarray] = []
        positions: list[np.ndarray] = []
        cursor, text = start, ""

        def add(new_ids: np.ndarray, local: np.ndarray) -> None:
            nonlocal cursor
            ids.append(new_ids)
            positions.append(local + np.int32(cursor))
            cursor += int(local.max()) + 1

        def flush() -> None:
            nonlocal text
            if text:
                new_ids = self._text_ids(text)
                if len(new_ids):
                    add(new_ids, _running(len(new_ids)))
            text = ""

        for part in parts(template):
            if isinstance(part, str):
                text += part
            elif part.modality == TEXT and part.context is None:
                text += as_text(self._value(part.name, record, template))
            else:
                flush()
                codes, local = self._codes(part, record, template, rng)
                add(self._mark(part.modality, 0), _running(1))
                if len(codes):
                    add(codes, local)
                add(self._mark(part.modality, 1), _running(1))
        flush()
        return self._tokens(ids, positions)

    def pair(
        self,
        template: Template,
        record: Mapping[str, Any],
        *,
        rng: np.random.Generator | None = None,
    ) -> tuple[Tokens, Tokens, int]:
        """(inputs, targets that end with EOS, modality id the targets are confined to or 0 if mixed)."""
        inputs = self.compose(template.inputs, record, rng=rng)
        body = self.compose(template.targets, record, rng=rng, start=1)
        return inputs, Tokens.concatenate([body, end_of(body)]), self.target_modality(template)

    def target_modality(self, template: Template) -> int:
        """Block index of the one modality a template's targets hold, 0 where they mix several."""
        found = [TEXT if isinstance(p, str) else p.modality for p in parts(template.targets)]
        one = len(set(found)) == 1 and (found[0] == TEXT or len(found) == 1)
        return self.vocabulary.modality_id(found[0]) if one else 0

    def _value(self, name: str, record: Mapping[str, Any], template: str) -> Any:
        if name not in record:
            raise InputError(
                f"template {template!r}: the record has no field {name!r}; it has {', '.join(record)}"
            )
        return record[name]

    def _codes(
        self,
        field: Field,
        record: Mapping[str, Any],
        template: str,
        rng: np.random.Generator | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Global codes and local positions of a field's value."""
        tokenizer = self.tokenizer(field.modality, template)
        value = self._value(field.name, record, template)
        if isinstance(value, Codes):
            local_ids = value.ids
        else:
            context = (
                None if field.context is None else self._value(field.context, record, template)
            )
            if isinstance(context, Codes) and context.read is not None:
                context = context.read()
            local_ids = tokenizer.encode(value, context=context, rng=rng)
        global_ids = self.vocabulary.to_global(field.modality, local_ids)
        return global_ids, np.asarray(tokenizer.positions(local_ids), np.int32)

    def tokenizer(self, modality: str, template: str) -> Tokenizer:
        """Raises InputError naming the template where no tokenizer of that name is at hand."""
        if modality not in self.tokenizers:
            raise InputError(
                f"template {template!r}: no tokenizer {modality!r}; there are "
                f"{', '.join(self.tokenizers)} (a field of another name is written {{field:text}})"
            )
        return self.tokenizers[modality]

    def _tokenize_text(self, text: str) -> np.ndarray:
        codes = self.tokenizer(TEXT, text).encode(text)
        return self.vocabulary.to_global(TEXT, codes)

    def _mark(self, modality: str, which: int) -> np.ndarray:
        block = self.vocabulary.block(modality)
        return np.array([block.start + which], np.int32)

    def _tokens(self, ids: list[np.ndarray], positions: list[np.ndarray]) -> Tokens:
        if not ids:
            return Tokens.concatenate([])
        joined = np.concatenate(ids)
        return Tokens(joined, np.concatenate(positions), self.vocabulary.modality_of(joined))

    # ---- tokens back to values ------------------------------------------------------------

    def parse(self, ids: Any, contexts: Mapping[str, Any] | None = None) -> list[Segment]:
        """Values in order, up to the first EOS; PAD and BOS are passed over.

        contexts: modality -> what its codes were encoded given (the past of a series). What decodes to
        no value comes back as a Segment with an `error`, never as an exception.
        """
        ids = np.asarray(ids, np.int64).reshape(-1)
        ends = np.flatnonzero(ids == EOS)
        ids = ids[: ends[0]] if len(ends) else ids
        ids = ids[(ids != PAD) & (ids != BOS)].astype(np.int32)
        blocks = self.vocabulary.modality_of(ids)
        segments, at = [], 0
        while at < len(ids):
            name = self.vocabulary.names[blocks[at]]
            stop = self._stop(ids, blocks, at)
            segments.append(self._segment(name, ids[at:stop], (contexts or {}).get(name)))
            at = stop
        return segments

    def _stop(self, ids: np.ndarray, blocks: np.ndarray, at: int) -> int:
        """One past the stretch that begins at `at`: codes of one block, with their marks if it has any."""
        block = self.vocabulary.blocks[blocks[at]]
        if block.marks == 0 or ids[at] == block.start + 1:
            return at + 1
        stop = at + 1
        while stop < len(ids) and blocks[stop] == blocks[at] and ids[stop] >= block.first_code:
            stop += 1
        closes = ids[at] == block.start and stop < len(ids) and ids[stop] == block.start + 1
        return stop + int(closes)

    def _segment(self, name: str, ids: np.ndarray, context: Any) -> Segment:
        block = self.vocabulary.block(name)
        if name == "sentinel":
            return Segment(name, int(ids[0]) - block.start, ids)
        if name == "special":
            return Segment(name, None, ids, f"special id {ids[0]} inside a value")
        opened, closed = ids[0] == block.start, ids[-1] == block.start + 1
        if opened != closed or (name != TEXT and not opened):
            missing = "an end mark" if opened else "a begin mark"
            return Segment(name, None, ids, f"{name} codes without {missing}")
        if name not in self.tokenizers:
            return Segment(name, None, ids, f"no tokenizer {name!r} at hand")
        codes = self.vocabulary.to_local(name, ids[1:-1] if opened else ids)
        try:
            return Segment(name, self.tokenizers[name].decode(codes, context=context), ids)
        except ValueError as error:
            return Segment(name, None, ids, str(error))


def as_text(value: Any) -> str:
    """What stands in a sentence for a field: strings as they are, numbers in their shortest form.

    Raises InputError for arrays and other values that are no sentence.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.6g}"
    raise InputError(
        f"a {type(value).__name__} does not go into text; name its modality: {{field:modality}}"
    )


def end_of(body: Tokens) -> Tokens:
    """The EOS that follows `body` in the decoder."""
    return special(EOS, next_position(body, 1))


def next_position(tokens: Tokens, empty: int = 0) -> int:
    """The cursor after `tokens`; `empty` where there are none."""
    return int(tokens.positions.max()) + 1 if len(tokens) else empty


def special(token: int, position: int) -> Tokens:
    """One id of the special block at (position, position, position)."""
    return Tokens(
        np.array([token], np.int32), np.full((1, 3), position, np.int32), np.zeros(1, np.int32)
    )


def shift(tokens: Tokens, by: int) -> Tokens:
    """The same tokens `by` positions later."""
    return Tokens(tokens.ids, tokens.positions + np.int32(by), tokens.modality) if by else tokens


def _running(n: int) -> np.ndarray:
    return np.repeat(np.arange(n, dtype=np.int32)[:, None], 3, axis=1)
