"""Hugging Face's T5, built from a config without any download: weights import, logits agree to 1e-5."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unitok.commands.import_t5 import main
from unitok.config import ModelConfig
from unitok.errors import InputError
from unitok.model import EncoderDecoder
from unitok.model.blocks import TableSizes
from unitok.model.import_t5 import load_t5, read_import, write_import
from unitok.model.positions import relative_buckets

SIZES = {"d_model": 32, "d_ff": 48, "d_kv": 16, "num_heads": 4, "vocab_size": 200}
LAYOUTS = {
    "t5": {"feed_forward_proj": "relu", "num_layers": 2, "num_decoder_layers": 3},
    "flan": {"feed_forward_proj": "gated-gelu", "num_layers": 2, "tie_word_embeddings": False},
}


def save_random_t5(folder: Path, layout: str, dtype: str = "float32"):
    """A T5 of random weights, every one drawn anew so that none is at a value that hides a mistake."""
    torch = pytest.importorskip("torch", reason="torch is in the extra `torch`")
    transformers = pytest.importorskip(
        "transformers", reason="transformers is in the extra `torch`"
    )
    from safetensors.torch import save_file

    torch.manual_seed(0)
    options = {**SIZES, **LAYOUTS[layout]}
    config = transformers.T5Config(dropout_rate=0.0, **options)
    model = transformers.T5ForConditionalGeneration(config).eval()
    untied = options.get("tie_word_embeddings") is False
    if untied:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            centre = 1.0 if "layer_norm" in name else 0.0
            # T5 starts unscaled queries small; larger ones amplify rounding in either library
            spread = 0.05 if name.endswith(".q.weight") else 0.2
            weight.copy_(centre + spread * torch.randn_like(weight))
            weight.copy_(weight.to(getattr(torch, dtype)).float())
    tensors = {
        name: weight.to(getattr(torch, dtype)).clone().contiguous()
        for name, weight in model.state_dict().items()
        if "embed_tokens" not in name and (untied or name != "lm_head.weight")
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", **options}))
    return model


def both_logits(model, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Logits [B, T, V] of a batch with padding, longer than the largest exact distance: theirs, ours."""
    import torch

    rng = np.random.default_rng(0)
    S, T = 150, 140
    ids_BS, ids_BT = rng.integers(3, 200, (2, S)), rng.integers(3, 200, (2, T))
    segments_BS = np.ones((2, S), np.int32)
    segments_BS[1, 100:] = 0
    with torch.no_grad():
        theirs = model(
            input_ids=torch.tensor(ids_BS),
            attention_mask=torch.tensor(segments_BS),
            decoder_input_ids=torch.tensor(ids_BT),
        ).logits.numpy()
    config, params, sizes = read_import(folder)
    ours = EncoderDecoder(config, sizes)

    @jax.jit
    def run(params, ids_BS, ids_BT):
        at_BS, at_BT = (jnp.zeros((*ids.shape, 3), jnp.int32) for ids in (ids_BS, ids_BT))
        memory = ours.encode(params, ids_BS, at_BS, jnp.zeros_like(ids_BS), segments_BS)
        ones, causal = jnp.ones_like(ids_BT), jnp.zeros(ids_BT.shape, bool)
        hidden = ours.decode(
            params, memory, segments_BS, ids_BT, at_BT, jnp.zeros_like(ids_BT), ones, causal
        )
        return ours.logits(params, hidden)

    return theirs, np.asarray(run(params, jnp.asarray(ids_BS), jnp.asarray(ids_BT)))


@pytest.mark.parametrize(
    ("layout", "dtype"), [("t5", "float32"), ("flan", "float32"), ("flan", "bfloat16")]
)
def test_logits_agree(tmp_path: Path, capsys, layout: str, dtype: str) -> None:
    model = save_random_t5(tmp_path / "hf", layout, dtype)
    assert main([f"--from={tmp_path / 'hf'}", f"--out={tmp_path / 'out'}"]) == 0
    assert "200 ids" in capsys.readouterr().out
    theirs, ours = both_logits(model, tmp_path / "out")
    assert np.std(theirs) > 0.1
    np.testing.assert_allclose(ours[..., :200], theirs, rtol=1e-5, atol=1e-5 * np.std(theirs))
    assert (ours[..., 200:] <= -1e8).all(), "rows of padding must never be predicted"


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "reach"), [(32, 128), (16, 20), (64, 512)])
def test_buckets_are_theirs(bidirectional: bool, buckets: int, reach: int) -> None:
    """Every offset, those on the edges of the logarithmic buckets too."""
    torch = pytest.importorskip("torch", reason="torch is in the extra `torch`")
    module = pytest.importorskip("transformers.models.t5.modeling_t5", reason="extra `torch`")
    offset = torch.arange(-reach, reach + 1)
    theirs = module.T5Attention._relative_position_bucket(offset, bidirectional, buckets, reach)
    np.testing.assert_array_equal(relative_buckets(buckets, reach, bidirectional), theirs.numpy())


def test_refusals_name_the_file(tmp_path: Path, capsys) -> None:
    save_random_t5(tmp_path, "t5")
    good = json.loads((tmp_path / "config.json").read_text())

    def refused(match: str, **change) -> None:
        config = {**good, **change}
        kept = {key: value for key, value in config.items() if value is not None}
        (tmp_path / "config.json").write_text(json.dumps(kept))
        with pytest.raises(InputError, match=match):
            load_t5(tmp_path)

    refused("model_type is 'bert'", model_type="bert")
    refused("feed_forward_proj 'swish'", feed_forward_proj="swish")
    refused("no field 'd_kv'", d_kv=None)
    refused("have no place", num_layers=1)
    refused("no tensor", num_layers=3)
    refused("should have shape|cannot reshape", d_ff=64)
    (tmp_path / "config.json").write_text(json.dumps(good))
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 100)
    assert main([f"--from={tmp_path}", f"--out={tmp_path / 'out'}"]) == 2
    message = capsys.readouterr().err
    assert "model.safetensors" in message and message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_import_that_fails_leaves_the_one_before_whole(tmp_path: Path, monkeypatch) -> None:
    config, sizes = ModelConfig(), TableSizes(128, 100, ((0, 100),))
    params = {"embedding": np.ones((128, 4), np.float32)}
    write_import(tmp_path / "out", config, params, sizes)
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}

    def fails(flat, file) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", fails)
    with pytest.raises(OSError, match="No space"):
        write_import(tmp_path / "out", dataclasses.replace(config, encoder_layers=1), params, sizes)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
