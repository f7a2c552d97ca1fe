"""Beam search inside jit, under the grammar's mask, with a length penalty.

A hypothesis is finished when its EOS is among the K best continuations; a row is done with K finished
ones (so one beam is greedy search). Axes: B rows, K beams, N new tokens, V embedding rows.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from unitok import sampling
from unitok.generate import Controls, Plan, Prompts, read_prompts, token_loop
from unitok.grammar import TargetGrammar
from unitok.vocabulary import BOS, EOS, PAD


def penalised(log_prob: Any, length: Any, alpha: Any) -> Any:
    """log p / ((5 + length) / 6) ** alpha (Wu et al. 2016, GNMT); alpha 0: no penalty."""
    return log_prob / ((5.0 + length) / 6.0) ** alpha


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def beam_search(
    model: Any,
    grammar: TargetGrammar,
    plan: Plan,
    params: Any,
    prompts: Prompts,
    controls: Controls,
) -> tuple[Any, Any]:
    """Returns ids_BKN int32, best first by penalised score, and their log_prob_BK (minus infinity
    where fewer than K targets exist)."""
    batch, beams, length = prompts.ids_BS.shape[0], plan.beams, plan.length
    memory, segments = read_prompts(model, params, prompts, guided=False)
    params = model.unstacked(params)
    memory, segments = jnp.repeat(memory, beams, axis=0), jnp.repeat(segments, beams, axis=0)
    alive_BK = jnp.tile(jnp.where(jnp.arange(beams) == 0, 0.0, sampling.NEVER), (batch, 1))
    budget_BK = jnp.repeat(controls.budget, beams)
    alpha_B1 = controls.length_penalty[:, None]
    empty = jnp.full((batch, beams, length), PAD, jnp.int32)
    state = {
        "index": jnp.int32(0),
        "cache": model.start_cache(params, memory, segments),
        "registers": jnp.tile(jnp.asarray(grammar.init()), (batch * beams, 1)),
        "fed": jnp.full((batch, beams), BOS, jnp.int32),
        "ids": empty,
        "alive": alive_BK.astype(jnp.float32),
        "done_ids": empty,
        "done_score": jnp.full((batch, beams), sampling.NEVER, jnp.float32),
        "done_log_prob": jnp.full((batch, beams), sampling.NEVER, jnp.float32),
        "finished": jnp.where(controls.budget > 0, 0, beams).astype(jnp.int32),
    }

    def more(state):
        return (state["finished"] < beams).any()

    def step(state):
        index = state["index"]
        registers, allowed, positions, modality = jax.vmap(grammar.step)(
            state["registers"], state["fed"].reshape(-1), budget_BK - index
        )
        logits, cache = model.extend(
            params,
            state["cache"],
            state["fed"].reshape(-1, 1),
            positions[:, None],
            modality[:, None],
            index,
        )
        rows = logits.shape[-1]
        gain = jax.nn.log_softmax(sampling.masked(logits[:, 0], allowed))
        total = state["alive"][:, :, None] + gain.reshape(batch, beams, rows)
        best, flat = jax.lax.top_k(total.reshape(batch, beams * rows), 2 * beams)
        parent, token = flat // rows, (flat % rows).astype(jnp.int32)
        ids = jnp.take_along_axis(state["ids"], parent[:, :, None], axis=1)
        ids = jax.lax.dynamic_update_slice(ids, token[:, :, None], (0, 0, index))
        ends = (token == EOS) & (best > sampling.NEVER)
        ongoing = (state["finished"] < beams)[:, None]

        ending = (ends & (jnp.arange(2 * beams) < beams) & ongoing)[:, :beams]
        late = jnp.where(ending, best[:, :beams], sampling.NEVER)
        scores = jnp.concatenate([state["done_score"], penalised(late, index + 1, alpha_B1)], 1)
        score, keep = jax.lax.top_k(scores, beams)
        log_probs = jnp.concatenate([state["done_log_prob"], late], 1)
        candidates = jnp.concatenate([state["done_ids"], ids[:, :beams]], 1)

        alive, on = jax.lax.top_k(jnp.where(token == EOS, sampling.NEVER, best), beams)
        parent = jnp.take_along_axis(parent, on, axis=1)
        source = (parent + jnp.arange(batch)[:, None] * beams).reshape(-1)
        stuck = (alive == sampling.NEVER).all(axis=1)  # every target there is has been found
        return {
            "index": index + 1,
            "cache": _reorder(cache, source),
            "registers": registers[source],
            "fed": jnp.take_along_axis(token, on, axis=1),
            "ids": jnp.take_along_axis(ids, on[:, :, None], axis=1),
            "alive": alive,
            "done_ids": jnp.take_along_axis(candidates, keep[:, :, None], axis=1),
            "done_score": score,
            "done_log_prob": jnp.take_along_axis(log_probs, keep, axis=1),
            "finished": jnp.where(stuck, beams, state["finished"] + ending.sum(axis=1)),
        }

    state = token_loop(model, length, more, step, state)
    return state["done_ids"], state["done_log_prob"]


def _reorder(cache: Any, source: Any) -> Any:
    """Each row's own history; all beams of a request read the same memory, which stays where it is."""
    take = lambda slots: tuple(layer[source] for layer in slots)  # noqa: E731
    return cache._replace(self_k=take(cache.self_k), self_v=take(cache.self_v))
