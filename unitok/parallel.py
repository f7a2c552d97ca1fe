"""Masked iterative parallel decoding of a target whose length is known (MaskGIT, Chang et al. 2022).

All places are guessed at once, the surest are kept, the rest guessed again: a dozen passes of the
decoder for a whole image. A place is fed as MASK at its own position, and attends in both directions,
as the cross-modal masking objective trains it. Axes: B rows, T target tokens, V embedding
rows, W those of them that may be chosen.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unitok import sampling
from unitok.generate import Controls, Plan, Prompts, guide, read_prompts, row_keys
from unitok.grammar import TargetGrammar
from unitok.vocabulary import BOS, EOS, MASK, PAD

CHOICE_TEMPERATURE = 4.5  # of the noise on confidences, annealed to 0 (MaskGIT's published setting)


@dataclass(frozen=True)
class Layout:
    """A target of fixed length: what each place allows, where it stands, what modality it has."""

    allowed_TV: np.ndarray
    positions_T3: np.ndarray
    modality_T: np.ndarray
    ids_T: np.ndarray  # one valid target; the only one where a place allows a single id

    @property
    def span(self) -> tuple[int, int]:
        """First and one past the last id that a place with a choice allows: only these get logits."""
        free = self.allowed_TV.sum(axis=1) > 1
        ids = np.flatnonzero(self.allowed_TV[free].any(axis=0))
        return (int(ids[0]), int(ids[-1]) + 1) if len(ids) else (0, 1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _walk(grammar: TargetGrammar, length: int, budget: Any) -> Any:
    """Follow the lowest and the highest allowed id to the end: leaves [2, length + 1, ...]."""

    def one(highest):
        def body(carry, _):
            registers, fed, left = carry
            registers, allowed, position, modality = grammar.step(registers, fed, left)
            order = jnp.where(highest, jnp.arange(grammar.rows), -jnp.arange(grammar.rows))
            chosen = jnp.argmax(jnp.where(allowed, order, -grammar.rows)).astype(jnp.int32)
            return (registers, chosen, left - 1), (allowed, position, modality, chosen)

        start = (jnp.asarray(grammar.init()), jnp.int32(BOS), jnp.asarray(budget, jnp.int32))
        return jax.lax.scan(body, start, length=length + 1)[1]

    return jax.vmap(one)(jnp.array([False, True]))


def fixed_layout(grammar: TargetGrammar, budget: int) -> Layout | None:
    """The layout of a grammar whose length, masks and positions do not hang on what is chosen, else None."""
    walks = []
    for allowed, positions, modality, ids in zip(*map(np.asarray, _walk(grammar, budget, budget))):
        n = int(np.flatnonzero(ids == EOS)[0]) + 1
        # step t consumes the id chosen at t - 1, so a label's own place is one step later
        walks.append(Layout(allowed[:n], positions[1 : n + 1], modality[1 : n + 1], ids[:n]))
    low, high = walks
    same = all(
        np.array_equal(getattr(low, name), getattr(high, name))
        for name in ("allowed_TV", "positions_T3", "modality_T")
    )
    return low if same else None


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def decode_parallel(
    model: Any,
    plan: Plan,
    span: tuple[int, int],
    params: Any,
    prompts: Prompts,
    controls: Controls,
    allowed_TV: Any,
    positions_T3: Any,
    modality_T: Any,
    ids_T: Any,
) -> tuple[Any, Any]:
    """Returns ids_BT and log_prob_B: the sum of each token's log-probability in the pass that fixed it
    (no chain rule: not comparable with an autoregressive log-probability). span and the arrays: of
    the `Layout`."""
    batch, length = prompts.ids_BS.shape[0], ids_T.shape[0]
    rows = batch * (2 if plan.guided else 1)
    memory, segments = read_prompts(model, params, prompts, plan.guided)
    tile = lambda x, n: jnp.broadcast_to(x, (n, *x.shape))  # noqa: E731
    free_T = allowed_TV.sum(axis=1) > 1
    free = free_T.sum()
    allowed_TW = allowed_TV[:, span[0] : span[1]] | ~free_T[:, None]  # forced places choose nothing
    state = (
        tile(jnp.where(free_T, MASK, ids_T), batch),
        tile(~free_T, batch),
        jnp.zeros(batch, jnp.float32),
    )

    def one_pass(step, state):
        ids_BT, fixed_BT, total_B = state
        fed_BT = jnp.concatenate([ids_BT, ids_BT]) if plan.guided else ids_BT
        hidden = model.decode(
            params,
            memory,
            segments,
            fed_BT,
            tile(positions_T3, rows),
            tile(modality_T, rows),
            jnp.ones((rows, length), jnp.int32),
            jnp.ones((rows, length), bool),
        )
        logits = own = model.logits(params, hidden, span)
        if plan.guided:
            logits, own = guide(logits, controls.guidance)
        keys_B = jax.vmap(lambda key: jax.random.fold_in(key, step))(row_keys(controls.seed))
        noise_BTW = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:]))(keys_B)
        warm = controls.temperature[:, None, None]
        logits = sampling.scaled(sampling.masked(logits, allowed_TW), warm)
        guess_BT = sampling.first_argmax(logits + jnp.where(warm > 0, noise_BTW, 0))
        gain_BT = sampling.log_prob(sampling.masked(own, allowed_TW), guess_BT)
        # how many places stay open after this pass: the cosine schedule
        share = (step + 1) / plan.parallel_steps
        open_after = jnp.floor(free * jnp.cos(share * math.pi / 2) + 1e-6).astype(jnp.int32)
        noise_BT = jax.vmap(lambda key: jax.random.gumbel(jax.random.fold_in(key, 1), (length,)))(
            keys_B
        )
        noise_BT = jnp.where(controls.temperature[:, None] > 0, noise_BT, 0)
        sure_BT = gain_BT + CHOICE_TEMPERATURE * (1 - share) * noise_BT
        sure_BT = jnp.where(fixed_BT, jnp.inf, sure_BT)
        rank_BT = jnp.argsort(jnp.argsort(sure_BT, axis=1), axis=1)
        fix_BT = ~fixed_BT & (rank_BT >= open_after)
        return (
            jnp.where(fix_BT, guess_BT + span[0], ids_BT),
            fixed_BT | fix_BT,
            total_B + jnp.where(fix_BT, gain_BT, 0).sum(axis=1),
        )

    ids_BT, _, total_B = jax.lax.fori_loop(0, plan.parallel_steps, one_pass, state)
    return jnp.where(controls.budget[:, None] > 0, ids_BT, PAD), total_B
