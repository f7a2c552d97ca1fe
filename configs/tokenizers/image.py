"""The shipped image tokenizer: one code for each 4 x 4 square of a photo, grey or RGB.

    pip install scikit-image
    UNITOK_DATA=DIR unitok fit --config=configs/tokenizers/image.py --out=tokenizers/defaults/image

Data: the photos of scikit-image and scikit-learn whose licence is stated and free, and ten of the
Kodak photos ($UNITOK_DATA/kodak/kodak.zip); the photos in HELD_OUT were never fitted on. Licences: public
domain and CC0 (scikit-image), CC BY 2.0 (scikit-learn's two), unrestricted use (Eastman Kodak).
Cost: 972 s on one CPU core shared with other jobs. Result: 27.75 dB at 0.625 bits per pixel on the held-out photos;
tables in tokenizers/defaults/image/MODEL_CARD.md.
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
    return _packaged() + [image for name, image in kodak().items() if name not in HELD_OUT]


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
