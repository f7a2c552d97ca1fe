"""The model's properties: causality, packing without leaks, cache, scan, bf16, the fused loss."""

from __future__ import annotations

import dataclasses
import re
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unitok.config import LossConfig, ModelConfig
from unitok.interfaces import Batch
from unitok.model import EncoderDecoder, TableSizes, attention, losses
from unitok.model.layers import matmul, outer
from unitok.model.positions import place_features, places_in_values, rotary_angles, rotate
from unitok.vocabulary import Vocabulary

# LLVM's optimiser would take most of the time, for programs that run once
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
VOCABULARY = Vocabulary.build([("text", 40, ""), ("image", 30, "")])
SIZES = TableSizes.from_vocabulary(VOCABULARY)
TINY = {"d_model": 32, "d_ff": 48, "num_heads": 4, "encoder_layers": 1, "decoder_layers": 1}
MODERN = ModelConfig(**TINY)
GROUPED = ModelConfig(**TINY, num_kv_heads=2)
T5 = ModelConfig.t5(**TINY, head_dim=16)
CONFIGS = pytest.mark.parametrize(
    "config", [MODERN, GROUPED, T5], ids=["modern", "grouped queries", "t5"]
)
TEXT, IMAGE = VOCABULARY.modality_id("text"), VOCABULARY.modality_id("image")


@lru_cache
def build(config: ModelConfig) -> tuple[EncoderDecoder, dict]:
    model = EncoderDecoder(config, SIZES)
    params = jit(model.init)(jax.random.key(0))
    rng = np.random.default_rng(0)  # norm scales of exactly 1 would hide one that is not applied
    noisy = lambda x: jnp.asarray(x + 0.05 * rng.standard_normal(x.shape), jnp.float32)  # noqa: E731
    return model, jax.tree.map(noisy, params)


def example(seed: int, s: int, t: int, target: int = 0, both: bool = False) -> dict:
    """One example as a row of exactly s + t tokens, by field of Batch."""
    rng = np.random.default_rng(seed)
    low, high = VOCABULARY.ranges()[target] if target else (0, VOCABULARY.size)
    ids = lambda n: rng.integers(4, VOCABULARY.size, n).astype(np.int32)  # noqa: E731
    return {
        "encoder_ids_BS": ids(s),
        "encoder_positions_BS3": rng.integers(0, 9, (s, 3)).astype(np.int32),
        "encoder_modality_BS": rng.integers(0, 4, s).astype(np.int32),
        "encoder_segments_BS": np.ones(s, np.int32),
        "decoder_ids_BT": ids(t),
        "decoder_positions_BT3": rng.integers(0, 9, (t, 3)).astype(np.int32),
        "decoder_modality_BT": rng.integers(0, 4, t).astype(np.int32),
        "decoder_segments_BT": np.ones(t, np.int32),
        "decoder_bidirectional_BT": np.full(t, both),
        "labels_BT": rng.integers(low, high, t).astype(np.int32),
        "weights_BT": rng.uniform(0.5, 1.5, t).astype(np.float32),
        "target_modality_BT": np.full(t, target, np.int32),
        "task_BT": np.zeros(t, np.int32),
    }


def pack(examples: list[dict], s: int, t: int) -> Batch:
    """The examples as segments 1, 2, ... of one row of s + t slots, padded."""
    row = {}
    for name in examples[0]:
        parts = [e[name] for e in examples]
        if "segments" in name:
            parts = [part * (i + 1) for i, part in enumerate(parts)]
        joined = np.concatenate(parts)
        length = s if name.startswith("encoder") else t
        spare = [(0, length - len(joined))] + [(0, 0)] * (joined.ndim - 1)
        row[name] = jnp.asarray(np.pad(joined, spare)[None])
    return Batch(**row)


EXAMPLES = [example(0, 5, 4, IMAGE), example(1, 7, 6, 0, both=True), example(2, 3, 5, TEXT)]
PACKED = pack(EXAMPLES, 18, 17)


def hidden(model: EncoderDecoder, params: dict, batch: Batch, memory_BSD: jax.Array) -> jax.Array:
    return model.decode(
        params,
        memory_BSD,
        batch.encoder_segments_BS,
        batch.decoder_ids_BT,
        batch.decoder_positions_BT3,
        batch.decoder_modality_BT,
        batch.decoder_segments_BT,
        batch.decoder_bidirectional_BT,
    )


def encode(model: EncoderDecoder, params: dict, batch: Batch) -> jax.Array:
    return model.encode(
        params,
        batch.encoder_ids_BS,
        batch.encoder_positions_BS3,
        batch.encoder_modality_BS,
        batch.encoder_segments_BS,
    )


@partial(jit, static_argnums=0)
def influence(model: EncoderDecoder, params: dict, batch: Batch) -> dict[str, jax.Array]:
    """Largest |d output_i / d input_j| for every pair of slots: encoder [S, S], decoder [T, T], cross [T, S].

    Every slot gets an id of its own, so that the gradient of an embedding is that of one slot.
    """
    S, T = batch.encoder_ids_BS.shape[1], batch.decoder_ids_BT.shape[1]
    table = params["embedding"]
    rows_S, rows_T = table[batch.encoder_ids_BS[0]], table[batch.decoder_ids_BT[0]]
    own = dataclasses.replace(
        batch, encoder_ids_BS=jnp.arange(S)[None], decoder_ids_BT=jnp.arange(T)[None]
    )
    direction_D = jnp.asarray(np.random.default_rng(0).standard_normal(model.config.d_model))

    def encoded(rows: jax.Array) -> jax.Array:
        return encode(model, {**params, "embedding": rows}, own)

    def decoded(rows: jax.Array, memory: jax.Array) -> jax.Array:
        return hidden(model, {**params, "embedding": rows}, own, memory)[0] @ direction_D

    memory = encoded(rows_S)
    by_rows, by_memory = jax.jacrev(decoded, (0, 1))(rows_T, memory)
    by_inputs = jax.jacrev(lambda rows: encoded(rows)[0] @ direction_D)(rows_S)
    jacobians = {"encoder": by_inputs, "decoder": by_rows, "cross": by_memory[:, 0]}
    return {name: jnp.abs(j).max(-1) for name, j in jacobians.items()}


@pytest.mark.parametrize("config", [MODERN, T5], ids=["modern", "t5"])
def test_who_reads_whom(config: ModelConfig) -> None:
    """Exactly what may be read is read: same segment; earlier tokens, or all where bidirectional; by gradient."""
    reach = jax.tree.map(np.asarray, influence(*build(config), PACKED))
    enc, dec = PACKED.encoder_segments_BS[0], PACKED.decoder_segments_BT[0]
    slots, both = np.arange(len(dec)), np.asarray(PACKED.decoder_bidirectional_BT[0])
    same = np.equal.outer(np.asarray(dec), np.asarray(dec))
    may = {
        "encoder": np.equal.outer(np.asarray(enc), np.asarray(enc)),
        "decoder": same & ((slots[None] <= slots[:, None]) | both[:, None]),
        "cross": np.equal.outer(np.asarray(dec), np.asarray(enc)),
    }
    for name, allowed in may.items():
        real = np.asarray(dec if name != "encoder" else enc) > 0
        assert (reach[name][real][:, :][~allowed[real]] == 0).all(), f"{name}: a leak"
        assert (reach[name][real][allowed[real]] > 0).all(), f"{name}: something is not read"


@pytest.mark.parametrize("config", [GROUPED, T5], ids=["grouped queries", "t5"])
def test_packed_loss_is_the_sum_of_separate_losses(config: ModelConfig) -> None:
    model, params = build(config)
    run = jit(lambda params, batch: model.loss(params, batch, LossConfig())[1])
    packed = run(params, PACKED)
    alone = [run(params, pack([one], 18, 17)) for one in EXAMPLES]
    for name in ("nll_M", "tokens_M", "correct_M"):
        total = np.sum([np.asarray(metrics[name]) for metrics in alone], axis=0)
        np.testing.assert_allclose(packed[name], total, rtol=1e-5, atol=1e-5)
    assert packed["tokens_M"][IMAGE] > 0 and packed["tokens_M"][TEXT] > 0


@CONFIGS
@pytest.mark.parametrize("rows", [1, 2])
def test_cache_is_the_teacher_forced_decode(config: ModelConfig, rows: int) -> None:
    """Fed in pieces, with a common index or one a row, into a cache longer than needed and full of rubbish."""
    model, params = build(config)
    run_encoder, run_decoder = jit(partial(encode, model)), jit(partial(hidden, model))
    T, examples = 9, [example(seed, 6, 9) for seed in (3, 4)][:rows]
    batch = jax.tree.map(lambda *x: jnp.concatenate(x), *(pack([row], 8, T) for row in examples))
    memory = run_encoder(params, batch)
    want = jit(model.logits)(params, run_decoder(params, batch, memory))
    begin = jit(model.start_cache, static_argnums=3)
    start = begin(params, memory, batch.encoder_segments_BS, T + 3)
    extend = jit(model.extend)
    for per_row in (False, True):
        cache = start._replace(self_k=tuple(jnp.full_like(k, 7.0) for k in start.self_k))
        got, at = [], 0
        for length in (4, 1, 4) if per_row else (4, 4, 1):
            fed = (
                x[:, at : at + length]
                for x in (
                    batch.decoder_ids_BT,
                    batch.decoder_positions_BT3,
                    batch.decoder_modality_BT,
                )
            )
            index = jnp.full(rows, at, jnp.int32) if per_row else jnp.int32(at)
            logits, cache = extend(params, cache, *fed, index)
            got.append(logits)
            at += length
        np.testing.assert_allclose(np.concatenate(got, 1), want, rtol=1e-5, atol=1e-5)
    if rows == 1:
        return
    # rows at different depths: row 1 starts again at slot 0 while row 0 goes on
    index = jnp.array([T - 1, 0])
    fed = [x[jnp.arange(2), index][:, None] for x in (
        batch.decoder_ids_BT, batch.decoder_positions_BT3, batch.decoder_modality_BT)]  # fmt: skip
    logits, _ = extend(params, cache, *fed, index)
    np.testing.assert_allclose(logits[0, 0], want[0, T - 1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logits[1, 0], want[1, 0], rtol=1e-5, atol=1e-5)


def test_attend_is_softmax_and_reads_nothing_where_nothing_may_be_read() -> None:
    rng = np.random.default_rng(0)
    q = jnp.asarray(rng.standard_normal((2, 2, 3, 4, 8)), jnp.float32)
    k, v = (jnp.asarray(rng.standard_normal((2, 2, 6, 8)), jnp.float32) for _ in "kv")
    bias = jnp.asarray(rng.standard_normal((6, 4, 6)), jnp.float32)
    mask = rng.random((2, 4, 6)) < 0.5
    mask[:, 2], mask[:, 3, 0], mask[:, 0, 1], mask[0, 1], mask[1, 1] = True, True, True, False, True
    probe = rng.standard_normal(q.shape).astype(np.float32)

    def plain(q, k, v, bias):
        scores = jnp.einsum("bngtk,bnsk->bngts", q, k) + bias.reshape(2, 3, 4, 6)
        allowed = mask[:, None, None]
        e = jnp.where(allowed, jnp.exp(scores), 0)
        p = e / jnp.maximum(e.sum(-1, keepdims=True), 1e-30)
        return jnp.einsum("bngts,bnsk->bngtk", p, v)

    def value_and_grads(f):
        both = lambda *x: (lambda y: ((y * probe).sum(), y))(f(*x))  # noqa: E731
        return jit(jax.grad(both, (0, 1, 2, 3), has_aux=True))(q, k, v, bias)

    mine, out = value_and_grads(lambda q, k, v, b: attention.attend(q, k, v, mask, b))
    theirs, want = value_and_grads(plain)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-6)
    assert (out[0, :, :, 1] == 0).all()
    for a, b in zip(mine, theirs):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_way_to_a_fused_kernel_is_the_same_attention() -> None:
    """Layout, groups, scale, mask, queries without a key: value and gradients, with XLA in the kernel's place."""
    rng = np.random.default_rng(0)
    q, probe = (jnp.asarray(rng.standard_normal((2, 2, 3, 4, 8)), jnp.float32) for _ in "qp")
    k, v = (jnp.asarray(rng.standard_normal((2, 2, 6, 8)), jnp.float32) for _ in "kv")
    mask = jnp.asarray(rng.random((2, 4, 6)) < 0.5).at[0, 1].set(False)

    def value_and_grads(attend):
        return jit(jax.value_and_grad(lambda *x: (attend(*x) * probe).sum(), (0, 1, 2)))(q, k, v)

    fused = value_and_grads(lambda *x: attention.attend_fused(*x, mask, "xla"))
    plain = value_and_grads(lambda *x: attention.attend(*x, mask, None))
    for a, b in zip(jax.tree.leaves(fused), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    out = attention.attend_fused(q, k, v, mask, "xla")
    assert (out[0, :, :, 1] == 0).all() and (out[1] != 0).all()


def test_emptied_inputs_read_no_other_example() -> None:
    """An example without inputs (guidance drops them) cross-attends to nothing, not to its neighbours."""
    model, params = build(MODERN)
    empty = {**EXAMPLES[0], **{n: x[:0] for n, x in EXAMPLES[0].items() if n.startswith("enc")}}
    batch = pack([empty, EXAMPLES[1]], 18, 17)
    assert (np.asarray(influence(model, params, batch)["cross"])[:4] == 0).all()


def test_a_place_is_counted_from_the_beginning_of_its_value() -> None:
    """The same value has the same features behind a longer text, further on in time and in a packed row;
    its tokens have different ones."""
    text = np.repeat(np.arange(7)[:, None], 3, axis=1)
    image = np.array([[7, 7, 7], [7, 0, 0], [7, 0, 1], [7, 1, 0], [7, 1, 1]]) * [1, 1, 1]
    image[1:, 1:] += 8

    def features(before: int, shift: int, neighbour: int) -> np.ndarray:
        packed = np.concatenate([image[:neighbour], text[:before] + shift, image + shift])
        modality = np.array([3] * neighbour + [2] * before + [3] * len(image))
        segments = np.array([1] * neighbour + [2] * (before + len(image)))
        place = places_in_values(packed[None], modality[None], segments[None])
        return np.asarray(place_features(place))[0, -5:]

    alone = features(2, 0, 0)
    for other in (features(7, 0, 0), features(2, 30, 0), features(3, 5, 4), features(0, 0, 5)):
        np.testing.assert_allclose(alone, other, atol=1e-6)
    assert np.abs(alone[:, None] - alone[None])[~np.eye(5, dtype=bool)].max(axis=-1).min() > 0.1


def test_the_decoder_knows_places_that_distances_do_not_tell() -> None:
    """Moved along as a whole, a target is another one to it; without the embedding it is the same."""
    for placed in (True, False):
        model, params = build(dataclasses.replace(MODERN, place_embedding=placed))
        batch = pack([EXAMPLES[0]], 18, 17)
        moved = dataclasses.replace(batch, decoder_positions_BT3=batch.decoder_positions_BT3 + 3)
        a, b = (np.asarray(model._hidden(params, one, None)[1]) for one in (batch, moved))
        apart = np.abs(a - b)[np.asarray(batch.decoder_segments_BT) > 0].max()
        assert apart > 1e-2 if placed else apart < 1e-4


def test_text_positions_are_ordinary_rotary_positions() -> None:
    """Equal coordinates give one-axis rotary embeddings; scores depend on differences of positions alone."""
    at = jnp.arange(6)[None, :, None].repeat(3, axis=2)
    angles = rotary_angles(at, 16, 10_000.0)
    want = np.arange(6)[:, None] * 10_000.0 ** (-np.arange(8) / 8)
    np.testing.assert_allclose(angles[0], want, rtol=1e-5)
    rng = np.random.default_rng(0)
    q, k = (jnp.asarray(rng.standard_normal((5, 16)), jnp.float32) for _ in "qk")
    place = jnp.asarray(rng.integers(0, 20, (5, 3)))

    def scores(shift) -> jax.Array:
        angles = rotary_angles(place + jnp.array(shift), 16, 10_000.0)
        cos, sin = jnp.cos(angles), jnp.sin(angles)
        return rotate(q, cos, sin) @ rotate(k, cos, sin).T

    np.testing.assert_allclose(scores([7, 3, 30]), scores([0, 0, 0]), atol=1e-4)
    for axis in range(3):
        moved = rotate(
            q, *(f(rotary_angles(place.at[0, axis].add(1), 16, 1e4)) for f in (jnp.cos, jnp.sin))
        )
        still = rotate(q, *(f(rotary_angles(place, 16, 1e4)) for f in (jnp.cos, jnp.sin)))
        assert (np.abs(moved - still).max(1) > 0).tolist() == [True] + [False] * 4


def test_scan_is_unrolled() -> None:
    """Same bits forward, dropout included; the same gradients, rematerialised too."""
    results = []
    for scan, remat in ((False, False), (True, False), (True, True)):
        layers = {"encoder_layers": 2, "decoder_layers": 2, "scan_layers": scan, "remat": remat}
        model, params = build(dataclasses.replace(MODERN, dropout=0.3, **layers))
        loss = lambda p, m=model: m.loss(p, PACKED, LossConfig(), jax.random.key(5))[0]  # noqa: E731
        results.append(jit(jax.value_and_grad(loss))(params))
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    for loss, grads in results[1:]:
        assert loss == results[0][0]
        jax.tree.map(close, grads, results[0][1])


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    from unitok.model.layers import dropout

    x = jnp.ones((400, 251))
    y = dropout(x, 0.3, jax.random.key(0))
    assert abs(float((y == 0).mean()) - 0.3) < 0.01 and abs(float(y.mean()) - 1) < 0.02
    rows = np.corrcoef(np.asarray(y[:, :40]).T)
    assert np.abs(rows - np.eye(40)).max() < 0.3, "elements of one draw must be independent"
    assert dropout(x, 0.3, None) is x


@pytest.mark.parametrize("shape", [(16, 8, 24), (16, 24, 8), (7, 5, 3), (64, 32, 32)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_matmul_and_its_gradients(shape, dtype: str) -> None:
    R, M, N = shape
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.standard_normal((2, R, n)), dtype) for n in (M, N))
    exact = np.einsum("brm,brn->bmn", np.asarray(a, np.float64), np.asarray(b, np.float64))
    got = jit(outer)(a, b)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, exact, rtol=1e-5, atol=1e-4)
    w = jnp.asarray(rng.standard_normal((M, N)), jnp.float32)
    f = lambda a, w: (matmul(a, w, jnp.dtype(dtype)).astype(jnp.float32) * b).sum()  # noqa: E731
    da, dw = jit(jax.grad(f, (0, 1)))(a, w)
    assert da.dtype == a.dtype and dw.dtype == jnp.float32
    np.testing.assert_allclose(dw, exact.sum(0), rtol=1e-4, atol=1e-3)
    want = np.asarray(b, np.float64) @ np.asarray(w, np.float64).T
    np.testing.assert_allclose(
        np.asarray(da, np.float64),
        want,
        rtol=2e-2 if dtype == "bfloat16" else 1e-4,
        atol=0.1 if dtype == "bfloat16" else 1e-3,
    )


def test_every_product_of_a_bf16_step_has_bf16_operands_and_f32_sums() -> None:
    """Forward and backward: autodiff alone would run the backward products on float32 operands."""
    model, params = build(dataclasses.replace(MODERN, dtype="bfloat16"))
    step = jit(jax.grad(lambda p: model.loss(p, PACKED, LossConfig())[0]))
    text = step.lower(params).as_text()
    dots = re.findall(
        r"stablehlo\.dot_general.*?: \(tensor<(\S+?)>, tensor<(\S+?)>\) -> tensor<(\S+?)>", text
    )
    big = [dot for dot in dots if dot[0].count("x") >= 2]
    types = [tuple(shape.rsplit("x", 1)[1] for shape in dot) for dot in big]
    model_products = [t for t in types if t != ("f32", "f32", "f32")]
    # encoder layer: qkv, 2 in attention, out, wi, wo = 6 products; decoder layer 6 + 5; head 1; thrice with backward
    assert len(model_products) == 3 * (6 + 11 + 1)
    assert set(model_products) == {("bf16", "bf16", "f32")}


def test_bf16_is_near_f32() -> None:
    _, params = build(MODERN)
    losses_, grads = [], []
    for dtype in ("float32", "bfloat16"):
        model = EncoderDecoder(dataclasses.replace(MODERN, dtype=dtype), SIZES)
        loss, grad = jit(jax.value_and_grad(lambda p, m=model: m.loss(p, PACKED, LossConfig())[0]))(
            params
        )
        losses_.append(float(loss))
        grads.append(np.concatenate([np.ravel(g) for g in jax.tree.leaves(grad)]))
    assert abs(losses_[1] / losses_[0] - 1) < 0.02
    cosine = grads[0] @ grads[1] / np.linalg.norm(grads[0]) / np.linalg.norm(grads[1])
    assert cosine > 0.995


# ---- the loss -----------------------------------------------------------------------------


def plain_cross_entropy(logits, batch: Batch, coefficient, z_loss: float, smoothing: float):
    """The definition, from logits [B, T, V]: masked log-softmax, z-loss, smoothing over the allowed ids."""
    low, high = (
        jnp.asarray(VOCABULARY.ranges())[batch.target_modality_BT][..., i, None] for i in (0, 1)
    )
    ids = jnp.arange(logits.shape[-1])
    inside = (ids < VOCABULARY.ranges()[2, 0]) | ((ids >= low) & (ids < high))
    allowed = jnp.where(batch.target_modality_BT[..., None] > 0, inside, True) & (
        ids < VOCABULARY.size
    )
    log_z = jax.nn.logsumexp(jnp.where(allowed, logits, -jnp.inf), axis=-1)
    log_p = logits - log_z[..., None]
    label = jnp.take_along_axis(log_p, batch.labels_BT[..., None], -1)[..., 0]
    mean = jnp.where(allowed, log_p, 0).sum(-1) / allowed.sum(-1)
    loss = -(1 - smoothing) * label - smoothing * mean + z_loss * log_z**2
    return (coefficient * loss).sum(), label


@pytest.mark.parametrize(("chunk_rows", "smoothing"), [(0, 0.0), (0, 0.1), (5, 0.1), (100, 0.0)])
def test_fused_loss_is_the_definition(chunk_rows: int, smoothing: float) -> None:
    """Value, gradients and scores; chunks that do not divide the length too."""
    model, params = build(T5)
    table = params["embedding"]
    rng = np.random.default_rng(0)
    h = jnp.asarray(3 * rng.standard_normal((*PACKED.labels_BT.shape, 32)), jnp.float32)
    config = LossConfig(z_loss=0.01, label_smoothing=smoothing, chunk_rows=chunk_rows)

    def ours(h, table):
        return model._scores({**params, "embedding": table}, h, PACKED, PACKED.weights_BT, config)

    def plain(h, table):
        logits = jnp.einsum("btd,vd->btv", h, table) * 32**-0.5
        return plain_cross_entropy(logits, PACKED, PACKED.weights_BT, 0.01, smoothing)

    (a, scores), grads_a = jit(jax.value_and_grad(ours, (0, 1), has_aux=True))(h, table)
    (b, label), grads_b = jit(jax.value_and_grad(plain, (0, 1), has_aux=True))(h, table)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    np.testing.assert_allclose(jit(ours)(h, table)[0], b, rtol=1e-5)
    np.testing.assert_allclose(scores.nll, -label, rtol=1e-4, atol=1e-5)
    for x, y in zip(grads_a, grads_b):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    twice = jit(jax.grad(lambda h: 2 * ours(h, table)[0]))(h)
    np.testing.assert_allclose(twice, 2 * grads_a[0], rtol=1e-6)


def test_masked_ids_get_no_probability_and_no_gradient() -> None:
    """Under a target modality only its block and the special ids compete; the table's padding never does."""
    model, params = build(MODERN)
    table = params["embedding"]
    h = jnp.asarray(np.random.default_rng(0).standard_normal((1, 17, 32)), jnp.float32)
    only_image = dataclasses.replace(
        PACKED,
        target_modality_BT=jnp.full((1, 17), IMAGE),
        labels_BT=jnp.full((1, 17), VOCABULARY.end("image")),
        weights_BT=jnp.ones((1, 17)),
    )

    def run(table: jax.Array) -> jax.Array:
        changed = {**params, "embedding": table}
        return model._scores(changed, h, only_image, only_image.weights_BT, LossConfig())[0]

    moved = np.abs(jit(jax.grad(run))(table)).max(1) > 0
    image, special = VOCABULARY.block("image"), VOCABULARY.block("sentinel").end
    want = np.zeros(SIZES.rows, bool)
    want[:special] = want[image.start : image.end] = True
    np.testing.assert_array_equal(moved, want)
    logits = model.logits(params, h)
    assert logits.dtype == jnp.float32 and (logits[..., SIZES.real :] == -1e9).all()


def test_token_log_probs_are_of_the_masked_softmax() -> None:
    model, params = build(MODERN)

    @jit
    def teacher_forced(params: dict) -> jax.Array:
        memory = encode(model, params, PACKED)
        return model.logits(params, hidden(model, params, PACKED, memory))

    logits = teacher_forced(params)
    _, label = plain_cross_entropy(logits, PACKED, PACKED.weights_BT, 0.0, 0.0)
    want = jnp.where(PACKED.weights_BT > 0, label, 0)
    np.testing.assert_allclose(
        jit(model.token_log_probs)(params, PACKED), want, rtol=1e-4, atol=1e-5
    )


def test_normalisation_by_modality() -> None:
    """One vote an example, a mean within a modality; an image of many tokens does not drown a label."""
    weights = jnp.array([[1.0] * 8 + [1.0, 1.0] + [0.0, 0.0]])
    segments = jnp.array([[1] * 8 + [2] * 2 + [0] * 2])
    modality = jnp.array([[3] * 8 + [2] * 2 + [0] * 2])
    by = losses.slot_coefficients(weights, modality, segments, 4, "modality")
    np.testing.assert_allclose(by, [[0.5 / 8] * 8 + [0.5 / 2] * 2 + [0, 0]], rtol=1e-6)
    mixed = losses.slot_coefficients(weights, modality.at[0, :2].set(2), segments, 4, "modality")
    np.testing.assert_allclose(mixed[0, 2], 0.5 * 6 / 8 / 6, rtol=1e-6)
    np.testing.assert_allclose(mixed[0, 0], (0.5 * 2 / 8 + 0.5) / 4, rtol=1e-6)
    token = losses.slot_coefficients(weights, modality, segments, 4, "token")
    same = losses.slot_coefficients(weights, jnp.full_like(modality, 2), segments, 4, "example")
    np.testing.assert_allclose(same, by, rtol=1e-6)  # of one modality, yet an example counts one
    for c in (by, mixed, token, same):
        np.testing.assert_allclose(c.sum(), 1, rtol=1e-6)
    nothing = losses.slot_coefficients(0 * weights, modality, segments, 4, "modality")
    assert (nothing == 0).all()


def test_chunked_loss_never_holds_all_logits() -> None:
    """At 24 x 1,024 slots over 32,000 rows the logits alone would be 3 GB; compiled temporaries stay below."""
    sizes = TableSizes(32_000, 32_000, ((0, 32_000),))
    head = losses.Head(
        32_000, 32_000, 1.0, jnp.float32, time_chunk=losses.time_chunk(None, sizes.rows, 24, 1024)
    )
    shape = lambda dtype, *s: jax.ShapeDtypeStruct(s, dtype)  # noqa: E731
    slots = [shape(d, 24, 1024) for d in (jnp.int32,) * 4 + (jnp.float32,)]
    f = lambda h, table, *y: losses.cross_entropy(h, table, losses.Targets(*y), head)[0]  # noqa: E731
    lowered = jit(jax.grad(f, (0, 1))).lower(
        shape(jnp.float32, 24, 1024, 16), shape(jnp.float32, 32_000, 16), *slots
    )
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 300e6


def test_model_is_static() -> None:
    """Usable as a static argument of jit; parameters are a pure function of the key, at their scales."""
    model, again = EncoderDecoder(MODERN, SIZES), EncoderDecoder(MODERN, SIZES)
    init = jit(lambda model, key: model.init(key), static_argnums=0)
    a, b = init(model, jax.random.key(0)), init(again, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert init._cache_size() == 1, "an equal model must not compile again"
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(a))
    assert all(x.shape[0] == MODERN.encoder_layers for x in jax.tree.leaves(a["encoder"]))
    assert 0.9 < np.std(a["embedding"]) * MODERN.d_model**0.5 < 1.1
