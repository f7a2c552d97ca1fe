"""Train one model: python train/main.py --config=configs/demo.py [--config.a.b=value ...] [--workdir=DIR]

A tokenizer's recipe (configs/tokenizers/) is fitted instead, as by `unitok fit`.
"""

from __future__ import annotations

import dataclasses
import sys

from unitok.commands.parser import Parser
from unitok.errors import InputError, command

STOPPED = 75  # asked to stop and saved: EX_TEMPFAIL, "try again"

EXAMPLES = """\
examples:
  python train/main.py --config=configs/demo.py
  python train/main.py --config=configs/demo.py --config.steps=200 --workdir=runs/try
  python train/main.py --config=configs/demo.py --config.init_from=runs/demo --workdir=runs/finer
  python train/main.py --config=configs/tokenizers/image.py --workdir=runs/image   # fits a tokenizer

The same command again goes on from the newest checkpoint. Exit codes: 0 done, 1 failed while running,
2 wrong usage or input, 75 stopped by SIGTERM with everything saved.
"""


@command
def main(argv: list[str]) -> int:
    """The command; gives the exit code."""
    parser = Parser(
        "unitok train",
        "Train one model over one vocabulary, as a config file says.",
        usage="unitok train --config=FILE.py [--config.a.b=value ...] [--workdir=DIR]",
        epilog=EXAMPLES,
    )
    cluster = parser.add_argument_group("several processes (also JAX_* variables, Slurm, Open MPI)")
    cluster.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0")
    cluster.add_argument("--processes", type=int, metavar="N", help="how many in all")
    cluster.add_argument("--process", type=int, metavar="I", help="which one this is, from 0")
    flags, rest = parser.parse_known_args(argv)
    from unitok.config_cli import RecipeGiven, load_config

    try:
        config, workdir = load_config(rest)
    except RecipeGiven:
        from unitok.train import fit_tokenizer

        return fit_tokenizer.main(fit_arguments(rest))
    if workdir is not None:
        config = dataclasses.replace(config, workdir=workdir)
    from unitok.train import loop, runtime

    runtime.start_processes(flags.coordinator, flags.processes, flags.process)
    try:
        print(f"the run is in {loop.train(config)}")
    except loop.Stopped as stopped:
        print(f"unitok: {stopped}", file=sys.stderr)
        return STOPPED
    return 0


def fit_arguments(argv: list[str]) -> list[str]:
    """What `unitok fit` takes for a tokenizer's recipe: --workdir is its --out, --config.fit.steps its --steps.

    Raises InputError for a missing --workdir, and for an override of anything but `options` and `fit`.
    """
    from unitok.config_cli import parse_flags

    file, overrides, workdir = parse_flags(argv)
    if workdir is None:
        raise InputError(
            f"{file}: a tokenizer's recipe; --workdir=DIR is missing, where to save it"
        )
    arguments = [f"--config={file}", f"--out={workdir}"]
    for name, text in overrides:
        part, _, field = name.partition(".")
        if part not in ("options", "fit") or not field:
            raise InputError(
                f"config.{name}: a tokenizer's recipe takes config.options.NAME and config.fit.NAME"
            )
        arguments.append(f"--{field}={text}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
