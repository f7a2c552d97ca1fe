"""One task of a run, ready to be evaluated: its records, its examples, and how results are written down."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unitok import objectives
from unitok.config import TaskConfig, Template
from unitok.data import sources
from unitok.eval import figures
from unitok.interfaces import Example, Source, Tokens
from unitok.metrics import bootstrap
from unitok.predictor import Predictor, Request
from unitok.run import Run
from unitok.sequence import TEXT, Field, as_text, parts
from unitok.values import Image

TRAIN_SAMPLE = 2000  # training items that baselines are fitted on
TRAIN_IMAGES = 20_000  # at the most, for the judge and the nearest neighbours
CHUNK = 256  # requests between two lines of progress
SAMPLES = 12

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How to evaluate. items: None for all; temperature and guidance: of sampled images."""

    items: int | None = None
    seed: int = 0
    temperature: float = 1.0
    guidance: float | None = None  # None: 2 where the task trained for guidance, else 1


@dataclass(frozen=True)
class TaskContext:
    """A task with its model. All that is random is drawn from (settings.seed, item)."""

    name: str
    config: TaskConfig
    run: Run
    predictor: Predictor
    settings: Settings
    say: Say

    # ---- records --------------------------------------------------------------------------

    @functools.cached_property
    def train(self) -> Source:
        return sources.build_source(
            self.run.config.sources[self.config.source], self.config.train_split
        )

    @functools.cached_property
    def test(self) -> Source:
        return sources.build_source(
            self.run.config.sources[self.config.source], self.config.eval_split
        )

    @functools.cached_property
    def items(self) -> list[int]:
        """Evaluated items of the test split: all, or a fixed random choice, in file order."""
        caps = [self.config.eval_items, self.settings.items]
        return self.choose(
            len(self.test), min([len(self.test), *(c for c in caps if c is not None)])
        )

    def choose(self, total: int, count: int) -> list[int]:
        if count >= total:
            return list(range(total))
        return sorted(np.random.default_rng(self.settings.seed).permutation(total)[:count].tolist())

    @functools.cached_property
    def records(self) -> list[Mapping[str, Any]]:
        """The evaluated records, read once."""
        return [dict(self.test[i]) for i in self.items]

    @functools.cached_property
    def train_records(self) -> list[Mapping[str, Any]]:
        """A fixed sample of the training split."""
        chosen = self.choose(len(self.train), TRAIN_SAMPLE)
        return [dict(self.train[i]) for i in chosen]

    def train_images(self, field: str) -> tuple[list[Image], list[Mapping[str, Any]]]:
        """Training images with their records (read lazily)."""
        rows = [self.train[i] for i in self.choose(len(self.train), TRAIN_IMAGES)]
        return [row[field] for row in rows], rows

    # ---- examples -------------------------------------------------------------------------

    def template(self, index: int) -> Template:
        """Templates take turns over the items."""
        return self.config.templates[index % len(self.config.templates)]

    @functools.cached_property
    def examples(self) -> list[Example]:
        return self._examples(self.records, 0)

    @functools.cached_property
    def train_examples(self) -> list[Example]:
        return self._examples(self.train_records, 1)

    def _examples(self, records: Sequence[Mapping[str, Any]], stream: int) -> list[Example]:
        build = objectives.build(self.config.objective, self.run.vocabulary)
        made = []
        for index, record in enumerate(records):
            rng = np.random.default_rng([self.settings.seed, stream, index])
            inputs, targets, modality = self.pair(index, record)
            made.append(build(inputs, targets, modality, rng))
        return made

    def pair(self, index: int, record: Mapping[str, Any]) -> tuple[Tokens, Tokens, int]:
        return self.predictor.composer.pair(self.template(index), record)

    # ---- what the task is about -----------------------------------------------------------

    @property
    def target_modality(self) -> str:
        """The one modality of the targets; "" where they mix several."""
        index = self.predictor.composer.target_modality(self.config.templates[0])
        return self.run.vocabulary.names[index] if index else ""

    @property
    def kind(self) -> str:
        return self.config.objective.kind

    def target_field(self, template: Template) -> Field:
        return next(p for p in parts(template.targets) if isinstance(p, Field))

    def input_fields(self, template: Template) -> list[Field]:
        return [p for p in parts(template.inputs) if isinstance(p, Field)]

    # ---- asking the model -----------------------------------------------------------------

    def ask(self, requests: Sequence[Request], what: str) -> list[Any]:
        """One output a request, with progress."""
        outputs: list[Any] = []
        for start in range(0, len(requests), CHUNK):
            found = self.predictor.generate_batch(requests[start : start + CHUNK])
            outputs += [samples[0] for samples in found]
            self.say(f"{self.name}: {what} {len(outputs)}/{len(requests)}")
        return outputs

    def shown_inputs(self, template: Template, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The filled-in inputs for the page: stretches of text and pictures of the values."""
        shown: list[Any] = []
        for part in parts(template.inputs):
            if isinstance(part, str):
                value: Any = part
            else:
                value = record[part.name]
                value = as_text(value) if part.modality == TEXT else value
            if isinstance(value, str) and shown and isinstance(shown[-1], str):
                shown[-1] += value
            else:
                shown.append(value)
        return [figures.show(value) for value in shown]


def answer(template: Template, record: Mapping[str, Any]) -> str:
    """The target text of a record under a template whose targets hold text alone."""
    return "".join(
        part if isinstance(part, str) else as_text(record[part.name])
        for part in parts(template.targets)
    )


def metric(
    name: str,
    estimate: bootstrap.Estimate,
    unit: str,
    baseline: tuple[str, float] | None = None,
    bound: tuple[str, float] | None = None,
    note: str = "",
) -> dict[str, Any]:
    """A score as results and the page hold it. unit: "%" (value 0..1), "dB", "bits" or ""."""
    named = lambda pair: {"name": pair[0], "value": float(pair[1])} if pair else None  # noqa: E731
    return {
        "name": name, "value": estimate.value, "low": estimate.low, "high": estimate.high,
        "items": estimate.items, "unit": unit, "baseline": named(baseline), "bound": named(bound),
        "note": note,
    }  # fmt: skip


def plain_metric(name: str, value: float, items: int, unit: str, note: str = "") -> dict[str, Any]:
    """A score without an interval."""
    return {
        "name": name, "value": float(value), "low": None, "high": None, "items": items, "unit": unit,
        "baseline": None, "bound": None, "note": note,
    }  # fmt: skip
