"""Swap a tokenizer and see what it does to every task: the same run twice, trained and evaluated side by side.

    unitok swap --config=configs/demo.py --swap.image.options.codes=64 --config.steps=300 --out=runs/swap

`--config.a.b=value` holds for both runs, `--swap.NAME.x=value` sets `config.tokenizers.NAME.x` in the
second alone. Steps, seed, data, mixture and model are the same; what the tokenizer changes (lengths of
sequences, rows of the embedding) changes with it.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from unitok.commands.parser import Parser
from unitok.config import Config
from unitok.errors import InputError, command

EXAMPLES = """\
examples:
  unitok swap --config=configs/demo.py --swap.image.options.codes=64 --out=runs/swap
  unitok swap --config=configs/demo.py --config.steps=300 --swap.image.options.patch=4 --out=runs/swap
  unitok swap --config=configs/mine.py --swap.audio.path=runs/my_audio_tokenizer --out=runs/swap

Trains OUT/as-is and OUT/swapped, evaluates both, and writes OUT/compared/report.html: every task's scores
and their changes. The same command again goes on where it was. Exit codes: 0 done, 1 failed while running,
2 wrong usage or input.
"""


@command
def main(argv: list[str]) -> int:
    """The command; gives the exit code."""
    parser = Parser(
        "unitok swap",
        "Train and evaluate a config twice, the second time with a tokenizer replaced.",
        usage="unitok swap --config=FILE.py --swap.TOKENIZER.field=value ... --out=DIR [--config.a.b=value ...]",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder of both runs and the page"
    )
    parser.add_argument(
        "--probes", metavar="A,B", help="as in unitok eval (default: the cheap ones)"
    )
    flags, rest = parser.parse_known_args(argv)
    as_is, swapped = configs(rest)
    page = run(as_is, swapped, Path(flags.out), flags.probes.split(",") if flags.probes else None)
    print(f"the comparison is in {page}")
    return 0


def configs(argv: Sequence[str]) -> tuple[Config, Config]:
    """(as it is, with the swap). Raises InputError, or ConfigError naming the field."""
    from unitok.config_cli import load_config, override

    swaps, rest = [], []
    for word in argv:
        name, equals, value = word.partition("=")
        if not name.startswith("--swap."):
            rest.append(word)
        elif not equals:
            raise InputError(f"{name} wants a value: {name}=VALUE")
        else:
            swaps.append((f"tokenizers.{name.removeprefix('--swap.')}", value))
    if not swaps:
        raise InputError(
            "--swap is missing; name what to replace, as --swap.image.options.codes=64"
        )
    config, workdir = load_config(rest)
    if workdir is not None:
        raise InputError("--workdir: the runs lie in --out; leave it away")
    swapped = override(config, swaps)
    if swapped == config:
        raise InputError(f"--swap.{swaps[0][0].removeprefix('tokenizers.')}: it is so already")
    return config, swapped


def run(as_is: Config, swapped: Config, out: Path, probes: Sequence[str] | None = None) -> Path:
    """Train both, evaluate both, compare; gives the page. Finished parts are not done again."""
    from unitok.eval import compare, runner
    from unitok.eval.main import Progress

    (train,) = entry_points(group="unitok.programs", name="train")
    folders = []
    for name, config in (("as-is", as_is), ("swapped", swapped)):
        folder = out / name
        train.load()(dataclasses.replace(config, workdir=str(folder), report=False))
        folders.append(str(folder))
    with Progress() as say:

        def evaluate(checkpoint: str, folder: Any) -> Path:
            return runner.evaluate(checkpoint, folder, say=say, probes=probes)

        return compare.evaluate_all(folders, out / "compared", evaluate)


if __name__ == "__main__":
    sys.exit(main())
