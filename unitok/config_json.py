"""Dataclasses to JSON and back, and the checks they share: every message begins with the field's dotted name."""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from typing import Any


class ConfigError(ValueError):
    """A config that cannot be: the message begins with the dotted name of the field."""


def check(condition: bool, name: str, message: str) -> None:
    if not condition:
        raise ConfigError(f"{name}: {message}")


def one_of(value: str, choices: tuple[str, ...], name: str) -> None:
    near = difflib.get_close_matches(str(value), choices, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    check(value in choices, name, f"{value!r} is none of {', '.join(choices)}{hint}")


def to_dict(config: Any) -> dict[str, Any]:
    """The config as JSON-able dicts, lists and scalars."""
    return dataclasses.asdict(config)


def as_read_back(config: Any) -> Any:
    """The config as its own JSON gives it back: tuples are lists, keys are text, every field of its type.

    Raises ConfigError for what JSON does not hold (an array, a path) and for a value of another type.
    """
    try:
        text = json.dumps(to_dict(config))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"config: {error}; a config holds text, numbers, true, false, None, lists and mappings"
        ) from None
    return from_dict(type(config), json.loads(text))


def from_dict(cls: type, data: Any, name: str = "config") -> Any:
    """The inverse of `to_dict`. Raises ConfigError with the dotted name and the nearest right one."""
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: want the fields of {cls.__name__}, got {data!r}")
    hints = typing.get_type_hints(cls)
    for key in data:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, 1)
            raise ConfigError(
                f"{name}.{key}: no such field; "
                + (f"did you mean {name}.{near[0]}?" if near else f"there are {', '.join(hints)}")
            )
    values = {key: convert(value, hints[key], f"{name}.{key}") for key, value in data.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from None


def convert(value: Any, hint: Any, name: str) -> Any:
    """`value` (from JSON) as the annotated type `hint`. Raises ConfigError naming the field."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return convert(value, next(a for a in args if a is not type(None)), name)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value, name)
    if origin is dict:
        check(isinstance(value, dict), name, f"want a mapping, got {value!r}")
        return {key: convert(item, args[1], f"{name}.{key}") for key, item in value.items()}
    if origin is list:
        check(isinstance(value, (list, tuple)), name, f"want a list, got {value!r}")
        return [convert(item, args[0], f"{name}[{i}]") for i, item in enumerate(value)]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    check(
        isinstance(value, hint) and not (hint in (int, float) and isinstance(value, bool)),
        name,
        f"want {hint.__name__}, got {value!r}",
    )
    return value
