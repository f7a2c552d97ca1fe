"""The decoding loop against teacher forcing, itself, and other batches. Random weights, float32."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unitok import beam, generate, grammar, parallel, registry, sampling
from unitok.config import ModelConfig
from unitok.generate import Controls, Plan, Prompts
from unitok.model import EncoderDecoder, TableSizes
from unitok.tokenizers.text import TextTokenizer
from unitok.vocabulary import EOS, PAD, Vocabulary

ROWS, WIDTH, LENGTH, BUDGET = 16, 16, 24, 22
SAMPLED = Plan(LENGTH, sample=True, filters=True, penalty=True, guided=True)
LONG = Plan(generate.GROWS_FROM)  # the cache grows
LARGE = {"height": 44, "width": 40, "channels": 1}  # 110 codes


class World:
    """A random model over text of bytes and images of 4 x 4 patches."""

    def __init__(self):
        lines = [f"{a} {b}" for a in ("red", "green", "old") for b in ("dog", "cat", "bird")] * 9
        text = TextTokenizer.fit(lines, vocab_size=290, log=lambda line: None)
        image = registry.build("image", patch=4, codes=32, width=8, depth=1)
        self.tokenizers = {"text": text, "image": image}
        self.vocabulary = Vocabulary.build(
            [(name, t.size, t.fingerprint) for name, t in self.tokenizers.items()]
        )
        config = ModelConfig(
            d_model=32, d_ff=64, num_heads=2, encoder_layers=1, decoder_layers=1, tied_head=False
        )
        self.model = EncoderDecoder(config, TableSizes.from_vocabulary(self.vocabulary))
        params = jax.jit(self.model.init)(jax.random.key(0))
        # louder prompts, marks and EOS: different answers, some with images, of different lengths
        decoder = {**params["decoder"], "cross_out": params["decoder"]["cross_out"] * 8}
        marks = np.array([EOS, self.vocabulary.begin("image")])
        head = params["head"].at[marks].multiply(2.5)
        self.params = {**params, "decoder": decoder, "head": head}

    def target(self, to, **request):
        return grammar.target(self.vocabulary, self.tokenizers, to, **request)

    def prompts(self, seed, rows=ROWS):
        rng = np.random.default_rng(seed)
        ids = rng.integers(140, self.vocabulary.size, (rows, WIDTH)).astype(np.int32)
        positions = np.repeat(np.arange(WIDTH, dtype=np.int32)[None, :, None], 3, 2)
        segments = (np.arange(WIDTH) < rng.integers(1, WIDTH + 1, (rows, 1))).astype(np.int32)
        modality = np.full((rows, WIDTH), 2, np.int32)
        return Prompts(ids, np.tile(positions, (rows, 1, 1)), modality, segments)

    def decode(self, target, plan, prompts, controls):
        out = generate.decode(self.model, target, plan, self.params, prompts, controls)
        return tuple(map(np.asarray, out))


def controls(rows=ROWS, seed=0, **columns):
    filled = {
        "budget": np.full(rows, BUDGET, np.int32),
        "seed": np.stack([seed + np.arange(rows), np.zeros(rows)], 1).astype(np.uint32),
        "top_k": np.zeros(rows, np.int32),
    }
    ones = {
        "temperature": 1,
        "top_p": 1,
        "min_p": 0,
        "penalty": 1,
        "guidance": 1,
        "length_penalty": 0,
    }
    for name, value in ones.items():
        filled[name] = np.full(rows, value, np.float32)
    for name, value in columns.items():
        filled[name] = np.broadcast_to(np.asarray(value, filled[name].dtype), rows)
    return Controls(**filled)


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def greedy(world):
    """416 prompts answered greedily: (prompts, ids, log_prob) by batch."""
    target, found = world.target("mixed"), []
    for seed in range(26):
        prompts = world.prompts(seed)
        found.append((prompts, *world.decode(target, Plan(LENGTH), prompts, controls())))
    return found


@pytest.fixture(scope="module")
def forced_log_prob(world):
    """(prompts, ids) -> log_prob_BN of each id under the grammar, and the argmax ids_BN."""
    target = world.target("mixed")

    @jax.jit
    def run(prompts, ids):
        budget = jnp.full(ROWS, BUDGET)
        logits, allowed = generate.teacher_forced(
            world.model, target, world.params, prompts, ids, budget
        )
        logits = sampling.masked(logits, allowed)
        return jnp.where(ids == PAD, 0, sampling.log_prob(logits, ids)), logits.argmax(-1)

    return run


def test_greedy_is_the_argmax_of_teacher_forcing_under_the_grammar(world, greedy, forced_log_prob):
    different, lengths, images = set(), set(), 0
    for prompts, ids, log_prob in greedy:
        gains, best = map(np.asarray, forced_log_prob(prompts, ids))
        np.testing.assert_array_equal(best[ids != PAD], ids[ids != PAD])
        np.testing.assert_allclose(gains.sum(1), log_prob, atol=1e-4)
        different |= {row.tobytes() for row in ids}
        lengths |= {int((row != PAD).sum()) for row in ids}
        images += (ids == world.vocabulary.end("image")).any(1).sum()
    assert len(different) > 100, "the same answer to every prompt proves little"
    assert len(lengths) > 8 and images > 5, (lengths, images)


def test_long_answers_outgrow_their_first_cache_and_stay_the_same(world):
    """Past each quarter of the slots, greedy and by beams: what teacher forcing gives."""
    length, rows = LONG.length, 4
    target = world.target("image", **LARGE)
    prompts, budget = world.prompts(0, rows), np.full(rows, length, np.int32)
    ids, _ = world.decode(target, LONG, prompts, controls(rows, budget=budget))
    assert ((ids != PAD).sum(1) > length * 3 / 4).all()
    logits, allowed = generate.teacher_forced(
        world.model, target, world.params, prompts, ids, budget
    )
    best = np.asarray(sampling.masked(logits, allowed).argmax(-1))
    np.testing.assert_array_equal(best[ids != PAD], ids[ids != PAD])
    found, scores = beam.beam_search(
        world.model, target, Plan(length, beams=2), world.params, prompts, controls(rows, budget=budget)
    )  # fmt: skip
    for place in range(2):
        own = generate.score(
            world.model, target, True, world.vocabulary.size, world.params, prompts, found[:, place], budget
        )  # fmt: skip
        np.testing.assert_allclose(own, scores[:, place], atol=1e-3)


def put(one, many, at):
    """`many` rows with `one` in place of row `at`."""
    place = lambda new, old: np.concatenate([old[:at], new, old[at + 1 :]])  # noqa: E731
    return jax.tree.map(place, one, many)


def test_a_row_is_the_same_to_the_bit_whatever_rides_beside_it(world):
    """Sampled, filtered, penalised and guided: one request at every place among different others."""
    target, width = world.target("mixed"), np.linspace(0.1, 10, ROWS)
    mine = world.prompts(99, rows=1)
    own = controls(1, seed=7, temperature=1.3, top_k=50, top_p=0.95, penalty=1.2, guidance=2)
    seen = set()
    for at in (0, 5, 15):
        others = controls(seed=100 * at, temperature=width, min_p=0.01 * at / 15, guidance=1 + at)
        idle = dataclasses.replace(others, budget=np.zeros(ROWS, np.int32))
        for rest in (others, idle):
            prompts = put(mine, world.prompts(at), at)
            ids, log_prob = world.decode(target, SAMPLED, prompts, put(own, rest, at))
            seen.add((ids[at].tobytes(), log_prob[at].tobytes()))
            if rest is idle:
                assert (np.delete(ids, at, 0) == PAD).all()
            else:
                assert len({row.tobytes() for row in ids}) == ROWS
    assert len(seen) == 1


def test_beams_are_the_same_to_the_bit_whatever_rides_beside_them(world):
    """All hypotheses of one request and their scores, among others of other budgets, done early or idle."""
    target, plan = world.target("mixed"), Plan(LENGTH, beams=3)
    mine, own, seen = world.prompts(99, rows=1), controls(1, length_penalty=0.6), set()
    for at, budgets in ((0, np.arange(ROWS) + 5), (7, np.zeros(ROWS)), (15, np.full(ROWS, BUDGET))):
        others = controls(budget=budgets, length_penalty=np.linspace(0, 2, ROWS))
        ids, log_prob = map(np.asarray, beam.beam_search(
            world.model, target, plan, world.params, put(mine, world.prompts(at), at), put(own, others, at)
        ))  # fmt: skip
        seen.add((ids[at].tobytes(), log_prob[at].tobytes()))
        assert len({row.tobytes() for row in ids}) == (ROWS if budgets.any() else 2)
    assert len(seen) == 1 and len({row.tobytes() for row in ids[15]}) == 3


def test_parallel_decoding_is_the_same_to_the_bit_whatever_rides_beside_it(world):
    """Sampled and guided, among others of other seeds, temperatures and guidance, or idle."""
    layout = parallel.fixed_layout(world.target("image", height=12, width=8, channels=1), 40)
    assert layout is not None
    plan = Plan(40, sample=True, guided=True, parallel_steps=4)
    mine, own = world.prompts(99, rows=1), controls(1, seed=7, temperature=1.3, guidance=2)
    seen = set()
    for at, budget in ((0, BUDGET), (7, 0), (15, BUDGET)):
        others = controls(
            seed=100 * at, temperature=np.linspace(0.1, 10, ROWS), guidance=1 + at, budget=budget
        )
        ids, log_prob = map(np.asarray, parallel.decode_parallel(
            world.model, plan, layout.span, world.params, put(mine, world.prompts(at), at), put(own, others, at),
            layout.allowed_TV, layout.positions_T3, layout.modality_T, layout.ids_T,
        ))  # fmt: skip
        seen.add((ids[at].tobytes(), log_prob[at].tobytes()))
        assert len({row.tobytes() for row in ids}) > (ROWS // 2 if budget else 1)
    assert len(seen) == 1


def test_seeds_and_samples_differ_and_repeat(world):
    target, prompts = world.target("mixed"), world.prompts(0)
    same_prompt = jax.tree.map(lambda x: np.repeat(x[:1], ROWS, 0), prompts)
    hot = controls(temperature=3.0)  # an answer that ends at once is like any other that does
    ids, _ = world.decode(target, SAMPLED, same_prompt, hot)
    again, _ = world.decode(target, SAMPLED, same_prompt, hot)
    np.testing.assert_array_equal(ids, again)
    assert len({row.tobytes() for row in ids}) == ROWS
    samples = controls(seed=0, temperature=3.0)
    seed = np.stack([np.zeros(ROWS), np.arange(ROWS)], 1).astype(np.uint32)
    by_sample, _ = world.decode(
        target, SAMPLED, same_prompt, dataclasses.replace(samples, seed=seed)
    )
    np.testing.assert_array_equal(by_sample[0], ids[0])
    assert len({row.tobytes() for row in by_sample}) == ROWS


def test_guidance_of_one_is_none_and_nothing_to_guide_by_changes_nothing(world, greedy):
    prompts, ids, log_prob = greedy[0]
    cold = controls(temperature=1e-6)
    target = world.target("mixed")
    guided, guided_log_prob = world.decode(target, SAMPLED, prompts, cold)
    np.testing.assert_array_equal(guided, ids)
    np.testing.assert_allclose(guided_log_prob, log_prob, atol=1e-4)
    strong, _ = world.decode(
        target, SAMPLED, prompts, dataclasses.replace(cold, guidance=np.full(ROWS, 4, np.float32))
    )
    assert (strong != ids).any()
    empty = dataclasses.replace(prompts, segments_BS=np.zeros_like(prompts.segments_BS))
    none, _ = world.decode(target, SAMPLED, empty, cold)
    much, _ = world.decode(
        target, SAMPLED, empty, dataclasses.replace(cold, guidance=np.full(ROWS, 4, np.float32))
    )
    np.testing.assert_array_equal(none, much)


def test_guide_between_and_beyond():
    logits, strength = jnp.array([[1.0, 2.0], [0.5, 4.0]]), jnp.array([0.0])
    np.testing.assert_array_equal(generate.guide(logits, strength)[0], logits[1:])
    np.testing.assert_array_equal(generate.guide(logits, strength + 1)[0], logits[:1])
    np.testing.assert_array_equal(generate.guide(logits, strength + 3)[0], [[2.0, -2.0]])


def test_one_beam_is_greedy_and_more_beams_find_no_less(world, greedy, forced_log_prob):
    prompts, ids, log_prob = greedy[0]
    target = world.target("mixed")
    search = lambda beams, **columns: tuple(  # noqa: E731
        np.asarray(out)
        for out in beam.beam_search(
            world.model,
            target,
            Plan(LENGTH, beams=beams),
            world.params,
            prompts,
            controls(**columns),
        )
    )
    one, one_log_prob = search(1)
    np.testing.assert_array_equal(one[:, 0], ids)
    np.testing.assert_allclose(one_log_prob[:, 0], log_prob, atol=1e-4)
    four, four_log_prob = search(4)
    assert (np.diff(four_log_prob, axis=1) <= 1e-6).all(), "best first"
    assert all(len({hypothesis.tobytes() for hypothesis in row}) == 4 for row in four)
    assert four_log_prob[:, 0].mean() > log_prob.mean()
    lengths = (four[:, 0] != PAD).sum(1)
    longer, _ = search(4, length_penalty=3.0)
    assert (longer[:, 0] != PAD).sum() >= lengths.sum()
    gains, _ = forced_log_prob(prompts, four[:, 0])
    np.testing.assert_allclose(np.asarray(gains).sum(1), four_log_prob[:, 0], atol=1e-4)


def test_parallel_decoding_fills_a_fixed_layout(world):
    target = world.target("image", height=12, width=8, channels=1)
    layout = parallel.fixed_layout(target, 40)
    forced = layout.allowed_TV.sum(1) == 1
    assert (~forced).sum() == 6  # 3 x 2 patches
    trace = jax.jit(partial(grammar.trace, target))
    allowed, positions, modality = trace(layout.ids_T, 40)
    np.testing.assert_array_equal(allowed, layout.allowed_TV)
    np.testing.assert_array_equal(positions[1:], layout.positions_T3[:-1])
    np.testing.assert_array_equal(modality[1:], layout.modality_T[:-1])
    ids, log_prob = parallel.decode_parallel(
        world.model, Plan(40, sample=True, parallel_steps=4), layout.span, world.params, world.prompts(0),
        controls(), layout.allowed_TV, layout.positions_T3, layout.modality_T, layout.ids_T,
    )  # fmt: skip
    ids = np.asarray(ids)
    assert layout.allowed_TV[np.arange(len(layout.ids_T)), ids].all()
    assert len({row.tobytes() for row in ids}) > 8 and (np.asarray(log_prob) < 0).all()
    assert parallel.fixed_layout(world.target("image"), 40) is None


ON_A_MESH = """
import importlib.util, os
import jax, numpy as np
spec = importlib.util.spec_from_file_location("test_generate", os.environ["TEST_FILE"])
t = importlib.util.module_from_spec(spec)
spec.loader.exec_module(t)
from unitok import sharding
from unitok.config import MeshConfig
assert len(jax.devices()) == 8
world = t.World()
mesh = sharding.make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
world.params = jax.device_put(world.params, sharding.param_shardings(mesh, world.params))
spread = sharding.batch_sharding(mesh)
arguments = jax.device_put((world.prompts(0), t.controls()), spread)
with jax.set_mesh(mesh):
    ids, _ = world.decode(world.target("mixed"), t.Plan(t.LENGTH), *arguments)
    more_room = jax.device_put(t.controls(budget=t.LONG.length), spread)
    long, _ = world.decode(world.target("image", **t.LARGE), t.LONG, arguments[0], more_room)
np.savez(os.environ["OUT_FILE"], ids=ids, long=long)
"""


def test_eight_devices_give_the_tokens_of_one(world, greedy, tmp_path):
    env = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "TEST_FILE": __file__,
        "OUT_FILE": str(tmp_path / "ids.npz"),
    }
    done = subprocess.run(
        [sys.executable, "-c", ON_A_MESH], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(tmp_path / "ids.npz")
    prompts, ids, _ = greedy[0]
    np.testing.assert_array_equal(found["ids"], ids)
    large, more_room = world.target("image", **LARGE), controls(budget=LONG.length)
    alone, _ = world.decode(large, LONG, prompts, more_room)
    assert len({row.tobytes() for row in alone}) > 1
    np.testing.assert_array_equal(found["long"], alone)
