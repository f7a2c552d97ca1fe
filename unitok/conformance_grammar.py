"""Whether a grammar keeps its promises: the half of `unitok.conformance` that runs inside jit.

Axes: n codes of one value, P sequences generated in parallel, L longest of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unitok.interfaces import Grammar, Tokenizer

SLACKS = (0, 1, 2, 5, 17, 100)  # budgets above `min_tokens`
DRAWS = 64  # rows of noise to choose from
TEMPERS = {  # how the suite chooses among the allowed codes, and how often for each budget
    "even": 3,  # all alike
    "inclined": 3,  # a random preference, and noise
    "stubborn": 2,  # the same preference at every step
    "endless": 2,  # ends only where it must
    "hasty": 1,  # ends as soon as it may
    "patient": 5,  # ends as soon as it may after a random number of codes
}
Request = Mapping[str, Any]


class ConformanceError(AssertionError):
    """A clause of the Tokenizer or Grammar protocol does not hold."""


def check_grammar(
    tokenizer: Tokenizer,
    request: Request | None = None,
    *,
    slacks: Sequence[int] = SLACKS,
    seed: int = 0,
) -> None:
    """Random, stubborn and hasty choices under the grammar: each closes within its budget and decodes."""
    request = request or {}
    grammar, name = checked_grammar(tokenizer, request)
    too_small = list(range(max(1, grammar.min_tokens - 3), grammar.min_tokens))
    budgets = too_small + [grammar.min_tokens + slack for slack in slacks]
    codes_PL, lengths, ended, starved, positions_PL3, budgets_P = _generate_all(
        grammar, budgets, seed
    )
    for row, budget in enumerate(budgets_P.tolist()):
        ids = codes_PL[row, : lengths[row]]
        where = f"{name}, budget {budget} (min_tokens {grammar.min_tokens}), codes {short(ids)}"
        require(not starved[row], f"{where}: nothing is allowed next")
        if budget < grammar.min_tokens:
            continue
        require(bool(ended[row]), f"{where}: the end was not reached within the budget")
        positions = check_positions(tokenizer, ids)
        require(
            np.array_equal(positions, positions_PL3[row, : len(ids)]),
            f"{where}: the grammar's positions {short(positions_PL3[row, : len(ids)])} are not "
            f"positions() {short(positions)}",
        )
        _check_generated(tokenizer, ids, request.get("context"), where)


def checked_grammar(tokenizer: Tokenizer, request: Request) -> tuple[Grammar, str]:
    """The grammar, fit to be a static argument of jit, and its name in messages."""
    grammar: Any = tokenizer.grammar(**request)
    twin = tokenizer.grammar(**request)
    name = f"grammar({', '.join(f'{k}={short(v)}' for k, v in request.items())})"
    try:
        hash(grammar)
    except TypeError as error:
        raise ConformanceError(f"{name}: not hashable, so no static argument ({error})") from None
    require(grammar == twin and hash(grammar) == hash(twin), f"{name}: two of it are not equal")
    require(grammar.size == tokenizer.size, f"{name}: size {grammar.size}, not {tokenizer.size}")
    require(grammar.min_tokens >= 1, f"{name}: min_tokens {grammar.min_tokens}; the end is one")
    _check_step(grammar, name)
    return grammar, name


def check_accepts(grammar: Grammar, ids: np.ndarray, positions: np.ndarray, shown: str) -> None:
    length = 8
    while length < len(ids):  # few shapes, few compilations
        length *= 4
    codes = np.zeros(length, np.int32)
    codes[: len(ids)] = ids
    budget = grammar.min_tokens + 4 * len(ids) + 64
    accepted, may_end, positions_L3 = jax.device_get(
        _accept(grammar, codes, np.int32(len(ids)), np.int32(budget))
    )
    if not accepted[: len(ids)].all():
        at = int(np.argmin(accepted[: len(ids)]))
        raise ConformanceError(
            f"grammar: code {ids[at]} at {at} of encode({shown}) = {short(ids)} is not allowed"
        )
    require(bool(may_end), f"grammar: encode({shown}) = {short(ids)} may not end where it ends")
    require(
        np.array_equal(positions, positions_L3[: len(ids)]),
        f"grammar: its positions for encode({shown}) are {short(positions_L3[: len(ids)])}, "
        f"positions() gives {short(positions)}",
    )


def check_positions(tokenizer: Tokenizer, ids: np.ndarray) -> np.ndarray:
    positions = tokenizer.positions(ids)
    require(
        isinstance(positions, np.ndarray)
        and positions.dtype == np.int32
        and positions.shape == (len(ids), 3),
        f"positions: want int32 [{len(ids)}, 3], got {getattr(positions, 'dtype', None)} "
        f"{list(np.shape(positions))}",
    )
    if len(ids):
        require(
            int(positions.min()) == 0 and not positions[0].any(),
            f"positions: want 0, 0, 0 first and none below 0, got {short(positions)}",
        )
    return positions


def _check_generated(tokenizer: Tokenizer, ids: np.ndarray, context: Any, where: str) -> None:
    try:
        value = tokenizer.decode(ids, context=context)
    except ValueError as error:
        raise ConformanceError(f"{where}: generated, but decode refuses it ({error})") from error
    try:
        tokenizer.encode(value, context=context)
    except Exception as error:
        raise ConformanceError(
            f"{where}: decoded to {short(value)}, which encode refuses ({error})"
        ) from error


@lru_cache(maxsize=256)  # equal grammars are checked once: each check traces `step`
def _check_step(grammar: Grammar, name: str) -> None:
    registers = np.asarray(grammar.registers())
    require(
        registers.dtype == np.int32 and registers.shape == (grammar.num_registers,),
        f"{name}: registers() gives {registers.dtype} {list(registers.shape)}, want int32 "
        f"[{grammar.num_registers}]",
    )
    scalar = jax.ShapeDtypeStruct((), jnp.int32)
    try:
        out = jax.eval_shape(
            grammar.step, jax.ShapeDtypeStruct(registers.shape, jnp.int32), scalar, scalar
        )
    except Exception as error:
        raise ConformanceError(f"{name}: step cannot be traced by jax ({error})") from error
    want = [(registers.shape, "int32"), ((grammar.size + 1,), "bool"), ((3,), "int32")]
    got = [(array.shape, array.dtype.name) for array in out]
    require(got == want, f"{name}: step gives {got}, want {want}")


# ---- the grammar, inside jit --------------------------------------------------------------


@partial(jax.jit, static_argnames="grammar")
def _accept(grammar: Grammar, codes_L: Any, n: Any, budget: Any) -> tuple[Any, Any, Any]:
    """Feed codes[:n]: (allowed bool [L], whether the end is allowed after them, positions int32 [L, 3])."""
    begin = jnp.asarray(grammar.registers(), jnp.int32)
    registers, allowed, _ = grammar.step(begin, jnp.int32(-1), budget)

    def feed(carry: Any, item: Any) -> tuple[Any, Any]:
        registers, allowed = carry
        index, code = item
        after, next_allowed, position = grammar.step(registers, code, budget - index - 1)
        inside = index < n
        carry = (
            jnp.where(inside, after, registers),
            jnp.where(inside, next_allowed, allowed),
        )
        return carry, (allowed[code], position)

    index = jnp.arange(len(codes_L), dtype=jnp.int32)
    (_, allowed), (accepted, positions) = jax.lax.scan(feed, (registers, allowed), (index, codes_L))
    return accepted, allowed[grammar.size], positions


def _generate_all(grammar: Grammar, budgets: Sequence[int], seed: int) -> tuple[Any, ...]:
    """Random choices of six tempers for each budget; see TEMPERS."""
    rng = np.random.default_rng(seed)
    tempers = [temper for temper, times in TEMPERS.items() for _ in range(times)]
    rows = [(budget, temper) for budget in budgets for temper in tempers]
    bias = rng.normal(0, 5, (len(rows), grammar.size + 1)).astype(np.float32)
    noise = np.ones(len(rows), np.float32)
    patience = np.full(len(rows), np.iinfo(np.int32).max, np.int32)
    for row, (budget, temper) in enumerate(rows):
        if temper == "even":
            bias[row] = 0
        elif temper == "stubborn":
            noise[row] = 0
        elif temper == "hasty":
            patience[row] = 0
        if temper in ("endless", "patient"):
            bias[row, -1] = -1e9
        if temper == "patient":
            patience[row] = rng.integers(budget)
    budgets_P = np.array([budget for budget, _ in rows], np.int32)
    # drawn here, because a random generator inside the loop takes longest of all to compile
    draws = rng.gumbel(size=(DRAWS, grammar.size + 1)).astype(np.float32)
    order = rng.integers(0, DRAWS, (len(rows), max(budgets))).astype(np.int32)
    out = _generate(grammar, draws, budgets_P, bias, noise, patience, order)
    return (*jax.device_get(out), budgets_P)


@partial(jax.jit, static_argnames="grammar")
@partial(jax.vmap, in_axes=(None, None, 0, 0, 0, 0, 0))
def _generate(
    grammar: Grammar,
    draws: Any,
    budget: Any,
    bias: Any,
    noise: Any,
    patience: Any,
    order: Any,
) -> tuple[Any, ...]:
    """Choose among the allowed until the end: codes [L], how many, ended, starved, positions [L, 3]."""
    begin = jnp.asarray(grammar.registers(), jnp.int32)
    registers, allowed, _ = grammar.step(begin, jnp.int32(-1), budget)

    def choose(state: Any) -> Any:
        count, registers, allowed, ended, starved, codes, positions = state
        logits = bias + noise * draws[order[count]]
        logits = logits.at[-1].set(jnp.where(count >= patience, 1e9, logits[-1]))
        choice = jnp.argmax(jnp.where(allowed, logits, -jnp.inf)).astype(jnp.int32)
        starved = starved | ~allowed.any()
        ended = choice == grammar.size
        code = jnp.where(ended, 0, choice)
        after, next_allowed, position = grammar.step(registers, code, budget - count - 1)
        codes = jnp.where(ended, codes, codes.at[count].set(code))
        positions = jnp.where(ended, positions, positions.at[count].set(position))
        registers = jnp.where(ended, registers, after)
        allowed = jnp.where(ended, allowed, next_allowed)
        return count + ~ended, registers, allowed, ended, starved, codes, positions

    def going(state: Any) -> Any:
        count, _, _, ended, starved, *_ = state
        return ~ended & ~starved & (count < budget)

    state = (
        jnp.int32(0),
        registers,
        allowed,
        jnp.bool_(False),
        jnp.bool_(False),
        jnp.zeros_like(order),
        jnp.zeros((len(order), 3), jnp.int32),
    )
    count, _, _, ended, starved, codes, positions = jax.lax.while_loop(going, choose, state)
    return codes, count, ended, starved, positions


# ---- small things -------------------------------------------------------------------------


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ConformanceError(message)


def short(value: Any) -> str:
    text = str(value.tolist()) if isinstance(value, np.ndarray) else repr(value)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text)} characters)"
