"""A trained model in use: generate, embed, score. `unitok.load(run)` returns a `Predictor`.

Requests are prepared one by one, rows that share a program (grammar, plan, encoder bucket) ride in one
batch, padded to a fixed set of batch sizes. Axes: B rows, S encoder length, N new tokens, D model width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from unitok import beam, grammar, parallel, sharding
from unitok import generate as decoding
from unitok.generate import LENGTHS, Controls, Plan, Prompts, bucket
from unitok.interfaces import Tokenizer, Tokens
from unitok.interpreter import Interpreter
from unitok.request import Output, Request, want
from unitok.rows import Row, chunks, controls_of, plan_of, prompts_of
from unitok.vocabulary import Vocabulary


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
        self.interpreter = Interpreter(self.tokenizers, vocabulary)
        self.composer = self.interpreter.composer
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
        run keeps them; dtype: of the matmuls, None as trained; "int8": 8 bits in every product with
        weights, the rest as trained; mesh: a Mesh or a MeshConfig.

        Raises InputError naming the file where the folder is damaged or no run.
        """
        from unitok import checkpoint, run
        from unitok.config import MeshConfig
        from unitok.model import EncoderDecoder, TableSizes
        from unitok.model.precision import in_dtype

        found = run.read_run(path)
        config = found.config.model
        want(
            dtype in (None, "float32", "bfloat16", "int8"),
            f"dtype: {dtype!r} is none of float32, bfloat16, int8",
        )
        if dtype not in (None, "int8"):
            config = dataclasses.replace(config, dtype=dtype)
        model = EncoderDecoder(config, TableSizes.from_vocabulary(found.vocabulary))
        if isinstance(mesh, MeshConfig):
            mesh = sharding.make_mesh(mesh)
        step, params = checkpoint.restore_params(path, step=step, ema=ema)
        if mesh is not None:
            params = jax.device_put(params, sharding.param_shardings(mesh, params))
        params = in_dtype(params, dtype or config.dtype)
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
        groups: dict[Any, list[Row]] = {}
        outputs: list[list[Output]] = [[] for _ in requests]
        for index, request in enumerate(requests):
            target = self.interpreter.target_grammar(request)
            prompt = self.interpreter.compose(request)
            budget = self.interpreter.budget(target, request.max_new_tokens)
            samples = 1 if request.beams > 1 else request.num_samples
            key = (target, plan_of(request, budget), bucket(len(prompt), LENGTHS))
            groups.setdefault(key, []).extend(
                Row(index, request, sample, prompt, budget) for sample in range(samples)
            )
        for (target, plan, length), rows in groups.items():
            for part in self._parts(rows):
                for row, *found in zip(part, *self._run(target, plan, length, part), strict=True):
                    outputs[row.index] += self._outputs(row, *found)
        return outputs

    def embed(self, prompt: str | None = None, **fields: Any) -> np.ndarray:
        """Mean-pooled encoder output, float32 [D], unit norm. Give a prompt with fields, or fields."""
        return self.embed_batch([Request(prompt=prompt, fields=fields)])[0]

    def embed_batch(self, requests: Sequence[Request]) -> np.ndarray:
        """float32 [len(requests), D]; of each request, prompt and fields are read."""
        prompts = [self.interpreter.compose(request) for request in requests]
        for prompt in prompts:
            want(len(prompt) > 0, "embed: nothing given; pass a prompt or a field")
        found: list[Any] = [None] * len(prompts)
        for chunk, length in chunks([len(p) for p in prompts], self.batch_sizes[-1]):
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

        targets: a value (str, Image, ...), for a mixed target the list of its values, or ids as
        `Output.ids`; to: its modality, None: by its type.
        constrained: under the grammar as generation with these constraints and this budget, where a
        target that the grammar forbids scores minus infinity; else under the whole vocabulary.
        """
        request = Request(
            prompt=inputs,
            fields=fields,
            to=to or self.interpreter.modality_of_target(targets),
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
            target = self.interpreter.target_grammar(request)
            prompt = self.interpreter.compose(request)
            ids = self.interpreter.target_ids(request, value)
            budget = max(self.interpreter.budget(target, request.max_new_tokens), len(ids))
            key = (target, bucket(len(prompt), LENGTHS), bucket(len(ids), LENGTHS))
            groups.setdefault(key, []).append((index, prompt, ids, budget))
        found = [0.0] * len(requests)
        for (target, length, new), rows in groups.items():
            for part in self._parts(rows):
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

    # ---- batches ---------------------------------------------------------------------------

    def _parts(self, rows: Sequence[Any]) -> list[Sequence[Any]]:
        most = self.batch_sizes[-1]
        return [rows[start : start + most] for start in range(0, len(rows), most)]

    def _prompts(self, prompts: Sequence[Tokens], length: int) -> Prompts:
        return prompts_of(prompts, length, bucket(len(prompts), self.batch_sizes))

    def _run(
        self, target: grammar.TargetGrammar, plan: Plan, length: int, rows: Sequence[Row]
    ) -> tuple[np.ndarray, np.ndarray]:
        """ids [rows, K, N] and log_prob [rows, K], K = 1 but for beam search."""
        prompts = self._prompts([row.prompt for row in rows], length)
        controls = controls_of(rows, len(prompts.ids_BS))
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
                parallel.decode_parallel, self.model, plan, layout.span,  # type: ignore[union-attr]
                self.params, prompts, controls, *places,
            )  # fmt: skip
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
            jax.device_put(x, over_rows) if isinstance(x, Prompts | Controls) else x
        )
        with jax.set_mesh(self.mesh):
            return function(*map(place, arguments))

    def _outputs(self, row: Row, ids_KN: np.ndarray, log_prob_K: np.ndarray) -> list[Output]:
        """Of one sample, or of the best beams; fewer where fewer targets exist."""
        wanted = row.request.num_samples if row.request.beams > 1 else 1
        return [
            self.interpreter.output(row.request, ids_N, float(log_prob))
            for ids_N, log_prob in zip(ids_KN[:wanted], log_prob_K[:wanted])
            if np.isfinite(log_prob)
        ]
