"""Typed frozen dataclasses of a run. Every check names the field; everything survives JSON.

A config file defines `get_config() -> Config`. `config_cli.py` turns `--config.a.b=value` into
overrides; `to_dict` / `from_dict` are how a run's `config.json` is written and read back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from unitok import metrics
from unitok.config_json import ConfigError, as_read_back, check, convert, from_dict, one_of, to_dict
from unitok.config_model import MeshConfig, ModelConfig

__all__ = [
    "CheckpointConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "FitConfig",
    "LossConfig",
    "MeshConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "SourceConfig",
    "TaskConfig",
    "Template",
    "TokenizerConfig",
    "Yardstick",
    "as_read_back",
    "convert",
    "from_dict",
    "to_dict",
]


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a learned tokenizer is fitted: on `field` of `source`'s training split."""

    source: str = ""  # name in Config.sources
    field: str = "image"
    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 2e-3
    limit: int | None = None  # use so many training items at the most
    seed: int = 0

    def __post_init__(self) -> None:
        check(self.steps > 0, "tokenizers.fit.steps", f"want a positive number, got {self.steps}")
        check(
            self.batch_size > 0,
            "tokenizers.fit.batch_size",
            f"want a positive number, got {self.batch_size}",
        )


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """One block of the vocabulary. name: registered tokenizer; path: a fitted folder; else its default, or `fit`."""

    name: str
    path: str | None = None
    options: dict[str, Any] = field(
        default_factory=dict
    )  # constructor options of a tokenizer to be fitted or built
    fit: FitConfig | None = None


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One data set as data: which reader, where, which fields, which split rule. `options` go to the reader.

    about: what it is and where from; licence: the terms its owner gives; both are quoted in the model card.
    path may hold ${NAME}: an environment variable. Splits are the reader's own names.
    """

    kind: str
    path: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    label_names: dict[str, list[str]] = field(
        default_factory=dict
    )  # field -> text of integer labels
    about: str = ""
    licence: str = ""


@dataclass(frozen=True, kw_only=True)
class Template:
    """A sentence pair with fields: `{field}`, `{field:modality}` or `{field:modality@context}`."""

    inputs: str
    targets: str


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """How a tokenized example becomes (inputs, targets). kind names a function of `objectives.py`."""

    kind: str = (
        "seq2seq"  # seq2seq | prefix | next_token | span_corruption | cross_modal | contrastive
    )
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of(
            self.kind,
            ("seq2seq", "prefix", "next_token", "span_corruption", "cross_modal", "contrastive"),
            "objective.kind",
        )


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """A published result to stand beside a score: its value (a share for per cent) and where it is from."""

    value: float
    source: str


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """Source + templates + objective + metrics, with its weight in the mixture.

    metrics: names of `unitok.metrics.NAMES`; [] for what suits the target. yardstick: by such a name.
    shows: what a generated value has to show, with the record's field that says so: "judge" (its label, as
    a reader trained on real values sees it), "count" (how many bursts of sound or spikes of a curve), or a
    property of graphs ("num_components").
    shots: training: up to so many solved examples of the training split stand before the question, their number
    and choice drawn anew each time; encoder rows have to hold them.
    """

    source: str  # name in Config.sources
    templates: list[Template]
    held_out_templates: list[Template] = field(default_factory=list)
    objective: ObjectiveConfig = ObjectiveConfig()
    weight: float = 1.0
    metrics: list[str] = field(default_factory=list)
    yardstick: dict[str, Yardstick] = field(default_factory=dict)
    shows: dict[str, str] = field(default_factory=dict)
    condition_dropout: float = (
        0.0  # share of examples whose inputs are emptied (classifier-free guidance)
    )
    input_noise: float = 0.0  # training: up to this share of the inputs' value codes is MASK
    shots: int = 0
    random_order: bool = (
        True  # training: of graphs and boxes; else the canonical one, whose codes are kept on disk
    )
    eval_items: int | None = None  # None: the whole test split
    eval_temperature: float = 1.0  # of values that evaluation samples; 0: greedy
    eval_min_p: float = 0.0  # of them: tokens below this share of the likeliest are not drawn
    train_split: str = "train"
    eval_split: str = "test"

    def __post_init__(self) -> None:
        check(len(self.templates) > 0, "tasks.templates", "want at least one template")
        check(self.weight >= 0, "tasks.weight", f"want 0 or more, got {self.weight}")
        for name in self.metrics:
            one_of(name, tuple(metrics.NAMES), "tasks.metrics")
        for name in self.yardstick:
            one_of(name, tuple(metrics.NAMES), "tasks.yardstick")
        check(
            0 <= self.condition_dropout < 1,
            "tasks.condition_dropout",
            f"want 0 <= p < 1, got {self.condition_dropout}",
        )
        check(
            0 <= self.eval_temperature <= 100,
            "tasks.eval_temperature",
            f"want 0 to 100, got {self.eval_temperature}",
        )
        check(
            0 <= self.eval_min_p < 1,
            "tasks.eval_min_p",
            f"want 0 <= share < 1, got {self.eval_min_p}",
        )
        check(
            0 <= self.input_noise < 1,
            "tasks.input_noise",
            f"want 0 <= share < 1, got {self.input_noise}",
        )
        check(self.shots >= 0, "tasks.shots", f"want 0 or more, got {self.shots}")
        check(
            not self.shots or self.objective.kind == "seq2seq",
            "tasks.shots",
            f"solved examples stand before a question, and {self.objective.kind} asks none; use seq2seq",
        )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Mixing, packing and batching. Rows of `encoder_length` + `decoder_length` tokens."""

    batch_size: int = 16  # packed rows a step, over all processes
    encoder_length: int | None = None  # None: chosen from the mixture's length histogram
    decoder_length: int | None = None
    temperature: float = 1.0  # weight ** (1 / temperature)
    window: int = 1000  # examples packed together
    streams: int = (
        1  # independent logical streams; processes share them out, so their count may change
    )
    too_long: str = "drop"  # drop (counted by task) | refuse
    cache_dir: str | None = (
        None  # tokens of learned tokenizers, keyed by fingerprint; None: inside the workdir
    )
    prefetch: int = 4  # batches read ahead
    # processes that read ahead, each with a copy of the sources: as many as cores where an accelerator
    # trains faster than one core tokenizes and packs (some 70,000 tokens a second); 0: two threads
    workers: int = 0

    def __post_init__(self) -> None:
        check(self.workers >= 0, "data.workers", f"want 0 or more, got {self.workers}")
        for name in ("batch_size", "window", "streams"):
            check(
                getattr(self, name) > 0,
                f"data.{name}",
                f"want a positive number, got {getattr(self, name)}",
            )
        check(
            self.batch_size % self.streams == 0,
            "data.streams",
            f"{self.streams} streams do not divide batch_size {self.batch_size}",
        )
        check(
            self.temperature > 0,
            "data.temperature",
            f"want a positive number, got {self.temperature}",
        )
        one_of(self.too_long, ("drop", "refuse"), "data.too_long")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    name: str = "adamw"  # adamw | adafactor
    learning_rate: float = 1e-3
    schedule: str = "cosine"  # cosine | rsqrt | constant
    warmup_steps: int = 100
    final_share: float = 0.1  # of the peak, at the last step of the cosine
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-8
    clip_norm: float = 1.0
    accumulate: int = 1  # micro-batches a step
    ema_decay: float = 0.0  # 0: no EMA of the weights

    def __post_init__(self) -> None:
        one_of(self.name, ("adamw", "adafactor"), "optimizer.name")
        one_of(self.schedule, ("cosine", "rsqrt", "constant"), "optimizer.schedule")
        check(
            self.learning_rate > 0,
            "optimizer.learning_rate",
            f"want a positive number, got {self.learning_rate}",
        )
        check(
            self.accumulate > 0,
            "optimizer.accumulate",
            f"want a positive number, got {self.accumulate}",
        )
        check(
            0 <= self.ema_decay < 1,
            "optimizer.ema_decay",
            f"want 0 <= decay < 1, got {self.ema_decay}",
        )


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    z_loss: float = 1e-4  # Chowdhery et al. 2022, PaLM
    # modality: mean over each target modality's tokens, then summed by share | example: mean over each
    # example's tokens | token: all tokens alike
    normalise: str = "modality"
    label_smoothing: float = 0.0
    chunk_rows: int | None = (
        None  # fused row-chunked cross entropy; None: from 16k vocabulary rows on
    )

    def __post_init__(self) -> None:
        one_of(self.normalise, ("modality", "example", "token"), "loss.normalise")
        check(
            0 <= self.label_smoothing < 1,
            "loss.label_smoothing",
            f"want 0 <= x < 1, got {self.label_smoothing}",
        )


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    every: int = 500  # steps
    keep: int = 3  # newest steps kept, besides the best
    validate_every: int = 250
    validate_batches: int = 8

    def __post_init__(self) -> None:
        for name in ("every", "keep", "validate_every", "validate_batches"):
            check(
                getattr(self, name) > 0,
                f"checkpoint.{name}",
                f"want a positive number, got {getattr(self, name)}",
            )


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run. Tokenizers are listed in the order of their vocabulary blocks."""

    name: str
    steps: int
    seed: int = 0
    model: ModelConfig = ModelConfig()
    mesh: MeshConfig = MeshConfig()
    tokenizers: dict[str, TokenizerConfig] = field(default_factory=dict)
    sources: dict[str, SourceConfig] = field(default_factory=dict)
    tasks: dict[str, TaskConfig] = field(default_factory=dict)
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    init_from: str | None = (
        None  # start from this run's newest parameters, with this config's mixture
    )
    workdir: str | None = None  # None: runs/NAME
    report: bool = False  # evaluate and write the report when training ends
    eval_items: int | None = None  # a cap on every task's evaluated items
    eval_probes: list[str] | None = None  # of the report; None: the cheap ones; ["all"], ["none"]

    def __post_init__(self) -> None:
        check(self.steps > 0, "steps", f"want a positive number, got {self.steps}")
        check(bool(self.tokenizers), "tokenizers", "want at least one")
        check(
            any(task.weight > 0 for task in self.tasks.values()),
            "tasks",
            "want at least one task of positive weight",
        )
        for name, task in self.tasks.items():
            check(
                task.source in self.sources,
                f"tasks.{name}.source",
                f"no source {task.source!r}; there are {', '.join(self.sources)}",
            )
        for name, tokenizer in self.tokenizers.items():
            if tokenizer.fit is not None:
                check(
                    tokenizer.fit.source in self.sources,
                    f"tokenizers.{name}.fit.source",
                    f"no source {tokenizer.fit.source!r}; there are {', '.join(self.sources)}",
                )
