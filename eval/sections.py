"""Sections of the evaluation beyond the tasks' scores: anything measured on the model over several tasks.

A section is an object with the four members of `Section`, listed in SECTIONS; its result goes into
metrics.json under its name (all but `blocks`) and onto the page. It is kept like a task's result and not
computed again while its version and the tasks' identities stay.

    {"title": "Retrieval", "about": "one paragraph", ...numbers of any names..., "blocks": [block, ...]}

blocks, in the order of the page:
    {"kind": "table", "title": "", "head": [str], "rows": [[str or number]], "note": ""}
    {"kind": "figure", "title": "", "svg": str, "names": [str], "note": ""}       names: of its curves, for the legend
    {"kind": "matrix", "title": "", "labels": [str], "columns": [str], "values": [[0..1]], "note": ""}
    {"kind": "samples", "title": "", "samples": [as a task's], "wide": bool, "note": ""}
    {"kind": "text", "title": "", "text": str}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from unitok.eval.context import TaskContext


class Section(Protocol):
    """name: key in metrics.json and file name. version: raised when its numbers come out another way."""

    name: str
    version: int

    def applies(self, contexts: Sequence[TaskContext]) -> bool:
        """Whether these tasks give it anything to measure."""

    def run(self, contexts: Sequence[TaskContext]) -> dict[str, Any]:
        """The result; all randomness from `contexts[0].settings.seed`, progress to `contexts[0].say`."""


SECTIONS: list[Section] = []
