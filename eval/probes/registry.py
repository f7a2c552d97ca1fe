"""Which probes there are, which run, and their results task by task on disk.

OUT/probes/PROBE-TASK.json    a finished probe, under the identity of its task and checkpoint
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unitok.errors import InputError
from unitok.eval.context import TaskContext
from unitok.eval.probes import calibration, conformal, drop, instructions, outliers, retrieval
from unitok.eval.probes.findings import Probed


@dataclass(frozen=True)
class Probe:
    """run: findings of one task, None where it does not apply; usual: part of every evaluation; across: looks
    at the other tasks too, so that its results hold for these tasks together."""

    title: str
    about: str
    run: Callable[[Probed, drop.Evaluate], dict[str, Any] | None]
    usual: bool
    across: bool = False


PROBES = {
    "calibration": Probe(
        "Calibration and abstention",
        "Negative log-likelihood, reliability, temperature scaling, and what the model gets right when it may abstain.",
        lambda probed, _: calibration.probe(probed),
        True,
    ),
    "conformal": Probe(
        "Conformal prediction",
        "Prediction sets and intervals with a promised coverage, measured over many splits against its exact law.",
        lambda probed, _: conformal.probe(probed),
        True,
    ),
    "retrieval": Probe(
        "Cross-modal retrieval",
        "Whether the embedding of a value finds its partner of another modality, among all that the test split holds.",
        lambda probed, _: retrieval.probe(probed),
        True,
        across=True,
    ),
    "outliers": Probe(
        "Detection of what does not belong",
        "Whether the likelihood of an answer tells a wrong, strange or damaged one from the true one.",
        lambda probed, _: outliers.probe(probed),
        True,
        across=True,
    ),
    "instructions": Probe(
        "Instructions, zero-shot and few-shot",
        "Wordings and tasks held out of training, with and without solved examples in the prompt.",
        lambda probed, _: instructions.probe(probed),
        False,
    ),
    "drop": Probe(
        "Inputs taken away",
        "Every score again with one input emptied, and with another item's in its place.",
        drop.probe,
        False,
    ),
}

Keep = Callable[[Path, Any, Callable[[], Any]], Any]


def chosen(names: Sequence[str] | None) -> list[str]:
    """None: the usual ones; "all" and "none" as they say. Raises InputError for a probe that there is not."""
    if names is None:
        return [name for name, probe in PROBES.items() if probe.usual]
    if list(names) == ["all"]:
        return list(PROBES)
    if list(names) == ["none"]:
        return []
    for name in names:
        if name not in PROBES:
            near = difflib.get_close_matches(name, PROBES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PROBES)}"
            raise InputError(f"--probes: no probe {name!r}; {hint}, or all, or none")
    return [name for name in PROBES if name in names]


def run_all(
    tasks: Sequence[TaskContext],
    names: Sequence[str] | None,
    folder: Path,
    identity: Callable[[TaskContext], str],
    keep: Keep,
    evaluate: drop.Evaluate,
) -> dict[str, Any]:
    """Probe -> {title, about, tasks: {task: findings}}, of those that apply to any task.

    identity: of all that a task's results depend on; keep(file, identity, make): what the file holds under
    that identity, else what `make` gives, kept there; evaluate: gives a task's own scores.
    """
    found: dict[str, Any] = {}
    memory: dict[Any, Any] = {}
    of_task = {task.name: identity(task) for task in tasks}
    for name in chosen(names):
        probe, of_tasks = PROBES[name], {}
        for task in tasks:
            asked = names is not None
            probed = Probed(task, tasks, asked, memory)

            def make(probed: Probed = probed, probe: Probe = probe, name: str = name) -> Any:
                probed.task.say(f"probe {name}: {probed.task.name}")
                return probe.run(probed, evaluate)

            file = folder / "probes" / f"{name}-{task.name}.json"
            result = keep(
                file,
                [name, asked, task.name, of_task if probe.across else of_task[task.name]],
                make,
            )
            if result is not None:
                of_tasks[task.name] = result
        if of_tasks:
            found[name] = {"title": probe.title, "about": probe.about, "tasks": of_tasks}
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """The scores as plain lines for a terminal."""
    from unitok.eval.report import interval, score

    out = []
    for name, section in found.items():
        for task, result in section["tasks"].items():
            for m in result["metrics"]:
                text = f"{name}, {task}: {m['name']} {score(m['value'], m['unit'])}"
                text += f" ({interval(m)})" if m["low"] is not None else ""
                for side in ("baseline", "bound"):
                    if m[side]:
                        text += f"; {m[side]['name']} {score(m[side]['value'], m['unit'])}"
                out.append(f"{text}; {m['items']} items")
    return out
