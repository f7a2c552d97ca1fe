"""Classical codecs at a tokenizer's bits: what it costs to do without one. Bits are of whole files, headers included.

Every function takes a budget in bits and answers with what the codec did at the nearest rate it can
reach; the rate it really took always stands beside its fidelity.
Axes: N items, T time, C channels, H W pixels.
"""

from __future__ import annotations

import gzip
import io
import lzma
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image as Pillow

from unitok.metrics.images import psnr
from unitok.metrics.series import snr_db
from unitok.values import Audio, Graph, Image, Series

MOSAIC_SIDE = (
    64  # images up to here are also coded side by side: a file's header then weighs little
)
OPUS_RATES = (6, 8, 12, 16, 24, 32, 48, 64)  # kbit/s


@dataclass(frozen=True)
class Rival:
    """What a codec did. bits: an item; scores: name -> value, in the units of the tokenizer's own."""

    codec: str
    bits: float
    scores: dict[str, float] = field(default_factory=dict)


# ---- images -----------------------------------------------------------------------------------


def image_rivals(images: Sequence[Image], bits: float) -> list[Rival]:
    """WebP, JPEG and AVIF at about `bits` an image, of images of one shape.

    Several small images go into one mosaic: a JPEG of a single 8 x 8 image is nearly all header. (So is
    an AVIF, of which there is none for a small image alone.)
    """
    height, width, _ = images[0].pixels.shape
    small = max(height, width) <= MOSAIC_SIDE
    codecs = ("WEBP", "JPEG") if small and len(images) == 1 else ("WEBP", "JPEG", "AVIF")
    sheet = mosaic(images) if small and len(images) > 1 else None
    rivals = []
    for codec in codecs:
        name = {"WEBP": "WebP", "JPEG": "JPEG", "AVIF": "AVIF"}[codec]
        if sheet is not None:
            spent, decoded = _nearest_quality(sheet, codec, bits * len(images))
            parts = _tiles(decoded, height, width, len(images))
            name, spent = f"{name} mosaic", spent / len(images)
        else:
            coded = [_nearest_quality(image.pixels, codec, bits) for image in images]
            spent, parts = float(np.mean([b for b, _ in coded])), [p for _, p in coded]
        values = [psnr(image.pixels, part) for image, part in zip(images, parts)]
        rivals.append(Rival(name, spent, {"PSNR": float(np.mean(values))}))
    return rivals


def mosaic(images: Sequence[Image]) -> np.ndarray:
    """Images of one shape side by side in a near-square grid, uint8 [rows H, columns W, C]; spare tiles repeat the last."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    tiles = [image.pixels for image in images]
    tiles += [tiles[-1]] * (rows * columns - len(tiles))
    return np.concatenate(
        [np.concatenate(tiles[r * columns : (r + 1) * columns], axis=1) for r in range(rows)]
    )


def _tiles(sheet: np.ndarray, height: int, width: int, count: int) -> list[np.ndarray]:
    columns = sheet.shape[1] // width
    corners = [(height * (i // columns), width * (i % columns)) for i in range(count)]
    return [sheet[y : y + height, x : x + width] for y, x in corners]


def _nearest_quality(pixels: np.ndarray, codec: str, bits: float) -> tuple[float, np.ndarray]:
    """(bits, decoded pixels) at the quality whose size comes nearest: sizes grow with quality, so by bisection."""
    low, high, tried = 0, 100, {}
    while low <= high:
        quality = (low + high) // 2
        tried[quality] = data = _encode_image(pixels, codec, quality)
        low, high = (quality + 1, high) if 8 * len(data) < bits else (low, quality - 1)
    data = min(tried.values(), key=lambda d: abs(8 * len(d) - bits))
    decoded = np.asarray(
        Pillow.open(io.BytesIO(data)).convert("L" if pixels.shape[2] == 1 else "RGB")
    )
    return 8.0 * len(data), decoded.reshape(pixels.shape)


def _encode_image(pixels: np.ndarray, codec: str, quality: int) -> bytes:
    picture = Pillow.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    out = io.BytesIO()
    of_codec: dict[str, dict[str, Any]] = {
        "JPEG": {"optimize": True},
        "WEBP": {"method": 4},
        "AVIF": {"speed": 8},
    }
    picture.save(out, codec, quality=quality, **of_codec[codec])
    return out.getvalue()


# ---- series -----------------------------------------------------------------------------------


def series_rivals(series: Series, bits: float) -> list[Rival]:
    """Uniform and mu-law quantizers with exactly the levels that `bits` pay for, their scales counted as float32.

    Missing values are given to them for nothing.
    """
    x = series.values.astype(np.float64)
    samples = max(int(np.isfinite(x).sum()), 1)
    rivals = []
    for name, scales, quantize in (("uniform", 2, _uniform), ("mu-law", 1, _mu_law)):
        payload = bits - 32 * scales * x.shape[1]
        if payload < samples:  # not even two levels a sample
            continue
        levels = int(min(2.0 ** (payload / samples), 2**24))
        scores = {"SNR": snr_db(x, quantize(x, levels))} if np.isfinite(x).any() else {}
        rivals.append(Rival(f"{name}, {levels:,} levels", bits, scores))
    return rivals


def _uniform(x: np.ndarray, levels: int) -> np.ndarray:
    """Between the smallest and the largest value of each channel."""
    low, high = np.nanmin(x, axis=0), np.nanmax(x, axis=0)
    step = np.where(high > low, (high - low) / (levels - 1), 1)
    return low + np.round((x - low) / step) * step


def _mu_law(x: np.ndarray, levels: int, mu: float = 255.0) -> np.ndarray:
    """ITU-T G.711's curve, scaled to the largest magnitude of each channel."""
    peak = np.nanmax(np.abs(x), axis=0)
    unit = x / np.where(peak > 0, peak, 1)
    curved = np.sign(unit) * np.log1p(mu * np.abs(unit)) / np.log1p(mu)
    place = np.round((curved + 1) / 2 * (levels - 1)) / (levels - 1) * 2 - 1
    return np.sign(place) * np.expm1(np.abs(place) * np.log1p(mu)) / mu * peak


# ---- text, graphs -----------------------------------------------------------------------------


def text_rivals(text: str) -> list[Rival]:
    data = text.encode()
    return [
        Rival("gzip", 8.0 * len(gzip.compress(data, 9, mtime=0))),
        Rival("xz", 8.0 * len(lzma.compress(data, preset=9))),
    ]


def graph_rivals(graph: Graph) -> list[Rival]:
    """Edge list (two node numbers an edge, at log2 of the nodes) and, where undirected, sparse6. Labels are left out."""
    import networkx as nx

    size = math.log2(max(graph.num_nodes, 2))
    rivals = [Rival("edge list", 2 * graph.num_edges * size)]
    if not graph.directed:
        plain = nx.Graph()
        plain.add_nodes_from(range(graph.num_nodes))
        plain.add_edges_from(graph.edges.tolist())
        data = nx.to_sparse6_bytes(plain, header=False).strip()
        rivals.append(
            Rival("sparse6", 6.0 * (len(data) - 1))
        )  # 6 bits a character, without the colon
    return rivals


# ---- audio ------------------------------------------------------------------------------------


def opus(audio: Audio, bits: float) -> tuple[float, Audio] | None:
    """(bits, decoded) by Opus at the constant rate nearest to `bits`; None where PyAV is not installed.

    The payload is counted, without a container. Decoded at 48 kHz, brought back to the rate of the
    input and aligned with it by cross-correlation.
    """
    try:
        import av
    except ImportError:
        return None
    import soxr

    kilobits = bits / max(audio.seconds, 1e-9) / 1000
    rate = min(OPUS_RATES, key=lambda r: abs(r - kilobits))
    wave = soxr.resample(audio.samples, audio.rate, 48000).astype(np.float32)
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48000, "mono", "s16"
    encoder.bit_rate = 1000 * rate
    encoder.options = {"application": "audio", "vbr": "off", "frame_duration": "20"}
    encoder.open()
    packets = []
    padded = np.concatenate([wave, np.zeros(960 * 8 - len(wave) % 960, np.float32)])
    for start in range(0, len(padded), 960):
        frame = av.AudioFrame.from_ndarray(
            (np.clip(padded[None, start : start + 960], -1, 1) * 32767).astype(np.int16),
            "s16",
            "mono",
        )
        frame.sample_rate, frame.pts = 48000, start
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create("opus", "r")
    decoder.sample_rate, decoder.layout = 48000, "mono"
    frames = [f.to_ndarray() for packet in packets for f in decoder.decode(packet)]
    decoded = np.concatenate([f.astype(np.float32).reshape(-1) for f in frames])
    spent = 8.0 * sum(packet.size for packet in packets[: math.ceil(len(wave) / 960)])
    back = soxr.resample(_aligned(wave, decoded), 48000, audio.rate).astype(np.float32)
    out = np.zeros_like(audio.samples)
    out[: min(len(out), len(back))] = back[: len(out)]
    return spent, Audio(out, audio.rate)


def _aligned(wave: np.ndarray, decoded: np.ndarray, most: int = 4800) -> np.ndarray:
    """`decoded` moved to where it agrees best with `wave`, at most 0.1 s; the length of `wave`."""
    from scipy.signal import correlate

    size = min(len(wave), len(decoded), 10 * 48000)
    scores = correlate(decoded[:size], wave[:size], mode="full")[size - 1 : size - 1 + most]
    lag = int(np.argmax(scores)) if len(scores) else 0
    out = np.zeros_like(wave)
    part = decoded[lag : lag + len(wave)]
    out[: len(part)] = part
    return out
