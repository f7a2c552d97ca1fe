"""Evaluating a run: each task's cost and scores beside their baselines and bounds; results task by task on disk.

    OUT/tasks/NAME.json    a finished task, under an identity of all that it depends on
    OUT/metrics.json       the numbers of all
    OUT/report.html        the page
    OUT/model-card.md      the same for the Hugging Face Hub
    OUT/probes/            finished probes (`unitok.eval.probes`)

A task whose file carries the same identity is not evaluated again, so that an interrupted evaluation goes
on where it was. Nothing in metrics.json depends on the clock.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from unitok.config import SourceConfig, to_dict
from unitok.errors import InputError
from unitok.eval import fidelity, model_card, report, scorers
from unitok.eval.bits import bits, by_modality, score_bits
from unitok.eval.context import Say, Settings, TaskContext
from unitok.eval.kept import FORMAT, digest, kept
from unitok.eval.probes import registry as probing
from unitok.eval.scores_tokenizer import score_tokenizer
from unitok.host_memory import keep_freed_memory
from unitok.predictor import Predictor
from unitok.run import Run, read_run, write_json, write_text
from unitok.sequence import TEXT, parts

BATCH_SIZES = (64,)  # generation is padded to one size: few compilations
SUBSTANCE = ("samples", "pairs", "figures", "parts")  # what is in the page, not in metrics.json


def evaluate(
    checkpoint: str | Path,
    out: str | Path | None = None,
    tasks: Sequence[str] | None = None,
    settings: Settings | None = None,
    step: int | None = None,
    say: Say = print,
    probes: Sequence[str] | None = None,
) -> Path:
    """Evaluate the run folder `checkpoint`; writes into `out` (None: its folder `report`) and gives the page's path.

    tasks: names, None for all. probes: names, None for the config's. Raises InputError for a folder that is no run, or a task it does not have.
    """
    run = read_run(checkpoint)
    settings = settings or Settings()
    if settings.items is None:
        settings = dataclasses.replace(settings, items=run.config.eval_items)
    names = _names(run, tasks)
    probes = run.config.eval_probes if probes is None else probes
    probing.chosen(probes)  # a wrong name is refused before anything is computed
    folder = Path(out) if out is not None else run.path / "report"
    folder.mkdir(parents=True, exist_ok=True)  # where it cannot be, nothing is computed
    say(f"loading {run.path}")
    keep_freed_memory()
    predictor = Predictor.load(run.path, step=step)
    predictor.batch_sizes = BATCH_SIZES
    results: dict[str, Any] = {
        "format": FORMAT,
        "run": about(run, predictor),
        "tasks": {},
        "tokenizers": {},
    }
    judges: dict[Any, Any] = {}
    weights = _weights_digest(predictor)
    contexts = [
        TaskContext(name, run.config.tasks[name], run, predictor, settings, say) for name in names
    ]
    for task in contexts:
        scorers.choose(task)  # refuses a metric that does not suit before anything is spent
    for number, task in enumerate(contexts, 1):
        file = folder / "tasks" / f"{task.name}.json"

        def scored(task: TaskContext = task, number: int = number) -> dict[str, Any]:
            say(f"task {number} of {len(names)}: {task.name}")
            return evaluate_task(task, judges)

        results["tasks"][task.name] = kept(file, _identity(task, weights), scored)
    results["likelihood"] = by_modality(results["tasks"], settings.seed)
    identity_of = lambda task: _identity(task, weights)  # noqa: E731
    scores_of = lambda task: evaluate_task(task, judges)  # noqa: E731
    results["probes"] = probing.run_all(contexts, probes, folder, identity_of, kept, scores_of)
    results["tokenizers"] = _tokenizers(contexts, folder)
    write_json(folder / "metrics.json", _without(results, SUBSTANCE))
    curves = report.read_curves(run.path / "metrics.jsonl")
    page = report.render(results, curves, to_dict(run.config))
    write_text(folder / "report.html", page)
    card = model_card.write(results, run.config, _command(run, settings, tasks, probes))
    write_text(folder / "model-card.md", card)
    for line in [*report.lines(results), *probing.lines(results["probes"])]:
        say(line)
    return folder / "report.html"


def evaluate_task(task: TaskContext, judges: dict[Any, Any] | None = None) -> dict[str, Any]:
    """Bits per token, and the scores that the task's target and metrics ask for."""
    template = task.config.templates[0]
    scorer = scorers.choose(task)
    cost, costs = bits(task) if task.kind != "contrastive" else ({}, [])
    if scorer.score is None:
        scores = score_bits(task, costs)
    else:
        scores = scorer.score(task, {} if judges is None else judges)
    for found in scores["metrics"]:
        if found["key"] in task.config.yardstick:
            found["yardstick"] = to_dict(task.config.yardstick[found["key"]])
    return {
        "source": task.config.source,
        "split": task.config.eval_split,
        "items": len(task.items),
        "of": digest(
            _data(task.run.config.sources[task.config.source]), task.config.eval_split, task.items
        ),
        "available": len(task.test),
        "objective": task.kind,
        "target": task.target_modality or "mixed",
        "template": {"inputs": template.inputs, "targets": template.targets},
        "bits": cost,
        "figures": [],
        **scores,
    }


# ---- the tokenizers ----------------------------------------------------------------------------


def _tokenizers(contexts: Sequence[TaskContext], folder: Path) -> dict[str, Any]:
    """Each modality that a task uses, measured on that task's test items, once."""
    found: dict[str, Any] = {}
    for task in contexts:
        for field in (
            p for t in task.config.templates for side in (t.inputs, t.targets) for p in parts(side)
        ):
            if isinstance(field, str) or field.context or field.modality in found:
                continue
            if field.modality not in fidelity.MEASURES or field.modality == TEXT:
                continue
            tokenizer = task.predictor.tokenizers[field.modality]
            file = folder / "tasks" / f"tokenizer-{field.modality}.json"
            identity = (
                tokenizer.fingerprint,
                task.config.source,
                _data(task.run.config.sources[task.config.source]),
                len(task.items),
                task.settings.seed,
            )

            def measured(task: Any = task, tokenizer: Any = tokenizer, field: Any = field) -> Any:
                task.say(f"tokenizer: {field.modality}")
                return score_tokenizer(task, tokenizer, field.name)

            found[field.modality] = kept(file, identity, measured)
    return found


# ---- the run, and what is finished -------------------------------------------------------------


def about(run: Run, predictor: Predictor) -> dict[str, Any]:
    """What the header says of the checkpoint."""
    vocabulary = run.vocabulary
    return {
        "name": run.config.name,
        "folder": run.path.name,
        "step": int(predictor.step or 0),
        "steps": run.config.steps,
        "parameters": int(sum(np.size(x) for x in jax.tree.leaves(predictor.params))),
        "ema": run.config.optimizer.ema_decay > 0,
        "vocabulary": {
            "size": vocabulary.size,
            "fingerprint": vocabulary.fingerprint,
            "blocks": [
                {"name": b.name, "start": b.start, "size": b.size, "fingerprint": b.fingerprint}
                for b in vocabulary.blocks
            ],
        },
    }


def _command(
    run: Run, settings: Settings, tasks: Sequence[str] | None, probes: Sequence[str] | None
) -> str:
    """That evaluates the same again."""
    words = [f"python eval/main.py --checkpoint={run.path.name} --seed={settings.seed}"]
    words += [f"--items={settings.items}"] if settings.items else []
    for name in ("samples", "temperature", "guidance"):
        value = getattr(settings, name)
        words += [f"--{name}={value:g}"] if value != getattr(Settings, name) else []
    words += [f"--tasks={','.join(tasks)}"] if tasks else []
    words += [f"--probes={','.join(probes)}"] if probes is not None else []
    return " ".join(words)


def _names(run: Run, tasks: Sequence[str] | None) -> list[str]:
    import difflib

    known = list(run.config.tasks)
    for name in tasks or ():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise InputError(f"--tasks: {run.path} has no task {name!r}; {hint}")
    return [name for name in known if tasks is None or name in tasks]


def _identity(task: TaskContext, weights: str) -> str:
    """Of everything a task's result depends on: the weights, the task, its data set, how it is evaluated."""
    config = task.run.config
    return digest(
        weights, task.run.vocabulary.fingerprint, to_dict(config.model), to_dict(task.config),
        _data(config.sources[task.config.source]), dataclasses.asdict(task.settings),
    )  # fmt: skip


def _data(source: SourceConfig) -> dict[str, Any]:
    """What its records are a function of: not what is said about them."""
    return {k: v for k, v in to_dict(source).items() if k not in ("about", "licence")}


def _weights_digest(predictor: Predictor) -> str:
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(predictor.params):
        total.update(np.asarray(leaf).tobytes())
    return total.hexdigest()


def _without(tree: Any, names: Sequence[str], named: bool = False) -> Any:
    """`tree` less the keys `names`; what tasks and tokenizers are called (named) does not matter."""
    if isinstance(tree, dict):
        return {
            k: _without(v, names, k in ("tasks", "tokenizers") and not named)
            for k, v in tree.items()
            if named or k not in names
        }
    return [_without(v, names) for v in tree] if isinstance(tree, list) else tree
