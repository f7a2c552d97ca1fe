"""How the configs of this folder write a task: one call, its templates as pairs of text."""

from __future__ import annotations

from typing import Any

from unitok.config import TaskConfig, Template, Yardstick


def ask(
    source: str,
    weight: float,
    *templates: tuple[str, str],
    metrics: list[str],
    unseen: str | None = None,
    yardstick: tuple[float, str] | None = None,
    **settings: Any,
) -> TaskConfig:
    """A task of (inputs, targets) pairs with its weight in the mixture.

    unseen: inputs with the first pair's targets that training never shows, a held-out template;
    yardstick: (value, where from), to stand beside the first metric; settings: the rest of `TaskConfig`.
    """
    if unseen is not None:
        settings["held_out_templates"] = [Template(inputs=unseen, targets=templates[0][1])]
    if yardstick is not None:
        settings["yardstick"] = {metrics[0]: Yardstick(value=yardstick[0], source=yardstick[1])}
    pairs = [Template(inputs=inputs, targets=targets) for inputs, targets in templates]
    return TaskConfig(source=source, weight=weight, templates=pairs, metrics=metrics, **settings)
