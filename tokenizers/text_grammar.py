"""Grammars over text codes: small automata (free text that is valid UTF-8, numbers), and a choice among strings.

Codes 0..255 are bytes, the rest are whole pieces. Axes: V codes, K classes, Q states, E edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np

FAR = 1 << 20  # more codes than any budget: a state from which nothing can end


@dataclass(frozen=True)
class AutomatonGrammar:
    """A deterministic automaton over classes of codes, with an optional longest length.

    The arrays are kept as bytes, so that the object hashes and compares by content:
    classes uint8 [V]; next_state int32 [Q, K], -1 where not allowed; to_end int32 [Q]: the fewest
    codes from a state to one that may end, 0 where it may end itself.
    """

    size: int
    min_tokens: int
    classes: bytes
    next_state: bytes
    to_end: bytes
    max_tokens: int = FAR
    num_registers: int = 2  # state, codes so far

    @classmethod
    def of(
        cls,
        classes_V: np.ndarray,
        next_state_QK: np.ndarray,
        may_end_Q: np.ndarray,
        max_tokens: int | None,
    ) -> AutomatonGrammar:
        """Raises ValueError where max_tokens is too few to end."""
        to_end = codes_to_end(next_state_QK, may_end_Q)
        limit = FAR if max_tokens is None else int(max_tokens)
        _check_limit(limit, int(to_end[0]))
        return cls(
            size=len(classes_V),
            min_tokens=int(to_end[0]) + 1,
            classes=classes_V.astype(np.uint8).tobytes(),
            next_state=next_state_QK.astype(np.int32).tobytes(),
            to_end=to_end.tobytes(),
            max_tokens=limit,
        )

    def registers(self) -> np.ndarray:
        return np.zeros(2, np.int32)

    def step(self, registers: Any, code: Any, budget: Any) -> tuple[Any, Any, Any]:
        classes_V = jnp.asarray(np.frombuffer(self.classes, np.uint8))
        to_end_Q = jnp.asarray(np.frombuffer(self.to_end, np.int32))
        next_state_QK = jnp.asarray(
            np.frombuffer(self.next_state, np.int32).reshape(len(to_end_Q), -1)
        )
        begin = code < 0
        moved = next_state_QK[registers[0], classes_V[jnp.maximum(code, 0)]]
        state = jnp.where(begin, registers[0], jnp.maximum(moved, 0))
        count = registers[1] + jnp.where(begin, 0, 1)
        position = jnp.full(3, jnp.maximum(count - 1, 0))
        left = jnp.minimum(budget, self.max_tokens + 1 - count)  # the end counted
        reached_K = next_state_QK[state]
        # one code now, the fewest to an end from there, and the end itself
        closes_K = (reached_K >= 0) & (to_end_Q[jnp.maximum(reached_K, 0)] + 2 <= left)
        may_end = (to_end_Q[state] == 0) | ~closes_K.any()
        allowed = jnp.append(closes_K[classes_V], may_end)
        return jnp.stack([state, count]).astype(jnp.int32), allowed, position.astype(jnp.int32)


@dataclass(frozen=True)
class ChoiceGrammar:
    """One of several strings, as a trie over their codes; choices too long for the budget are left out.

    edges int32 [E, 4] as bytes: parent, code, child, fewest codes from the child to an end.
    may_end bool [Q] as bytes. Node 0 is the root.
    """

    size: int
    min_tokens: int
    edges: bytes
    may_end: bytes
    num_registers: int = 2  # node, codes so far

    @classmethod
    def of(
        cls, size: int, choices: Sequence[np.ndarray], max_tokens: int | None = None
    ) -> ChoiceGrammar:
        """choices: the codes of each. Raises ValueError where max_tokens leaves none."""
        shortest = min(len(codes) for codes in choices)
        limit = FAR if max_tokens is None else int(max_tokens)
        _check_limit(limit, shortest)
        edges, may_end = _trie([codes.tolist() for codes in choices if len(codes) <= limit])
        return cls(size, shortest + 1, edges.tobytes(), may_end.tobytes())

    def registers(self) -> np.ndarray:
        return np.zeros(2, np.int32)

    def step(self, registers: Any, code: Any, budget: Any) -> tuple[Any, Any, Any]:
        edges = np.frombuffer(self.edges, np.int32).reshape(-1, 4)
        parent_E, code_E, child_E, to_end_E = (jnp.asarray(column) for column in edges.T)
        may_end_Q = jnp.asarray(np.frombuffer(self.may_end, np.bool_))
        begin = code < 0
        taken_E = (parent_E == registers[0]) & (code_E == code)
        node = jnp.where(begin, registers[0], jnp.max(jnp.where(taken_E, child_E, 0), initial=0))
        count = registers[1] + jnp.where(begin, 0, 1)
        open_E = (parent_E == node) & (to_end_E + 2 <= budget)
        allowed = jnp.zeros(self.size + 1, bool)
        allowed = allowed.at[jnp.where(open_E, code_E, self.size + 1)].set(True, mode="drop")
        allowed = allowed.at[self.size].set(may_end_Q[node] | ~open_E.any())
        position = jnp.full(3, jnp.maximum(count - 1, 0)).astype(jnp.int32)
        return jnp.stack([node, count]).astype(jnp.int32), allowed, position


@lru_cache(maxsize=64)
def free_text(size: int, max_tokens: int | None = None) -> AutomatonGrammar:
    """Any pieces, any bytes that form UTF-8; may end between characters."""
    classes_256, next_state, may_end = utf8()
    ascii_class = classes_256[0]  # pieces behave as ASCII does
    classes = np.concatenate([classes_256, np.full(size - 256, ascii_class, np.uint8)])
    return AutomatonGrammar.of(classes, next_state, may_end, max_tokens)


def utf8() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The automaton of RFC 3629, section 4: (class of each byte, next state [8, K], may end [8]).

    States: 0 between characters; 1, 2, 3 continuation bytes due; after E0 4, ED 5, F0 6, F4 7, whose
    next byte has a narrower range (no overlong forms, no surrogates, nothing past U+10FFFF).
    """
    ranges = [(0x00, 0x80), (0x80, 0x90), (0x90, 0xA0), (0xA0, 0xC0), (0xC2, 0xE0), (0xE0, 0xE1)]
    ranges += [(0xE1, 0xED), (0xED, 0xEE), (0xEE, 0xF0), (0xF0, 0xF1), (0xF1, 0xF4), (0xF4, 0xF5)]
    never = len(ranges)
    classes = np.full(256, never, np.uint8)
    for index, (first, end) in enumerate(ranges):
        classes[first:end] = index
    next_state = np.full((8, never + 1), -1, np.int32)
    next_state[0, [0, 4, 5, 6, 7, 8, 9, 10, 11]] = [0, 1, 4, 2, 5, 2, 6, 3, 7]
    for state, after in ((1, 0), (2, 1), (3, 2)):
        next_state[state, [1, 2, 3]] = after
    next_state[4, 3] = 1
    next_state[5, [1, 2]] = 1
    next_state[6, [2, 3]] = 2
    next_state[7, 1] = 2
    return classes, next_state, np.arange(8) == 0


@lru_cache(maxsize=64)
def number(
    size: int, characters: tuple[int, ...], max_tokens: int | None = None
) -> AutomatonGrammar:
    """A decimal number: sign or none, digits, a point and digits or none. characters: codes of 0123456789-. in order."""
    digit, minus, point, other = 0, 1, 2, 3
    classes = np.full(size, other, np.uint8)
    classes[list(characters[:10])] = digit
    classes[characters[10]] = minus
    classes[characters[11]] = point
    start, signed, whole, pointed, fraction = range(5)
    next_state = np.full((5, 4), -1, np.int32)
    next_state[start, [digit, minus]] = [whole, signed]
    next_state[signed, digit] = whole
    next_state[whole, [digit, point]] = [whole, pointed]
    next_state[[pointed, fraction], digit] = fraction
    may_end = np.isin(np.arange(5), [whole, fraction])
    return AutomatonGrammar.of(classes, next_state, may_end, max_tokens)


def _check_limit(limit: int, shortest: int) -> None:
    if limit < shortest:
        raise ValueError(f"text: max_tokens {limit} is too few; the shortest answer has {shortest}")


def codes_to_end(next_state_QK: np.ndarray, may_end_Q: np.ndarray) -> np.ndarray:
    """Fewest codes from each state to one that may end, int32 [Q]."""
    to_end = np.where(may_end_Q, 0, FAR).astype(np.int32)
    for _ in to_end:
        reached = np.where(next_state_QK >= 0, to_end[next_state_QK], FAR)
        to_end = np.minimum(to_end, reached.min(axis=1) + 1).astype(np.int32)
    return to_end


def _trie(choices: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """(edges int32 [E, 4], may_end bool [Q]); node 0 is the root."""
    child_of: dict[tuple[int, int], int] = {}
    to_end = [FAR]
    for codes in choices:
        node = 0
        for index, code in enumerate(codes):
            to_end[node] = min(to_end[node], len(codes) - index)
            node = child_of.setdefault((node, code), len(to_end))
            if node == len(to_end):
                to_end.append(FAR)
        to_end[node] = 0
    edges = [(parent, code, child, to_end[child]) for (parent, code), child in child_of.items()]
    return np.array(edges, np.int32).reshape(-1, 4), np.array(to_end) == 0


def one_of(strings: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exactly one of the UTF-8 strings, in the form of `utf8`: (class of each byte, next state [Q, K], may end [Q])."""
    edges, may_end = _trie([list(string) for string in strings])
    classes = np.zeros(256, np.uint8)  # class 0: bytes that stand in no string
    used = np.unique(edges[:, 1])
    classes[used] = 1 + np.arange(len(used))  # at most 243: UTF-8 never uses the other 13
    next_state = np.full((len(may_end), len(used) + 1), -1, np.int32)
    next_state[edges[:, 0], classes[edges[:, 1]]] = edges[:, 2]
    return classes, next_state, may_end
