"""Values made from a seed, with properties that are known because they were chosen: sounds, curves, graphs.

    SourceConfig(kind="synthetic", options={"name": "sounds", "size": 2000, "seed": 0})

sounds   audio (16 kHz, `seconds` long), kind, count, pitch, caption. kinds: beeps, glides, vowels
curves   series, past, future, kind, count, trend, period, caption. kinds: seasons, spikes
graphs   graph, kind, family, num_nodes, num_edges, num_components, max_degree, is_tree, degrees (a series,
         largest first), shape, caption. kinds: families, parts

Record i is a function of (seed, i) alone. Sounds and curves have real-valued parameters, so no two
records are alike; graphs repeat, so splits are cut by `shape`: isomorphic graphs are on one side.
Axes: N records, T samples or steps.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np
from scipy.signal import lfilter

from unitok.data import columns
from unitok.data.columns import Column, Loaded
from unitok.errors import InputError
from unitok.values import Audio, Graph, Series

RATE = 16_000
NUMBERS = ("no", "one", "two", "three", "four")
MOST = 4  # beeps, spikes, parts
HERTZ = {"low": 250.0, "middle": 500.0, "high": 1000.0}
# first three formants in Hz of vowels spoken by men: Peterson and Barney 1952, table II
FORMANTS = {
    "a": (730, 1090, 2440), "e": (530, 1840, 2480), "i": (270, 2290, 3010), "u": (300, 870, 2240),
}  # fmt: skip
BANDWIDTHS = (80, 100, 140)
PERIODS = (0, 4, 6, 8)
TRENDS = ("rising", "falling", "flat")
FAMILIES = ("path", "cycle", "star", "wheel", "ladder", "complete", "bipartite", "tree", "random")

VALUES = (
    "audio",
    "series",
    "past",
    "future",
    "graph",
    "degrees",
)  # the other fields are words and numbers

Record = dict[str, Any]


def read_synthetic(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """options: name (sounds, curves, graphs), size (records), kinds (some of the name's), seed, seconds."""
    name, size = options.get("name"), options.get("size", 1000)
    if name not in MAKERS:
        raise InputError(f"source synthetic: no name {name!r}; there are {', '.join(MAKERS)}")
    if not isinstance(size, int) or not 1 <= size <= 1_000_000:
        raise InputError(f"source.options.size: want 1 to 1,000,000 records, got {size!r}")
    known = MAKERS[name][1]
    kinds = list(options.get("kinds") or known)
    for kind in kinds:
        if kind not in known:
            raise InputError(
                f"source.options.kinds: {name} has no {kind!r}; there are {', '.join(known)}"
            )
    seconds = options.get("seconds", 0.32)
    if not isinstance(seconds, (int, float)) or not 0.3 <= seconds <= 10:
        raise InputError(f"source.options.seconds: want 0.3 to 10, got {seconds!r}")
    seed = options.get("seed") or 0

    rows = _records(name, size, tuple(kinds), seed, float(seconds))
    found = {field: columns.scalars([row[field] for row in rows]) for field in rows[0]}
    for field in set(found) & set(VALUES):
        found[field] = Column(size, found[field].read)
    if name == "sounds":  # too large to be kept

        def sound(row: int) -> Audio:
            rng = np.random.default_rng([seed, row])
            return make_sound(kinds[row % len(kinds)], rng, float(seconds))["audio"]

        found["audio"] = Column(size, sound)
    if name == "graphs":
        return Loaded(found, [name, size], stratify="family", group="shape")
    return Loaded(found, [name, size])


@functools.lru_cache(maxsize=16)  # every split and task of a source asks for the same records
def _records(
    name: str, size: int, kinds: tuple[str, ...], seed: int, seconds: float
) -> list[Record]:
    rows = []
    for row in range(size):
        rng = np.random.default_rng([seed, row])
        rows.append(MAKERS[name][0](kinds[row % len(kinds)], rng, seconds))
        rows[-1].pop("audio", None)
    return rows


def _pick(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


# ---- sounds ----------------------------------------------------------------------------------


def make_sound(kind: str, rng: np.random.Generator, seconds: float) -> Record:
    """Beeps (one to four), a tone that glides an octave up or down, or a vowel; low, middle or high."""
    pitch = _pick(rng, list(HERTZ))
    hertz = HERTZ[pitch] * 2 ** rng.uniform(-0.05, 0.05)
    count = int(rng.integers(1, MOST + 1)) if kind == "beeps" else 1
    gain = rng.uniform(0.4, 0.6)
    if kind == "beeps":
        samples = beeps(count, hertz, seconds)
        caption = f"{NUMBERS[count]} {pitch} beep{'s' if count > 1 else ''}"
    elif kind == "glides":
        trend = _pick(rng, TRENDS[:2])
        samples = glide(hertz, trend == "rising", seconds)
        caption = f"a {trend} {pitch} tone"
    else:
        letter = _pick(rng, list(FORMANTS))
        samples = vowel(letter, hertz / 2.5, seconds)
        caption = f"the vowel {letter}, {pitch}"
    audio = Audio((gain * samples).astype(np.float32), RATE)
    return {"audio": audio, "kind": kind, "count": count, "pitch": pitch, "caption": caption}


def beeps(count: int, hertz: float, seconds: float) -> np.ndarray:
    """`count` tones of 40 ms, one every 80 ms from the beginning on; silence after. [T] in [-1, 1]."""
    samples = np.zeros(round(seconds * RATE))
    tone = np.sin(2 * np.pi * hertz * np.arange(round(0.04 * RATE)) / RATE) * _ramps(0.04)
    for start in range(count):
        first = round(start * 0.08 * RATE)
        part = samples[first : first + len(tone)]
        part[:] = tone[: len(part)]
    return samples


def glide(hertz: float, rising: bool, seconds: float) -> np.ndarray:
    """A tone from `hertz` to its octave, exponentially, or down from the octave."""
    octave = np.linspace(0, 1, round(seconds * RATE))
    phase = 2 * np.pi * np.cumsum(hertz * 2 ** (octave if rising else 1 - octave)) / RATE
    return np.sin(phase) * _ramps(seconds)


def vowel(letter: str, hertz: float, seconds: float) -> np.ndarray:
    """A pulse train of `hertz` through three resonances in a row (Klatt 1980)."""
    length = round(seconds * RATE)
    beats = np.floor(np.arange(length) * hertz / RATE)
    wave = np.diff(beats, prepend=-1.0)
    for formant, width in zip(FORMANTS[letter], BANDWIDTHS):
        radius = np.exp(-np.pi * width / RATE)
        a = [1, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2]
        wave = lfilter([sum(a)], a, wave)
    return wave / np.abs(wave).max() * _ramps(seconds)


def _ramps(seconds: float) -> np.ndarray:
    """Raised-cosine attack and decay of 5 ms: no clicks."""
    length, ramp = round(seconds * RATE), round(0.005 * RATE)
    edge = 0.5 - 0.5 * np.cos(np.pi * np.arange(ramp) / ramp)
    return np.concatenate([edge, np.ones(length - 2 * ramp), edge[::-1]])


# ---- curves ----------------------------------------------------------------------------------

PAST, FUTURE = 24, 12


def make_curve(kind: str, rng: np.random.Generator, seconds: float) -> Record:
    """Trend + season + noise at any level and scale, or one to four spikes on a flat line, one every four steps from the beginning on."""
    level, scale = rng.uniform(-50, 50), np.exp(rng.uniform(-2, 3))
    steps = np.arange(PAST + FUTURE)
    trend, period, count = "flat", 0, 0
    if kind == "spikes":
        count = int(rng.integers(1, MOST + 1))
        places = int(rng.integers(1, 5)) + 4 * np.arange(count)
        curve = rng.normal(0, 0.03, len(steps))
        curve[places] += rng.uniform(2.0, 3.0, count)
        caption = f"flat, with {NUMBERS[count]} spike{'s' if count > 1 else ''}"
    else:
        trend, period = _pick(rng, TRENDS), _pick(rng, PERIODS)
        slope = {"rising": 1, "falling": -1, "flat": 0}[trend] * rng.uniform(0.08, 0.16)
        curve = slope * steps + rng.normal(0, 0.08, len(steps))
        if period:
            phase = rng.uniform(0, 2 * np.pi)
            curve += rng.uniform(0.8, 1.2) * np.sin(2 * np.pi * steps / period + phase)
        caption = f"{trend}, {f'with a period of {period}' if period else 'without a season'}"
    values = (level + scale * curve).astype(np.float32)
    return {
        "series": Series(values[:PAST]), "past": Series(values[:PAST]), "future": Series(values[PAST:]),
        "kind": kind, "count": count, "trend": trend, "period": period, "caption": caption,
    }  # fmt: skip


# ---- graphs ----------------------------------------------------------------------------------


def make_graph(kind: str, rng: np.random.Generator, seconds: float) -> Record:
    """A graph of 5 to 10 nodes of one of the families, or one to four small trees and cycles side by side."""
    nodes = int(rng.integers(5, 11))
    if kind == "parts":
        parts = int(rng.integers(1, MOST + 1))
        family = f"{NUMBERS[parts]} part{'s' if parts > 1 else ''}"
        made = nx.disjoint_union_all([_part(rng) for _ in range(parts)])
        caption = f"a graph of {family}"
    else:
        family = _pick(rng, FAMILIES)
        nodes += nodes % 2 if family == "ladder" else 0
        made = family_of(family, nodes, rng)
        while family in ("tree", "random") and shape_of(made) in named_shapes(nodes):
            made = family_of(family, nodes, rng)
        caption = f"a {family} graph of {nodes} nodes"
    edges = np.array(made.edges, np.int64).reshape(-1, 2)
    degrees = sorted((degree for _, degree in made.degree), reverse=True)
    return {
        "graph": Graph(made.number_of_nodes(), rng.permutation(made.number_of_nodes())[edges]),
        "kind": kind, "family": family, "num_nodes": made.number_of_nodes(), "num_edges": len(edges),
        "num_components": nx.number_connected_components(made), "max_degree": degrees[0],
        "is_tree": nx.is_tree(made),
        "degrees": Series(np.array(degrees, np.float32)), "caption": caption, "shape": shape_of(made),
    }  # fmt: skip


def shape_of(graph: Any) -> str:
    """The same for isomorphic graphs, different for nearly all others: colour refinement (Weisfeiler and
    Leman 1968), four rounds. 16 hex digits."""
    colours = {node: str(degree) for node, degree in graph.degree}
    for _ in range(4):
        around = {
            node: colours[node] + "".join(sorted(colours[other] for other in graph[node]))
            for node in graph
        }
        colours = {
            node: hashlib.sha256(text.encode()).hexdigest()[:16] for node, text in around.items()
        }
    return hashlib.sha256("".join(sorted(colours.values())).encode()).hexdigest()[:16]


@functools.cache
def named_shapes(nodes: int) -> frozenset[str]:
    """Of the families that hold one graph of so many nodes: no random graph may pass for one of them."""
    rng = np.random.default_rng(0)
    names = [
        f for f in FAMILIES if f not in ("tree", "random") and (f != "ladder" or nodes % 2 == 0)
    ]
    return frozenset(shape_of(family_of(name, nodes, rng)) for name in names)


def family_of(family: str, nodes: int, rng: np.random.Generator) -> Any:
    """A networkx graph of the family; trees are uniform, random graphs connected with 1.2 to 2 edges a node."""
    if family == "bipartite":
        return nx.complete_bipartite_graph(nodes // 2, nodes - nodes // 2)
    if family == "tree":
        return _tree(nodes, rng)
    if family == "random":
        graph = _tree(nodes, rng)
        absent = list(nx.non_edges(graph))
        extra = round(nodes * rng.uniform(0.2, 1.0)) + 1
        graph.add_edges_from(absent[i] for i in rng.permutation(len(absent))[:extra])
        return graph
    if family == "star":
        return nx.star_graph(nodes - 1)
    if family == "ladder":
        return nx.ladder_graph(nodes // 2)
    return getattr(nx, f"{family}_graph")(nodes)  # path, cycle, wheel, complete


def _tree(nodes: int, rng: np.random.Generator) -> Any:
    return nx.from_prufer_sequence(rng.integers(0, nodes, nodes - 2).tolist())


def _part(rng: np.random.Generator) -> Any:
    nodes = int(rng.integers(2, 6))
    return nx.cycle_graph(nodes) if nodes > 2 and rng.random() < 0.4 else (
        _tree(nodes, rng) if nodes > 2 else nx.path_graph(2)
    )  # fmt: skip


Maker = Callable[[str, np.random.Generator, float], Record]
MAKERS: dict[str, tuple[Maker, tuple[str, ...]]] = {
    "sounds": (make_sound, ("beeps", "glides", "vowels")),
    "curves": (make_curve, ("seasons", "spikes")),
    "graphs": (make_graph, ("families", "parts")),
}
