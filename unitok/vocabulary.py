"""One id space of named, contiguous, append-only blocks.

    special   pad eos bos mask, then reserved ids       no marks
    sentinel  the span marks of denoising               no marks
    text      <begin> <end> then its codes              one block a modality, in order of joining
    image     <begin> <end> then its codes
    ...

Only appending is possible, so no id ever moves. The embedding table has `padded_size` rows, a
multiple of 128; rows past `size` are never predicted. The manifest lies in every checkpoint and
every prepared data set, and `require_same` refuses to join what does not match.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

PAD, EOS, BOS, MASK = 0, 1, 2, 3
MODES = {"R": 4, "S": 5, "X": 6}  # which denoiser an input was corrupted by (UL2's mode tokens)
SPECIAL_SIZE = 32
SENTINELS = 100
MARKS = 2  # begin and end, at the head of each modality's block
ROW_MULTIPLE = 128


class VocabularyMismatch(ValueError):
    """Two vocabularies that had to be the same differ; the message names both sides."""


@dataclass(frozen=True)
class Block:
    """A contiguous range of ids. codes: how many ids besides the marks; fingerprint: of the fitted tokenizer."""

    name: str
    start: int
    codes: int
    marks: int = MARKS
    fingerprint: str = ""

    @property
    def size(self) -> int:
        return self.marks + self.codes

    @property
    def end(self) -> int:
        """One past the last id."""
        return self.start + self.size

    @property
    def first_code(self) -> int:
        return self.start + self.marks


@dataclass(frozen=True)
class Vocabulary:
    """The shared vocabulary: a value object. Build it with `Vocabulary.build`, extend it with `grow`.

    Modality ids (what the modality embedding is indexed by) are block indices: special 0, sentinel 1,
    then the modalities in order.
    """

    blocks: tuple[Block, ...]

    @classmethod
    def build(
        cls, modalities: Mapping[str, tuple[int, str]] | Iterable[tuple[str, int, str]]
    ) -> Vocabulary:
        """From (name, number of codes, tokenizer fingerprint) in order, or a mapping name -> (codes, fingerprint)."""
        special = Block("special", 0, SPECIAL_SIZE, marks=0)
        vocabulary = cls((special, Block("sentinel", special.end, SENTINELS, marks=0)))
        if isinstance(modalities, Mapping):
            modalities = [(name, *rest) for name, rest in modalities.items()]
        for name, codes, fingerprint in modalities:
            vocabulary = vocabulary.grow(name, codes, fingerprint)
        return vocabulary

    def grow(self, name: str, codes: int, fingerprint: str = "") -> Vocabulary:
        """This vocabulary with one block appended: old ids keep their meaning.

        Raises ValueError for a name that exists or a block without codes.
        """
        if name in self.names:
            raise ValueError(
                f"vocabulary: block {name!r} exists already; blocks are appended once, under a new name"
            )
        if codes < 1:
            raise ValueError(f"vocabulary: block {name!r} needs at least one code, got {codes}")
        return Vocabulary((*self.blocks, Block(name, self.size, int(codes), MARKS, fingerprint)))

    # ---- sizes and look-up ----------------------------------------------------------------

    @property
    def size(self) -> int:
        return self.blocks[-1].end

    @property
    def padded_size(self) -> int:
        """Rows of the embedding table."""
        return -(-self.size // ROW_MULTIPLE) * ROW_MULTIPLE

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(block.name for block in self.blocks)

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.names[2:]

    def block(self, name: str) -> Block:
        for block in self.blocks:
            if block.name == name:
                return block
        raise KeyError(f"vocabulary: no block {name!r}; it has {', '.join(self.names)}")

    def modality_id(self, name: str) -> int:
        self.block(name)
        return self.names.index(name)

    def begin(self, name: str) -> int:
        return self._mark(name, 0)

    def end(self, name: str) -> int:
        return self._mark(name, 1)

    def _mark(self, name: str, which: int) -> int:
        block = self.block(name)
        if not block.marks:
            raise KeyError(f"vocabulary: block {name!r} has no begin and end marks")
        return block.start + which

    def sentinel(self, index: int) -> int:
        if not 0 <= index < SENTINELS:
            raise ValueError(f"vocabulary: sentinel {index} outside 0..{SENTINELS - 1}")
        return self.block("sentinel").start + index

    # ---- ids ------------------------------------------------------------------------------

    def to_global(self, name: str, ids: np.ndarray) -> np.ndarray:
        """Local codes [n] in 0..codes-1 to global ids, int32 [n]. Raises ValueError outside the range."""
        block, ids = self.block(name), np.asarray(ids)
        if ids.size and (ids.min() < 0 or ids.max() >= block.codes):
            raise ValueError(
                f"vocabulary: code outside 0..{block.codes - 1} in block {name!r}; is this tokenizer the one it was built with?"
            )
        return (ids + block.first_code).astype(np.int32)

    def to_local(self, name: str, ids: np.ndarray) -> np.ndarray:
        """Global ids [n] of one block to local codes, int32 [n]. Raises ValueError outside the block."""
        block, ids = self.block(name), np.asarray(ids)
        if ids.size and (ids.min() < block.first_code or ids.max() >= block.end):
            raise ValueError(
                f"vocabulary: an id outside the codes {block.first_code}..{block.end - 1} of block {name!r}"
            )
        return (ids - block.first_code).astype(np.int32)

    def modality_of(self, ids: np.ndarray) -> np.ndarray:
        """Block index of each id, int32, same shape. Raises ValueError for an id beyond the vocabulary."""
        ids = np.asarray(ids)
        if ids.size and (ids.min() < 0 or ids.max() >= self.size):
            raise ValueError(f"vocabulary: id outside 0..{self.size - 1}")
        starts = np.array([block.start for block in self.blocks])
        return (np.searchsorted(starts, ids, side="right") - 1).astype(np.int32)

    def ranges(self) -> np.ndarray:
        """int32 [blocks, 2]: first id and one past the last, by modality id."""
        return np.array([(block.start, block.end) for block in self.blocks], np.int32)

    # ---- manifest -------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        blocks = [
            {
                "name": b.name,
                "start": b.start,
                "codes": b.codes,
                "marks": b.marks,
                "fingerprint": b.fingerprint,
            }
            for b in self.blocks
        ]
        return {
            "format": 1,
            "size": self.size,
            "padded_size": self.padded_size,
            "fingerprint": self.fingerprint,
            "blocks": blocks,
        }

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Vocabulary:
        """Raises ValueError where the manifest contradicts itself."""
        try:
            vocabulary = cls(
                tuple(
                    Block(b["name"], b["start"], b["codes"], b["marks"], b["fingerprint"])
                    for b in manifest["blocks"]
                )
            )
            starts, ends = [b.start for b in vocabulary.blocks], [b.end for b in vocabulary.blocks]
            sound = starts == [0, *ends[:-1]] and len(set(vocabulary.names)) == len(starts)
            sound = sound and manifest["fingerprint"] == vocabulary.fingerprint
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"vocabulary manifest: missing or malformed field {error}") from None
        if not sound:
            raise ValueError(
                "vocabulary manifest: blocks overlap, or do not match its own fingerprint; the file was damaged or edited"
            )
        return vocabulary

    @property
    def fingerprint(self) -> str:
        """SHA-256 (16 hex digits) over names, order, sizes and tokenizer fingerprints."""
        rows = [(b.name, b.start, b.codes, b.marks, b.fingerprint) for b in self.blocks]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]

    def extends(self, older: Vocabulary) -> bool:
        """Whether this is `older` with zero or more blocks appended."""
        return self.blocks[: len(older.blocks)] == older.blocks

    def require_same(self, other: Vocabulary, here: str, there: str) -> None:
        """Raise VocabularyMismatch, naming both sides and the first difference, unless equal."""
        if self == other:
            return
        for mine, theirs in zip(self.blocks, other.blocks):
            if mine != theirs:
                detail = f"{here} has {_describe(mine)}, {there} has {_describe(theirs)}"
                break
        else:
            detail = (
                f"{here} has blocks {', '.join(self.names)}; {there} has {', '.join(other.names)}"
            )
        raise VocabularyMismatch(
            f"vocabulary of {here} ({self.fingerprint}) is not that of {there} ({other.fingerprint}): {detail}; "
            "use the tokenizers the checkpoint was trained with, or grow it by appending a block"
        )


def _describe(block: Block) -> str:
    return f"block {block.name!r} of {block.codes} codes at {block.start} (tokenizer {block.fingerprint or 'not fitted'})"
