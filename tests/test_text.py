"""Text comes back exactly, any codes give a string, and the grammars generate what they say."""

from __future__ import annotations

import io
import pickle
import re
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from unitok import tokenizers
from unitok.conformance import check_grammar, check_tokenizer
from unitok.tokenizers.base import DEFAULTS
from unitok.tokenizers.text import BYTES, ESCAPE, MODEL_FILE, TextTokenizer
from unitok.tokenizers.text_grammar import ChoiceGrammar
from unitok.values import ValueRefused

HOSTILE = [
    "",
    " ",
    "   leading, trailing   ",
    "\0",
    "a\0b",
    "\r\n\r\n\t\v\f\x1c\x85",
    "\u2581",
    " \u2581\u2581 \u2581",
    ESCAPE,
    f"{ESCAPE}_",
    f"{ESCAPE}{ESCAPE}_\u2581{ESCAPE}",
    "\u0301\u0301 e\u0301 é Å ﬁ ½",
    "\ue000\uf8ff\U000f0000\U0010fffd",
    "\ufeff\ufffe\uffff\ufffd",
    "🎉👩‍👩‍👧‍👦🇺🇳",
    "<unk><s></s><0x41><pad>",
    "日本語、中文，한국어 עברית العربية हिन्दी",
    "def f(x):\n    return x + 12.50\n",
    "CC(=O)Nc1ccc(O)cc1",
    "x" * 5000,
]


@cache
def shipped() -> TextTokenizer:
    return tokenizers.build("text")


@pytest.fixture
def text() -> TextTokenizer:
    return shipped()


def test_conforms(text: TextTokenizer) -> None:
    number = {"pattern": "number"}
    requests: list[dict[str, Any]] = [{}, {"max_tokens": 5}, {"choices": ("yes", "no", "")}, number]
    check_tokenizer(TextTokenizer.build, HOSTILE, requests=requests, slacks=(0, 1, 3, 17))
    check_tokenizer(
        text,
        ["-12.5", "7", "1234567890.001"],
        request_of=lambda _: number,
        requests=[{**number, "max_tokens": 4}],
        slacks=(0, 1, 2, 9),
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(), max_size=4))
def test_any_unicode_comes_back(values: list[str]) -> None:
    text = shipped()
    codes = text.encode_batch(values)
    assert text.decode_batch(codes) == values
    assert all(np.array_equal(a, text.encode(b)) for a, b in zip(codes, values))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=f"\u2581{ESCAPE}_ a1\0\n", max_size=30))
def test_escapes_come_back(value: str) -> None:
    text = shipped()
    assert text.decode(text.encode(value)) == value


def test_whatever_utf8_python_knows(text: TextTokenizer) -> None:
    """Every code point but the surrogates, in one go."""
    points = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    chunks = ["".join(points[start : start + 4096]) for start in range(0, len(points), 4096)]
    assert text.decode_batch(text.encode_batch(chunks)) == chunks


@pytest.mark.parametrize("value", ["\ud800", "abc\udfff", ["a"], None, b"bytes", 3])
def test_what_is_no_text_is_refused(text: TextTokenizer, value: Any) -> None:
    for call in (lambda: text.encode(value), lambda: text.encode_batch(["fine", value])):
        with pytest.raises(ValueRefused, match=r"surrogate|want a string"):
            call()


def test_bytes_that_are_no_utf8_decode_to_the_replacement(text: TextTokenizer) -> None:
    assert text.decode(np.arange(BYTES)).count("\ufffd") > 60
    assert text.decode([0xF0, 0x9F, 0x8E, 0x89]) == "🎉"
    assert text.decode([ord(ESCAPE), ord("a")]) == f"{ESCAPE}a"


def test_the_codes_are_bytes_then_pieces(text: TextTokenizer) -> None:
    assert text.size == 8192
    for byte in range(128):
        assert text.decode([byte]) == chr(byte)
    assert len({text.decode([code]) for code in range(BYTES, text.size)}) == text.size - BYTES
    assert (DEFAULTS / "text" / "MODEL_CARD.md").is_file()


def test_fit_makes_a_lossless_model(tmp_path: Path) -> None:
    said: list[str] = []
    corpus = ["the cat sat on the mat \u2581 123\n" * 3, f"{ESCAPE} CC(=O)N\n\n    indent"] * 40
    fitted = TextTokenizer.fit(corpus, vocab_size=300, log=said.append)
    assert fitted.size == 300 and any("300" in line for line in said)
    assert fitted.fingerprint == TextTokenizer.fit(corpus, vocab_size=300, log=str).fingerprint
    assert fitted.decode_batch(fitted.encode_batch(HOSTILE)) == HOSTILE
    assert len(fitted.encode(corpus[0])) < len(corpus[0]) / 2
    fitted.save(tmp_path)
    assert tokenizers.load(tmp_path).fingerprint == fitted.fingerprint
    with pytest.raises(ValueError, match="more text"):
        TextTokenizer.fit(["abc"], vocab_size=5000, log=str)


def test_codes_are_the_pieces_of_sentencepiece_less_one(text: TextTokenizer) -> None:
    peer = sentencepiece.SentencePieceProcessor(model_proto=text.blobs()[MODEL_FILE])
    values = [value for value in HOSTILE if ESCAPE not in value and "\u2581" not in value]
    for value, codes in zip(values, text.encode_batch(values), strict=True):
        assert (codes + 1).tolist() == peer.encode(value)
        codes += 1  # an array of its own
        assert (text.encode(value) + 1).tolist() == codes.tolist()


def test_a_model_that_changes_text_is_refused() -> None:
    def train(**settings: Any) -> bytes:
        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["some words to learn from, again and again"] * 20),
            model_writer=written,
            vocab_size=300,
            minloglevel=2,
            hard_vocab_limit=False,
            **settings,
        )
        return written.getvalue()

    with pytest.raises(ValueError, match="control pieces"):
        TextTokenizer(train())
    bare = {"byte_fallback": True, "bos_id": -1, "eos_id": -1, "pad_id": -1, "unk_id": 0}
    with pytest.raises(ValueError, match="changes text"):
        TextTokenizer(train(**bare))


def test_it_travels_to_worker_processes(text: TextTokenizer) -> None:
    twin = pickle.loads(pickle.dumps(text))
    assert twin.fingerprint == text.fingerprint and np.array_equal(
        twin.encode("a b"), [*text.encode("a b")]
    )
    assert text.blobs()[MODEL_FILE] == twin.model


# ---- grammars -----------------------------------------------------------------------------


def allowed_after(grammar: Any, codes: list[int], budget: int) -> np.ndarray:
    step = jitted_step(grammar)
    registers, allowed, _ = step(grammar.registers(), -1, budget)
    for index, code in enumerate(codes):
        assert allowed[code], f"code {code} at {index} is not allowed"
        registers, allowed, _ = step(registers, code, budget - index - 1)
    return np.asarray(allowed)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=4))
def test_free_text_allows_utf8_and_nothing_else(content: bytes) -> None:
    """The automaton over bytes against Python's own decoder, for prefixes of valid text too."""
    grammar = shipped().grammar()
    step = jitted_step(grammar)
    registers, allowed, _ = step(grammar.registers(), -1, 100)
    fine = True
    for index, byte in enumerate(content):
        if not allowed[byte]:
            fine = False
            break
        registers, allowed, _ = step(registers, byte, 99 - index)
    try:
        content.decode()
        assert fine and allowed[grammar.size]
    except UnicodeDecodeError as error:
        cut_short = error.end == len(content) and "unexpected end" in error.reason
        assert not fine or (cut_short and not allowed[grammar.size])


@cache
def jitted_step(grammar: Any) -> Any:
    return jax.jit(grammar.step)


def test_generated_text_is_valid_and_within_max_tokens(text: TextTokenizer) -> None:
    check_grammar(text, {"max_tokens": 3}, slacks=(0, 1, 2, 3, 30))
    allowed = allowed_after(text.grammar(max_tokens=3), [300, 301], 50)
    assert allowed[:128].all() and allowed[-1] and not allowed[0xE2]  # no room for three bytes
    assert allowed_after(text.grammar(max_tokens=3), [300, 301, 302], 50).sum() == 1


def test_choices_are_the_only_answers(text: TextTokenizer) -> None:
    choices = ["cat", "cats", "category theory", "dog", "\u2581", "犬"]
    grammar = text.grammar(choices=choices)
    assert isinstance(grammar, ChoiceGrammar) and hash(grammar) == hash(
        text.grammar(choices=choices)
    )
    found, heads = set(), [[]]
    step = jitted_step(grammar)
    while heads:  # walk the whole language
        codes = heads.pop()
        registers, allowed, _ = step(grammar.registers(), -1, 100)
        for index, code in enumerate(codes):
            registers, allowed, _ = step(registers, code, 99 - index)
        nexts = np.flatnonzero(np.asarray(allowed)).tolist()
        found |= {text.decode(codes)} if grammar.size in nexts else set()
        heads += [[*codes, code] for code in nexts if code != grammar.size]
    assert found == set(choices)
    assert grammar.min_tokens == 1 + min(len(text.encode(choice)) for choice in choices)


def test_numbers_look_like_numbers(text: TextTokenizer) -> None:
    grammar = text.grammar(pattern="number")
    step = jitted_step(grammar)
    rng = np.random.default_rng(0)
    for budget in range(grammar.min_tokens, 12):
        registers, allowed, _ = step(grammar.registers(), -1, budget)
        codes: list[int] = []
        while True:
            code = int(rng.choice(np.flatnonzero(np.asarray(allowed))))
            if code == grammar.size:
                break
            codes.append(code)
            registers, allowed, _ = step(registers, code, budget - len(codes))
        assert re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text.decode(codes)), codes
        assert len(codes) < budget


def test_wrong_requests_are_refused(text: TextTokenizer) -> None:
    for request, message in (
        ({"pattern": "date"}, "unknown"),
        ({"choices": []}, "list of strings"),
        ({"choices": "yes"}, "list of strings"),
        ({"choices": ["a"], "pattern": "number"}, "not both"),
        ({"max_tokens": 0, "pattern": "number"}, "too few"),
        ({"max_tokens": 1, "choices": ["a long answer indeed"]}, "too few"),
    ):
        with pytest.raises(ValueError, match=message):
            text.grammar(**request)
