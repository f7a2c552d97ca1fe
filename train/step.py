"""One step: gradients over micro-batches, the update, the average of the weights. Pure functions, jitted once.

The state is a dict of pytrees: params, optimizer, ema (where it is on), progress. progress holds
`step` (batches seen), `updates` (those applied), `skipped_in_row` and the run's random `key`.

Axes: A micro-batches, B rows, M modalities.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from unitok.checkpoint import State
from unitok.config import Config
from unitok.interfaces import Batch
from unitok.model import EncoderDecoder
from unitok.model.contrastive import pair_tasks
from unitok.sharding import BATCH, batch_sharding, param_shardings
from unitok.train import optim

Metrics = dict[str, jax.Array]


class Steps:
    """The jitted functions of a run over one mesh: `init`, `train` (its state is donated), `validate`."""

    def __init__(self, model: EncoderDecoder, config: Config, mesh: Any) -> None:
        self.model, self.config, self.mesh = model, config, mesh
        self.pairs = pair_tasks(config)
        self.optimizer = optim.make_optimizer(config.optimizer, config.steps)
        self.schedule = optim.schedule(config.optimizer, config.steps)
        self.shardings = param_shardings(mesh, jax.eval_shape(self._init))
        rows = batch_sharding(mesh)
        # Random numbers run once: on CPU, LLVM's optimiser would take most of the start-up for them.
        cpu = jax.default_backend() == "cpu"
        quick = {"xla_backend_optimization_level": 0} if cpu else None
        self.init: Callable[[], State] = jax.jit(
            self._init, out_shardings=self.shardings, compiler_options=quick
        )
        self.train: Callable[[State, Batch], tuple[State, Metrics]] = jax.jit(
            self._train,
            in_shardings=(self.shardings, rows),
            out_shardings=(self.shardings, NamedSharding(mesh, P())),
            donate_argnums=0,
        )
        self.validate: Callable[[Any, Batch], Metrics] = jax.jit(
            self._validate,
            in_shardings=(self.shardings["params"], rows),
            out_shardings=NamedSharding(mesh, P()),
        )

    def abstract_state(self) -> State:
        """Shapes, dtypes and shardings of the state, for restoring."""
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            jax.eval_shape(self._init),
            self.shardings,
        )

    def _init(self) -> State:
        init_key, key = jax.random.split(jax.random.key(self.config.seed))
        params = self.model.init(init_key)
        state = {
            "params": params,
            "optimizer": self.optimizer.init(params),
            "progress": {
                "step": jnp.int32(0),
                "updates": jnp.int32(0),
                "skipped_in_row": jnp.int32(0),
                "key": jax.random.key_data(key),
            },
        }
        return state | ({"ema": params} if self.config.optimizer.ema_decay else {})

    def _train(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        progress, params = state["progress"], state["params"]
        # By update, not by step: after a skipped batch all goes on as if it had never been.
        key = jax.random.fold_in(jax.random.wrap_key_data(progress["key"]), progress["updates"])
        loss, metrics, grads = self._gradients(params, batch, key)
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        updates, optimizer = self.optimizer.update(grads, state["optimizer"], params)
        new = {"params": optax.apply_updates(params, updates), "optimizer": optimizer}
        if "ema" in state:
            decay = self.config.optimizer.ema_decay
            new["ema"] = optim.ema_update(state["ema"], new["params"], decay, progress["updates"])
        old = {name: state[name] for name in new}
        new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
        new["progress"] = {
            "step": progress["step"] + 1,
            "updates": progress["updates"] + finite,
            "skipped_in_row": jnp.where(finite, 0, progress["skipped_in_row"] + 1),
            "key": progress["key"],
        }
        useful = jnp.sum(batch.encoder_segments_BS > 0) + jnp.sum(batch.decoder_segments_BT > 0)
        slots = batch.encoder_segments_BS.size + batch.decoder_segments_BT.size
        return new, metrics | {
            "loss": loss,
            "grad_norm": grad_norm,
            "learning_rate": jnp.asarray(self.schedule(progress["updates"]), jnp.float32),
            "skipped_in_row": new["progress"]["skipped_in_row"],
            "skipped": new["progress"]["step"] - new["progress"]["updates"],
            "tokens": useful,
            "fill": useful / slots,
        }

    def _gradients(
        self, params: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, Metrics, Any]:
        """Loss, metrics and gradients of the whole batch, in `accumulate` parts of equal rows.

        What a label counts is settled over the whole batch first, so that the parts add up to the loss
        and gradient of the whole whatever lies in each of them.
        """
        count, loss_config = self.config.optimizer.accumulate, self.config.loss
        coefficient_BT = self.model.coefficients(batch, loss_config)

        def part_loss(params: Any, part: tuple[Batch, jax.Array], key: jax.Array) -> Any:
            dropout_key = key if self.config.model.dropout else None
            return self.model.loss(params, part[0], loss_config, dropout_key, part[1], self.pairs)

        gradient = jax.value_and_grad(part_loss, has_aux=True)
        if count == 1:
            (loss, metrics), grads = gradient(params, (batch, coefficient_BT), key)
            return loss, metrics, grads

        def add(total: Any, part_and_index: Any) -> Any:
            part, index = part_and_index
            return jax.tree.map(
                jnp.add, total, gradient(params, part, jax.random.fold_in(key, index))
            ), None

        parts = jax.tree.map(self._cut, (batch, coefficient_BT))
        first = jax.tree.map(lambda leaf: leaf[0], parts)
        zero = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(gradient, params, first, key),
        )
        ((loss, metrics), grads), _ = jax.lax.scan(add, zero, (parts, jnp.arange(count)))
        return loss, metrics, grads

    def _cut(self, x_B: jax.Array) -> jax.Array:
        """[B, ...] to [A, B / A, ...]. Part a takes rows a, a + A, ...: each device cuts its own rows."""
        count = self.config.optimizer.accumulate
        x_AB = x_B.reshape(-1, count, *x_B.shape[1:]).swapaxes(0, 1)
        return jax.lax.with_sharding_constraint(x_AB, NamedSharding(self.mesh, P(None, BATCH)))

    def _validate(self, params: Any, batch: Batch) -> Metrics:
        """Sums over the batch by modality; nats, no smoothing, no dropout."""
        plain = dataclasses.replace(self.config.loss, label_smoothing=0.0)
        _, metrics = self.model.loss(params, batch, plain, pairs=self.pairs)
        return {name: x for name, x in metrics.items() if name != "z_loss"}
