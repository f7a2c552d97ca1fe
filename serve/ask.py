"""What was filled in on the page, as a `Request`: files read under limits, fields named, nothing trusted.

Fields are named as their modality ({image}, {audio}, ...); further files by their own names, so that
`three.png` is {three}. What is given but not named in the prompt stands at its end, in order.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unitok.data.files import AUDIO_FORMATS, IMAGE_FORMATS, read_file
from unitok.errors import InputError
from unitok.generate import LENGTHS
from unitok.request import Request
from unitok.sequence import fields as template_fields

MAX_SAMPLES = 16
MAX_NEW_TOKENS = 4096
MAX_CHARACTERS = 20_000  # of the prompt, of a graph's text, of the constraints
MAX_FILES = 12
SUFFIXES = {
    "image": tuple(IMAGE_FORMATS),
    "audio": AUDIO_FORMATS,
    "series": (".csv", ".tsv", ".npy"),
    "graph": (".edges", ".edgelist", ".graphml", ".g6", ".s6", ".smi", ".smiles"),
    "coord": (".json",),
    "text": (".txt", ".md"),
}


@dataclass(frozen=True)
class Form:
    """The page's fields. files: paths by modality; more: further files; graph: an edge list or SMILES."""

    prompt: str = ""
    to: str = "text"
    files: Mapping[str, str | None] = field(default_factory=dict)
    graph: str = ""
    more: Sequence[str] = ()
    samples: int = 1
    temperature: str = ""  # empty: as `Request` chooses
    seed: int = 0
    max_new_tokens: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # top_k, top_p, guidance, method, ...
    constraints: str = ""


def request_of(form: Form) -> Request:
    """Raises InputError naming the field of the page."""
    _bound("prompt", len(form.prompt), MAX_CHARACTERS, "characters")
    _bound("samples", form.samples, MAX_SAMPLES, "samples")
    _bound("new tokens", form.max_new_tokens or 1, MAX_NEW_TOKENS, "tokens")
    _bound("more files", len(form.more), MAX_FILES, "files")
    values, modality = _values(form)
    return Request(
        prompt=_named(form.prompt, modality),
        fields=values,
        to=form.to,
        num_samples=form.samples,
        temperature=_temperature(form.temperature),
        seed=form.seed,
        max_new_tokens=form.max_new_tokens,
        constraints=_constraints(form.constraints),
        **form.options,
    )


def require_short(tokens: int) -> None:
    """Raises InputError for a prompt that would take this machine minutes."""
    _bound("prompt with its files", tokens, LENGTHS[-1], "tokens")


def _bound(name: str, value: int, most: int, unit: str) -> None:
    if value > most:
        raise InputError(f"{name}: {value:,} {unit}, more than {most:,}; ask for less")


def _values(form: Form) -> tuple[dict[str, Any], dict[str, str]]:
    """Values and modality of each field, by its name."""
    values: dict[str, Any] = {}
    modality: dict[str, str] = {}
    for kind, path in form.files.items():
        if path:
            values[kind], modality[kind] = read_file(path, kind), kind
    if form.graph.strip():
        _bound("graph", len(form.graph), MAX_CHARACTERS, "characters")
        values["graph"], modality["graph"] = graph_of(form.graph), "graph"
    for path in form.more:
        kind = modality_of(path)
        name = _field_name(path, values)
        values[name], modality[name] = read_file(path, kind), kind
    return values, modality


def modality_of(path: str) -> str:
    """By the file's extension. Raises InputError for one that none has."""
    suffix = Path(path).suffix.lower()
    for kind, suffixes in SUFFIXES.items():
        if suffix in suffixes:
            return kind
    known = ", ".join(s for suffixes in SUFFIXES.values() for s in suffixes)
    raise InputError(f"{Path(path).name}: of which modality is {suffix!r}? There are {known}")


def graph_of(text: str) -> Any:
    """An edge list (`0 1` a line), or SMILES: one word that begins with no digit."""
    words = text.split()
    suffix = ".smi" if len(words) == 1 and not words[0][0].isdigit() else ".edges"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"graph{suffix}"
        file.write_text(text, encoding="utf-8")
        try:
            return read_file(file, "graph")
        except InputError as error:
            raise InputError(str(error).replace(str(file), "graph")) from None


def _field_name(path: str, taken: Mapping[str, Any]) -> str:
    stem = re.sub(r"\W", "_", Path(path).stem) or "file"
    stem = stem if not stem[0].isdigit() else f"f{stem}"
    names = (stem, *(f"{stem}_{i}" for i in range(2, MAX_FILES + 2)))
    return next(name for name in names if name not in taken)


def _named(prompt: str, modality: Mapping[str, str]) -> str:
    """The prompt with each field's modality written out, and the fields it does not name appended."""
    for name, kind in modality.items():
        prompt = re.sub(rf"(?<!\{{)\{{{re.escape(name)}\}}(?!\}})", f"{{{name}:{kind}}}", prompt)
    named = {part.name for part in template_fields(prompt)}
    rest = "".join(f" {{{name}:{kind}}}" for name, kind in modality.items() if name not in named)
    return (prompt + rest).strip()


def _temperature(text: str) -> float | None:
    try:
        return float(text) if text.strip() else None
    except ValueError:
        raise InputError(
            f"temperature: {text[:40]!r} is no number; leave it empty, or write 0.8"
        ) from None


def _constraints(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    _bound("constraints", len(text), MAX_CHARACTERS, "characters")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f'constraints: not JSON ({error}); write {{"height": 16}} or {{"choices": ["yes", "no"]}}'
        ) from None
    if not isinstance(found, dict):
        raise InputError('constraints: want an object, as {"choices": ["yes", "no"]}')
    return found
