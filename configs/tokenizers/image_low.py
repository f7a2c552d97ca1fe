"""The second rate of the shipped image tokenizer: one code for each 8 x 8 square.

    pip install scikit-image
    UNITOK_DATA=DIR unitok fit --config=configs/tokenizers/image_low.py --out=tokenizers/defaults/image-low

Data: as in configs/tokenizers/image.py, whose held-out photos are held out here too.
Cost: 127 s on one CPU core shared with other jobs. Use: tokenizers.build("image", variant="low").
Result: 24.06 dB at 0.156 bits per pixel on the held-out photos; tables in tokenizers/defaults/image-low/MODEL_CARD.md.
"""

from unitok.config import FitConfig, TokenizerConfig
from unitok.configs.tokenizers.image import get_held_out, get_values

__all__ = ["get_config", "get_held_out", "get_values"]


def get_config() -> TokenizerConfig:
    return TokenizerConfig(
        name="image",
        options={
            "patch": 8, "codes": 1024, "dim": 16, "width": 64, "depth": 2,
            "crop": 64, "scales": [1, 2, 4], "grey": 0.15, "flip": True,
        },
        fit=FitConfig(steps=1200, batch_size=32, learning_rate=4e-3),
    )  # fmt: skip
