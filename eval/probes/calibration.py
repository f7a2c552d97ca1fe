"""Probe `calibration`: is the model as often right as it says, token by token and answer by answer?

Tokens: teacher-forced, each under its target's mask. Answers: where a task chooses among few, the probability
of each candidate. Temperatures are fitted on one random half of the items and judged on the other.

Axes: R rows, T labels, V ids, G temperatures, N items or tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unitok.eval import likelihood
from unitok.eval.context import TaskContext, metric
from unitok.eval.probes.findings import Probed, chart, findings, lower, number, table
from unitok.eval.probes.labels import Labelled, label_scores
from unitok.eval.scores_text import calibration_metric
from unitok.interfaces import Batch
from unitok.metrics import bootstrap, calibration, classification
from unitok.predictor import Predictor

TEMPERATURES = 1.15 ** np.arange(-6, 11)  # 0.43 to 4.05, 1 among them
LEAST = 8  # items a half


def probe(probed: Probed) -> dict[str, Any] | None:
    """None for a task without an answer to score."""
    task = probed.task
    if not any(example.weights.any() for example in task.examples):
        return None
    rows, curves = _tokens(task)
    tables = [
        table(
            "Tokens of the answers", TOKEN_COLUMNS, rows,
            "Teacher-forced. ECE: mean gap between the probability of the likeliest token and how often it is "
            "right, 10 bins. T: temperature fitted on one half of the items; “other half” is before → after.",
        )
    ]  # fmt: skip
    charts = [chart("Reliability, tokens", curves, "confidence", "accuracy")]
    metrics: list[dict[str, Any]] = []
    labelled = label_scores(probed)
    if labelled is not None:
        found, more, drawn = _answers(labelled, probed.seed)
        metrics, tables, charts = found, [more, *tables], [*drawn, *charts]
    about = "How often the model is right when it says it is sure."
    return findings(about, metrics, tables, charts)


# ---- tokens ------------------------------------------------------------------------------------

TOKEN_COLUMNS = (
    "modality", "tokens", "NLL, nats / token", "ECE", "T", "NLL, other half", "ECE, other half",
)  # fmt: skip


def _tokens(task: TaskContext) -> tuple[list[list[Any]], dict[str, Any]]:
    """One row of the table a modality, and its reliability curve."""
    say = lambda done, total: task.say(f"{task.name}: confidence of tokens {done}/{total} rows")  # noqa: E731
    found = token_confidence(task.predictor, task.examples, say)
    names = task.run.vocabulary.names
    places = [_modality(task, example) for example in task.examples]
    order = np.random.default_rng(task.settings.seed).permutation(len(found))
    fitting = set(order[: len(order) // 2].tolist())
    cold = int(np.argmin(np.abs(np.log(TEMPERATURES))))  # T = 1
    curves: dict[str, tuple[Any, Any]]
    rows, curves = [], {"perfect": ((0.0, 1.0), (0.0, 1.0))}
    for index in sorted({int(m) for place in places for m in place}):
        parts = [scores[place == index] for scores, place in zip(found, places)]
        sums, counts = (
            np.array([p[:, 0, cold].sum() for p in parts]),
            np.array([len(p) for p in parts]),
        )
        everything = np.concatenate(parts)
        hits = everything[:, 2, 0]
        nll = bootstrap.ratio(sums, counts, task.settings.seed)
        owners = np.repeat(np.arange(len(parts)), counts)
        error = calibration.calibration_error(
            everything[:, 1, cold], hits, owners, task.settings.seed
        )
        row = [names[index], f"{counts.sum():,}", number(nll, "", 3), number(error, "%")]
        rows.append([*row, *_tempered(parts, fitting, cold)])
        bins = calibration.reliability(everything[:, 1, cold], hits)
        curves[names[index]] = ([b.confidence for b in bins], [b.accuracy for b in bins])
    return rows, curves


def _tempered(parts: Sequence[np.ndarray], fitting: set[int], cold: int) -> list[Any]:
    """Cells: the temperature of one half, NLL and ECE of the other before and after."""
    halves = [
        np.concatenate([p for i, p in enumerate(parts) if (i in fitting) == side] or [np.zeros((0, 3, 1))])
        for side in (True, False)
    ]  # fmt: skip
    if min(map(len, halves)) < LEAST:
        return [number(None)] * 3
    fit, judged = halves
    best = int(fit[:, 0].mean(axis=0).argmin())
    before, after = (float(judged[:, 0, g].mean()) for g in (cold, best))
    gaps = [_error(judged[:, 1, g], judged[:, 2, 0]) for g in (cold, best)]
    return [
        number(TEMPERATURES[best]),
        f"{before:.3f} → {after:.3f}",
        f"{100 * gaps[0]:.1f} → {100 * gaps[1]:.1f} %",
    ]


def token_confidence(
    predictor: Predictor, examples: Sequence[Any], say: Any = None
) -> list[np.ndarray]:
    """For each asked label, at each of TEMPERATURES: float64 [labels, 3, G], -log p of it, the highest
    probability, and whether the label has it."""
    ranges = tuple(map(tuple, predictor.vocabulary.ranges().tolist()))
    run = functools.partial(_confidence, predictor.model, ranges, predictor.params)
    return likelihood.by_label(run, examples, say)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _confidence(model: Any, ranges: tuple[tuple[int, int], ...], params: Any, batch: Batch) -> Any:
    """[R, T, 3, G] of every label, under the mask of its target's modality as in the loss."""
    memory = model.encode(
        params, batch.encoder_ids_BS, batch.encoder_positions_BS3, batch.encoder_modality_BS,
        batch.encoder_segments_BS,
    )  # fmt: skip
    hidden = model.decode(
        params, memory, batch.encoder_segments_BS, batch.decoder_ids_BT, batch.decoder_positions_BT3,
        batch.decoder_modality_BT, batch.decoder_segments_BT, batch.decoder_bidirectional_BT,
    )  # fmt: skip
    logits_RTV = model.logits(params, hidden)
    ids = jnp.arange(logits_RTV.shape[-1])
    low, high = jnp.moveaxis(jnp.array(ranges)[batch.target_modality_BT], -1, 0)
    inside = (ids >= low[..., None]) & (ids < high[..., None])
    common = ids < ranges[2][0]
    free = batch.target_modality_BT[..., None] == 0
    logits_RTV = jnp.where(free | inside | common, logits_RTV, -1e9)
    label = jnp.take_along_axis(logits_RTV, batch.labels_BT[..., None], axis=-1)[..., 0]
    top = logits_RTV.max(axis=-1)

    def at(temperature: Any) -> Any:
        log_z = jax.nn.logsumexp(logits_RTV / temperature, axis=-1)
        return log_z - label / temperature, jnp.exp(top / temperature - log_z)

    nll_GRT, confidence_GRT = jax.lax.map(at, jnp.asarray(TEMPERATURES, jnp.float32))
    hit_GRT = jnp.broadcast_to(label >= top, nll_GRT.shape).astype(jnp.float32)
    return jnp.moveaxis(jnp.stack([nll_GRT, confidence_GRT, hit_GRT]), (0, 1), (-2, -1))


def _modality(task: TaskContext, example: Any) -> np.ndarray:
    """Modality id of each asked label: its target's, else its own block's."""
    asked = example.labels[example.weights > 0]
    if example.target_modality:
        return np.full(len(asked), example.target_modality)
    return task.run.vocabulary.modality_of(asked)


# ---- answers -----------------------------------------------------------------------------------


def _answers(
    labelled: Labelled, seed: int
) -> tuple[list[dict[str, Any]], dict[str, Any], list[dict[str, Any]]]:
    """Scores, a table before and after temperature scaling, and the diagrams."""
    truth, right = labelled.truth_N, labelled.correct_N
    n = len(truth)
    classes = int(np.isfinite(labelled.log_probs_NK).sum(axis=1).max())
    nll = bootstrap.mean(calibration.nll(labelled.log_probs_NK, truth), seed)
    confidence = labelled.confidence_N
    risk = 1 - float(right.mean())
    metrics = [
        metric("NLL of the right answer", nll, "nats", ("every answer alike", float(np.log(classes)))),
        calibration_metric(confidence, right, seed),
        metric(
            "error among the surest half", _interval(_half_risk, confidence, right, seed), "%",
            ("all answered", risk), ("surest first without fault", max(0.0, 2 * risk - 1)),
            "what is left when the model may abstain from the other half",
        ),
        metric(
            "area under risk-coverage", _interval(calibration.aurc, confidence, right, seed), "%",
            ("confidence that tells nothing", risk), ("oracle", calibration.oracle_aurc(right)),
            "mean error over all shares answered, the surest first (AURC)",
        ),
    ]  # fmt: skip
    metrics = [lower(found) for found in metrics]
    order = np.random.default_rng(seed).permutation(n)
    halves = order[: n // 2], order[n // 2 :]
    tables, tempered = _scaled(labelled, *halves, seed)
    bins = calibration.reliability(confidence, right)
    reliable = {
        "perfect": ((0.0, 1.0), (0.0, 1.0)),
        "as trained": ([b.confidence for b in bins], [b.accuracy for b in bins]),
        **tempered,
    }
    coverage, risks = calibration.risk_coverage(confidence, right)
    best = np.sort(right.astype(float))[::-1]
    oracle = np.cumsum(1 - best) / np.arange(1, n + 1)
    charts = [
        chart("Reliability, answers", reliable, "confidence", "accuracy"),
        chart(
            "Abstention",
            {"model": (coverage, risks), "oracle": (coverage, oracle)},
            "share answered, the surest first",
            "error among them",
        ),
    ]
    return metrics, tables, charts


def _scaled(
    labelled: Labelled, fit: np.ndarray, judged: np.ndarray, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Temperature scaling, fitted on one half and judged on the other, and its reliability there."""
    logits, truth = labelled.log_probs_NK, labelled.truth_N
    columns = ("T", "items", "NLL, nats", "Brier", "ECE", "accuracy")
    rows: list[list[Any]] = []
    curve: dict[str, Any] = {}
    enough = min(len(fit), len(judged)) >= LEAST
    fitted = calibration.fit_temperature(logits[fit], truth[fit]) if enough else 1.0
    for temperature in (1.0, fitted) if enough else (1.0,):
        probs = calibration.probabilities(logits[judged], temperature)
        right = probs.argmax(axis=1) == truth[judged]
        rows.append(
            [
                number(temperature), str(len(judged)),
                number(bootstrap.mean(calibration.nll(logits[judged] / temperature, truth[judged]), seed), "", 3),
                number(bootstrap.mean(calibration.brier(probs, truth[judged]), seed), "", 3),
                number(calibration.calibration_error(probs.max(axis=1), right, None, seed), "%"),
                number(bootstrap.mean(right.astype(float), seed), "%"),
            ]
        )  # fmt: skip
        bins = calibration.reliability(probs.max(axis=1), right)
        curve = {"scaled": ([b.confidence for b in bins], [b.accuracy for b in bins])}
    mass = float(labelled.mass_N.mean())
    note = (
        f"T fitted on {len(fit)} items, judged on the other {len(judged)}. Without the choice given, the model "
        f"puts {100 * mass:.1f} % of its probability on the known answers."
    )
    return table("Temperature scaling of the answers", columns, rows, note), curve if enough else {}


def _error(confidence: np.ndarray, right: np.ndarray) -> float:
    return classification.expected_calibration_error(
        confidence.tolist(), right.astype(bool).tolist()
    )


def _half_risk(confidence: np.ndarray, right: np.ndarray) -> float:
    return float(calibration.risk_coverage(confidence, right)[1][(len(right) + 1) // 2 - 1])


def _interval(
    score: Any, confidence: np.ndarray, right: np.ndarray, seed: int
) -> bootstrap.Estimate:
    """A score of (confidence, right) with its percentile interval over resampled items."""
    rng, n = np.random.default_rng(seed), len(right)
    draws = [score(confidence[i], right[i]) for i in rng.integers(n, size=(500, n))]
    low, high = np.quantile(draws, [0.025, 0.975])
    return bootstrap.Estimate(float(score(confidence, right)), float(low), float(high), n)
