"""Greedy decoding of a T5 as one writes it in plain JAX: the peer of `decode.py` that uses nothing of UniTok.

One jitted function: the encoder, the keys and values of cross-attention once, then `lax.scan` over the new
tokens with a static cache. Layers are unrolled, weights lie with their inputs first.

Axes: B rows, S encoder length, N new tokens, C cache slots, D d_model, H heads, K head size, V vocabulary.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

BUCKETS, FAR, EPS = 32, 128, 1e-6  # T5's
EOS = 1


def weights(model: Any, dtype: Any) -> dict[str, Any]:
    """Matrices [in, out] of a `T5ForConditionalGeneration` in `dtype`; norms and biases float32."""
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    heads = model.config.num_heads
    matrix = lambda name: jnp.asarray(state[f"{name}.weight"].T, dtype)  # noqa: E731
    vector = lambda name: jnp.asarray(state[f"{name}.weight"], jnp.float32)  # noqa: E731

    def attention(prefix: str) -> dict[str, Any]:
        q, k, v = (matrix(f"{prefix}.{x}").reshape(model.config.d_model, heads, -1) for x in "qkv")
        return {"q": q, "k": k, "v": v, "o": matrix(f"{prefix}.o")}

    def layer(prefix: str, decoder: bool) -> dict[str, Any]:
        last = f"{prefix}.layer.{2 if decoder else 1}"
        out = {
            "self_norm": vector(f"{prefix}.layer.0.layer_norm"),
            "self": attention(f"{prefix}.layer.0.SelfAttention"),
            "mlp_norm": vector(f"{last}.layer_norm"),
            "wi": matrix(f"{last}.DenseReluDense.wi"),
            "wo": matrix(f"{last}.DenseReluDense.wo"),
        }
        if decoder:
            out["cross_norm"] = vector(f"{prefix}.layer.1.layer_norm")
            out["cross"] = attention(f"{prefix}.layer.1.EncDecAttention")
        return out

    def stack(side: str) -> dict[str, Any]:
        bias = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias"
        blocks = range(model.config.num_layers)
        return {
            "layers": [layer(f"{side}.block.{i}", side == "decoder") for i in blocks],
            "bias": vector(bias),
            "norm": vector(f"{side}.final_layer_norm"),
        }

    table = jnp.asarray(state["shared.weight"], dtype)
    return {"table": table, "head": matrix("lm_head")} | {s: stack(s) for s in ("encoder", "decoder")}  # fmt: skip


@partial(jax.jit, static_argnums=(2, 3))
def generate(params: Any, ids_BS: Any, new: int, start: int) -> Any:
    """`new` greedy tokens a row, EOS never, int32 [B, N]."""
    batch = ids_BS.shape[0]
    memory = encode(params, ids_BS)
    decoder = params["decoder"]
    cross = [(heads(memory, p["cross"]["k"]), heads(memory, p["cross"]["v"])) for p in decoder["layers"]]  # fmt: skip
    empty = jnp.zeros((batch, cross[0][0].shape[1], new, cross[0][0].shape[3]), memory.dtype)
    cache = [(empty, empty) for _ in decoder["layers"]]
    bias_HCC = relative_bias(decoder["bias"], new, both=False)
    bias_HCC = jnp.where(jnp.tri(new, dtype=bool), bias_HCC, -1e9)

    def step(carry: Any, index: Any) -> Any:
        token_B, cache = carry
        x_B1D = params["table"][token_B][:, None]
        bias_H1C = lax.dynamic_slice_in_dim(bias_HCC, index, 1, axis=1)
        written = []
        for p, (keys, values), (cross_k, cross_v) in zip(decoder["layers"], cache, cross):
            h = norm(x_B1D, p["self_norm"])
            put = lambda old, new: lax.dynamic_update_slice_in_dim(old, new, index, axis=2)  # noqa: E731
            keys, values = put(keys, heads(h, p["self"]["k"])), put(values, heads(h, p["self"]["v"]))  # fmt: skip
            written.append((keys, values))
            x_B1D = x_B1D + attend(h, p["self"], keys, values, bias_H1C)
            h = norm(x_B1D, p["cross_norm"])
            x_B1D = x_B1D + attend(h, p["cross"], cross_k, cross_v, 0.0)
            x_B1D = x_B1D + mlp(x_B1D, p)
        h = norm(x_B1D[:, 0], decoder["norm"])
        logits_BV = jnp.dot(h, params["head"], preferred_element_type=jnp.float32)
        token_B = jnp.argmax(logits_BV.at[:, EOS].set(-jnp.inf), axis=-1).astype(jnp.int32)
        return (token_B, written), token_B

    first = (jnp.full(batch, start, jnp.int32), cache)
    return lax.scan(step, first, jnp.arange(new))[1].T


def encode(params: Any, ids_BS: Any) -> Any:
    x_BSD = params["table"][ids_BS]
    bias_HSS = relative_bias(params["encoder"]["bias"], ids_BS.shape[1], both=True)
    for p in params["encoder"]["layers"]:
        h = norm(x_BSD, p["self_norm"])
        keys, values = heads(h, p["self"]["k"]), heads(h, p["self"]["v"])
        x_BSD = x_BSD + attend(h, p["self"], keys, values, bias_HSS)
        x_BSD = x_BSD + mlp(x_BSD, p)
    return norm(x_BSD, params["encoder"]["norm"])


def heads(x: Any, w_DHK: Any) -> Any:
    return jnp.einsum("btd,dhk->bhtk", x, w_DHK)


def attend(x: Any, p: Any, keys: Any, values: Any, bias: Any) -> Any:
    """T5's attention is not scaled. bias float32 [H, T, C], or 0."""
    scores = jnp.einsum(
        "bhtk,bhsk->bhts", heads(x, p["q"]), keys, preferred_element_type=jnp.float32
    )
    probabilities = jax.nn.softmax(scores + bias, axis=-1).astype(x.dtype)
    out = jnp.einsum("bhts,bhsk->bthk", probabilities, values)
    return out.reshape(*x.shape[:2], -1) @ p["o"]


def mlp(x: Any, p: Any) -> Any:
    return jax.nn.relu(norm(x, p["mlp_norm"]) @ p["wi"]) @ p["wo"]


def norm(x: Any, scale_D: Any) -> Any:
    x32 = x.astype(jnp.float32)
    return (x32 * lax.rsqrt(jnp.mean(x32**2, axis=-1, keepdims=True) + EPS) * scale_D).astype(x.dtype)  # fmt: skip


def relative_bias(table_RH: Any, length: int, both: bool) -> Any:
    """float32 [H, length, length] of T5's buckets: near offsets exact, far ones by their logarithm."""
    offset = np.arange(length)[None, :] - np.arange(length)[:, None]  # key minus query
    count = BUCKETS // 2 if both else BUCKETS
    distance = np.abs(offset) if both else np.maximum(-offset, 0)
    exact = count // 2
    scale = np.float32(count - exact) / np.float32(np.log(FAR / exact))
    far = exact + (np.log(np.maximum(distance, 1).astype(np.float32) / exact) * scale).astype(int)
    bucket = np.where(distance < exact, distance, np.minimum(far, count - 1))
    bucket = bucket + (offset > 0) * count if both else bucket
    return jnp.moveaxis(table_RH[bucket], -1, 0)
