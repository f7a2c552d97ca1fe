"""What is asked of a trained model, and what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unitok import grammar
from unitok.errors import InputError
from unitok.sequence import Segment

METHODS = ("autoregressive", "parallel")


def want(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of the model. Raises InputError naming the field.

    prompt: text with fields, "Which digit? {image}", "{before:image} or {after:image}"; None: the
    fields in order, with nothing between them. fields: their values by name.
    to: a modality, "text+image" (text with images inside), "mixed", or "series@past": the target is
    encoded in the context of the field `past`.
    temperature: 0 is greedy; None: 0 for one text, else 1. max_new_tokens: budget of new tokens, EOS
    counted; None: 256, or what the target needs. guidance: classifier-free, 1 is none.
    top_k (0: all), top_p (1: all), min_p (0: all), repetition_penalty (1: none).
    beams: beam search with length_penalty (exponent), the `num_samples` best are returned.
    method: "autoregressive" or "parallel" (masked, in `steps` passes, for targets of fixed length).
    constraints: what the target's tokenizer documents for `grammar`: height and width, choices, ...
    """

    prompt: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    to: str = grammar.TEXT
    num_samples: int = 1
    temperature: float | None = None
    max_new_tokens: int | None = None
    guidance: float = 1.0
    seed: int = 0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    beams: int = 1
    length_penalty: float = 0.0
    method: str = "autoregressive"
    steps: int = 12
    constraints: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        def bounds(name: str, low: float, high: float = math.inf, above: bool = False) -> None:
            value = getattr(self, name)
            number = isinstance(value, (int, float, np.number)) and math.isfinite(value)
            inside = number and (low < value if above else low <= value) and value <= high
            wanted = f"{'more than' if above else 'at least'} {low:g}"
            wanted += f" and at most {high:g}" if high < math.inf else ""
            want(inside, f"{name}: want {wanted}, got {value!r}")

        for name in ("num_samples", "beams", "steps"):
            bounds(name, 1)
        for name in ("guidance", "seed", "top_k", "length_penalty"):
            bounds(name, 0)
        bounds("top_p", 0, 1, above=True)
        bounds("min_p", 0, 1)
        bounds("repetition_penalty", 0, above=True)
        if self.temperature is not None:
            bounds("temperature", 0)
        if self.max_new_tokens is not None:
            bounds("max_new_tokens", 1)
        want(self.method in METHODS, f"method: {self.method!r} is none of {', '.join(METHODS)}")
        if self.beams > 1:
            plain = self.guidance == 1 and self.repetition_penalty == 1 and not self.temperature
            want(
                plain and self.method == "autoregressive",
                "beams: beam search takes no temperature, guidance, repetition_penalty or parallel "
                "method; drop them, or set beams=1",
            )
            want(
                self.num_samples <= self.beams,
                f"num_samples: {self.num_samples} of {self.beams} beams; ask for more beams",
            )

    @property
    def target(self) -> str:
        """Modality, or mixture, without the context's field."""
        return self.to.partition("@")[0]

    @property
    def warmth(self) -> float:
        if self.temperature is not None:
            return float(self.temperature)
        one_text = self.target == grammar.TEXT and self.num_samples == 1
        return 0.0 if one_text or self.beams > 1 else 1.0


@dataclass(frozen=True)
class Output:
    """One sample. value: str, Image, ... or, where the target is mixed, the list of values in order;
    ids: what was generated, EOS included; log_prob: nats, as `Predictor.score` gives."""

    value: Any
    segments: list[Segment]
    log_prob: float
    ids: np.ndarray
