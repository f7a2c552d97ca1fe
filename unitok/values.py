"""The values that tokenizers turn into tokens and back: plain frozen dataclasses over numpy.

Every field is checked here, once: what passed the constructor needs no further check.
Axes: H height, W width, C channels, T time, N nodes or boxes, E edges, F features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


class ValueRefused(ValueError):
    """A value that no tokenizer takes: the message names the field and the remedy."""


def _refuse(condition: bool, message: str) -> None:
    if condition:
        raise ValueRefused(message)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        if a is None or b is None:
            return a is b
        a, b = np.asarray(a), np.asarray(b)
        nan = a.dtype.kind == "f" and b.dtype.kind == "f"
        return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=nan))
    return bool(a == b)


class _Value:
    """Equality by content: arrays element by element, NaN equal to NaN."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_same(a, vars(other)[name]) for name, a in vars(self).items())

    __hash__ = None  # type: ignore[assignment]

    def _set(self, name: str, array: Any) -> None:
        object.__setattr__(self, name, array)


@dataclass(frozen=True, eq=False)
class Image(_Value):
    """An image. pixels: uint8 [H, W, C], C = 1 (grey) or 3 (RGB); a [H, W] array is taken as grey."""

    pixels: np.ndarray

    def __post_init__(self) -> None:
        pixels = np.asarray(self.pixels)
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        _refuse(
            pixels.dtype != np.uint8,
            f"Image.pixels: want uint8, got {pixels.dtype}; scale to 0..255 and cast",
        )
        _refuse(
            pixels.ndim != 3 or pixels.shape[2] not in (1, 3),
            f"Image.pixels: want [H, W], [H, W, 1] or [H, W, 3], got shape {list(pixels.shape)}",
        )
        _refuse(0 in pixels.shape, f"Image.pixels: empty image of shape {list(pixels.shape)}")
        self._set("pixels", pixels)

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[2])


@dataclass(frozen=True, eq=False)
class Audio(_Value):
    """Mono sound. samples: float32 [T] in about [-1, 1]; rate: samples per second."""

    samples: np.ndarray
    rate: int

    def __post_init__(self) -> None:
        samples = np.asarray(self.samples)
        _refuse(
            samples.dtype.kind != "f",
            f"Audio.samples: want floats in [-1, 1], got {samples.dtype}; divide integers by their range",
        )
        _refuse(
            samples.ndim != 1,
            f"Audio.samples: want [T] (mono), got shape {list(samples.shape)}; average the channels",
        )
        _refuse(
            not np.isfinite(samples).all(), "Audio.samples: NaN or infinity; clean the recording"
        )
        _refuse(
            int(self.rate) <= 0,
            f"Audio.rate: want a positive number of samples per second, got {self.rate}",
        )
        self._set("samples", samples.astype(np.float32, copy=False))
        self._set("rate", int(self.rate))

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


@dataclass(frozen=True, eq=False)
class Series(_Value):
    """A time series. values: float32 [T, C], NaN marks a missing value; freq: a pandas-like tag or None.

    A [T] array is taken as one channel. Infinities are refused.
    """

    values: np.ndarray
    freq: str | None = None

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim == 1:
            values = values[:, None]
        _refuse(values.dtype.kind not in "fiub", f"Series.values: want numbers, got {values.dtype}")
        _refuse(
            values.ndim != 2 or values.shape[1] == 0,
            f"Series.values: want [T] or [T, C], got shape {list(values.shape)}",
        )
        with np.errstate(over="ignore"):
            values = values.astype(np.float32, copy=False)
        _refuse(
            bool(np.isinf(values).any()),
            "Series.values: infinity (or a number beyond float32); mark it missing with NaN",
        )
        self._set("values", values)

    @property
    def length(self) -> int:
        return int(self.values.shape[0])

    @property
    def channels(self) -> int:
        return int(self.values.shape[1])


@dataclass(frozen=True, eq=False)
class Graph(_Value):
    """A graph without parallel edges; self loops and isolated nodes allowed.

    edges: int64 [E, 2]; in an undirected graph (u, v) and (v, u) are the same edge, given once.
    node_labels int64 [N], edge_labels int64 [E]: non-negative, or None.
    node_features float32 [N, F], edge_features float32 [E, F], or None.
    Converters to networkx and SMILES live in `unitok.data.graphs`, as methods here.
    """

    num_nodes: int
    edges: np.ndarray
    directed: bool = False
    node_labels: np.ndarray | None = None
    edge_labels: np.ndarray | None = None
    node_features: np.ndarray | None = None
    edge_features: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = int(self.num_nodes)
        _refuse(n < 0, f"Graph.num_nodes: want 0 or more, got {n}")
        edges = np.asarray(self.edges)
        if edges.size == 0:
            edges = np.zeros((0, 2), np.int64)
        _refuse(edges.dtype.kind not in "iu", f"Graph.edges: want integers, got {edges.dtype}")
        _refuse(
            edges.ndim != 2 or edges.shape[1] != 2,
            f"Graph.edges: want [E, 2], got shape {list(edges.shape)}",
        )
        edges = edges.astype(np.int64, copy=False)
        _refuse(
            edges.size > 0 and (edges.min() < 0 or edges.max() >= n),
            f"Graph.edges: node index outside 0..{n - 1}",
        )
        ends = edges if self.directed else np.sort(edges, axis=1)
        ends = ends[np.lexsort(ends.T)]  # np.unique over rows takes three times as long
        _refuse(
            bool((ends[1:] == ends[:-1]).all(axis=1).any()),
            "Graph.edges: an edge is given twice; merge parallel edges",
        )
        self._set("num_nodes", n)
        self._set("edges", edges)
        self._set("directed", bool(self.directed))
        for name, rows in (("node_labels", n), ("edge_labels", len(edges))):
            labels = getattr(self, name)
            if labels is not None:
                labels = np.asarray(labels)
                labels = labels.astype(np.int64) if labels.size == 0 else labels
                _refuse(
                    labels.shape != (rows,),
                    f"Graph.{name}: want [{rows}], got shape {list(labels.shape)}",
                )
                _refuse(
                    labels.dtype.kind not in "iu" or (labels.size > 0 and labels.min() < 0),
                    f"Graph.{name}: want non-negative integers",
                )
                self._set(name, labels.astype(np.int64, copy=False))
        for name, rows in (("node_features", n), ("edge_features", len(edges))):
            features = getattr(self, name)
            if features is not None:
                features = np.asarray(features, np.float32)
                _refuse(
                    features.ndim != 2 or len(features) != rows,
                    f"Graph.{name}: want [{rows}, F], got shape {list(features.shape)}",
                )
                self._set(name, features)

    @property
    def num_edges(self) -> int:
        return len(self.edges)

    def to_networkx(self) -> Any:
        """A networkx Graph or DiGraph, labels and features as attributes `label` and `features`."""
        from unitok.data import graphs

        return graphs.to_networkx(self)

    @staticmethod
    def from_networkx(graph: Any) -> Graph:
        """From a networkx graph: see `unitok.data.graphs.from_networkx`."""
        from unitok.data import graphs

        return graphs.from_networkx(graph)

    def to_smiles(self) -> str:
        """Canonical SMILES of a molecule's graph (extra `chem`). Raises ValueRefused where it is none."""
        from unitok.data import molecules

        return molecules.to_smiles(self)

    @staticmethod
    def from_smiles(smiles: str) -> Graph:
        """The graph of a molecule (extra `chem`), stereochemistry included. Raises ValueRefused."""
        from unitok.data import molecules

        return molecules.from_smiles(smiles)

    def relabel(self, order: np.ndarray) -> Graph:
        """The same graph with node `order[i]` renamed `i` (order: new index -> old index, [N])."""
        order = np.asarray(order, np.int64)
        _refuse(
            sorted(order.tolist()) != list(range(self.num_nodes)),
            "Graph.relabel: order is no permutation of the nodes",
        )
        new_of_old = np.empty(self.num_nodes, np.int64)
        new_of_old[order] = np.arange(self.num_nodes)
        pick = lambda rows: None if rows is None else rows[order]  # noqa: E731
        return Graph(
            self.num_nodes,
            new_of_old[self.edges],
            self.directed,
            pick(self.node_labels),
            self.edge_labels,
            pick(self.node_features),
            self.edge_features,
        )

    def canonical_edges(self) -> Graph:
        """The same graph with its edges sorted, endpoints too where undirected: equal graphs compare equal."""
        edges = self.edges if self.directed else np.sort(self.edges, axis=1)
        by = np.lexsort((edges[:, 1], edges[:, 0]))
        pick = lambda rows: None if rows is None else rows[by]  # noqa: E731
        return Graph(
            self.num_nodes,
            edges[by],
            self.directed,
            self.node_labels,
            pick(self.edge_labels),
            self.node_features,
            pick(self.edge_features),
        )


@dataclass(frozen=True, eq=False)
class Boxes(_Value):
    """Labelled boxes. coords: float32 [N, 4] as y0 x0 y1 x1 in pixels; labels: N strings."""

    coords: np.ndarray
    labels: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        coords = np.asarray(self.coords, np.float32).reshape(-1, 4)
        _refuse(not np.isfinite(coords).all(), "Boxes.coords: NaN or infinity")
        labels = [str(label) for label in self.labels]
        _refuse(
            len(labels) != len(coords),
            f"Boxes.labels: want {len(coords)}, one a box, got {len(labels)}",
        )
        self._set("coords", coords)
        self._set("labels", labels)


Value = str | Image | Audio | Series | Graph | Boxes
