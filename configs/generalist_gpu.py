"""`generalist.py` for one GPU: 27 million parameters, the same tasks, weighed for some ten times the tokens.

    UNITOK_DATA=DIR python train/main.py --config=configs/generalist_gpu.py

What differs besides size: small sets weigh less, as they are seen tens of times anyway; ETTh1 shows 336 hours of
past, as DLinear's published score has, and its windows are mixed (TSMixup), as its year of training is soon known by heart.

Cost: 6.4 minutes of training on one H100 (80 GB) with 16 cores, 1.4 million useful tokens a second at best and 0.93
million on average, an evaluation on the same card for most of the time. That was of 8,878 of 9,519 steps, in two goes,
359 million tokens. Result, 500 items a task at the most: above their trivial baselines all but exchange-rate (MSE 0.108;
repeat-last 0.098) and SciTLDR (ROUGE-L 9.0 %, one sentence for all 8.9 %), among them garments 88.8 %, questions about
pictures 99.6 %, UCR 82.4 %, PTC 67.6 %, ESOL RMSE 0.76, QM9 98.2 % written and 83.8 % built, ETTh1 MSE 0.528
(repeat-last 1.26, seasonal naive 0.511). Small text sets were learned by heart: loss on unseen text was least after
2,000 steps, on unseen speech at the first look. The whole table is in the README.
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
        steps=9519,
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
