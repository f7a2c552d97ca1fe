"""Probe `drop`: how much does each input matter? Every score again without it, and with another item's.

Emptied: the field is taken out of the prompt. Swapped: it holds the value of another test item, so that
the prompt looks as it should; where a model looks at an input, its score falls to the baseline.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from unitok.config import Template
from unitok.eval.context import SHUFFLED, TaskContext, coded
from unitok.eval.probes.findings import Probed, findings, number, shown, table
from unitok.interfaces import Tokens
from unitok.interpreter import Interpreter
from unitok.metrics.bootstrap import Estimate
from unitok.predictor import Predictor, Request
from unitok.sequence import Codes, Composer, fields

MOST_ITEMS = 200
HOW = ("emptied", "another item's")

Evaluate = Callable[[TaskContext], dict[str, Any]]


def probe(probed: Probed, evaluate: Evaluate) -> dict[str, Any] | None:
    """evaluate: gives a task's scores, as for the report. None for a task without input fields."""
    task = _smaller(probed.task)
    names = sorted({f.name for t in task.config.templates for f in fields(t.inputs)})
    if not names or task.kind not in ("seq2seq", "prefix"):
        return None
    whole = _scores(evaluate, task)
    rows: list[list[Any]] = [["all inputs", *_cells(whole, whole)]]
    metrics: list[dict[str, Any]] = []
    for name in names:
        for how in HOW:
            task.say(f"{task.name}: {name} {how}")
            found = _scores(evaluate, _without(task, name, how))
            rows.append([f"{name} {how}", *_cells(found, whole)])
            metrics += _first(found, whole, f"{name} {how}")
    columns = ["inputs"]
    flat: list[Any] = ["trivial baseline"]
    for modality, b in whole["bits"].items():
        columns += [f"{modality}, bits / token", "change"]
        flat += [number(b["unigram"]), ""]
    for place, m in enumerate(whole["metrics"]):
        columns += [m["name"], *(["change"] if place == 0 else [])]
        flat += [_baseline(m), *([""] if place == 0 else [])]
    note = f"{len(task.items)} items. Bits are of the true answer, teacher-forced."
    about = "Scores without an input, and with the wrong one."
    return findings(about, metrics, [table("Inputs taken away", columns, [*rows, flat], note)])


def _scores(evaluate: Evaluate, task: TaskContext) -> dict[str, Any]:
    """Without the score of shuffled sources, which asks the same as this probe of all fields at once."""
    found = evaluate(task)
    return {**found, "metrics": [m for m in found["metrics"] if not m["name"].endswith(SHUFFLED)]}


def _smaller(task: TaskContext) -> TaskContext:
    most = min([MOST_ITEMS, *([task.settings.items] if task.settings.items else [])])
    return dataclasses.replace(task, settings=dataclasses.replace(task.settings, items=most))


def _cells(found: Mapping[str, Any], whole: Mapping[str, Any]) -> list[Any]:
    cells: list[Any] = []
    for modality, b in whole["bits"].items():
        now = found["bits"].get(modality)
        value = None if now is None else now["value"]
        cells += [number(value), _change(value, b["value"], "")]
    now_by_name = {m["name"]: m for m in found["metrics"]}
    for place, m in enumerate(whole["metrics"]):
        now = now_by_name.get(m["name"])
        score = None if now is None else now["value"]
        if now is not None and now["low"] is not None:
            score = Estimate(now["value"], now["low"], now["high"], now["items"])
        cells.append(number(score, m["unit"]))
        if place == 0:  # of the others it can be seen: the table is wide enough
            cells.append(_change(None if now is None else now["value"], m["value"], m["unit"]))
    return cells


def _first(found: Mapping[str, Any], whole: Mapping[str, Any], what: str) -> list[dict[str, Any]]:
    """The task's first score, with that of all inputs as its bound. The trivial baseline is said, not set
    beside it: to fall there is no fault of the model's."""
    if not found["metrics"] or not whole["metrics"]:
        return []
    now, before = found["metrics"][0], whole["metrics"][0]
    base, note = now["baseline"], ""
    if base is not None:
        note = f"{base['name']}: {shown(base['value'], now['unit'])}"
    bound = {"name": "all inputs", "value": before["value"]}
    changed = {"name": f"{now['name']}, {what}", "bound": bound, "note": note}
    return [{**now, **changed, "baseline": None, "yardstick": None}]


def _change(now: float | None, before: float | None, unit: str) -> str:
    if now is None or before is None:
        return ""
    scale, digits = (100, 1) if unit == "%" else (1, 2)
    change = round(scale * (now - before), digits)
    return f"{change:+.{digits}f}" if change else ""


def _baseline(metric: Mapping[str, Any]) -> Any:
    return number(metric["baseline"]["value"] if metric["baseline"] else None, metric["unit"])


# ---- a model that does not get to see a field --------------------------------------------------


def _without(task: TaskContext, name: str, how: str) -> TaskContext:
    """The same task, asked of a model whose prompts lack the field, or hold another item's."""
    values = [r[name] for r in task.records] if how == HOW[1] else []
    blind = Blind(task.predictor, name, values, task.settings.seed)
    return dataclasses.replace(task, predictor=blind)


class Blind(Predictor):
    """`seeing`, but every prompt has field `name` removed, or filled with the next of `values`.

    Values come in a shuffled order, and never the item's own where another differs.
    """

    def __init__(self, seeing: Predictor, name: str, values: Sequence[Any], seed: int) -> None:
        super().__init__(
            seeing.model, seeing.params, seeing.vocabulary, seeing.tokenizers,
            mesh=seeing.mesh, batch_sizes=seeing.batch_sizes, step=seeing.step,
        )  # fmt: skip
        order = np.random.default_rng([seed, 21]).permutation(len(values)).tolist()
        swap = Swap(name, [values[i] for i in order], seeing.tokenizers)
        self._swap = swap
        self.composer = _BlindComposer(seeing.composer, swap)
        self.interpreter = _BlindInterpreter(seeing.interpreter, self.composer, swap)


class _BlindInterpreter(Interpreter):
    def __init__(self, seeing: Interpreter, composer: Composer, swap: Swap) -> None:
        super().__init__(seeing.tokenizers, seeing.vocabulary)
        self.composer, self._swap = composer, swap

    def compose(self, request: Request) -> Tokens:
        if request.prompt is None or not self._swap.concerns(request.prompt):
            return super().compose(request)
        prompt, given = self._swap.apply(request.prompt, request.fields)
        kept = {f.name for f in fields(prompt)} | {f.context for f in fields(prompt)}
        kept.add(request.to.partition("@")[2])
        given = {name: value for name, value in given.items() if name in kept}
        return super().compose(dataclasses.replace(request, prompt=prompt, fields=given))


class _BlindComposer(Composer):
    def __init__(self, seeing: Composer, swap: Swap) -> None:
        super().__init__(seeing.tokenizers, seeing.vocabulary)
        self._swap = swap

    def pair(
        self, template: Template, record: Mapping[str, Any], *, rng: Any = None
    ) -> tuple[Tokens, Tokens, int]:
        inputs, targets, modality = super().pair(template, record, rng=rng)
        if self._swap.concerns(template.inputs):
            prompt, given = self._swap.apply(template.inputs, record)
            inputs = self.compose(prompt, given, rng=rng)
        return inputs, targets, modality


class Swap:
    """Takes a field out of prompts, or fills it with one value after the other."""

    def __init__(self, name: str, values: Sequence[Any], tokenizers: Mapping[str, Any]) -> None:
        self.name, self.values, self._next = name, values, 0
        self._tokenizers = tokenizers
        self._hole = re.compile(r"\{" + re.escape(name) + r"(?::\w+)?(?:@\w+)?\}")

    def concerns(self, prompt: str) -> bool:
        return any(field.name == self.name for field in fields(prompt))

    def apply(self, prompt: str, record: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        if not self.values:
            return self._hole.sub("", prompt), record
        modality = next(field.modality for field in fields(prompt) if field.name == self.name)
        return prompt, {**record, self.name: self._other(record[self.name], modality)}

    def _other(self, own: Any, modality: str) -> Any:
        """Compared as they are read: a record may hold a value or its codes."""
        read = coded(own, modality, self._tokenizers)
        for _ in self.values:
            value = self.values[self._next % len(self.values)]
            self._next += 1
            if not _same(coded(value, modality, self._tokenizers), read):
                return value
        return own


def _same(a: Codes | str, b: Codes | str) -> bool:
    if isinstance(a, Codes) and isinstance(b, Codes):
        return np.array_equal(a.ids, b.ids)
    return a == b
