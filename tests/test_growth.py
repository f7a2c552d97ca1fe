"""A vocabulary that grows by a block: nothing that was learned changes, all that is new is fresh."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unitok import registry
from unitok.checkpoint import Checkpoints, grow, restore_params
from unitok.config import TokenizerConfig
from unitok.config_cli import override, read_config
from unitok.errors import InputError
from unitok.model import EncoderDecoder, TableSizes
from unitok.run import read_run, read_vocabulary
from unitok.sharding import make_mesh
from unitok.train import loop
from unitok.train.step import Steps
from unitok.vocabulary import Vocabulary, VocabularyMismatch

OLD = Vocabulary.build({"text": (64, "a"), "image": (100, "b")})  # 300 ids, 384 rows
NEAR = OLD.grow("series", 50, "c")  # 352 ids: the padded table keeps its size
FAR = OLD.grow("series", 300, "c")  # 602 ids, 640 rows
TABLES = {"embedding": "size", "head": "size", "modality": "blocks"}


def steps_of(tiny: Path, vocabulary: Vocabulary, *overrides: tuple[str, str]) -> Steps:
    wanted = (("model.tied_head", "false"), ("model.d_model", "128"), *overrides)
    config = override(read_config(tiny), wanted)
    model = EncoderDecoder(config.model, TableSizes.from_vocabulary(vocabulary))
    return Steps(model, config, make_mesh(config.mesh, jax.devices()[:1]))


def trained(steps: Steps) -> dict:
    """A state as if trained: no two entries alike, no moment at zero."""
    leaves, tree = jax.tree.flatten(jax.eval_shape(steps._init))
    rng = np.random.default_rng(0)
    fill = lambda x: (  # noqa: E731
        jnp.asarray(rng.normal(size=x.shape), x.dtype)
        if jnp.issubdtype(x.dtype, jnp.floating)
        else jnp.full(x.shape, 7, x.dtype)
    )
    return jax.tree.unflatten(tree, [fill(leaf) for leaf in leaves])


@pytest.mark.parametrize("new", [NEAR, FAR], ids=["same table", "larger table"])
@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_old_rows_keep_their_bits_and_new_rows_are_fresh(tiny, new, optimizer: str) -> None:
    """Parameters, both moments (factored ones too) and the average."""
    setting = ("optimizer.name", optimizer)
    state = trained(steps_of(tiny, OLD, setting))
    fresh = steps_of(tiny, new, setting).init()
    grown = grow(state, fresh, OLD, new)
    counts = {"size": OLD.size, "blocks": len(OLD.blocks)}
    rows = {"size": OLD.padded_size, "blocks": len(OLD.blocks)}
    tables = 0
    for (path, got), before, begun in zip(
        jax.tree_util.tree_leaves_with_path(grown),
        jax.tree.leaves(state),
        jax.tree.leaves(fresh),
        strict=True,
    ):
        assert got.shape == begun.shape, path
        got, before, begun = (np.asarray(x) for x in (got, before, begun))
        kind = TABLES.get(str(getattr(path[-1], "key", "")))
        kept = len(before) if before.ndim else None
        if kind is not None and before.ndim and len(before) == rows[kind]:
            kept, tables = counts[kind], tables + 1
            assert np.array_equal(got[kept:], begun[kept:]), path
        assert got[:kept].tobytes() == before[:kept].tobytes() if before.ndim else got == before
    assert tables == {"adamw": 12, "adafactor": 9}[optimizer]


@pytest.mark.parametrize("new", [NEAR, FAR], ids=["same table", "larger table"])
def test_logits_of_old_ids_stay(tiny, new) -> None:
    """To the bit where the table keeps its size, else to 1e-5; the new ids have finite ones."""
    before, after = steps_of(tiny, OLD), steps_of(tiny, new)
    state = {"params": before.init()["params"]}
    grown = grow(state, {"params": after.init()["params"]}, OLD, new)
    ids = np.random.default_rng(1).integers(0, OLD.size, (2, 12)).astype(np.int32)
    positions = np.repeat(np.arange(12, dtype=np.int32)[None, :, None], 3, 2).repeat(2, 0)
    modality, ones = OLD.modality_of(ids), np.ones((2, 12), np.int32)

    def logits(model: EncoderDecoder, params: dict) -> np.ndarray:
        @jax.jit
        def run(params: dict) -> jax.Array:
            memory = model.encode(params, ids, positions, modality, ones)
            causal = np.zeros((2, 12), bool)
            hidden = model.decode(params, memory, ones, ids, positions, modality, ones, causal)
            return model.logits(params, hidden)

        return np.asarray(run(params))

    old, grown_logits = logits(before.model, state["params"]), logits(after.model, grown["params"])
    if new is NEAR:
        assert old[..., : OLD.size].tobytes() == grown_logits[..., : OLD.size].tobytes()
    np.testing.assert_allclose(old[..., : OLD.size], grown_logits[..., : OLD.size], atol=1e-5)
    added = grown_logits[..., OLD.size : new.size]
    assert np.all(np.abs(added) < 100) and np.all(grown_logits[..., new.size :] < -1e8)


def test_only_appended_blocks_are_growth(tiny) -> None:
    other = Vocabulary.build({"text": (64, "a"), "image": (100, "other")}).grow("series", 50)
    with pytest.raises(VocabularyMismatch, match="other"):
        grow({}, {}, OLD, other)


# ---- from one run to the next ---------------------------------------------------------------


@pytest.fixture(scope="module")
def parent(tiny, tmp_path_factory) -> Path:
    config = read_config(tiny)
    return loop.train(dataclasses.replace(config, workdir=str(tmp_path_factory.mktemp("parent"))))


def test_fine_tuning_starts_from_the_other_runs_weights(tiny, parent, tmp_path, capsys) -> None:
    """A run whose mixture has a new modality: the vocabulary grows, what the parent knew is kept."""
    config = read_config(tiny)
    config = dataclasses.replace(
        config,
        tokenizers={"coord": TokenizerConfig(name="coord")},  # text comes along with the parent
        init_from=str(parent),
        workdir=str(tmp_path),
    )
    training = loop.Training(config, tmp_path)
    start, state = training.begin()
    out = capsys.readouterr().out
    assert start == 0 and "grows by block 'coord'" in out
    assert "starting from ema, optimizer, params" in out
    old, new = read_vocabulary(parent), read_vocabulary(tmp_path)
    assert new.extends(old) and new.modalities == ("text", "coord")
    assert list(read_run(tmp_path).tokenizers) == ["text", "coord"]
    for part, ema in (("params", False), ("ema", True)):
        _, theirs = restore_params(parent, ema=ema)
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(theirs),
            jax.tree.leaves(state[part]),
            strict=True,
        ):
            n = {"embedding": old.size, "modality": 3}.get(path[-1].key, len(a))
            assert np.asarray(a)[:n].tobytes() == np.asarray(b)[:n].tobytes(), path
    counts = [
        (jax.tree_util.keystr(path), int(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(state["optimizer"])
        if leaf.ndim == 0
    ]
    assert sorted(value for _, value in counts) == [0, 4]  # the schedule's and Adam's own
    loop.train(config)
    assert Checkpoints(tmp_path).steps()[-1] == 4
    assert np.isfinite(Checkpoints(tmp_path).metrics(4)["loss"])


def test_another_tokenizer_or_model_is_refused_naming_both_sides(tiny, parent, tmp_path) -> None:
    config = dataclasses.replace(read_config(tiny), init_from=str(parent))
    mine = registry.load(config.tokenizers["text"].path)
    wrong = type(mine).fit(["some other text entirely"] * 9, vocab_size=280, log=lambda line: None)
    wrong.save(tmp_path / "wrong")
    tokenizers = {"text": TokenizerConfig(name="text", path=str(tmp_path / "wrong"))}
    with pytest.raises(VocabularyMismatch) as caught:
        loop.train(dataclasses.replace(config, tokenizers=tokenizers, workdir=str(tmp_path / "a")))
    assert mine.fingerprint in str(caught.value) and wrong.fingerprint in str(caught.value)
    model = dataclasses.replace(config.model, d_model=32)
    with pytest.raises(InputError, match=r"config\.model\.d_model: 32.*16"):
        loop.train(dataclasses.replace(config, model=model, workdir=str(tmp_path / "b")))
    assert not (tmp_path / "a" / "config.json").exists()
