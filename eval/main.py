"""Evaluate a trained run: python eval/main.py --checkpoint=DIR [--tasks=a,b] [--out=DIR] [--items=N]"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from unitok.commands.parser import Parser
from unitok.errors import InputError, command

EXAMPLES = """\
examples:
  python eval/main.py --checkpoint=runs/demo
  unitok eval --checkpoint=runs/demo --tasks=recognise,draw --items=100 --out=look
  unitok eval --checkpoint=runs/demo --probes=all
  unitok eval --checkpoint=runs/demo,runs/other --out=runs/compared

Writes OUT/metrics.json, OUT/report.html and OUT/model-card.md (OUT: the run's folder `report`). The same command again goes
on where it was. Exit codes: 0 done, 1 failed while running, 2 wrong usage or input.
"""


def report(workdir: str) -> Path:
    """Evaluate the newest step of a run and write its page; what training calls at its end."""
    from unitok.eval import runner

    with Progress() as say:
        return runner.evaluate(workdir, say=say)


@command
def main(argv: list[str]) -> int:
    """The command; gives the exit code."""
    parser = Parser(
        "unitok eval",
        "Evaluate a trained run on its test splits and write a report.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "--checkpoint", required=True, metavar="DIR", help="folder of a run; A,B compares several"
    )
    parser.add_argument("--tasks", metavar="A,B", help="these tasks only")
    parser.add_argument(
        "--probes",
        metavar="A,B",
        help="all, none or names (default: the config's, else the cheap ones)",
    )
    parser.add_argument("--out", metavar="DIR", help="where to write (default: DIR/report)")
    parser.add_argument("--items", type=int, metavar="N", help="at most so many items a task")
    parser.add_argument(
        "--samples", type=int, default=20, metavar="N", help="of each forecast (default 20)"
    )
    parser.add_argument("--step", type=int, metavar="N", help="this step (default: the newest)")
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (default 0)")
    parser.add_argument(
        "--temperature", type=float, help="of what is sampled (default: each task's own)"
    )
    parser.add_argument(
        "--guidance", type=float, help="classifier-free (default: 2 where trained for it, else 1)"
    )
    flags = parser.parse_args(argv)
    if flags.items is not None and flags.items < 1:
        raise InputError(f"--items: want a positive number, got {flags.items}")
    if flags.samples < 1:
        raise InputError(f"--samples: want a positive number, got {flags.samples}")
    if (flags.temperature or 0) < 0 or (flags.guidance is not None and flags.guidance < 0):
        raise InputError("--temperature and --guidance: want 0 or more")
    from unitok.eval import compare, runner
    from unitok.eval.context import Settings

    settings = Settings(
        items=flags.items,
        seed=flags.seed,
        samples=flags.samples,
        temperature=flags.temperature,
        guidance=flags.guidance,
    )
    tasks, probes = _listed(flags.tasks), _listed(flags.probes)
    checkpoints = _listed(flags.checkpoint) or []
    if not all(checkpoints):
        raise InputError(f"--checkpoint: an empty name in {flags.checkpoint!r}; want DIR or A,B")
    if len(checkpoints) > 1 and not flags.out:
        raise InputError("--out: needed to compare several checkpoints; name a folder for the page")
    with Progress() as say:

        def evaluate(checkpoint: str, out: Path | None) -> Path:
            return runner.evaluate(checkpoint, out, tasks, settings, flags.step, say, probes)

        if len(checkpoints) > 1:
            page = compare.evaluate_all(checkpoints, flags.out, evaluate)
        else:
            page = evaluate(checkpoints[0], flags.out)
    print(f"the report is in {page}")
    return 0


def _listed(names: str | None) -> list[str] | None:
    return [name.strip() for name in names.split(",")] if names else None


class Progress:
    """Lines of progress on stderr: one that is rewritten where stderr is a terminal, else one a stage."""

    def __init__(self) -> None:
        self._live, self._stage = sys.stderr.isatty(), ""

    def __enter__(self) -> Callable[[str], None]:
        return self._say

    def __exit__(self, *_: object) -> None:
        if self._live and self._stage:
            print(file=sys.stderr)

    def _say(self, line: str) -> None:
        stage = line.rstrip("0123456789/ rows")
        counted = stage != line and "/" in line
        if self._live:
            if self._stage and stage != self._stage:
                print(file=sys.stderr)
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        elif not counted or stage != self._stage:
            print(line, file=sys.stderr, flush=True)
        self._stage = stage


if __name__ == "__main__":
    sys.exit(main())
