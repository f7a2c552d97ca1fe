"""The configs of the model and of the devices it lies on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unitok.config_json import check, one_of


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
    place_embedding: bool = (
        True  # reads where in its value (encoder) or target (decoder) each token lies
    )
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
            check(
                getattr(self, name) > 0,
                f"model.{name}",
                f"want a positive number, got {getattr(self, name)}",
            )
        check(
            self.head_dim is not None or self.d_model % self.num_heads == 0,
            "model.num_heads",
            f"{self.num_heads} heads do not divide d_model {self.d_model}; set model.head_dim",
        )
        check(
            self.num_heads % self.kv_heads == 0,
            "model.num_kv_heads",
            f"{self.kv_heads} does not divide num_heads {self.num_heads}",
        )
        one_of(self.activation, ("silu", "gelu", "relu"), "model.activation")
        one_of(self.positions, ("rope", "relative_bias"), "model.positions")
        one_of(self.dtype, ("float32", "bfloat16"), "model.dtype")
        check(
            self.positions != "rope" or (self.head_size % 2 == 0 and self.head_size >= 8),
            "model.head_dim",
            f"rotary positions need an even head size of 8 or more, got {self.head_size}",
        )
        check(0 <= self.dropout < 1, "model.dropout", f"want 0 <= dropout < 1, got {self.dropout}")

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
        check(
            self.data == -1 or self.data > 0,
            "mesh.data",
            f"want a positive number or -1, got {self.data}",
        )
        for name in ("fsdp", "tensor"):
            check(
                getattr(self, name) > 0,
                f"mesh.{name}",
                f"want a positive number, got {getattr(self, name)}",
            )
