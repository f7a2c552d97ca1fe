"""How a tokenized pair becomes a training example: pure functions of (inputs, targets, rng).

    seq2seq           the targets given the inputs                         Raffel et al. 2020, T5
    prefix            the rest of the targets given their beginning        Raffel et al. 2020, prefix LM
    next_token        inputs and targets as one causal stretch             Radford et al. 2019
    span_corruption   the masked spans of the targets: UL2's R, S and X    Tay et al. 2022, UL2
    cross_modal       a random part of the targets given another part      Mizrahi et al. 2023, 4M
    contrastive       the embedding of the targets given the inputs'         Radford et al. 2021, CLIP

The inputs are context and stay whole; what is cut up or masked is the targets. A masked span is seen
as one sentinel: its contents never. In values with axes of their own (images, audio, series) what is
left keeps its positions, so a gap's place shows; in sequences (text, graphs) positions close up.

Axes: n tokens, U units (text runs and marked values) of the targets.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from unitok import spans
from unitok.config import ConfigError, ObjectiveConfig
from unitok.interfaces import Example, Tokens
from unitok.sequence import end_of, next_position, shift, special
from unitok.vocabulary import BOS, MASK, MODES, SENTINELS, Vocabulary

Objective = Callable[[Tokens, Tokens, int, np.random.Generator], Example]

# (mode, share masked, mean span length, weight): the seven denoisers of UL2, table 3; S is a cut
UL2 = (
    ("R", 0.15, 3, 1.0),
    ("R", 0.15, 8, 1.0),
    ("X", 0.50, 3, 1.0),
    ("X", 0.50, 8, 1.0),
    ("X", 0.15, 64, 1.0),
    ("X", 0.50, 64, 1.0),
    ("S", 0.25, 0, 1.0),
)
CONCENTRATIONS = (0.01, 0.1, 1.0, 10.0)  # of the symmetric Dirichlet: 4M's mixture of four


def build(config: ObjectiveConfig, vocabulary: Vocabulary) -> Objective:
    """The objective of a task. Raises ConfigError for an option its kind does not have."""
    makers: dict[str, Callable[..., Objective]] = {
        "seq2seq": lambda _: seq2seq,
        "prefix": lambda _, **options: _prefix(**options),
        "next_token": lambda _: next_token,
        "span_corruption": _span_corruption,
        "cross_modal": _cross_modal,
        "contrastive": lambda _, **options: _contrastive(config),
    }
    known = {
        "prefix": ("shown",),
        "span_corruption": ("denoisers",),
        "cross_modal": ("bidirectional", "concentrations", "mean_span"),
        "contrastive": ("temperature", "weight"),
    }.get(config.kind, ())
    for name in config.options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
            )
            raise ConfigError(f"objective.options.{name}: {config.kind} has no such option; {hint}")
    return makers[config.kind](vocabulary, **config.options)


def hides(config: ObjectiveConfig) -> bool:
    """Whether parts of the targets are shown as input, so that a field may not stand on both sides."""
    return config.kind in ("prefix", "span_corruption", "cross_modal", "contrastive")


# ---- sequence to sequence, prefix, next token ------------------------------------------------


def seq2seq(
    inputs: Tokens, targets: Tokens, target_modality: int, rng: np.random.Generator
) -> Example:
    """The encoder reads the inputs, the decoder writes the targets (T5)."""
    return causal(inputs, targets, target_modality)


def next_token(
    inputs: Tokens, targets: Tokens, target_modality: int, rng: np.random.Generator
) -> Example:
    """Inputs and targets as one stretch in the decoder, every token asked; the encoder reads nothing."""
    joined = Tokens.concatenate([shift(inputs, 1), shift(targets, next_position(inputs))])
    return causal(Tokens.concatenate([]), joined, 0 if len(inputs) else target_modality)


def prefix(
    inputs: Tokens,
    targets: Tokens,
    target_modality: int,
    rng: np.random.Generator,
    shown: tuple[float, float] = (0.0, 1.0),
) -> Example:
    """The encoder reads the inputs and the first tokens of the targets, the decoder writes the rest.

    shown: range of the share that is read, uniform; the rest keeps its positions and is never empty.
    """
    body = len(targets) - 1  # EOS is not counted, and always left to write
    cut = min(int(rng.uniform(*shown) * body + 0.5), max(body - 1, 0))
    seen = shift(targets[:cut], next_position(inputs) - 1)
    return causal(Tokens.concatenate([inputs, seen]), targets[cut:], target_modality)


def causal(inputs: Tokens, targets: Tokens, target_modality: int) -> Example:
    """Teacher forcing: the decoder is fed BOS and the targets but the last; each label is asked."""
    fed = Tokens.concatenate([special(BOS, 0), targets[:-1]])
    return Example(inputs, fed, targets.ids, np.ones(len(targets), np.float32), target_modality)


def _prefix(shown: tuple[float, float] = (0.0, 1.0)) -> Objective:
    low, high = _range(shown, "shown")
    return functools.partial(prefix, shown=(low, high))


# ---- span corruption -------------------------------------------------------------------------


def span_corruption(
    inputs: Tokens,
    targets: Tokens,
    target_modality: int,
    rng: np.random.Generator,
    vocabulary: Vocabulary,
    denoisers: tuple[tuple[str, float, float, float], ...] = UL2,
) -> Example:
    """One denoiser of the mixture, drawn by weight, told to the model by its mode token.

    R and X mask spans inside every unit of the targets: the encoder reads the mode, the inputs, and the
    targets with one sentinel a span; the decoder writes each sentinel and what stood there, then EOS.
    S cuts off the end (a share of `rate` on average), and stands in where there is nothing to mask
    (no unit of two codes). Where there are more spans than sentinels (100), spans grow instead.
    """
    weights = np.array([denoiser[3] for denoiser in denoisers])
    mode, rate, mean_span, _ = denoisers[rng.choice(len(denoisers), p=weights / weights.sum())]
    units = [] if mode == "S" else spans.units(targets[:-1], vocabulary)
    masks, left = [], SENTINELS
    for unit in units:
        masks.append(spans.random_spans(unit.codes, round(unit.codes * rate), mean_span, rng, left))
        left -= spans.count(masks[-1])
    if left == SENTINELS:
        inputs = Tokens.concatenate([special(MODES["S"], 0), shift(inputs, 1)])
        shown = (1 - 2 * rate, 1.0) if rate <= 0.5 else (0.0, 2 - 2 * rate)
        return prefix(inputs, targets, target_modality, rng, shown)
    seen, asked = spans.corrupt(targets[:-1], units, masks, vocabulary)
    inputs = Tokens.concatenate([special(MODES[mode], 0), shift(inputs, 1)])
    inputs = Tokens.concatenate([inputs, shift(seen, next_position(inputs))])
    masked = [unit for unit, mask in zip(units, masks) if mask.any()]
    return causal(inputs, _ended(asked), _common(masked))


def _span_corruption(vocabulary: Vocabulary, denoisers: Any = UL2) -> Objective:
    rows = []
    for row in denoisers:
        sound = (
            isinstance(row, (list, tuple))
            and len(row) == 4
            and row[0] in MODES
            and 0 < row[1] < 1
            and (row[0] == "S" or row[2] >= 1)
            and row[3] >= 0
        )
        if not sound:
            raise ConfigError(
                "objective.options.denoisers: want rows [R, S or X, share masked in (0, 1), "
                f"mean span of 1 or more, weight], got {row!r}"
            )
        rows.append(tuple(row))
    if sum(row[3] for row in rows) <= 0:
        raise ConfigError("objective.options.denoisers: want at least one of positive weight")
    return functools.partial(span_corruption, vocabulary=vocabulary, denoisers=tuple(rows))


# ---- cross-modal masking ---------------------------------------------------------------------


def cross_modal(
    inputs: Tokens,
    targets: Tokens,
    target_modality: int,
    rng: np.random.Generator,
    vocabulary: Vocabulary,
    bidirectional: float = 0.5,
    concentrations: tuple[float, ...] = CONCENTRATIONS,
    mean_span: float = 3.0,
) -> Example:
    """Show a random part of the targets, ask for all of the rest.

    How many tokens are shown is uniform; a Dirichlet draw shares them out over the units, so that often
    one modality is shown and another asked. A share `bidirectional` of the examples whose targets hold
    a value with axes masks single codes of those: the decoder holds them with MASK at the places to
    predict, as parallel decoding does; units that are fully shown, and text, go to the encoder. The others
    are causal, with spans and sentinels as in span corruption.
    (4M also draws a budget for what is asked; here everything masked is asked, so nothing is lost.)
    """
    body = targets[:-1]
    units = spans.units(body, vocabulary)
    hidden = [unit.codes - k for unit, k in zip(units, _budgets(units, rng, concentrations))]
    parallel = rng.random() < bidirectional
    if parallel and any(unit.axes and k for unit, k in zip(units, hidden)):
        return _parallel(inputs, body, units, hidden, rng, vocabulary, mean_span)
    masks, left = [], SENTINELS
    for unit, k in zip(units, hidden):
        masks.append(spans.random_spans(unit.codes, k, mean_span, rng, left, whole=True))
        left -= spans.count(masks[-1])
    seen, asked = spans.corrupt(body, units, masks, vocabulary)
    inputs = Tokens.concatenate([inputs, shift(seen, next_position(inputs))])
    return causal(
        inputs, _ended(asked), _common([unit for unit, mask in zip(units, masks) if mask.any()])
    )


def _parallel(
    inputs: Tokens,
    body: Tokens,
    units: list[spans.Unit],
    hidden: list[int],
    rng: np.random.Generator,
    vocabulary: Vocabulary,
    mean_span: float,
) -> Example:
    """Values with something to predict lie in the decoder, everything else in the encoder."""
    ask = [unit.axes and k > 0 for unit, k in zip(units, hidden)]
    rest = [unit for unit, a in zip(units, ask) if not a]
    masks, left = [], SENTINELS
    for unit, k in zip(units, hidden):
        if not (unit.axes and k > 0):
            masks.append(spans.random_spans(unit.codes, k, mean_span, rng, left, whole=True))
            left -= spans.count(masks[-1])
    seen, _ = spans.corrupt(body, rest, masks, vocabulary)
    inputs = Tokens.concatenate([inputs, shift(seen, next_position(inputs))])
    slots, places, cursor = [], [], 1
    for unit, k, asked in zip(units, hidden, ask):
        if asked:
            mask = np.zeros(unit.stop - unit.start, bool)
            first = unit.first - unit.start
            mask[first + rng.permutation(unit.codes)[:k]] = True
            part = body[unit.start : unit.stop]
            slots.append(shift(part, cursor - int(part.positions[0, 0])))
            places.append(mask)
            cursor = next_position(slots[-1])
    labels = _ended(Tokens.concatenate(slots))
    masked = np.append(np.concatenate(places), False)
    fed = Tokens(np.where(masked, MASK, labels.ids), labels.positions, labels.modality)
    modality = _common([unit for unit, a in zip(units, ask) if a])
    return Example(inputs, fed, labels.ids, masked.astype(np.float32), modality, bidirectional=True)


def _budgets(
    units: list[spans.Unit], rng: np.random.Generator, concentrations: tuple[float, ...]
) -> list[int]:
    """Codes to show of each unit: a uniform total shared out by a Dirichlet draw, at least one left to ask."""
    sizes = np.array([unit.codes for unit in units])
    total = int(sizes.sum())
    if total == 0:
        return [0] * len(units)
    budget = rng.integers(0, total)
    alpha = concentrations[rng.integers(len(concentrations))]
    # gamma draws of a tiny alpha underflow to 0; the floor keeps the shares a distribution
    draws = np.maximum(rng.gamma(alpha, size=len(units)), 1e-300)
    shown = np.minimum(np.floor(draws / draws.sum() * budget + 0.5).astype(int), sizes)
    if shown.sum() == total:
        shown[np.argmax(shown)] -= 1
    return shown.tolist()


def _cross_modal(
    vocabulary: Vocabulary,
    bidirectional: float = 0.5,
    concentrations: Any = CONCENTRATIONS,
    mean_span: float = 3.0,
) -> Objective:
    if not 0 <= bidirectional <= 1:
        raise ConfigError(
            f"objective.options.bidirectional: want a share in 0..1, got {bidirectional}"
        )
    if not concentrations or min(concentrations) <= 0 or mean_span < 1:
        raise ConfigError(
            "objective.options: want positive concentrations and a mean_span of 1 or more"
        )
    return functools.partial(
        cross_modal,
        vocabulary=vocabulary,
        bidirectional=float(bidirectional),
        concentrations=tuple(concentrations),
        mean_span=float(mean_span),
    )


# ---- contrastive -----------------------------------------------------------------------------


def contrastive(
    inputs: Tokens, targets: Tokens, target_modality: int, rng: np.random.Generator
) -> Example:
    """Two sides for `unitok.model.contrastive`: no label is asked. The targets lie in the decoder's row as
    the encoder will read them, from position 0 and without EOS."""
    side = shift(targets[:-1], -1)
    none = np.zeros(len(side), np.float32)
    return Example(inputs, side, side.ids, none, 0, bidirectional=True)


def contrastive_options(config: ObjectiveConfig) -> tuple[float, float]:
    """(temperature, weight). Raises ConfigError."""
    temperature, weight = (
        config.options.get(n, d) for n, d in (("temperature", 0.07), ("weight", 1.0))
    )
    for name, value in (("temperature", temperature), ("weight", weight)):
        if not isinstance(value, (int, float)) or not value > 0:
            raise ConfigError(f"objective.options.{name}: want a positive number, got {value!r}")
    return float(temperature), float(weight)


def _contrastive(config: ObjectiveConfig) -> Objective:
    contrastive_options(config)
    return contrastive


# ---- shared ----------------------------------------------------------------------------------


def _ended(body: Tokens) -> Tokens:
    return Tokens.concatenate([body, end_of(body)])


def _common(units: list[spans.Unit]) -> int:
    """The modality that all units share, else 0."""
    found = {unit.modality for unit in units}
    return found.pop() if len(found) == 1 else 0


def _range(value: Any, name: str) -> tuple[float, float]:
    sound = isinstance(value, (list, tuple)) and len(value) == 2 and 0 <= value[0] <= value[1] <= 1
    if not sound:
        raise ConfigError(
            f"objective.options.{name}: want [low, high] shares in 0..1, got {value!r}"
        )
    return float(value[0]), float(value[1])
