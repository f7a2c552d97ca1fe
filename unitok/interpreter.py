"""What a request means for one vocabulary: its prompt as tokens, its target's grammar, its budget; and
what was generated, as values again."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from unitok import grammar
from unitok.errors import InputError
from unitok.interfaces import Tokenizer, Tokens
from unitok.request import Output, Request, want
from unitok.sequence import Composer
from unitok.sequence import fields as template_fields
from unitok.vocabulary import EOS, PAD, Vocabulary

DEFAULT_NEW_TOKENS = 256


class Interpreter:
    """tokenizers: by modality. Every method raises InputError naming the field of the request."""

    def __init__(self, tokenizers: Mapping[str, Tokenizer], vocabulary: Vocabulary) -> None:
        self.tokenizers, self.vocabulary = tokenizers, vocabulary
        self.composer = Composer(tokenizers, vocabulary)

    def compose(self, request: Request) -> Tokens:
        """The encoder's input: the prompt with its fields filled in."""
        given, prompt = request.fields, request.prompt
        context = request.to.partition("@")[2]  # may be known without being shown
        if prompt is None:
            prompt = "".join(f"{{{n}:{self._modality_of(n, v)}}}" for n, v in given.items())
        named = {name for p in template_fields(prompt) for name in (p.name, p.context) if name}
        for name in sorted(named - set(given)):
            raise InputError(
                f"prompt: field {{{name}}} has no value; pass {name}=... (there are "
                f"{', '.join(given) or 'no fields'}), or write {{{{ for a brace"
            )
        for name in given:
            want(
                name in named or name == context,
                f"field {name!r} is not in the prompt; write {{{name}}} where it belongs",
            )
        return self._encoded(prompt, given, "prompt")

    def _encoded(self, template: str, record: Mapping[str, Any], what: str) -> Tokens:
        try:
            return self.composer.compose(template, record)
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{what} {template!r}: {error}") from None

    def _modality_of(self, name: str, value: Any) -> str:
        """The modality of a field that no prompt declares: by its name, else by the value's type."""
        kind = _kind(value)
        if name in self.vocabulary.modalities:
            want(
                kind in (name, None),
                f"field {name!r}: got a {type(value).__name__}; give a value of unitok.values (or "
                "read a file with unitok.data.files.read_file)",
            )
            return name
        want(
            kind in self.vocabulary.modalities,
            f"field {name!r}: {type(value).__name__} is of no modality of this model; there are "
            f"{', '.join(self.vocabulary.modalities)}",
        )
        return str(kind)

    def modality_of_target(self, value: Any) -> str:
        """What `to` is for a target given as a value, or as ids."""
        if _is_ids(value):
            ids = np.asarray(value)
            inside = ids[(ids > EOS) & (ids < self.vocabulary.size)]
            held = {self.vocabulary.names[block] for block in self.vocabulary.modality_of(inside)}
            return held.pop() if len(held) == 1 else grammar.MIXED if held else grammar.TEXT
        if isinstance(value, list):
            others = dict.fromkeys(map(self.modality_of_target, value))
            return "+".join(dict.fromkeys([grammar.TEXT, *others]))
        kind = _kind(value)
        want(
            kind in self.vocabulary.modalities,
            f"targets: say of which modality this {type(value).__name__} is, with to=...",
        )
        return str(kind)

    def target_grammar(self, request: Request) -> grammar.TargetGrammar:
        """What may be generated: the target's modality under its constraints and context."""
        asked = dict(request.constraints)
        if (context := self._context(request)) is not None:
            asked["context"] = context
        for name in () if request.target == grammar.MIXED else request.target.split("+"):
            near = difflib.get_close_matches(name, self.vocabulary.modalities, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            want(
                name in self.vocabulary.modalities,
                f"to: no modality {name!r}; {hint}there are {', '.join(self.vocabulary.modalities)}",
            )
        try:
            return grammar.target(self.vocabulary, self.tokenizers, request.target, **asked)
        except TypeError as error:
            raise InputError(
                f"constraints: {', '.join(asked) or 'none'} of to={request.to!r}: {error}"
            ) from None
        except ValueError as error:
            raise InputError(f"to={request.to!r}: {error}") from None

    def _context(self, request: Request) -> Any:
        name = request.to.partition("@")[2]
        if not name:
            return None
        want(
            name in request.fields,
            f"to: {request.to!r} names the field {name!r} as context; pass {name}=...",
        )
        return request.fields[name]

    def budget(self, target: grammar.TargetGrammar, asked: int | None) -> int:
        """New tokens, EOS counted. Raises InputError for fewer than the target needs."""
        if asked is None:
            return max(DEFAULT_NEW_TOKENS, target.min_tokens)
        want(
            asked >= target.min_tokens,
            f"max_new_tokens: {asked} cannot hold this target; it needs at least {target.min_tokens}",
        )
        return asked

    def target_ids(self, request: Request, value: Any) -> np.ndarray:
        """Global ids with EOS, of a value, of the list of values of a mixed target, or of ids."""
        if _is_ids(value):
            ids = np.asarray(value, np.int32)
            ends = ids.size > 0 and ids[-1] == EOS and ids.min() > PAD
            ends = ends and ids.max() < self.vocabulary.size and (ids == EOS).sum() == 1
            want(bool(ends), "targets: want ids of this vocabulary that end with EOS (1), once")
            return ids
        context = request.to.partition("@")[2]
        record = {context: self._context(request)} if context else {}
        parts = value if isinstance(value, list) else [value]
        kinds = map(self.modality_of_target, parts) if parts is value else [request.target]
        template = ""
        for index, (part, kind) in enumerate(zip(parts, kinds)):
            template += f"{{target{index}:{kind}{'@' + context if context else ''}}}"
            record[f"target{index}"] = part
        ids = self._encoded(template, record, "targets").ids
        return np.append(ids, EOS).astype(np.int32)

    def output(self, request: Request, ids: np.ndarray, log_prob: float) -> Output:
        """Generated ids [N], up to their EOS, as values."""
        ids = ids[: int(np.flatnonzero(ids == EOS)[0]) + 1]
        segments = self.composer.parse(ids, {request.target: self._context(request)})
        values = [segment.value for segment in segments]
        if request.target == grammar.MIXED or "+" in request.target:
            return Output(values, segments, log_prob, ids)
        return Output(values[0] if values else "", segments, log_prob, ids)


def _is_ids(value: Any) -> bool:
    return isinstance(value, (np.ndarray, list)) and np.asarray(value).dtype.kind in "iu"


def _kind(value: Any) -> str | None:
    """The modality that a value's type is commonly of; None: only its field's name can tell."""
    if isinstance(value, (str, int, float, np.number)):
        return grammar.TEXT
    name = type(value).__name__.lower()
    known = {
        "image": "image",
        "audio": "audio",
        "series": "series",
        "graph": "graph",
        "boxes": "coord",
    }
    return known.get(name)
