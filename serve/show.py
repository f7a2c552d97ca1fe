"""What the model answered, as HTML: the values side by side, and the tokens in their modality's colour."""

from __future__ import annotations

import base64
import html
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unitok.data.files import write_file
from unitok.eval import figures
from unitok.interfaces import Tokenizer
from unitok.request import Output, Request
from unitok.sequence import Segment
from unitok.values import Boxes, Graph, Image, Series
from unitok.vocabulary import Vocabulary

MAX_TOKENS = 600  # shown of one sample
FIRST_COLOURED = 2  # blocks before are special ids and sentinels

CSS = """
.answers { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr)); gap: 14px; }
.answer { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: 12px 14px;
  overflow-wrap: anywhere; min-width: 0; background: var(--background-fill-primary); }
.answer.wide { grid-column: 1 / -1; }
.answer h4 { margin: 0 0 8px; font-size: .8rem; font-weight: 600; color: var(--body-text-color); opacity: .72; }
.answer .text { white-space: pre-wrap; font-size: 1.05rem; margin: 6px 0; }
.answer img { image-rendering: pixelated; width: 100%; max-width: 220px; border-radius: 6px; display: block; }
.answer img.photo { image-rendering: auto; max-width: 420px; }
.answer audio { width: 100%; margin: 6px 0; }
.answer svg { width: 100%; height: auto; max-width: 640px; display: block; }
.answer .graph { max-width: 300px; }
.answer a.save { font-size: .82rem; }
.tokens { font: .78rem/1.9 ui-monospace, Menlo, Consolas, monospace; margin-top: 8px; }
.tokens span { padding: 1px 4px; margin: 0 2px 2px 0; border-radius: 4px; display: inline-block;
  border: 1px solid transparent; white-space: pre; color: var(--body-text-color); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 14px; font-size: .82rem; margin: 2px 0 10px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 5px; }
.alert { border: 1px solid #b3362c; border-left-width: 5px; border-radius: 8px; padding: 12px 14px;
  overflow-wrap: anywhere; }
.hint p { font-size: .82rem; opacity: .75; }
.asked { opacity: .75; font-size: .85rem; margin: 0 0 10px; overflow-wrap: anywhere; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .edge { stroke: #8a8f99; stroke-width: 1.2; }
.plot text, .chart .tick { fill: var(--body-text-color-subdued); font-size: 11px; }
.chart .grid { stroke: var(--border-color-primary); }
.box { fill: none; stroke-width: 3; vector-effect: non-scaling-stroke; }
.answer svg image { image-rendering: pixelated; } .answer .note { font-size: .82rem; opacity: .85; margin-top: 4px; }
"""
COLOURS = (
    "#2f6fed", "#d9661f", "#2c9a5b", "#a24fc9", "#d0453a", "#14929f", "#a78600", "#7b818c",
)  # fmt: skip
CSS += "".join(
    f".line.c{i}, .box.c{i} {{ stroke: {colour}; }} .node.c{i} {{ fill: {colour}; }}"
    f".tokens .m{i} {{ background: {colour}33; border-color: {colour}77; }} .legend .m{i} {{ background: {colour}; }}\n"
    for i, colour in enumerate(COLOURS)
)
CSS += ".tokens .m- { background: #8883; } .legend .m- { background: #888; }\n"


def answers_html(
    outputs: Sequence[Output],
    request: Request,
    vocabulary: Vocabulary,
    tokenizers: Mapping[str, Tokenizer],
) -> str:
    """The whole answer: a legend, then a card a sample."""
    used = sorted({int(b) for o in outputs for b in vocabulary.modality_of(o.ids)})
    legend = "".join(
        f'<div><i class="{_class(block)}"></i>{html.escape(vocabulary.names[block])}</div>'
        for block in used
    )
    cards = "".join(
        _card(output, index, len(outputs), request, vocabulary, tokenizers)
        for index, output in enumerate(outputs)
    )
    asked = f"<p class='asked'>Asked: {html.escape(request.prompt or '')}</p>"
    empty = "" if outputs else "<p>There is no such value: the constraints leave nothing.</p>"
    return f'{asked}<div class="legend">{legend}</div><div class="answers">{cards}</div>{empty}'


def error_html(message: str) -> str:
    return f'<div class="alert" role="alert">{html.escape(" ".join(message.split()))}</div>'


def _card(
    output: Output,
    index: int,
    count: int,
    request: Request,
    vocabulary: Vocabulary,
    tokenizers: Mapping[str, Tokenizer],
) -> str:
    per_token = output.log_prob / max(1, len(output.ids))
    facts = (
        f"{len(output.ids)} tokens, log-probability {output.log_prob:.2f} ({per_token:.2f} a token)"
    )
    title = f"Sample {index + 1} of {count}: {facts}" if count > 1 else facts
    body = "".join(segment_html(segment, request) for segment in output.segments)
    body = body or '<div class="text">(empty text)</div>'
    wide = " wide" if count == 1 else ""
    return (
        f'<div class="answer{wide}"><h4>{html.escape(title)}</h4>{body}'
        f"<details{' open' if count == 1 else ''}><summary>Tokens</summary>{tokens_html(output.ids, vocabulary, tokenizers)}</details></div>"
    )


def segment_html(segment: Segment, request: Request) -> str:
    """One value: text as it is, pictures and sounds inside the page, series and graphs drawn."""
    value = segment.value
    if segment.error is not None:
        return error_html(f"{segment.modality}: {segment.error}")
    if isinstance(value, Series) and isinstance(past := _context(request), Series):
        return f'{forecast_svg(past, value)}<div class="note">{_facts(value)} {_save(value)}</div>'
    if isinstance(value, Boxes):
        pictures = [v for v in request.fields.values() if isinstance(v, Image)]
        return boxes_svg(value, pictures[0] if pictures else None)
    shown = figures.show(value)
    if shown["kind"] == "text":
        return f'<div class="text">{html.escape(shown["text"])}</div>'
    if shown["kind"] == "svg" and isinstance(value, Series | Graph):
        return f'{shown["svg"]}<div class="note">{_facts(value)} {_save(value)}</div>'
    if shown["kind"] == "audio":
        save = f'<a class="save" download="sound.wav" href="{shown["uri"]}">WAV</a>'
        return f'{shown["svg"]}<audio controls src="{shown["uri"]}"></audio>{save}'
    kind = "photo" if shown["width"] > 128 else "px"
    size = f"{shown['height']} x {shown['width']} pixels"
    return (
        f'<img class="{kind}" alt="generated image, {size}" src="{shown["uri"]}">'
        f'<a class="save" download="image.png" href="{shown["uri"]}">PNG, {size}</a>'
    )


def _facts(value: Series | Graph) -> str:
    if isinstance(value, Graph):
        kind = "directed, " if value.directed else ""
        return f"{kind}{value.num_nodes} nodes, {value.num_edges} edges"
    finite = value.values[np.isfinite(value.values)]
    span = f", {finite.min():.4g} to {finite.max():.4g}" if finite.size else ""
    return f"{value.length} steps of {value.channels} channels{span}"


def _save(value: Series | Graph) -> str:
    """A link that holds the value as a file."""
    name = "graph.edges" if isinstance(value, Graph) else "series.csv"
    with tempfile.TemporaryDirectory() as folder:
        write_file(value, file := Path(folder) / name)
        content = base64.b64encode(file.read_bytes()).decode()
    return f'<a class="save" download="{name}" href="data:text/plain;base64,{content}">{name}</a>'


def _context(request: Request) -> Any:
    return request.fields.get(request.to.partition("@")[2])


def forecast_svg(past: Series, future: Series) -> str:
    """What was given and what is said to follow, on one time axis; at most four channels."""
    curves = {}
    for channel in range(min(4, past.channels)):
        tail = past.values[-400:, channel]
        ahead = future.values[:, channel]
        curves[f"given, channel {channel}"] = _points(tail, -len(tail))
        joined = np.concatenate([tail[-1:], ahead])
        curves[f"forecast, channel {channel}"] = _points(joined, -1)
    names = "".join(
        f'<div><i class="m{i % len(COLOURS)}"></i>{name}</div>' for i, name in enumerate(curves)
    )
    chart = figures.line_chart(curves, "steps from now", "value", width=380, height=230)
    return f'{chart}<div class="legend">{names}</div>'


def _points(values: np.ndarray, start: int) -> list[tuple[float, float]]:
    return [(float(start + i), float(v)) for i, v in enumerate(values) if math.isfinite(v)]


def boxes_svg(boxes: Boxes, picture: Image | None) -> str:
    """The boxes over their picture, or over a field as large as they are; labels below."""
    height = picture.height if picture else float(max(1.0, *boxes.coords[:, 2], 1.0))
    width = picture.width if picture else float(max(1.0, *boxes.coords[:, 3], 1.0))
    back = (
        f'<image href="{figures.png_uri(picture)}" width="{width}" height="{height}"/>'
        if picture
        else ""
    )
    drawn = "".join(
        f'<rect class="box c{i % 8}" x="{x0:.1f}" y="{y0:.1f}" width="{max(0, x1 - x0):.1f}" '
        f'height="{max(0, y1 - y0):.1f}"><title>{html.escape(label)}</title></rect>'
        for i, (label, (y0, x0, y1, x1)) in enumerate(zip(boxes.labels, boxes.coords.tolist()))
    )
    listed = html.escape(figures.show(boxes)["text"]) or "no boxes"
    return f'<svg viewBox="0 0 {width} {height}" role="img">{back}{drawn}</svg><div class="text">{listed}</div>'


def tokens_html(
    ids: np.ndarray, vocabulary: Vocabulary, tokenizers: Mapping[str, Tokenizer]
) -> str:
    """One box a token: text as its piece, other codes by their number in their block."""
    spans = []
    for token, block in zip(ids[:MAX_TOKENS].tolist(), vocabulary.modality_of(ids).tolist()):
        name, place = vocabulary.names[block], vocabulary.blocks[block]
        title = html.escape(f"id {token}, {name}")
        said = html.escape(_said(token, name, place, tokenizers))
        spans.append(f'<span class="{_class(block)}" title="{title}">{said}</span>')
    more = f" and {len(ids) - MAX_TOKENS:,} more" if len(ids) > MAX_TOKENS else ""
    return f'<div class="tokens">{"".join(spans)}{more}</div>'


def _said(token: int, name: str, block: Any, tokenizers: Mapping[str, Tokenizer]) -> str:
    if token < block.first_code:
        return f"<{name}>" if token == block.start else f"</{name}>"
    code = token - block.first_code
    if name == "text" and name in tokenizers:
        try:
            return tokenizers[name].decode(np.array([code])) or f"#{code}"
        except ValueError:  # one byte of a character
            return f"#{code}"
    return {1: "end"}.get(token, str(code)) if name == "special" else str(code)


def _class(block: int) -> str:
    return f"m{(block - FIRST_COLOURED) % len(COLOURS)}" if block >= FIRST_COLOURED else "m-"
