"""The conformance suite passes an honest tokenizer and catches each of the dishonest ones below.

Pairs: a list of (a, b), 0 <= a <= b < 8; two codes a pair. The grammar closes pairs within the budget.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from unitok.conformance import ConformanceError, check_tokenizer
from unitok.errors import InputError
from unitok.tokenizers.base import BaseTokenizer

VALUES = [[], [(0, 0)], [(1, 5), (2, 2), (0, 7)], [(3, 4)] * 9]


@dataclass(frozen=True)
class PairGrammar:
    size: int = 8
    min_tokens: int = 1
    num_registers: int = 2  # codes so far, the first of the open pair

    def registers(self) -> np.ndarray:
        return np.zeros(2, np.int32)

    def step(self, registers: Any, code: Any, budget: Any) -> tuple[Any, Any, Any]:
        begin = code < 0
        count = jnp.where(begin, 0, registers[0] + 1)
        position = jnp.where(begin, 0, self.place(count - 1))
        half = count % 2 == 1
        allowed = self.allow(half, code, budget)
        return jnp.stack([count, jnp.maximum(code, 0)]).astype(jnp.int32), allowed, position

    def place(self, index: Any) -> Any:
        return jnp.stack([index // 2, index % 2, jnp.zeros_like(index)]).astype(jnp.int32)

    def allow(self, half: Any, code: Any, budget: Any) -> Any:
        codes = jnp.where(half, jnp.arange(8) >= code, budget >= 3)
        return jnp.append(codes, ~half)


class Pairs(BaseTokenizer):
    name, modality, size = "pairs", "pairs", 8
    grammar_class = PairGrammar

    def __init__(self, table: np.ndarray | None = None) -> None:
        self.table = np.arange(8, dtype=np.int32) if table is None else table

    def weights(self) -> dict[str, np.ndarray]:
        return {"table": self.table}

    @classmethod
    def from_parts(cls, options: Any, weights: Any, blobs: Any) -> Pairs:
        return cls(weights["table"], **options)

    def encode(self, value: Any, context: Any = None, rng: Any = None) -> np.ndarray:
        return self.table[np.array(value, np.int64).reshape(-1)].astype(np.int32)

    def decode(self, ids: Any, context: Any = None) -> Any:
        ids = self.check_ids(ids).tolist()
        if len(ids) % 2:
            raise ValueError("pairs: an odd number of codes")
        pairs = list(zip(ids[::2], ids[1::2]))
        if any(a > b for a, b in pairs):
            raise ValueError("pairs: a pair is not in order")
        return pairs

    def positions(self, ids: np.ndarray) -> np.ndarray:
        index = np.arange(len(ids), dtype=np.int32)
        return np.stack([index // 2, index % 2, 0 * index], axis=1)

    def grammar(self, **request: Any) -> Any:
        return self.grammar_class()


def test_an_honest_tokenizer_passes() -> None:
    check_tokenizer(Pairs, VALUES)
    check_tokenizer(Pairs(), VALUES)


# ---- dishonest ones: (what the message must speak of, the class) --------------------------


class LongIds(Pairs):
    def encode(self, value, context=None, rng=None):
        return super().encode(value).astype(np.int64)


class OutOfRange(Pairs):
    def encode(self, value, context=None, rng=None):
        return super().encode(value) + np.int32(8)


class Lossy(Pairs):
    def encode(self, value, context=None, rng=None):
        return super().encode(value[:2])


class Forgetful(Pairs):
    """Decodes to the right numbers, as the wrong kind of value."""

    def decode(self, ids, context=None):
        return tuple(super().decode(ids))


class LossyWhenShuffled(Pairs):
    def encode(self, value, context=None, rng=None):
        return super().encode(value if rng is None else value[:1])


class Moody(Pairs):
    calls = itertools.count()

    def encode(self, value, context=None, rng=None):
        return super().encode(sorted(value, reverse=bool(next(self.calls) % 2)))


class Meddler(Pairs):
    def encode(self, value, context=None, rng=None):
        ids = super().encode(value)
        value.append((0, 0))
        return ids


class Crashes(Pairs):
    def decode(self, ids, context=None):
        ids = self.check_ids(ids).tolist()
        return [(ids[i], ids[i + 1]) for i in range(0, len(ids), 2)]  # IndexError when odd


class Lenient(Pairs):
    def check_ids(self, ids):
        return np.clip(np.asarray(ids, np.int32).reshape(-1), 0, 7)


class OtherBatch(Pairs):
    def encode_batch(self, values):
        return [self.encode(value) for value in reversed(values)]


class OtherDecodeBatch(Pairs):
    def decode_batch(self, ids):
        return [[] for _ in ids]


class NewFingerprint(Pairs):
    counter = itertools.count()

    def __init__(self, table=None, serial=0):
        super().__init__(table)
        self.serial = next(self.counter)

    def options(self):
        return {"serial": self.serial}


class ShortFingerprint(Pairs):
    fingerprint = "abc"


class ForgetsItsTable(Pairs):
    @classmethod
    def from_parts(cls, options, weights, blobs):
        tokenizer = cls(weights["table"])
        tokenizer.weights = lambda table=weights["table"]: {"table": table}
        tokenizer.table = tokenizer.table[::-1].copy()
        return tokenizer


class Unverified(Pairs):
    @classmethod
    def load(cls, path):
        return cls()  # reads nothing, so damage goes unnoticed


class Pickled(Pairs):
    def save(self, path):
        super().save(path)
        (Path(path) / "table.pkl").write_bytes(b"")


class Free(Pairs):
    def bits_per_item(self, value):
        return 0.0


class FlatPositions(Pairs):
    def positions(self, ids):
        return super().positions(ids)[:, :2]


class LatePositions(Pairs):
    def positions(self, ids):
        return super().positions(ids) + np.int32(1)


class OtherPositions(Pairs):
    def positions(self, ids):
        return super().positions(ids)[:, ::-1]


class NoGrammarSize(Pairs):
    def grammar(self, **request):
        return PairGrammar(size=9)


def with_grammar(**members: Any) -> type[Pairs]:
    grammar = type("BrokenGrammar", (PairGrammar,), members)
    return type("BrokenPairs", (Pairs,), {"grammar_class": grammar})


def too_strict(self, half, code, budget):
    return PairGrammar.allow(self, half, code, budget) & (jnp.arange(9) != 7)


def no_end(self, half, code, budget):
    return PairGrammar.allow(self, half, code, budget).at[8].set(~half & (budget < 3))


def ignores_budget(self, half, code, budget):
    return PairGrammar.allow(self, half, code, 99)


def ends_anywhere(self, half, code, budget):
    return PairGrammar.allow(self, half, code, budget).at[8].set(True)


def any_order(self, half, code, budget):
    return PairGrammar.allow(self, half, code + 0 * 8, budget) | (jnp.arange(9) < 8) & half


def dead_end(self, half, code, budget):
    return PairGrammar.allow(self, half, code, budget) & ~(half & (code == 6))


def branches(self, half, code, budget):
    return PairGrammar.allow(self, bool(half), code, budget)


def wrong_type(self, half, code, budget):
    return PairGrammar.allow(self, half, code, budget).astype(jnp.int32)


def off_by_one_place(self, index):
    return PairGrammar.place(self, index + (index > 4))


@dataclass(eq=True)  # not frozen: no hash
class Unhashable(PairGrammar.__mro__[1]):  # type: ignore[misc]
    size: int = 8
    min_tokens: int = 1
    num_registers: int = 2
    registers, step, place, allow = (
        PairGrammar.registers,
        PairGrammar.step,
        PairGrammar.place,
        PairGrammar.allow,
    )


class UnhashableGrammar(Pairs):
    grammar_class = Unhashable

    def encode(self, value, context=None, rng=None):
        return super().encode(value)


class Unequal(Pairs):
    """Each call a grammar that equals no other: every generation would compile again."""

    def grammar(self, **request):
        return type("Fresh", (PairGrammar,), {})()


class RefusesItsOwn(Pairs):
    """What it generates is no value it would take."""

    def encode(self, value, context=None, rng=None):
        if len(value) > 10:
            raise ValueError("pairs: too many")
        return super().encode(value)


DISHONEST = {
    "int32": [LongIds],
    "outside": [OutOfRange],
    "decode\\(encode": [Lossy, Forgetful],
    "rng=": [LossyWhenShuffled],
    "twice gave": [Moody],
    "changed the value": [Meddler],
    "ValueError": [Crashes],
    "out of range": [Lenient],
    "encode_batch": [OtherBatch],
    "decode_batch": [OtherDecodeBatch],
    "built twice": [NewFingerprint],
    "16 hex": [ShortFingerprint],
    "gives other codes": [ForgetsItsTable],
    "loaded all the same": [Unverified],
    "may run code": [Pickled],
    "bits_per_item": [Free],
    "positions": [FlatPositions, LatePositions, OtherPositions],
    "size 9": [NoGrammarSize],
    "is not allowed": [with_grammar(allow=too_strict)],
    "may not end": [with_grammar(allow=no_end)],
    "not reached within": [with_grammar(allow=ignores_budget)],
    "decode refuses": [with_grammar(allow=ends_anywhere), with_grammar(allow=any_order)],
    "nothing is allowed": [with_grammar(allow=dead_end)],
    "cannot be traced": [with_grammar(allow=branches)],
    "step gives": [with_grammar(allow=wrong_type)],
    "its positions": [with_grammar(place=off_by_one_place)],
    "not hashable": [UnhashableGrammar],
    "not equal": [Unequal],
    "encode refuses": [RefusesItsOwn],
}


@pytest.mark.parametrize(
    ("message", "broken"),
    [(message, broken) for message, all_broken in DISHONEST.items() for broken in all_broken],
)
def test_each_dishonest_one_is_caught(message: str, broken: type[Pairs]) -> None:
    with pytest.raises(ConformanceError, match=message):
        check_tokenizer(broken, [list(value) for value in VALUES], slacks=(0, 1, 2, 40))


# ---- the folder, as base.py writes it -----------------------------------------------------


def test_a_folder_is_refused_with_the_file_named(tmp_path: Path) -> None:
    Pairs().save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tokenizer.json", "weights.safetensors"]
    header = json.loads((tmp_path / "tokenizer.json").read_text())

    def refused(**changed: Any) -> str:
        (tmp_path / "tokenizer.json").write_text(json.dumps({**header, **changed}))
        with pytest.raises(InputError) as caught:
            Pairs.load(tmp_path)
        return str(caught.value)

    assert "tokenizer.json" in refused(name="other") and "'other'" in refused(name="other")
    assert "format 2" in refused(format=2)
    assert "cannot be rebuilt" in refused(options={"no_such": 1})
    assert "cannot be rebuilt" in refused(options=[3])
    assert "etc" in refused(files=["../etc"])  # a name with a path in it reaches nowhere
    refused(files=[7])
    (tmp_path / "weights.safetensors").write_bytes(b"\xff" * 40)
    assert "weights.safetensors" in refused()
    (tmp_path / "weights.safetensors").unlink()
    assert "cannot be rebuilt" in refused()
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        Pairs.load(tmp_path)


def test_views_are_saved_as_they_look(tmp_path: Path) -> None:
    table = np.arange(16, dtype=np.int32).reshape(8, 2)[:, 0] // 2
    view = Pairs(np.arange(8, dtype=np.int32)[::-1][::-1])
    assert view.fingerprint == Pairs().fingerprint == Pairs(table).fingerprint
    Pairs(table).save(tmp_path)
    assert np.array_equal(Pairs.load(tmp_path).table, np.arange(8))
