"""Pictures for the report, as text that lies inside the page: PNG and WAV data URIs, SVG in the page's own colours.

SVG strokes and fills are CSS classes and `currentColor`, so that one drawing suits light and dark.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image as Pillow

from unitok.metrics.audio import log_mel
from unitok.values import Audio, Boxes, Graph, Image, Series

Points = Sequence[tuple[float, float]]
MAX_PIXELS = 512  # a side; larger pictures are reduced for the page
MAX_POINTS = 400  # of a drawn curve
MAX_SECONDS = 6.0  # of a sound
MAX_NODES, MAX_EDGES = (
    1_000,
    10_000,
)  # of a drawn graph: placed in square time, and no more than a blot
DECADES = 4.0  # of a spectrogram's amplitudes, below its loudest


def show(value: Any) -> dict[str, Any]:
    """A value as what the page shows: {"kind": "text" | "image" | "svg" | "audio", ...}, JSON-able."""
    if isinstance(value, Image):
        return {
            "kind": "image",
            "uri": png_uri(value),
            "width": value.width,
            "height": value.height,
        }
    if isinstance(value, Series):
        return {"kind": "svg", "svg": series_svg(value)}
    if isinstance(value, Graph):
        return {"kind": "svg", "svg": graph_svg(value)}
    if isinstance(value, Audio):
        heard = Audio(value.samples[: int(MAX_SECONDS * value.rate)], value.rate)
        note = (
            f"first {MAX_SECONDS:g} of {value.seconds:.1f} s" if value.seconds > MAX_SECONDS else ""
        )
        uri = png_uri(spectrogram(heard))
        return {"kind": "audio", "uri": wav_uri(heard), "picture": uri, "note": note}
    if isinstance(value, Boxes):
        rows = zip(value.labels, value.coords.round(1).tolist())
        return {"kind": "text", "text": "; ".join(f"{label} {box}" for label, box in rows)}
    return {"kind": "text", "text": str(value)}


def png(image: Image) -> bytes:
    pixels = image.pixels[:, :, 0] if image.channels == 1 else image.pixels
    buffer = io.BytesIO()
    picture = Pillow.fromarray(pixels)
    picture.thumbnail((MAX_PIXELS, MAX_PIXELS))
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def png_uri(image: Image) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def wav_uri(audio: Audio) -> str:
    """16-bit WAV; clipped to [-1, 1]."""
    import soundfile

    buffer = io.BytesIO()
    samples = np.clip(audio.samples, -1, 1)
    soundfile.write(buffer, samples, audio.rate, format="WAV", subtype="PCM_16")
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode()


def spectrogram(audio: Audio) -> Image:
    """Log-mel magnitudes, low notes below, four decades from white (silent) to dark blue (loudest)."""
    if not len(audio.samples):
        return Image(np.full((8, 8, 3), 255, np.uint8))
    mel = log_mel(audio.samples, audio.rate)
    loud = np.clip((mel - mel.max()) / DECADES + 1, 0, 1) if np.ptp(mel) else np.zeros_like(mel)
    stops = np.array([[250, 250, 252], [150, 190, 235], [47, 95, 208], [16, 24, 72]], float)
    colours = [np.interp(loud[::-1], np.linspace(0, 1, len(stops)), stop) for stop in stops.T]
    return Image(np.stack(colours, axis=2).astype(np.uint8))


def forecast_svg(
    past: np.ndarray | None, truth: np.ndarray, samples: np.ndarray, width: int = 320, height: int = 120
) -> str:  # fmt: skip
    """The first channel of past [T', C], truth [T, C] and samples [S, T, C]: median, and bands of 50 % and 80 %."""
    y = truth[:, 0]
    before = np.zeros(0) if past is None else past[-max(3 * len(y), 24) :, 0]
    q = np.quantile(samples[:, :, 0], [0.1, 0.25, 0.5, 0.75, 0.9], axis=0)
    seen = np.concatenate([before, y, q[2]])
    seen = seen[np.isfinite(seen)]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
    room = (high - low) / 4  # a band that goes further is cut, lest it flatten what matters
    low, high = (
        max(low - room, min(low, float(q.min()))),
        min(high + room, max(high, float(q.max()))),
    )
    q = np.clip(q, low, high)
    total = len(before) + len(y)
    to_x = lambda i: 4 + (width - 8) * i / max(1, total - 1)  # noqa: E731
    to_y = lambda v: height - 6 - (height - 12) * (v - low) / ((high - low) or 1.0)  # noqa: E731
    start = len(before)

    def path(values: np.ndarray, first: int) -> str:
        out, pen = [], "M"
        for i, v in enumerate(values):
            if math.isfinite(v):
                out.append(f"{pen}{to_x(first + i):.1f} {to_y(float(v)):.1f}")
            pen = "L" if math.isfinite(v) else "M"
        return " ".join(out)

    def band(lower: np.ndarray, upper: np.ndarray) -> str:
        there = [f"{to_x(start + i):.1f},{to_y(float(v)):.1f}" for i, v in enumerate(upper)]
        back = [f"{to_x(start + i):.1f},{to_y(float(v)):.1f}" for i, v in enumerate(lower)]
        return f'<polygon class="band" points="{" ".join(there + back[::-1])}"/>'

    bands = band(q[0], q[4]) + band(q[1], q[3]) if len(samples) > 1 else ""
    label = f"{low:.4g} to {high:.4g}"
    return (
        f'<svg viewBox="0 0 {width} {height}" class="plot forecast" role="img" aria-label="{label}">'
        f'<title>{label}</title>{bands}<path class="line past" d="{path(before, 0)}"/>'
        f'<path class="line truth" d="{path(y, start)}"/><path class="line c0" d="{path(q[2], start)}"/></svg>'
    )


def scatter(
    x: np.ndarray, y: np.ndarray, x_label: str, y_label: str, width: int = 320, height: int = 300
) -> str:
    """Points over equal axes with the diagonal; at most MAX_POINTS, evenly chosen."""
    step = max(1, -(-len(x) // MAX_POINTS))
    points = [(float(a), float(b)) for a, b in zip(x[::step], y[::step]) if math.isfinite(a + b)]
    if not points:
        return ""
    ends = [v for p in points for v in p]
    ticks = _ticks(min(ends), max(ends))
    low, high = min(ticks[0], min(ends)), max(ticks[-1], max(ends), ticks[0] + 1e-9)
    left, right, top, bottom = 52, 10, 10, 36
    to_x = lambda v: left + (width - left - right) * (v - low) / (high - low)  # noqa: E731
    to_y = lambda v: height - bottom - (height - top - bottom) * (v - low) / (high - low)  # noqa: E731
    parts = [
        f'<line class="grid" x1="{to_x(low):.1f}" y1="{to_y(low):.1f}" x2="{to_x(high):.1f}" y2="{to_y(high):.1f}"/>'
    ]
    for tick in ticks:
        parts.append(
            f'<text class="tick" x="{left - 6}" y="{to_y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
            f'<text class="tick" x="{to_x(tick):.1f}" y="{height - bottom + 16}" text-anchor="middle">{tick:g}</text>'
        )
    parts += [
        f'<circle class="node c0 faint" cx="{to_x(a):.1f}" cy="{to_y(b):.1f}" r="2.5"/>'
        for a, b in points
    ]
    parts.append(_axis_names(x_label, y_label, left, right, bottom, width, height))
    return f'<svg viewBox="0 0 {width} {height}" class="chart square" role="img">{"".join(parts)}</svg>'


def boxes_svg(image: Image, boxes: Boxes, known: Iterable[str] = ()) -> str:
    """Boxes over their image, one colour a label; the same one wherever the same labels are known."""
    h, w = image.height, image.width
    labels = sorted({*known, *boxes.labels})
    parts = [f'<image href="{png_uri(image)}" width="{w}" height="{h}"/>']
    for (y0, x0, y1, x1), label in zip(boxes.coords.tolist(), boxes.labels):
        colour = labels.index(label) % 8
        parts.append(
            f'<rect class="box c{colour}" x="{x0:.1f}" y="{y0:.1f}" width="{max(x1 - x0, 0):.1f}" '
            f'height="{max(y1 - y0, 0):.1f}"><title>{html.escape(label)}</title></rect>'
        )
    title = html.escape("; ".join(boxes.labels) or "no box")
    return (
        f'<svg viewBox="0 0 {w} {h}" class="plot" role="img" aria-label="{title}">'
        f"<title>{title}</title>{''.join(parts)}</svg>"
    )


def series_svg(series: Series, width: int = 240, height: int = 90) -> str:
    """One polyline a channel, broken where values are missing; the range of values on the left."""
    values = series.values[:: max(1, -(-series.length // MAX_POINTS)), :8]
    if not np.isfinite(values).any():
        return f'<svg viewBox="0 0 {width} {height}" class="plot"><text x="8" y="20">all missing</text></svg>'
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    span = (high - low) or 1.0
    lines = []
    for channel in range(values.shape[1]):
        path, pen = [], "M"
        for i, v in enumerate(values[:, channel]):
            if math.isnan(v):
                pen = "M"
                continue
            x = 4 + (width - 8) * i / max(1, len(values) - 1)
            y = height - 6 - (height - 12) * (float(v) - low) / span
            path.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        lines.append(f'<path class="line c{channel % 8}" d="{" ".join(path)}"/>')
    label = f"{low:.4g} to {high:.4g}"
    return (
        f'<svg viewBox="0 0 {width} {height}" class="plot" role="img" aria-label="{label}">'
        f"<title>{label}</title>{''.join(lines)}</svg>"
    )


def too_large(graph: Graph) -> str:
    """What to say in place of a graph's picture; "" for one that can be drawn."""
    if graph.num_nodes <= MAX_NODES and graph.num_edges <= MAX_EDGES:
        return ""
    return f"{graph.num_nodes:,} nodes and {graph.num_edges:,} edges"


def graph_svg(graph: Graph, side: int = 150) -> str:
    """Nodes placed by a spring layout (seeded), coloured by label; of a graph `too_large`, what it counts."""
    import networkx as nx

    said = "no nodes" if graph.num_nodes == 0 else too_large(graph)
    if said:
        return (
            f'<svg viewBox="0 0 {side} {side}" class="plot"><text x="8" y="20">{said}</text></svg>'
        )
    drawn = nx.Graph()
    drawn.add_nodes_from(range(graph.num_nodes))
    drawn.add_edges_from(graph.edges.tolist())
    place = nx.spring_layout(drawn, seed=0, iterations=60 if graph.num_nodes < 200 else 15)
    xy = np.array([place[i] for i in range(graph.num_nodes)])
    xy = (xy - xy.min(0)) / np.maximum(np.ptp(xy, axis=0), 1e-9) * (side - 16) + 8
    lines = "".join(
        f'<line class="edge" x1="{xy[u, 0]:.1f}" y1="{xy[u, 1]:.1f}" x2="{xy[v, 0]:.1f}" y2="{xy[v, 1]:.1f}"/>'
        for u, v in graph.edges.tolist()
    )
    labels = graph.node_labels if graph.node_labels is not None else np.zeros(graph.num_nodes, int)
    dots = "".join(
        f'<circle class="node c{int(label) % 8}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
        for (x, y), label in zip(xy, labels)
    )
    title = f"{graph.num_nodes} nodes, {graph.num_edges} edges"
    return (
        f'<svg viewBox="0 0 {side} {side}" class="plot graph" role="img" aria-label="{title}">'
        f"<title>{title}</title>{lines}{dots}</svg>"
    )


def line_chart(
    curves: Mapping[str, Points], x_label: str, y_label: str, width: int = 400, height: int = 220
) -> str:
    """Curves over a common axis: grid, ticks, axis names; colours in order, the page draws the legend."""
    points = [p for curve in curves.values() for p in curve if all(map(math.isfinite, p))]
    if not points:
        return ""
    left, right, top, bottom = 46, 10, 10, 36
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x_ticks, y_ticks = _ticks(min(xs), max(xs)), _ticks(min(0.0, *ys), max(ys))
    x0, x1 = min(xs), max(*xs, min(xs) + 1e-9)
    y0, y1 = y_ticks[0], max(*ys, y_ticks[-1], y_ticks[0] + 1e-9)
    to_x = lambda x: left + (width - left - right) * (x - x0) / (x1 - x0)  # noqa: E731
    to_y = lambda y: height - bottom - (height - top - bottom) * (y - y0) / (y1 - y0)  # noqa: E731
    parts = []
    for y in y_ticks:
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{to_y(y):.1f}" y2="{to_y(y):.1f}"/>'
            f'<text class="tick" x="{left - 6}" y="{to_y(y) + 4:.1f}" text-anchor="end">{y:g}</text>'
        )
    for x in (x for x in x_ticks if x0 <= x <= x1):
        parts.append(
            f'<text class="tick" x="{to_x(x):.1f}" y="{height - bottom + 16}" text-anchor="middle">{x:,g}</text>'
        )
    for i, (name, curve) in enumerate(curves.items()):
        step = max(1, len(curve) // MAX_POINTS)
        kept = [*curve[::step], *([curve[-1]] if len(curve) % step != 1 and step > 1 else [])]
        kept = [(x, y) for x, y in kept if math.isfinite(x) and math.isfinite(y)]
        path = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in kept)
        title = f"<title>{html.escape(name)}</title>"
        parts.append(f'<polyline class="line c{i % 8}" points="{path}">{title}</polyline>')
        if len(kept) == 1:
            x, y = kept[0]
            parts.append(
                f'<circle class="node c{i % 8}" cx="{to_x(x):.1f}" cy="{to_y(y):.1f}" r="3"/>'
            )
    parts.append(_axis_names(x_label, y_label, left, right, bottom, width, height))
    return f'<svg viewBox="0 0 {width} {height}" class="chart" role="img">{"".join(parts)}</svg>'


def _axis_names(
    x_label: str, y_label: str, left: int, right: int, bottom: int, width: int, height: int
) -> str:
    return (
        f'<text class="tick" x="{(left + width - right) / 2:.0f}" y="{height - 4}" text-anchor="middle">'
        f'{html.escape(x_label)}</text><text class="tick" transform="translate(11 {(height - bottom) / 2:.0f}) '
        f'rotate(-90)" text-anchor="middle">{html.escape(y_label)}</text>'
    )


def whisker(
    low: float, value: float, high: float, scale: tuple[float, float],
    baseline: float | None = None, bound: float | None = None, yardstick: float | None = None,
) -> str:  # fmt: skip
    """A score as a dot with its interval, on a scale with ticks for the baseline, the bound and the yardstick."""
    width, height, pad = 180, 18, 6
    first, last = scale
    span = (last - first) or 1

    def to_x(v: float) -> float:
        return pad + (width - 2 * pad) * (min(max(v, first), last) - first) / span

    middle = height / 2
    marks = [f'<line class="axis" x1="{pad}" x2="{width - pad}" y1="{middle}" y2="{middle}"/>']
    for name, at in (("baseline", baseline), ("bound", bound), ("yardstick", yardstick)):
        if at is not None and math.isfinite(at):
            marks.append(
                f'<line class="{name}" x1="{to_x(at):.1f}" x2="{to_x(at):.1f}" y1="2" y2="{height - 2}"/>'
            )
    marks.append(
        f'<line class="range" x1="{to_x(low):.1f}" x2="{to_x(high):.1f}" y1="{middle}" y2="{middle}"/>'
        f'<circle class="dot" cx="{to_x(value):.1f}" cy="{middle}" r="4"/>'
    )
    return f'<svg viewBox="0 0 {width} {height}" class="whisker" aria-hidden="true">{"".join(marks)}</svg>'


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers over [low, high]: steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    first = math.floor(low / step) * step
    return [round(first + i * step, 12) for i in range(int((high - first) / step + 1e-9) + 1)]
