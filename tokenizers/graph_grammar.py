"""The codes of a graph's trail, and what may follow what: inside jit, without branches.

    FIRST + k      the header, and the first node with it; k has bits DIRECTED, NODE_LABELS, EDGE_LABELS
    EMPTY + k      the header of a graph without nodes
    LINKED + kind  a new node, linked to the one before it
    JUMP           a new node, not linked to it
    REF + 256 * kind + d   an edge from the newest node to the one d before it (d = 0: to itself)
    FAR + kind     the same, d beyond the table: its hexadecimal digits follow, as many as the newest
                   node's index has
    NODE + label, EDGE + label     labels in the tables
    SPELLED + k    a label beyond its table: k + 1 hexadecimal digits follow
    DIGIT + x

Kinds of edges: 0 undirected, or directed from the earlier node to the newest; 1 directed from the
newest; 2 both ways. Labels: a linked node has its edge's labels (two for kind 2, the one towards the
newest node first), then its own; a reference has its edge's. The references of a node come with d
strictly increasing, so one register rules out repetitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

DIRECTED, NODE_LABELS, EDGE_LABELS = 1, 2, 4
KINDS, TABLE, NODE_TABLE, EDGE_TABLE, BASE, MOST_DIGITS = 3, 256, 384, 64, 16, 16

FIRST = 0
EMPTY = FIRST + 8
LINKED = EMPTY + 8
JUMP = LINKED + KINDS
REF = JUMP + 1
FAR = REF + KINDS * TABLE
NODE = FAR + KINDS
EDGE = NODE + NODE_TABLE
SPELLED = EDGE + EDGE_TABLE
DIGIT = SPELLED + MOST_DIGITS
SIZE = DIGIT + BASE

MAX_NODES = BASE**7  # a reference being spelled fits an int32 register
AT_HEADER, AT_ITEM, AT_FAR, AT_EDGE_LABEL, AT_NODE_LABEL, AT_DIGITS, AT_END = range(7)


@dataclass(frozen=True)
class GraphGrammar:
    """Automaton of the typed trail. None leaves a choice open; nodes: largest number of them.

    Registers: phase, index of the newest node, last distance, whether the newest node is linked, digits
    left, number being spelled, edge labels to come, node labels to come, header bits, tokens so far.
    """

    directed: bool | None = None
    node_labels: bool | None = None
    edge_labels: bool | None = None
    nodes: int = MAX_NODES
    size: int = SIZE
    min_tokens: int = 2
    num_registers: int = 10

    def registers(self) -> np.ndarray:
        return np.zeros(self.num_registers, np.int32)

    def step(self, registers: Any, code: Any, budget: Any) -> tuple[Any, Any, Any]:
        begin = code < 0
        consumed = self._consume(registers, code)
        position = jnp.where(begin, 0, _position(registers, consumed, code)).astype(jnp.int32)
        registers = jnp.where(begin, registers, consumed)
        return registers, self._allowed(registers, budget), position

    # ---- consuming a code -----------------------------------------------------------------

    def _consume(self, registers: Any, code: Any) -> Any:
        phase, newest, last, linked, digits, number, edges, labels, bits, count = registers
        header, item = phase == AT_HEADER, phase == AT_ITEM
        bits = jnp.where(header, code % 8, bits)
        is_linked = item & (code >= LINKED) & (code < JUMP)
        is_new = (header & (code < EMPTY)) | is_linked | (item & (code == JUMP))
        is_ref = item & (code >= REF) & (code < FAR)
        is_far = item & (code >= FAR) & (code < NODE)

        newest = jnp.where(is_new & ~header, newest + 1, newest)
        linked = jnp.where(is_new, is_linked, linked)
        last = jnp.where(is_new, -1, jnp.where(is_ref, (code - REF) % TABLE, last))

        # digits: of a distance, then of labels
        spelling = (phase == AT_FAR) | (phase == AT_DIGITS)
        is_spelled = (code >= SPELLED) & (code < DIGIT)
        in_label = (phase == AT_EDGE_LABEL) | (phase == AT_NODE_LABEL)
        digits = jnp.where(is_far, _hex_digits(newest), jnp.where(spelling, digits - 1, digits))
        digits = jnp.where(in_label & is_spelled, code - SPELLED + 1, digits)
        number = jnp.where(is_far, 0, number)
        number = jnp.where(phase == AT_FAR, number * BASE + code - DIGIT, number)
        far_done = (phase == AT_FAR) & (digits == 0)
        last = jnp.where(far_done, number, last)

        # labels still to come
        kind = jnp.where(is_linked, code - LINKED, (code - REF) // TABLE)
        kind = jnp.where(is_far, code - FAR, kind)
        per_edge = (bits & EDGE_LABELS != 0) * (1 + (kind == 2))
        edges = jnp.where(is_linked | is_ref | is_far, per_edge, edges)
        edges = jnp.where(phase == AT_EDGE_LABEL, edges - 1, edges)
        labels = jnp.where(is_new, (bits & NODE_LABELS) // NODE_LABELS, labels)
        labels = jnp.where(phase == AT_NODE_LABEL, labels - 1, labels)

        following = jnp.where(
            edges > 0, AT_EDGE_LABEL, jnp.where(labels > 0, AT_NODE_LABEL, AT_ITEM)
        )
        open_label = (in_label & is_spelled) | ((phase == AT_DIGITS) & (digits > 0))
        following = jnp.where(open_label, AT_DIGITS, following)
        following = jnp.where(is_far | ((phase == AT_FAR) & (digits > 0)), AT_FAR, following)
        following = jnp.where((header & (code >= EMPTY)) | (phase == AT_END), AT_END, following)
        new = [following, newest, last, linked, digits, number, edges, labels, bits, count + 1]
        return jnp.stack([jnp.asarray(x).astype(jnp.int32) for x in new])

    # ---- what may come next ---------------------------------------------------------------

    def _allowed(self, registers: Any, budget: Any) -> Any:
        phase, newest, last, linked, digits, number, edges, labels, bits, _ = registers
        codes = jnp.arange(SIZE + 1)
        left = budget - 1  # after the next code
        by_phase = [
            self._headers(codes, left),
            self._items(codes, left, newest, last, linked, bits),
            _far_digits(codes, digits, number, newest, last),
            _labels(codes, EDGE, EDGE_TABLE, left - edges - labels),
            _labels(codes, NODE, NODE_TABLE, left - edges - labels),
            # 16 digits reach 2**63 - 1 only from a first digit below 8
            (codes >= DIGIT) & (codes < DIGIT + jnp.where(digits == MOST_DIGITS, 8, BASE)),
            codes == SIZE,
        ]
        return jnp.stack(by_phase)[phase]

    def _headers(self, codes: Any, left: Any) -> Any:
        allowed = codes < EMPTY + 8
        for bit, wanted in (
            (DIRECTED, self.directed),
            (NODE_LABELS, self.node_labels),
            (EDGE_LABELS, self.edge_labels),
        ):
            if wanted is not None:
                allowed = allowed & ((codes & bit != 0) == wanted)
        first = (codes < EMPTY) & (left >= 1 + (codes & NODE_LABELS) // NODE_LABELS)
        return allowed & ((codes >= EMPTY) | (first if self.nodes > 0 else False))

    def _items(self, codes: Any, left: Any, newest: Any, last: Any, linked: Any, bits: Any) -> Any:
        directed = bits & DIRECTED != 0
        is_linked = (codes >= LINKED) & (codes < JUMP)
        is_ref = (codes >= REF) & (codes < FAR)
        is_far = (codes >= FAR) & (codes < NODE)
        kind = jnp.where(is_linked, codes - LINKED, (codes - REF) // TABLE)
        kind = jnp.where(is_far, codes - FAR, kind)
        distance = (codes - REF) % TABLE

        new = (newest + 1 < min(self.nodes, MAX_NODES)) & (is_linked | (codes == JUMP))
        ref = is_ref & (distance > last) & (distance <= newest)
        ref = ref & ~((distance == 1) & (linked != 0)) & ((distance > 0) | (kind == 0))
        far = is_far & (newest >= TABLE) & (newest > last)

        edge = is_linked | is_ref | is_far
        need = edge * (bits & EDGE_LABELS != 0) * (1 + (kind == 2)) + 1
        need = need + (is_linked | (codes == JUMP)) * ((bits & NODE_LABELS) // NODE_LABELS)
        need = need + is_far * _hex_digits(newest)
        right_kind = ~edge | directed | (kind == 0)
        return ((new | ref | far) & right_kind & (need <= left)) | (codes == SIZE)


def _hex_digits(number: Any) -> Any:
    """How many hexadecimal digits the numbers below 16**7 have, at least 1."""
    return 1 + sum((number >= BASE**k).astype(jnp.int32) for k in range(1, 7))


def _far_digits(codes: Any, digits: Any, number: Any, newest: Any, last: Any) -> Any:
    """Digits after which some distance beyond the table and the last one, up to the first node, is left."""
    span = BASE ** jnp.clip(digits - 1, 0, 6)
    low = (number * BASE + codes - DIGIT) * span
    is_digit = (codes >= DIGIT) & (codes < DIGIT + BASE)
    return is_digit & (low <= newest) & (low + span - 1 >= jnp.maximum(last + 1, TABLE))


def _labels(codes: Any, first: int, table: int, room: Any) -> Any:
    """A label of the table, or a spelled one; room: tokens left besides one for each label and the end's."""
    digits = codes - SPELLED + 1
    spelled = (digits >= 1) & (digits <= MOST_DIGITS) & (digits <= room)
    return ((codes >= first) & (codes < first + table)) | spelled


def _position(before: Any, after: Any, code: Any) -> Any:
    """Token, newest node, and the node referred to (the newest itself where there is none in the table)."""
    is_ref = (before[0] == AT_ITEM) & (code >= REF) & (code < FAR)
    target = after[1] - jnp.where(is_ref, (code - REF) % TABLE, 0)
    return jnp.stack([before[9], after[1], target])
