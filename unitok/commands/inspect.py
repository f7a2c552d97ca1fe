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
    config, model, vocabulary = run.config, run.config.model, run.vocabulary
    shapes = jax.eval_shape(
        EncoderDecoder(model, TableSizes.from_vocabulary(vocabulary)).init, jax.random.key(0)
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    checkpoints = Checkpoints(path)
    records = _records(path / "metrics.jsonl")
    reached = max((int(record.get("step", 0)) for record in records.values()), default=0)
    rate = config.optimizer
    return [
        *_row("run", f"{config.name} in {path}, {reached:,} of {config.steps:,} steps trained"),
        *_row("saved", _saved(checkpoints.steps(), checkpoints.best_step())),
        *_row(
            "model",
            f"{model.encoder_layers} + {model.decoder_layers} layers, d_model {model.d_model}, "
            f"d_ff {model.d_ff}, {model.num_heads} heads, {model.dtype}; {count:,} parameters",
        ),
        *_row(
            "training",
            f"{rate.name}, learning rate {rate.learning_rate:g}, weight decay {rate.weight_decay:g}; "
            f"{config.data.batch_size} rows a batch, seed {config.seed}",
        ),
        *_row(
            "tasks", ", ".join(f"{name} ({task.weight:g})" for name, task in config.tasks.items())
        ),
        "",
        *_losses(records),
        "",
        f"vocabulary {vocabulary.fingerprint}: {vocabulary.size:,} ids in {vocabulary.padded_size:,} rows",
        f"  {'block':<14}{'ids':>16}{'codes':>8}  tokenizer",
        *(
            f"  {block.name[:13]:<14}{f'{block.start:,}..{block.end - 1:,}':>16}{block.codes:>8,}"
            f"  {textwrap.shorten(_tokenizer(run.tokenizers.get(block.name)), 37, placeholder=' ...')}"
            for block in vocabulary.blocks
        ),
    ]


def _saved(steps: list[int], best: int | None) -> str:
    if not steps:
        return "no step yet"
    least = "" if best is None else f"; least validation loss at {best:,}"
    return f"steps {', '.join(f'{step:,}' for step in steps)}{least}"


def _tokenizer(tokenizer: Any) -> str:
    """Its fingerprint, and the options it was built with, as far as the line goes."""
    if tokenizer is None:
        return "-"
    options: dict[str, Any] = getattr(tokenizer, "options", dict)()
    said = ", ".join(f"{name} {value}" for name, value in options.items() if value is not None)
    return f"{tokenizer.fingerprint} {said}".rstrip()


def _losses(records: dict[str, dict[str, Any]]) -> list[str]:
    """The newest losses: nats a token, by modality of the target, with the share of tokens guessed right."""
    shown = {"training": records.get("train"), "validation": records.get("eval")}
    found = {name: record for name, record in shown.items() if record and record.get("nll")}
    if not found:
        return ["losses      none yet"]
    kinds = sorted({kind for record in found.values() for kind in record["nll"]})[:4]
    lines = [f"{'losses':<12}{'step':>8}" + "".join(f"{kind[:15]:>16}" for kind in kinds)]
    for name, record in found.items():
        cells = "".join(
            f"{_cell(record['nll'].get(kind), record.get('accuracy', {}).get(kind)):>16}"
            for kind in kinds
        )
        lines.append(f"  {name:<10}{record['step']:>8,}{cells}")
    return [*lines, "            nats a token, share of tokens guessed right"]


def _cell(nll: float | None, accuracy: float | None) -> str:
    if nll is None:
        return "-"
    return f"{nll:.3f}" + ("" if accuracy is None else f" {accuracy:6.1%}")


def _records(file: Path) -> dict[str, dict[str, Any]]:
    """The newest whole record of each split in metrics.jsonl."""
    found: dict[str, dict[str, Any]] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        try:
            record = json.loads(line)
            found[record["split"]] = record
        except (ValueError, KeyError, TypeError):
            continue  # the last line of a killed run may be cut
    return found


def _row(name: str, text: str) -> list[str]:
    """`name` in a column, the text wrapped beside it."""
    return textwrap.wrap(text, WIDTH, initial_indent=f"{name:<12}", subsequent_indent=" " * 12) or [
        name
    ]


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
