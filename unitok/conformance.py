"""What every tokenizer must hold, as one call: `check_tokenizer(MyTokenizer.build, values)`.

For the house's own tokenizers and for those of other packages; needs no test framework. A violation
raises ConformanceError, an AssertionError whose message names the clause and the witness.
`check_value` and `check_grammar` are its parts, for property tests of your own.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unitok.conformance_grammar import (
    SLACKS,
    ConformanceError,
    Request,
    check_accepts,
    check_grammar,
    check_positions,
    checked_grammar,
    require,
    short,
)
from unitok.interfaces import Tokenizer

__all__ = [
    "ConformanceError",
    "check_attributes",
    "check_grammar",
    "check_tokenizer",
    "check_value",
]


CODE_FILES = (".pkl", ".pickle", ".pt", ".pth", ".npy", ".py", ".joblib")  # may run code when read


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
        require(make().fingerprint == tokenizer.fingerprint, "built twice: fingerprints differ")
    require(len(values) > 0, "give at least one value to check with")
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
    require(
        isinstance(tokenizer, Tokenizer),
        f"{type(tokenizer).__name__} lacks a member of the Tokenizer protocol",
    )
    require(
        isinstance(tokenizer.modality, str) and tokenizer.modality != "", "modality: want a name"
    )
    require(type(tokenizer.size) is int and tokenizer.size > 0, "size: want a positive int")
    print_ = tokenizer.fingerprint
    require(
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
    shown = short(value)
    require(
        isinstance(ids, np.ndarray) and ids.dtype == np.int32 and ids.ndim == 1,
        f"encode({shown}): want int32 [n], got {getattr(ids, 'dtype', type(ids).__name__)} "
        f"{list(np.shape(ids))}",
    )
    require(
        bool(((ids >= 0) & (ids < tokenizer.size)).all()),
        f"encode({shown}): a code outside 0..{tokenizer.size - 1}",
    )
    require(_equal(before, value), f"encode({shown}): changed the value it was given")
    again = tokenizer.encode(value, context=context)
    require(np.array_equal(ids, again), f"encode({shown}): twice gave different codes")
    same = equal or _equal
    back = tokenizer.decode(ids, context=context)
    require(same(value, back), f"decode(encode({shown})) gave {short(back)}")
    shuffled = tokenizer.encode(value, context=context, rng=np.random.default_rng(0))
    back = tokenizer.decode(shuffled, context=context)
    require(same(value, back), f"decode(encode({shown}, rng=...)) gave {short(back)}")
    bits = tokenizer.bits_per_item(value)
    require(
        bool(np.isfinite(bits)) and (bits > 0 or (bits == 0 and len(ids) == 0)),
        f"bits_per_item({shown}): want a positive number, got {bits}",
    )
    positions = check_positions(tokenizer, ids)
    grammar, _ = checked_grammar(tokenizer, request)
    check_accepts(grammar, ids, positions, shown)


# ---- clauses ------------------------------------------------------------------------------


def _check_batches(tokenizer: Tokenizer, values: Sequence[Any]) -> None:
    one_by_one = [tokenizer.encode(value) for value in values]
    together = tokenizer.encode_batch(list(values))
    require(
        len(together) == len(one_by_one)
        and all(np.array_equal(a, b) and b.dtype == np.int32 for a, b in zip(one_by_one, together)),
        "encode_batch: not the codes of encode, one by one",
    )
    decoded = tokenizer.decode_batch(one_by_one)
    require(
        len(decoded) == len(one_by_one)
        and all(_equal(tokenizer.decode(ids), value) for ids, value in zip(one_by_one, decoded)),
        "decode_batch: not the values of decode, one by one",
    )
    require(len(tokenizer.encode_batch([])) == 0, "encode_batch([]): want an empty list")
    require(len(tokenizer.decode_batch([])) == 0, "decode_batch([]): want an empty list")


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
                f"decode({short(ids)}): want a value or ValueError, got {error!r}"
            ) from error
    for wrong in ([-1], [tokenizer.size], [0, 2**31 - 1]):
        try:
            got = tokenizer.decode(np.asarray(wrong, np.int32))
        except ValueError:
            continue
        except Exception as error:
            raise ConformanceError(f"decode({wrong}): want ValueError, got {error!r}") from error
        raise ConformanceError(f"decode({wrong}): out of range, yet it gave {short(got)}")


def _check_folder(tokenizer: Tokenizer, values: Sequence[Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "new" / "folder"
        tokenizer.save(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for file in files:
            require(file.suffix not in CODE_FILES, f"save: {file.name} may run code when read")
        header = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        require(isinstance(header.get("name"), str), "save: tokenizer.json lacks its name")
        loaded = type(tokenizer).load(folder)
        require(
            (loaded.fingerprint, loaded.size, loaded.modality)
            == (tokenizer.fingerprint, tokenizer.size, tokenizer.modality),
            f"load(save): {loaded.fingerprint}, size {loaded.size} instead of "
            f"{tokenizer.fingerprint}, size {tokenizer.size}",
        )
        for value in values:
            ids = tokenizer.encode(value)
            require(
                np.array_equal(ids, loaded.encode(value)),
                f"load(save): encode({short(value)}) gives other codes",
            )
            require(
                _equal(tokenizer.decode(ids), loaded.decode(ids)),
                f"load(save): decode of encode({short(value)}) gives another value",
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


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)
