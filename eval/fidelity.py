"""What a tokenizer does to a value: tokens, bits, fidelity, and the classical codec at the same bits.

One small function a modality, found in `MEASURES`; another modality joins by one more entry.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unitok.eval import classical
from unitok.eval.classical import Rival
from unitok.interfaces import Tokenizer
from unitok.metrics import audio as sound
from unitok.metrics import images as pictures
from unitok.metrics import series as curves
from unitok.values import Audio, Boxes, Graph, Image, Series


@dataclass(frozen=True)
class Item:
    """One value through a tokenizer. rate: bits in the field's own measure; scores: name -> (value, unit)."""

    tokens: int
    bits: float
    rate: tuple[float, str]
    scores: dict[str, tuple[float, str]]
    rivals: list[Rival]
    reconstruction: Any
    original: Any  # what the scores compare with: sound is compared at the tokenizer's own rate

    @property
    def fidelity(self) -> str:
        return ", ".join(spell(name, *score) for name, score in self.scores.items())


def spell(name: str, value: float, unit: str) -> str:
    if unit == "flag":
        return name if value else f"not {name}"
    shown = "inf" if np.isinf(value) else f"{value:.3f}" if unit == "" else f"{value:.1f}"
    return f"{name} {shown} {unit}".strip()


def measure(tokenizer: Tokenizer, value: Any) -> Item:
    """Encode, decode, compare. Raises ValueError (ValueRefused) for a value the tokenizer does not take."""
    ids = tokenizer.encode(value)
    back = tokenizer.decode(ids)
    bits = tokenizer.bits_per_item(value)
    return MEASURES[tokenizer.modality](tokenizer, value, back, len(ids), bits)


def _image(tokenizer: Tokenizer, value: Image, back: Image, tokens: int, bits: float) -> Item:
    scores = {
        "PSNR": (pictures.psnr(value.pixels, back.pixels), "dB"),
        "SSIM": (pictures.ssim(value.pixels, back.pixels), ""),
    }
    rate = bits / (value.height * value.width), "bit/pixel"
    return Item(tokens, bits, rate, scores, classical.image_rivals([value], bits), back, value)


def _series(tokenizer: Tokenizer, value: Series, back: Series, tokens: int, bits: float) -> Item:
    x, y = value.values, back.values
    exact = bool(np.array_equal(x, y, equal_nan=True))
    scores = {"exact": (float(exact), "flag")}
    if np.isfinite(x).any() and np.nanvar(x) > 0:
        scores = {"SNR": (curves.snr_db(x, y), "dB"), **scores}
    rate = bits / max(x.size, 1), "bit/sample"
    return Item(tokens, bits, rate, scores, classical.series_rivals(value, bits), back, value)


def _text(tokenizer: Tokenizer, value: str, back: str, tokens: int, bits: float) -> Item:
    size = len(value.encode())
    scores = {"exact": (float(value == back), "flag"), "bytes a token": (size / max(tokens, 1), "")}
    rate = bits / max(size, 1), "bit/byte"
    return Item(tokens, bits, rate, scores, classical.text_rivals(value), back, value)


def _graph(tokenizer: Any, value: Graph, back: Graph, tokens: int, bits: float) -> Item:
    relabelled = value.relabel(tokenizer.order(value)).canonical_edges()
    exact = relabelled == back.canonical_edges()
    edges = max(value.num_edges, 1)
    scores = {
        "exact up to relabelling": (float(exact), "flag"),
        "tokens an edge": (tokens / edges, ""),
    }
    rivals = classical.graph_rivals(value)
    return Item(tokens, bits, (bits / edges, "bit/edge"), scores, rivals, back, relabelled)


def _audio(tokenizer: Tokenizer, value: Audio, back: Audio, tokens: int, bits: float) -> Item:
    if back.rate != value.rate:
        import soxr

        same = soxr.resample(value.samples, value.rate, back.rate).astype(np.float32)
        value = Audio(same, back.rate)
    size = min(len(value.samples), len(back.samples))
    seconds = max(value.seconds, 1e-9)
    coded = classical.opus(value, bits)
    rivals = []
    if coded is not None:
        rivals.append(Rival("Opus", coded[0], _sound_scores(value, coded[1], size)))
    scores = {
        name: (score, "dB" if name == "SI-SDR" else "")
        for name, score in _sound_scores(value, back, size).items()
    }
    return Item(tokens, bits, (bits / seconds / 1000, "kbit/s"), scores, rivals, back, value)


def _sound_scores(value: Audio, other: Audio, size: int) -> dict[str, float]:
    a, b = value.samples[:size], other.samples[:size]
    scores = {}
    if size and np.ptp(a) > 0:
        scores["SI-SDR"] = sound.si_sdr(a, b)
    if size:
        scores["log-mel"] = sound.log_mel_distance(a, b, value.rate)
    heard = intelligibility(a, b, value.rate)
    if heard is not None:
        scores["STOI"] = heard
    return scores


def intelligibility(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float | None:
    """STOI (Taal et al. 2011), 0 to 1; None without pystoi, or where the sound is too short for it."""
    try:
        from pystoi import stoi
    except ImportError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(stoi(reference, estimate, rate)) if len(reference) else None
        except (RuntimeWarning, ValueError):  # silence, or less than 30 frames that are not
            return None


def _boxes(tokenizer: Tokenizer, value: Boxes, back: Any, tokens: int, bits: float) -> Item:
    error = float(np.abs(value.coords - back.coords).max()) if len(value.coords) else 0.0
    rate = bits / max(len(value.coords), 1), "bit/box"
    return Item(tokens, bits, rate, {"largest error in pixels": (error, "")}, [], back, value)


MEASURES: dict[str, Callable[[Any, Any, Any, int, float], Item]] = {
    "image": _image,
    "series": _series,
    "text": _text,
    "graph": _graph,
    "audio": _audio,
    "coord": _boxes,
}


def summarise(items: Sequence[Item]) -> dict[str, Any]:
    """Means over items. Rivals are averaged where every item has them; several images of one shape are also
    given to the classical codecs as one mosaic, which is kinder to them."""
    names = [n for n in items[0].scores if all(n in item.scores for item in items)]
    scores = {}
    for name in names:
        unit = items[0].scores[name][1]
        scores[name] = float(np.mean([item.scores[name][0] for item in items])), unit
    bits = float(np.mean([item.bits for item in items]))
    originals = [item.original for item in items]
    if isinstance(originals[0], Image) and len({i.pixels.shape for i in originals}) == 1:
        rivals = classical.image_rivals(originals, bits)
    else:
        rivals = _mean_rivals(items)
    return {
        "items": len(items),
        "tokens": float(np.mean([item.tokens for item in items])),
        "bits": bits,
        "rate": (float(np.mean([item.rate[0] for item in items])), items[0].rate[1]),
        "scores": scores,
        "rivals": rivals,
    }


def _mean_rivals(items: Sequence[Item]) -> list[Rival]:
    label = lambda rival: rival.codec.split(",")[0]  # noqa: E731  levels differ from item to item
    found = []
    for index, first in enumerate(items[0].rivals):
        same = [item.rivals[index] for item in items if len(item.rivals) > index]
        if len(same) != len(items) or len({label(r) for r in same}) != 1:
            continue
        means = {
            n: float(np.mean([r.scores[n] for r in same]))
            for n in first.scores
            if all(n in r.scores for r in same)
        }
        found.append(Rival(label(first), float(np.mean([r.bits for r in same])), means))
    return found


def spell_rivals(
    rivals: Sequence[Rival],
    bits: float,
    rate: tuple[float, str],
    between: str = "; ",
    short: bool = False,
) -> str:
    """ "WebP mosaic PSNR 21.3 dB at 2.10 bit/pixel; ...": each with the rate it really took. short: without the unit."""
    per = rate[0] / bits if bits else 0.0
    units = {"PSNR": "dB", "SNR": "dB", "SI-SDR": "dB", "log-mel": "", "STOI": ""}
    out = []
    for rival in rivals:
        scores = ", ".join(spell(name, value, units[name]) for name, value in rival.scores.items())
        took = f"{rival.bits * per:.2f}" + ("" if short else f" {rate[1]}")
        out.append(f"{rival.codec} {scores + ' ' if scores else ''}at {took}")
    return between.join(out)
