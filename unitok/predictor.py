"""A trained model in use: generate, embed, score. `unitok.load(run)` returns a `Predictor`.

Requests are prepared one by one, rows that share a program (grammar, plan, encoder bucket) ride in one
batch, padded to a fixed set of batch sizes. Axes: B rows, S encoder length, N new tokens, D model width.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from unitok import beam, grammar, parallel, sharding
from unitok import generate as decoding
from unitok.errors import InputError
from unitok.interfaces import Tokenizer, Tokens
from unitok.request import Output, Request, want
from unitok.sequence import Composer
from unitok.sequence import fields as template_fields
from unitok.vocabulary import EOS, PAD, Vocabulary

DEFAULT_NEW_TOKENS = 256


@dataclass(frozen=True)
class _Row:
    """One row of a batch: `sample` is its number within its request."""

    request: int
    sample: int
    prompt: Tokens
    budget: int


class Predictor:
    """A model with its vocabulary and tokenizers. `Predictor.load(run)`, or from its parts.

    tokenizers: any mapping whose values are the tokenizers, one a modality. mesh: None, or a mesh of
    `unitok.sharding.make_mesh` over which the parameters lie. batch_sizes: what batches are padded to;
    a request's output is the same to the bit whatever rides beside it in a batch of the same size.
    """

    def __init__(
        self,
        model: Any,
        params: Any,
        vocabulary: Vocabulary,
        tokenizers: Mapping[str, Tokenizer],
        *,
        mesh: Any = None,
        batch_sizes: Sequence[int] = decoding.BATCH_SIZES,
        step: int | None = None,
    ) -> None:
        self.model, self.params, self.vocabulary, self.mesh = model, params, vocabulary, mesh
        self.tokenizers = {tokenizer.modality: tokenizer for tokenizer in tokenizers.values()}
        self.composer = Composer(self.tokenizers, vocabulary)
        self.step = step
        rows = 1 if mesh is None else mesh.shape["data"] * mesh.shape["fsdp"]
        self.batch_sizes = tuple(sorted({-(-size // rows) * rows for size in batch_sizes}))

    @classmethod
    def load(
        cls,
        path: str | Path,
        step: int | None = None,
        ema: bool = True,
        dtype: str | None = None,
        mesh: Any = None,
    ) -> Predictor:
        """From a run folder. step: None for the newest intact one; ema: the averaged weights where the
        run keeps them; dtype: of the matmuls, None as trained; mesh: a Mesh or a MeshConfig.

        Raises InputError naming the file where the folder is damaged or no run.
        """
        from unitok import checkpoint, run
        from unitok.config import MeshConfig
        from unitok.model import EncoderDecoder, TableSizes

        found = run.read_run(path)
        config = found.config.model
        if dtype is not None:
            config = dataclasses.replace(config, dtype=dtype)
        model = EncoderDecoder(config, TableSizes.from_vocabulary(found.vocabulary))
        if isinstance(mesh, MeshConfig):
            mesh = sharding.make_mesh(mesh)
        step, params = checkpoint.restore_params(path, step=step, ema=ema)
        if config.dtype != "float32":
            params = in_dtype(params, config.dtype)
        if mesh is not None:
            params = jax.device_put(params, sharding.param_shardings(mesh, params))
        return cls(model, params, found.vocabulary, found.tokenizers, mesh=mesh, step=step)

    # ---- the public three --------------------------------------------------------------------

    def generate(
        self,
        prompt: str | None = None,
        *,
        to: str = grammar.TEXT,
        num_samples: int = 1,
        temperature: float | None = None,
        max_new_tokens: int | None = None,
        guidance: float = 1.0,
        seed: int = 0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        beams: int = 1,
        length_penalty: float = 0.0,
        method: str = "autoregressive",
        steps: int = 12,
        constraints: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> list[Output]:
        """A list, one entry a sample. The arguments are those of `Request`; fields by their names."""
        request = Request(
            prompt=prompt, fields=fields, to=to, num_samples=num_samples, temperature=temperature,
            max_new_tokens=max_new_tokens, guidance=guidance, seed=seed, top_k=top_k, top_p=top_p,
            min_p=min_p, repetition_penalty=repetition_penalty, beams=beams,
            length_penalty=length_penalty, method=method, steps=steps, constraints=constraints or {},
        )  # fmt: skip
        return self.generate_batch([request])[0]

    def generate_batch(self, requests: Sequence[Request]) -> list[list[Output]]:
        """One list of `num_samples` outputs a request, in order."""
        groups: dict[Any, list[_Row]] = {}
        outputs: list[list[Output]] = [[] for _ in requests]
        for index, request in enumerate(requests):
            target = self._grammar(request)
            prompt = self._compose(request)
            budget = self._budget(target, request.max_new_tokens)
            plan = self._plan(request, budget)
            samples = 1 if request.beams > 1 else request.num_samples
            key = (target, plan, decoding.bucket(len(prompt), decoding.LENGTHS))
            groups.setdefault(key, []).extend(
                _Row(index, sample, prompt, budget) for sample in range(samples)
            )
        for (target, plan, length), rows in groups.items():
            most = self.batch_sizes[-1]
            for start in range(0, len(rows), most):
                part = rows[start : start + most]
                ids, log_probs = self._run(target, plan, length, part, requests)
                for row, row_ids, row_log_probs in zip(part, ids, log_probs):
                    request = requests[row.request]
                    for i in range(request.num_samples if plan.beams > 1 else 1):
                        if np.isfinite(row_log_probs[i]):
                            output = self._output(request, row_ids[i], float(row_log_probs[i]))
                            outputs[row.request].append(output)
        return outputs

    def embed(self, prompt: str | None = None, **fields: Any) -> np.ndarray:
        """Mean-pooled encoder output, float32 [D], unit norm. Give a prompt with fields, or fields."""
        return self.embed_batch([Request(prompt=prompt, fields=fields)])[0]

    def embed_batch(self, requests: Sequence[Request]) -> np.ndarray:
        """float32 [len(requests), D]; of each request, prompt and fields are read."""
        prompts = [self._compose(request) for request in requests]
        for prompt in prompts:
            want(len(prompt) > 0, "embed: nothing given; pass a prompt or a field")
        found: list[Any] = [None] * len(prompts)
        for chunk, length in self._chunks([len(p) for p in prompts]):
            rows = self._prompts([prompts[i] for i in chunk], length)
            vectors = np.asarray(self._call(decoding.embed, self.model, self.params, rows))
            for i, vector in zip(chunk, vectors):
                found[i] = vector.astype(np.float32)
        return np.stack(found)

    def score(
        self,
        inputs: str | None,
        targets: Any,
        *,
        to: str | None = None,
        constrained: bool = True,
        max_new_tokens: int | None = None,
        constraints: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> float:
        """log-probability of `targets` given the prompt, nats, EOS counted.

        targets: a value (str, Image, ...) or ids as `Output.ids`; to: its modality, None: by its type.
        constrained: under the grammar as generation with these constraints and this budget, where a
        target that the grammar forbids scores minus infinity; else under the whole vocabulary.
        """
        request = Request(
            prompt=inputs,
            fields=fields,
            to=to or self._modality_of_target(targets),
            max_new_tokens=max_new_tokens,
            constraints=constraints or {},
        )
        return self.score_batch([request], [targets], constrained=constrained)[0]

    def score_batch(
        self, requests: Sequence[Request], targets: Sequence[Any], *, constrained: bool = True
    ) -> list[float]:
        """`score` of each target under its request (prompt, fields, to, constraints, max_new_tokens)."""
        groups: dict[Any, list[Any]] = {}
        for index, (request, value) in enumerate(zip(requests, targets, strict=True)):
            target = self._grammar(request)
            prompt = self._compose(request)
            ids = self._target_ids(request, value)
            budget = max(self._budget(target, request.max_new_tokens), len(ids))
            lengths = (
                decoding.bucket(len(prompt), decoding.LENGTHS),
                decoding.bucket(len(ids), decoding.LENGTHS),
            )
            groups.setdefault((target, *lengths), []).append((index, prompt, ids, budget))
        found = [0.0] * len(requests)
        for (target, length, new), rows in groups.items():
            for start in range(0, len(rows), self.batch_sizes[-1]):
                part = rows[start : start + self.batch_sizes[-1]]
                prompts = self._prompts([row[1] for row in part], length)
                size = len(prompts.ids_BS)
                ids_BN, budget_B = np.zeros((size, new), np.int32), np.zeros(size, np.int32)
                for i, (_, _, ids, budget) in enumerate(part):
                    ids_BN[i, : len(ids)], budget_B[i] = ids, budget
                scores = self._call(
                    decoding.score, self.model, target, constrained, self.vocabulary.size,
                    self.params, prompts, ids_BN, budget_B,
                )  # fmt: skip
                for (index, *_), value in zip(part, np.asarray(scores)):
                    found[index] = float(value)
        return found

    # ---- from a request to a row -------------------------------------------------------------

    def _compose(self, request: Request) -> Tokens:
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

    def _modality_of_target(self, value: Any) -> str:
        if _is_ids(value):
            ids = np.asarray(value)
            inside = ids[(ids > EOS) & (ids < self.vocabulary.size)]
            held = {self.vocabulary.names[block] for block in self.vocabulary.modality_of(inside)}
            return held.pop() if len(held) == 1 else grammar.MIXED if held else grammar.TEXT
        kind = _kind(value)
        want(
            kind in self.vocabulary.modalities,
            f"targets: say of which modality this {type(value).__name__} is, with to=...",
        )
        return str(kind)

    def _grammar(self, request: Request) -> grammar.TargetGrammar:
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

    def _budget(self, target: grammar.TargetGrammar, asked: int | None) -> int:
        if asked is None:
            return max(DEFAULT_NEW_TOKENS, target.min_tokens)
        want(
            asked >= target.min_tokens,
            f"max_new_tokens: {asked} cannot hold this target; it needs at least {target.min_tokens}",
        )
        return asked

    def _plan(self, request: Request, budget: int) -> decoding.Plan:
        sample = request.warmth > 0
        return decoding.Plan(
            length=budget
            if request.method == "parallel"
            else decoding.bucket(budget, decoding.LENGTHS),
            sample=sample,
            filters=sample and (request.top_k > 0 or request.top_p < 1 or request.min_p > 0),
            penalty=request.repetition_penalty != 1,
            guided=request.guidance != 1,
            beams=request.beams,
            parallel_steps=request.steps if request.method == "parallel" else 0,
        )

    def _target_ids(self, request: Request, value: Any) -> np.ndarray:
        """Global ids with EOS."""
        if _is_ids(value):
            ids = np.asarray(value, np.int32)
            ends = ids.size > 0 and ids[-1] == EOS and ids.min() > PAD
            ends = ends and ids.max() < self.vocabulary.size and (ids == EOS).sum() == 1
            want(bool(ends), "targets: want ids of this vocabulary that end with EOS (1), once")
            return ids
        context = request.to.partition("@")[2]
        template = f"{{target:{request.target}{'@' + context if context else ''}}}"
        record = {"target": value, **({context: self._context(request)} if context else {})}
        ids = self._encoded(template, record, "targets").ids
        return np.append(ids, EOS).astype(np.int32)

    # ---- from rows to a batch and back -------------------------------------------------------

    def _chunks(self, lengths: Sequence[int]) -> list[tuple[list[int], int]]:
        """Indices of rows that may share a batch, with their encoder bucket."""
        by_length: dict[int, list[int]] = {}
        for index, length in enumerate(lengths):
            by_length.setdefault(decoding.bucket(length, decoding.LENGTHS), []).append(index)
        most = self.batch_sizes[-1]
        return [
            (indices[start : start + most], length)
            for length, indices in by_length.items()
            for start in range(0, len(indices), most)
        ]

    def _prompts(self, prompts: Sequence[Tokens], length: int) -> decoding.Prompts:
        size = decoding.bucket(len(prompts), self.batch_sizes)
        ids, segments = np.zeros((size, length), np.int32), np.zeros((size, length), np.int32)
        positions, modality = np.zeros((size, length, 3), np.int32), np.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            n = len(prompt)
            ids[row, :n], positions[row, :n], modality[row, :n], segments[row, :n] = (
                prompt.ids,
                prompt.positions,
                prompt.modality,
                1,
            )
        return decoding.Prompts(ids, positions, modality, segments)

    def _controls(
        self, rows: Sequence[_Row], requests: Sequence[Request], size: int
    ) -> decoding.Controls:
        def column(dtype: Any, read: Any, filler: float) -> np.ndarray:
            values = [read(requests[row.request]) for row in rows]
            return np.array(values + [filler] * (size - len(rows)), dtype)

        seeds = [(requests[row.request].seed % 2**32, row.sample) for row in rows]
        return decoding.Controls(
            budget=np.array([row.budget for row in rows] + [0] * (size - len(rows)), np.int32),
            seed=np.array(seeds + [(0, 0)] * (size - len(rows)), np.uint32),
            temperature=column(np.float32, lambda r: r.warmth, 1),
            top_k=column(np.int32, lambda r: r.top_k, 0),
            top_p=column(np.float32, lambda r: r.top_p, 1),
            min_p=column(np.float32, lambda r: r.min_p, 0),
            penalty=column(np.float32, lambda r: r.repetition_penalty, 1),
            guidance=column(np.float32, lambda r: r.guidance, 1),
            length_penalty=column(np.float32, lambda r: r.length_penalty, 0),
        )

    def _run(
        self,
        target: grammar.TargetGrammar,
        plan: decoding.Plan,
        length: int,
        rows: Sequence[_Row],
        requests: Sequence[Request],
    ) -> tuple[np.ndarray, np.ndarray]:
        """ids [rows, K, N] and log_prob [rows, K], K = 1 but for beam search."""
        prompts = self._prompts([row.prompt for row in rows], length)
        controls = self._controls(rows, requests, len(prompts.ids_BS))
        if plan.beams > 1:
            found = self._call(
                beam.beam_search, self.model, target, plan, self.params, prompts, controls
            )
        elif plan.parallel_steps:
            layout = parallel.fixed_layout(target, rows[0].budget)
            want(
                layout is not None,
                "method: 'parallel' needs a target of fixed length; give its geometry in constraints",
            )
            places = (layout.allowed_TV, layout.positions_T3, layout.modality_T, layout.ids_T)  # type: ignore[union-attr]
            found = self._call(
                parallel.decode_parallel, self.model, plan, self.params, prompts, controls, *places
            )
        else:
            found = self._call(
                decoding.decode, self.model, target, plan, self.params, prompts, controls
            )
        ids, log_probs = (np.asarray(x)[: len(rows)] for x in found)
        return (ids, log_probs) if plan.beams > 1 else (ids[:, None], log_probs[:, None])

    def _call(self, function: Any, *arguments: Any) -> Any:
        """With the rows laid over the mesh, where there is one."""
        if self.mesh is None:
            return function(*arguments)
        over_rows = sharding.batch_sharding(self.mesh)
        place = lambda x: (  # noqa: E731
            jax.device_put(x, over_rows)
            if isinstance(x, decoding.Prompts | decoding.Controls)
            else x
        )
        with jax.set_mesh(self.mesh):
            return function(*map(place, arguments))

    def _output(self, request: Request, ids: np.ndarray, log_prob: float) -> Output:
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


def in_dtype(params: Any, dtype: str) -> Any:
    """Tables and matrices in the compute dtype once, not at every step; norms and biases stay float32."""

    def cast(path: Any, leaf: Any) -> Any:
        table = path[-1].key in ("embedding", "head")
        return leaf.astype(dtype) if table or leaf.ndim >= 3 else leaf

    return jax.tree_util.tree_map_with_path(cast, params)
