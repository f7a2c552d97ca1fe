"""Fit a tokenizer to data: unitok fit MODALITY --data=PATH... --out=DIR [--steps=N] [--OPTION=VALUE ...]

or by a recipe: unitok fit --config=configs/tokenizers/image.py --out=DIR
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import inspect
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unitok.commands.parser import Parser
from unitok.config import FitConfig, TokenizerConfig
from unitok.config_cli import execute
from unitok.errors import InputError, command
from unitok.interfaces import Tokenizer
from unitok.values import Audio, Image

Log = Callable[[str], Any]

HELD_OUT = 10  # one value in so many is kept out of a fit from the command line, to report on
REPORTED = 500  # values reported on, at most

EXAMPLES = """\
examples:
  unitok fit image --data photos/ --out=runs/photos --steps=4000 --patch=8 --codes=1024
  unitok fit image --data fashion-mnist/train-images-idx3-ubyte.gz --out=runs/clothes --codes=512
  unitok fit text --data corpus/ --out=runs/pieces --vocab_size=4096
  unitok fit --config=configs/tokenizers/image.py --out=runs/image

A folder is searched for the modality's files. Options are those of the tokenizer's constructor and
of its `fit`. The fitted folder is what `--tokenizer=DIR` and TokenizerConfig(path=DIR) take.
"""


def fit(config: TokenizerConfig, values: Sequence[Any], log: Log = print) -> Tokenizer:
    """A tokenizer of the class registered as config.name, fitted to `values` with config.options.

    Of config.fit those settings count that the class's `fit` takes (steps, batch_size, ...).
    Raises InputError for a name that is not registered, a class that needs no fitting, a wrong option.
    """
    cls = fittable(config.name)
    known = set(inspect.signature(cls.fit).parameters)
    settings = vars(config.fit or FitConfig())
    chosen = {k: v for k, v in settings.items() if k in known - {"values", "log"}}
    check_options(cls, config.options)
    try:
        return cls.fit(values, log=log, **chosen, **config.options)
    except (TypeError, ValueError) as error:
        raise InputError(f"tokenizer {config.name!r}: {error}") from error


def fittable(name: str) -> Any:
    """The registered class. Raises InputError where there is none, or where it needs no fitting."""
    from unitok import registry

    try:
        cls = registry.tokenizer_class(name)
    except KeyError as error:
        raise InputError(str(error.args[0])) from None
    if not callable(getattr(cls, "fit", None)):
        raise InputError(f"tokenizer {name!r}: nothing to fit; it is ready as it is")
    return cls


def check_options(cls: Any, options: Mapping[str, Any]) -> None:
    """Raises InputError for an option that neither the constructor nor `fit` takes, with the nearest right one."""
    both = (inspect.signature(f).parameters.values() for f in (cls.__init__, cls.fit))
    named = {p.name for parameters in both for p in parameters if p.kind is p.KEYWORD_ONLY}
    open_ended = not any(
        p.kind is p.KEYWORD_ONLY for p in inspect.signature(cls.__init__).parameters.values()
    )  # a fit whose options go on to another library's trainer
    named -= {"log", "weights"}
    for option in options:
        if option not in named and not open_ended:
            near = difflib.get_close_matches(option, named, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(named))}"
            raise InputError(f"tokenizer option {option!r}: no such option; {hint}")


@command
def main(argv: list[str]) -> int:
    parser = Parser("unitok fit", "Fit a learned tokenizer to your own data.", epilog=EXAMPLES)
    parser.add_argument("modality", nargs="?", help="registered name: image, text, ...")
    parser.add_argument("--data", nargs="+", default=[], metavar="PATH", help="files or folders")
    parser.add_argument("--config", metavar="FILE", help="a recipe, instead of modality and data")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to write")
    for field in ("steps", "batch_size", "limit", "seed"):
        parser.add_argument(f"--{field}", type=int, metavar="N")
    parser.add_argument("--learning_rate", type=float, metavar="X")
    flags, rest = parser.parse_known_args(argv)
    out = Path(flags.out)
    if (out / "tokenizer.json").exists():
        raise InputError(f"{out}: holds a tokenizer already; choose another --out or remove it")
    if (flags.config is None) == (flags.modality is None):
        raise InputError("fit: give either a modality with --data, or --config=FILE")
    options = _options(rest)
    if flags.modality:  # before any file is read
        check_options(fittable(flags.modality), options)
    with _writable(out):
        config, values, shown = _recipe(flags.config) if flags.config else _from_files(flags)
        config = _overridden(config, flags, options)
        start = time.perf_counter()
        fitted = config.fit or FitConfig()
        kept, shown = _split(values, shown, fitted.limit, fitted.seed)
        print(f"{config.name}: fitting on {len(kept)} values, {len(shown)} held out", flush=True)
        tokenizer = fit(config, kept, log=lambda line: print(line, flush=True))
        tokenizer.save(out)
    print(f"{config.name}: fitted in {time.perf_counter() - start:.0f} s, saved to {out}")
    for line in summary(tokenizer, shown or kept[:REPORTED]):
        print(line)
    return 0


@contextlib.contextmanager
def _writable(out: Path) -> Iterator[None]:
    """Tries the folder before what takes long; after an error, folders made for it are gone again."""
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        try:
            out.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=out):
                pass
        except OSError as error:
            raise InputError(
                f"{out}: cannot be written ({error.strerror}); choose another --out"
            ) from None
        yield
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):  # those that are empty
                folder.rmdir()
        raise


# ---- what is asked for --------------------------------------------------------------------------


def _recipe(file: str) -> tuple[TokenizerConfig, list[Any], list[Any]]:
    """(config, values to fit on, values held out) of a file that defines get_config, get_values, get_held_out."""
    path = Path(file)
    if not path.is_file():
        raise InputError(
            f"{path}: not found; --config names a recipe such as configs/tokenizers/image.py"
        )
    config, values, held_out = execute(path, "get_config", "get_values", "get_held_out")
    return config, list(values), list(held_out)


def _from_files(flags: argparse.Namespace) -> tuple[TokenizerConfig, list[Any], list[Any]]:
    if not flags.data:
        raise InputError("fit: --data=PATH... is missing; name files or folders")
    values = [value for path in flags.data for value in read_values(Path(path), flags.modality)]
    if not values:
        raise InputError(f"--data: no {flags.modality} file in {', '.join(flags.data)}")
    return TokenizerConfig(name=flags.modality), values, []


def read_values(path: Path, modality: str) -> list[Any]:
    """The values in a file, or in every file of the modality's kinds under a folder, sorted by name."""
    from unitok.data import files, readers

    if "-ubyte" in path.name and modality == "image" and path.is_file():
        return [Image(pixels) for pixels in readers.read_idx_file(path)]
    if not path.is_dir():
        return [files.read_file(path, modality)]
    kinds = {
        "image": tuple(files.IMAGE_FORMATS),
        "audio": files.AUDIO_FORMATS,
        "text": (".txt", ".md"),
    }
    if modality not in kinds:
        raise InputError(f"{path}: name the files of a folder of {modality} one by one")
    found = sorted(f for f in path.rglob("*") if f.suffix.lower() in kinds[modality])
    return [files.read_file(file, modality) for file in found]


def _options(rest: list[str]) -> dict[str, Any]:
    """--name=value, value as JSON where it is JSON, else as it stands."""
    options = {}
    for item in rest:
        name, equals, text = item.removeprefix("--").partition("=")
        if not item.startswith("--") or not equals:
            raise InputError(f"fit: {item!r}: want --option=value")
        try:
            options[name] = json.loads(text)
        except json.JSONDecodeError:
            options[name] = text
    return options


def _overridden(
    config: TokenizerConfig, flags: argparse.Namespace, options: Mapping[str, Any]
) -> TokenizerConfig:
    names = ("steps", "batch_size", "limit", "seed", "learning_rate")
    given = {name: getattr(flags, name) for name in names if getattr(flags, name) is not None}
    settings = {**vars(config.fit or FitConfig()), **given}
    return TokenizerConfig(
        name=config.name, options={**config.options, **options}, fit=FitConfig(**settings)
    )


def _split(
    values: list[Any], held_out: list[Any], limit: int | None, seed: int
) -> tuple[list[Any], list[Any]]:
    """(to fit on, to report on): where nothing is held out yet, one in ten of twenty or more is."""
    order = np.random.default_rng(seed).permutation(len(values))
    chosen = [values[i] for i in order[: limit or len(values)]]
    if held_out or len(chosen) < 2 * HELD_OUT:
        return chosen, held_out[:REPORTED]
    out = min(len(chosen) // HELD_OUT, REPORTED)
    return chosen[out:], chosen[:out]


# ---- what came of it ----------------------------------------------------------------------------


def summary(tokenizer: Any, values: Sequence[Any]) -> list[str]:
    """Rate, use of the codes and fidelity over `values`, a line each."""
    ids = tokenizer.encode_batch(values)
    learned = getattr(
        tokenizer, "num_codes", tokenizer.size
    )  # the last ones; before them the header's
    codes = np.concatenate(ids) - (tokenizer.size - learned)
    used, perplexity = _usage(codes[codes >= 0], learned)
    tokens = np.mean([len(one) for one in ids])
    bits = np.mean([tokenizer.bits_per_item(value) for value in values])
    lines = [
        f"over {len(values)} values: {tokens:.1f} tokens and {bits:.0f} bits a value",
        f"codes used {used} of {learned}, perplexity {perplexity:.0f}",
    ]
    return lines + _fidelity(tokenizer, values, ids, float(bits))


def _fidelity(tokenizer: Any, values: Sequence[Any], ids: list[Any], bits: float) -> list[str]:
    """A line in the modality's own measures; none for modalities that have no fit here."""
    if isinstance(values[0], str):
        size = sum(len(value.encode()) for value in values)
        tokens = max(1, sum(map(len, ids)))
        rate = bits * len(values) / max(1, size)
        return [f"{size / tokens:.2f} bytes a token, {rate:.3f} bits per byte"]
    if isinstance(values[0], Image):
        from unitok.metrics.images import psnr

        backs = tokenizer.decode_batch(ids)
        exact = 60.0  # an image that comes back exactly has no PSNR
        scores = [min(psnr(v.pixels, b.pixels), exact) for v, b in zip(values, backs)]
        pixels = np.mean([value.height * value.width for value in values])
        return [f"PSNR {np.mean(scores):.2f} dB at {bits / pixels:.3f} bits per pixel"]
    if isinstance(values[0], Audio):
        from unitok.metrics.audio import si_sdr

        pairs = [_same_rate(v, b) for v, b in zip(values, tokenizer.decode_batch(ids))]
        scores = [si_sdr(a, b) for a, b in pairs if np.ptp(a) > 0]  # silence has none
        seconds = max(1e-9, np.mean([value.seconds for value in values]))
        spent = f"{bits / seconds / 1000:.2f} kbit/s"
        return [f"SI-SDR {np.mean(scores):.2f} dB at {spent}" if scores else f"silence at {spent}"]
    return []


def _same_rate(value: Audio, back: Audio) -> tuple[np.ndarray, np.ndarray]:
    """Samples of both at the rate and over the length of what came back."""
    samples = value.samples
    if value.rate != back.rate:
        import soxr

        samples = soxr.resample(samples, value.rate, back.rate)
    size = min(len(samples), len(back.samples))
    return samples[:size], back.samples[:size]


def _usage(codes: np.ndarray, size: int) -> tuple[int, float]:
    p = np.bincount(codes, minlength=size) / max(1, len(codes))
    p = p[p > 0]
    return len(p), float(np.exp(-(p * np.log(p)).sum()))


if __name__ == "__main__":
    import sys

    sys.exit(main())
