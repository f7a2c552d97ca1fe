r"""`unitok inspect`: look at a run, its vocabulary, or the tokens of a file.

    unitok inspect runs/demo                     a run: config, vocabulary, steps
    unitok inspect seven.png --modality=image    a file: its tokens
    unitok inspect seven.png --modality=image \
        --tokenizer=runs/demo/tokenizers/image

Without --tokenizer, the modality's default one. Prints at most 80 columns.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from unitok.commands.parser import Parser
from unitok.errors import InputError, command

WIDTH = 80


@command
def main(argv: list[str]) -> int:
    """Prints at most 80 columns."""
    parser = Parser("unitok inspect", __doc__)
    parser.add_argument("path", help="the folder of a run, or a file with --modality")
    parser.add_argument("--modality", help="of the file: text, image, audio, series, graph, coord")
    parser.add_argument("--tokenizer", metavar="DIR", help="a fitted tokenizer's folder")
    args = parser.parse_args(argv)
    if Path(args.path).is_dir():
        if args.modality:
            raise InputError(f"{args.path}: --modality goes with a file; this is a folder")
        lines = _describe_run(Path(args.path))
    elif args.modality:
        lines = _describe_file(args.path, args.modality, args.tokenizer)
    elif Path(args.path).exists():
        raise InputError(f"{args.path}: of which modality? give --modality=image, text, ...")
    else:
        raise InputError(f"{args.path}: not found; name the folder of a run, or a file")
    for line in lines:
        print(line)
    return 0


# ---- a run ---------------------------------------------------------------------------------


def _describe_run(path: Path) -> list[str]:
    import jax

    from unitok.checkpoint import Checkpoints
    from unitok.model import EncoderDecoder, TableSizes
    from unitok.run import read_run

    run = read_run(path)
    model, vocabulary = run.config.model, run.vocabulary
    shapes = jax.eval_shape(
        EncoderDecoder(model, TableSizes.from_vocabulary(vocabulary)).init, jax.random.key(0)
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    checkpoints = Checkpoints(path)
    steps = checkpoints.steps()
    return [
        *_row("run", str(path)),
        *_row(
            "model",
            f"{model.encoder_layers} + {model.decoder_layers} layers, d_model {model.d_model}, "
            f"d_ff {model.d_ff}, {model.num_heads} heads, {model.dtype}; {count:,} parameters",
        ),
        *_row(
            "tasks",
            ", ".join(f"{name} ({task.weight:g})" for name, task in run.config.tasks.items()),
        ),
        *_row("steps", ", ".join(map(str, steps)) if steps else "none saved yet"),
        *_row("best", str(best) if (best := checkpoints.best_step()) is not None else "unknown"),
        *_row("metrics", _last_metrics(path / "metrics.jsonl")),
        "",
        f"vocabulary {vocabulary.fingerprint}: {vocabulary.size:,} ids in {vocabulary.padded_size:,} rows",
        f"  {'block':<16}{'ids':>19}{'codes':>10}   tokenizer",
        *(
            f"  {block.name[:15]:<16}{f'{block.start:,}..{block.end - 1:,}':>19}{block.codes:>10,}"
            f"   {block.fingerprint or '-'}"
            for block in vocabulary.blocks
        ),
    ]


def _row(name: str, text: str) -> list[str]:
    """`name` in a column, the text wrapped beside it."""
    return textwrap.wrap(text, WIDTH, initial_indent=f"{name:<12}", subsequent_indent=" " * 12) or [
        name
    ]


def _last_metrics(file: Path) -> str:
    """The newest whole record of metrics.jsonl in one line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return "none yet"
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except ValueError:
            continue  # the last line of a killed run may be cut
        return ", ".join(f"{name} {_short(value)}" for name, value in record.items())
    return "none yet"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# ---- a file ----------------------------------------------------------------------------------


def _describe_file(path: str, modality: str, folder: str | None) -> list[str]:
    from unitok import registry
    from unitok.data.files import read_file

    value = read_file(path, modality)
    try:
        tokenizer = registry.load(folder) if folder else registry.build(modality)
    except (KeyError, ValueError) as error:
        raise InputError(str(error.args[0] if error.args else error)) from None
    ids = tokenizer.encode(value)
    positions = tokenizer.positions(ids)
    bits = tokenizer.bits_per_item(value)
    used = len(set(ids.tolist()))
    return [
        *_row("file", path),
        *_row("value", _describe_value(value)),
        *_row(
            "tokenizer", f"{tokenizer.modality}, {tokenizer.size:,} codes, {tokenizer.fingerprint}"
        ),
        *_row("tokens", f"{len(ids):,} ({used:,} different), {bits:,.0f} bits"),
        *_row(
            "positions",
            "time, height, width up to "
            + ", ".join(map(str, positions.max(axis=0) if len(ids) else (0, 0, 0))),
        ),
        "",
        *textwrap.wrap(" ".join(map(str, ids.tolist())), WIDTH),
    ]


def _describe_value(value: Any) -> str:
    if isinstance(value, str):
        return f"{len(value):,} characters"
    parts = []
    for name, part in vars(value).items():
        if part is None:
            continue
        shape = getattr(part, "shape", None)
        text = f"{part.dtype} {list(shape)}" if shape is not None else str(part)
        parts.append(f"{name} {text if len(text) < 60 else text[:57] + '...'}")
    return f"{type(value).__name__}: " + ", ".join(parts)
