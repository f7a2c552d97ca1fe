"""The command line of a config: typed overrides, refusals that name the field, files that round-trip."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitok.config import (
    Config,
    ConfigError,
    SourceConfig,
    TaskConfig,
    Template,
    TokenizerConfig,
    from_dict,
    to_dict,
)
from unitok.config_cli import differences, load_config, names, override, read_config, render
from unitok.errors import InputError

CONFIG = """
from unitok.config import Config, SourceConfig, TaskConfig, Template, TokenizerConfig

def get_config():
    return Config(
        name="tiny", steps=10,
        tokenizers={"text": TokenizerConfig(name="text")},
        sources={"lines": SourceConfig(kind="jsonl", options={"deep": {"a": 1}})},
        tasks={"copy": TaskConfig(source="lines", templates=[Template(inputs="{text}", targets="{text}")])},
    )
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG)
    return path


def tiny() -> Config:
    return Config(
        name="tiny",
        steps=10,
        tokenizers={"text": TokenizerConfig(name="text")},
        sources={"lines": SourceConfig(kind="jsonl", options={"deep": {"a": 1}})},
        tasks={
            "copy": TaskConfig(
                source="lines", templates=[Template(inputs="{text}", targets="{text}")]
            )
        },
    )


def test_both_spellings_give_the_same(file) -> None:
    equals = [
        f"--config={file}",
        "--config.steps=7",
        "--config.tasks.copy.weight=2",
        "--workdir=here",
    ]
    spaces = [word for flag in equals for word in flag.split("=", 1)]
    assert load_config(equals) == load_config(spaces)
    config, workdir = load_config(equals)
    assert (config.steps, config.tasks["copy"].weight, workdir) == (7, 2.0, "here")
    assert type(config.tasks["copy"].weight) is float
    assert config == dataclasses.replace(tiny(), steps=7, tasks=config.tasks)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps", "1e3", 1000),
        ("optimizer.learning_rate", "3e-4", 3e-4),
        ("optimizer.learning_rate", "1", 1.0),
        ("model.remat", "yes", True),
        ("model.num_kv_heads", "none", None),
        ("model.num_kv_heads", "2", 2),
        ("workdir", "5", "5"),
        ("tasks.copy.metrics", '["accuracy"]', ["accuracy"]),
        ("tasks.copy.templates.0.inputs", "{text} again", "{text} again"),
        ("sources.lines.options.deep.a", "2", 2),
        ("sources.lines.options.fresh", "word", "word"),
        ("sources.lines.label_names.label", '["a", "b"]', ["a", "b"]),
        ("mesh.data", "-1", -1),
    ],
)
def test_overrides_take_the_type_of_the_field(name: str, text: str, value: object) -> None:
    part: object = override(tiny(), [(name, text)])
    for key in name.split("."):
        if isinstance(part, dict):
            part = part[key]
        elif isinstance(part, list):
            part = part[int(key)]
        else:
            part = getattr(part, key)
    assert part == value and type(part) is type(value)


def test_an_absent_part_begins_with_its_defaults() -> None:
    config = override(
        tiny(), [("tokenizers.text.fit.source", "lines"), ("tokenizers.text.fit.steps", "5")]
    )
    assert config.tokenizers["text"].fit is not None
    assert config.tokenizers["text"].fit.steps == 5


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("stpes", "1", ["config.stpes", "config.steps"]),
        ("model.d_modl", "1", ["config.model.d_modl", "config.model.d_model"]),
        ("learning_rate", "1", ["config.optimizer.learning_rate"]),
        ("tasks.cpy.weight", "1", ["config.tasks.cpy", "config.tasks.copy"]),
        ("steps", "many", ["config.steps", "int", "'many'"]),
        ("steps", "1.5", ["config.steps", "int"]),
        ("optimizer.learning_rate", "nan", ["config.optimizer.learning_rate"]),
        ("model.remat", "maybe", ["config.model.remat", "true or false"]),
        ("steps.x", "1", ["config.steps", "no fields"]),
        ("model.dtype", "bf16", ["model.dtype", "bfloat16"]),
        ("tasks.copy.source", "line", ["tasks.copy.source", "lines"]),
        ("tasks.copy.eval_min_p", "1", ["tasks.eval_min_p", "0 <= share < 1"]),
        ("tasks.copy.templates.4.inputs", "x", ["config.tasks.copy.templates.4"]),
        ("tasks.copy.metrics", "accuracy", ["config.tasks.copy.metrics", "JSON"]),
        ("model", "3", ["config.model"]),
    ],
)
def test_wrong_overrides_name_the_field_and_the_remedy(
    name: str, text: str, told: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        override(tiny(), [(name, text)])
    for part in told:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "--config is missing"),
        (["--config"], "--config wants a value"),
        (["--confg=x.py"], "did you mean --config"),
        (["steps=3"], "no such flag"),
        (["--config=absent.py"], "absent.py"),
    ],
)
def test_wrong_flags(argv: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_config(argv)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def get_config(:\n", "line 1"),
        ("x = 1\n", "defines no get_config"),
        ("def get_config():\n    return 3\n", "gave int"),
        ("def get_config():\n    x = 1\n    return x / 0\n", "line 3: ZeroDivisionError"),
        ("import no_such_module_anywhere\n", "line 1: ModuleNotFoundError"),
    ],
)
def test_broken_files_name_their_line(tmp_path, text: str, told: str) -> None:
    file = tmp_path / "broken.py"
    file.write_text(text)
    with pytest.raises(InputError, match=told) as caught:
        read_config(file)
    assert str(file) in str(caught.value)


def test_the_nearest_file_is_named(file) -> None:
    with pytest.raises(InputError, match=r"did you mean .*tiny\.py"):
        read_config(file.with_name("tiy.py"))


def test_the_config_survives_json_and_reads_back_from_a_run_folder(tmp_path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_dict(tiny())))
    assert read_config(path) == tiny()
    path.write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        read_config(path)
    path.write_text('{"stepps": 3}')
    with pytest.raises(ConfigError, match=r"config\.json: .*stepps"):
        read_config(path)


def test_what_is_rendered_can_be_typed_back() -> None:
    lines = [line.removeprefix("config.").split(" = ", 1) for line in render(tiny()).splitlines()]
    start = dataclasses.replace(tiny(), name="other", steps=1, seed=9)
    typed = [(n, json.loads(t) if t.startswith('"') else t) for n, t in lines if t != "{}"]
    assert override(start, typed) == tiny()


@given(st.sampled_from(sorted(names())), st.text(max_size=8))
def test_any_override_gives_a_config_or_a_config_error(name: str, text: str) -> None:
    try:
        config = override(tiny(), [(name.removeprefix("config."), text)])
    except ConfigError as error:
        assert str(error)
    else:
        assert from_dict(Config, to_dict(config)) == config


def test_differences_are_dotted_and_complete() -> None:
    changed = override(tiny(), [("steps", "11"), ("tasks.copy.weight", "3")])
    assert differences(tiny(), changed) == [("steps", 10, 11), ("tasks.copy.weight", 1.0, 3.0)]
    assert differences(tiny(), tiny()) == []
