"""Scores of predicted numbers. Arrays [N]."""

from __future__ import annotations

import math
import re

import numpy as np

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def parse_number(text: str) -> float | None:
    """The number that the whole text is; None where it is none, or not finite.

    >>> parse_number(" -1.5 "), parse_number("1e3"), parse_number("five"), parse_number("1 2")
    (-1.5, 1000.0, None, None)
    """
    text = text.strip()
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def rmse(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Root of the mean squared error.

    >>> rmse(np.array([0.0, 0.0]), np.array([3.0, 4.0])).__round__(4)  # sqrt(25 / 2)
    3.5355
    """
    return float(np.sqrt(np.mean((np.asarray(truth) - np.asarray(predicted)) ** 2)))


def r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    """1 - sum of squared errors / sum of squares about the mean of the truth. Raises ValueError where that is 0.

    >>> r2(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0]))
    0.5
    """
    truth = np.asarray(truth, np.float64)
    spread = float(np.sum((truth - truth.mean()) ** 2))
    if spread == 0:
        raise ValueError("r2: the truth does not vary, so there is nothing to explain")
    return float(1 - np.sum((truth - np.asarray(predicted)) ** 2) / spread)
