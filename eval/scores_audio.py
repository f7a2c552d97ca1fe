"""Tasks that answer with a sound whose truth is known: distance of log-mel spectrograms, SI-SDR, STOI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unitok.eval import exchanged, figures
from unitok.eval.context import SAMPLES, TaskContext, metric
from unitok.metrics import audio, bootstrap
from unitok.values import Audio

NAMES = frozenset(["log_mel", "si_sdr", "stoi", "judge"])
TITLES = {"log_mel": "log-mel distance", "si_sdr": "SI-SDR", "stoi": "STOI"}
UNITS = {"log_mel": "", "si_sdr": "dB", "stoi": ""}
NOTES = {
    "log_mel": "decades, mean over bands and frames",
    "si_sdr": "counts the phase, which a codec of spectra need not keep",
    "stoi": "items of 0.4 s of speech or more",
}
EXACT_DB = 99.0


def score_audio(task: TaskContext) -> dict[str, Any]:
    """Sounds of the truth's length, written greedily; beside silence, and encode and decode of the truth."""
    field = task.target_field(task.config.templates[0]).name
    tokenizer = task.predictor.tokenizers["audio"]
    truth = [record[field] for record in task.records]
    rebuilt = tokenizer.decode_batch(tokenizer.encode_batch(truth))
    real = [_at_rate(value, back.rate) for value, back in zip(truth, rebuilt)]
    made = _sound(task, task.records, truth, "sounding")
    quiet = [Audio(np.zeros_like(value.samples), value.rate) for value in real]
    wanted = [n for n in task.config.metrics if n in TITLES] or ["log_mel", "si_sdr"]
    found = []
    for name in wanted:
        values = scores(name, real, made)
        kept = values[np.isfinite(values)]
        if not len(kept):
            continue
        bound = scores(name, real, rebuilt)
        silent = scores(name, real, quiet)
        silent = silent[np.isfinite(silent)]
        baseline = ("silence", float(silent.mean())) if len(silent) else None
        pair = ("reconstructions", float(np.nanmean(bound)))
        estimate = bootstrap.mean(kept, task.settings.seed)
        found.append(
            metric(TITLES[name], estimate, UNITS[name], baseline, pair, NOTES[name], key=name)
        )
    ask = lambda records: _sound(task, records, truth, exchanged.DOING)  # noqa: E731
    if found and (other := exchanged.asked(task, ask)):  # anew: the length is the truth's
        values = scores(found[0]["key"], [real[i] for i in other.places], other.outputs)
        estimate = bootstrap.mean(values[np.isfinite(values)], task.settings.seed)
        found.append(other.metric(found[0], estimate))
    return {
        "about": "Sound, written greedily, compared with the truth.",
        "metrics": found,
        "confusion": None,
        "samples": [
            {
                "item": task.items[i],
"inputs": task.shown_inputs(task.template(i), task.records[i]),
                "columns": [
                    {"name": n, "part": figures.show(v)}
                    for n, v in (("truth", real[i]), ("tokenizer", rebuilt[i]), ("model", made[i]))
                ],
                "text": None, "truth": None, "right": None,
                "note": f"log-mel distance {audio_distance(real[i], made[i]):.2f}",
            }
            for i in range(min(SAMPLES // 2, len(made)))
        ],
        "samples_note": "Truth, what the tokenizer makes of it, and what the model wrote. First items of the split.",
        "samples_wide": True,
    }  # fmt: skip


def _sound(
    task: TaskContext, records: Sequence[Mapping[str, Any]], truth: Sequence[Audio], what: str
) -> list[Audio]:
    """Greedily, each as long as the truth in its place."""
    room = task.room()
    requests = [
        task.request(
            i, record, "audio", temperature=0.0, max_new_tokens=room, seed=task.settings.seed + i,
            constraints={"seconds": truth[i].seconds},
        )
        for i, record in enumerate(records)
    ]  # fmt: skip
    return [output.value for output in task.ask(requests, what)]


def scores(name: str, truth: Sequence[Audio], other: Sequence[Audio]) -> np.ndarray:
    """One score an item, [N]; NaN where it is not defined (a silent truth, too short for STOI)."""
    out = []
    for a, b in zip(truth, other):
        size = min(len(a.samples), len(b.samples))
        x, y = a.samples[:size], b.samples[:size]
        if name == "log_mel":
            out.append(audio_distance(a, b))
        elif not size or np.ptp(x) == 0 or np.ptp(y) == 0:
            out.append(np.nan)
        elif name == "si_sdr":
            out.append(float(np.clip(audio.si_sdr(x, y), -EXACT_DB, EXACT_DB)))
        else:
            out.append(audio.stoi(x, y, a.rate))
    return np.array(out, np.float64)


def audio_distance(a: Audio, b: Audio) -> float:
    """Log-mel distance over the common length; NaN where there is none."""
    size = min(len(a.samples), len(b.samples))
    if not size:
        return float("nan")
    return audio.log_mel_distance(a.samples[:size], b.samples[:size], a.rate)


def _at_rate(value: Audio, rate: int) -> Audio:
    if value.rate == rate:
        return value
    import soxr

    return Audio(soxr.resample(value.samples, value.rate, rate).astype(np.float32), rate)
