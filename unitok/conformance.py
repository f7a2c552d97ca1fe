"""What every tokenizer must hold, as one call: `check_tokenizer(MyTokenizer.build, values)`.

For the house's own tokenizers and for those of other packages; needs no test framework. A violation
raises ConformanceError, an AssertionError whose message names the clause and the witness.

Axes: n codes of one value, R registers, P sequences generated in parallel, L longest of them.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unitok.interfaces import Grammar, Tokenizer

CODE_FILES = (".pkl", ".pickle", ".pt", ".pth", ".npy", ".py", ".joblib")  # may run code when read
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


def check_tokenizer(
    make: Callable[[], Tokenizer] | Tokenizer,
    values: Sequence[Any],
    equal: Callable[[Any, Any], bool] | None = None,
    *,
    request_of: Callable[[Any], Request] | None = None,
    requests: Sequence[Request] = ({},),
    slacks: Sequence[int] = SLACKS,
    seed: int = 0,
) -> None:
    """Put a tokenizer through everything the protocols promise.

    make: the tokenizer, or a callable that builds it (then building twice must agree).
    values: at least one value it takes; equal(value, decoded): what "comes back" means for it
    (default `==`; a bound for lossy ones).
    request_of(value): the keywords of `grammar` under which this value's own codes are valid (default
    none: the widest grammar). requests: keywords to generate under. Where a request holds `context`,
    it goes to encode and decode too. slacks: budgets tried, above each grammar's `min_tokens`.

    Raises ConformanceError.
    """
    tokenizer = make() if callable(make) else make
    if callable(make):
        _require(make().fingerprint == tokenizer.fingerprint, "built twice: fingerprints differ")
    _require(len(values) > 0, "give at least one value to check with")
    same = equal or _equal
    check_attributes(tokenizer)
    for value in values:
        check_value(tokenizer, value, same, request=(request_of or (lambda _: {}))(value))
    _check_batches(tokenizer, values)
    _check_decode_total(tokenizer, values, np.random.default_rng(seed))
    _check_folder(tokenizer, values)
    for request in requests:
        check_grammar(tokenizer, request, slacks=slacks, seed=seed)


def check_attributes(tokenizer: Tokenizer) -> None:
    """The protocol's attributes and their types."""
    _require(
        isinstance(tokenizer, Tokenizer),
        f"{type(tokenizer).__name__} lacks a member of the Tokenizer protocol",
    )
    _require(
        isinstance(tokenizer.modality, str) and tokenizer.modality != "", "modality: want a name"
    )
    _require(type(tokenizer.size) is int and tokenizer.size > 0, "size: want a positive int")
    print_ = tokenizer.fingerprint
    _require(
        isinstance(print_, str) and len(print_) == 16 and set(print_) <= set("0123456789abcdef"),
        f"fingerprint: want 16 hex digits, got {print_!r}",
    )


def check_value(
    tokenizer: Tokenizer,
    value: Any,
    equal: Callable[[Any, Any], bool] | None = None,
    *,
    request: Request | None = None,
) -> None:
    """One value's way in and out: ids, round trip, positions, rate, its own grammar. For property tests."""
    request = request or {}
    context, before = request.get("context"), copy.deepcopy(value)
    ids = tokenizer.encode(value, context=context)
    shown = _short(value)
    _require(
        isinstance(ids, np.ndarray) and ids.dtype == np.int32 and ids.ndim == 1,
        f"encode({shown}): want int32 [n], got {getattr(ids, 'dtype', type(ids).__name__)} "
        f"{list(np.shape(ids))}",
    )
    _require(
        bool(((ids >= 0) & (ids < tokenizer.size)).all()),
        f"encode({shown}): a code outside 0..{tokenizer.size - 1}",
    )
    _require(_equal(before, value), f"encode({shown}): changed the value it was given")
    again = tokenizer.encode(value, context=context)
    _require(np.array_equal(ids, again), f"encode({shown}): twice gave different codes")
    same = equal or _equal
    back = tokenizer.decode(ids, context=context)
    _require(same(value, back), f"decode(encode({shown})) gave {_short(back)}")
    shuffled = tokenizer.encode(value, context=context, rng=np.random.default_rng(0))
    back = tokenizer.decode(shuffled, context=context)
    _require(same(value, back), f"decode(encode({shown}, rng=...)) gave {_short(back)}")
    bits = tokenizer.bits_per_item(value)
    _require(
        bool(np.isfinite(bits)) and (bits > 0 or (bits == 0 and len(ids) == 0)),
        f"bits_per_item({shown}): want a positive number, got {bits}",
    )
    positions = _check_positions(tokenizer, ids)
    grammar, _ = _checked_grammar(tokenizer, request)
    _check_accepts(grammar, ids, positions, shown)


def check_grammar(
    tokenizer: Tokenizer,
    request: Request | None = None,
    *,
    slacks: Sequence[int] = SLACKS,
    seed: int = 0,
) -> None:
    """Random, stubborn and hasty choices under the grammar: each closes within its budget and decodes."""
    request = request or {}
    grammar, name = _checked_grammar(tokenizer, request)
    too_small = list(range(max(1, grammar.min_tokens - 3), grammar.min_tokens))
    budgets = too_small + [grammar.min_tokens + slack for slack in slacks]
    codes_PL, lengths, ended, starved, positions_PL3, budgets_P = _generate_all(
        grammar, budgets, seed
    )
    for row, budget in enumerate(budgets_P.tolist()):
        ids = codes_PL[row, : lengths[row]]
        where = f"{name}, budget {budget} (min_tokens {grammar.min_tokens}), codes {_short(ids)}"
        _require(not starved[row], f"{where}: nothing is allowed next")
        if budget < grammar.min_tokens:
            continue
        _require(bool(ended[row]), f"{where}: the end was not reached within the budget")
        positions = _check_positions(tokenizer, ids)
        _require(
            np.array_equal(positions, positions_PL3[row, : len(ids)]),
            f"{where}: the grammar's positions {_short(positions_PL3[row, : len(ids)])} are not "
            f"positions() {_short(positions)}",
        )
        _check_generated(tokenizer, ids, request.get("context"), where)


# ---- clauses ------------------------------------------------------------------------------


def _checked_grammar(tokenizer: Tokenizer, request: Request) -> tuple[Grammar, str]:
    """The grammar, fit to be a static argument of jit, and its name in messages."""
    grammar: Any = tokenizer.grammar(**request)
    twin = tokenizer.grammar(**request)
    name = f"grammar({', '.join(f'{k}={_short(v)}' for k, v in request.items())})"
    try:
        hash(grammar)
    except TypeError as error:
        raise ConformanceError(f"{name}: not hashable, so no static argument ({error})") from None
    _require(grammar == twin and hash(grammar) == hash(twin), f"{name}: two of it are not equal")
    _require(grammar.size == tokenizer.size, f"{name}: size {grammar.size}, not {tokenizer.size}")
    _require(grammar.min_tokens >= 1, f"{name}: min_tokens {grammar.min_tokens}; the end is one")
    _check_step(grammar, name)
    return grammar, name


def _check_generated(tokenizer: Tokenizer, ids: np.ndarray, context: Any, where: str) -> None:
    try:
        value = tokenizer.decode(ids, context=context)
    except ValueError as error:
        raise ConformanceError(f"{where}: generated, but decode refuses it ({error})") from error
    try:
        tokenizer.encode(value, context=context)
    except Exception as error:
        raise ConformanceError(
            f"{where}: decoded to {_short(value)}, which encode refuses ({error})"
        ) from error


def _check_positions(tokenizer: Tokenizer, ids: np.ndarray) -> np.ndarray:
    positions = tokenizer.positions(ids)
    _require(
        isinstance(positions, np.ndarray)
        and positions.dtype == np.int32
        and positions.shape == (len(ids), 3),
        f"positions: want int32 [{len(ids)}, 3], got {getattr(positions, 'dtype', None)} "
        f"{list(np.shape(positions))}",
    )
    if len(ids):
        _require(
            int(positions.min()) == 0 and not positions[0].any(),
            f"positions: want 0, 0, 0 first and none below 0, got {_short(positions)}",
        )
    return positions


def _check_accepts(grammar: Grammar, ids: np.ndarray, positions: np.ndarray, shown: str) -> None:
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
            f"grammar: code {ids[at]} at {at} of encode({shown}) = {_short(ids)} is not allowed"
        )
    _require(bool(may_end), f"grammar: encode({shown}) = {_short(ids)} may not end where it ends")
    _require(
        np.array_equal(positions, positions_L3[: len(ids)]),
        f"grammar: its positions for encode({shown}) are {_short(positions_L3[: len(ids)])}, "
        f"positions() gives {_short(positions)}",
    )


def _check_batches(tokenizer: Tokenizer, values: Sequence[Any]) -> None:
    one_by_one = [tokenizer.encode(value) for value in values]
    together = tokenizer.encode_batch(list(values))
    _require(
        len(together) == len(one_by_one)
        and all(np.array_equal(a, b) and b.dtype == np.int32 for a, b in zip(one_by_one, together)),
        "encode_batch: not the codes of encode, one by one",
    )
    decoded = tokenizer.decode_batch(one_by_one)
    _require(
        len(decoded) == len(one_by_one)
        and all(_equal(tokenizer.decode(ids), value) for ids, value in zip(one_by_one, decoded)),
        "decode_batch: not the values of decode, one by one",
    )
    _require(len(tokenizer.encode_batch([])) == 0, "encode_batch([]): want an empty list")
    _require(len(tokenizer.decode_batch([])) == 0, "decode_batch([]): want an empty list")


def _check_decode_total(
    tokenizer: Tokenizer, values: Sequence[Any], rng: np.random.Generator
) -> None:
    """Random codes, and valid ones with a code changed, dropped, doubled, or the tail cut."""
    candidates = [rng.integers(0, tokenizer.size, n) for n in (0, 1, 2, 3, 5, 8, 13, 40) * 6]
    candidates += [np.full(n, code) for n in (1, 4, 9) for code in (0, tokenizer.size - 1)]
    encoded = [tokenizer.encode(value) for value in values]
    for ids in [ids for ids in encoded if len(ids)][:16]:
        for _ in range(4):
            at = int(rng.integers(len(ids)))
            changed = ids.copy()
            changed[at] = rng.integers(tokenizer.size)
            candidates += [changed, np.delete(ids, at), np.insert(ids, at, ids[at]), ids[:at]]
    for ids in candidates:
        ids = np.asarray(ids, np.int32)
        try:
            tokenizer.decode(ids)
        except ValueError:
            pass
        except Exception as error:
            raise ConformanceError(
                f"decode({_short(ids)}): want a value or ValueError, got {error!r}"
            ) from error
    for wrong in ([-1], [tokenizer.size], [0, 2**31 - 1]):
        try:
            got = tokenizer.decode(np.asarray(wrong, np.int32))
        except ValueError:
            continue
        except Exception as error:
            raise ConformanceError(f"decode({wrong}): want ValueError, got {error!r}") from error
        raise ConformanceError(f"decode({wrong}): out of range, yet it gave {_short(got)}")


def _check_folder(tokenizer: Tokenizer, values: Sequence[Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "new" / "folder"
        tokenizer.save(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for file in files:
            _require(file.suffix not in CODE_FILES, f"save: {file.name} may run code when read")
        header = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        _require(isinstance(header.get("name"), str), "save: tokenizer.json lacks its name")
        loaded = type(tokenizer).load(folder)
        _require(
            (loaded.fingerprint, loaded.size, loaded.modality)
            == (tokenizer.fingerprint, tokenizer.size, tokenizer.modality),
            f"load(save): {loaded.fingerprint}, size {loaded.size} instead of "
            f"{tokenizer.fingerprint}, size {tokenizer.size}",
        )
        for value in values:
            ids = tokenizer.encode(value)
            _require(
                np.array_equal(ids, loaded.encode(value)),
                f"load(save): encode({_short(value)}) gives other codes",
            )
            _require(
                _equal(tokenizer.decode(ids), loaded.decode(ids)),
                f"load(save): decode of encode({_short(value)}) gives another value",
            )
        _check_damage(tokenizer, folder, files)


def _check_damage(tokenizer: Tokenizer, folder: Path, files: Sequence[Path]) -> None:
    for file in files:
        content = file.read_bytes()
        if file.name == "tokenizer.json":
            other = f"{int(tokenizer.fingerprint, 16) ^ 1:016x}"
            damaged = content.replace(tokenizer.fingerprint.encode(), other.encode())
        else:
            middle = len(content) // 2
            damaged = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        file.write_bytes(damaged)
        try:
            type(tokenizer).load(folder)
        except ValueError:
            continue
        except Exception as error:
            raise ConformanceError(
                f"load: {file.name} was damaged; want ValueError, got {error!r}"
            ) from error
        finally:
            file.write_bytes(content)
        raise ConformanceError(f"load: {file.name} was damaged, and loaded all the same")


@lru_cache(maxsize=256)  # equal grammars are checked once: each check traces `step`
def _check_step(grammar: Grammar, name: str) -> None:
    registers = np.asarray(grammar.registers())
    _require(
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
    _require(got == want, f"{name}: step gives {got}, want {want}")


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


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConformanceError(message)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


def _short(value: Any) -> str:
    text = str(value.tolist()) if isinstance(value, np.ndarray) else repr(value)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text)} characters)"
