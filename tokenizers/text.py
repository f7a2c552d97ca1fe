"""Text: SentencePiece made lossless. Any Unicode string comes back exactly, any codes give a string.

What SentencePiece changes by default is switched off (identity normalisation, no dummy prefix, white
space kept, byte fallback); the one character it cannot carry, U+2581, its own sign for a space, is
escaped. Codes 0..255 are the UTF-8 bytes, the rest are pieces; SentencePiece's <unk> has no code.
Bytes that form no UTF-8 decode to U+FFFD; the grammar never generates them.

Kudo & Richardson 2018, "SentencePiece"; Sennrich et al. 2016 for byte-pair encoding.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import sentencepiece

from unitok.interfaces import Grammar
from unitok.tokenizers.base import BaseTokenizer
from unitok.tokenizers.text_grammar import ChoiceGrammar, free_text, number
from unitok.values import ValueRefused

MODEL_FILE = "pieces.model"
BYTES = 256
SPACE = "\u2581"  # how SentencePiece writes a space
ESCAPE = "\x10"  # data link escape: one byte, and rare
LOSSLESS = {
    "normalization_rule_name": "identity",
    "byte_fallback": True,
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "allow_whitespace_only_pieces": True,
    "split_digits": True,
    "unk_id": 0,
    "bos_id": -1,
    "eos_id": -1,
    "pad_id": -1,
}
FIT = {
    "model_type": "bpe",
    # pieces may mix letters and signs: SMILES take half the tokens, code 4 % fewer, prose the same
    "split_by_unicode_script": False,
    "minloglevel": 2,
}
LINE = 4000  # bytes; the trainer drops longer sentences


class TextTokenizer(BaseTokenizer):
    """Strings to pieces. `build()` is the shipped model of 8,192 codes; `fit` makes one of your text.

    Positions are i, i, i. Lone surrogates are refused: they are no Unicode text and have no UTF-8.
    """

    name = "text"
    modality = "text"

    def __init__(self, model: bytes) -> None:
        """model: a serialized SentencePiece model with the settings LOSSLESS. Raises ValueError otherwise."""
        self.model = bytes(model)
        self._processor = sentencepiece.SentencePieceProcessor(
            model_proto=_unknown_last(self.model)
        )
        self._pieces = _piece_bytes(self._processor)
        self.size = len(self._pieces)
        probe = "  A \t\n ﬁ Å 1 "  # normalisers and strippers give themselves away
        if self.decode(self.encode(probe)) != probe:
            raise ValueError(
                f"{MODEL_FILE} changes text (normalisation, prefix or stripping is on); "
                "fit it with TextTokenizer.fit"
            )

    def blobs(self) -> dict[str, bytes]:
        return {MODEL_FILE: self.model}

    @classmethod
    def from_parts(
        cls,
        options: Mapping[str, Any],
        weights: Mapping[str, np.ndarray],
        blobs: Mapping[str, bytes],
    ) -> Self:
        return cls(blobs[MODEL_FILE], **options)

    @classmethod
    def build(cls, variant: str | None = None, **options: Any) -> Self:
        """The shipped model. options: `model`, the bytes of another."""
        return super().build(variant, **options)

    @classmethod
    def fit(
        cls,
        values: Sequence[str],
        *,
        vocab_size: int = 8192,
        log: Callable[[str], Any] = print,
        **options: Any,
    ) -> Self:
        """Learn pieces from strings. vocab_size counts the codes, bytes included.

        options go to SentencePiece's trainer, over FIT and under LOSSLESS. Raises ValueError where the
        text is too small for so many pieces.
        """
        settings = {**FIT, **options, **LOSSLESS}
        written = io.BytesIO()
        log(f"text: learning {vocab_size:,} pieces from {len(values):,} strings")
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_lines(values),
                model_writer=written,
                vocab_size=vocab_size + 1,  # <unk>, which gets no code
                max_sentence_length=4 * LINE,
                **settings,
            )
        except RuntimeError as error:
            raise ValueError(
                f"text: cannot learn {vocab_size:,} pieces ({' '.join(str(error).split())}); "
                f"give more text or a vocab_size nearer to {BYTES}"
            ) from None
        tokenizer = cls(written.getvalue())
        log(f"text: {tokenizer.size:,} codes, fingerprint {tokenizer.fingerprint}")
        return tokenizer

    def encode(
        self, value: str, context: Any = None, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """int32 [n]; context and rng play no part. Raises ValueRefused for what is no Unicode string."""
        return self._encode(_escape(value), [value]).copy()  # SentencePiece's own is read-only

    def encode_batch(self, values: Sequence[str]) -> list[np.ndarray]:
        return [ids.copy() for ids in self._encode(_escape_all(values), values)]

    def _encode(self, escaped: str | list[str], values: Sequence[str]) -> Any:
        """SentencePiece's own ids are the codes; a list goes through its threads."""
        try:
            return self._processor.encode(escaped, return_type="numpy")
        except (TypeError, RuntimeError, UnicodeEncodeError):  # says no more of what has no UTF-8
            _refuse_surrogates(values)
            raise

    def decode(self, ids: np.ndarray, context: Any = None) -> str:
        """The string; U+FFFD where the bytes among the codes are no UTF-8. Raises ValueError for ids out of range."""
        pieces = self._pieces
        joined = b"".join([pieces[code] for code in self.check_ids(ids).tolist()])
        return _unescape(joined.decode("utf-8", errors="replace"))

    def grammar(
        self,
        *,
        max_tokens: int | None = None,
        choices: Sequence[str] | None = None,
        pattern: str | None = None,
    ) -> Grammar:
        """Free text of at most max_tokens codes; or one of `choices`; or pattern="number", as in -12.5.

        Raises ValueError for an unknown pattern, no choices, or choices together with a pattern.
        """
        if choices is not None and pattern is not None:
            raise ValueError("text: give choices or pattern, not both")
        if choices is not None:
            if isinstance(choices, str) or not choices:
                raise ValueError(f"text: choices must be a list of strings, got {choices!r}")
            return ChoiceGrammar.of(self.size, self.encode_batch(list(choices)), max_tokens)
        if pattern is None:
            return free_text(self.size, max_tokens)
        if pattern != "number":
            raise ValueError(f"text: pattern {pattern!r} is unknown; there is 'number'")
        return number(self.size, self._characters, max_tokens)

    @cached_property
    def _characters(self) -> tuple[int, ...]:
        """The codes of 0..9, '-' and '.', each as it stands alone."""
        return tuple(int(self.encode(character)[0]) for character in "0123456789-.")

    def __reduce__(
        self,
    ) -> tuple[Any, ...]:  # worker processes get the model, not the parsed tables
        return (type(self), (self.model,))


def _unknown_last(model: bytes) -> bytes:
    """The model with its first piece, <unk>, behind all others, so that ids are codes without any shift.

    Pieces are the entries of a protobuf's field 1: a tag, a length below 128, the entry. Their order is
    that in the bytes, whatever lies between. Another first piece stays for `_piece_bytes` to refuse.
    """
    end = 2 + model[1] if model[:1] == b"\x0a" and len(model) > 1 and model[1] < 128 else 0
    return model[end:] + model[:end]


def _piece_bytes(processor: sentencepiece.SentencePieceProcessor) -> list[bytes]:
    """What each code stands for, in bytes. Raises ValueError for a layout that is not LOSSLESS's."""
    size = processor.get_piece_size() - 1
    codes = range(size)
    if (
        not processor.is_unknown(size)
        or not all(processor.is_byte(code) == (code < BYTES) for code in codes)
        or any(processor.is_control(code) or processor.is_unknown(code) for code in codes)
    ):
        raise ValueError(
            f"{MODEL_FILE}: want <unk>, then {BYTES} bytes, then pieces, and no control pieces; "
            "train it with TextTokenizer.fit"
        )
    single = [bytes([byte]) for byte in range(BYTES)]
    pieces = [processor.id_to_piece(code).replace(SPACE, " ") for code in range(BYTES, size)]
    return single + [piece.encode("utf-8") for piece in pieces]


def _escape(value: str) -> str:
    if not isinstance(value, str):
        raise ValueRefused(f"text: want a string, got {type(value).__name__}")
    if ESCAPE in value:
        value = value.replace(ESCAPE, ESCAPE + ESCAPE)
    if SPACE in value:
        value = value.replace(SPACE, ESCAPE + "_")
    return value


def _escape_all(values: Sequence[str]) -> list[str]:
    """Each value escaped; one look at all of them tells most batches that there is nothing to escape."""
    try:
        together = "".join(values)
    except TypeError:  # `_escape` says which is no string
        return [_escape(value) for value in values]
    if ESCAPE in together or SPACE in together:
        return [_escape(value) for value in values]
    return list(values)


def _refuse_surrogates(values: Sequence[str]) -> None:
    for value in values:
        for index, character in enumerate(value):
            if "\ud800" <= character <= "\udfff":
                raise ValueRefused(
                    f"text: {character!a} at character {index} is a lone surrogate, not Unicode; "
                    "read the file with errors='replace', or as latin-1"
                ) from None


def _unescape(text: str) -> str:
    if ESCAPE not in text:
        return text
    # an escape before anything else was never written by _escape: it stands for itself
    return re.sub(f"{ESCAPE}([{ESCAPE}_])", lambda m: SPACE if m[1] == "_" else ESCAPE, text)


def _lines(values: Sequence[str]) -> Iterator[str]:
    """Escaped lines of at most LINE characters, each with its line break."""
    for value in values:
        for line in _escape(value).splitlines(keepends=True):
            for start in range(0, len(line), LINE):
                yield line[start : start + LINE]
