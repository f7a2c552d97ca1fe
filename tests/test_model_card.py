"""The model card: licences of the data and of shipped weights, yardsticks, and limits drawn from the numbers."""

from __future__ import annotations

from typing import Any

import pytest

from unitok.config import (
    Config,
    FitConfig,
    SourceConfig,
    TaskConfig,
    Template,
    TokenizerConfig,
)
from unitok.eval import model_card
from unitok.eval.context import metric
from unitok.metrics.bootstrap import Estimate
from unitok.tokenizers.base import DEFAULTS


def results(*metrics: dict[str, Any], items: int = 500) -> dict[str, Any]:
    blocks = [{"name": "text", "start": 0, "size": 8192, "fingerprint": "f"}]
    run = {
        "name": "small", "folder": "small", "step": 1, "steps": 1, "parameters": 10, "ema": False,
        "vocabulary": {"size": 8192, "fingerprint": "f", "blocks": blocks},
    }  # fmt: skip
    task = {"metrics": list(metrics), "items": items, "source": "digits", "split": "test"}
    return {"run": run, "tokenizers": {}, "tasks": {"read": task}}


def config(**source: str) -> Config:
    return Config(
        name="small",
        steps=1,
        tokenizers={
            "text": TokenizerConfig(name="text"),
            "audio": TokenizerConfig(name="audio", options={"variant": "high"}),
            "image": TokenizerConfig(name="image", fit=FitConfig(source="digits")),
        },
        sources={"digits": SourceConfig(kind="sklearn", options={"name": "digits"}, **source)},
        tasks={
            "read": TaskConfig(
                source="digits", templates=[Template(inputs="{image}", targets="{label:text}")]
            )
        },
    )


def share(value: float, low: float, high: float, name: str = "accuracy", **more: Any) -> Any:
    found = metric(name, Estimate(value, low, high, 500), "%", more.pop("baseline", None))
    return {**found, **more}


def test_the_card_gives_the_licences_of_data_and_shipped_weights() -> None:
    card = model_card.write(results(), config(about="UCI digits", licence="CC BY 4.0"), "again")
    section = card.partition("## Data and licences")[2].partition("##")[0]
    assert "| digits | UCI digits | CC BY 4.0 |" in section
    assert "audio tokenizer" in section and "CC BY-SA 4.0, because FSDD is" in section
    assert "text tokenizer" in section and "Apache-2.0, like the code" in section
    assert "image tokenizer" not in section, "it was fitted here, to data that is listed"
    assert "ask the owner" not in section
    unstated = model_card.write(results(), config(), "again")
    assert "not stated in the config" in unstated and "ask the owner" in unstated
    assert "## Intended use" in card


def test_every_shipped_card_names_its_licence() -> None:
    cards = sorted(DEFAULTS.glob("*/MODEL_CARD.md"))
    assert len(cards) >= 4
    for card in cards:
        assert "- **Licence**: " in card.read_text(encoding="utf-8"), card


def test_yardsticks_stand_beside_the_results_of_tasks_that_have_one() -> None:
    published = {"value": 0.934, "source": "a CNN"}
    card = model_card.write(results(share(0.9, 0.88, 0.92, yardstick=published)), config(), "again")
    assert "| published |" in card and "93.4 % (a CNN)" in card
    assert "published" not in model_card.write(results(share(0.9, 0.88, 0.92)), config(), "again")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (share(0.12, 0.08, 0.16, baseline=("one for all", 0.1)), "not surely better than one for"),
        (share(0.9, 0.88, 0.92, baseline=("one for all", 0.1)), None),
        (share(0.9, 0.88, 0.92, yardstick={"value": 0.934, "source": "a CNN"}), "does not reach"),
        (share(0.9, 0.88, 0.94, yardstick={"value": 0.934, "source": "a CNN"}), None),
        (share(0.85, 0.82, 0.88, baseline=("promised", 0.9)), "below what is promised"),
        (share(0.89, 0.87, 0.92, baseline=("promised", 0.9)), None),
        (share(0.3, 0.2, 0.4, lower=True, yardstick={"value": 0.1, "source": "x"}), "not reach"),
    ],
)
def test_a_limit_is_a_score_that_falls_short(found: dict[str, Any], said: str | None) -> None:
    limits = model_card.limits(results(found))
    assert (len(limits) == 1 and said in limits[0]) if said else limits == []


def test_a_shuffled_source_is_a_limit_only_where_it_does_as_well() -> None:
    whole = share(0.9, 0.88, 0.92, baseline=("one for all", 0.1))
    name = f"accuracy{model_card.SHUFFLED}"
    bad = share(0.09, 0.05, 0.13, name, baseline=("one for all", 0.1))
    assert model_card.limits(results(whole, bad)) == []
    (line,) = model_card.limits(results(whole, share(0.89, 0.85, 0.93, name)))
    assert "not surely worse than with the true source" in line
