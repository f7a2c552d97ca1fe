"""Going on with a target whose beginning is given: what the prefix objective trains, as generation.

The encoder has read the beginning; the decoder starts with BOS and writes the rest. `Continued` is the
target's grammar standing where the beginning left it. Axes: B batch rows, N new tokens, V ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unitok import generate
from unitok.grammar import TargetGrammar
from unitok.interfaces import Example, Tokens
from unitok.vocabulary import BOS, EOS

ROWS = 64


@dataclass(frozen=True)
class Continued:
    """`base` after it consumed some ids. registers: before the last of them, `last`, was consumed."""

    base: TargetGrammar
    registers: tuple[int, ...]
    last: int

    @property
    def rows(self) -> int:
        return self.base.rows

    def init(self) -> np.ndarray:
        return np.array(self.registers, np.int32)

    def step(self, registers: Any, token: Any, budget: Any) -> tuple[Any, Any, Any, Any]:
        """As `TargetGrammar.step`; the BOS that is fed first stands for `last`, at BOS's own place."""
        begins = token == BOS
        token = jnp.where(begins, self.last, token)
        registers, allowed, position, modality = self.base.step(registers, token, budget)
        place = jnp.where(begins, 0, position)
        return registers, allowed, place, jnp.where(begins, 0, modality)


def complete(
    predictor: Any,
    grammar: TargetGrammar,
    beginnings: Sequence[np.ndarray],
    examples: Sequence[Example],
    budget: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[np.ndarray]:
    """Greedy continuation of each beginning (global ids of the target), new ids without EOS.

    budget: new tokens allowed, EOS counted. Rows whose grammar stands alike share a compiled program.
    """
    standing: dict[bytes, Continued] = {}
    groups: dict[Continued, list[int]] = {}
    for index, ids in enumerate(beginnings):
        key, continued = _standing(grammar, np.asarray(ids), budget)
        groups.setdefault(standing.setdefault(key, continued), []).append(index)
    out: list[np.ndarray] = [np.zeros(0, np.int32)] * len(beginnings)
    done = 0
    plan = generate.Plan(length=generate.bucket(budget, generate.LENGTHS))
    for continued, members in groups.items():
        for start in range(0, len(members), ROWS):
            part = members[start : start + ROWS]
            prompts = _prompts([examples[i].inputs for i in part])
            found, _ = generate.decode(
                predictor.model,
                continued,
                plan,
                predictor.params,
                prompts,
                _controls(len(part), budget),
            )  # type: ignore[arg-type]
            for index, ids in zip(part, np.asarray(found)):
                out[index] = ids[: int(np.flatnonzero(ids == EOS)[0])]
            done += len(part)
            if progress:
                progress(done, len(beginnings))
    return out


@partial(jax.jit, static_argnums=0)
def _walk(grammar: TargetGrammar, ids_T: Any, budget: Any) -> tuple[Any, Any, Any]:
    """Registers before and after the last id, and what is then allowed."""

    def body(state: Any, token: Any) -> Any:
        _, registers, left, _ = state
        after, allowed, _, _ = grammar.step(registers, token, left)
        return (registers, after, left - 1, allowed), None

    start = jnp.asarray(grammar.init())
    nothing = jnp.zeros(grammar.rows, bool)
    left = budget + len(ids_T) - 1  # so that `budget` is left after the last id
    (before, after, _, allowed), _ = jax.lax.scan(body, (start, start, left, nothing), ids_T)
    return before, after, allowed


def _standing(grammar: TargetGrammar, ids: np.ndarray, budget: int) -> tuple[bytes, Continued]:
    """Where the grammar stands after `ids`, and a key that is equal where it stands alike."""
    fed = jnp.asarray(np.concatenate([[BOS], ids]).astype(np.int32))
    before, after, allowed = (np.asarray(x) for x in _walk(grammar, fed, budget))
    key = after.tobytes() + np.packbits(allowed).tobytes()
    return key, Continued(grammar, tuple(map(int, before)), int(fed[-1]))


def _prompts(inputs: Sequence[Tokens]) -> generate.Prompts:
    length = generate.bucket(max(map(len, inputs)), generate.LENGTHS)
    ids, segments = np.zeros((ROWS, length), np.int32), np.zeros((ROWS, length), np.int32)
    positions, modality = np.zeros((ROWS, length, 3), np.int32), np.zeros((ROWS, length), np.int32)
    for row, tokens in enumerate(inputs):
        n = len(tokens)
        ids[row, :n], positions[row, :n] = tokens.ids, tokens.positions
        modality[row, :n], segments[row, :n] = tokens.modality, 1
    return generate.Prompts(ids, positions, modality, segments)


def _controls(rows: int, budget: int) -> generate.Controls:
    """Greedy, without filters; the rows of padding have no budget."""
    ones = np.ones(ROWS, np.float32)
    return generate.Controls(
        budget=np.where(np.arange(ROWS) < rows, budget, 0).astype(np.int32),
        seed=np.zeros((ROWS, 2), np.uint32),
        temperature=ones, top_k=np.zeros(ROWS, np.int32), top_p=ones, min_p=0 * ones,
        penalty=ones, guidance=ones, length_penalty=0 * ones,
    )  # fmt: skip
