"""Every config of the house: loads, is what it says after JSON, its whole train step has shapes on a mesh of eight."""

from __future__ import annotations

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

from unitok.config import Config, TokenizerConfig
from unitok.config_cli import read_config
from unitok.config_json import from_dict, to_dict
from unitok.interfaces import Batch
from unitok.model import EncoderDecoder, TableSizes
from unitok.sharding import SPEC_OF
from unitok.train.fit_tokenizer import check_options, fittable
from unitok.train.step import Steps

FOLDER = Path(__file__).parent.parent / "configs"
FILES = [file for file in sorted(FOLDER.glob("*.py")) if "def get_config" in file.read_text()]
RECIPES = [f for f in sorted((FOLDER / "tokenizers").glob("*.py")) if f.stem != "__init__"]
MESH = AbstractMesh((2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)


def test_there_are_configs() -> None:
    assert {file.stem for file in FILES} >= {
        "demo",
        "digits",
        "fashion_mnist",
        "generalist",
        "probes",
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_config_has_a_train_step_on_eight_devices(file: Path) -> None:
    config = read_config(file)
    assert from_dict(Config, to_dict(config)) == config
    unstated = [n for n, source in config.sources.items() if not (source.about and source.licence)]
    assert not unstated, "the model card quotes what each source is and its licence"
    assert file.read_text().count(f"--config=configs/{file.name}"), "opens with its command"

    ends = 132 + 1000 * np.arange(len(config.tokenizers) + 1)
    ranges = ((0, 32), *zip((32, *ends[:-1].tolist()), ends.tolist()))
    model = EncoderDecoder(config.model, TableSizes(8192, int(ends[-1]), ranges))
    steps = Steps(model, config, MESH)
    state = steps.abstract_state()
    with jax.sharding.use_abstract_mesh(MESH):
        after, metrics = jax.eval_shape(steps._train, state, a_batch(config))
    shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    assert shapes(after) == shapes(state)
    assert metrics["nll_M"].shape == (len(ranges),)
    for name, leaf in state["params"].items():
        if name in ("embedding", "encoder_place", "decoder_place", "modality"):
            assert leaf.sharding.spec == SPEC_OF[name], f"{name} {leaf.shape} does not divide"


def a_batch(config: Config) -> Batch:
    """Shapes of a batch: rows of 64 + 32 tokens."""
    rows = config.data.batch_size
    field = lambda *shape, dtype=np.int32: jax.ShapeDtypeStruct((rows, *shape), dtype)  # noqa: E731
    encoder, decoder = field(64), field(32)
    return Batch(
        encoder, field(64, 3), encoder, encoder, decoder, field(32, 3), decoder, decoder,
        field(32, dtype=np.bool_), decoder, field(32, dtype=np.float32), decoder, decoder,
    )  # fmt: skip


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_tokenizer_s_recipe_is_one_for_unitok_fit(file: Path) -> None:
    assert f"unitok fit --config=configs/tokenizers/{file.name}" in file.read_text(), "its command"
    recipe = importlib.import_module(f"unitok.configs.tokenizers.{file.stem}")
    config = recipe.get_config()
    assert isinstance(config, TokenizerConfig)
    assert callable(recipe.get_values) and callable(recipe.get_held_out)
    check_options(fittable(config.name), config.options)
