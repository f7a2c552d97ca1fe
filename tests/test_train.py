"""Training: exact to resume, the same on any devices and processes, untouched by what is not finite."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unitok.checkpoint import Checkpoints
from unitok.config import Config, ConfigError, ModelConfig, OptimizerConfig
from unitok.config_cli import override, read_config
from unitok.errors import InputError, RunError
from unitok.interfaces import Batch
from unitok.model import EncoderDecoder, TableSizes
from unitok.sharding import make_mesh
from unitok.train import loop, optim, prepare_data, runtime, telemetry
from unitok.train.step import Steps
from unitok.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parent.parent
VOCABULARY = Vocabulary.build({"text": (64, "a"), "image": (100, "b")})


def config_of(file: Path, workdir: Path, **fields: str) -> Config:
    """The tiny config in `workdir`, with overrides (`__` for dots)."""
    config = override(read_config(file), [(k.replace("__", "."), v) for k, v in fields.items()])
    return dataclasses.replace(config, workdir=str(workdir))


def saved(workdir: Path) -> tuple[int, dict[str, bytes], object]:
    """Step, bytes of every array, and data position of the newest checkpoint."""
    run = Checkpoints(workdir)
    step = run.intact_step()
    manifest = json.loads((workdir / "checkpoints" / str(step) / "manifest.json").read_text())
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    config = read_config(workdir / "config.json")
    model = EncoderDecoder(config.model, TableSizes.from_vocabulary(run.vocabulary))
    shapes = jax.eval_shape(Steps(model, config, make_mesh(config.mesh, jax.devices()[:1]))._init)
    wanted = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), shapes)
    _, state, _ = run.restore(wanted, step)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return step, {str(p): np.asarray(x).tobytes() for p, x in leaves}, manifest["data"]


def losses(workdir: Path, split: str = "train") -> dict[int, float]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if row["split"] == split}


# ---- one step -----------------------------------------------------------------------------


def random_batch(seed: int, B: int = 8, S: int = 12, T: int = 10) -> Batch:
    """Rows of up to three examples; text and image targets, unevenly spread over the rows."""
    rng = np.random.default_rng(seed)
    segments = lambda L: np.sort(rng.integers(1, 4, (B, L)), 1).astype(np.int32)  # noqa: E731
    places = lambda L: np.repeat(np.arange(L, dtype=np.int32)[None, :, None], 3, 2).repeat(B, 0)  # noqa: E731
    image, decoder_segments = VOCABULARY.block("image"), segments(T)
    is_image = (decoder_segments == 1) & (np.arange(B)[:, None] < 5)
    labels = np.where(
        is_image,
        rng.integers(image.start, image.end, (B, T)),
        rng.integers(132, image.start, (B, T)),
    )
    encoder, decoder = rng.integers(0, VOCABULARY.size, (B, S)), rng.integers(0, 132, (B, T))
    return Batch(
        encoder.astype(np.int32),
        places(S),
        VOCABULARY.modality_of(encoder),
        segments(S),
        decoder.astype(np.int32),
        places(T),
        VOCABULARY.modality_of(decoder),
        decoder_segments,
        np.zeros((B, T), bool),
        labels.astype(np.int32),
        (rng.random((B, T)) < 0.7).astype(np.float32),
        np.where(is_image, VOCABULARY.modality_id("image"), 0).astype(np.int32),
        np.zeros((B, T), np.int32),
    )


def steps_of(file: Path, **fields: str) -> Steps:
    config = config_of(file, Path("unused"), **fields)
    model = EncoderDecoder(config.model, TableSizes.from_vocabulary(VOCABULARY))
    return Steps(model, config, make_mesh(config.mesh, jax.devices()[:1]))


def test_micro_batches_add_up_to_the_batch(tiny) -> None:
    """Loss, metrics and gradients, though the parts hold different modalities in different numbers."""
    found = []
    for count in ("1", "4"):
        steps = steps_of(tiny, optimizer__accumulate=count, model__dropout="0")
        params = steps.init()["params"]
        found.append(jax.jit(steps._gradients)(params, random_batch(1), jax.random.key(0)))
    whole, parts = (jax.tree.leaves(tree) for tree in found)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)


def test_a_batch_that_is_not_finite_might_never_have_been(tiny) -> None:
    """Weights, moments, average, schedule and dropout go on as if it were absent; it is counted."""
    steps = steps_of(tiny)
    good = [random_batch(seed) for seed in range(3)]
    weights = good[0].weights_BT.copy()
    weights[2, 3] = np.nan
    bad = dataclasses.replace(good[0], weights_BT=weights)

    def run(batches: list[Batch]) -> tuple[dict, dict]:
        state = steps.init()
        for batch in batches:
            state, metrics = steps.train(state, batch)
        return state, metrics

    clean, _ = run(good)
    dirty, metrics = run([good[0], bad, good[1], bad, bad, good[2]])
    assert (int(metrics["skipped"]), int(metrics["skipped_in_row"])) == (3, 0)
    assert int(dirty["progress"].pop("step")) == 3 + int(clean["progress"].pop("step"))
    for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(dirty), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_many_in_a_row_end_the_run(tmp_path) -> None:
    recorder = telemetry.Recorder(tmp_path, VOCABULARY.names, 100, 0)
    recorder.train(7, {"skipped_in_row": np.int32(telemetry.SKIPPED_AT_MOST)})
    with pytest.raises(RunError, match=r"step 7: .*untouched"):
        recorder.train(8, {})
    recorder.close()


# ---- optimiser ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cosine", "rsqrt", "constant"])
def test_schedules_rise_to_the_peak_then_never_rise(kind: str) -> None:
    config = OptimizerConfig(schedule=kind, learning_rate=2e-3, warmup_steps=10, final_share=0.1)
    rate = np.array([float(optim.schedule(config, 100)(i)) for i in range(101)])
    assert rate[0] == pytest.approx(2e-4) and np.all(np.diff(rate[:10]) > 0)
    assert rate.max() == pytest.approx(2e-3) and np.all(np.diff(rate[10:]) <= 1e-9)
    ends = {"cosine": 2e-4, "rsqrt": 2e-3 * (10 / 100) ** 0.5, "constant": 2e-3}
    assert rate[100] == pytest.approx(ends[kind], rel=1e-3)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_decay_spares_norms_and_follows_the_rate(name: str) -> None:
    config = OptimizerConfig(name=name, schedule="constant", warmup_steps=0, weight_decay=0.5)
    optimizer = optim.make_optimizer(config, 10)
    params = {"encoder": {"wi": jnp.ones((2, 4, 4)), "mlp_norm": jnp.ones((2, 4))}}
    updates, _ = optimizer.update(
        jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params
    )
    assert np.all(np.asarray(updates["encoder"]["mlp_norm"]) == 0)
    np.testing.assert_allclose(updates["encoder"]["wi"], -1e-3 * 0.5, rtol=1e-6)


def test_the_schedule_begins_again_and_the_moments_go_on() -> None:
    for name in ("adamw", "adafactor"):
        optimizer = optim.make_optimizer(OptimizerConfig(name=name, warmup_steps=5), 10)
        params = {"wi": jnp.ones((4, 4))}
        _, state = optimizer.update(params, optimizer.init(params), params)
        again = optim.restart_schedule(state)
        changed = [
            jax.tree_util.keystr(path)
            for (path, a), b in zip(
                jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(again), strict=True
            )
            if not np.array_equal(a, b)
        ]
        assert changed and all(path.endswith(".count") for path in changed)


def test_step_flops_are_the_published_count() -> None:
    """T5, d 256, 4 + 4 layers, d_ff 1024, batch 8 of 256 + 128 tokens: 91.8 and 129.3 GFLOP a step."""
    config = ModelConfig.t5(d_model=256, d_ff=1024, encoder_layers=4, decoder_layers=4, num_heads=4)
    for rows, expected in ((8192, 91.8e9), (32000, 129.3e9)):
        found = telemetry.step_flops(config, rows, 8, 256, 128)
        assert found == pytest.approx(expected, rel=2e-3)


# ---- the loop -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory) -> Path:
    """Four steps without a break."""
    return loop.train(config_of(tiny, tmp_path_factory.mktemp("whole")))


def test_four_steps_are_two_and_two_more_to_the_bit(tiny, whole, tmp_path, monkeypatch) -> None:
    config = config_of(tiny, tmp_path, checkpoint__every="100")
    with monkeypatch.context() as patch:
        patch.setattr(runtime.StopRequest, "at", lambda self, step: step == 2)
        with pytest.raises(loop.Stopped, match="step 2 is saved"):
            loop.train(config)
    assert saved(tmp_path)[0] == 2
    loop.train(config)
    assert saved(tmp_path) == saved(whole)
    assert losses(tmp_path) == losses(whole)
    assert saved(whole)[2]["batches"] == 4
    loop.train(config)  # nothing left to do, nothing changed
    assert saved(tmp_path) == saved(whole)


def test_one_flipped_bit_goes_back_a_step_and_ends_the_same(tiny, whole, tmp_path, capsys) -> None:
    config = config_of(tiny, tmp_path)
    loop.train(dataclasses.replace(config, steps=2))
    loop.train(dataclasses.replace(config, steps=3))
    files = [p for p in (tmp_path / "checkpoints" / "3" / "optimizer").rglob("*") if p.is_file()]
    victim = max(files, key=lambda p: p.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[random.Random(0).randrange(len(data))] ^= 4
    victim.write_bytes(data)
    capsys.readouterr()
    loop.train(config)
    out = capsys.readouterr().out
    assert "3 is damaged" in out and "going on from step 2" in out
    assert saved(tmp_path) == saved(whole) and losses(tmp_path) == losses(whole)


def test_what_lies_in_the_run_folder(whole) -> None:
    assert {"config.json", "vocabulary.json", "tokenizers", "metrics.jsonl", "tensorboard"} <= {
        p.name for p in whole.iterdir()
    }
    assert list(losses(whole)) == [1, 2, 3, 4] and list(losses(whole, "eval")) == [2, 4]
    assert Checkpoints(whole).metrics(4)["loss"] == losses(whole, "eval")[4]
    assert read_config(whole / "config.json").steps == 4


def test_a_changed_config_is_reported_or_refused(tiny, whole, tmp_path, capsys) -> None:
    def again(**fields: str) -> str:
        capsys.readouterr()
        loop.train(config_of(tiny, whole, **fields))
        return capsys.readouterr().out

    assert "config.optimizer.learning_rate: was 0.01, now 0.02" in again(
        optimizer__learning_rate="0.02"
    )
    assert "its stream begins anew" in again(tasks__turn__weight="2")
    assert "anew" not in again(tasks__turn__eval_items="3", data__prefetch="2")
    for fields in ({"model__rope_theta": "7"}, {"tokenizers__text__options__x": "1"}):
        with pytest.raises(InputError, match="use another --workdir"):
            again(**fields)
    again()  # back to what it was
    before = saved(whole)
    assert before[0] == 4


def test_a_mixture_is_told_by_what_was_saved_not_by_what_was_tried(tiny, whole, tmp_path) -> None:
    """A start with other tasks that is killed before its first save leaves the step's own stream to go on with,
    and begins anew when it is tried again."""
    config = config_of(tiny, tmp_path)
    loop.train(dataclasses.replace(config, steps=2))
    other = config_of(tiny, tmp_path, tasks__turn__weight="9", data__window="7", steps="3")
    for _ in range(2):  # the second time, config.json holds the other tasks already
        training = loop.Training(other, tmp_path)
        assert training.begin()[0] == 2 and training.stream.state()["batches"] == 0
    loop.train(config)  # the first one again
    assert saved(tmp_path) == saved(whole)


def test_tuples_in_a_config_go_on_as_the_lists_they_become(tiny, tmp_path, capsys) -> None:
    config = config_of(tiny, tmp_path)
    lines = config.sources["lines"]

    def again(split: object, steps: int) -> str:
        source = dataclasses.replace(lines, options={**lines.options, "split": split})
        loop.train(dataclasses.replace(config, steps=steps, sources={"lines": source}))
        return capsys.readouterr().out

    split = {"train": (0, 0.5), "test": (0.5, 1)}
    again(split, 1)
    out = again(split, 2)
    assert "going on from step 1" in out and "anew" not in out
    with pytest.raises(ConfigError, match="ndarray is not JSON serializable; a config holds text"):
        again(np.zeros(2), 3)


def test_a_run_folder_without_a_checkpoint_begins_anew(tiny, whole, tmp_path) -> None:
    config = config_of(tiny, tmp_path)
    loop.Training(dataclasses.replace(config, seed=5), tmp_path)  # killed before its first save
    loop.train(config)
    assert saved(tmp_path) == saved(whole)


def test_prepare_makes_what_training_goes_on_with(tiny, tmp_path, capsys) -> None:
    """The run folder, the rows and the counts that training then reports; at most 80 columns."""
    config = config_of(tiny, tmp_path, steps="1")
    found = prepare_data.prepare_data(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists() or not Checkpoints(tmp_path).steps()
    training = loop.Training(config, tmp_path)
    assert training.stream.lengths == (found["rows"]["encoder"], found["rows"]["decoder"])
    assert training.vocabulary.size == sum(found["vocabulary"].values())
    assert set(found["tasks"]) == set(config.tasks) and 0.5 < found["fill"] <= 1
    for name, task in found["tasks"].items():
        assert task["records"]["train"] > task["records"]["eval"] > 0, name
        assert task["too_long"] == 0 < task["input_tokens"]["mean"] <= task["input_tokens"]["most"]
    assert max(map(len, prepare_data.lines(found)[1:])) <= 80
    flags = [f"--config={tiny}", f"--workdir={tmp_path}", "--json"]
    capsys.readouterr()
    assert prepare_data.main(flags) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert prepare_data.main([f"--config={tiny}", "--nothing"]) == 2


# ---- processes, devices, signals ----------------------------------------------------------


def command(tiny: Path, workdir: Path, *flags: str) -> list[str]:
    main = str(ROOT / "train" / "main.py")
    return [sys.executable, main, f"--config={tiny}", f"--workdir={workdir}", *flags]


def environment(**more: str) -> dict[str, str]:
    """Little optimisation: these programs run for a moment, after compiling for long."""
    flags = f"--xla_backend_optimization_level=0 {more.pop('XLA_FLAGS', '')}"
    return {**os.environ, "JAX_PLATFORMS": "cpu", **more, "XLA_FLAGS": flags.strip()}


@pytest.fixture(scope="module")
def alone(tiny, whole, tmp_path_factory) -> Path:
    """Twenty steps of one process on one device."""
    assert jax.device_count() == 1
    fields = {"steps": "20", "checkpoint__every": "20"}
    return loop.train(config_of(tiny, tmp_path_factory.mktemp("alone"), **fields))


def test_eight_devices_train_as_one(tiny, alone, tmp_path) -> None:
    """data 2 x fsdp 2 x tensor 2: twenty steps' losses to 1e-4."""
    mesh = [f"--config.mesh.{axis}=2" for axis in ("data", "fsdp", "tensor")]
    done = subprocess.run(
        command(tiny, tmp_path, "--config.steps=20", "--config.checkpoint.every=20", *mesh),
        env=environment(XLA_FLAGS="--xla_force_host_platform_device_count=8"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    one, eight = losses(alone), losses(tmp_path)
    assert len(one) == 20 and max(abs(one[i] - eight[i]) for i in one) < 1e-4


def test_two_processes_train_as_one(tiny, alone, tmp_path) -> None:
    """Over loopback: the same batches, losses to 1e-5, one checkpoint; one process may go on alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    flags = ["--config.steps=20", "--config.checkpoint.every=10"]
    cluster = [f"--coordinator={address}", "--processes=2"]
    children = [
        subprocess.Popen(
            command(tiny, tmp_path, *flags, *cluster, f"--process={i}"),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    outputs = [child.communicate(timeout=240)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], "\n".join(outputs)
    one, two = losses(alone), losses(tmp_path)
    assert len(one) == 20 and max(abs(one[i] - two[i]) for i in one) < 1e-5
    assert abs(losses(alone, "eval")[20] - losses(tmp_path, "eval")[20]) < 1e-5
    assert saved(tmp_path)[2] == saved(alone)[2]


def test_sigterm_saves_and_leaves_with_a_code_of_its_own(tiny, tmp_path) -> None:
    env = environment(XDG_CACHE_HOME=str(tmp_path / "cache"))
    del env["JAX_COMPILATION_CACHE_DIR"]  # the program's own, in the user's cache folder
    workdir = tmp_path / "run"
    flags = ["--config.steps=10000", "--config.checkpoint.every=10000", "--config.data.workers=2"]
    child = subprocess.Popen(
        command(tiny, workdir, *flags),
        env=env,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    for line in child.stdout:
        if "validation" in line:
            # as a terminal or a scheduler does: to the processes that read, too
            os.killpg(child.pid, signal.SIGTERM)
            break
    _, stderr = child.communicate(timeout=120)
    assert child.returncode == 75 and "the same command goes on" in stderr
    step, _, position = saved(workdir)
    assert step >= 2 and position["batches"] == step and max(losses(workdir)) == step
    assert any((tmp_path / "cache" / "unitok" / "compiled").rglob("*-cache"))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--config.stpes=3"], "did you mean config.steps?"),
        (
            ["--config.data.batch_size=6", "--config.optimizer.accumulate=4"],
            "data.batch_size: 6 rows",
        ),
        (["--config.mesh.fsdp=3"], "mesh"),
        (["--config.init_from=no/such/run"], "no/such/run"),
        (["--processes=2", "--process=0"], "--coordinator is missing"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_two(tiny, tmp_path, capsys, flags, told) -> None:
    from unitok.train.main import main

    argv = [f"--config={tiny}", f"--workdir={tmp_path / 'run'}", *flags]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_help_needs_no_jax() -> None:
    program = (
        "import sys; sys.argv = ['train', '--help']\n"
        "from unitok.train.main import main\n"
        "try: main(['--help'])\n"
        "finally: assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and "--config=" in done.stdout, done.stderr
