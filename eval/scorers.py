"""Which scores a task gets: by its objective, its target's modality and the metrics that its config names."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unitok import metrics
from unitok.errors import InputError
from unitok.eval import (
    scores_audio,
    scores_boxes,
    scores_count,
    scores_graph,
    scores_image,
    scores_judged,
    scores_number,
    scores_series,
    scores_text,
)
from unitok.eval.context import TaskContext
from unitok.eval.probes import retrieval
from unitok.metrics import graphs
from unitok.sequence import TEXT

Judges = dict[Any, Any]


@dataclass(frozen=True)
class Scorer:
    """names: the metrics it knows. score: the scores as the page holds them; None: the truth's cost is the score."""

    names: frozenset[str]
    score: Callable[[TaskContext, Judges], dict[str, Any]] | None


BITS = Scorer(frozenset(["bits", "bits_per_byte"]), None)
BY_TARGET = {
    "image": Scorer(scores_image.NAMES, lambda task, _: scores_image.score_pixels(task)),
    "series": Scorer(scores_series.NAMES, lambda task, _: scores_series.score_series(task)),
    "audio": Scorer(scores_audio.NAMES, lambda task, _: scores_audio.score_audio(task)),
    "graph": Scorer(scores_graph.NAMES, lambda task, _: scores_graph.score_graphs(task)),
    "coord": Scorer(scores_boxes.NAMES, lambda task, _: scores_boxes.score_boxes(task)),
}
NUMBER = Scorer(scores_number.NAMES, lambda task, _: scores_number.score_numbers(task))
PAIRS = Scorer(frozenset(), lambda task, _: retrieval.score_pairs(task))
WORDS = Scorer(scores_text.NAMES, lambda task, _: scores_text.score_text(task))
COUNTED = Scorer(scores_count.NAMES, lambda task, _: scores_count.score_count(task))
JUDGED = Scorer(scores_judged.NAMES, scores_judged.score_judged)


def choose(task: TaskContext) -> Scorer:
    """The scorer of a task. Raises InputError naming a metric, or what is to be shown, that does not suit it."""
    wanted = set(task.config.metrics)
    _check_shows(task)
    scorer = _choose(task, wanted)
    if scorer is BITS and "bits_per_byte" in wanted and task.target_modality != TEXT:
        raise InputError(
            f"tasks.{task.name}.metrics: 'bits_per_byte' is of text, and the targets are "
            f"{task.target_modality or 'mixed'}; use 'bits'"
        )
    for name in task.config.metrics:
        if name not in scorer.names | {"bits"}:
            near = difflib.get_close_matches(name, scorer.names, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise InputError(
                f"tasks.{task.name}.metrics: {name!r} ({metrics.NAMES[name]}) does not suit this task, whose "
                f"targets are {task.target_modality or 'mixed'} under {task.kind}; {hint}"
                f"there are {', '.join(sorted(scorer.names | {'bits'}))}"
            )
    return scorer


def _choose(task: TaskContext, wanted: set[str]) -> Scorer:
    target = task.target_modality
    if task.kind == "contrastive":
        return PAIRS
    if (wanted and wanted <= BITS.names) or task.kind not in ("seq2seq", "prefix"):
        return BITS
    if task.kind == "prefix":
        return BY_TARGET["image"] if target == "image" else BITS
    if target == TEXT:
        numeric = wanted & scores_number.NAMES if wanted else scores_number.suits(task)
        return NUMBER if numeric else WORDS
    if "count" in wanted and target in ("audio", "series"):
        return COUNTED
    if scores_judged.suits(task, wanted):
        return JUDGED
    return BY_TARGET.get(target, BITS)


def _check_shows(task: TaskContext) -> None:
    known = ["judge", "count", *(graphs.PROPERTIES if task.target_modality == "graph" else ())]
    for name, field in task.config.shows.items():
        for given, there in ((name, known), (field, sorted(task.test[0]))):
            if given not in there:
                near = difflib.get_close_matches(given, there, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(there)}"
                raise InputError(
                    f"tasks.{task.name}.shows: {given!r} is no "
                    f"{'field of the records' if given is field else 'property of such answers'}; {hint}"
                )
