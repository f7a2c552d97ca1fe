"""Tokens of a graph's trail read back: the graph, and what each token cost."""

from __future__ import annotations

from typing import Any

import numpy as np

from unitok.tokenizers import graph_grammar as gg
from unitok.tokenizers.graph_grammar import BASE, TABLE
from unitok.values import Graph


class Reader:
    """Reads tokens from left to right. Every token that has no meaning where it stands is a ValueError."""

    def __init__(self, ids: list[int]) -> None:
        self.ids, self.at = ids, 0

    def graph(self) -> Graph:
        ids = self.ids
        if not ids or ids[0] >= gg.EMPTY + 8:
            raise ValueError("graph: want a header as the first token")
        bits = self.bits = ids[0] % 8
        nodes, edges, node_labels = 0, [], []
        self.edge_labels: list[Any] = []
        linked, last = False, -1
        empty = ids[0] >= gg.EMPTY
        while self.at < len(ids):
            code = ids[self.at]
            self.at += 1
            if gg.LINKED <= code <= gg.JUMP or (self.at == 1 and not empty):
                if empty or nodes >= gg.MAX_NODES:
                    raise ValueError("graph: a node in an empty graph, or too many")
                linked, last = gg.LINKED <= code < gg.JUMP, -1
                nodes += 1
                if linked:
                    edges += self._edge(nodes - 2, nodes - 1, code - gg.LINKED)
                if bits & gg.NODE_LABELS:
                    node_labels.append(self._label(gg.NODE, gg.NODE_TABLE))
            elif gg.REF <= code < gg.NODE and nodes:
                if code < gg.FAR:
                    kind, distance = divmod(code - gg.REF, TABLE)
                else:
                    kind = code - gg.FAR
                    distance = self._number(len(f"{nodes - 1:x}"))
                if distance <= last or distance >= nodes or (linked and distance == 1):
                    raise ValueError(
                        f"graph: at token {self.at} a reference {distance} back from node {nodes - 1}, "
                        f"after one {last} back: not a node, out of order, or an edge given twice"
                    )
                last = distance
                edges += self._edge(nodes - 1 - distance, nodes - 1, kind)
            elif self.at > 1 or not empty:
                raise ValueError(f"graph: token {code} has no meaning at {self.at - 1}")
        return Graph(
            nodes,
            np.array(edges, np.int64).reshape(-1, 2),
            bool(bits & gg.DIRECTED),
            np.array(node_labels, np.int64) if bits & gg.NODE_LABELS else None,
            np.array(self.edge_labels, np.int64) if bits & gg.EDGE_LABELS else None,
        )

    def _edge(self, older: int, newer: int, kind: int) -> list[tuple[int, int]]:
        if kind and (older == newer or not self.bits & gg.DIRECTED):
            raise ValueError(f"graph: an edge of kind {kind} in a loop or an undirected graph")
        edges = [[(older, newer)], [(newer, older)], [(older, newer), (newer, older)]][kind]
        if self.bits & gg.EDGE_LABELS:
            self.edge_labels += [self._label(gg.EDGE, gg.EDGE_TABLE) for _ in edges]
        return edges

    def _label(self, first: int, table: int) -> int:
        code = self.ids[self.at] if self.at < len(self.ids) else -1
        self.at += 1
        if first <= code < first + table:
            return code - first
        if not gg.SPELLED <= code < gg.DIGIT:
            raise ValueError(f"graph: want a label at token {self.at - 1}")
        number = self._number(code - gg.SPELLED + 1)
        if number >= 1 << 63:
            raise ValueError(f"graph: the label {number} is beyond 63 bits")
        return number

    def _number(self, digits: int) -> int:
        part = self.ids[self.at : self.at + digits]
        if len(part) < digits or min(part) < gg.DIGIT:
            raise ValueError(f"graph: want {digits} digits at token {self.at}")
        self.at += digits
        number = 0
        for code in part:
            number = number * BASE + code - gg.DIGIT
        return number


def bits_of(ids: list[int]) -> float:
    """Bits to name valid tokens and their end, by what may stand where each stands (budgets apart).

    Among the codes that may follow an item, first which sort (linked node, jump, reference, end: the
    logarithm of how many sorts there are), then which of its sort.
    """
    bits = ids[0] % 8
    kinds = gg.KINDS if bits & gg.DIRECTED else 1
    node, last, linked = 0, -1, False
    total = 4.0  # the header
    for code in [*ids[1:], gg.SIZE] if ids[0] < gg.EMPTY else []:
        if gg.NODE <= code < gg.SIZE:  # a label, or digits
            table = gg.NODE_TABLE if code < gg.EDGE else gg.EDGE_TABLE
            total += np.log2(BASE if code >= gg.DIGIT else table + gg.MOST_DIGITS)
            continue
        near = max(0, min(node, TABLE - 1) - last - (linked and last < 1 <= node))
        refs = kinds * near - (kinds - 1) * (last < 0)  # a loop has one kind
        refs += kinds * (node >= TABLE and node > last)
        total += np.log2(3 + (refs > 0))
        if gg.LINKED <= code <= gg.JUMP:
            total += np.log2(kinds) if code < gg.JUMP else 0
            node, last, linked = node + 1, -1, code < gg.JUMP
        elif code < gg.SIZE:
            total += np.log2(refs)
            last = (code - gg.REF) % TABLE if code < gg.FAR else TABLE
    return float(total)
