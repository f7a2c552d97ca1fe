r"""`unitok serve`: a local page to ask a checkpoint from the browser.

    unitok serve --checkpoint=runs/demo
    unitok serve --checkpoint=runs/demo --dtype=int8 --port=7870

Bound to this machine (127.0.0.1) unless --host says otherwise; uploads of at most 16 MB. Needs the
extra `serve`: pip install 'unitok-jax[serve]'.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from unitok import sequence
from unitok.commands.parser import Parser
from unitok.errors import InputError, command


@command
def main(argv: list[str]) -> int:
    """Serves until it is interrupted."""
    parser = Parser("unitok serve", __doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="DIR", help="the folder of a run")
    add("--step", type=int, help="of the run; default: the newest intact one")
    add("--raw-weights", action="store_true", help="not the averaged ones")
    add("--dtype", choices=("float32", "bfloat16", "int8"), help="default: as trained")
    add("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    add("--port", type=int, help="default: the first free one from 7860 on")
    args = parser.parse_args(argv)
    from unitok.run import read_run

    config = read_run(args.checkpoint).config
    try:
        from unitok.serve import page
    except ImportError as error:
        raise InputError(
            f"unitok serve needs {error.name}; pip install 'unitok-jax[serve]'"
        ) from None
    from unitok.host_memory import keep_freed_memory
    from unitok.predictor import Predictor

    keep_freed_memory()
    examples = _examples(config)
    predictor = Predictor.load(
        args.checkpoint, step=args.step, ema=not args.raw_weights, dtype=args.dtype
    )
    if args.host not in (page.LOOPBACK, "localhost", "::1"):
        print(f"unitok: anyone who reaches {args.host} can use this page", file=sys.stderr)
    built = page.build_page(predictor, f"UniTok: {args.checkpoint}", examples)
    address = page.launch(built, args.host, args.port)
    print(f"{address} answers until it is interrupted (Ctrl-C)", flush=True)
    built.block_thread()
    return 0


def _examples(config: Any) -> list[tuple[str, str]]:
    """(prompt, modality asked for) of each task that is asked as it was trained, a sentence to complete
    where a text belongs: {label:text} becomes LABEL."""
    found = []
    for task in config.tasks.values():
        if task.objective.kind == "seq2seq":
            template = task.templates[0]
            prompt = re.sub(r"\{(\w+):text\}", lambda match: match[1].upper(), template.inputs)
            found.append((prompt, _target(template.targets)))
    return found


def _target(template: str) -> str:
    """`to` for targets of one value; other targets are text."""
    parts = sequence.parts(template)
    if len(parts) != 1 or isinstance(parts[0], str):
        return sequence.TEXT
    return parts[0].modality + (f"@{parts[0].context}" if parts[0].context else "")
