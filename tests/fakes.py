"""Small tokenizers that satisfy the Protocol, for tests of what is built on top of it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from unitok.interfaces import Tokenizer
from unitok.values import Audio, Image, Series
from unitok.vocabulary import Vocabulary


class Fake:
    modality = "fake"
    size = 256
    learned = False

    def encode(self, value: Any, context: Any = None, rng: Any = None) -> np.ndarray:
        raise NotImplementedError

    def decode(self, ids: np.ndarray, context: Any = None) -> Any:
        raise NotImplementedError

    def encode_batch(self, values: Any) -> list[np.ndarray]:
        return [self.encode(value) for value in values]

    def decode_batch(self, ids: Any) -> list[Any]:
        return [self.decode(one) for one in ids]

    def positions(self, ids: np.ndarray) -> np.ndarray:
        return np.repeat(np.arange(len(ids), dtype=np.int32)[:, None], 3, axis=1)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{type(self).__name__}{self.size}".encode()).hexdigest()[:16]

    def weights(self) -> dict[str, np.ndarray]:
        return {"w": np.ones(1)} if self.learned else {}


class FakeText(Fake):
    """One code a byte."""

    modality = "text"

    def encode(self, value: str, context: Any = None, rng: Any = None) -> np.ndarray:
        return np.frombuffer(value.encode(), np.uint8).astype(np.int32)

    def decode(self, ids: np.ndarray, context: Any = None) -> str:
        return bytes(np.asarray(ids, np.uint8)).decode("utf-8", errors="replace")


class FakeImage(Fake):
    """Height, width, then a code every `patch` pixels each way: grey, at 16 levels. Counts its encodings."""

    modality = "image"
    learned = True

    def __init__(self, patch: int = 2, levels: int = 16) -> None:
        self.patch, self.levels = patch, levels
        self.size = 64 + levels
        self.encoded = 0

    def encode(self, value: Image, context: Any = None, rng: Any = None) -> np.ndarray:
        self.encoded += 1
        grey = value.pixels[:: self.patch, :: self.patch, 0].astype(np.int32) * self.levels // 256
        return np.concatenate([grey.shape, 64 + grey.reshape(-1)]).astype(np.int32)

    def decode(self, ids: np.ndarray, context: Any = None) -> Image:
        ids = np.asarray(ids)
        if len(ids) < 2 or len(ids) != 2 + ids[0] * ids[1] or (ids[2:] < 64).any() or not ids[0]:
            raise ValueError("image: codes do not fill the grid")
        grey = (ids[2:] - 64).reshape(ids[0], ids[1]) * (256 // self.levels)
        return Image(grey.repeat(self.patch, 0).repeat(self.patch, 1).astype(np.uint8))

    def positions(self, ids: np.ndarray) -> np.ndarray:
        out = np.zeros((len(ids), 3), np.int32)
        if len(ids) > 2:
            place = np.arange(len(ids) - 2)
            out[2:, 1], out[2:, 2] = place // max(ids[1], 1), place % max(ids[1], 1)
        return out


class FakeAudio(Fake):
    """Four codes every 20 ms: the loudness there. As many as the house's audio tokenizer has, without its header."""

    modality = "audio"

    def encode(self, value: Audio, context: Any = None, rng: Any = None) -> np.ndarray:
        hop = value.rate // 50
        loud = np.abs(value.samples[: len(value.samples) // hop * hop]).reshape(-1, hop).max(axis=1)
        return np.minimum(loud * 255, 255).astype(np.int32).repeat(4)


class FakeSeries(Fake):
    """A code a step, at integer values of -100..100; with a context, the difference to its last value."""

    modality = "series"
    size = 512

    def encode(self, value: Series, context: Series | None = None, rng: Any = None) -> np.ndarray:
        base = 0 if context is None else int(context.values[-1, 0])
        return (value.values[:, 0].astype(np.int32) - base + 256).astype(np.int32)

    def decode(self, ids: np.ndarray, context: Series | None = None) -> Series:
        base = 0 if context is None else int(context.values[-1, 0])
        return Series((np.asarray(ids) - 256 + base).astype(np.float32))

    def positions(self, ids: np.ndarray) -> np.ndarray:
        out = np.zeros((len(ids), 3), np.int32)
        out[:, 0] = np.arange(len(ids))
        return out


def house() -> tuple[dict[str, Tokenizer], Vocabulary]:
    """Text, image and series tokenizers and the vocabulary they share."""
    tokenizers: dict[str, Any] = {"text": FakeText(), "image": FakeImage(), "series": FakeSeries()}
    rows = [(name, t.size, t.fingerprint) for name, t in tokenizers.items()]
    return tokenizers, Vocabulary.build(rows)
