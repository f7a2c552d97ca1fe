"""Weights of Hugging Face's T5 and Flan-T5 as parameters of this model, and the folder they are kept in.

Reads config.json and the safetensors files of a local folder; needs neither torch nor transformers.
The folder written: model.json (the model's config and table sizes) and params.safetensors (names are
the dict's keys joined by dots, float32).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unitok.atomic import replacing
from unitok.config import ModelConfig, from_dict, to_dict
from unitok.errors import InputError
from unitok.model.blocks import TableSizes
from unitok.model.transformer import EncoderDecoder
from unitok.vocabulary import ROW_MULTIPLE

ACTIVATIONS = {
    "relu": ("relu", False),
    "gated-gelu": ("gelu", True),
    "gated-silu": ("silu", True),
    "gated-relu": ("relu", True),
}


def load_t5(folder: str | Path) -> tuple[ModelConfig, dict[str, Any], TableSizes]:
    """Config, float32 parameters (numpy) and table sizes of a Hugging Face T5 folder.

    The whole table is one block, so no target modality's mask applies; rows are padded to a multiple of
    128. Raises InputError naming the file, the field and the remedy.
    """
    folder = Path(folder)
    t5 = _read_json(folder / "config.json")
    if t5.get("model_type") not in ("t5", "mt5"):
        raise InputError(
            f"{folder / 'config.json'}: model_type is {t5.get('model_type')!r}; only t5 and mt5 can be imported"
        )
    weights = _Weights(folder)
    tied = t5.get("scale_decoder_outputs", t5.get("tie_word_embeddings", True) is not False)
    if "lm_head.weight" in weights and not tied:
        head: np.ndarray | None = weights.take("lm_head.weight")
    else:
        weights.drop("lm_head.weight")
        head = None if tied else weights.peek("shared.weight")
    config = _model_config(t5, folder / "config.json", tied)
    rows = weights.peek("shared.weight").shape[0]
    sizes = TableSizes(-(-rows // ROW_MULTIPLE) * ROW_MULTIPLE, rows, ((0, rows),))
    params = _params(weights, config)
    params["embedding"] = _pad_rows(weights.take("shared.weight"), sizes.rows)
    if head is not None:
        params["head"] = _pad_rows(head, sizes.rows)
    weights.require_all_used()
    _require_shapes(params, config, sizes, folder)
    return config, params, sizes


def write_import(
    folder: str | Path, config: ModelConfig, params: Mapping[str, Any], sizes: TableSizes
) -> None:
    """Write params.safetensors, then model.json, into `folder` (made where missing), each whole or not at all."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    header = {
        "format": 1,
        "model": to_dict(config),
        "table": {"rows": sizes.rows, "real": sizes.real, "ranges": sizes.ranges},
    }
    flat = {name: np.ascontiguousarray(x, np.float32) for name, x in _flatten(params).items()}
    with (
        replacing(folder / "model.json") as model,
        replacing(folder / "params.safetensors") as weights,  # in place first
    ):
        model.write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
        save_file(flat, weights)


def read_import(folder: str | Path) -> tuple[ModelConfig, dict[str, Any], TableSizes]:
    """What `write_import` wrote. Raises InputError naming the file and the remedy."""
    folder = Path(folder)
    header = _read_json(folder / "model.json")
    try:
        config = from_dict(ModelConfig, header["model"], "model")
        table = header["table"]
        ranges = tuple((int(a), int(b)) for a, b in table["ranges"])
        sizes = TableSizes(int(table["rows"]), int(table["real"]), ranges)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / 'model.json'}: damaged ({error}); run `unitok import` again"
        ) from None
    params = _unflatten(_read_safetensors(folder / "params.safetensors"))
    _require_shapes(params, config, sizes, folder)
    return config, params, sizes


# ---- the mapping --------------------------------------------------------------------------


def _model_config(t5: Mapping[str, Any], file: Path, tied: bool) -> ModelConfig:
    form = t5.get("feed_forward_proj", "relu")
    if form not in ACTIVATIONS:
        raise InputError(
            f"{file}: feed_forward_proj {form!r} is not supported; it may be {', '.join(ACTIVATIONS)}"
        )
    activation, gated = ACTIVATIONS[form]
    try:
        return ModelConfig.t5(
            d_model=t5["d_model"],
            d_ff=t5["d_ff"],
            num_heads=t5["num_heads"],
            head_dim=t5["d_kv"],
            encoder_layers=t5["num_layers"],
            decoder_layers=t5.get("num_decoder_layers") or t5["num_layers"],
            activation=activation,
            gated=gated,
            relative_buckets=t5.get("relative_attention_num_buckets", 32),
            relative_max_distance=t5.get("relative_attention_max_distance", 128),
            norm_eps=t5.get("layer_norm_epsilon", 1e-6),
            tied_head=tied,
            head_scale=tied,
        )
    except KeyError as error:
        raise InputError(
            f"{file}: no field {error}; take config.json from the model's own folder"
        ) from None


def _params(weights: _Weights, config: ModelConfig) -> dict[str, Any]:
    bias = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return {
        "encoder": _stack(lambda i: _layer(weights, "encoder", i, config), config.encoder_layers),
        "decoder": _stack(lambda i: _layer(weights, "decoder", i, config), config.decoder_layers),
        "encoder_norm": weights.take("encoder.final_layer_norm.weight"),
        "decoder_norm": weights.take("decoder.final_layer_norm.weight"),
        "encoder_bias": weights.take(f"encoder.{bias}"),
        "decoder_bias": weights.take(f"decoder.{bias}"),
    }


def _layer(weights: _Weights, side: str, index: int, config: ModelConfig) -> dict[str, np.ndarray]:
    """One layer's parameters; Hugging Face keeps products as [out, in], we as [in, out]."""
    H, K, D = config.num_heads, config.head_size, config.d_model

    def heads(part: str, name: str) -> np.ndarray:
        return weights.take(f"{base}.{part}.{name}.weight").T.reshape(D, H, K)

    base = f"{side}.block.{index}.layer"
    mlp = 1 if side == "encoder" else 2
    halves = ("wi_0", "wi_1") if config.gated else ("wi",)
    dense = f"{base}.{mlp}.DenseReluDense"
    layer = {
        "attention_norm": weights.take(f"{base}.0.layer_norm.weight"),
        "qkv": np.stack([heads("0.SelfAttention", name) for name in "qkv"], axis=2),
        "out": weights.take(f"{base}.0.SelfAttention.o.weight").T.reshape(H, K, D),
        "mlp_norm": weights.take(f"{base}.{mlp}.layer_norm.weight"),
        "wi": np.stack([weights.take(f"{dense}.{half}.weight").T for half in halves], axis=1),
        "wo": weights.take(f"{dense}.wo.weight").T,
    }
    if side == "decoder":
        layer["cross_norm"] = weights.take(f"{base}.1.layer_norm.weight")
        layer["cross_q"] = heads("1.EncDecAttention", "q")
        layer["cross_kv"] = np.stack([heads("1.EncDecAttention", name) for name in "kv"], axis=2)
        layer["cross_out"] = weights.take(f"{base}.1.EncDecAttention.o.weight").T.reshape(H, K, D)
    return layer


def _stack(layer: Callable[[int], dict[str, np.ndarray]], layers: int) -> dict[str, np.ndarray]:
    each = [layer(index) for index in range(layers)]
    return {name: np.stack([one[name] for one in each]) for name in each[0]}


def _pad_rows(table_VD: np.ndarray, rows: int) -> np.ndarray:
    return np.pad(table_VD, ((0, rows - len(table_VD)), (0, 0)))


# ---- files --------------------------------------------------------------------------------


class _Weights:
    """The tensors of a folder by name, float32; remembers which were used."""

    # copies of the shared table, and a bias that only old exports of T5 carry and nothing reads
    UNREAD = (
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
        "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
    )

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = folder / "model.safetensors.index.json"
        names = ["model.safetensors"]
        if index.is_file():
            names = sorted(set(_read_json(index).get("weight_map", {}).values()))
        self.tensors: dict[str, np.ndarray] = {}
        for name in names:
            if Path(name).name != name:
                raise InputError(f"{index}: {name!r} is not a plain file name; take the original")
            self.tensors.update(_read_safetensors(folder / name))
        for name in self.UNREAD:
            if "shared.weight" not in self.tensors and name in self.tensors:
                self.tensors["shared.weight"] = self.tensors[name]
            self.drop(name)

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def peek(self, name: str) -> np.ndarray:
        if name not in self.tensors:
            raise InputError(
                f"{self.folder}: no tensor {name!r}; the weights do not belong to config.json"
            )
        return self.tensors[name]

    def take(self, name: str) -> np.ndarray:
        tensor = self.peek(name)
        del self.tensors[name]
        return tensor

    def drop(self, name: str) -> None:
        self.tensors.pop(name, None)

    def require_all_used(self) -> None:
        if self.tensors:
            some = ", ".join(sorted(self.tensors)[:3])
            raise InputError(
                f"{self.folder}: {len(self.tensors)} tensors have no place in this model ({some}); "
                "the weights do not belong to config.json"
            )


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(f"{file}: not found; give the folder that holds it")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: not JSON ({error}); take the original file") from None
    if not isinstance(data, dict):
        raise InputError(f"{file}: want a JSON object; take the original file")
    return data


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    """Tensors as float32. Read by way of JAX arrays: numpy alone has no bfloat16."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise InputError(
            f"{file}: not found; save the model with safe_serialization=True, or give its folder"
        )
    try:
        with safe_open(file, framework="flax") as tensors:
            names = list(tensors.keys())
            return {name: np.asarray(tensors.get_tensor(name), np.float32) for name in names}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: damaged safetensors file ({error}); copy it again") from None


def _require_shapes(
    params: Mapping[str, Any], config: ModelConfig, sizes: TableSizes, folder: Path
) -> None:
    """Every parameter there, of the shape that the config says."""
    import jax

    want = _flatten(jax.eval_shape(EncoderDecoder(config, sizes).init, jax.random.key(0)))
    have = _flatten(params)
    for name in sorted(want.keys() | have.keys()):
        shapes = [tuple(tree[name].shape) if name in tree else None for tree in (want, have)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{folder}: parameter {name!r} should have shape {shapes[0]}, has {shapes[1]}; "
                "the weights do not belong to the config"
            )


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, Mapping)
        flat.update(_flatten(value, f"{prefix}{key}.") if nested else {prefix + key: value})
    return flat


def _unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree
