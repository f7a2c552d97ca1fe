r"""`unitok prepare`: all that training does before its first step, and what its rows will hold.

    unitok prepare --config=configs/demo.py --workdir=runs/demo
    unitok prepare --config=my_config.py --json

Fits the tokenizers, lays out the vocabulary, encodes what learned tokenizers read (kept in the run
folder), chooses the rows' shape, and packs one window. `unitok train` with the same config goes on there.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from unitok.commands.parser import Parser
from unitok.config import Config, as_read_back
from unitok.data import mixture as mixtures
from unitok.errors import command
from unitok.run import Run, lock_run
from unitok.sequence import Composer
from unitok.train import prepare

SAMPLE = 200  # examples of a task that are looked at


@command
def main(argv: list[str]) -> int:
    """Prints at most 80 columns, or JSON."""
    parser = Parser("unitok prepare", __doc__)
    parser.add_argument("--json", action="store_true", help="the same as JSON on stdout")
    flags, rest = parser.parse_known_args(argv)
    from unitok.config_cli import load_config

    config, workdir = load_config(rest)
    folder = Path(workdir or config.workdir or Path("runs") / config.name)
    say = (lambda line: print(line, file=sys.stderr)) if flags.json else print
    found = prepare_data(dataclasses.replace(config, workdir=str(folder)), folder, say)
    print(json.dumps(found, indent=1) if flags.json else "\n".join(lines(found)))
    return 0


def prepare_data(config: Config, workdir: Path, say: prepare.Say = print) -> dict[str, Any]:
    """Make the run folder ready to train in and describe the data of `config`.

    Raises ConfigError, InputError, VocabularyMismatch as training would; InputError while another process
    trains in the folder.
    """
    config = as_read_back(config)
    with lock_run(workdir):
        run = prepare.open_run(config, workdir, None, say)
        return describe(config, run)


def describe(config: Config, run: Run) -> dict[str, Any]:
    """Vocabulary blocks, the rows, and of each task its records and the tokens of a sample of its examples."""
    composer = Composer(run.tokenizers, run.vocabulary)
    folder = Path(config.data.cache_dir or run.path / "cache")
    mixture, held_out = (
        mixtures.build_mixture(config, composer, split, folder) for split in mixtures.SPLITS
    )
    plan = mixtures.make_plan(config, mixture, None)
    window = plan.window(mixture, 0, 0)
    arrays = window["arrays"]
    tokens = sum(
        int((arrays[f"{side}_segments_{axes}"] > 0).sum())
        for side, axes in (("encoder", "BS"), ("decoder", "BT"))
    )
    tasks = {}
    for number, (task, other) in enumerate(zip(mixture.tasks, held_out.tasks, strict=True)):
        sizes = mixtures.lengths_of(
            [mixture.example(number, n) for n in range(min(SAMPLE, len(task)))]
        )
        tasks[task.name] = {
            "source": task.config.source,
            "share": float(mixture.shares[number]),
            "records": {"train": len(task), "eval": len(other)},
            "input_tokens": {"mean": float(sizes[:, 0].mean()), "most": int(sizes[:, 0].max())},
            "target_tokens": {"mean": float(sizes[:, 1].mean()), "most": int(sizes[:, 1].max())},
            "too_long": float((sizes > plan.shape).any(axis=1).mean()),
        }
    return {
        "run": str(run.path),
        "vocabulary": {block.name: block.size for block in run.vocabulary.blocks},
        "rows": {"encoder": plan.shape[0], "decoder": plan.shape[1], "batch": config.data.batch_size},
        "fill": tokens / (plan.rows * sum(plan.shape)),
        "examples_per_row": float(window["counts"].sum() / plan.rows),
        "tasks": tasks,
    }  # fmt: skip


def lines(found: dict[str, Any]) -> list[str]:
    """The description as a table of at most 80 columns."""
    rows, blocks = found["rows"], found["vocabulary"]
    sizes = ", ".join(f"{name} {size:,}" for name, size in blocks.items())
    head = ("task", "share", "train", "eval", "input", "most", "target", "most", "dropped")
    layout = "{:<18} {:>6} {:>9} {:>8} {:>6} {:>5} {:>6} {:>5} {:>8}"
    out = [
        f"run folder   {found['run']}",
        f"vocabulary   {sum(blocks.values()):,} ids: {sizes}",
        f"rows         {rows['encoder']} + {rows['decoder']} tokens, {rows['batch']} a step",
        f"packing      {found['examples_per_row']:.1f} examples a row, fill {found['fill']:.3f}",
        "",
        layout.format(*head),
    ]
    for name, task in found["tasks"].items():
        cells = (
            name[:18], f"{100 * task['share']:.1f} %", f"{task['records']['train']:,}",
            f"{task['records']['eval']:,}", f"{task['input_tokens']['mean']:.0f}", task["input_tokens"]["most"],
            f"{task['target_tokens']['mean']:.0f}", task["target_tokens"]["most"], f"{100 * task['too_long']:.1f} %",
        )  # fmt: skip
        out.append(layout.format(*cells))
    return [*out, "", f"tokens of up to {SAMPLE} examples a task; dropped: longer than a row"]
