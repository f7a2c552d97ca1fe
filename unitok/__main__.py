"""The `unitok` command: subcommands are entry points of the group `unitok.commands`, imported only when called.

Exit codes: 0 done, 1 failed while running, 2 wrong usage or input.
"""

from __future__ import annotations

import difflib
import sys
from importlib.metadata import entry_points

SUMMARIES = {
    "train": "train a model: unitok train --config=FILE.py [--config.a.b=value]",
    "prepare": "all that comes before the first step, and what the rows will hold",
    "eval": "evaluate checkpoints and write a report",
    "generate": "ask a checkpoint for a value of any modality",
    "roundtrip": "fidelity and rate of a tokenizer on your own files",
    "fit": "fit a learned tokenizer to your own data",
    "serve": "a local page to ask a checkpoint from the browser",
    "inspect": "look at a run, its vocabulary, or the tokens of a file",
    "swap": "train and evaluate a config twice, with a tokenizer replaced",
    "import": "bring in the weights of a Hugging Face T5 folder",
}


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    commands = {entry.name: entry for entry in entry_points(group="unitok.commands")}
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: unitok COMMAND [--help] ...\n")
        for name in sorted(commands):
            print(f"  {name:<10} {SUMMARIES.get(name, 'from ' + commands[name].value)}")
        return 0 if argv else 2
    if argv[0] not in commands:
        near = difflib.get_close_matches(argv[0], commands, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(commands))}"
        print(f"unitok: no command {argv[0]!r}; {hint}", file=sys.stderr)
        return 2
    return commands[argv[0]].load()(argv[1:])


if __name__ == "__main__":
    sys.exit(main())
