"""Solved examples before a question: each its inputs, a space, its answer and a line break.

    "Which digit is this? {image}" -> "{label:text}" after one solved example:
    "Which digit is this? {image_0:image} {label_0:text}\nWhich digit is this? {image_1:image}" -> "{label_1:text}"

Training writes such prompts where a task asks for them (`TaskConfig.shots`), evaluation in the probe
`instructions`: both here, so that what is asked is what was trained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from unitok.config import Template
from unitok.sequence import fields

_FIELD = re.compile(r"(?<!\{)\{(\w+)((?::\w+)?)((?:@\w+)?)\}")


def few_shot(
    template: Template, solved: Sequence[Mapping[str, Any]], record: Mapping[str, Any]
) -> tuple[Template, dict[str, Any]]:
    """The question about `record` after the solved ones: a template whose fields are numbered, and their values.

    Only what the template names is read of a record.
    """
    shown = f"{template.inputs} {template.targets}\n"
    inputs = "".join(renamed(shown, number) for number in range(len(solved)))
    last = len(solved)
    names = {
        name
        for field in fields(template.inputs) + fields(template.targets)
        for name in (field.name, field.context)
        if name is not None
    }
    given = {
        f"{name}_{number}": row[name]
        for number, row in enumerate([*solved, record])
        for name in sorted(names)
    }
    asked = Template(
        inputs=inputs + renamed(template.inputs, last), targets=renamed(template.targets, last)
    )
    return asked, given


def renamed(template: str, number: int) -> str:
    """`{image}` as `{image_0:image}`: each shown item's fields have names of their own.

    >>> renamed("{{a}} {image} {past:series} {x:series@past}", 2)
    '{{a}} {image_2:image} {past_2:series} {x_2:series@past_2}'
    """

    def rename(match: re.Match[str]) -> str:
        name, modality, context = match.groups()
        where = f"{context}_{number}" if context else ""
        return f"{{{name}_{number}{modality or ':' + name}{where}}}"

    return _FIELD.sub(rename, template)
