"""Typed frozen dataclasses of a run. Every check names the field; everything survives JSON.

A config file defines `get_config() -> Config`. `config_cli.py` turns `--config.a.b=value` into
overrides; `to_dict` / `from_dict` are how a run's `config.json` is written and read back.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from unitok import metrics


class ConfigError(ValueError):
    """A config that cannot be: the message begins with the dotted name of the field."""


def _check(condition: bool, name: str, message: str) -> None:
    if not condition:
        raise ConfigError(f"{name}: {message}")


def _one_of(value: str, choices: tuple[str, ...], name: str) -> None:
    near = difflib.get_close_matches(str(value), choices, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    _check(value in choices, name, f"{value!r} is none of {', '.join(choices)}{hint}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The encoder-decoder. The defaults are T5 1.1 modernised; `t5()` gives T5's own layout."""

    d_model: int = 256
    d_ff: int = 704
    num_heads: int = 4
    num_kv_heads: int | None = None  # fewer than num_heads: grouped-query attention; None: as many
    head_dim: int | None = None  # None: d_model / num_heads
    encoder_layers: int = 4
    decoder_layers: int = 4
    activation: str = "silu"  # silu | gelu (tanh form) | relu
    gated: bool = True
    positions: str = "rope"  # rope (time, height, width axes) | relative_bias (T5)
    rope_theta: float = 10_000.0
    relative_buckets: int = 32
    relative_max_distance: int = 128
    qk_norm: bool = True
    scale_attention: bool = True  # divide logits by sqrt(head_dim); T5 does not
    modality_embedding: bool = True
    place_embedding: bool = True  # the encoder reads where in its own value each token lies
    tied_head: bool = True
    head_scale: bool = False  # T5's tied head multiplies by d_model ** -0.5
    norm_eps: float = 1e-6
    dropout: float = 0.0
    dtype: str = "float32"  # of matmuls: float32 | bfloat16; parameters and logits stay float32
    remat: bool = False
    scan_layers: bool | None = (
        None  # None: from 8 layers on (identical bits; unrolled is faster below)
    )

    def __post_init__(self) -> None:
        for name in ("d_model", "d_ff", "num_heads", "encoder_layers", "decoder_layers"):
            _check(
                getattr(self, name) > 0,
                f"model.{name}",
                f"want a positive number, got {getattr(self, name)}",
            )
        _check(
            self.head_dim is not None or self.d_model % self.num_heads == 0,
            "model.num_heads",
            f"{self.num_heads} heads do not divide d_model {self.d_model}; set model.head_dim",
        )
        _check(
            self.num_heads % self.kv_heads == 0,
            "model.num_kv_heads",
            f"{self.kv_heads} does not divide num_heads {self.num_heads}",
        )
        _one_of(self.activation, ("silu", "gelu", "relu"), "model.activation")
        _one_of(self.positions, ("rope", "relative_bias"), "model.positions")
        _one_of(self.dtype, ("float32", "bfloat16"), "model.dtype")
        _check(
            self.positions != "rope" or (self.head_size % 2 == 0 and self.head_size >= 8),
            "model.head_dim",
            f"rotary positions need an even head size of 8 or more, got {self.head_size}",
        )
        _check(0 <= self.dropout < 1, "model.dropout", f"want 0 <= dropout < 1, got {self.dropout}")

    @property
    def head_size(self) -> int:
        return self.head_dim or self.d_model // self.num_heads

    @property
    def kv_heads(self) -> int:
        return self.num_kv_heads or self.num_heads

    @classmethod
    def t5(cls, **sizes: Any) -> ModelConfig:
        """T5's own layout: relative bias, no QK-norm, unscaled attention, ReLU, tied scaled head, no modality or place embedding."""
        layout: dict[str, Any] = {
            "activation": "relu",
            "gated": False,
            "positions": "relative_bias",
            "qk_norm": False,
            "scale_attention": False,
            "modality_embedding": False,
            "place_embedding": False,
            "tied_head": True,
            "head_scale": True,
        }
        return cls(**{**layout, **sizes})


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Devices by axis. data = -1: whatever is left. fsdp shards parameters and batch, tensor shards heads and d_ff."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1

    def __post_init__(self) -> None:
        _check(
            self.data == -1 or self.data > 0,
            "mesh.data",
            f"want a positive number or -1, got {self.data}",
        )
        for name in ("fsdp", "tensor"):
            _check(
                getattr(self, name) > 0,
                f"mesh.{name}",
                f"want a positive number, got {getattr(self, name)}",
            )


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
        _check(self.steps > 0, "tokenizers.fit.steps", f"want a positive number, got {self.steps}")
        _check(
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

    path may hold ${NAME}: an environment variable. Splits are the reader's own names.
    """

    kind: str
    path: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    label_names: dict[str, list[str]] = field(
        default_factory=dict
    )  # field -> text of integer labels


@dataclass(frozen=True, kw_only=True)
class Template:
    """A sentence pair with fields: `{field}`, `{field:modality}` or `{field:modality@context}`."""

    inputs: str
    targets: str


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """How a tokenized example becomes (inputs, targets). kind names a function of `objectives.py`."""

    kind: str = "seq2seq"  # seq2seq | prefix | next_token | span_corruption | cross_modal
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _one_of(
            self.kind,
            ("seq2seq", "prefix", "next_token", "span_corruption", "cross_modal"),
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
    """

    source: str  # name in Config.sources
    templates: list[Template]
    held_out_templates: list[Template] = field(default_factory=list)
    objective: ObjectiveConfig = ObjectiveConfig()
    weight: float = 1.0
    metrics: list[str] = field(default_factory=list)
    yardstick: dict[str, Yardstick] = field(default_factory=dict)
    condition_dropout: float = (
        0.0  # share of examples whose inputs are emptied (classifier-free guidance)
    )
    input_noise: float = (
        0.0  # training: up to this share of the inputs' value codes is hidden (MASK)
    )
    eval_items: int | None = None  # None: the whole test split
    train_split: str = "train"
    eval_split: str = "test"

    def __post_init__(self) -> None:
        _check(len(self.templates) > 0, "tasks.templates", "want at least one template")
        _check(self.weight >= 0, "tasks.weight", f"want 0 or more, got {self.weight}")
        for name in self.metrics:
            _one_of(name, tuple(metrics.NAMES), "tasks.metrics")
        for name in self.yardstick:
            _one_of(name, tuple(metrics.NAMES), "tasks.yardstick")
        _check(
            0 <= self.condition_dropout < 1,
            "tasks.condition_dropout",
            f"want 0 <= p < 1, got {self.condition_dropout}",
        )
        _check(
            0 <= self.input_noise < 1,
            "tasks.input_noise",
            f"want 0 <= share < 1, got {self.input_noise}",
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
    prefetch: int = 4

    def __post_init__(self) -> None:
        for name in ("batch_size", "window", "streams"):
            _check(
                getattr(self, name) > 0,
                f"data.{name}",
                f"want a positive number, got {getattr(self, name)}",
            )
        _check(
            self.batch_size % self.streams == 0,
            "data.streams",
            f"{self.streams} streams do not divide batch_size {self.batch_size}",
        )
        _check(
            self.temperature > 0,
            "data.temperature",
            f"want a positive number, got {self.temperature}",
        )
        _one_of(self.too_long, ("drop", "refuse"), "data.too_long")


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
        _one_of(self.name, ("adamw", "adafactor"), "optimizer.name")
        _one_of(self.schedule, ("cosine", "rsqrt", "constant"), "optimizer.schedule")
        _check(
            self.learning_rate > 0,
            "optimizer.learning_rate",
            f"want a positive number, got {self.learning_rate}",
        )
        _check(
            self.accumulate > 0,
            "optimizer.accumulate",
            f"want a positive number, got {self.accumulate}",
        )
        _check(
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
        _one_of(self.normalise, ("modality", "example", "token"), "loss.normalise")
        _check(
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
            _check(
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

    def __post_init__(self) -> None:
        _check(self.steps > 0, "steps", f"want a positive number, got {self.steps}")
        _check(bool(self.tokenizers), "tokenizers", "want at least one")
        _check(
            any(task.weight > 0 for task in self.tasks.values()),
            "tasks",
            "want at least one task of positive weight",
        )
        for name, task in self.tasks.items():
            _check(
                task.source in self.sources,
                f"tasks.{name}.source",
                f"no source {task.source!r}; there are {', '.join(self.sources)}",
            )
        for name, tokenizer in self.tokenizers.items():
            if tokenizer.fit is not None:
                _check(
                    tokenizer.fit.source in self.sources,
                    f"tokenizers.{name}.fit.source",
                    f"no source {tokenizer.fit.source!r}; there are {', '.join(self.sources)}",
                )


def to_dict(config: Any) -> dict[str, Any]:
    """The config as JSON-able dicts, lists and scalars."""
    return dataclasses.asdict(config)


def from_dict(cls: type, data: Any, name: str = "config") -> Any:
    """The inverse of `to_dict`. Raises ConfigError with the dotted name and the nearest right one."""
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: want the fields of {cls.__name__}, got {data!r}")
    hints = typing.get_type_hints(cls)
    for key in data:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, 1)
            raise ConfigError(
                f"{name}.{key}: no such field; "
                + (f"did you mean {name}.{near[0]}?" if near else f"there are {', '.join(hints)}")
            )
    values = {key: convert(value, hints[key], f"{name}.{key}") for key, value in data.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from None


def convert(value: Any, hint: Any, name: str) -> Any:
    """`value` (from JSON) as the annotated type `hint`. Raises ConfigError naming the field."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return convert(value, next(a for a in args if a is not type(None)), name)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value, name)
    if origin is dict:
        _check(isinstance(value, dict), name, f"want a mapping, got {value!r}")
        return {key: convert(item, args[1], f"{name}.{key}") for key, item in value.items()}
    if origin is list:
        _check(isinstance(value, (list, tuple)), name, f"want a list, got {value!r}")
        return [convert(item, args[0], f"{name}[{i}]") for i, item in enumerate(value)]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    _check(
        isinstance(value, hint) and not (hint in (int, float) and isinstance(value, bool)),
        name,
        f"want {hint.__name__}, got {value!r}",
    )
    return value
