"""Tasks that answer with a series: forecasts from several samples, or series compared with the truth.

Axes: S samples, T steps of the horizon, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unitok.eval import exchanged, figures
from unitok.eval.context import SAMPLES, TOKENS, Settings, TaskContext, metric
from unitok.metrics import bootstrap, series
from unitok.values import Series

FORECAST = ("exact_match", "mase", "wql", "crps", "mae", "mse", "smape", "coverage")
SHARES = ("exact_match", "coverage")
EXACT = 1e-5  # error, over the size of the truth's values, up to which a series counts as equal
NAMES = frozenset([*FORECAST, "judge"])
DEFAULT = ("mase", "wql", "crps", "coverage")
TITLES = {
    "mase": "MASE", "wql": "WQL", "crps": "CRPS over mean |y|", "mae": "MAE",
    "exact_match": "exact match", "mse": "MSE", "smape": "sMAPE", "coverage": "inside the 80 % band",
}  # fmt: skip
NOTES = {
    "mse": "of the samples' mean, which this error asks for (Gneiting 2011) and GluonTS takes; all others: of their median",
    "mase": "error of the median forecast over that of the seasonal naive one inside the past",
    "wql": "weighted quantile loss of levels 0.1 to 0.9",
    "coverage": "80 % is right: less is too sure of itself, more too little",
}


def score_series(task: TaskContext) -> dict[str, Any]:
    """Forecast errors from `settings.samples` samples an item; beside repeat-last and seasonal naive."""
    field = task.target_field(task.config.templates[0])
    tokenizer = task.predictor.tokenizers[field.modality]
    count = task.settings.samples if field.context else 1
    places = _places(task, count)
    records = [task.records[i] for i in places]
    truths = [record[field.name] for record in records]
    pasts = [record[field.context] if field.context else None for record in records]
    made = _ask(task, places, records, field, count)
    values = [_stack(samples, truth) for samples, truth in zip(made, truths)]
    rebuilt = [
        tokenizer.decode(tokenizer.encode(truth, context=past), context=past).values[None]
        for truth, past in zip(truths, pasts)
    ]
    seasons = [series.season_of(t.freq or (p.freq if p else None)) for t, p in zip(truths, pasts)]
    naive = _naive(task, field, truths, pasts, seasons)
    wanted = [name for name in task.config.metrics if name in FORECAST]
    wanted = wanted or list(DEFAULT if field.context else ("mae",))
    found = []
    for name in wanted:
        rows = lambda forecasts: _rows(name, truths, forecasts, pasts, seasons)  # noqa: B023, E731
        score = _estimate(name, rows(values), task.settings.seed)
        if score is None:
            continue
        baselines = {n: _estimate(name, rows(f), 0) for n, f in naive.items()}
        known = {n: e.value for n, e in baselines.items() if e is not None}
        bound = _estimate(name, rows(rebuilt), 0)
        sign = -1 if name in SHARES else 1
        best = min(known.items(), key=lambda pair: sign * pair[1]) if known else None
        if name == "coverage":  # a forecast without spread holds nothing in its band
            promised = ("promised", 0.8)
            found.append(metric(TITLES[name], score, "%", promised, None, NOTES[name], key=name))
            continue
        unit = "%" if name in SHARES else ""
        others = "; ".join(f"{n} {v:.3g}" for n, v in known.items() if best and n != best[0])
        note = "; ".join(x for x in (NOTES.get(name, ""), others) if x)
        pair = ("encode and decode the truth", bound.value) if bound else None
        found.append(metric(TITLES[name], score, unit, best, pair, note, key=name))
    if not field.context and found:
        ask = lambda records: _ask(task, range(len(records)), records, field, 1)  # noqa: E731
        if other := exchanged.asked(task, ask):  # anew: the length is the truth's
            found.append(_shuffled(task, field, other, found[0]))
    about = f"Series; {count} values an item, {task.sampled}; the point forecast is their median, for MSE their mean."
    return {
        "about": about
        if field.context
        else "Series of the truth's length, written greedily, compared with the truth.",
        "metrics": found,
        "forecast_items": len(places),
        "confusion": None,
        "samples": [
            _sample(task, place, past, truth, samples, rebuilt_one[0], season)
            for place, past, truth, samples, rebuilt_one, season in list(
                zip(places, pasts, truths, values, rebuilt, seasons)
            )[: SAMPLES // 2]
        ],
        "samples_note": (
            "Grey: the past. Dark: the truth. Blue: the median of the samples, with bands that hold the middle "
            "50 % and 80 % of them. First channel of the first items."
        ),
        "samples_wide": True,
    }


def _shuffled(
    task: TaskContext, field: Any, other: exchanged.Exchanged, first: dict[str, Any]
) -> dict[str, Any]:
    truths = [task.records[i][field.name] for i in other.places]
    made = [_stack(samples, truth) for samples, truth in zip(other.outputs, truths)]
    rows = _rows(first["key"], truths, made, [None] * len(truths), [1] * len(truths))
    score = _estimate(first["key"], rows, task.settings.seed)
    assert score is not None  # the items themselves have a score
    return other.metric(first, score)


def _places(task: TaskContext, count: int) -> list[int]:
    """Items that are forecast: fewer where many samples of many tokens would take too long. Who asks for more
    samples than is usual waits for them: the items stay as many."""
    most = max(16, TOKENS // max(1, min(count, Settings.samples) * task.room()))
    chosen = task.choose(len(task.records), min(len(task.records), most))
    return list(chosen)


def _ask(
    task: TaskContext, places: Sequence[int], records: Sequence[Mapping[str, Any]], field: Any, count: int
) -> list[list[Any]]:  # fmt: skip
    to = f"{field.modality}@{field.context}" if field.context else field.modality
    room = task.room()
    requests = []
    for place, record in zip(places, records):
        truth = task.records[place][field.name]
        shape: dict[str, Any] = {"length": truth.length}
        if not field.context:
            shape["channels"] = truth.channels
        requests.append(
            task.request(
                place, record, to, num_samples=count, max_new_tokens=room, constraints=shape,
                seed=task.settings.seed + place, **(task.sampling if field.context else {"temperature": 0.0}),
            )
        )  # fmt: skip
    return task.ask_samples(requests, "forecasting" if field.context else "writing series")


def _stack(samples: list[Any], truth: Series) -> np.ndarray:
    """float64 [S, T, C]; missing values of a sample are filled with its last one before, at worst 0."""
    out = np.stack([output.value.values.astype(np.float64) for output in samples])
    for step in range(out.shape[1]):
        before = out[:, step - 1] if step else np.zeros_like(out[:, 0])
        out[:, step] = np.where(np.isnan(out[:, step]), before, out[:, step])
    return out.reshape(len(samples), truth.length, truth.channels)


def _naive(
    task: TaskContext, field: Any, truths: list[Series], pasts: list[Any], seasons: list[int]
) -> dict[str, list[np.ndarray]]:
    if not field.context:
        known = np.concatenate([r[field.name].values.reshape(-1) for r in task.train_records])
        flat = float(np.nanmedian(known))
        return {"training median": [np.full((1, *t.values.shape), flat) for t in truths]}
    out = {
        "repeat-last": [
            series.seasonal_naive(p.values, t.length)[None] for p, t in zip(pasts, truths)
        ]
    }
    if any(season > 1 for season in seasons):
        out["seasonal naive"] = [
            series.seasonal_naive(p.values, t.length, m)[None]
            for p, t, m in zip(pasts, truths, seasons)
        ]
    return out


def _rows(
    name: str, truths: list[Series], forecasts: Any, pasts: list[Any], seasons: list[int]
) -> np.ndarray:
    """(numerator, denominator) of each item, [N, 2]; NaN where an item gives no score."""
    out = []
    for truth, samples, past, season in zip(truths, forecasts, pasts, seasons):
        y = truth.values.astype(np.float64)
        seen = int((~np.isnan(y)).sum())
        if not seen:
            out.append((np.nan, np.nan))
            continue
        median = np.median(samples, axis=0)
        size = float(np.nansum(np.abs(y)))
        if name == "exact_match":
            near = np.abs(y - median) <= EXACT * max(float(np.nanmax(np.abs(y))), 1e-12)
            out.append((float((near | np.isnan(y)).all()), 1.0))
        elif name == "mase":
            out.append((_mase(y, median, past, season), 1.0))
        elif name == "wql":
            out.append((series.quantile_loss(y, samples), size))
        elif name == "crps":
            out.append((series.crps(y, samples) * seen, size))
        elif name == "mae":
            out.append((series.mae(y, median) * seen, seen))
        elif name == "mse":
            out.append((series.mse(y, np.mean(samples, axis=0)) * seen, seen))
        elif name == "smape":
            out.append((series.smape(y, median), 1.0))
        else:
            out.append((series.coverage(y, samples) * seen, seen))
    return np.array(out, np.float64).reshape(-1, 2)


def _mase(y: np.ndarray, median: np.ndarray, past: Any, season: int) -> float:
    """Mean over the channels whose past varies; NaN where none does."""
    if past is None:
        return float("nan")
    scores = []
    for channel in range(y.shape[1]):
        own = past.values[:, channel]
        try:
            scores.append(
                series.mase(
                    y[:, channel], median[:, channel], own, season if season < len(own) else 1
                )
            )
        except ValueError:
            continue
    return float(np.mean(scores)) if scores else float("nan")


def _estimate(name: str, rows: np.ndarray, seed: int) -> bootstrap.Estimate | None:
    rows = rows[~np.isnan(rows).any(axis=1)]
    if not len(rows) or rows[:, 1].sum() == 0:
        return None
    return bootstrap.ratio(rows[:, 0], rows[:, 1], seed)


def _sample(
    task: TaskContext, place: int, past: Any, truth: Series, samples: np.ndarray, rebuilt: np.ndarray, season: int,
) -> dict[str, Any]:  # fmt: skip
    record, template = task.records[place], task.template(place)
    svg = figures.forecast_svg(None if past is None else past.values, truth.values, samples)
    columns = [{"name": "", "part": {"kind": "svg", "svg": svg}}]
    shown = [p for p in task.shown_inputs(template, record) if p["kind"] == "text"]
    error = series.mae(truth.values, np.median(samples, axis=0))
    note = f"MAE {error:.4g}, of encode and decode {series.mae(truth.values, rebuilt):.4g}"
    if past is not None:
        naive = series.seasonal_naive(past.values, truth.length, season)
        note += f", of {'repeat-last' if season == 1 else 'seasonal naive'} {series.mae(truth.values, naive):.4g}"
    return {
        "item": task.items[place],
        "inputs": shown,
        "columns": columns,
        "text": None,
        "truth": None,
        "right": None,
        "note": note,
    }
