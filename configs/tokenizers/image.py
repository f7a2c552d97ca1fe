"""The shipped image tokenizer: one code for each 4 x 4 square of a photo, grey or RGB.

    pip install scikit-image
    UNITOK_DATA=DIR unitok fit --config=configs/tokenizers/image.py --out=tokenizers/defaults/image

Data: the pictures of scikit-image and scikit-learn whose licence is stated and free, ten of the
Kodak photos ($UNITOK_DATA/kodak/kodak.zip), and drawings made here (strokes, shapes, letters: without
them small handwriting comes back as fog). The photos in HELD_OUT were never fitted on.
Cost: 8 minutes on two CPU cores. Result: see tokenizers/defaults/image/MODEL_CARD.md.
"""

import io
import os
import zipfile
from pathlib import Path

import numpy as np

from unitok.config import FitConfig, TokenizerConfig
from unitok.errors import InputError
from unitok.values import Image

SCIKIT_IMAGE = [
    "astronaut", "brick", "camera", "chelsea", "clock", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field", "immunohistochemistry", "retina", "rocket", "text",
]  # fmt: skip
SCIKIT_LEARN = ["china.jpg", "flower.jpg"]
DRAWINGS = 20
HELD_OUT = ["kodim07.png", "kodim13.png", "kodim19.png", "kodim23.png"]


def get_config() -> TokenizerConfig:
    return TokenizerConfig(
        name="image",
        options={
            "patch": 4, "codes": 1024, "dim": 8, "width": 64, "depth": 3,
            "crop": 32, "scales": [1, 2, 4], "grey": 0.15, "flip": True,
        },
        fit=FitConfig(steps=4000, batch_size=64, learning_rate=2e-3),
    )  # fmt: skip


def get_values() -> list[Image]:
    photos = [image for name, image in kodak().items() if name not in HELD_OUT]
    rng = np.random.default_rng(0)
    return _packaged() + photos + [drawing(rng) for _ in range(DRAWINGS)]


def get_held_out() -> list[Image]:
    return [image for name, image in kodak().items() if name in HELD_OUT]


def _packaged() -> list[Image]:
    try:
        from skimage import data
    except ImportError:
        raise InputError("scikit-image is missing: pip install scikit-image") from None
    from sklearn.datasets import load_sample_image

    pictures = [getattr(data, name)() for name in SCIKIT_IMAGE]
    pictures += [load_sample_image(name) for name in SCIKIT_LEARN]
    return [Image(np.asarray(pixels)) for pixels in pictures]


def drawing(rng: np.random.Generator, side: int = 128, fine: int = 4) -> Image:
    """Random strokes, ellipses and letters, drawn `fine` times larger and averaged down: soft edges."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    def colour() -> tuple[int, ...]:
        grey = int(rng.choice([0, 255, rng.integers(256)]))
        return (grey,) * 3 if rng.random() < 0.9 else tuple(rng.integers(0, 256, 3).tolist())

    size = side * fine
    sheet = Pillow.new("RGB", (size, size), (0, 0, 0) if rng.random() < 0.5 else colour())
    pen = ImageDraw.Draw(sheet)
    for _ in range(rng.integers(60, 200)):
        x, y, reach = *rng.integers(0, size, 2).tolist(), int(rng.integers(6, 30) * fine)
        box = (x, y, x + reach, y + int(reach * rng.uniform(0.3, 1.5)))
        kind, width = rng.integers(4), int(rng.integers(fine // 2, 3 * fine))
        if kind == 0:
            pen.line(box, fill=colour(), width=width)
        elif kind == 1:
            begin = int(rng.integers(360))
            pen.arc(box, begin, begin + int(rng.integers(60, 360)), fill=colour(), width=width)
        elif kind == 2:
            pen.ellipse(box, fill=colour())
        else:
            letter = chr(int(rng.integers(33, 127)))
            pen.text((x, y), letter, fill=colour(), font=ImageFont.load_default(reach))
    return Image(np.asarray(sheet.resize((side, side), Pillow.Resampling.BOX)))


def kodak() -> dict[str, Image]:
    """The Kodak photos by file name. Raises InputError where the archive is not there."""
    file = Path(os.environ.get("UNITOK_DATA", "")) / "kodak" / "kodak.zip"
    if not file.is_file():
        raise InputError(f"{file}: not found; set UNITOK_DATA to the folder that holds kodak/")
    from PIL import Image as Pillow

    with zipfile.ZipFile(file) as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".png"))
        opened = {n: Pillow.open(io.BytesIO(archive.read(n))).convert("RGB") for n in names}
        return {n: Image(np.asarray(picture)) for n, picture in opened.items()}
