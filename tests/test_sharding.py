"""One table of shardings: large meshes for free on abstract shapes, eight virtual devices in a subprocess."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from unitok.config import ConfigError, MeshConfig, ModelConfig
from unitok.model import EncoderDecoder, TableSizes
from unitok.sharding import SPEC_OF, constrain, make_mesh, param_shardings

LARGE = ModelConfig(
    d_model=2048, d_ff=5632, num_heads=32, num_kv_heads=8, encoder_layers=24, decoder_layers=24
)
LARGE_T5 = ModelConfig.t5(
    d_model=2048, d_ff=5120, num_heads=32, head_dim=64, encoder_layers=24, decoder_layers=24,
    tied_head=False, head_scale=False,
)  # fmt: skip


def leaves(tree) -> dict[str, object]:
    return {jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.parametrize("config", [LARGE, LARGE_T5], ids=["modern", "t5"])
def test_a_large_model_divides_over_a_large_mesh(config: ModelConfig) -> None:
    """No device needed: every table spec is kept whole, every matrix is split over both axes."""
    mesh = AbstractMesh((4, 16, 8), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
    model = EncoderDecoder(config, TableSizes(65_536, 65_500, ((0, 32), (32, 132), (132, 65_500))))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    shardings = leaves(param_shardings(mesh, shapes))
    parameters = local = 0
    for name, leaf in leaves(shapes).items():
        sharding = shardings[name]
        assert sharding.spec == SPEC_OF[name.split("'")[-2]], f"{name} {leaf.shape} does not divide"
        parameters += leaf.size
        local += jnp.prod(jnp.array(sharding.shard_shape(leaf.shape)))
    assert parameters > 1e9
    assert local < 1.02 * parameters / (16 * 8), "a large parameter is copied instead of split"


def test_table_and_parameters_name_the_same_things() -> None:
    names = set()
    for config in (LARGE, LARGE_T5):
        model = EncoderDecoder(config, TableSizes(128, 100, ((0, 32), (32, 100))))
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
            name = path[-1].key
            assert len(SPEC_OF[name]) == leaf.ndim, f"{name}: {SPEC_OF[name]} for {leaf.shape}"
            names.add(name)
    assert names == set(SPEC_OF), "a row of the table without a parameter"


def test_what_does_not_divide_or_is_no_parameter_stays_whole() -> None:
    mesh = AbstractMesh((1, 2, 4), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
    shape = lambda *s: jax.ShapeDtypeStruct(s, jnp.float32)  # noqa: E731
    tree = {
        "count": shape(),
        "mu": {"wo": shape(2, 16, 6), "qkv": shape(2, 8, 2, 3, 4)},
        "v_row": {"wo": shape(2, 16)},
    }
    got = jax.tree.map(lambda sharding: sharding.spec, param_shardings(mesh, tree))
    assert got["count"] == P() and got["v_row"]["wo"] == P()
    assert got["mu"]["wo"] == P(None, "tensor", "fsdp")
    assert got["mu"]["qkv"] == P(None, "fsdp", None, None, None)


def test_mesh_and_constrain() -> None:
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    assert mesh.axis_names == ("data", "fsdp", "tensor")
    assert set(mesh.axis_types) == {AxisType.Auto}
    with pytest.raises(ConfigError, match=r"data 1 x fsdp 3 x tensor 1 = 3, but there are 1"):
        make_mesh(MeshConfig(fsdp=3), jax.devices()[:1])
    x = jnp.ones((4, 6))
    assert constrain(x, ("data", "fsdp"), None) is x


EIGHT = """
import jax
jax.config.update("jax_num_cpu_devices", 8)
import dataclasses
import jax.numpy as jnp
import numpy as np
from unitok.config import LossConfig, MeshConfig, ModelConfig
from unitok.interfaces import Batch
from unitok.model import EncoderDecoder, TableSizes
from unitok.sharding import batch_sharding, make_mesh, param_shardings

config = ModelConfig(
    d_model=32, d_ff=64, num_heads=4, num_kv_heads=2, encoder_layers=2, decoder_layers=2,
    dropout=0.1, scan_layers=True,
)
model = EncoderDecoder(config, TableSizes(256, 250, ((0, 32), (32, 132), (132, 200), (200, 250))))
rng = np.random.default_rng(0)
B, S, T = 8, 12, 10
ids = lambda n, top=250: rng.integers(0, top, (B, n)).astype(np.int32)
segments = lambda n: np.sort(rng.integers(0, 3, (B, n)), axis=1).astype(np.int32)
at = lambda n: rng.integers(0, 9, (B, n, 3)).astype(np.int32)
target = np.where(ids(T, 2) > 0, 3, 0).astype(np.int32)
decoder_segments = segments(T)
batch = Batch(
    ids(S), at(S), ids(S, 4), segments(S), ids(T), at(T), ids(T, 4), decoder_segments,
    decoder_segments == 2, np.where(target, 210, ids(T)), (decoder_segments > 0).astype(np.float32),
    target, np.zeros((B, T), np.int32),
)
fresh = jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(0)))
# small sums first: the largest difference between devices is then the model's, not the test's
losses = LossConfig(chunk_rows=16, label_smoothing=0.1)

def run(mesh):
    params = jax.device_put(fresh, param_shardings(mesh, fresh))
    rows = jax.device_put(batch, batch_sharding(mesh))

    @jax.jit
    def step(params, rows, key):
        (loss, metrics), grads = jax.value_and_grad(model.loss, has_aux=True)(params, rows, losses, key)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), loss, metrics

    @jax.jit
    def generate(params, rows):
        memory = model.encode(params, rows.encoder_ids_BS, rows.encoder_positions_BS3,
                              rows.encoder_modality_BS, rows.encoder_segments_BS)
        cache = model.start_cache(params, memory, rows.encoder_segments_BS, 6)
        fed = rows.decoder_ids_BT[:, :3], rows.decoder_positions_BT3[:, :3], rows.decoder_modality_BT[:, :3]
        logits, cache = model.extend(params, cache, *fed, 0)
        fed = rows.decoder_ids_BT[:, 3:4], rows.decoder_positions_BT3[:, 3:4], rows.decoder_modality_BT[:, 3:4]
        return jnp.concatenate([logits, model.extend(params, cache, *fed, jnp.full(B, 3))[0]], 1)

    values = []
    with jax.set_mesh(mesh):
        logits = jax.block_until_ready(generate(params, rows))
        for i in range(4):
            params, loss, metrics = jax.block_until_ready(step(params, rows, jax.random.key(i)))
            values.append(float(loss))
    return values, params, np.asarray(logits), metrics

one, params_one, logits_one, metrics_one = run(make_mesh(MeshConfig(), jax.devices()[:1]))
mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
eight, params_eight, logits_eight, metrics_eight = run(mesh)
print(one, eight)
assert one[-1] < one[0]
np.testing.assert_allclose(eight, one, rtol=1e-5, atol=1e-5)
np.testing.assert_allclose(logits_eight, logits_one, rtol=1e-5, atol=2e-5)
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), metrics_eight, metrics_one)
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5), params_eight, params_one)
qkv = params_eight["decoder"]["qkv"]
assert qkv.sharding.shard_shape(qkv.shape) == (2, 16, 1, 4, 8), qkv.sharding
print("EQUAL")
"""


def test_eight_devices_compute_what_one_computes() -> None:
    """Loss, four SGD steps with dropout, and cached decoding: data 2 x fsdp 2 x tensor 2 against 1 device."""
    # LLVM's optimiser would take most of the time, for programs that run a few steps
    environment = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    command = [sys.executable, "-c", EIGHT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0 and "EQUAL" in done.stdout, done.stdout + done.stderr[-3000:]
