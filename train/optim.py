"""Optimisers and learning-rate schedules, from the config.

AdamW: Loshchilov and Hutter 2019. Adafactor: Shazeer and Stern 2018. Inverse square root: Raffel et al.
2020 (T5), here continuous with its warmup. EMA of the weights: Polyak and Juditsky 1992.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from unitok.config import OptimizerConfig


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Learning rate by update: linear warmup to the peak, then the chosen shape.

    cosine ends at `final_share` of the peak at `steps`; rsqrt is peak * sqrt(warmup / step).
    """
    peak, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, max(steps - warmup, 1), config.final_share)
    elif config.schedule == "rsqrt":
        start = max(warmup, 1)

        def decay(count: Any) -> Any:
            return peak * jnp.sqrt(start / (jnp.maximum(count, 0) + start))
    else:
        decay = optax.constant_schedule(peak)
    if warmup == 0:
        return decay
    # From peak / warmup: the first update is not wasted on a rate of zero.
    rise = optax.linear_schedule(peak / warmup, peak, max(warmup - 1, 1))
    return optax.join_schedules([rise, decay], [warmup])


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Clipping by global norm, then the optimiser. Weight decay spares gains and biases."""
    rate = schedule(config, steps)
    if config.name == "adamw":
        update = optax.adamw(
            rate,
            b1=config.beta1,
            b2=config.beta2,
            eps=config.eps,
            weight_decay=config.weight_decay,
            mask=decayed,
        )
    else:
        # optax's Adafactor leaves the decay unscaled: scale it by the rate, as AdamW does.
        update = optax.adafactor(
            rate,
            weight_decay_rate=lambda count: config.weight_decay * rate(count),
            weight_decay_mask=decayed,
        )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), update)


def decayed(params: Any) -> Any:
    """True for what weight decay shrinks: all but the gains of norms."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: not str(path[-1].key).endswith("norm"), params
    )


def restart_schedule(state: Any) -> Any:
    """An optimizer state whose moments go on and whose learning rate begins again at its first step."""
    decay = type(optax.add_decayed_weights(lambda count: 0.0).init({}))  # optax does not export it
    schedules = (optax.ScaleByScheduleState, decay)

    def restart(part: Any) -> Any:
        return jax.tree.map(jnp.zeros_like, part) if isinstance(part, schedules) else part

    return jax.tree.map(restart, state, is_leaf=lambda part: isinstance(part, schedules))


def ema_update(ema: Any, params: Any, decay: float, updates: Any) -> Any:
    """The averaged weights after one more update; young averages forget faster, (1 + n) / (10 + n)."""
    share = jnp.minimum(decay, (1.0 + updates) / (10.0 + updates))
    return jax.tree.map(lambda old, new: old + (1.0 - share) * (new - old), ema, params)
