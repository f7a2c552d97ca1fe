"""Boxes: blood cells found, pointed at and counted in microscope pictures (BCCD).

    UNITOK_DATA=DIR python train/main.py --config=configs/bccd.py

Data: $UNITOK_DATA/bccd/bccd.zip (images/*.jpg, annotations.json with boxes as x0 y0 x1 y1, splits.json), the
official train (205 pictures of 640 x 480) and val (87). They are read at a quarter of their side, 300 codes of
the shipped image tokenizer's low rate (26.7 dB on val), and places as 128 bins a side: mAP of the truth's own
tokens is 91.7 %, AP50 99.7 %. Training pictures are mirrored, shifted and scaled with their boxes, which are
written top to bottom. Trivial baselines: the usual box, mAP 0.1 % and AP50 0.2 % on all cells; the training
median and the most frequent number of the counts. Two boxes of the source have no extent; they are kept.

Cost: 1,000 steps took 22 minutes on one CPU core (`--config.steps=1000`). Result on the 87 pictures of val: NOT learned.
All cells: mAP and AP50 0.0 %, the white one alone the same, red ones counted with MAE 4.28 (training median 3.61),
platelets as by always answering "0" (48.3 %), and every score is the same with another item's picture: the answers
have the look of boxes (1.92 nats a token, unigram 4.10) but do not depend on the picture yet. That boxes are learned
from a picture's tokens at all is tested on embedded squares, tests/test_boxes.py.
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
