"""Target grammars: the tokenizers' local automata composed into one over global ids, inside jit.

    text target    text codes, EOS                        to="text"
    value target   BEGIN codes END EOS                    to="image"
    mixed target   text with marked values inside, EOS    to="text+image", to="mixed" (every modality)

One call of `step` consumes the id that is being fed to the decoder and gives the mask of the next
one and the position and modality of the one fed, composed as `unitok.sequence` composes them: a
mark or text token stands at (c, c, c) and moves the cursor c by one; the codes of a value stand at
c + their local positions, and the cursor then moves past the furthest of them. BOS stands at 0.

Whatever is sampled under the mask closes within the budget and decodes.
Axes: V rows of the embedding table, R registers, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unitok.interfaces import Grammar, Tokenizer
from unitok.vocabulary import BOS, EOS, PAD, Vocabulary

TEXT = "text"
MIXED = "mixed"
OUTSIDE, FIRST_VALUE = 0, 1  # modes: between values (or in text); inside value 1, 2, ...
MODE, CURSOR, FURTHEST, HEADER = 0, 1, 2, 3  # registers; the parts' own follow


@dataclass(frozen=True)
class Part:
    """One modality's automaton and the place of its block. begin, end, first_code: global ids."""

    name: str
    grammar: Grammar
    begin: int
    end: int
    first_code: int

    @classmethod
    def of(
        cls, vocabulary: Vocabulary, name: str, tokenizer: Tokenizer, request: Mapping[str, Any]
    ) -> Part:
        block, grammar = vocabulary.block(name), tokenizer.grammar(**request)
        if grammar.size != block.codes:
            raise ValueError(
                f"grammar of {name!r} speaks of {grammar.size} codes, its block has {block.codes}; "
                "use the tokenizer that the vocabulary was built with"
            )
        return cls(name, grammar, vocabulary.begin(name), vocabulary.end(name), block.first_code)


@dataclass(frozen=True)
class TargetGrammar:
    """The automaton of a whole target: static and hashable. `rows`: V; `starts`: first id of each block."""

    rows: int
    starts: tuple[int, ...]
    text: Part | None
    values: tuple[Part, ...]

    @property
    def after(self) -> int:
        """Tokens needed after a value's END at the least: EOS, or a text that closes."""
        return self.text.grammar.min_tokens if self.text else 1

    @property
    def min_tokens(self) -> int:
        """Smallest budget of new tokens that always closes, EOS counted."""
        if self.text:
            return self.text.grammar.min_tokens
        return self.values[0].grammar.min_tokens + 2

    def init(self) -> np.ndarray:
        """Registers before BOS is consumed, int32 [R]."""
        parts = [np.asarray(part.grammar.registers(), np.int32) for part in self._parts]
        return np.concatenate([np.zeros(HEADER, np.int32), *parts])

    def step(self, registers: Any, token: Any, budget: Any) -> tuple[Any, Any, Any, Any]:
        """Consume one id: BOS first, then what was generated.

        registers int32 [R]; token int32 []; budget int32 []: new tokens that may still follow
        `token`, EOS counted. Returns (registers int32 [R], allowed bool [V] for the next id,
        position int32 [3] and modality int32 [] of `token`). After EOS only PAD is allowed.
        """
        token, budget = jnp.asarray(token, jnp.int32), jnp.asarray(budget, jnp.int32)
        registers = jnp.asarray(registers, jnp.int32)
        mode, own = registers[MODE], self._split(registers)
        allowed: dict[int, Any] = {EOS: False, PAD: (token == EOS) | (token == PAD)}
        open_text, own_text = self._step_text(mode, own, token, budget, allowed)
        local, coded, new_mode = jnp.zeros(3, jnp.int32), jnp.array(False), jnp.int32(OUTSIDE)
        own_values = []
        for index, part in enumerate(self.values, FIRST_VALUE):
            entering = token == part.begin
            inside = (mode == index) & (token != part.end)
            state, mask, position = _advance(
                part.grammar, own[part.name], token - part.first_code, entering, inside,
                budget - self.after,
            )  # fmt: skip
            own_values.append(state)
            active = entering | inside
            _allow(allowed, part, mask, active, part.end)
            fits = budget - 1 >= part.grammar.min_tokens + self.after
            allowed[part.begin] = open_text & fits if self.text else token == BOS
            if not self.text:
                allowed[EOS] = token == part.end
            local = jnp.where(inside, position, local)
            coded = coded | inside
            new_mode = jnp.where(active, index, new_mode)
        head, place = self._place(registers, token, coded, local)
        registers = jnp.concatenate([new_mode[None], head, *own_text, *own_values])
        modality = jnp.sum(token >= jnp.array(self.starts, jnp.int32)) - 1
        return registers, self._mask(allowed), place, modality.astype(jnp.int32)

    def _step_text(self, mode, own, token, budget, allowed) -> tuple[Any, list[Any]]:
        """Advance the text automaton; returns whether text may end here, and its registers."""
        if not self.text:
            return jnp.array(False), []
        starts = token == BOS
        for part in self.values:
            starts = starts | (token == part.end)
        first, size = self.text.first_code, self.text.grammar.size
        inside = (mode == OUTSIDE) & (token >= first) & (token < first + size)
        state, mask, _ = _advance(
            self.text.grammar, own[self.text.name], token - first, starts, inside, budget
        )
        _allow(allowed, self.text, mask, starts | inside, EOS)
        return (starts | inside) & mask[size], [state]

    def _place(self, registers, token, coded, local) -> tuple[Any, Any]:
        """The cursor rules: ([cursor, furthest] after `token`, its position [3])."""
        cursor, furthest = registers[CURSOR], registers[FURTHEST]
        base = cursor + jnp.where(coded, 0, furthest)  # furthest is 0 but at a value's END
        place = jnp.broadcast_to(base, 3) + jnp.where(coded, local, 0)
        cursor = jnp.where(coded, cursor, base + 1)
        furthest = jnp.where(coded, jnp.maximum(furthest, local.max() + 1), 0)
        return jnp.stack([cursor, furthest]).astype(jnp.int32), place.astype(jnp.int32)

    def _mask(self, allowed: Mapping[int, Any]) -> Any:
        """bool [V] out of stretches by first id; what no stretch covers is forbidden."""
        stretches, at = [], 0
        for start in sorted(allowed):
            stretch = jnp.atleast_1d(jnp.asarray(allowed[start], bool))
            stretches += [jnp.zeros(start - at, bool), stretch]
            at = start + len(stretch)
        return jnp.concatenate([*stretches, jnp.zeros(self.rows - at, bool)])

    @property
    def _parts(self) -> tuple[Part, ...]:
        return ((self.text,) if self.text else ()) + self.values

    def _split(self, registers: Any) -> dict[str, Any]:
        own, at = {}, HEADER
        for part in self._parts:
            own[part.name] = registers[at : at + part.grammar.num_registers]
            at += part.grammar.num_registers
        return own


def _advance(grammar: Grammar, registers, code, starts, inside, budget) -> tuple[Any, Any, Any]:
    """One step of a local automaton; where it neither starts nor is inside, a harmless start."""
    fresh = jnp.asarray(np.asarray(grammar.registers(), np.int32))
    go_on = inside & ~starts
    state, mask, position = grammar.step(
        jnp.where(go_on, registers, fresh), jnp.where(go_on, code, -1), budget
    )
    return state.astype(jnp.int32), mask, position


def _allow(allowed: dict[int, Any], part: Part, mask: Any, active: Any, end: int) -> None:
    """Enter a local mask [size + 1] under global ids, its last entry as `end`."""
    allowed[part.first_code] = mask[: part.grammar.size] & active
    allowed[end] = mask[part.grammar.size] & active


def target(
    vocabulary: Vocabulary, tokenizers: Mapping[str, Tokenizer], to: str, **request: Any
) -> TargetGrammar:
    """The grammar of a target of modality `to`, of a mixture "text+image", or of "mixed" (all).

    tokenizers: by modality. request narrows the tokenizer's own grammar (height, width, choices, ...);
    for a mixture it maps a modality to its requests. Raises ValueError for an unknown modality and
    whatever the tokenizer's grammar raises for a request that it does not know.
    """
    names = list(vocabulary.modalities) if to == MIXED else to.split("+")
    for name in names:
        if name not in vocabulary.modalities or name not in tokenizers:
            raise ValueError(
                f"no modality {name!r} to generate; there are {', '.join(vocabulary.modalities)}"
            )
    if len(set(names)) != len(names):
        raise ValueError(f"{to!r} names a modality twice")
    mixed = len(names) > 1 or to == MIXED
    if mixed and TEXT not in names:
        raise ValueError(f"a mixed target needs text to stand in; write 'text+{to}'")
    if mixed and (strange := set(request) - set(names)):
        raise ValueError(
            f"constraints of a mixed target are given by modality; {sorted(strange)} is none of {names}"
        )
    asked = request if mixed else {to: request}
    part = {
        name: Part.of(vocabulary, name, tokenizers[name], asked.get(name) or {}) for name in names
    }
    return TargetGrammar(
        rows=vocabulary.padded_size,
        starts=tuple(block.start for block in vocabulary.blocks),
        text=part.get(TEXT),
        values=tuple(part[name] for name in names if name != TEXT),
    )


def trace(grammar: TargetGrammar, ids_T: Any, budget: Any) -> tuple[Any, Any, Any]:
    """Walk a given target, jit-able: what `step` gives when BOS and then ids_T but the last are fed.

    ids_T int32 [T]; budget int32 []: new tokens allowed in all. Returns allowed_TV bool (the mask that
    each of ids_T is chosen under), positions_T3 and modality_T of what is fed.
    """
    ids_T = jnp.asarray(ids_T, jnp.int32)
    fed_T = jnp.concatenate([jnp.array([BOS], jnp.int32), ids_T[:-1]])

    def body(state, fed):
        registers, left = state
        registers, allowed, position, modality = grammar.step(registers, fed, left)
        return (registers, left - 1), (allowed, position, modality)

    state = (jnp.asarray(grammar.init()), jnp.asarray(budget, jnp.int32))
    return jax.lax.scan(body, state, fed_T)[1]
