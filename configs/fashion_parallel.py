"""Fashion-MNIST at 196 codes a picture, drawn in two ways by one model: token after token, and all places at once.

    UNITOK_DATA=DIR python train/main.py --config=configs/fashion_parallel.py

Data: the four idx .gz files in $UNITOK_DATA/fashion-mnist (60,000 train, 10,000 test; MIT). Half of the
examples are written in order (seq2seq), half have single codes masked (cross-modal, bidirectional), which is
what parallel decoding needs. `benchmarks/parallel_decoding.py --checkpoint=RUN` compares the two.

Cost: 75 s of training on one H100 (2,200 steps, 118 million tokens, 2.0 million a second); before it a fit of the
tokenizer (2 minutes on a CPU core) and the codes of 70,000 pictures (75 s on one). Result, 512 drawn: read as asked
by a CNN 82.4 % token after token (79.1 to 85.5), 89.5 % in 12 parallel passes (86.9 to 92.2), of reconstructions
91.0 %; the parallel ones vary less (docs/generation.md). On a machine of few cores: --config.data.workers=0.
"""

from unitok.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    FitConfig,
    LossConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    TokenizerConfig,
)
from unitok.configs import fashion_mnist
from unitok.configs.tasks import ask


def get_config() -> Config:
    template = ("Draw: {label:text}", "{image}")
    masked = ObjectiveConfig(kind="cross_modal", options={"bidirectional": 1.0})
    return Config(
        name="fashion_parallel",
        steps=2200,
        tokenizers={
            "text": TokenizerConfig(name="text"),
            "image": TokenizerConfig(
                name="image",
                options={"patch": 2, "codes": 256, "width": 32},
                fit=FitConfig(source="fashion", steps=800, batch_size=64, learning_rate=6e-3),
            ),
        },
        sources={"fashion": fashion_mnist.get_config().sources["fashion"]},
        tasks={
            "draw": ask("fashion", 1.0, template, metrics=["judge"]),
            "draw_masked": ask("fashion", 1.0, template, metrics=["judge"], objective=masked),
        },
        model=ModelConfig(
            d_model=256, d_ff=704, num_heads=4, encoder_layers=4, decoder_layers=4, dtype="bfloat16"
        ),
        # rows of four pictures: attention is over a whole row, and what packing would add is full already
        data=DataConfig(
            batch_size=64, encoder_length=32, decoder_length=816, prefetch=32, workers=5
        ),
        optimizer=OptimizerConfig(
            learning_rate=1.5e-3, warmup_steps=200, weight_decay=0.05, ema_decay=0.998
        ),
        loss=LossConfig(normalise="example"),
        checkpoint=CheckpointConfig(every=2200, keep=1, validate_every=550, validate_batches=8),
    )  # fmt: skip
