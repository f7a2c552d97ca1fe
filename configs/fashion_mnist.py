"""Fashion-MNIST: label, draw, complete and describe 28 x 28 pictures of clothes.

    UNITOK_DATA=DIR python train/main.py --config=configs/fashion_mnist.py

Data: the four idx .gz files in $UNITOK_DATA/fashion-mnist (60,000 train, 10,000 test; MIT), or,
with --config.sources.fashion.kind=tfds --config.sources.fashion.path=fashion_mnist, from
TensorFlow Datasets.

Cost: 45 minutes on ONE CPU core (2,600 steps, 5,600 tokens a second in bf16; the other core was busy), the fit
of the tokenizer (40 s) not counted. Result on all 10,000 test images (95 % interval): garments named 88.8 %
(88.2 to 89.4), under a wording never seen in training 88.8 % (88.1 to 89.4). On the first 2,000: drawn garments
recognised by a CNN 92.7 % (it reads 88.2 % of the real images and 85.3 % of the tokenizer's reconstructions);
half a picture completed at 13.03 dB (most frequent codes: 10.62, tokenizer: 23.96); described 88.0 %. Of these
2,000 alone it names 87.3 %.
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
    SourceConfig,
    TokenizerConfig,
)
from unitok.configs.tasks import ask

NAMES = [
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
]  # fmt: skip


def get_config() -> Config:
    fashion = SourceConfig(
        kind="idx",
        path="${UNITOK_DATA}/fashion-mnist",
        label_names={"label": NAMES},
        about="Fashion-MNIST, Xiao et al. 2017, Zalando",
        licence="MIT",
    )
    return Config(
        name="fashion_mnist",
        steps=2600,
        tokenizers={
            "text": TokenizerConfig(name="text"),
            "image": TokenizerConfig(
                name="image",
                options={"patch": 4, "codes": 512, "width": 48, "dim": 16},
                fit=FitConfig(source="fashion", steps=1200, batch_size=64, learning_rate=6e-3),
            ),
        },
        sources={"fashion": fashion},
        tasks={
            "label": ask(
                "fashion", 5.0,
                ("What is this? {image}", "{label:text}"),
                ("{image} Name the garment.", "{label:text}"),
                ("Which garment do you see? {image}", "{label:text}"),
                ("{image} Say what is shown.", "{label:text}"),
                ("Classify the clothes: {image}", "{label:text}"),
                unseen="Which piece of clothing is shown? {image}", metrics=["accuracy"],
            ),
            "draw": ask(
                "fashion", 1.7,
                ("Draw: {label:text}", "{image}"),
                ("A picture of one {label:text}", "{image}"),
                metrics=["judge"], condition_dropout=0.1,
            ),
            "complete": ask(
                "fashion", 0.25,
                ("Complete the picture.", "{image}"),
                metrics=["psnr"], objective=ObjectiveConfig(kind="prefix"),
            ),
            "caption": ask(
                "fashion", 0.25,
                ("Describe the picture: {image}", "a small grey picture of one {label:text}"),
                metrics=["exact_match"],
            ),
        },
        model=ModelConfig(
            d_model=128,
            d_ff=384,
            num_heads=4,
            encoder_layers=3,
            decoder_layers=3,
            dtype="bfloat16",
        ),
        data=DataConfig(batch_size=8),
        optimizer=OptimizerConfig(
            learning_rate=1.5e-3, warmup_steps=200, weight_decay=0.05, ema_decay=0.998
        ),
        loss=LossConfig(normalise="example"),
        checkpoint=CheckpointConfig(every=500, validate_every=250, validate_batches=6),
        report=True,
        eval_items=2000,
    )  # fmt: skip
