"""Before the first step: the tokenizers, the vocabulary and the run folder, new or gone on with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from unitok import registry
from unitok.checkpoint import Checkpoints
from unitok.config import Config, ConfigError, ModelConfig, TokenizerConfig, to_dict
from unitok.config_cli import differences
from unitok.data.sources import build_source
from unitok.errors import InputError
from unitok.interfaces import Tokenizer
from unitok.run import Run, read_run, write_run
from unitok.train import runtime
from unitok.vocabulary import Vocabulary

Say = Callable[[str], None]
# Fields of the model that may change over trained parameters; all others change what they compute.
FREE = ("dtype", "remat", "scan_layers", "dropout")
# Parts of the config that the data stream is a function of: when one changes, it begins anew.
STREAM = ("seed", "tokenizers", "sources", "tasks", "data")
# Fields in them that training's examples do not hang on.
UNREAD = {
    "prefetch", "workers", "cache_dir", "about", "licence", "metrics", "yardstick", "shows", "held_out_templates",
    "eval_items", "eval_temperature", "eval_min_p", "eval_split",
}  # fmt: skip


def open_together(
    config: Config, workdir: Path, given: Mapping[str, Tokenizer] | None, say: Say
) -> Run:
    """`open_run` by the first process; the others read what it wrote."""
    if jax.process_index() == 0:
        run = open_run(config, workdir, given, say)
        runtime.barrier("unitok run folder")
        return run
    runtime.barrier("unitok run folder")
    return read_run(workdir, given)


def open_run(config: Config, workdir: Path, given: Mapping[str, Tokenizer] | None, say: Say) -> Run:
    """The run folder, ready to train in.

    given: ready tokenizers by block name, in place of building those of the config. Raises InputError,
    ConfigError, VocabularyMismatch.
    """
    before = read_run(workdir, given) if (workdir / "config.json").is_file() else None
    if before is not None and Checkpoints(workdir, vocabulary=before.vocabulary).steps():
        _require_continuation(before.config, config, workdir, say)
        write_run(workdir, config, before.vocabulary, before.tokenizers)
        return dataclasses.replace(before, config=config)
    parent = read_run(config.init_from, given) if config.init_from else None
    if parent is not None:
        _require_same_model(parent.config.model, config.model, f"init_from {config.init_from}")
    tokenizers = {}
    for name, wanted in config.tokenizers.items():
        if given is not None and name in given:
            tokenizers[name] = given[name]
        elif parent is not None and name in parent.tokenizers and wanted.path is None:
            tokenizers[name] = parent.tokenizers[name]
        elif before is not None and before.config.tokenizers.get(name) == wanted:
            tokenizers[name] = before.tokenizers[name]
        else:
            tokenizers[name] = _make(config, name, wanted, say)
        if tokenizers[name].modality != name:
            raise ConfigError(
                f"tokenizers.{name}: this tokenizer's modality is {tokenizers[name].modality!r}; "
                "entries bear the name of their modality"
            )
    vocabulary, tokenizers = _vocabulary(tokenizers, parent, say)
    write_run(workdir, config, vocabulary, tokenizers)
    return Run(workdir, config, vocabulary, tokenizers)


def stream_digest(config: Config) -> str:
    """Of all that the data stream is a function of: what a position in it is worth nothing without."""
    whole = to_dict(config)
    read = lambda fields: {k: v for k, v in fields.items() if k not in UNREAD}  # noqa: E731
    parts = {
        **{name: whole[name] for name in STREAM},
        "data": read(whole["data"]),
        "sources": {name: read(source) for name, source in whole["sources"].items()},
        "tasks": {name: read(task) for name, task in whole["tasks"].items()},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _vocabulary(
    tokenizers: dict[str, Tokenizer], parent: Run | None, say: Say
) -> tuple[Vocabulary, dict[str, Tokenizer]]:
    """One block a tokenizer, in order; after those of the run that this one starts from."""
    blocks = {name: (tok.size, tok.fingerprint) for name, tok in tokenizers.items()}
    if parent is None:
        return Vocabulary.build(blocks), tokenizers
    vocabulary = parent.vocabulary
    for name, (size, fingerprint) in blocks.items():
        if name not in vocabulary.names:
            vocabulary = vocabulary.grow(name, size, fingerprint)
            say(f"vocabulary: grows by block {name!r} of {size} codes")
    tokenizers = {**parent.tokenizers, **tokenizers}
    built = Vocabulary.build(
        {n: (tokenizers[n].size, tokenizers[n].fingerprint) for n in vocabulary.modalities}
    )
    built.require_same(vocabulary, "this config", f"init_from {parent.path}")
    return vocabulary, {name: tokenizers[name] for name in vocabulary.modalities}


def _make(config: Config, name: str, wanted: TokenizerConfig, say: Say) -> Tokenizer:
    """Load, fit or build one tokenizer, as its entry says."""
    try:
        if wanted.path is not None:
            return registry.load(wanted.path)
        if wanted.fit is None:
            return registry.build(wanted.name, **wanted.options)
    except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
        text = error.args[0] if isinstance(error, KeyError) else error
        raise ConfigError(f"tokenizers.{name}: {text}") from None
    from unitok.train import fit_tokenizer  # it imports the codecs' optimisers: only who fits pays

    source = build_source(config.sources[wanted.fit.source], "train")
    values = FieldOf(source, wanted.fit.field, wanted.fit.limit, wanted.fit.seed)
    say(f"tokenizer {name}: fitting on {len(values)} items of {wanted.fit.source}")
    return fit_tokenizer.fit(wanted, values, log=say)


class FieldOf(Sequence[Any]):
    """One field of every record of a source; with a limit, of a random choice of so many."""

    def __init__(self, source: Any, field: str, limit: int | None = None, seed: int = 0) -> None:
        self._source, self._field = source, field
        self._order: Sequence[int] = range(len(source))
        if limit is not None and limit < len(source):
            chosen = np.random.default_rng(seed).choice(len(source), limit, replace=False)
            self._order = sorted(int(index) for index in chosen)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        record = self._source[self._order[index]]
        if self._field not in record:
            raise ConfigError(
                f"tokenizers.fit.field: no field {self._field!r}; the source has {', '.join(record)}"
            )
        return record[self._field]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


# ---- going on -----------------------------------------------------------------------------


def _require_continuation(old: Config, new: Config, workdir: Path, say: Say) -> None:
    """Report every changed field; refuse what the saved parameters cannot follow."""
    _require_same_model(old.model, new.model, f"run {workdir}")
    if old.tokenizers != new.tokenizers:
        (name, was, now), *_ = [d for d in differences(old, new) if d[0].startswith("tokenizers")]
        raise InputError(
            f"config.{name}: {was!r} became {now!r}, but the vocabulary of {workdir} is fixed; "
            "use another --workdir (init_from takes this run's weights along)"
        )
    for name, was, now in differences(old, new):
        say(f"config.{name}: was {was!r}, now {now!r}")


def _require_same_model(old: ModelConfig, new: ModelConfig, whose: str) -> None:
    for field in dataclasses.fields(ModelConfig):
        was, now = getattr(old, field.name), getattr(new, field.name)
        if was != now and field.name not in FREE:
            raise InputError(
                f"config.model.{field.name}: {now!r}, but the weights of {whose} were trained with {was!r}; "
                "take the value back, or use another --workdir"
            )
