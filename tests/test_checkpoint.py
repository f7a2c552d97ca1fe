"""A saved step is whole or does not count; what is damaged is noticed and left aside."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unitok.checkpoint import Checkpoints, restore_params
from unitok.checksums import damage
from unitok.errors import InputError, RunError
from unitok.vocabulary import Vocabulary, VocabularyMismatch

VOCABULARY = Vocabulary.build({"text": (64, "aa"), "image": (128, "bb")})


def make_state(seed: int = 0) -> dict:
    keys = jax.random.split(jax.random.key(seed), 3)
    params = {
        "embedding": jax.random.normal(keys[0], (384, 16)),
        "encoder": {"wi": jax.random.normal(keys[1], (2, 16, 32))},
    }
    return {
        "params": params,
        "optimizer": optax.adamw(1e-3).init(params),
        "ema": jax.tree.map(lambda x: x + 1, params),
        "progress": {"step": jnp.int32(seed), "key": jax.random.key_data(keys[2])},
    }


def abstract(state: dict) -> dict:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


def same_bits(a: object, b: object) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
    )


def save(path: Path, *steps: int, keep: int = 9, losses: dict | None = None) -> Checkpoints:
    checkpoints = Checkpoints(path, keep, VOCABULARY)
    for step in steps:
        metrics = {"loss": losses[step]} if losses else {}
        checkpoints.save(step, make_state(step), {"window": step}, metrics)
    checkpoints.wait()
    return checkpoints


def flip_bit(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def test_everything_comes_back_to_the_bit(tmp_path) -> None:
    save(tmp_path, 3, 7)
    state = make_state(7)
    step, restored, data = Checkpoints(tmp_path, vocabulary=VOCABULARY).restore(abstract(state))
    assert (step, data) == (7, {"window": 7})
    assert same_bits(restored, state)
    step, restored, data = Checkpoints(tmp_path, vocabulary=VOCABULARY).restore(abstract(state), 3)
    assert (step, data) == (3, {"window": 3}) and same_bits(restored, make_state(3))


def test_saving_does_not_see_later_donated_steps(tmp_path) -> None:
    """The arrays of a save under way are donated to the next steps at once; what is stored stays."""
    checkpoints = Checkpoints(tmp_path, 9, VOCABULARY)
    step = jax.jit(lambda s: jax.tree.map(lambda x: x * 2 + 1, s), donate_argnums=0)
    state, truth = {"params": {"embedding": jnp.zeros((512, 1024))}}, {}
    for i in range(1, 6):
        state = step(state)
        truth[i] = np.asarray(jnp.copy(state["params"]["embedding"])).copy()
        checkpoints.save(i, state, None)
    state = jax.block_until_ready(step(step(state)))
    checkpoints.wait()
    for i, expected in truth.items():
        _, restored, _ = checkpoints.restore(abstract(state), i)
        assert np.array_equal(restored["params"]["embedding"], expected)


def test_every_kind_of_damage_is_noticed(tmp_path) -> None:
    """One flipped bit, a truncation, a deletion in any file, the manifest's too."""
    save(tmp_path, 5)
    folder, spare = tmp_path / "checkpoints" / "5", tmp_path / "spare"
    shutil.copytree(folder, spare)
    rng = random.Random(0)
    files = [p for p in folder.rglob("*") if p.is_file()]
    for trial in range(60):
        file = rng.choice([f for f in files if f.stat().st_size])
        if trial % 3 == 0:
            flip_bit(file, rng)
        elif trial % 3 == 1:
            os.truncate(file, rng.randrange(file.stat().st_size))
        else:
            file.unlink()
        assert damage(folder) is not None, file
        shutil.copyfile(spare / file.relative_to(folder), file)
        assert damage(folder) is None


def test_a_damaged_step_falls_back_to_the_newest_intact_one_and_says_so(tmp_path) -> None:
    save(tmp_path, 1, 2, 3)
    rng = random.Random(1)
    for step in (2, 3):
        data = max(
            (tmp_path / "checkpoints" / str(step)).rglob("*"), key=lambda p: p.stat().st_size
        )
        flip_bit(data, rng)
    lines: list[str] = []
    checkpoints = Checkpoints(tmp_path, vocabulary=VOCABULARY, log=lines.append)
    step, restored, _ = checkpoints.restore(abstract(make_state()))
    assert step == 1 and same_bits(restored, make_state(1))
    assert [("3 is damaged" in lines[0]), ("2 is damaged" in lines[1]), ("1" in lines[2])] == [
        True
    ] * 3
    assert checkpoints.steps() == [1]
    with pytest.raises(InputError, match="no step 3"):
        checkpoints.restore(abstract(make_state()), 3)
    with pytest.raises(RunError, match="step 3 is damaged"):
        Checkpoints(tmp_path, vocabulary=VOCABULARY, log=lines.append).restore(
            abstract(make_state()), 3
        )
    checkpoints.save(3, make_state(33), None)  # written again in its place
    checkpoints.wait()
    assert Checkpoints(tmp_path, vocabulary=VOCABULARY).restore(abstract(make_state()))[0] == 3


def test_nothing_intact_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        Checkpoints(tmp_path, vocabulary=VOCABULARY).restore(abstract(make_state()))
    save(tmp_path, 1)
    (tmp_path / "checkpoints" / "1" / "manifest.json").write_text("{}")
    with pytest.raises(RunError, match="no step is intact"):
        Checkpoints(tmp_path, vocabulary=VOCABULARY).restore(abstract(make_state()))


def test_only_durable_steps_are_named_by_the_writer(tmp_path) -> None:
    checkpoints = Checkpoints(tmp_path, 3, VOCABULARY)
    for step in range(1, 4):
        checkpoints.save(step, make_state(step), None)
        for named in checkpoints.steps():  # while the save is under way
            assert damage(tmp_path / "checkpoints" / str(named)) is None
    checkpoints.wait()
    assert checkpoints.steps() == [1, 2, 3]


def test_retention_keeps_the_newest_and_the_best(tmp_path) -> None:
    losses = {1: 3.0, 2: 1.0, 3: 2.0, 4: float("nan"), 5: 2.5, 6: 2.0}
    half_written = tmp_path / "checkpoints" / "7.orbax-checkpoint-tmp"
    half_written.mkdir(parents=True)
    checkpoints = save(tmp_path, *losses, keep=2, losses=losses)
    assert checkpoints.steps() == [2, 5, 6]
    assert checkpoints.best_step() == 2
    assert checkpoints.metrics(5) == {"loss": 2.5}
    assert not half_written.exists()


def test_another_vocabulary_is_refused_naming_both_sides(tmp_path) -> None:
    save(tmp_path, 1)
    other = Vocabulary.build({"text": (64, "aa"), "image": (256, "cc")})
    with pytest.raises(VocabularyMismatch) as caught:
        Checkpoints(tmp_path, vocabulary=other).restore(abstract(make_state()))
    for told in ("image", "128", "256", "bb", "cc"):
        assert told in str(caught.value)


def test_other_arrays_are_refused_by_name(tmp_path) -> None:
    save(tmp_path, 1)
    state = make_state()
    state["params"]["encoder"]["wi"] = jnp.zeros((3, 16, 32))
    with pytest.raises(InputError, match=r"params/encoder/wi.*\[3, 16, 32\]"):
        Checkpoints(tmp_path, vocabulary=VOCABULARY).restore(abstract(state))


def test_params_alone_on_any_device_and_dtype(tmp_path) -> None:
    save(tmp_path, 4)
    (tmp_path / "vocabulary.json").write_text(json.dumps(VOCABULARY.manifest()))
    state = make_state(4)
    step, params = restore_params(tmp_path, ema=False)
    assert step == 4 and same_bits(params, state["params"])
    assert same_bits(restore_params(tmp_path)[1], state["ema"])
    half = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16, sharding=x.sharding), state["params"]
    )
    _, params = restore_params(tmp_path, ema=False, abstract=half)
    expected = jax.tree.map(lambda x: x.astype(jnp.bfloat16), state["params"])
    assert same_bits(params, expected)


def test_a_failed_save_says_what_is_safe(tmp_path) -> None:
    """The disk refuses to grow a file: an error, the step before is intact, nothing half-written counts."""
    checkpoints = save(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(RunError, match=r"2: could not be saved.*step 1 is safe"):
            checkpoints.save(2, make_state(2), None)
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoints.steps() == Checkpoints(tmp_path).steps() == [1]
    checkpoints.save(2, make_state(2), None)
    checkpoints.wait()
    assert Checkpoints(tmp_path, vocabulary=VOCABULARY).restore(abstract(make_state()))[0] == 2


def test_killed_while_saving_leaves_whole_steps_only(tmp_path) -> None:
    """SIGKILL at random moments of a process that saves without end."""
    program = """
import sys, jax, jax.numpy as jnp
from unitok.checkpoint import Checkpoints
from unitok.vocabulary import Vocabulary
c = Checkpoints(sys.argv[1], 3, Vocabulary.build({"text": (64, "aa")}))
step = max(c.steps(), default=0)
while True:
    step += 1
    c.save(step, {"params": {"embedding": jnp.full((256, 256), step)}}, step)
    print(step, flush=True)
"""
    vocabulary = Vocabulary.build({"text": (64, "aa")})
    rng = random.Random(2)
    wanted = {"params": {"embedding": jnp.zeros((256, 256), jnp.int32)}}
    last = 0
    for _ in range(2):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        assert child.stdout is not None
        for _ in range(rng.randrange(4, 10)):
            child.stdout.readline()
        child.kill()
        child.wait()
        step, state, data = Checkpoints(tmp_path, vocabulary=vocabulary).restore(abstract(wanted))
        assert step == data > last
        assert np.all(np.asarray(state["params"]["embedding"]) == step)
        last = step
