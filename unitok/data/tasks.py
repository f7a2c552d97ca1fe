"""A task at work: its source's records through template, tokenizers and objective to examples.

`example(index, rng)` is a pure function of its arguments and the config.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unitok import objectives, sequence, shots
from unitok.config import Config, ConfigError, TaskConfig
from unitok.data import cache, sources
from unitok.errors import InputError
from unitok.interfaces import Example, Source, Tokens
from unitok.sequence import Codes, Composer
from unitok.vocabulary import MASK, Vocabulary


class Task:
    """One entry of the mixture. number: its index there. folder: of the token cache, or None."""

    def __init__(
        self,
        name: str,
        number: int,
        config: TaskConfig,
        source: Source,
        composer: Composer,
        folder: Path | None,
        training: bool = False,
    ) -> None:
        self.name, self.number, self.config = name, number, config
        self.source, self.composer = source, composer
        self.noise = config.input_noise if training else 0.0
        self.shots = min(config.shots, len(source) - 1) if training else 0
        check_task(name, config, source)
        self.objective = objectives.build(config.objective, composer.vocabulary)
        self._tables = {
            field: cache.codes_of(composer.tokenizers[modality], source, field, folder)
            for field, modality in self._kept_fields().items()
        }

    def __len__(self) -> int:
        return len(self.source)

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Record `index` under a random template: composed, after solved examples where the task has such, its
        condition dropped at times, cut up by the objective."""
        templates = self.config.templates
        template = templates[rng.integers(len(templates))]
        record = self._record(index)
        if self.shots:
            solved = [self._record(other) for other in self._others(index, rng)]
            template, record = shots.few_shot(template, solved, record)
        try:
            order = rng if self.config.random_order else None
            inputs, targets, modality = self.composer.pair(template, record, rng=order)
        except InputError as error:
            raise InputError(f"task {self.name}, record {index}: {error}") from None
        if rng.random() < self.config.condition_dropout:
            inputs = Tokens.concatenate([])
        if self.noise:
            inputs = hide_codes(inputs, self.noise, self.composer.vocabulary, rng)
        example = self.objective(inputs, targets, modality, rng)
        return dataclasses.replace(example, task=self.number)

    def _record(self, index: int) -> Mapping[str, Any]:
        record: Mapping[str, Any] = self.source[index]
        if not self._tables:
            return record
        whole = {n: functools.partial(record.__getitem__, n) for n in self._tables}
        codes = {n: Codes(table[index], whole[n]) for n, table in self._tables.items()}
        return _Tokenized(record, codes)

    def _others(self, index: int, rng: np.random.Generator) -> list[int]:
        """0 to `shots` records of the same source, all different and none of them `index`."""
        count = int(rng.integers(self.shots + 1))
        chosen = rng.choice(len(self.source) - 1, count, replace=False)
        return [int(other) + (other >= index) for other in chosen]

    def _kept_fields(self) -> dict[str, str]:
        """Fields whose codes are the same every time and cost more than reading them: those that a network encodes,
        and where the order is not random those that have one (molecules, graphs). Not text, none with a context."""
        found: dict[str, str] = {}
        for template in self.config.templates:
            for field in sequence.fields(template.inputs) + sequence.fields(template.targets):
                tokenizer = self.composer.tokenizers.get(field.modality)
                if (
                    tokenizer is None
                    or field.context is not None
                    or not (cache.is_learned(tokenizer) or self._in_order(field.modality))
                ):
                    continue
                if found.setdefault(field.name, field.modality) != field.modality:
                    raise ConfigError(
                        f"tasks.{self.name}.templates: field {field.name!r} is given two modalities"
                    )
        return found

    def _in_order(self, modality: str) -> bool:
        return not self.config.random_order and modality != sequence.TEXT


def hide_codes(
    inputs: Tokens, most: float, vocabulary: Vocabulary, rng: np.random.Generator
) -> Tokens:
    """`inputs` with a random share, up to `most`, of the codes between begin and end marks hidden by MASK.

    Word dropout (Iyyer et al. 2015) on the codes of images, sounds and the like: against learning a small
    training set by heart. Positions and modality stay; text and marks do, too.
    """
    text = vocabulary.modality_id(sequence.TEXT) if sequence.TEXT in vocabulary.names else -1
    firsts = np.array([b.first_code if b.marks else vocabulary.size for b in vocabulary.blocks])
    codes = (inputs.ids >= firsts[inputs.modality]) & (inputs.modality != text)
    hidden = codes & (rng.random(len(inputs)) < rng.random() * most)
    return Tokens(np.where(hidden, MASK, inputs.ids), inputs.positions, inputs.modality)


class _Tokenized(Mapping[str, Any]):
    """A record some of whose values are codes already: those are not even read."""

    def __init__(self, record: Mapping[str, Any], codes: Mapping[str, Codes]) -> None:
        self._record, self._codes = record, codes

    def __getitem__(self, name: str) -> Any:
        return self._codes[name] if name in self._codes else self._record[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._record)

    def __len__(self) -> int:
        return len(self._record)

    def __contains__(self, name: object) -> bool:
        return name in self._record


def check_task(name: str, config: TaskConfig, source: Source) -> None:
    """Refuse at the door: fields that the source lacks, and answers that the inputs show.

    Raises InputError or ConfigError naming the task's template.
    """
    if not len(source):
        raise InputError(f"tasks.{name}: source {config.source!r} has no records")
    there = set(source[0])
    for template in [*config.templates, *config.held_out_templates]:
        inputs, targets = sequence.fields(template.inputs), sequence.fields(template.targets)
        for field in inputs + targets:
            for wanted in (field.name, field.context):
                if wanted is not None and wanted not in there:
                    raise InputError(
                        f"tasks.{name}.templates: source {config.source!r} has no field {wanted!r}; "
                        f"it has {', '.join(sorted(there))}"
                    )
        both = {f.name for f in inputs} & {f.name for f in targets}
        if both and objectives.hides(config.objective):
            raise ConfigError(
                f"tasks.{name}.templates: {config.objective.kind} asks for the targets, but the inputs show "
                f"{', '.join(sorted(both))} too; leave it out of the inputs"
            )
        if not sequence.parts(template.targets):
            raise ConfigError(f"tasks.{name}.templates: empty targets")


def build_tasks(config: Config, composer: Composer, split: str, folder: Path | None) -> list[Task]:
    """Every task of the mixture, in the config's order, over its training or evaluation split.

    Sources are opened once each; tasks of weight 0 (evaluation only) stay out of a stream.
    """
    opened: dict[tuple[str, str], Source] = {}
    tasks = []
    for number, (name, task) in enumerate(config.tasks.items()):
        if task.weight == 0:
            continue
        key = (task.source, task.train_split if split == "train" else task.eval_split)
        if key not in opened:
            try:
                opened[key] = sources.build_source(config.sources[task.source], key[1])
            except InputError as error:
                raise InputError(f"sources.{task.source}: {error}") from None
        tasks.append(Task(name, number, task, opened[key], composer, folder, split == "train"))
    return tasks
