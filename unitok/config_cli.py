"""From a command line to a Config: a config file, then dotted overrides typed by the dataclasses.

    --config=configs/demo.py --config.steps=100 --config.tasks.draw.weight 2 --workdir=runs/try

A config file is Python with `get_config() -> Config`, or a run's own `config.json`. The text of an
override is read as the annotated type of its field; free-form options are read as JSON, else kept
as text. A wrong name is refused with its dotted place and the nearest right one.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import json
import math
import sys
import traceback
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unitok.config import Config, ConfigError, TokenizerConfig, from_dict, to_dict
from unitok.errors import InputError

TRUE, FALSE, NONE = ("true", "yes", "1"), ("false", "no", "0"), ("none", "null")


class RecipeGiven(InputError):
    """A tokenizer's recipe where a run's config is asked for; `unitok train` passes it on to `unitok fit`."""


def load_config(argv: Sequence[str]) -> tuple[Config, str | None]:
    """(config with its overrides applied, --workdir or None). Raises InputError, ConfigError."""
    file, overrides, workdir = parse_flags(argv)
    if file is None:
        raise InputError("--config is missing; name a config file, as --config=configs/demo.py")
    return override(read_config(file), overrides), workdir


def parse_flags(
    argv: Sequence[str],
) -> tuple[str | None, list[tuple[str, str]], str | None]:
    """(--config, (dotted field, text) of each override, --workdir). Raises InputError for other words."""
    file: str | None = None
    workdir: str | None = None
    overrides = []
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag not in ("--config", "--workdir") and not flag.startswith("--config."):
            near = difflib.get_close_matches(flag, ("--config", "--workdir"), 1)
            hint = f"did you mean {near[0]}?" if near else "overrides read --config.steps=100"
            raise InputError(f"{word}: no such flag; {hint}")
        if not equals:
            value = next(words, "--")
            if value.startswith("--"):
                raise InputError(f"{flag} wants a value: {flag}=VALUE")
        if flag == "--config":
            file = value
        elif flag == "--workdir":
            workdir = value
        else:
            overrides.append((flag.removeprefix("--config."), value))
    return file, overrides, workdir


# ---- the file -----------------------------------------------------------------------------


def read_config(file: str | Path) -> Config:
    """The Config that a file defines. Raises InputError naming the file and the line that failed.

    It is RecipeGiven where the file defines a TokenizerConfig.
    """
    path = Path(file)
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, siblings, 1)
        hint = f"did you mean {path.parent / near[0]}?" if near else "configs lie in configs/"
        raise InputError(f"{path}: no such config file; {hint}")
    if path.suffix == ".json":
        return _read_json(path)
    (config,) = execute(path, "get_config")
    if isinstance(config, TokenizerConfig):
        raise RecipeGiven(f"{path}: a tokenizer's recipe; unitok fit --config={path} --out=DIR")
    if not isinstance(config, Config):
        raise InputError(
            f"{path}: get_config() gave {type(config).__name__}, want unitok.config.Config"
        )
    return config


def _read_json(path: Path) -> Config:
    try:
        return from_dict(Config, json.loads(path.read_text(encoding="utf-8")))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path}: not JSON ({error}); a run folder's config.json is meant"
        ) from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def execute(path: Path, *functions: str) -> list[Any]:
    """What each of the functions that the Python file defines gives, called in turn.

    Raises InputError naming the file, the line and what went wrong in it; ConfigError as it is.
    """
    spec = importlib.util.spec_from_file_location(f"unitok_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: not a Python file; a config file ends in .py or .json")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that dataclasses of the file itself resolve
    try:
        spec.loader.exec_module(module)
        for name in functions:
            if not callable(getattr(module, name, None)):
                raise InputError(f"{path}: defines no {name}(); add `def {name}()`")
        return [getattr(module, name)() for name in functions]
    except (InputError, ConfigError):
        raise
    except SyntaxError as error:
        raise InputError(f"{path}, line {error.lineno}: {error.msg}") from None
    except Exception as error:
        lines = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)
        ]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        raise InputError(f"{where}: {type(error).__name__}: {error}") from None


# ---- overrides ----------------------------------------------------------------------------


def override(config: Config, overrides: Sequence[tuple[str, str]]) -> Config:
    """`config` with dotted fields replaced by texts, in order. Raises ConfigError naming the field."""
    if not overrides:
        return config
    data = to_dict(config)
    for name, text in overrides:
        _assign(data, name.split("."), text)
    return from_dict(Config, data)


def _assign(data: dict[str, Any], parts: list[str], text: str) -> None:
    """Walk down `data` and the type annotations together; set the last part."""
    holder: Any = data
    hint: Any = Config
    for depth, part in enumerate(parts):
        name = ".".join(["config", *parts[: depth + 1]])
        key, hint = _child(holder, hint, part, name, parts)
        if depth == len(parts) - 1:
            holder[key] = parse(text, hint, name)
            return
        if isinstance(holder, dict) and holder.get(key) is None:
            holder[key] = {}  # an optional part that is absent so far: begin it with its defaults
        holder = holder[key]


def _child(holder: Any, hint: Any, part: str, name: str, parts: list[str]) -> tuple[Any, Any]:
    """(key into holder, type of what lies there)."""
    hint = _not_none(hint)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        if part not in hints:
            _refuse(name, part, list(hints), parts)
        return part, hints[part]
    if origin is dict:
        inner = args[1]
        if part not in holder and inner is not Any and not dataclasses.is_dataclass(inner):
            return part, inner
        if part not in holder and inner is not Any:
            _refuse(name, part, list(holder), parts)
        return part, inner
    if origin is list or isinstance(holder, list):
        if not part.isdigit() or int(part) >= len(holder):
            raise ConfigError(f"{name}: want an index below {len(holder)}")
        return int(part), args[0] if args else Any
    if hint is Any and isinstance(holder, dict):
        return part, Any
    raise ConfigError(f"{name}: {name.rpartition('.')[0]} is a plain value and has no fields")


def _refuse(name: str, part: str, siblings: list[str], parts: list[str]) -> None:
    parent = name.rpartition(".")[0]
    near = difflib.get_close_matches(part, siblings, 1)
    elsewhere = [dotted for dotted in names() if dotted.split(".")[-1] == parts[-1]]
    if near:
        hint = f"did you mean {parent}.{near[0]}?"
    elif elsewhere:
        hint = f"did you mean {elsewhere[0]}?"
    else:
        hint = f"there are {', '.join(siblings) or 'none'}"
    raise ConfigError(f"{name}: no such field; {hint}")


def names(cls: type = Config, prefix: str = "config") -> Iterator[str]:
    """Dotted names of every field, dict entries left out."""
    for key, hint in typing.get_type_hints(cls).items():
        yield f"{prefix}.{key}"
        if dataclasses.is_dataclass(inner := _not_none(hint)):
            yield from names(typing.cast(type, inner), f"{prefix}.{key}")


def _not_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(a for a in typing.get_args(hint) if a is not type(None))
    return hint


def parse(text: str, hint: Any, name: str) -> Any:
    """The text of an override as JSON-able data of type `hint`. Raises ConfigError naming the field."""
    if _not_none(hint) is not hint and text.lower() in NONE:
        return None
    hint = _not_none(hint)
    if hint is str:
        return text
    if hint is bool:
        if text.lower() not in TRUE + FALSE:
            raise ConfigError(f"{name}: want true or false, got {text!r}")
        return text.lower() in TRUE
    if hint in (int, float):
        return _number(text, hint, name)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if hint is Any:
            return text
        raise ConfigError(f"{name}: want JSON, got {text!r} ({error})") from None


def _number(text: str, hint: type, name: str) -> int | float:
    """Numbers as people type them: 100, 1_000, 1e3 (a whole number, so an int too), 3e-4."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
        if math.isfinite(number) and (hint is float or number.is_integer()):
            return hint(number)
    except ValueError:
        pass
    raise ConfigError(f"{name}: want {hint.__name__}, got {text!r}")


# ---- showing ------------------------------------------------------------------------------


def render(config: Config, width: int | None = None) -> str:
    """The resolved config, one line a part, as it can be typed back. width: cut longer lines, for a screen."""
    lines = []
    for name, value in to_dict(config).items():
        nested = isinstance(value, dict) and any(isinstance(v, dict) for v in value.values())
        parts = {f"{name}.{k}": v for k, v in value.items()} if nested else {name: value}
        for key, part in parts.items():
            line = f"config.{key} = {json.dumps(part, ensure_ascii=False)}"
            cut = width is not None and len(line) > width
            lines.append(f"{line[:width]} ..." if cut else line)
    return "\n".join(lines)


def differences(old: Config, new: Config) -> list[tuple[str, Any, Any]]:
    """(dotted name, old value, new value) of every field that differs; None where it is absent."""
    before, after = _flat(to_dict(old)), _flat(to_dict(new))
    changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    return [(key, before.get(key), after.get(key)) for key in changed]


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(data, dict) and data:
        items = [_flat(value, f"{prefix}.{key}" if prefix else key) for key, value in data.items()]
        return {k: v for item in items for k, v in item.items()}
    return {prefix: data}
