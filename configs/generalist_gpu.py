"""`generalist.py` for one GPU: 27 million parameters, the same tasks, weighed for some eighty times the tokens.

    UNITOK_DATA=DIR python train/main.py --config=configs/generalist_gpu.py

What differs besides size: small sets weigh less, as they are seen tens of times anyway; ETTh1 shows 336 hours of
past, as DLinear's published score has, and its windows are mixed (TSMixup), as its year of training is soon known by heart.
"""

import dataclasses

from unitok.config import CheckpointConfig, Config, ModelConfig, OptimizerConfig, SourceConfig
from unitok.configs import generalist

WEIGHTS = {
    "fashion_label": 4.0, "fashion_draw": 1.5, "spoken_digit": 0.6, "speaker": 0.3, "speak": 0.8, "etth1": 1.5,
    "exchange": 0.5, "ucr": 1.2, "mutag": 0.12, "proteins": 0.4, "ptc": 0.2, "esol": 0.5, "qm9_write": 8.0,
    "qm9_build": 6.0, "vqa": 3.0, "truce": 0.8, "plays": 0.25, "papers": 0.5, "banking": 1.0,
}  # fmt: skip


def longer(source: SourceConfig, past: int) -> SourceConfig:
    """The windows of `source` with more past; those of training mixed with others of their channel."""
    mix = {"split": "train", "copies": 3, "mix": 3, "fields": ["past", "future"], "same": "channel"}
    windows = {**source.options["windows"], "past": past}
    return dataclasses.replace(
        source, options={**source.options, "windows": windows, "augment": mix}
    )


def get_config() -> Config:
    base = generalist.get_config()
    return dataclasses.replace(
        base,
        name="generalist_gpu",
        steps=6000,
        sources={**base.sources, "etth1": longer(base.sources["etth1"], past=336)},
        tasks={
            name: dataclasses.replace(task, weight=WEIGHTS[name])
            for name, task in base.tasks.items()
        },
        model=ModelConfig(
            d_model=384, d_ff=1024, num_heads=6, encoder_layers=5, decoder_layers=5, dropout=0.05,
            dtype="bfloat16",
        ),
        # a core tokenizes and packs some 70,000 tokens a second, a large GPU trains on ten times as many
        data=dataclasses.replace(base.data, batch_size=64, prefetch=32, workers=14),
        optimizer=OptimizerConfig(
            learning_rate=1.2e-3, warmup_steps=400, weight_decay=0.05, ema_decay=0.999
        ),
        checkpoint=CheckpointConfig(every=2000, validate_every=2000, validate_batches=8),
    )  # fmt: skip
