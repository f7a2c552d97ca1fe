"""What people call: generate, score, embed, load, and the commands on top. Untrained weights throughout:
what the grammar promises must not hang on what the model has learned."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from untrained import make_predictor

from unitok import registry
from unitok.commands import generate as generate_command
from unitok.commands import inspect as inspect_command
from unitok.config import (
    Config,
    SourceConfig,
    TaskConfig,
    Template,
    TokenizerConfig,
    to_dict,
)
from unitok.errors import InputError
from unitok.predictor import Predictor, Request
from unitok.tokenizers.graph_grammar import EMPTY, LINKED
from unitok.values import Image, Series
from unitok.vocabulary import EOS

TEMPERATURES = (0.1, 0.5, 2.0, 10.0)
PAST = Series(np.sin(np.arange(80).reshape(40, 2) / 3).astype(np.float32))
LABELS = ("cat", "old dog")
ASKED: dict[str, tuple[dict[str, Any], Any]] = {  # by target: constraints, and what they promise
    "audio": ({"length": 900}, lambda v: len(v.samples) == 900),
    "coord": (
        {"max_boxes": 3, "labels": list(LABELS)},
        lambda v: len(v.labels) <= 3 and set(v.labels) <= set(LABELS),
    ),
    "graph": (
        {"max_nodes": 6, "directed": True, "node_labels": False},
        lambda v: v.num_nodes <= 6 and v.directed and v.node_labels is None,
    ),
    "image": ({"height": 12, "width": 20, "channels": 1}, lambda v: v.pixels.shape == (12, 20, 1)),
    "series@past": ({"length": 9}, lambda v: v.values.shape == (9, 2)),
    "text": ({"pattern": "number", "max_tokens": 9}, lambda v: np.isfinite(float(v))),
}
FIXED = ("audio", "image", "series@past")  # the constraints leave one geometry
TARGETS = [f"{name}@past" if name == "series" else name for name in registry.names()]
CHOICES = {"choices": ["a red dog", "a green dog", "no"]}
BUDGET = 60


def describe(value: Any) -> str:
    """What a histogram of geometries counts."""
    name = type(value).__name__
    if isinstance(value, str):
        return f"text of {len(value) // 8 * 8}+"
    sizes = {"Image": "pixels", "Audio": "samples", "Series": "values", "Boxes": "coords"}
    if name in sizes:
        return f"{name} {list(getattr(value, sizes[name]).shape)}"
    return f"{name} {value.num_nodes} nodes, {value.num_edges} edges"


@pytest.fixture(scope="module")
def predictor():
    return make_predictor(batch_sizes=(16,))


@pytest.fixture(scope="module")
def picture():
    return Image(np.random.default_rng(0).integers(0, 256, (8, 8, 1), dtype=np.uint8))


# ---- every output is a value ---------------------------------------------------------------


def sample(
    predictor: Predictor, to: str, each: int, asked: bool = True, budget: int = BUDGET
) -> tuple[Counter, Counter]:
    """`each` samples at every temperature and four budgets: all decode, with the geometry asked for
    where one is. Returns the histograms of geometries and of lengths in tokens."""
    constraints, holds = ASKED[to] if asked and to in ASKED else ({}, lambda value: True)
    requests = [
        Request(
            prompt=f"draw {t}",
            fields={"past": PAST} if "@past" in to else {},
            to=to,
            num_samples=each,
            temperature=t,
            max_new_tokens=budget - 7 * i,
            constraints=constraints,
        )
        for i, t in enumerate(TEMPERATURES)
    ]
    seen: Counter = Counter()
    lengths: Counter = Counter()
    different = set()
    for request, outputs in zip(requests, predictor.generate_batch(requests)):
        assert len(outputs) == each
        for output in outputs:
            assert [s.error for s in output.segments] in ([None], []), output.segments
            assert output.segments or output.value == ""
            assert holds(output.value), describe(output.value)
            assert len(output.ids) <= request.max_new_tokens and output.ids[-1] == EOS
            assert np.isfinite(output.log_prob)
            seen[describe(output.value)] += 1
            lengths[len(output.ids)] += 1
            different.add(output.ids.tobytes())
    enough = each / 3  # the coldest of the temperatures repeats itself
    assert len(different) > enough, "the same output again and again"
    return seen, lengths


@pytest.mark.parametrize("to", TARGETS)
def test_untrained_samples_decode_with_the_geometry_asked_for(predictor, to):
    seen, _ = sample(predictor, to, 16, asked=to in FIXED)
    if to in FIXED:
        assert len(seen) == 1
    else:
        assert len(seen) > 4 and seen.most_common(1)[0][1] < 0.9 * seen.total(), seen


@dataclass(frozen=True)
class Patient:
    """A grammar that does not end while more than `LEFT` tokens are, unless it must: what a model of random
    weights ends at once says little. Everything it allows, its base allows. never: codes left out where there
    are others."""

    base: Any
    never: tuple[int, ...] = ()
    LEFT = 18

    def __getattr__(self, name: str) -> Any:
        return getattr(self.base, name)

    def step(self, registers: Any, code: Any, budget: Any) -> tuple[Any, Any, Any]:
        registers, allowed, position = self.base.step(registers, code, budget)
        others = allowed.at[np.array(self.never, np.int32)].set(False)
        allowed = jnp.where(others[:-1].any(), others, allowed)
        waits = (budget > self.LEFT) & allowed[:-1].any()
        return registers, allowed.at[-1].set(allowed[-1] & ~waits), position


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["free", "patient", "asked"])
@pytest.mark.parametrize("to", TARGETS)
def test_ten_thousand_samples_decode(to, kind, capsys, monkeypatch):
    """A third of free geometry, a third that does not end early, a third as asked: prints the histograms of
    geometries and of lengths."""
    predictor = make_predictor(batch_sizes=(250,))
    if kind == "patient":
        tokenizer = predictor.tokenizers[to.partition("@")[0]]
        plain = tokenizer.grammar
        # graphs without nodes; sounds of up to two frames, for their header tells how long they are
        never = {"graph": range(EMPTY, LINKED), "audio": range(3)}.get(to, ())
        monkeypatch.setattr(
            tokenizer, "grammar", lambda **asked: Patient(plain(**asked), tuple(never))
        )
    budget = 4 * BUDGET if to == "text" else BUDGET  # so that lengths told apart by eights are many
    seen, lengths = sample(predictor, to, 834, asked=kind == "asked", budget=budget)
    low, middle, high = np.percentile(list(lengths.elements()), [5, 50, 95])
    with capsys.disabled():
        print(
            f"\n{to}, {kind}: {seen.total():,} samples, all valid; {len(seen):,} geometries; ",
            end="",
        )
        print(f"tokens {low:.0f} / {middle:.0f} / {high:.0f} (5 %, half, 95 %); most common:")
        for geometry, count in seen.most_common(5):
            print(f"  {count:6,}  {geometry}")
    if kind != "asked":
        assert len(seen) > 8 and seen.most_common(1)[0][1] < 0.9 * seen.total(), seen
        assert len(lengths) > 8
    if kind == "patient":
        assert middle > 15


def test_mixed_outputs_parse_into_segments(predictor):
    outputs = predictor.generate(
        "draw", to="text+image", num_samples=16, temperature=10.0, max_new_tokens=BUDGET
    )
    kinds = {tuple(segment.modality for segment in output.segments) for output in outputs}
    assert all(s.error is None for output in outputs for s in output.segments)
    assert any("image" in kind for kind in kinds) and any("text" in kind for kind in kinds)
    for output in outputs:
        assert output.value == [segment.value for segment in output.segments]
        np.testing.assert_array_equal(
            np.concatenate([*(s.ids for s in output.segments), [EOS]]), output.ids
        )


def test_a_mixed_output_scores_as_it_was_generated(predictor):
    """Its values, and its ids, are the same target."""
    request = Request(
        prompt="draw", to="text+image", temperature=3.0, max_new_tokens=BUDGET, seed=3
    )
    (output,) = predictor.generate_batch([request])[0]
    whole = {"to": "text+image", "max_new_tokens": BUDGET}
    by_ids = predictor.score("draw", output.ids, **whole)
    assert abs(by_ids - output.log_prob) < 1e-3
    values = ["a red dog", Image(np.zeros((4, 4, 1), np.uint8)), "no"]
    ids = predictor.interpreter.target_ids(request, values)
    assert predictor.interpreter.modality_of_target(values) == "text+image"
    names = [segment.modality for segment in predictor.composer.parse(ids)]
    assert names == ["text", "image", "text"] and ids[-1] == EOS
    assert predictor.score("draw", values, **whole) == predictor.score("draw", ids, **whole)


def test_a_prompt_holds_several_values_and_examples(predictor, picture):
    """Few-shot: solved examples stand in the prompt; modalities mix; the same picture may stand twice."""
    other = Image(255 - picture.pixels)
    fields = {"a": picture, "b": other, "past": PAST, "x": picture}
    prompt = "{a:image} is 3. {b:image} is 8. {past:series} {x:image} is"
    tokens = predictor.interpreter.compose(Request(prompt=prompt, fields=fields))
    found = predictor.composer.parse(tokens.ids)
    kinds = [segment.modality for segment in found]
    assert kinds == ["image", "text", "image", "text", "series", "text", "image", "text"]
    np.testing.assert_array_equal(found[0].ids, found[6].ids)
    assert (found[0].ids != found[2].ids).any()
    assert [found[1].value.strip(), found[3].value.strip()] == ["is 3.", "is 8."]


def test_parallel_decoding_gives_the_geometry(predictor):
    asked, holds = ASKED["image"]
    outputs = predictor.generate(
        "draw", to="image", method="parallel", steps=3, num_samples=16,
        max_new_tokens=BUDGET, constraints=asked,
    )  # fmt: skip
    assert all(holds(output.value) for output in outputs)
    assert len({output.ids.tobytes() for output in outputs}) > 8


# ---- probabilities -----------------------------------------------------------------------


def test_choices_are_a_distribution_that_beams_enumerate(predictor):
    scores = {
        choice: predictor.score("which?", choice, constraints=CHOICES, max_new_tokens=BUDGET)
        for choice in CHOICES["choices"]
    }
    assert abs(np.exp(list(scores.values())).sum() - 1) < 1e-4
    found = predictor.generate(
        "which?", beams=3, num_samples=3, constraints=CHOICES, max_new_tokens=BUDGET
    )
    assert {output.value for output in found} == set(scores)
    assert found[0].value == max(scores, key=lambda choice: scores[choice])
    for output in found:
        assert abs(output.log_prob - scores[output.value]) < 1e-4
        free = predictor.score("which?", output.ids, constrained=False, max_new_tokens=BUDGET)
        assert free < output.log_prob - 1
    assert predictor.score("which?", "a cat", constraints=CHOICES) == -np.inf


# ---- independence -------------------------------------------------------------------------


def test_a_request_gives_the_same_beside_others(predictor):
    mine = Request(prompt="draw 2.0", num_samples=2, temperature=1.5, seed=5, max_new_tokens=BUDGET)
    others = [
        Request(prompt=f"old {i}", temperature=0.3 * i + 0.1, seed=i, max_new_tokens=BUDGET)
        for i in range(9)
    ]
    (alone,) = predictor.generate_batch([mine])
    among = predictor.generate_batch([*others, mine])[-1]
    for a, b in zip(alone, among, strict=True):
        np.testing.assert_array_equal(a.ids, b.ids)
        assert a.log_prob == b.log_prob
    assert alone[0].ids.tobytes() != alone[1].ids.tobytes()
    again = predictor.generate("draw 2.0", temperature=1.5, seed=6, max_new_tokens=BUDGET)
    assert again[0].ids.tobytes() != alone[0].ids.tobytes()


def test_embed_is_a_unit_vector_of_what_is_read(predictor, picture):
    alone = predictor.embed(image=picture)
    assert alone.dtype == np.float32 and abs(np.linalg.norm(alone) - 1) < 1e-6
    np.testing.assert_array_equal(alone, predictor.embed("{image}", image=picture))
    np.testing.assert_array_equal(alone, predictor.embed("{x:image}", x=picture))
    both = predictor.embed(image=picture, text="a dog")
    np.testing.assert_array_equal(
        both, predictor.embed("{image}{text}", image=picture, text="a dog")
    )
    assert np.abs(both - alone).max() > 1e-3
    many = predictor.embed_batch([Request(fields={"image": picture}), Request(prompt="a dog")])
    np.testing.assert_array_equal(many[0], alone)
    assert many.shape == (2, alone.size)


# ---- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"prompt": "{image}"}, "field {image} has no value"),
        ({"prompt": "what?", "image": 1}, "field 'image' is not in the prompt"),
        ({"prompt": "{"}, "brace"),
        ({"prompt": "a", "to": "imgae"}, "did you mean 'image'"),
        ({"prompt": "a", "to": "text+"}, "no modality ''"),
        ({"prompt": "a", "to": "series@past"}, "names the field 'past'"),
        ({"image": "seven.png"}, "field 'image': got a str"),
        ({"thing": object()}, "object is of no modality"),
        ({"prompt": "{x:image}", "x": 3}, "int"),
        ({"prompt": "a", "temperature": -1.0}, "temperature: want at least 0"),
        ({"prompt": "a", "temperature": float("nan")}, "temperature"),
        ({"prompt": "a", "top_p": 0.0}, "top_p: want more than 0"),
        ({"prompt": "a", "num_samples": 0}, "num_samples"),
        ({"prompt": "a", "num_samples": 3, "beams": 2}, "ask for more beams"),
        ({"prompt": "a", "beams": 2, "guidance": 2.0}, "beams"),
        ({"prompt": "a", "method": "paralel"}, "none of autoregressive, parallel"),
        ({"prompt": "a", "method": "parallel"}, "fixed length"),
        ({"prompt": "a", "to": "image", "max_new_tokens": 3}, "at least"),
        ({"prompt": "a", "to": "image", "constraints": {"hieght": 8}}, "hieght"),
        ({"prompt": "a", "to": "image", "constraints": {"height": 0}}, "height"),
    ],
)
def test_wrong_requests_are_named(predictor, call, message):
    with pytest.raises(InputError, match=message.replace("{", r"\{").replace("+", r"\+")):
        predictor.generate(**{"max_new_tokens": 20, **call})


# ---- a run folder and the commands ---------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(predictor, tmp_path_factory):
    from unitok.checkpoint import Checkpoints
    from unitok.run import write_run

    folder = tmp_path_factory.mktemp("runs") / "try"
    config = Config(
        name="try",
        steps=10,
        model=predictor.model.config,
        tokenizers={name: TokenizerConfig(name=name) for name in predictor.tokenizers},
        sources={"digits": SourceConfig(kind="sklearn")},
        tasks={
            "read": TaskConfig(
                source="digits", templates=[Template(inputs="{image}", targets="{text}")]
            )
        },
    )
    assert to_dict(config)["model"]["d_model"] == 16
    write_run(folder, config, predictor.vocabulary, predictor.tokenizers)
    checkpoints = Checkpoints(folder)
    checkpoints.save(7, {"params": predictor.params}, {}, {"loss": 1.0})
    checkpoints.wait()
    trained = {"step": 7, "split": "train", "time": 1.8e9, "nll": {"text": 1.23456, "image": 2.0}}
    (folder / "metrics.jsonl").write_text(json.dumps(trained) + '\n{"step": 8, "split": "tr')
    return folder


def test_a_loaded_run_generates_as_the_model_it_was_saved_from(predictor, run_folder, picture):
    import unitok

    loaded = unitok.load(run_folder)
    assert loaded.step == 7
    loaded.batch_sizes = predictor.batch_sizes
    np.testing.assert_array_equal(loaded.embed(image=picture), predictor.embed(image=picture))
    call = {"inputs": "which?", "targets": "no", "constraints": CHOICES, "max_new_tokens": BUDGET}
    assert loaded.score(**call) == predictor.score(**call)


def test_generate_command_writes_a_file_that_inspect_reads(run_folder, tmp_path, capsys):
    out = tmp_path / "drawn.png"
    geometry = [f"--constraint={name}={value}" for name, value in ASKED["image"][0].items()]
    argv = [f"--checkpoint={run_folder}", "--to=image", "--text=draw", *geometry, f"--out={out}"]
    assert generate_command.main([*argv, f"--max-new-tokens={BUDGET}"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    tokenizer = f"--tokenizer={run_folder}/tokenizers/image"
    assert inspect_command.main([str(out), "--modality=image", tokenizer]) == 0
    assert "uint8 [12, 20, 1]" in capsys.readouterr().out
    assert inspect_command.main([str(out), "--modality=text"]) == 2  # a picture is no UTF-8
    assert "drawn.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["draw"], "--checkpoint"),
        (["draw", "--checkpoint=nowhere"], "nowhere"),
        (["draw", "--checkpoint=RUN", "--to=image"], "--out"),
        (["draw", "--checkpoint=nowhere", "--to=image", "--out=x.wav"], "x.wav"),  # first of all
        (["--checkpoint=RUN", "--image=missing.png"], "missing.png"),
        (["draw", "--checkpoint=RUN", "--to=smell", "--out=x"], "smell"),
        (["draw", "--checkpoint=RUN", "--temperature=-3"], "temperature"),
        (["draw", "--checkpoint=RUN", "--step=99"], "99"),
        (["draw", "--checkpoint=RUN", "--tempreature=3"], "--tempreature"),
        (["draw", "--checkpoint=RUN", "--constraint=height"], "NAME=VALUE"),
        (["{a}", "--checkpoint=RUN", "--field=a=1", "--field=a=2"], "given twice"),
    ],
)
def test_generate_command_says_what_is_wrong_in_one_line(run_folder, argv, named, capsys):
    argv = [word.replace("RUN", str(run_folder)) for word in argv]
    assert generate_command.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1
    assert named in captured.err


def test_inspect_shows_a_run_and_a_file_in_80_columns(run_folder, tmp_path, capsys):
    assert inspect_command.main([str(run_folder)]) == 0
    shown = capsys.readouterr().out
    for part in (
        "parameters",
        "saved       steps 7",
        "1.235",
        "patch 4",
        "sentinel",
    ):
        assert part in shown, shown
    # the folder's path, of any length, decides where this line breaks
    assert "7 of 10 steps" in " ".join(shown.split()), shown
    assert "1800000000" not in shown and "1.8e+09" not in shown
    file = tmp_path / "note.txt"
    file.write_text("The dog sees the cat. " * 20)
    assert inspect_command.main([str(file), "--modality=text"]) == 0
    shown += capsys.readouterr().out
    assert "440 characters" in shown
    assert max(len(line) for line in shown.splitlines() if str(tmp_path.parent) not in line) <= 80
    assert inspect_command.main([str(file)]) == 2
    assert "--modality" in capsys.readouterr().err
