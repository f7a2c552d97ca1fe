"""Boxes: blood cells found, pointed at and counted in microscope pictures (BCCD).

UNITOK_DATA=DIR python train/main.py --config=configs/bccd.py
"""

from typing import Any

from unitok.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    SourceConfig,
    TokenizerConfig,
)
from unitok.configs.tasks import ask


def cells(copies: int, **motion: float) -> SourceConfig:
    """The pictures at a quarter of their side (120 x 160) and the boxes in them; training ones mirrored and moved."""
    boxes = {"from": "value", "boxes": "xyxy", "order": "xyxy", "label": "category"}
    return SourceConfig(
        kind="json",
        path="${UNITOK_DATA}/bccd/bccd.zip!annotations.json",
        options={
            "rows": {"file": "${UNITOK_DATA}/bccd/bccd.zip!splits.json", "field": "key"},
            "derive": {
                "photo": {"from": "key", "file": "images/{}", "modality": "image"},
                "image": {"from": "photo", "scale": 0.25},
                "all": boxes,
                "cells": {"from": "all", "scale": 0.25},
                "leucocytes": {**boxes, "keep": ["WBC"]},
                "white": {"from": "leucocytes", "scale": 0.25},
                "reds": {"from": "all", "count": "RBC"},
                "platelets": {"from": "all", "count": "Platelets"},
            },
            "augment": {
                "split": "train", "field": "image", "boxes": ["cells", "white"], "copies": copies,
                "flip": True, **motion,
            },
        },
        about="BCCD, S. Gan 2017, after cosmicad and akshaylamba",
        licence="MIT",
    )  # fmt: skip


def get_config() -> Config:
    hidden: dict[str, Any] = {"input_noise": 0.2, "eval_split": "val"}
    return Config(
        name="bccd",
        steps=1500,
        tokenizers={
            "text": TokenizerConfig(name="text"),
            "image": TokenizerConfig(name="image", options={"variant": "low"}),
            "coord": TokenizerConfig(name="coord", options={"bins": 128}),
        },
        sources={"cells": cells(20, shift=0.15, scale=0.15), "whole": cells(4)},
        tasks={
            "detect": ask(
                "cells", 4.0,
                ("Find the blood cells. {image}", "{cells:coord@image}"),
                metrics=["ap50", "map"], random_order=False, **hidden,
            ),
            "point": ask(
                "cells", 1.0,
                ("Where is the white blood cell? {image}", "{white:coord@image}"),
                metrics=["ap50", "map"], random_order=False, **hidden,
            ),
            "count_red": ask(
                "whole", 0.5,
                ("How many red blood cells? {image}", "{reds:text}"),
                metrics=["mae"], **hidden,
            ),
            "count_platelets": ask(
                "whole", 0.5,
                ("How many platelets? {image}", "{platelets:text}"),
                metrics=["accuracy"], **hidden,
            ),
        },
        model=ModelConfig(
            d_model=128, d_ff=384, num_heads=4, encoder_layers=3, decoder_layers=3, dropout=0.1,
            dtype="bfloat16",
        ),
        data=DataConfig(batch_size=4),
        optimizer=OptimizerConfig(
            learning_rate=1.2e-3, warmup_steps=100, weight_decay=0.05, ema_decay=0.997
        ),
        loss=LossConfig(normalise="example"),
        checkpoint=CheckpointConfig(every=500, validate_every=250, validate_batches=6),
        report=True,
    )  # fmt: skip
