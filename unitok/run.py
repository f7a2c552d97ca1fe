"""The run folder: what a checkpoint needs beside its arrays, and who may write there.

    config.json        the resolved config
    vocabulary.json    the manifest of the vocabulary
    tokenizers/NAME/   every tokenizer of the vocabulary, fitted or not
    checkpoints/STEP/  written by `unitok.checkpoint`
    metrics.jsonl, report/
    lock               held (flock) by the process that trains here; holds its pid

Files are written beside their place and renamed, config.json last: a folder that holds it is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unitok import registry
from unitok.atomic import replacing
from unitok.config import Config, ConfigError, from_dict, to_dict
from unitok.errors import InputError
from unitok.interfaces import Tokenizer
from unitok.vocabulary import Vocabulary, VocabularyMismatch


@dataclass(frozen=True)
class Run:
    """A run folder, read. tokenizers: by block name, in the order of the vocabulary."""

    path: Path
    config: Config
    vocabulary: Vocabulary
    tokenizers: dict[str, Tokenizer]


def write_run(
    workdir: str | Path,
    config: Config,
    vocabulary: Vocabulary,
    tokenizers: Mapping[str, Tokenizer],
) -> None:
    """Write config, vocabulary and tokenizers; a tokenizer that lies there with the same content stays."""
    path = Path(workdir)
    path.mkdir(parents=True, exist_ok=True)
    for name in vocabulary.modalities:
        save_tokenizer(path, name, tokenizers[name])
    write_json(path / "vocabulary.json", vocabulary.manifest())
    write_json(path / "config.json", to_dict(config))


def read_run(workdir: str | Path, tokenizers: Mapping[str, Tokenizer] | None = None) -> Run:
    """The run folder at `workdir`. tokenizers: use these instead of those in the folder.

    Raises InputError naming the file and the remedy where something is missing or damaged, and
    VocabularyMismatch where a tokenizer is not the one the vocabulary was built with.
    """
    path = Path(workdir)
    if not (path / "config.json").is_file():
        remedy = (
            "name the folder of a run, as runs/demo"
            if not path.is_dir()
            else "this is no run folder, or its training never got as far as writing it"
        )
        raise InputError(f"{path / 'config.json'}: not found; {remedy}")
    try:
        config = from_dict(Config, read_json(path / "config.json"))
    except ConfigError as error:
        raise InputError(f"{path / 'config.json'}: {error}") from None
    vocabulary = read_vocabulary(path)
    if tokenizers is None:
        tokenizers = {n: _load_tokenizer(path / "tokenizers" / n) for n in vocabulary.modalities}
    require_tokenizers(vocabulary, tokenizers, str(path))
    return Run(path, config, vocabulary, {n: tokenizers[n] for n in vocabulary.modalities})


def read_vocabulary(workdir: str | Path) -> Vocabulary:
    """vocabulary.json of a run folder. Raises InputError naming the file."""
    file = Path(workdir) / "vocabulary.json"
    try:
        return Vocabulary.from_manifest(read_json(file))
    except ValueError as error:
        raise InputError(f"{file}: {str(error).removeprefix(f'{file}: ')}") from None


def require_tokenizers(
    vocabulary: Vocabulary, tokenizers: Mapping[str, Tokenizer], there: str
) -> None:
    """Raise VocabularyMismatch unless every block's tokenizer is the one it was built with."""
    for name in vocabulary.modalities:
        block = vocabulary.block(name)
        if name not in tokenizers:
            raise VocabularyMismatch(
                f"vocabulary of {there} has a block {name!r}, but no tokenizer of that name is given"
            )
        size, fingerprint = tokenizers[name].size, tokenizers[name].fingerprint
        if (size, fingerprint) != (block.codes, block.fingerprint):
            raise VocabularyMismatch(
                f"the tokenizer {name!r} has {size} codes and fingerprint {fingerprint}; the vocabulary "
                f"of {there} was built with {block.codes} codes and fingerprint {block.fingerprint}; "
                "use the tokenizer the run was trained with"
            )


def save_tokenizer(workdir: str | Path, name: str, tokenizer: Tokenizer) -> None:
    """Write tokenizers/NAME whole or not at all."""
    folder = Path(workdir) / "tokenizers" / name
    with contextlib.suppress(FileNotFoundError, ValueError):
        if registry.read_header(folder).get("fingerprint") == tokenizer.fingerprint:
            return
    fresh = folder.with_name(f"{name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def _load_tokenizer(folder: Path) -> Tokenizer:
    try:
        return registry.load(folder)
    except (FileNotFoundError, ValueError, KeyError) as error:
        text = str(error.args[0] if isinstance(error, KeyError) else error)
        raise InputError(text if str(folder) in text else f"{folder}: {text}") from None


# ---- JSON files, whole or not at all ---------------------------------------------------------


def read_json(file: Path) -> Any:
    """Raises InputError naming the file where it is missing or not JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: not found; the run folder is not whole") from None
    except (ValueError, RecursionError) as error:  # includes bad UTF-8
        raise InputError(
            f"{file}: damaged ({error}); copy it back, or train the run again"
        ) from None


def write_json(file: Path, data: Any) -> None:
    """As JSON, durable before it is visible."""
    write_text(file, json.dumps(data, indent=1, ensure_ascii=False))


def write_text(file: Path, text: str) -> None:
    """Durable before it is visible: written beside its place, synced, renamed."""
    with replacing(file) as fresh, open(fresh, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and removals inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ---- one writer ---------------------------------------------------------------------------


@contextlib.contextmanager
def lock_run(workdir: str | Path) -> Iterator[None]:
    """Be the only writer of this run folder. Raises InputError naming the process that is.

    The kernel drops the lock with its process, so one left behind by a killed run is simply taken over.
    """
    file = Path(workdir) / "lock"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = open(file, "a+", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise InputError(
            f"{workdir}: cannot be written ({error.strerror}); name another folder with --workdir"
        ) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            raise InputError(
                f"{workdir}: {holder} is writing here; wait for it, stop it, or use another --workdir"
            ) from None
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()}")
        handle.flush()
        yield
        handle.truncate(0)
