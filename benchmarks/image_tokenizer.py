"""Image tokenizers beside WebP, JPEG and AVIF at equal rate: fitted on Fashion-MNIST, and the shipped one on Kodak.

    UNITOK_DATA=DIR python benchmarks/image_tokenizer.py [--only=photos|fashion] [--steps=1100] [--tokenizer=DIR]

First what ships, at both its rates, on the Kodak photos that it was not fitted on: tiles of 32 to 256
pixels and whole. Then one fitted on Fashion-MNIST's train split, judged on its test split. The rivals
code mosaics of images up to 64 pixels (a file of one 28 x 28 image is mostly header) at the quality
whose size is nearest; WebP also image by image. Claims checked on Fashion-MNIST: every code is used, and
over patches that are not blank the perplexity is at least half the codebook. PSNR is the mean over images.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from unitok import tokenizers
from unitok.configs.tokenizers import image as recipe
from unitok.data.readers import read_idx_file
from unitok.eval.classical import MOSAIC_SIDE, image_rivals
from unitok.metrics.images import psnr, ssim
from unitok.tokenizers.codec import space_to_depth
from unitok.tokenizers.codec_fit import code_statistics
from unitok.tokenizers.image import ImageTokenizer
from unitok.tokenizers.image_grammar import FIRST_CODE, HEADER, HEADER_BITS
from unitok.values import Image

SINGLE = 500  # images that WebP codes one by one
SIDES = (32, 64, 128, 256)  # of tiles cut from the photos
TILES = (2, 3)  # rows and columns of tiles a photo


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1100)
    parser.add_argument("--codes", type=int, default=512)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=6e-3)
    parser.add_argument("--only", choices=("photos", "fashion"))
    parser.add_argument("--tokenizer", help="a fitted folder, instead of fitting")
    parser.add_argument("--out", help="where to save the fitted tokenizer")
    flags = parser.parse_args()
    root = Path(os.environ.get("UNITOK_DATA", ""))
    if flags.only != "fashion" and (root / "kodak" / "kodak.zip").is_file():
        _photos()
    if flags.only == "photos":
        return 0
    folder = root / "fashion-mnist"
    if not folder.is_dir():
        print(
            f"skipped: {folder} not found; set UNITOK_DATA to the folder that holds fashion-mnist/"
        )
        return 0
    train, test = (
        [Image(pixels) for pixels in read_idx_file(folder / f"{split}-images-idx3-ubyte.gz")]
        for split in ("train", "t10k")
    )
    tokenizer = tokenizers.load(flags.tokenizer) if flags.tokenizer else _fit(train, flags)
    if flags.out:
        tokenizer.save(flags.out)
    return _report(tokenizer, test)


def _fit(train: list[Image], flags: argparse.Namespace) -> ImageTokenizer:
    start, cpu = time.perf_counter(), time.process_time()
    tokenizer = ImageTokenizer.fit(
        train, steps=flags.steps, batch_size=64, learning_rate=flags.learning_rate,
        patch=4, codes=flags.codes, width=flags.width, dim=flags.dim,
        log=lambda line: print(line, flush=True),
    )  # fmt: skip
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"fitted in {wall:.0f} s ({cpu:.0f} CPU seconds)")
    return tokenizer


def _report(tokenizer: ImageTokenizer, test: list[Image]) -> int:
    start = time.perf_counter()
    ids = tokenizer.encode_batch(test)
    rate = len(test) / (time.perf_counter() - start)
    back = tokenizer.decode_batch(ids)
    codes_Nn = np.stack([one[HEADER:] for one in ids]) - FIRST_CODE
    blank_Nn = np.stack([_blank(value, tokenizer.patch) for value in test])
    used, perplexity = code_statistics(codes_Nn, tokenizer.num_codes)
    full_used, full = code_statistics(codes_Nn[~blank_Nn], tokenizer.num_codes)
    again = np.stack(tokenizer.encode_batch(back))[:, HEADER:] - FIRST_CODE
    pixels = test[0].height * test[0].width
    nominal = tokenizer.bits_per_item(test[0])
    coded = HEADER_BITS + codes_Nn.shape[1] * np.log2(perplexity)
    fidelity = [psnr(a.pixels, b.pixels) for a, b in zip(test, back)]
    likeness = np.mean([ssim(a.pixels, b.pixels) for a, b in zip(test, back)])

    print(f"\nFashion-MNIST test, {len(test):,} images of {test[0].height} x {test[0].width}")
    print(f"{'codec':<34}{'bits':>8}{'bpp':>8}{'PSNR dB':>9}")
    rows = [("UniTok, nominal", nominal, np.mean(fidelity))]
    rows += [("UniTok, entropy-coded (order 0)", coded, np.mean(fidelity))]
    for label, bits in (("nominal", nominal), ("entropy-coded", coded)):
        rows += [
            (f"{r.codec} at the {label} rate", r.bits, r.scores["PSNR"])
            for r in image_rivals(test, bits)
        ]
    rows += [_webp_alone(test[:SINGLE], nominal)]
    for name, bits, value in rows:
        print(f"{name:<34}{bits:>8.0f}{bits / pixels:>8.3f}{value:>9.2f}")
    print(
        f"UniTok: SSIM {likeness:.3f}; codes used {used} of {tokenizer.num_codes}, "
        f"perplexity/size {perplexity / tokenizer.num_codes:.2f}; over the {(~blank_Nn).mean():.0%} of "
        f"patches that are not blank: used {full_used}, perplexity/size {full / tokenizer.num_codes:.2f}; "
        f"token self-consistency {(again == codes_Nn).mean():.2f}; encodes {rate:,.0f} images/s"
    )
    if used < tokenizer.num_codes or full < 0.5 * tokenizer.num_codes:
        print(
            "FAILED: want every code used, and perplexity/size of at least 0.5 over non-blank patches"
        )
        return 1
    return 0


def _photos() -> None:
    """The shipped tokenizers on the held-out Kodak photos: tiles of each, and whole."""
    whole = recipe.get_held_out()
    print(f"Kodak, {len(whole)} held-out photos: PSNR in dB (bits per pixel); the mean over images")
    print(
        "| weights | pictures | UniTok | SSIM | WebP | JPEG | AVIF |\n|---|---|---|---|---|---|---|"
    )
    for variant in (None, *ImageTokenizer.variants()):
        tokenizer = tokenizers.build("image", variant=variant)
        for side in (*SIDES, None):
            values = whole if side is None else [tile for v in whole for tile in tiles(v, side)]
            label = "whole" if side is None else f"{len(values)} of {side} x {side}"
            print(
                f"| {variant or 'default'} | {label} | {_photo_row(tokenizer, values)} |",
                flush=True,
            )


def _photo_row(tokenizer: ImageTokenizer, values: list[Image]) -> str:
    backs = tokenizer.decode_batch(tokenizer.encode_batch(values))
    areas = [value.height * value.width for value in values]
    bits = [tokenizer.bits_per_item(value) for value in values]
    rows: dict[str, list[tuple[float, float]]] = {"UniTok": []}
    for value, back, area, spent in zip(values, backs, areas, bits):
        rows["UniTok"].append((spent / area, psnr(value.pixels, back.pixels)))
    if max(values[0].height, values[0].width) <= MOSAIC_SIDE:
        groups = [(values, bits[0])]  # all in one mosaic
    else:
        groups = [([value], spent) for value, spent in zip(values, bits)]
    for members, spent in groups:
        area = members[0].height * members[0].width
        for rival in image_rivals(members, spent):
            score = (rival.bits / area, rival.scores["PSNR"])
            rows.setdefault(rival.codec.split()[0], []).append(score)
    likeness = np.mean([ssim(a.pixels, b.pixels) for a, b in zip(values, backs)])
    cells = {name: np.mean(scores, axis=0) for name, scores in rows.items()}
    shown = {name: f"{fidelity:.2f} ({rate:.3f})" for name, (rate, fidelity) in cells.items()}
    ours = shown.pop("UniTok")
    return " | ".join([ours, f"{likeness:.3f}", *(shown[n] for n in ("WebP", "JPEG", "AVIF"))])


def tiles(value: Image, side: int) -> list[Image]:
    """TILES squares of `side` pixels, spread over the picture."""
    rows, columns = TILES
    ys = np.linspace(0, value.height - side, rows).astype(int)
    xs = np.linspace(0, value.width - side, columns).astype(int)
    return [Image(value.pixels[y : y + side, x : x + side]) for y in ys for x in xs]


def _webp_alone(images: list[Image], bits: float) -> tuple[str, float, float]:
    alone = [image_rivals([image], bits)[0] for image in images]
    return (
        f"WebP, one by one ({len(images)})",
        float(np.mean([rival.bits for rival in alone])),
        float(np.mean([rival.scores["PSNR"] for rival in alone])),
    )


def _blank(value: Image, patch: int) -> np.ndarray:
    """bool [h w]: the patches that are black all over."""
    down, right = -value.height % patch, -value.width % patch
    pixels = np.pad(value.pixels, ((0, down), (0, right), (0, 0)), mode="edge")
    return (
        space_to_depth(pixels[None], patch).reshape(-1, patch * patch * value.channels) == 0
    ).all(1)


if __name__ == "__main__":
    sys.exit(main())
