"""Tokenizers by registered name: entry points of the group `unitok.tokenizers`, never a class path out of a file."""

from __future__ import annotations

import difflib
import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from unitok.interfaces import Tokenizer

GROUP = "unitok.tokenizers"


def names() -> list[str]:
    """Registered tokenizer names."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def tokenizer_class(name: str) -> Any:
    """The registered class. Raises KeyError with the nearest right name."""
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            return entry.load()
    near = difflib.get_close_matches(name, names(), 1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names())}"
    raise KeyError(f"tokenizer {name!r} is not registered{hint}")


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
