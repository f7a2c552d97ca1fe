r"""`unitok generate`: ask a checkpoint for a value of any modality.

    unitok generate --checkpoint=runs/demo "Which {image}?" --image=seven.png
    unitok generate --checkpoint=runs/demo --to=image "a three" --out=three.png
    unitok generate --checkpoint=runs/demo "{a:image} is 3. {b:image} is" \
        --field=a:image=three.png --field=b:image=what.png \
        --constraint='choices=["3", "8"]'
"""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path
from typing import Any

from unitok.commands.parser import Parser
from unitok.errors import InputError, command

FILES = ("image", "audio", "series", "graph", "coord")
SUFFIX = {
    "text": ".txt", "image": ".png", "audio": ".wav", "series": ".csv", "graph": ".graphml", "coord": ".json",
}  # fmt: skip


def _file(modality: str, path: str) -> tuple[str, str, str]:
    return modality, modality, path


def _field(text: str) -> tuple[str, str, str]:
    """NAME=TEXT or NAME:MODALITY=FILE."""
    name, equals, value = text.partition("=")
    name, _, modality = name.partition(":")
    if not (equals and name.isidentifier()):
        raise argparse.ArgumentTypeError(f"{text!r}: want NAME:MODALITY=FILE or NAME=TEXT")
    return name, modality or "text", value


def _constraint(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as JSON where it is JSON, else as text."""
    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier()):
        raise argparse.ArgumentTypeError(f"{text!r}: want NAME=VALUE, as height=16")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _parser() -> argparse.ArgumentParser:
    parser = Parser("unitok generate", __doc__)
    add = parser.add_argument
    add("prompt", nargs="?", help="text with {fields}; without it, the fields in their order")
    add("--checkpoint", required=True, metavar="DIR", help="the folder of a run")
    add("--to", default="text", metavar="MODALITY",
        help="text (default), image, audio, series, graph, coord, text+image, mixed (all), "
        "series@past (what follows the field past)")  # fmt: skip
    as_text = lambda value: ("text", "text", value)  # noqa: E731
    add("--text", dest="fields", action="append", type=as_text, metavar="TEXT", help="field {text}")
    for modality in FILES:
        add(
            f"--{modality}", dest="fields", action="append", metavar="FILE",
            type=functools.partial(_file, modality), help=f"field {{{modality}}}",
        )  # fmt: skip
    add(
        "--field", dest="fields", action="append", type=_field, metavar="NAME:MODALITY=FILE",
        help="a field of any name; NAME=TEXT for text",
    )  # fmt: skip
    add("--constraint", action="append", type=_constraint, default=[], metavar="NAME=VALUE",
        help="height=16, length=24, choices='[\"yes\", \"no\"]', ... (repeatable)")  # fmt: skip
    add("--out", metavar="FILE", help="where to write; needed for all but text, a folder if mixed")
    add("--seed", type=int, default=0, metavar="N", help="the same seed, the same answer")
    add("--samples", type=int, default=1, metavar="N", help="how many answers; NAME-0.png, ...")
    add(
        "--temperature",
        type=float,
        metavar="X",
        help="0: the likeliest token each time (default for one text)",
    )
    add("--top-k", type=int, default=0, metavar="K", help="of the K likeliest tokens; 0: all")
    add(
        "--top-p",
        type=float,
        default=1.0,
        metavar="P",
        help="of the likeliest tokens of this mass; 1: all",
    )
    add(
        "--min-p",
        type=float,
        default=0.0,
        help="of tokens of this share of the likeliest's; 0: all",
    )
    add("--repetition-penalty", type=float, default=1.0, metavar="X", help="1: none")
    add("--max-new-tokens", type=int, metavar="N", help="default: what the answer needs, or 256")
    add(
        "--guidance", type=float, default=1.0, metavar="X", help="classifier-free guidance; 1: none"
    )
    add(
        "--beams",
        type=int,
        default=1,
        metavar="N",
        help="beam search; its best --samples are returned",
    )
    add("--length-penalty", type=float, default=0.0, metavar="X", help="of beam search; 0: none")
    add("--method", default="autoregressive", help="autoregressive (default) or parallel: all places "
        "at once in --steps passes, for answers of a fixed size")  # fmt: skip
    add("--steps", type=int, default=12, metavar="N", help="passes of the parallel method")
    add("--dtype", help="float32, bfloat16, or int8 for weights of 8 bits; default: as trained")
    add("--step", type=int, help="of the run; default: the newest intact one")
    add("--raw-weights", action="store_true", help="not the averaged ones")
    return parser


@command
def main(argv: list[str]) -> int:
    """Text goes to stdout (several answers under a line each that says which), other values to --out."""
    args = _parser().parse_args(argv)
    mixed = "+" in args.to or args.to == "mixed"
    target = args.to.partition("@")[0]
    if target != "text" and args.out is None:
        raise InputError(
            f"--out is missing: {args.to} does not go to a terminal; "
            f"give --out={'FOLDER' if mixed else 'out' + SUFFIX.get(target, '')}"
        )
    if args.out is not None and not mixed:
        from unitok.data.files import require_written

        require_written(args.out, target)  # before anything is generated
    fields = _read_fields(args.fields or [])

    from unitok.host_memory import keep_freed_memory
    from unitok.predictor import Predictor

    keep_freed_memory()
    model = Predictor.load(
        args.checkpoint, step=args.step, ema=not args.raw_weights, dtype=args.dtype
    )
    outputs = model.generate(
        args.prompt,
        to=args.to,
        num_samples=args.samples,
        temperature=args.temperature,
        max_new_tokens=args.max_new_tokens,
        guidance=args.guidance,
        seed=args.seed,
        top_k=args.top_k,
        top_p=args.top_p,
        min_p=args.min_p,
        repetition_penalty=args.repetition_penalty,
        beams=args.beams,
        length_penalty=args.length_penalty,
        method=args.method,
        steps=args.steps,
        constraints=dict(args.constraint),
        **fields,
    )
    for index, output in enumerate(outputs):
        if mixed:
            for place, segment in enumerate(output.segments):
                name = f"{index}-{place}{SUFFIX.get(segment.modality, '')}"
                _deliver(segment.value, str(Path(args.out) / name))
        else:
            if args.out is None and len(outputs) > 1:
                print(f"--- {index + 1} of {len(outputs)}, log-probability {output.log_prob:.2f}")
            _deliver(output.value, _numbered(args.out, index, len(outputs)))
    return 0


def _read_fields(given: list[tuple[str, str, str]]) -> dict[str, Any]:
    from unitok.data.files import read_file

    fields: dict[str, Any] = {}
    for name, modality, text in given:
        if name in fields:
            raise InputError(
                f"field {name!r} is given twice; name each, as --field={name}2:{modality}=FILE"
            )
        fields[name] = text if modality == "text" else read_file(text, modality)
    return fields


def _deliver(value: Any, path: str | None) -> None:
    if path is None:
        print(value)
        return
    from unitok.data.files import write_file

    write_file(value, path)
    print(path)


def _numbered(path: str | None, index: int, count: int) -> str | None:
    """three.png, or three-0.png, three-1.png, ... where there are several."""
    if path is None or count == 1:
        return path
    file = Path(path)
    return str(file.with_name(f"{file.stem}-{index}{file.suffix}"))
