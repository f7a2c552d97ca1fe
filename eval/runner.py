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

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from unitok.config import to_dict
from unitok.errors import InputError
from unitok.eval import baselines, fidelity, figures, likelihood, model_card, report, scorers
from unitok.eval.context import SAMPLES, Say, Settings, TaskContext, metric
from unitok.eval.probes import registry as probing
from unitok.eval.scores_tokenizer import score_tokenizer
from unitok.interfaces import Example
from unitok.metrics import bootstrap
from unitok.predictor import Predictor
from unitok.run import Run, read_run, write_json
from unitok.sequence import TEXT, parts

FORMAT = 2
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
    say(f"loading {run.path}")
    predictor = Predictor.load(run.path, step=step)
    predictor.batch_sizes = BATCH_SIZES
    folder = Path(out) if out is not None else run.path / "report"
    results: dict[str, Any] = {
        "format": FORMAT,
        "run": about(run, predictor),
        "tasks": {},
        "tokenizers": {},
    }
    judges: dict[Any, Any] = {}
    weights = _weights_hash(predictor)
    contexts = [
        TaskContext(name, run.config.tasks[name], run, predictor, settings, say) for name in names
    ]
    for task in contexts:
        scorers.choose(task)  # refuses a metric that does not suit before anything is spent
    for number, task in enumerate(contexts, 1):
        file = folder / "tasks" / f"{task.name}.json"
        identity = _identity(task, weights)
        found = _finished(file, identity)
        if found is None:
            say(f"task {number} of {len(names)}: {task.name}")
            found = evaluate_task(task, judges)
            _write(file, {"identity": identity, "result": found})
        results["tasks"][task.name] = found
    identity_of = lambda task: _identity(task, weights)  # noqa: E731
    scores_of = lambda task: evaluate_task(task, judges)  # noqa: E731
    results["probes"] = probing.run_all(contexts, probes, folder, identity_of, _kept, scores_of)
    results["tokenizers"] = _tokenizers(contexts, folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "metrics.json", _without(results, SUBSTANCE))
    curves = report.read_curves(run.path / "metrics.jsonl")
    page = report.render(results, curves, to_dict(run.config))
    (folder / "report.html").write_text(page, encoding="utf-8")
    card = model_card.write(results, run.config, _command(run, settings, tasks, probes))
    (folder / "model-card.md").write_text(card, encoding="utf-8")
    for line in [*report.lines(results), *probing.lines(results["probes"])]:
        say(line)
    return folder / "report.html"


def evaluate_task(task: TaskContext, judges: dict[Any, Any] | None = None) -> dict[str, Any]:
    """Bits per token, and the scores that the task's target and metrics ask for."""
    template = task.config.templates[0]
    scorer = scorers.choose(task)
    bits, costs = _bits(task) if task.kind != "contrastive" else ({}, [])
    if scorer.score is None:
        scores = _bits_alone(task, costs)
    else:
        scores = scorer.score(task, {} if judges is None else judges)
    for found in scores["metrics"]:
        if found["key"] in task.config.yardstick:
            found["yardstick"] = to_dict(task.config.yardstick[found["key"]])
    return {
        "source": task.config.source,
        "split": task.config.eval_split,
        "items": len(task.items),
        "of": _hash(
            to_dict(task.run.config.sources[task.config.source]), task.config.eval_split, task.items
        ),
        "available": len(task.test),
        "objective": task.kind,
        "target": task.target_modality or "mixed",
        "template": {"inputs": template.inputs, "targets": template.targets},
        "bits": bits,
        "figures": [],
        **scores,
    }


# ---- what the answers cost ---------------------------------------------------------------------


def _bits(task: TaskContext) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Bits per token by modality of the label, with the unigram cost beside; and nats example by example."""
    say = lambda done, total: task.say(f"{task.name}: scoring answers {done}/{total} rows")  # noqa: E731
    model, params = task.predictor.model, task.predictor.params
    costs = likelihood.nats(model, params, task.examples, say)
    unigram = baselines.Unigram(task.train_examples, task.run.vocabulary)
    flat = [unigram.nats(example) for example in task.examples]
    names = task.run.vocabulary.names
    places = [_label_modality(task, example) for example in task.examples]
    found = {}
    for index in sorted({int(m) for place in places for m in place}):
        masks = [place == index for place in places]
        counts = np.array([mask.sum() for mask in masks])
        nats = np.array([cost[mask].sum() for cost, mask in zip(costs, masks)])
        other = sum(float(cost[mask].sum()) for cost, mask in zip(flat, masks))
        per_token = bootstrap.ratio(nats / np.log(2), counts, task.settings.seed)
        bytes_asked = _bytes(task) if names[index] == TEXT else 0
        found[names[index]] = {
            "value": per_token.value, "low": per_token.low, "high": per_token.high,
            "nats": float(nats.sum() / counts.sum()),
            "unigram": other / np.log(2) / float(counts.sum()),
            "tokens": int(counts.sum()),
            "bits_per_byte": float(nats.sum() / np.log(2) / bytes_asked) if bytes_asked else None,
        }  # fmt: skip
    return found, costs


def _label_modality(task: TaskContext, example: Example) -> np.ndarray:
    """Modality id of each asked label: the target's where there is one, else the label's own block."""
    asked = example.labels[example.weights > 0]
    if example.target_modality:
        return np.full(len(asked), example.target_modality)
    return task.run.vocabulary.modality_of(asked)


def _bytes(task: TaskContext) -> int:
    """UTF-8 bytes of all text that the labels ask for."""
    total = 0
    for example in task.examples:
        for segment in task.predictor.composer.parse(example.labels):
            if segment.modality == TEXT and segment.value is not None:
                total += len(segment.value.encode())
    return total


def _bits_alone(task: TaskContext, costs: list[np.ndarray]) -> dict[str, Any]:
    """No answer is generated: the cost of the truth is the score."""
    unigram = baselines.Unigram(task.train_examples, task.run.vocabulary)
    flat = [unigram.nats(example) / np.log(2) for example in task.examples]
    counts = np.array([len(cost) for cost in costs])
    bits = np.array([cost.sum() for cost in costs]) / np.log(2)
    estimate = bootstrap.ratio(bits, counts, task.settings.seed)
    baseline = ("unigram", float(sum(map(np.sum, flat)) / counts.sum()))
    samples = []
    for i in range(min(SAMPLES // 2, len(task.examples))):
        example = task.examples[i]
        columns = [
            {"name": "read", "part": figures.show(_readable(task, example.inputs.ids))},
            {
                "name": "asked",
                "part": figures.show(_readable(task, example.labels[example.weights > 0])),
            },
        ]
        note = f"{bits[i] / max(counts[i], 1):.2f} bits a token"
        samples.append(
            {
                "inputs": [],
                "columns": columns,
                "text": None,
                "truth": None,
                "right": None,
                "note": note,
            }
        )
    return {
        "about": f"The truth is scored, nothing is generated ({task.kind.replace('_', ' ')}).",
        "metrics": [metric("bits per token", estimate, "bits", baseline, key="bits")],
        "confusion": None,
        "samples": samples,
        "samples_note": "What the encoder reads and what the decoder is asked; ⟨0⟩, ⟨1⟩ … stand for masked spans.",
        "samples_wide": True,
    }


def _readable(task: TaskContext, ids: np.ndarray) -> str:
    out = []
    for segment in task.predictor.composer.parse(ids):
        if segment.modality == "sentinel":
            out.append(f" ⟨{segment.value}⟩ ")
        elif segment.modality == TEXT and segment.value is not None:
            out.append(segment.value)
        elif segment.modality != "special":
            out.append(f" [{segment.modality}, {len(segment.ids)} tokens] ")
    return "".join(out).strip()


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
            identity = _hash(
                tokenizer.fingerprint,
                task.config.source,
                to_dict(task.run.config.sources[task.config.source]),
                len(task.items),
                task.settings.seed,
            )
            result = _finished(file, identity)
            if result is None:
                task.say(f"tokenizer: {field.modality}")
                result = score_tokenizer(task, tokenizer, field.name)
                _write(file, {"identity": identity, "result": result})
            found[field.modality] = result
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
    source = to_dict(config.sources[task.config.source])
    return _hash(
        FORMAT, weights, task.run.vocabulary.fingerprint, to_dict(config.model), to_dict(task.config),
        source, dataclasses.asdict(task.settings),
    )  # fmt: skip


def _weights_hash(predictor: Predictor) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(predictor.params):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _finished(file: Path, identity: str) -> dict[str, Any] | None:
    """The result in `file`, if it is whole and of this identity."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["identity"] == identity:
            return stored["result"]
    return None


def _kept(file: Path, identity: Any, make: Callable[[], Any]) -> Any:
    """What `file` holds under this identity, None included; else what `make` gives, kept there."""
    key = _hash(FORMAT, identity)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["identity"] == key:
            return stored["result"]
    result = make()
    _write(file, {"identity": key, "result": result})
    return result


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, content)


def _without(tree: Any, names: Sequence[str], named: bool = False) -> Any:
    """`tree` less the keys `names`; what tasks and tokenizers are called (named) does not matter."""
    if isinstance(tree, dict):
        return {
            k: _without(v, names, k in ("tasks", "tokenizers") and not named)
            for k, v in tree.items()
            if named or k not in names
        }
    return [_without(v, names) for v in tree] if isinstance(tree, list) else tree
