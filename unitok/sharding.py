"""The mesh and the one table of PartitionSpecs; nothing else in the library names a mesh axis.

Mesh axes: data copies the parameters; fsdp shards parameters and batch; tensor shards heads, d_ff and
the vocabulary. Axis types are Auto: `jit` + `NamedSharding` on the arguments decide, GSPMD does the rest.

Axes of parameters: L layers, V table rows, M modalities, D d_model, F d_ff, H query heads, N key-value
heads, Q query heads a key-value head plus two (its key and its value), K head size, R relative
buckets, E features of a place, U 1 or 2 (the gate and the linear half).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from unitok.config import ConfigError, MeshConfig

AXES = ("data", "fsdp", "tensor")
BATCH = ("data", "fsdp")  # the mesh axes that a batch dimension is spread over


@dataclass(frozen=True)
class ParamSpecs:
    """One field a parameter: its name in the dict of parameters, `_`, its axes."""

    embedding_VD: P = P("tensor", "fsdp")
    head_VD: P = P("tensor", "fsdp")
    modality_MD: P = P(None, "fsdp")
    encoder_place_ED: P = P(None, "fsdp")
    decoder_place_ED: P = P(None, "fsdp")
    encoder_norm_D: P = P(None)
    decoder_norm_D: P = P(None)
    encoder_bias_RH: P = P(None, "tensor")
    decoder_bias_RH: P = P(None, "tensor")
    attention_norm_LD: P = P(None, None)
    qkv_LDNQK: P = P(None, "fsdp", "tensor", None, None)
    q_norm_LK: P = P(None, None)
    k_norm_LK: P = P(None, None)
    out_LHKD: P = P(None, "tensor", None, "fsdp")
    cross_norm_LD: P = P(None, None)
    cross_q_LDHK: P = P(None, "fsdp", "tensor", None)
    cross_kv_LDNUK: P = P(None, "fsdp", "tensor", None, None)
    cross_q_norm_LK: P = P(None, None)
    cross_k_norm_LK: P = P(None, None)
    cross_out_LHKD: P = P(None, "tensor", None, "fsdp")
    mlp_norm_LD: P = P(None, None)
    wi_LDUF: P = P(None, "fsdp", None, "tensor")
    wo_LFD: P = P(None, "tensor", "fsdp")


PARAM = ParamSpecs()
SPEC_OF = {field.name.rpartition("_")[0]: getattr(PARAM, field.name) for field in fields(PARAM)}


def make_mesh(config: MeshConfig, devices: Any = None) -> Mesh:
    """Mesh over `devices` (default: all) with axes ('data', 'fsdp', 'tensor'), all of type Auto.

    Raises ConfigError where the axes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    inner = config.fsdp * config.tensor
    data = config.data if config.data > 0 else max(len(devices) // inner, 1)
    if data * inner != len(devices):
        raise ConfigError(
            f"mesh: data {data} x fsdp {config.fsdp} x tensor {config.tensor} = {data * inner}, "
            f"but there are {len(devices)} devices; set mesh.data, mesh.fsdp and mesh.tensor to their product"
        )
    grid = np.asarray(devices).reshape(data, config.fsdp, config.tensor)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def param_shardings(mesh: Any, abstract_params: Any) -> Any:
    """A NamedSharding for every leaf of a tree whose dict keys are parameter names.

    Parameters, gradients, EMA and optimizer moments alike; a leaf that is no parameter, or has lost a
    dimension (Adafactor's factored moments), is copied to every device. A dimension that its mesh axis
    does not divide stays whole.
    """

    def sharding(path: Any, leaf: Any) -> NamedSharding:
        names = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
        spec = SPEC_OF.get(names[-1]) if names else None
        if spec is None or len(spec) != len(leaf.shape):
            return NamedSharding(mesh, P())
        return NamedSharding(mesh, _fit(mesh, leaf.shape, spec))

    return jax.tree_util.tree_map_with_path(sharding, abstract_params)


def batch_sharding(mesh: Any) -> NamedSharding:
    """Rows of a batch over the data and fsdp axes."""
    return NamedSharding(mesh, P(BATCH))


def constrain(x: jax.Array, *axes: Any) -> jax.Array:
    """Pin the layout of an activation under the mesh of `jax.set_mesh`; without a mesh, x itself."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, _fit(mesh, x.shape, axes))


def rows_of_a_device(rows: int) -> int:
    """Of so many rows of a batch, those that each device holds under the mesh of `jax.set_mesh`."""
    mesh = jax.sharding.get_abstract_mesh()
    shards = 1 if mesh.empty else math.prod(mesh.shape[name] for name in BATCH)
    return max(rows // shards, 1)


def _fit(mesh: Any, shape: tuple[int, ...], spec: Any) -> P:
    """`spec` less the mesh axes that do not exist, or do not divide their dimension."""

    def axis(size: int, names: Any) -> Any:
        names = () if names is None else names if isinstance(names, tuple) else (names,)
        names = tuple(name for name in names if name in mesh.shape)
        whole = not names or size % math.prod(mesh.shape[name] for name in names)
        return None if whole else names if len(names) > 1 else names[0]

    return P(*(axis(size, names) for size, names in zip(shape, spec, strict=True)))
