"""Image tokenizers beside WebP, JPEG and AVIF at equal rate: fitted on Fashion-MNIST, and the shipped one on Kodak.

    UNITOK_DATA=DIR python benchmarks/image_tokenizer.py [--steps=2400] [--codes=512] [--tokenizer=DIR]

First the shipped default on the Kodak photos that it was not fitted on; then one fitted on
Fashion-MNIST's train split, judged on its test split. The rivals there code mosaics of all test images (a file of one 28 x 28 image is mostly header) at the
quality whose size is nearest; WebP also image by image. Claims checked: every code is used, and over
patches that are not blank the perplexity is at least half the codebook. PSNR is the mean over images.
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
from unitok.eval.classical import image_rivals
from unitok.metrics.images import psnr, ssim
from unitok.tokenizers.codec import space_to_depth
from unitok.tokenizers.codec_fit import code_statistics
from unitok.tokenizers.image import ImageTokenizer
from unitok.tokenizers.image_grammar import FIRST_CODE, HEADER, HEADER_BITS
from unitok.values import Image

SINGLE = 500  # images that WebP codes one by one


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--codes", type=int, default=512)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--tokenizer", help="a fitted folder, instead of fitting")
    parser.add_argument("--out", help="where to save the fitted tokenizer")
    flags = parser.parse_args()
    root = Path(os.environ.get("UNITOK_DATA", ""))
    if (root / "kodak" / "kodak.zip").is_file():
        _photos()
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
        train, steps=flags.steps, batch_size=64, patch=4, codes=flags.codes, width=flags.width,
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
    """The shipped tokenizer on the held-out Kodak photos: whole, and their middle 256 x 256."""
    tokenizer = tokenizers.build("image")
    whole = recipe.get_held_out()
    middle = [
        Image(v.pixels[v.height // 2 - 128 :, v.width // 2 - 128 :][:256, :256]) for v in whole
    ]
    for label, values in (("whole", whole), ("middle 256 x 256", middle)):
        backs = tokenizer.decode_batch(tokenizer.encode_batch(values))
        print(f"\nKodak, {len(values)} held-out photos, {label}")
        print(f"{'codec':<34}{'bpp':>8}{'PSNR dB':>9}")
        pixels = [value.height * value.width for value in values]
        bits = [tokenizer.bits_per_item(value) for value in values]
        table: dict[str, list[tuple[float, float]]] = {"UniTok": []}
        for value, back, area, spent in zip(values, backs, pixels, bits):
            table["UniTok"].append((spent / area, psnr(value.pixels, back.pixels)))
            for rival in image_rivals([value], spent):
                score = (rival.bits / area, rival.scores["PSNR"])
                table.setdefault(rival.codec, []).append(score)
        for name, scores in table.items():
            rate, value = np.mean(scores, axis=0)
            print(f"{name:<34}{rate:>8.3f}{value:>9.2f}")
        likeness = np.mean([ssim(a.pixels, b.pixels) for a, b in zip(values, backs)])
        print(f"UniTok: SSIM {likeness:.3f}")


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
