"""The contrastive objective: its value, what it pulls together, and that packed neighbours do not leak."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fakes import FakeText

from unitok import objectives
from unitok.config import (
    Config,
    ConfigError,
    LossConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    SourceConfig,
    TaskConfig,
    Template,
    TokenizerConfig,
)
from unitok.data import packing
from unitok.data.tasks import check_task
from unitok.interfaces import Batch, Example
from unitok.model import EncoderDecoder, TableSizes, contrastive
from unitok.model.contrastive import PairTask, pair_tasks
from unitok.predictor import Predictor, Request
from unitok.sequence import Composer
from unitok.vocabulary import Vocabulary

TEXT = FakeText()
VOCABULARY = Vocabulary.build({"text": (TEXT.size, TEXT.fingerprint)})
COMPOSER = Composer({"text": TEXT}, VOCABULARY)
MODEL = EncoderDecoder(
    ModelConfig(d_model=32, d_ff=32, num_heads=2, encoder_layers=1, decoder_layers=1),
    TableSizes.from_vocabulary(VOCABULARY),
)
TEMPLATE = Template(inputs="name {a:text}", targets="{b:text}")
PAIRS = (PairTask(0, 0.1, 1.0),)
WORDS = [("one", "eins"), ("two", "zwei"), ("three", "drei"), ("four", "vier"), ("five", "fünf")]


@pytest.fixture(scope="module")
def params() -> Any:
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.3, x.shape), jnp.float32), shapes)


def example(a: str, b: str, kind: str = "contrastive", task: int = 0) -> Example:
    build = objectives.build(ObjectiveConfig(kind=kind), VOCABULARY)
    inputs, targets, modality = COMPOSER.pair(TEMPLATE, {"a": a, "b": b})
    made = build(inputs, targets, modality, np.random.default_rng(0))
    return dataclasses.replace(made, task=task)


def packed(examples: list[Example], placed: list[int], shape: tuple[int, int] = (48, 48)) -> Batch:
    rows = max(placed) + 1
    return Batch(**packing.gather(examples, np.array(placed), rows, shape))


MIXED = [*(example(a, b) for a, b in WORDS[:4]), example("x", "a text", "seq2seq", task=1)]


def by_hand(
    batch: Batch, first: np.ndarray, second: np.ndarray, numbers: dict[int, float]
) -> float:
    """The definition, pair by pair."""
    sides = []
    segments_BS, segments_BT = (
        np.asarray(batch.encoder_segments_BS),
        np.asarray(batch.decoder_segments_BT),
    )
    examples = 0
    for row in range(len(segments_BT)):
        for segment in range(1, segments_BT[row].max() + 1):
            examples += 1
            at = segments_BT[row] == segment
            number = int(np.asarray(batch.task_BT)[row][at][0])
            if number in numbers:
                a = first[row][segments_BS[row] == segment].mean(axis=0)
                b = second[row][at].mean(axis=0)
                sides.append((number, a / np.linalg.norm(a), b / np.linalg.norm(b)))
    total = 0.0
    for number, a, b in sides:
        own = a @ b / numbers[number]
        for scores in (
            [a @ other / numbers[number] for n, _, other in sides if n == number],
            [b @ other / numbers[number] for n, other, _ in sides if n == number],
        ):
            total += 0.5 * (np.log(np.sum(np.exp(scores))) - own)
    return total / examples


def test_the_loss_is_its_definition_over_packed_rows_and_two_tasks() -> None:
    more = [example(b, a, task=2) for a, b in WORDS[:3]]
    batch = packed([*MIXED, *more], [0, 0, 1, 1, 0, 1, 2, 2])
    rng = np.random.default_rng(1)
    first, second = (rng.normal(size=(3, 48, 6)) for _ in range(2))
    tasks = (PairTask(0, 0.1, 1.0), PairTask(2, 0.5, 1.0))
    run = jax.jit(contrastive.loss, static_argnums=3)
    first, second = (x.astype(np.float32) for x in (first, second))
    scalar, found = run(first, second, batch, tasks)
    assert float(scalar) == pytest.approx(by_hand(batch, first, second, {0: 0.1, 2: 0.5}), rel=1e-4)
    assert float(found["pairs"]) == 7 and float(found["pairs_left_out"]) == 0


def test_segments_beyond_the_most_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrastive, "MOST_SEGMENTS", 2)
    batch = packed(MIXED, [0, 0, 0, 1, 1])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 48, 4)))
    _, found = jax.jit(contrastive.loss, static_argnums=3)(x, x, batch, PAIRS)
    assert (float(found["pairs"]), float(found["pairs_left_out"])) == (3, 1)


def test_what_is_trained_is_what_embed_gives_whatever_lies_beside_it(params: Any) -> None:
    batch = packed(MIXED, [0, 0, 1, 1, 0])
    first = jax.jit(MODEL.encode)(
        params, batch.encoder_ids_BS, batch.encoder_positions_BS3, batch.encoder_modality_BS,
        batch.encoder_segments_BS,
    )  # fmt: skip
    second = jax.jit(lambda p: MODEL._second_sides(p, batch, PAIRS, None))(params)
    predictor = Predictor(MODEL, params, VOCABULARY, {"text": TEXT}, batch_sizes=(4,))
    want_a = predictor.embed_batch(
        [Request(prompt=TEMPLATE.inputs, fields={"a": a}) for a, _ in WORDS[:4]]
    )
    want_b = predictor.embed_batch(
        [Request(prompt=TEMPLATE.targets, fields={"b": b}) for _, b in WORDS[:4]]
    )
    got_a, _ = contrastive.pooled(first, jnp.asarray(batch.encoder_segments_BS), 3)
    got_b, _ = contrastive.pooled(second, jnp.asarray(batch.decoder_segments_BT), 3)
    for side, want in ((got_a, want_a), (got_b, want_b)):
        got = np.stack([side[0, 0], side[0, 1], side[1, 0], side[1, 1]])
        np.testing.assert_allclose(got, want, atol=2e-5)


def test_no_gradient_reaches_a_neighbour_in_the_row() -> None:
    """The embedding of one segment has no derivative by another's tokens' outputs."""
    segments = jnp.asarray([[1, 1, 2, 2, 2, 0]])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 4)), jnp.float32)
    gradient = jax.grad(lambda x: contrastive.pooled(x, segments, 2)[0][0, 0].sum())(x)
    assert np.abs(gradient[0, :2]).max() > 0 and not np.asarray(gradient[0, 2:]).any()
    empty = jax.grad(lambda x: contrastive.pooled(x, segments * 0, 2)[0].sum())(x)
    assert np.isfinite(empty).all()


def test_gradients_pull_pairs_together_and_push_the_others_apart(params: Any) -> None:
    """On embeddings: down the gradient each side nears its partner and leaves its likest stranger."""
    rng = np.random.default_rng(3)
    batch = packed([example(a, b) for a, b in WORDS], [0, 0, 1, 1, 1])
    first, second = (jnp.asarray(rng.normal(size=(2, 48, 6)), jnp.float32) for _ in range(2))

    def similar(first: Any, second: Any) -> np.ndarray:
        a, there = contrastive.pooled(first, jnp.asarray(batch.encoder_segments_BS), 3)
        b, _ = contrastive.pooled(second, jnp.asarray(batch.decoder_segments_BT), 3)
        keep = np.asarray(there).reshape(-1)
        return np.asarray(a.reshape(-1, 6) @ b.reshape(-1, 6).T)[keep][:, keep]

    loss = lambda x, y: contrastive.loss(x, y, batch, PAIRS)[0]  # noqa: E731
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    before = similar(first, second)
    for _ in range(20):
        da, db = gradient(first, second)
        first, second = first - 0.5 * da, second - 0.5 * db
    after = similar(first, second)
    strange = ~np.eye(len(before), dtype=bool)
    margin = lambda x: np.diag(x) - np.where(strange, x, -np.inf).max(axis=1)  # noqa: E731
    assert (margin(after) > margin(before)).all() and margin(after).min() > 0
    assert np.diag(after).mean() > np.diag(before).mean()
    stranger = lambda x: contrastive.loss(x, second, batch, (PairTask(5, 0.1, 1.0),))[0]  # noqa: E731
    nothing = jax.jit(jax.grad(stranger))(first)
    assert not np.asarray(nothing).any()  # no pair of that task: no gradient, no NaN


def test_a_small_model_learns_which_words_belong_together(params: Any) -> None:
    batch = jax.tree.map(jnp.asarray, packed([example(a, b) for a, b in WORDS], [0, 0, 1, 1, 1]))
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        loss = lambda p: MODEL.loss(p, batch, LossConfig(), pairs=PAIRS)  # noqa: E731
        (value, found), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value, found

    state, history = optimizer.init(params), []
    for _ in range(60):
        params, state, value, found = step(params, state)
        history.append(float(value))
    assert history[0] > 0.5 and history[-1] < 0.05 * history[0]
    assert float(found["pair_hits"]) == 5
    assert float(found["tokens_M"].sum()) == 0  # no label was asked


def test_without_pairs_the_loss_is_as_it_was(params: Any) -> None:
    batch = packed(MIXED, [0, 0, 1, 1, 0])
    run = jax.jit(
        lambda p, pairs: MODEL.loss(p, batch, LossConfig(), pairs=pairs), static_argnums=1
    )
    (plain, metrics), (both, more) = run(params, ()), run(params, PAIRS)
    assert set(more) - set(metrics) == {"pair_nll", "pair_hits", "pairs", "pairs_left_out"}
    np.testing.assert_allclose(metrics["nll_M"], more["nll_M"], rtol=1e-6)
    share = float(more["pair_nll"]) / 5  # four pairs among five examples
    assert float(both) == pytest.approx(float(plain) + share, rel=1e-5)


def config_of(**options: Any) -> Config:
    sides = [Template(inputs="{a:text}", targets="{b:text}")]
    kinds = {
        "plain": ObjectiveConfig(),
        "pairs": ObjectiveConfig(kind="contrastive", options=options),
    }
    return Config(
        name="x", steps=1, tokenizers={"text": TokenizerConfig(name="text")},
        sources={"s": SourceConfig(kind="jsonl")},
        tasks={n: TaskConfig(source="s", templates=sides, objective=o) for n, o in kinds.items()},
        optimizer=OptimizerConfig(accumulate=2),
    )  # fmt: skip


def test_the_config_names_temperature_and_weight() -> None:
    assert pair_tasks(config_of()) == (PairTask(1, 0.07, 0.5),)  # half a micro-batch's weight
    assert pair_tasks(config_of(temperature=0.5, weight=3)) == (PairTask(1, 0.5, 1.5),)
    for options, message in (
        ({"temperature": 0}, "temperature"),
        ({"wieght": 1}, "did you mean 'weight'"),
    ):
        with pytest.raises(ConfigError, match=message):
            objectives.build(ObjectiveConfig(kind="contrastive", options=options), VOCABULARY)
    same = dataclasses.replace(
        config_of().tasks["pairs"], templates=[Template(inputs="{a:text}", targets="{a:text}")]
    )
    with pytest.raises(ConfigError, match="a too"):
        check_task("pairs", same, [{"a": "x", "b": "y"}])


EIGHT = """
import jax
jax.config.update("jax_num_cpu_devices", 8)
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import jax.numpy as jnp
from test_contrastive import MODEL, PAIRS, WORDS, example, packed
from unitok.config import LossConfig, MeshConfig
from unitok.sharding import batch_sharding, make_mesh, param_shardings

batch = packed([example(a + str(i), b) for i in range(4) for a, b in WORDS], [i % 8 for i in range(20)])
shapes = jax.eval_shape(MODEL.init, jax.random.key(0))
rng = np.random.default_rng(0)
fresh = jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes)
found = []
for mesh in (make_mesh(MeshConfig(), jax.devices()[:1]), make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))):
    with jax.set_mesh(mesh):
        params = jax.device_put(fresh, param_shardings(mesh, fresh))
        rows = jax.device_put(batch, batch_sharding(mesh))
        run = jax.jit(jax.value_and_grad(lambda p, b: MODEL.loss(p, b, LossConfig(), pairs=PAIRS)[0]))
        found.append(jax.tree.map(np.asarray, jax.block_until_ready(run(params, rows))))
(one, gradient), (eight, other) = found
assert one > 0.5, one
np.testing.assert_allclose(one, eight, rtol=1e-5)
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5 * max(1, np.abs(a).max())), gradient, other)
print("same on eight")
"""


def test_eight_devices_see_the_same_negatives() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EIGHT, os.path.dirname(__file__)],
        capture_output=True, text=True, timeout=300, env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"},
    )  # fmt: skip
    assert "same on eight" in done.stdout, done.stderr[-3000:]
