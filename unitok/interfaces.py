"""What the rooms of the house agree on: Tokenizer, Grammar, Source, and the Batch a model eats.

Axes: B batch rows, S encoder length, T decoder length, n tokens of one value, R registers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Grammar(Protocol):
    """What may follow what inside one modality, as a pure function that runs inside `jax.jit`.

    Works on *local* codes 0..size-1; the code `size` stands for "the value ends here" and the code -1
    for "the value begins". All arguments are unbatched (callers `vmap`).

    The contract, tested for every tokenizer: start with `registers()` and consume -1; as long as each
    next code is one that was allowed, and the first budget was at least `min_tokens`, the end is
    reached within the budget and the codes decode.
    """

    @property
    def size(self) -> int: ...

    @property
    def min_tokens(self) -> int:
        """Smallest budget that `step` can always close in, the end counted."""

    @property
    def num_registers(self) -> int:
        """R."""

    def registers(self) -> np.ndarray:
        """Initial registers, int32 [R]."""

    def step(self, registers: Any, code: Any, budget: Any) -> tuple[Any, Any, Any]:
        """Consume one code.

        registers int32 [R]; code int32 [] (-1 to begin); budget int32 []: new tokens that may still
        follow `code`, the end counted. Returns (registers int32 [R], allowed bool [size + 1] for the
        next code, position int32 [3]: the local position of `code` itself, 0 for -1).
        Never allows nothing.
        """


@runtime_checkable
class Tokenizer(Protocol):
    """A value of one modality to local codes and back. Learned and serializing ones look the same.

    `decode` is total: any ids in range give a value or raise ValueError. Everything that decode needs
    is in the ids or in `context` (the past of a continued series, the image that boxes lie in).
    """

    modality: str  # also the name of the vocabulary block
    size: int  # number of codes
    fingerprint: str  # of the fitted content: 16 hex digits

    def encode(
        self, value: Any, context: Any = None, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """int32 [n], 0 <= id < size. rng: augmentation where there is any (graph order)."""

    def decode(self, ids: np.ndarray, context: Any = None) -> Any: ...

    def encode_batch(self, values: Sequence[Any]) -> list[np.ndarray]:
        """The same results as one by one."""

    def decode_batch(self, ids: Sequence[np.ndarray]) -> list[Any]: ...

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Local positions (time, height, width) of each code, int32 [n, 3], from 0; what Grammar.step gives too."""

    def grammar(self, *args: Any, **request: Any) -> Grammar:
        """The automaton of valid codes. request narrows it, each tokenizer documents its own
        (image: height, width, channels; audio: seconds; series: length, channels, context; text: max_tokens)."""

    def bits_per_item(self, value: Any) -> float:
        """Nominal rate: bits to name this value's codes, headers counted."""

    def save(self, path: str | Path) -> None:
        """Write the folder: tokenizer.json, and weights.safetensors where there are weights."""

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer: ...


@runtime_checkable
class Source(Protocol):
    """Random access to the records of one split: a dict from field to value (str, int, float, Image, ...)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Tokens:
    """A stretch of global ids with what the model is told of each. ids int32 [n]; positions int32 [n, 3]; modality int32 [n]."""

    ids: np.ndarray
    positions: np.ndarray
    modality: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.ids)
        if self.positions.shape != (n, 3) or self.modality.shape != (n,):
            raise ValueError(
                f"Tokens: {n} ids with positions {self.positions.shape} and modality {self.modality.shape}"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: Any) -> Tokens:
        return Tokens(self.ids[part], self.positions[part], self.modality[part])

    @classmethod
    def concatenate(cls, parts: Iterable[Tokens]) -> Tokens:
        parts = list(parts)
        if not parts:
            return cls(np.zeros(0, np.int32), np.zeros((0, 3), np.int32), np.zeros(0, np.int32))
        return cls(
            np.concatenate([p.ids for p in parts]),
            np.concatenate([p.positions for p in parts]),
            np.concatenate([p.modality for p in parts]),
        )


@dataclass(frozen=True)
class Example:
    """One (inputs, targets) pair, ready for packing.

    decoder_inputs carry position and modality of what is *fed*: BOS then the targets but the last
    (causal), or the targets with MASK at the places to predict (bidirectional). labels int32 [T];
    weights float32 [T], 0 where nothing is asked. target_modality: the block that the answer is
    confined to (its vocabulary mask applies in the loss as in decoding), 0 for the whole table.
    """

    inputs: Tokens
    decoder_inputs: Tokens
    labels: np.ndarray
    weights: np.ndarray
    target_modality: int = 0
    bidirectional: bool = False
    task: int = 0  # index into the mixture, for counting


@dataclass(frozen=True)
class Batch:
    """What the model eats; a pytree once `unitok.model` is imported. Segment id 0 is padding.

    Packing puts several examples in a row; tokens attend within their own segment only, the decoder's
    segment k reads the encoder's segment k of the same row.
    """

    encoder_ids_BS: Any  # int32
    encoder_positions_BS3: Any  # int32
    encoder_modality_BS: Any  # int32
    encoder_segments_BS: Any  # int32
    decoder_ids_BT: Any  # int32, what is fed
    decoder_positions_BT3: Any  # int32, of what is fed
    decoder_modality_BT: Any  # int32, of what is fed
    decoder_segments_BT: Any  # int32
    decoder_bidirectional_BT: Any  # bool: this token's segment attends in both directions
    labels_BT: Any  # int32
    weights_BT: Any  # float32
    target_modality_BT: Any  # int32: the block this label's softmax is confined to, 0 for all
    task_BT: Any  # int32: mixture index of the token's task, for counting (-1 for padding)


BATCH_FIELDS = tuple(Batch.__dataclass_fields__)
