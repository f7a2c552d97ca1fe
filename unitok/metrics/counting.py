"""How many events a sound or a series holds, by rule: for tasks whose answer is a number of them."""

from __future__ import annotations

import numpy as np

HOP_SECONDS = 0.005
SHARE = (
    0.4  # of the loudest place (sounds), of the way from the median to the maximum (series: 0.5)
)


def count_bursts(samples: np.ndarray, rate: int) -> int:
    """Stretches of [T] whose level (RMS of 5 ms) is above 0.4 of the loudest one's; 0 for silence.

    >>> tone = np.sin(np.arange(400))
    >>> count_bursts(np.concatenate([tone, np.zeros(400), tone]), 8000)
    2
    """
    hop = max(1, round(rate * HOP_SECONDS))
    frames = len(samples) // hop
    level = np.sqrt(np.mean(np.square(samples[: frames * hop].reshape(frames, hop)), axis=1))
    return _stretches(level > SHARE * level.max(initial=0))


def count_spikes(values: np.ndarray) -> int:
    """Stretches of [T] above the middle between median and maximum; missing values are not. 0 for a constant.

    >>> count_spikes(np.array([0.0, 0, 5, 0, 0, 4, 5, 0]))
    2
    """
    seen = values[np.isfinite(values)]
    if not len(seen) or seen.max() == np.median(seen):
        return 0
    line = (seen.max() + np.median(seen)) / 2
    return _stretches(np.nan_to_num(values, nan=-np.inf) > line)


def _stretches(on: np.ndarray) -> int:
    return int(on[0]) + int((np.diff(on.astype(int)) == 1).sum()) if len(on) else 0
