r"""`unitok serve`: a local page to ask a checkpoint from the browser.

    unitok serve --checkpoint=runs/demo
    unitok serve --checkpoint=runs/demo --dtype=int8 --port=7870

Bound to this machine (127.0.0.1) unless --host says otherwise; uploads of at most 16 MB. Needs the
extra `serve`: pip install 'unitok-jax[serve]'.
"""

from __future__ import annotations

import sys

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
    try:
        from unitok.serve import page
    except ImportError as error:
        raise InputError(
            f"unitok serve needs {error.name}; pip install 'unitok-jax[serve]'"
        ) from None
    from unitok.predictor import Predictor
    from unitok.run import read_run

    examples = [
        (template.inputs, _target(template.targets))
        for task in read_run(args.checkpoint).config.tasks.values()
        for template in task.templates[:1]
    ]
    predictor = Predictor.load(
        args.checkpoint, step=args.step, ema=not args.raw_weights, dtype=args.dtype
    )
    if args.host not in (page.LOOPBACK, "localhost", "::1"):
        print(f"unitok: anyone who reaches {args.host} can use this page", file=sys.stderr)
    try:
        page.launch(
            page.build_page(predictor, f"UniTok: {args.checkpoint}", examples), args.host, args.port
        )
    except KeyboardInterrupt:
        return 0
    return 0


def _target(template: str) -> str:
    """The modality that a task's targets hold, as `to` names it."""
    from unitok.sequence import fields

    found = fields(template)
    only = len(found) == 1 and template == template[template.find("{") : template.rfind("}") + 1]
    return found[0].modality if only and found[0].context is None else "text"
