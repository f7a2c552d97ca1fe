"""On a GPU as on a CPU: the same losses, the same codes, the same greedy tokens. Skipped where there is no GPU."""

from __future__ import annotations

import contextlib
from functools import partial

import jax
import numpy as np
import pytest

from unitok.config import (
    Config,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    SourceConfig,
    TaskConfig,
    Template,
    TokenizerConfig,
)
from unitok.data.mixture import build_stream
from unitok.data.sources import build_source
from unitok.model import EncoderDecoder, TableSizes
from unitok.predictor import Predictor
from unitok.sharding import batch_sharding, make_mesh
from unitok.tokenizers import build
from unitok.train import runtime
from unitok.train.step import Steps
from unitok.values import Audio
from unitok.vocabulary import Vocabulary

STEPS = 20
NAMES = ("text", "image")


@pytest.fixture(scope="module")
def gpu() -> jax.Device:
    with contextlib.suppress(RuntimeError):
        return jax.devices("gpu")[0]
    pytest.skip("no GPU")


@pytest.fixture(scope="module")
def cpu() -> jax.Device:
    return jax.devices("cpu")[0]


def make_config(dtype: str) -> Config:
    digits = SourceConfig(
        kind="sklearn", options={"limit": 300}, label_names={"label": list("0123456789")}
    )
    read = Template(inputs="Which digit? {image}", targets="{label:text}")
    draw = Template(inputs="Draw {label:text}", targets="{image}")
    return Config(
        name="gpu",
        steps=STEPS,
        tokenizers={name: TokenizerConfig(name=name) for name in NAMES},
        sources={"digits": digits},
        tasks={"read": TaskConfig(source="digits", templates=[read]), "draw": TaskConfig(source="digits", templates=[draw])},
        model=ModelConfig(d_model=64, d_ff=128, num_heads=2, encoder_layers=2, decoder_layers=2, dropout=0.1, dtype=dtype),
        data=DataConfig(batch_size=8, window=200, encoder_length=128, decoder_length=96),
        loss=LossConfig(chunk_rows=256, label_smoothing=0.1),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=5, ema_decay=0.9),
    )  # fmt: skip


class Trained:
    """Twenty steps of one config on one device, from the same first parameters on every device."""

    def __init__(self, device: jax.Device, first: jax.Device, dtype: str) -> None:
        config = make_config(dtype)
        with jax.default_device(first):  # the same codes for all: they are compared on their own
            self.tokenizers = {name: build(name) for name in NAMES}
            blocks = {name: (t.size, t.fingerprint) for name, t in self.tokenizers.items()}
            self.vocabulary = Vocabulary.build(blocks)
            stream = build_stream(
                config, self.tokenizers, self.vocabulary, split="train", workdir=None
            )
            batches = [next(stream) for _ in range(STEPS)]
        self.model = EncoderDecoder(config.model, TableSizes.from_vocabulary(self.vocabulary))
        steps = partial(Steps, self.model, config)
        fresh = jax.tree.map(np.asarray, steps(make_mesh(config.mesh, [first])).init())
        mesh = make_mesh(config.mesh, [device])
        steps = steps(mesh)
        state = jax.device_put(fresh, steps.shardings)
        self.losses = []
        with jax.set_mesh(mesh), jax.default_matmul_precision("highest"):
            for batch in batches:
                state, metrics = steps.train(state, runtime.to_devices(batch, batch_sharding(mesh)))
                self.losses.append(float(metrics["loss"]))
        self.params = jax.tree.map(np.asarray, state["ema"])


@pytest.fixture(scope="module")
def by_cpu(cpu: jax.Device) -> Trained:
    return Trained(cpu, cpu, "float32")


def test_twenty_steps_have_the_losses_of_a_cpu(gpu, cpu, by_cpu):
    """With dropout: random numbers are a device's own business nowhere."""
    exact = Trained(gpu, cpu, "float32")
    assert exact.losses[-1] < 0.8 * exact.losses[0]
    np.testing.assert_allclose(exact.losses, by_cpu.losses, rtol=2e-4)
    rounded = Trained(gpu, cpu, "bfloat16")
    np.testing.assert_allclose(rounded.losses, by_cpu.losses, rtol=0.03)


def test_tokenizers_give_the_codes_of_a_cpu(gpu, cpu):
    """Codes are the nearest of a codebook: a last bit may turn one in some ten thousand."""
    rng = np.random.default_rng(0)
    source = build_source(make_config("float32").sources["digits"], "train")
    tones = np.cumsum(rng.uniform(0.01, 0.3, (4, 1)) * np.ones(16_000), axis=1)
    values = {
        "image": [source[i]["image"] for i in range(64)],
        "audio": [Audio(np.sin(t).astype(np.float32) * 0.3, 16_000) for t in tones],
    }
    for name, some in values.items():
        codes = {}
        for device in (cpu, gpu):
            with jax.default_device(device):
                codes[device] = build(name).encode_batch(some)
        assert [len(c) for c in codes[cpu]] == [len(c) for c in codes[gpu]]
        same = np.concatenate(codes[cpu]) == np.concatenate(codes[gpu])
        assert same.mean() > 0.999, f"{name}: {(~same).sum()} of {same.size} codes differ"


def test_greedy_tokens_are_those_of_a_cpu(gpu, cpu, by_cpu):
    source = build_source(make_config("float32").sources["digits"], "test")
    found = {}
    for device in (cpu, gpu):
        with jax.default_device(device), jax.default_matmul_precision("highest"):
            params = jax.device_put(by_cpu.params, device)
            predictor = Predictor(by_cpu.model, params, by_cpu.vocabulary, by_cpu.tokenizers)
            found[device] = [
                *(predictor.generate("Which digit? {image}", image=source[i]["image"], max_new_tokens=8, temperature=0.0)[0].value for i in range(8)),
                *(predictor.generate(f"Draw {d}", to="image", temperature=0.0, constraints={"height": 8, "width": 8})[0].value.pixels.tolist() for d in range(8)),
            ]  # fmt: skip
    assert found[cpu] == found[gpu]
