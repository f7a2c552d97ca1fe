"""What the probes ask for: contrastive pairs, wordings and tasks held out of training, one question to two inputs.

    python train/main.py --config=configs/probes.py
    python eval/main.py --checkpoint=runs/probes --probes=all

Data, nothing downloaded: as in `configs/demo.py`. `counts` joins a digit from 1 to 4 with as many beeps, spikes and
parts of a graph; `likenesses` two sounds of beeps, alike in nothing but chance.

Held out of training, all of weight 0:
    count_parts      "How many?" of a graph: the question is trained with sounds, curves and digits, the graph
                     under another question
    count_two        "How many?" of a curve and a sound at once: each is trained alone, or beside a digit
    spell            a digit as a word: the word is read in training, never written for a picture
    pitch            how high beeps are: trained as a part of a caption, never asked alone. Few-shot, its prompts
                     look as those of `by_example`, where a solved example alone tells what is asked
and one wording each of recognise, hear, describe_curve, family and count. Of these recognise, family and count are trained
with up to four solved examples before the question.

Contrastive: counts, five modalities of which each is pulled to the number's word and never to another; captions of
sounds, of curves; graphs to their degrees.

Cost: 1,300 steps take 25 minutes on one CPU core at the 5,700 tokens a second of its best; these results are of a run on an
H100 that other work shared. All probes together took an hour on a busy core.
Result, 128 test items each: a digit finds as many beeps at once in 100 % of cases (chance 25 %), though the two were never
a pair; wordings held out cost nothing for four tasks, and one wording was taken for another task (count: 0 % freely, 67.2 %
among the known answers; 100 % in an earlier run); of the held-out tasks count_two reaches 94.5 %, count_parts 64.8 % among
the known answers (commonest 21.1 %; freely 25.8 %), spell and pitch nothing: 0 % freely. Solved examples in the prompt do no
harm where training shows such prompts (recognise 96.9 %; without, it fell to 26.5 %), do harm elsewhere (hear 100 to
60.2 %), and teach no new task. The tables are in docs/probes.md.
"""

from functools import partial
from typing import Any

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
from unitok.configs import tasks
from unitok.configs.demo import made, part
from unitok.configs.digits import DIGITS, WORDS, digits

ask = partial(tasks.ask, eval_items=200)
SAME = ObjectiveConfig(kind="contrastive", options={"temperature": 0.1})


def beeps(side: str, seed: int) -> dict[str, Any]:
    """One side of `likenesses`: sounds of beeps whose fields end in `_side`."""
    fields = {f"{name}_{side}": name for name in ("audio", "count", "caption", "pitch")}
    return {
        "kind": "synthetic",
        "options": {
            "name": "sounds", "size": 2000, "kinds": ["beeps"], "seed": seed, "test_share": 0.2,
            "fields": {"kind": "kind", **fields},
        },
    }  # fmt: skip


def get_config() -> Config:
    counts = SourceConfig(
        kind="join",
        options={
            "on": "label",
            "size": 2000,
            "parts": [
                part("sklearn", "label", "image", name="digits", seed=0, stratify="label"),
                part("synthetic", "count", "audio", name="sounds", size=2000, kinds=["beeps"]),
                part("synthetic", "count", "series", name="curves", size=2000, kinds=["spikes"]),
                part("synthetic", "num_components", "graph", name="graphs", size=2000, kinds=["parts"]),
            ],
            "derive": {"word": "label"},
        },
        label_names={"word": WORDS},
        about=f"{DIGITS}, joined by number with sounds, curves and graphs made from a seed",
        licence="CC BY 4.0 (digits); Apache-2.0",
    )  # fmt: skip
    hidden: dict[str, Any] = {"input_noise": 0.4}
    return Config(
        name="probes",
        steps=1300,
        tokenizers={
            "text": TokenizerConfig(name="text"),
            "image": TokenizerConfig(
                name="image",
                options={"patch": 2, "codes": 128},
                fit=FitConfig(source="digits", steps=800, batch_size=128),
            ),
            "audio": TokenizerConfig(name="audio"),
            "series": TokenizerConfig(name="series"),
            "graph": TokenizerConfig(name="graph"),
        },
        sources={
            "digits": digits(copies=6),
            "sounds": made("sounds", 4000),
            "beeps": made("sounds", 3000, kinds=["beeps"]),
            "curves": made("curves", 4000),
            "seasons": made("curves", 4000, kinds=["seasons"]),
            "families": made("graphs", 4000, kinds=["families"]),
            "counts": counts,
            "likenesses": SourceConfig(
                kind="join",
                options={"on": "kind", "size": 4000, "parts": [beeps("a", 1), beeps("b", 2)]},
                about="pairs of sounds made from a seed by unitok/data/synthetic.py",
                licence="Apache-2.0, like the code that makes them",
            ),
        },
        tasks={
            "recognise": ask(
                "digits", 3.0,
                ("Which digit is this? {image}", "{label:text}"),
                ("{image} Read the digit.", "{label:text}"),
                ("Name the number in the picture: {image}", "{label:text}"),
                ("{image} What digit was written?", "{label:text}"),
                unseen="{image} What number do you see?", metrics=["accuracy"], shots=4, **hidden,
            ),
            "hear": ask(
                "sounds", 1.2,
                ("What do you hear? {audio}", "{caption:text}"),
                ("{audio} Describe the sound.", "{caption:text}"),
                ("Listen: {audio} What was it?", "{caption:text}"),
                unseen="{audio} Say what you hear.", metrics=["accuracy"], **hidden,
            ),
            "describe_curve": ask(
                "curves", 1.2,
                ("Describe the curve: {series}", "{caption:text}"),
                ("{series} How does it go?", "{caption:text}"),
                ("Look at the curve. {series}", "{caption:text}"),
                unseen="{series} Describe how it goes.", metrics=["accuracy"], **hidden,
            ),
            "family": ask(
                "families", 1.2,
                ("Which family is this graph of? {graph}", "{family:text}"),
                ("{graph} What kind of graph?", "{family:text}"),
                ("Name the graph: {graph}", "{family:text}"),
                unseen="{graph} Which kind is this graph?", metrics=["accuracy"], shots=4, **hidden,
            ),
            "forecast": ask(
                "seasons", 0.7,
                ("Continue: {past:series}", "{future:series@past}"),
                metrics=["mase", "wql", "mse", "coverage"],
            ),
            # ---- one question to any modality, and to two at once
            "count": ask(
                "counts", 1.2,
                ("How many? {audio}", "{label:text}"),
                ("How many? {series}", "{label:text}"),
                ("{audio} Count.", "{label:text}"),
                ("{series} Count.", "{label:text}"),
                unseen="{audio} How many are there?", metrics=["accuracy"], shots=4,
            ),
            "count_both": ask(
                "counts", 1.0,
                ("How many? {image} {audio}", "{label:text}"),
                ("{image} {audio} Count.", "{label:text}"),
                metrics=["accuracy"], **hidden,
            ),
            "count_parts": ask(
                "counts", 0.0,
                ("How many? {graph}", "{label:text}"),
                ("{graph} Count.", "{label:text}"),
                metrics=["accuracy"],
            ),
            "count_two": ask(
                "counts", 0.0,
                ("How many? {series} {audio}", "{label:text}"),
                metrics=["accuracy"],
            ),
            "spell": ask(
                "digits", 0.0,
                ("Which digit is this, in letters? {image}", "{word:text}"),
                metrics=["accuracy"],
            ),
            # ---- a solved example tells what is asked
            "by_example": ask(
                "likenesses", 1.0,
                ("{audio_a:audio} {count_a:text}\n{audio_b:audio}", "{count_b:text}"),
                ("{audio_a:audio} {caption_a:text}\n{audio_b:audio}", "{caption_b:text}"),
                metrics=["accuracy"],
            ),
            "pitch": ask("beeps", 0.0, ("{audio}", "{pitch:text}"), metrics=["accuracy"]),
            # ---- what belongs together
            "same_number": ask(
                "counts", 3.0,
                ("{image}", "{word:text}"),
                ("{audio}", "{word:text}"),
                ("{series}", "{word:text}"),
                ("{graph}", "{word:text}"),
                metrics=[], objective=SAME,
            ),
            "same_sound": ask(
                "sounds", 1.5, ("{audio}", "{caption:text}"), metrics=[], objective=SAME
            ),
            "same_curve": ask(
                "curves", 1.5, ("{series}", "{caption:text}"), metrics=[], objective=SAME
            ),
            "same_graph": ask(
                "families", 1.5, ("{graph}", "{degrees:series}"), metrics=[], objective=SAME
            ),
        },
        model=ModelConfig(
            d_model=128, d_ff=384, num_heads=4, encoder_layers=3, decoder_layers=3, dropout=0.1,
            dtype="bfloat16",
        ),
        data=DataConfig(batch_size=16),
        loss=LossConfig(normalise="example"),
        optimizer=OptimizerConfig(
            learning_rate=1.5e-3, warmup_steps=100, weight_decay=0.05, ema_decay=0.997
        ),
        checkpoint=CheckpointConfig(every=500, validate_every=250, validate_batches=4),
        report=True,
        eval_probes=["none"],  # minutes: asked by the second command above
    )  # fmt: skip
