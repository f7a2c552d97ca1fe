"""Fidelity and rate of a tokenizer on your own files: unitok roundtrip MODALITY PATH... [--tokenizer=DIR | --variant=NAME] [--json] [--out=DIR]"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unitok.commands.parser import Parser
from unitok.errors import InputError, command

if TYPE_CHECKING:
    from unitok.eval.fidelity import Item

SUFFIX = {"image": ".png", "audio": ".wav", "series": ".csv", "graph": ".graphml", "text": ".txt", "coord": ".json"}  # fmt: skip
SHOWN = 8  # items side by side in the picture

EXAMPLES = """\
examples:
  unitok roundtrip image photo.png drawing.webp
  unitok roundtrip series sales.csv --json
  unitok roundtrip text book.txt --out=looks
  unitok roundtrip image photos/*.png --tokenizer=runs/demo/tokenizers/image
  unitok roundtrip image photo.png --variant=low

Each item stands beside the classical codec at the nearest rate that it can reach. --out writes the
reconstructions and roundtrip.png, a picture of both side by side.
Exit codes: 0 done, 1 failed while running, 2 wrong usage or input.
"""


@command
def main(argv: list[str]) -> int:
    """The command; gives the exit code."""
    parser = Parser(
        "unitok roundtrip",
        "Encode and decode files with a tokenizer; report tokens, bits, fidelity and the classical codec at equal bits.",
        epilog=EXAMPLES,
    )
    parser.add_argument("modality", help="image, audio, series, graph, text or coord")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files")
    parser.add_argument(
        "--tokenizer", metavar="DIR", help="a fitted tokenizer's folder (default: the shipped one)"
    )
    parser.add_argument(
        "--variant",
        metavar="NAME",
        help="a shipped tokenizer of another rate (image: low, audio: high)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", metavar="DIR", help="write reconstructions and a picture")
    flags = parser.parse_args(argv)
    tokenizer = load_tokenizer(flags.modality, flags.tokenizer, flags.variant)
    if flags.out:
        Path(flags.out).mkdir(parents=True, exist_ok=True)  # before what takes long
    items = [(path, measure_file(tokenizer, path)) for path in flags.paths]
    from unitok.eval import fidelity

    summary = fidelity.summarise([item for _, item in items])
    if flags.json:
        print(json.dumps(as_json(tokenizer, items, summary), indent=1, ensure_ascii=False))
    else:
        print_table(tokenizer, items, summary)
    if flags.out:
        picture = write_out(Path(flags.out), items)
        if not flags.json:
            print(f"the picture is {picture}")
    return 0


def load_tokenizer(modality: str, folder: str | None, variant: str | None = None) -> Any:
    """The tokenizer of `folder`, or the shipped one. Raises InputError for a modality or variant that is none, or another's folder."""
    from unitok import registry
    from unitok.eval.fidelity import MEASURES

    there = [name for name in registry.names() if name in MEASURES]
    if modality not in there:
        import difflib

        near = difflib.get_close_matches(modality, there, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(there)}"
        raise InputError(f"roundtrip: no modality {modality!r}; {hint}")
    if folder is None and variant is None:
        return registry.build(modality)
    if folder is None:
        shipped = registry.tokenizer_class(modality).variants()
        if variant not in shipped:
            names = ", ".join(shipped) or "none"
            raise InputError(f"--variant: {modality} has no {variant!r}; there are: {names}")
        return registry.build(modality, variant=variant)
    if variant is not None:
        raise InputError("roundtrip: give either --tokenizer or --variant")
    try:
        tokenizer = registry.load(folder)
    except KeyError as error:
        raise InputError(f"{folder}: {error.args[0]}") from None
    if tokenizer.modality != modality:
        raise InputError(
            f"{folder}: a tokenizer of {tokenizer.modality!r}; give --tokenizer one of {modality!r}"
        )
    return tokenizer


def measure_file(tokenizer: Any, path: str) -> Item:
    """One file through the tokenizer. Raises InputError naming the file and the remedy."""
    from unitok.data.files import read_file
    from unitok.eval import fidelity

    value = read_file(path, tokenizer.modality)
    try:
        return fidelity.measure(tokenizer, value)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


# ---- what is printed ---------------------------------------------------------------------------


def as_json(
    tokenizer: Any, items: Sequence[tuple[str, Item]], summary: dict[str, Any]
) -> dict[str, Any]:
    """Plain numbers; a flag is true or false, an infinite score (nothing lost) is null beside its flag or PSNR."""

    def scores(found: dict[str, tuple[float, str]]) -> dict[str, Any]:
        return {n: bool(v) if unit == "flag" else _finite(v) for n, (v, unit) in found.items()}

    def rivals(found: Sequence[Any]) -> list[dict[str, Any]]:
        return [
            {"codec": r.codec, "bits": r.bits, **{n: _finite(v) for n, v in r.scores.items()}}
            for r in found
        ]

    return {
        "tokenizer": {
            "name": tokenizer.name, "modality": tokenizer.modality,
            "size": tokenizer.size, "fingerprint": tokenizer.fingerprint,
        },
        "items": [
            {
                "item": path, "tokens": item.tokens, "bits": item.bits,
                "rate": {"value": item.rate[0], "unit": item.rate[1]},
                "fidelity": scores(item.scores), "classical": rivals(item.rivals),
            }
            for path, item in items
        ],
        "summary": {
            "items": summary["items"], "tokens": summary["tokens"], "bits": summary["bits"],
            "rate": {"value": summary["rate"][0], "unit": summary["rate"][1]},
            "fidelity": {
                n: _finite(v) for n, (v, _) in summary["scores"].items()  # of a flag: the share of items
            },
            "classical": rivals(summary["rivals"]),
        },
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def print_table(tokenizer: Any, items: Sequence[tuple[str, Item]], summary: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from unitok.eval import fidelity

    console = Console(highlight=False)
    title = f"{tokenizer.name}: {tokenizer.size:,} codes, fingerprint {tokenizer.fingerprint}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    unit = summary["rate"][1]
    for name, side in (
        ("item", "left"),
        ("tokens", "right"),
        ("bits", "right"),
        (unit, "right"),
        ("fidelity", "left"),
        (f"classical, at {unit}", "left"),
    ):
        table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
    for path, item in items:
        rivals = fidelity.spell_rivals(item.rivals, item.bits, item.rate, "\n", short=True)
        table.add_row(
            Path(path).name, f"{item.tokens:,}", f"{item.bits:,.0f}", f"{item.rate[0]:.3f}",
            item.fidelity.replace(", ", "\n"), rivals or "none to be had",
        )  # fmt: skip
    console.print(table)
    flags = {n: v for n, (v, unit) in summary["scores"].items() if unit == "flag"}
    means = [fidelity.spell(n, v, u) for n, (v, u) in summary["scores"].items() if u != "flag"]
    shares = [f"{n}: {round(v * summary['items'])} of {summary['items']}" for n, v in flags.items()]
    text = f"{summary['items']} items, mean: {summary['rate'][0]:.3f} {summary['rate'][1]}, {', '.join([*means, *shares])}"
    rivals = fidelity.spell_rivals(summary["rivals"], summary["bits"], summary["rate"])
    console.print(text + (f"\nclassical: {rivals}" if rivals else ""), soft_wrap=True)


# ---- what --out writes -------------------------------------------------------------------------


def write_out(folder: Path, items: Sequence[tuple[str, Item]]) -> Path:
    """The reconstructions as files, and roundtrip.png: original and reconstruction side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from unitok.atomic import replacing
    from unitok.data.files import write_file

    taken: set[str] = set()
    for path, item in items:
        suffix = next(s for m, s in SUFFIX.items() if type(item.reconstruction) is _type(m))
        name = Path(path).stem
        while name in taken:  # files of one name from several folders
            name += "_"
        taken.add(name)
        write_file(item.reconstruction, folder / f"{name}{suffix}")
    shown = items[:SHOWN]
    figure, axes = plt.subplots(len(shown), 2, figsize=(10, 3.2 * len(shown)), squeeze=False)
    for row, (path, item) in zip(axes, shown):
        for axis, value, title in (
            (row[0], item.original, Path(path).name),
            (row[1], item.reconstruction, f"{item.rate[0]:.2f} {item.rate[1]}, {item.fidelity}"),
        ):
            draw(axis, value)
            axis.set_title(title, fontsize=9)
    figure.tight_layout()
    picture = folder / "roundtrip.png"
    with replacing(picture) as fresh:
        figure.savefig(fresh, dpi=110)
    plt.close(figure)
    return picture


def _type(modality: str) -> type:
    from unitok import values

    kinds = {"image": values.Image, "audio": values.Audio, "series": values.Series, "graph": values.Graph,
             "text": str, "coord": values.Boxes}  # fmt: skip
    return kinds[modality]


def draw(axis: Any, value: Any) -> None:
    """A value on a matplotlib axis: picture, spectrogram, plot, drawn graph, text."""
    from unitok import values

    if isinstance(value, values.Image):
        pixels = value.pixels[:, :, 0] if value.channels == 1 else value.pixels
        axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_axis_off()
    elif isinstance(value, values.Audio):
        from unitok.metrics.audio import log_mel

        if len(value.samples):
            extent = (0, value.seconds, 0, 80)
            axis.imshow(
                log_mel(value.samples, value.rate), origin="lower", aspect="auto", extent=extent
            )
        axis.set_xlabel("seconds")
        axis.set_ylabel("mel band")
    elif isinstance(value, values.Series):
        axis.plot(value.values[:, :8], linewidth=0.9)
    elif isinstance(value, values.Graph):
        _draw_graph(axis, value)
    elif isinstance(value, values.Boxes):
        for y0, x0, y1, x1 in value.coords:
            axis.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0])
        axis.invert_yaxis()
    else:
        text = "".join(c if c.isprintable() or c == "\n" else "·" for c in str(value)[:600])
        text = text.replace("$", r"\$")  # no formulas
        axis.text(0, 1, text, va="top", fontsize=7, wrap=True, family="monospace")
        axis.set_axis_off()


def _draw_graph(axis: Any, graph: Any) -> None:
    from unitok.eval.figures import too_large

    if said := too_large(graph):
        axis.text(0.5, 0.5, f"{said}: too many to draw", ha="center", va="center", fontsize=9)
        axis.set_axis_off()
        return
    import networkx as nx

    drawn = nx.Graph()
    drawn.add_nodes_from(range(graph.num_nodes))
    drawn.add_edges_from(graph.edges.tolist())
    place = nx.spring_layout(drawn, seed=0)
    nx.draw_networkx(drawn, place, ax=axis, node_size=28, with_labels=False, width=0.8)
    axis.set_axis_off()


if __name__ == "__main__":
    import sys

    sys.exit(main())
