"""Tokenizers by registered name, never by a class path out of a checkpoint.

A package adds one by an entry point of the group `unitok.tokenizers`. A file of your own adds one by
`register`: it is run where it is the config, or where the environment variable UNITOK_PLUGINS names it
(paths joined by `:`), as `UNITOK_PLUGINS=palette.py unitok generate ...`.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from unitok.errors import InputError
from unitok.interfaces import Tokenizer

GROUP = "unitok.tokenizers"
PLUGINS = "UNITOK_PLUGINS"
_own: dict[str, Any] = {}
Class = TypeVar("Class", bound=type)


def register(cls: Class) -> Class:
    """Make a tokenizer class known in this process, under its `name`; a class decorator.

    Raises ValueError for the name of an installed one: what a saved folder means must not depend on it.
    """
    name = cls.name  # type: ignore[attr-defined]
    if name in {entry.name for entry in entry_points(group=GROUP)}:
        raise ValueError(f"tokenizer {name!r} is installed already; give yours another name")
    _own[name] = cls
    return cls


def names() -> list[str]:
    """Registered tokenizer names."""
    _run_plugins(os.environ.get(PLUGINS, ""))
    return sorted({*_own, *(entry.name for entry in entry_points(group=GROUP))})


def tokenizer_class(name: str) -> Any:
    """The registered class. Raises KeyError with the nearest right name."""
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            return entry.load()
    known = names()
    if name in _own:
        return _own[name]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
    raise KeyError(
        f"tokenizer {name!r} is not registered{hint} (see {PLUGINS} for files of your own)"
    )


@functools.cache
def _run_plugins(paths: str) -> None:
    """Run the files that UNITOK_PLUGINS names, each once."""
    for path in filter(None, paths.split(os.pathsep)):
        spec = importlib.util.spec_from_file_location(f"unitok_plugin_{Path(path).stem}", path)
        if spec is None or spec.loader is None or not Path(path).is_file():
            raise InputError(
                f"{PLUGINS}: {path} is no Python file; name files joined by {os.pathsep!r}"
            )
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise InputError(f"{PLUGINS}: {path}: {type(error).__name__}: {error}") from error


def build(name: str, **options: Any) -> Tokenizer:
    """A tokenizer ready to use: serialization needs no fitting, learned ones ship small default weights.

    build("image", variant="low"): weights that ship for another rate. Raises ValueError where there are none.
    """
    return tokenizer_class(name).build(**options)


def load(path: str | Path) -> Tokenizer:
    """A tokenizer from its folder. Raises FileNotFoundError or ValueError naming the file and the remedy."""
    header = read_header(path)
    return tokenizer_class(header["name"]).load(path)


def read_header(path: str | Path) -> dict[str, Any]:
    """tokenizer.json of a folder, checked to hold a name."""
    file = Path(path) / "tokenizer.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: not found; a tokenizer folder holds tokenizer.json (write one with `unitok fit`)"
        )
    try:
        header = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(header.get("name"), str):
            raise ValueError("no field 'name'")
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{file}: not a tokenizer's header ({error}); fit or copy the tokenizer again"
        ) from None
    return header
