"""Generation inside jit: prefill, KV cache, the grammar's mask, sampling, beams, guidance; and scoring.

`decode` and `beam_search` run a `lax.while_loop` over static shapes: encoder lengths, batch sizes and
numbers of new tokens come from fixed sets (`bucket`), the encoder and the cross-attention keys are
computed once, the cache is a loop argument. Rows are independent of one another: what a row gives is
a function of its prompt, its controls and its key alone.

Axes: B batch rows, K beams, S encoder length, N new tokens, V rows of the embedding table, R registers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from unitok import sampling
from unitok.grammar import TargetGrammar, trace
from unitok.vocabulary import BOS, EOS, PAD

LENGTHS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
BATCH_SIZES = (1, 4, 16, 64)
GROWS_FROM = 128  # new tokens


@dataclass(frozen=True)
class Plan:
    """What is compiled in: static. length: N, at least every row's budget."""

    length: int
    sample: bool = False
    filters: bool = False
    penalty: bool = False
    guided: bool = False
    beams: int = 1
    parallel_steps: int = 0


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["ids_BS", "positions_BS3", "modality_BS", "segments_BS"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Prompts:
    """Encoder inputs, int32; segments are 1, and 0 where there is padding."""

    ids_BS: Any
    positions_BS3: Any
    modality_BS: Any
    segments_BS: Any


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "budget", "seed", "temperature", "top_k", "top_p", "min_p", "penalty", "guidance", "length_penalty",
    ],
    meta_fields=[],
)  # fmt: skip
@dataclass(frozen=True)
class Controls:
    """One entry a row. budget int32 [B]: new tokens allowed, EOS counted, 0 for a row of padding;
    seed uint32 [B, 2]: the request's seed and the sample's number; the others float32 or int32 [B]."""

    budget: Any
    seed: Any
    temperature: Any
    top_k: Any
    top_p: Any
    min_p: Any
    penalty: Any
    guidance: Any
    length_penalty: Any


def bucket(n: int, sizes: tuple[int, ...]) -> int:
    """The smallest of `sizes` that holds n; beyond the last, its next multiple."""
    return next((size for size in sizes if size >= n), -(-n // sizes[-1]) * sizes[-1])


def row_keys(seed_B2: Any) -> Any:
    """A key a row from (seed, sample number)."""
    return jax.vmap(lambda pair: jax.random.fold_in(jax.random.key(pair[0]), pair[1]))(seed_B2)


def read_prompts(model: Any, params: Any, prompts: Prompts, guided: bool) -> tuple[Any, Any]:
    """Encoder output and its segments; guided: twice the rows, the second half with emptied inputs."""
    memory = model.encode(
        params, prompts.ids_BS, prompts.positions_BS3, prompts.modality_BS, prompts.segments_BS
    )
    segments = prompts.segments_BS
    if guided:  # nothing is seen of an input whose segments are padding: its contents do not matter
        memory = jnp.concatenate([memory, memory])
        segments = jnp.concatenate([segments, jnp.zeros_like(segments)])
    return memory, segments


def guide(logits: Any, guidance_B: Any) -> tuple[Any, Any]:
    """(guided, conditional) logits from stacked [conditional; unconditional] rows.

    Classifier-free guidance (Ho and Salimans 2022): c + (g - 1) (c - u); g = 1 is c to the bit.
    """
    conditional, unconditional = jnp.split(logits, 2)
    strength = (guidance_B - 1).reshape(-1, *[1] * (conditional.ndim - 1))
    return conditional + strength * (conditional - unconditional), conditional


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def decode(
    model: Any,
    grammar: TargetGrammar,
    plan: Plan,
    params: Any,
    prompts: Prompts,
    controls: Controls,
) -> tuple[Any, Any]:
    """Greedy or sampled generation. Returns ids_BN int32 (PAD after EOS) and log_prob_B float32.

    log_prob is the model's own, given the prompt and under the grammar's mask, at temperature 1 and
    without guidance, filters or penalty: what `score` gives for the same ids.
    """
    batch = prompts.ids_BS.shape[0]
    memory, segments = read_prompts(model, params, prompts, plan.guided)
    params = model.unstacked(params)
    keys_B = row_keys(controls.seed) if plan.sample else None
    state = {
        "index": jnp.int32(0),
        "cache": model.start_cache(params, memory, segments),
        "registers": jnp.tile(jnp.asarray(grammar.init()), (batch, 1)),
        "fed": jnp.full(batch, BOS, jnp.int32),
        "ids": jnp.full((batch, plan.length), PAD, jnp.int32),
        "log_prob": jnp.zeros(batch, jnp.float32),
        "done": controls.budget <= 0,
    }
    if plan.penalty:
        state["seen"] = jnp.zeros((batch, grammar.rows), bool)

    def more(state):
        return ~state["done"].all()

    def step(state):
        index = state["index"]
        registers, allowed_BV, positions_B3, modality_B = jax.vmap(grammar.step)(
            state["registers"], state["fed"], controls.budget - index
        )
        fed = (state["fed"][:, None], positions_B3[:, None], modality_B[:, None])
        if plan.guided:
            fed = jax.tree.map(lambda x: jnp.concatenate([x, x]), fed)
        logits, cache = model.extend(params, state["cache"], *fed, index)
        logits_BV = own_BV = logits[:, 0]
        if plan.guided:
            logits_BV, own_BV = guide(logits_BV, controls.guidance)
        if plan.penalty:
            logits_BV = sampling.penalise(logits_BV, state["seen"], controls.penalty)
        chosen_B = _choose(plan, sampling.masked(logits_BV, allowed_BV), controls, keys_B, index)
        gain_B = sampling.log_prob(sampling.masked(own_BV, allowed_BV), chosen_B)
        done = state["done"]
        chosen_B = jnp.where(done, PAD, chosen_B)
        new = {
            "index": index + 1,
            "cache": cache,
            "registers": registers,
            "fed": chosen_B,
            "ids": jax.lax.dynamic_update_slice(state["ids"], chosen_B[:, None], (0, index)),
            "log_prob": state["log_prob"] + jnp.where(done, 0, gain_B),
            "done": done | (chosen_B == EOS),
        }
        if plan.penalty:
            new["seen"] = state["seen"] | (jnp.arange(grammar.rows) == chosen_B[:, None])
        return new

    state = token_loop(model, plan.length, more, step, state)
    return state["ids"], state["log_prob"]


def token_loop(
    model: Any,
    length: int,
    more: Callable[[Any], Any],
    step: Callable[[Any], Any],
    state: dict[str, Any],
) -> dict[str, Any]:
    """`step` up to `length` times while `more`, state["cache"] growing on the way.

    Attention reads every slot there is, filled or not. Growing by quarters, it reads 5/8 of what a cache of
    full length has; each part is a loop of its own to compile, so short answers have one.
    """
    parts = 4 if length >= GROWS_FROM else 1
    for slots in (length * part // parts for part in range(1, parts + 1)):

        def has_room(now: dict[str, Any], slots: int = slots) -> Any:
            return (now["index"] < slots) & more(now)

        state = {**state, "cache": model.grown(state["cache"], slots)}
        state = jax.lax.while_loop(has_room, step, state)
    return state


def _choose(plan: Plan, logits_BV: Any, controls: Controls, keys_B: Any, index: Any) -> Any:
    if not plan.sample:
        return sampling.first_argmax(logits_BV)
    logits_BV = sampling.scaled(logits_BV, controls.temperature[:, None])
    if plan.filters:
        logits_BV = sampling.filter_top(logits_BV, controls.top_k, controls.top_p, controls.min_p)
    keys_B = jax.vmap(lambda key: jax.random.fold_in(key, index))(keys_B)
    return sampling.first_argmax(logits_BV + sampling.gumbel(keys_B, logits_BV.shape[-1]))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def score(
    model: Any,
    grammar: TargetGrammar,
    constrained: bool,
    real: int,
    params: Any,
    prompts: Prompts,
    ids_BN: Any,
    budget_B: Any,
) -> Any:
    """Teacher-forced log-probability of given targets, nats: float32 [B].

    ids_BN: each row ends with EOS, then PAD. budget_B: new tokens that generation was allowed.
    constrained: under the grammar's mask, else over all `real` ids of the vocabulary. A target that
    the grammar forbids has probability 0: minus infinity.
    """
    logits_BNV, allowed_BNV = teacher_forced(model, grammar, params, prompts, ids_BN, budget_B)
    if not constrained:
        allowed_BNV = jnp.broadcast_to(jnp.arange(logits_BNV.shape[-1]) < real, logits_BNV.shape)
    gain_BN = sampling.log_prob(sampling.masked(logits_BNV, allowed_BNV), ids_BN)
    return jnp.where(ids_BN == PAD, 0, gain_BN).sum(axis=1)


def teacher_forced(
    model: Any, grammar: TargetGrammar, params: Any, prompts: Prompts, ids_BN: Any, budget_B: Any
) -> tuple[Any, Any]:
    """logits_BNV of each of the ids given those before it, and allowed_BNV, the grammar's masks."""
    memory, segments = read_prompts(model, params, prompts, guided=False)
    trace_B = jax.vmap(functools.partial(trace, grammar))
    allowed_BNV, positions_BN3, modality_BN = trace_B(ids_BN, budget_B)
    fed_BN = jnp.concatenate([jnp.full_like(ids_BN[:, :1], BOS), ids_BN[:, :-1]], axis=1)
    hidden_BND = model.decode(
        params,
        memory,
        segments,
        fed_BN,
        positions_BN3,
        modality_BN,
        (ids_BN != PAD).astype(jnp.int32),
        jnp.zeros(ids_BN.shape, bool),
    )
    return model.logits(params, hidden_BND), allowed_BNV


@functools.partial(jax.jit, static_argnums=(0,))
def embed(model: Any, params: Any, prompts: Prompts) -> Any:
    """Mean of the encoder's output over what is no padding, at unit length: float32 [B, D]."""
    memory, segments = read_prompts(model, params, prompts, guided=False)
    real_BS1 = (segments > 0)[..., None]
    total = jnp.where(real_BS1, memory.astype(jnp.float32), 0).sum(axis=1)
    mean = total / jnp.maximum(real_BS1.sum(axis=1), 1)
    return mean / jnp.maximum(jnp.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)
