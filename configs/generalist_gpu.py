"""`generalist.py` for one GPU: the same data and tasks, 50 million parameters, rows of the same shape.

    UNITOK_DATA=DIR python train/main.py --config=configs/generalist_gpu.py

Not trained yet: sizes and learning rate are a plan.
"""

import dataclasses

from unitok.config import CheckpointConfig, Config, ModelConfig, OptimizerConfig
from unitok.configs import generalist


def get_config() -> Config:
    base = generalist.get_config()
    return dataclasses.replace(
        base,
        name="generalist_gpu",
        steps=20_000,
        model=ModelConfig(
            d_model=512, d_ff=1408, num_heads=8, encoder_layers=6, decoder_layers=6, dropout=0.1,
            dtype="bfloat16",
        ),
        data=dataclasses.replace(base.data, batch_size=96, prefetch=8),
        optimizer=OptimizerConfig(
            learning_rate=8e-4, warmup_steps=1000, weight_decay=0.05, ema_decay=0.999
        ),
        checkpoint=CheckpointConfig(every=1000, validate_every=1000, validate_batches=16),
        eval_items=2000,
    )  # fmt: skip
