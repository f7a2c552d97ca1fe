"""model-card.md beside report.html: what a checkpoint is for, what it was made of, what was measured, where it fails.

Written from an evaluation's results and the run's config alone (Mitchell et al. 2019, Model Cards), with
the front matter that the Hugging Face Hub reads (model-index).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unitok.config import Config, TokenizerConfig
from unitok.eval.context import SHUFFLED
from unitok.eval.report import interval, score
from unitok.sequence import fields
from unitok.tokenizers.base import DEFAULTS

METRIC_TYPES = {
    "accuracy": "accuracy",
    "macro F1": "f1",
    "exact match": "exact_match",
    "chrF": "chrf",
}


def write(results: Mapping[str, Any], config: Config, command: str) -> str:
    """The card, Markdown. results: as `runner.evaluate` holds them; command: that repeats the evaluation."""
    parts = [
        _front(results, config),
        f"# {results['run']['name']}",
        _summary(results, config),
        _use(results, config),
        _data(config),
        _tokenizers(results),
        _tasks(results),
        _uncertainty(results),
        _limits(results),
        _again(results, config, command),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# ---- front matter ------------------------------------------------------------------------------


def _front(results: Mapping[str, Any], config: Config) -> str:
    """YAML of which every scalar is JSON, which YAML contains."""
    lines = ["---", "library_name: unitok", "pipeline_tag: any-to-any", "license: unknown", "tags:"]
    lines += [
        f"- {json.dumps(tag)}"
        for tag in ["unitok", "jax", "encoder-decoder", *_modalities(results)]
    ]
    lines += ["datasets:", *(f"- {json.dumps(name)}" for name in config.sources)]
    lines += ["model-index:", f"- name: {json.dumps(results['run']['name'])}", "  results:"]
    entries = []
    for name, task in results["tasks"].items():
        values = [m for m in task["metrics"] if math.isfinite(m["value"])]
        if not values:
            continue
        entries += [
            "  - task:", "      type: any-to-any", f"      name: {json.dumps(name)}", "    dataset:",
            f"      type: {json.dumps(task['source'])}", f"      name: {json.dumps(task['source'])}",
            f"      split: {json.dumps(task['split'])}", "    metrics:",
        ]  # fmt: skip
        for m in values:
            entries += [
                f"    - type: {json.dumps(METRIC_TYPES.get(m['name'], m['name']))}",
                f"      name: {json.dumps(m['name'])}", f"      value: {m['value']:.6g}",
            ]  # fmt: skip
    if not entries:
        lines[-1] += " []"
    return "\n".join([*lines, *entries, "---"])


def _modalities(results: Mapping[str, Any]) -> list[str]:
    return [b["name"] for b in results["run"]["vocabulary"]["blocks"] if b["fingerprint"]]


# ---- what it is --------------------------------------------------------------------------------


def _summary(results: Mapping[str, Any], config: Config) -> str:
    run, model = results["run"], config.model
    about = (
        f"An encoder-decoder of {run['parameters']:,} parameters ({model.encoder_layers} + {model.decoder_layers} "
        f"layers, width {model.d_model}) over one vocabulary of {run['vocabulary']['size']:,} ids: "
        f"{_and(_modalities(results))} are tokens of it, in and out. "
        f"Step {run['step']:,} of {run['steps']:,}{', averaged weights' if run['ema'] else ''}."
    )
    code = f'import unitok\n\nmodel = unitok.load("{run["folder"]}")'
    asked = next(
        (
            (n, t)
            for n, t in config.tasks.items()
            if t.objective.kind == "seq2seq" and n in results["tasks"]
        ),
        None,
    )
    if asked:
        template = asked[1].templates[0]
        given = "".join(f", {f.name}={f.name}" for f in fields(template.inputs))
        target = next(iter(fields(template.targets)), None)
        to = "text" if target is None else target.modality
        code += f"\nout = model.generate({json.dumps(template.inputs, ensure_ascii=False)}{given}, to={json.dumps(to)})"
    return f"{about}\n\n```python\n{code}\n```"


def _use(results: Mapping[str, Any], config: Config) -> str:
    rows = []
    for name in results["tasks"]:
        task = config.tasks[name]
        for template in task.templates[:1]:
            kind = task.objective.kind.replace("_", " ")
            rows.append([name, kind, f"`{template.inputs}`", f"`{template.targets}`"])
    text = (
        "It was trained for these tasks, in these and similar words. Anything else is outside of what was measured: "
        "other data, other wordings and other uses need a measurement of their own first. Nothing here is an "
        "evaluation of safety, and no decision about people should rest on its answers."
    )
    return (
        f"## Intended use\n\n{text}\n\n{_table(['task', 'objective', 'asked', 'answered'], rows)}"
    )


def _data(config: Config) -> str:
    rows = []
    used = {t.source for t in config.tasks.values()} | {
        t.fit.source for t in config.tokenizers.values() if t.fit is not None
    }
    for name, source in config.sources.items():
        if name in used:
            where = source.path or source.options.get("name", "") or "embedded"
            rows.append(
                [
                    name,
                    source.about or f"{source.kind}: {where}",
                    source.licence or "not stated in the config",
                ]
            )
    for name, tokenizer in config.tokenizers.items():
        if licence := _shipped_licence(tokenizer):
            rows.append([f"{name} tokenizer", "as shipped, see its MODEL_CARD.md", licence])
    text = "Trained on the training splits alone; scores are of the splits named with them."
    if any(not source.licence for name, source in config.sources.items() if name in used):
        text += (
            " Where no licence is stated, ask the owner of the data before passing the weights on."
        )
    return f"## Data and licences\n\n{text}\n\n{_table(['source', 'what it is', 'licence'], rows)}"


def _shipped_licence(tokenizer: TokenizerConfig) -> str:
    """What the card of the shipped weights says of their licence; "" for a tokenizer that was fitted or has none."""
    if tokenizer.path is not None or tokenizer.fit is not None:
        return ""
    folder = "-".join(filter(None, [tokenizer.name, tokenizer.options.get("variant")]))
    card = DEFAULTS / folder / "MODEL_CARD.md"
    if not card.is_file():  # a variant of the same weights, or a tokenizer without any
        card = DEFAULTS / tokenizer.name / "MODEL_CARD.md"
    if not card.is_file():
        return ""
    _, _, rest = card.read_text(encoding="utf-8").partition("- **Licence**: ")
    return " ".join(rest.split("\n\n")[0].split())


def _tokenizers(results: Mapping[str, Any]) -> str:
    if not results["tokenizers"]:
        return ""
    rows = [
        [
            name,
            f"{t['size']:,}",
            f"{t['tokens']:.1f}",
            str(t["rate"]),
            str(t["fidelity"]),
            str(t["classical"] or "–"),
        ]
        for name, t in results["tokenizers"].items()
    ]
    head = [
        "modality",
        "codes",
        "tokens / item",
        "rate",
        "fidelity",
        "classical codec at the nearest rate",
    ]
    return f"## Tokenizers\n\nWhat encoding and decoding alone does to test items.\n\n{_table(head, rows)}"


# ---- what was measured -------------------------------------------------------------------------


def _tasks(results: Mapping[str, Any]) -> str:
    metrics = [(name, m) for name, task in results["tasks"].items() for m in task["metrics"]]
    published = any(m["yardstick"] for _, m in metrics)
    rows = [[name, m["name"], *_cells(m)] for name, m in metrics]
    head = ["task", "score", "value", "95 % interval", "baseline", "tokenizer bound", "items"]
    text = ""
    if published:
        head.append("published")
        text = (
            "Published: of a model or method made for the task alone, as its authors state it.\n\n"
        )
        for row, (_, m) in zip(rows, metrics, strict=True):
            beside = m["yardstick"]
            row.append(
                f"{score(beside['value'], m['unit'])} ({beside['source']})" if beside else "–"
            )
    return f"## Results\n\n{text}{_table(head, rows)}"


def _uncertainty(results: Mapping[str, Any]) -> str:
    rows = [
        [
            "Likelihood", "all tasks", f"NLL a token, {name}", score(b["value"], "nats"),
            f"{b['low']:.2f} to {b['high']:.2f}", f"{score(b['unigram'], 'nats')} (unigram)", "–",
            f"{b['items']:,}",
        ]
        for name, b in results.get("likelihood", {}).items()
    ]  # fmt: skip
    rows += [
        [section["title"], task, m["name"], *_cells(m)]
        for section in results.get("probes", {}).values()
        for task, found in section["tasks"].items()
        for m in found["metrics"]
    ]
    head = ["probe", "task", "measure", "value", "95 % interval", "baseline", "bound", "items"]
    return f"## Uncertainty and probes\n\n{_table(head, rows)}" if rows else ""


def _cells(m: Mapping[str, Any]) -> list[str]:
    beside = [
        f"{score(s['value'], m['unit'])} ({s['name']})" if s else "–"
        for s in (m["baseline"], m["bound"])
    ]
    return [score(m["value"], m["unit"]), interval(m) or "–", *beside, f"{m['items']:,}"]


def limits(results: Mapping[str, Any]) -> list[str]:
    """Sentences, each from a number: scores that do not beat their baseline or reach what is published, sources
    that an answer does not surely hang on, coverage below its promise, few items."""
    out = []
    named = [(name, task["metrics"]) for name, task in results["tasks"].items()]
    for section in results.get("probes", {}).values():
        named += [(name, found["metrics"]) for name, found in section["tasks"].items()]
    for name, metrics in named:
        by_name = {m["name"]: m for m in metrics}
        for m in metrics:
            if m["low"] is not None:
                out += [f"{name}: {line}" for line in _shortfalls(m, by_name)]
    few = {name: task["items"] for name, task in results["tasks"].items() if task["items"] < 100}
    if few:
        listed = _and([f"{name} ({items})" for name, items in few.items()])
        out.append(f"Measured on fewer than 100 items: {listed}.")
    return out


def _shortfalls(m: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Where a score with an interval falls short; others: the task's scores by name."""
    said = f"{m['name']} of {score(m['value'], m['unit'])} ({interval(m)})"
    base, published = m["baseline"], m["yardstick"]
    surely_worse = lambda than: m["low"] > than if m["lower"] else m["high"] < than  # noqa: E731
    surely_better = lambda than: m["high"] < than if m["lower"] else m["low"] > than  # noqa: E731
    whole = others.get(m["name"].removesuffix(SHUFFLED))
    if m["name"].endswith(
        SHUFFLED
    ):  # meant to be bad: a limit where it is as good as with the source
        good = whole is not None and whole["low"] is not None
        if good and m["low"] <= whole["high"] and m["high"] >= whole["low"]:  # type: ignore[index]
            return [f"{said} is not surely worse than with the true source."]
        return []
    out = []
    if base is not None:
        beside = f"{base['name']}, {score(base['value'], m['unit'])}"
        if base["name"] == "promised":
            out += [f"{said} is below what is {beside}."] if surely_worse(base["value"]) else []
        elif not surely_better(base["value"]):
            out.append(f"{said} is not surely better than {beside}.")
    if published is not None and surely_worse(published["value"]):
        beside = f"{score(published['value'], m['unit'])} ({published['source']})"
        out.append(f"{said} does not reach the published {beside}.")
    return out


def _limits(results: Mapping[str, Any]) -> str:
    found = limits(results)
    text = (
        "\n".join(f"- {line}" for line in found) or "Every score with a baseline is better than it."
    )
    return f"## Measured limits\n\n{text}"


def _again(results: Mapping[str, Any], config: Config, command: str) -> str:
    run = results["run"]
    sizes = f"{config.steps:,} steps of {config.data.batch_size} packed rows, seed {config.seed}"
    return (
        f"## How to get it again\n\nTrained with `python train/main.py --config={run['folder']}/config.json` ({sizes}); "
        f"evaluated with `{command}`. Vocabulary `{run['vocabulary']['fingerprint']}`."
    )


# ---- Markdown ----------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        plain = (str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
        return f"| {' | '.join(plain)} |"

    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def _and(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)
