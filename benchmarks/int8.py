"""What 8-bit weights (and bfloat16) cost a trained checkpoint in quality, and what they save in memory.

    python benchmarks/int8.py --checkpoint=runs/demo [--items=200]      about 1 minute for the demo
    python benchmarks/int8.py                                           trains 300 steps of the demo first

On the test split of every seq2seq task whose target is one value or one text: the negative
log-likelihood of the truth, nats a token, under the grammar, with the weights as trained and rounded;
and how many greedy answers, and how many of their tokens up to the first difference, stay the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from unitok import sequence
from unitok.config import TaskConfig
from unitok.configs import demo
from unitok.data.sources import build_source
from unitok.predictor import Predictor, Request
from unitok.run import read_run
from unitok.train import loop

KINDS = ("float32", "bfloat16", "int8")


def train_demo(folder: str) -> Path:
    short = {"steps": 300, "report": False, "workdir": folder}
    return loop.train(dataclasses.replace(demo.get_config(), **short))


def questions(task: TaskConfig, records: list[Any]) -> tuple[list[Request], list[Any]]:
    """One request and its true answer a record, by the task's first template."""
    template = task.templates[0]
    asked = [part.name for part in sequence.fields(template.inputs)]
    parts = sequence.parts(template.targets)
    only = parts[0] if len(parts) == 1 and isinstance(parts[0], sequence.Field) else None
    to = only.modality if only else sequence.TEXT
    requests = [
        Request(prompt=template.inputs, fields={name: record[name] for name in asked}, to=to)
        for record in records
    ]
    if only and to != sequence.TEXT:
        return requests, [record[only.name] for record in records]
    texts = [
        "".join(p if isinstance(p, str) else sequence.as_text(record[p.name]) for p in parts)
        for record in records
    ]
    return requests, texts


def agreement(ours: list[Any], theirs: list[Any]) -> tuple[float, float]:
    """Share of answers that are the same, and of tokens before the first that is not."""
    kept, total, same = 0, 0, 0
    for (a,), (b,) in zip(ours, theirs, strict=True):
        n = min(len(a.ids), len(b.ids))
        differ = np.flatnonzero(a.ids[:n] != b.ids[:n])
        kept += int(differ[0]) if len(differ) else n
        total += max(len(a.ids), len(b.ids))
        same += a.ids.tobytes() == b.ids.tobytes()
    return same / len(ours), kept / total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", metavar="DIR", help="the folder of a run")
    parser.add_argument("--items", type=int, default=200, help="of each task's test split")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="int8-") as folder:
        checkpoint = args.checkpoint or str(train_demo(folder))
        config = read_run(checkpoint).config
        models = {kind: Predictor.load(checkpoint, dtype=kind) for kind in KINDS}
    for kind, model in models.items():
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(model.params))
        print(f"{kind:<9} weights {size / 1e6:7.2f} MB")
    for name, task in config.tasks.items():
        if task.objective.kind != "seq2seq":
            continue
        source = build_source(config.sources[task.source], "test")
        records = [source[i] for i in range(min(args.items, len(source)))]
        requests, answers = questions(task, records)
        greedy = [
            Request(prompt=r.prompt, fields=r.fields, to=r.to, temperature=0.0, max_new_tokens=64)
            for r in requests
        ]
        truth: list[Any] = []
        base = 0.0
        tokens = sum(
            len(models["float32"].interpreter.target_ids(r, a)) for r, a in zip(requests, answers)
        )
        for kind, model in models.items():
            nll = -sum(model.score_batch(requests, answers)) / tokens
            found = model.generate_batch(greedy)
            truth, base = truth or found, base or nll
            same, kept = agreement(found, truth)
            print(
                f"{name:<12} {kind:<9} {nll:.4f} nats a token ({nll - base:+.4f}); of {len(records)} greedy "
                f"answers {same:.1%} the same, {kept:.1%} of tokens before a difference"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
