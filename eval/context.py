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
from unitok.sequence import TEXT, Codes, Field, as_text, parts
from unitok.sequence import fields as template_fields

TRAIN_SAMPLE = 2000  # training items that baselines are fitted on
TRAIN_EXAMPLES = 500  # of these, tokenized
TRAIN_VALUES = 20_000  # at the most, for the judge and the nearest neighbours
CHUNK = 256  # generated rows between two lines of progress
SAMPLES = 12
SHUFFLED = ", source shuffled"  # ends the name of a score of inputs that came from another item
TOKENS = 120_000  # generated for one task at the most: where several samples an item are drawn, items are fewer
LOWER = frozenset(
    [
        "mae",
        "rmse",
        "mase",
        "mse",
        "smape",
        "crps",
        "wql",
        "wer",
        "cer",
        "log_mel",
        "frechet",
        "degree_mmd",
        "wl_mmd",
        "bits",
        "bits_per_byte",
        "calibration",
    ]
)  # metrics that are better when lower

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How to evaluate. items: None for all; samples: of each forecast; temperature and guidance: of what is sampled."""

    items: int | None = None
    seed: int = 0
    samples: int = 20
    temperature: float | None = None  # None: the task's
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

    def train_values(
        self, field: str, most: int = TRAIN_VALUES
    ) -> tuple[list[Any], list[Mapping[str, Any]]]:
        """A field's training values with their records (read lazily)."""
        rows = [self.train[i] for i in self.choose(len(self.train), most)]
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
        return self._examples(self.train_records[:TRAIN_EXAMPLES], 1)

    def _examples(self, records: Sequence[Mapping[str, Any]], stream: int) -> list[Example]:
        build = objectives.build(self.config.objective, self.run.vocabulary)
        made = []
        for index, record in enumerate(self._tokenized(records)):
            rng = np.random.default_rng([self.settings.seed, stream, index])
            inputs, targets, modality = self.pair(index, record)
            made.append(build(inputs, targets, modality, rng))
        return made

    def _tokenized(self, records: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Records with codes for values that need no context: in one batch, several times faster than one by one."""
        sides = [side for t in self.config.templates for side in (t.inputs, t.targets)]
        fields = {f for side in sides for f in template_fields(side) if f.modality != TEXT}
        found = [dict(record) for record in records]
        for field in sorted(fields, key=str):
            alone = [f.name for f in fields].count(field.name) == 1 and field.context is None
            if alone and not any(f.context == field.name for f in fields):
                codes = self.predictor.tokenizers[field.modality].encode_batch(
                    [record[field.name] for record in records]
                )
                for one, ids in zip(found, codes):
                    one[field.name] = Codes(ids)
        return found

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
        return [samples[0] for samples in self.ask_samples(requests, what)]

    def ask_samples(self, requests: Sequence[Request], what: str) -> list[list[Any]]:
        """The `num_samples` outputs of each request, with progress."""
        outputs: list[list[Any]] = []
        size = max(1, CHUNK // max((r.num_samples for r in requests), default=1))
        for start in range(0, len(requests), size):
            outputs += self.predictor.generate_batch(requests[start : start + size])
            self.say(f"{self.name}: {what} {len(outputs)}/{len(requests)}")
        return outputs

    def room(self) -> int:
        """New tokens for an answer as long as the longest of the training sample or the evaluated items, EOS counted."""
        return max(len(example.labels) for example in (*self.train_examples, *self.examples))

    @property
    def temperature(self) -> float:
        """Of values that are sampled."""
        if self.settings.temperature is not None:
            return self.settings.temperature
        return self.config.eval_temperature

    @property
    def sampling(self) -> dict[str, float]:
        """How values are sampled, as `Request` takes it."""
        return {"temperature": self.temperature, "min_p": self.config.eval_min_p}

    @property
    def sampled(self) -> str:
        """The same in words."""
        cut = f", min-p {self.config.eval_min_p:g}" if self.config.eval_min_p else ""
        return f"sampled at temperature {self.temperature:g}{cut}"

    @property
    def guidance(self) -> float:
        if self.settings.guidance is not None:
            return self.settings.guidance
        return 2.0 if self.config.condition_dropout else 1.0

    def request(self, index: int, record: Mapping[str, Any], to: str, **more: Any) -> Request:
        """The task's own question about one record, its fields filled in; more: the rest of `Request`."""
        template = self.template(index)
        wanted = self.input_fields(template)
        names = {f.name for f in wanted} | {f.context for f in wanted if f.context}
        if context := to.partition("@")[2]:
            names.add(context)
        fields = {name: record[name] for name in names}
        return Request(prompt=template.inputs, fields=fields, to=to, **more)

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


def coded(value: Any, modality: str, tokenizers: Mapping[str, Any]) -> Codes | str:
    """A value as it is read, without context: text as a string, any other as its codes, once and for all."""
    if modality == TEXT:
        return as_text(value)
    return value if isinstance(value, Codes) else Codes(tokenizers[modality].encode(value))


def metric(
    name: str,
    estimate: bootstrap.Estimate,
    unit: str,
    baseline: tuple[str, float] | None = None,
    bound: tuple[str, float] | None = None,
    note: str = "",
    *,
    key: str = "",
) -> dict[str, Any]:
    """A score as results and the page hold it. unit: "%" (value 0..1), "dB", "bits" or "".

    key: its name in `unitok.metrics.NAMES`, by which a yardstick is found; "" for others.
    """
    named = lambda pair: {"name": pair[0], "value": float(pair[1])} if pair else None  # noqa: E731
    return {
        "key": key, "name": name, "value": estimate.value, "low": estimate.low, "high": estimate.high,
        "items": estimate.items, "unit": unit, "lower": key in LOWER, "baseline": named(baseline),
        "bound": named(bound), "yardstick": None, "note": note,
        "parts": None if estimate.parts is None else estimate.parts.tolist(),
    }  # fmt: skip
