"""Series made from a seed that teach forecasting: random sums and products of Gaussian processes (KernelSynth;
Ansari et al. 2024, Chronos, algorithm 2).

    SourceConfig(kind="kernels", options={"size": 20000, "past": 336, "future": 96, "freq": "h"})

One to five processes are drawn from a bank (periodic, smooth, rough at many scales, a line, a random walk, noise)
and combined one after another by + or x. Fields: past, future, `past` and `future` steps long. Record i is a function
of (seed, i) alone and made when it is read.

Processes are drawn by their spectra (Rahimi & Recht 2007), which takes T x 64 cosines where a Cholesky factor takes
T^3: the covariance is the kernel's, exactly; a product of independent draws has the product of their kernels as
its covariance. Unlike there, the bank has a random walk. Legend: T steps, F frequencies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import ive

from unitok.data.columns import Column, Loaded
from unitok.errors import InputError
from unitok.values import Series

MOST = 5  # processes in one series
# steps: hours, days, weeks, months
PERIODS = (4, 7, 10, 12, 14, 24, 24, 24, 30, 48, 52, 60, 96, 168)
HARMONICS, FREQUENCIES = 12, 64
LONGEST = 100_000


def read_kernels(path: str, options: Mapping[str, Any], split: str | None) -> Loaded:
    """options: size (records), past and future (steps), freq, seed. Raises InputError for sizes that are none."""
    size, past = options.get("size", 1000), options.get("past", 96)
    future = options.get("future", 24)
    sizes = (("size", size, 1_000_000), ("past", past, LONGEST), ("future", future, LONGEST))
    for name, value, most in sizes:
        if not isinstance(value, int) or not 1 <= value <= most:
            raise InputError(f"source.options.{name}: want 1 to {most:,}, got {value!r}")
    seed, freq = options.get("seed") or 0, options.get("freq")

    # past and future of a record are asked for one after the other
    newest: dict[int, np.ndarray] = {}

    def whole(row: int) -> np.ndarray:
        path_T = newest.get(row)
        if path_T is None:
            path_T = make_path(past + future, (seed, row))
            newest.clear()
            newest[row] = path_T
        return path_T

    def part(first: int, last: int | None) -> Column:
        return Column(size, lambda row: Series(whole(row)[first:last], freq))

    return Loaded({"past": part(0, past), "future": part(past, None)}, ["kernels", size, seed])


def make_path(length: int, seed: Any) -> np.ndarray:
    """One series, float32 [T]: a pure function of its arguments."""
    rng = np.random.default_rng(seed)
    steps = np.arange(length)
    path_T = _process(steps, rng)
    for _ in range(int(rng.integers(MOST))):
        other_T = _process(steps, rng)
        path_T = path_T + other_T if rng.random() < 0.5 else path_T * other_T
    return path_T.astype(np.float32)


def _process(steps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A draw of one process of the bank, of about unit variance, float64 [T]."""
    kind = rng.choice(["periodic", "periodic", "smooth", "rough", "line", "walk", "noise"])
    length = len(steps)
    if kind == "periodic":
        return _periodic(steps, float(rng.choice(PERIODS)), float(rng.choice([0.5, 1.0, 2.0])), rng)
    if kind == "line":
        return rng.normal() + rng.normal() * np.linspace(-1, 1, length)
    if kind == "walk":
        return np.cumsum(rng.normal(size=length)) / np.sqrt(length)
    if kind == "noise":
        return float(rng.choice([0.1, 1.0])) * rng.normal(size=length)
    shape = float(rng.choice([0.5, 1.0, 5.0])) if kind == "rough" else None
    return _smooth(steps, float(rng.choice([0.02, 0.1, 0.5])) * length, shape, rng)


def _smooth(
    steps: np.ndarray, scale: float, shape: float | None, rng: np.random.Generator
) -> np.ndarray:
    """Covariance exp(-d^2 / (2 scale^2)); with a shape a the rational quadratic one,
    (1 + d^2 / (2 a scale^2))^-a: the first over scales drawn from a gamma distribution."""
    omega_F = rng.normal(size=FREQUENCIES) / scale
    if shape is not None:
        omega_F *= np.sqrt(rng.gamma(shape, 1 / shape, FREQUENCIES))
    phase_F = rng.uniform(0, 2 * np.pi, FREQUENCIES)
    return np.cos(np.outer(steps, omega_F) + phase_F).sum(axis=1) * np.sqrt(2 / FREQUENCIES)


def _periodic(
    steps: np.ndarray, period: float, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Covariance exp(-2 sin^2(pi d / period) / scale^2), by its Fourier series: weights I_k(1 / scale^2)."""
    order = np.arange(HARMONICS + 1)
    weight = ive(order, 1 / scale**2) * np.where(order == 0, 1, 2)
    angle = 2 * np.pi * np.outer(steps, order) / period
    sine, cosine = rng.normal(size=(2, HARMONICS + 1)) * np.sqrt(weight)
    return np.cos(angle) @ cosine + np.sin(angle) @ sine
