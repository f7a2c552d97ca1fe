"""Series from random processes: pure functions of the seed, with the covariances they claim; wrong sizes in one line."""

from __future__ import annotations

import numpy as np
import pytest

from unitok.config import SourceConfig
from unitok.data import kernels
from unitok.data.sources import build_source
from unitok.errors import InputError


def made(split: str = "train", **options):
    options = {"size": 300, "past": 40, "future": 20, **options}
    return build_source(SourceConfig(kind="kernels", options=options), split)


def test_records_are_functions_of_seed_and_place_and_splits_are_apart():
    train, test, again, other = made(), made("test"), made(), made(seed=1)
    assert len(train) == 294 and len(test) == 6
    whole = [np.concatenate([r["past"].values, r["future"].values])[:, 0] for r in train]
    assert all(len(x) == 60 and np.isfinite(x).all() and np.ptp(x) > 0 for x in whole)
    assert all(np.array_equal(a["past"].values, b["past"].values) for a, b in zip(train, again))
    assert not any(np.array_equal(a["past"].values, b["past"].values) for a, b in zip(train, other))
    keys = {x.tobytes() for x in whole}
    assert len(keys) == 294  # no two alike, and none of the test's among them
    assert not any(
        np.concatenate([r["past"].values, r["future"].values])[:, 0].tobytes() in keys for r in test
    )
    assert made(freq="h")[0]["past"].freq == "h"


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_periodic_draws_have_the_periodic_kernel(scale):
    rng, steps = np.random.default_rng(0), np.arange(36)
    draws = np.stack([kernels._periodic(steps, 12.0, scale, rng) for _ in range(20_000)])
    apart = np.subtract.outer(steps, steps)
    wanted = np.exp(-2 * np.sin(np.pi * apart / 12) ** 2 / scale**2)
    assert np.abs(draws.T @ draws / len(draws) - wanted).max() < 0.04
    assert np.allclose(draws[:, :12], draws[:, 12:24], atol=1e-9)  # each draw repeats exactly


@pytest.mark.parametrize("shape", [None, 0.5, 5.0])
def test_smooth_and_rough_draws_have_their_kernels(shape):
    rng, steps = np.random.default_rng(0), np.arange(30)
    draws = np.stack([kernels._smooth(steps, 6.0, shape, rng) for _ in range(20_000)])
    square = np.subtract.outer(steps, steps) ** 2 / (2 * 6.0**2)
    wanted = np.exp(-square) if shape is None else (1 + square / shape) ** -shape
    assert np.abs(draws.T @ draws / len(draws) - wanted).max() < 0.04


def test_the_bank_holds_lines_and_periods_as_often_as_it_says_and_nothing_is_wild():
    rng = np.random.default_rng(1)
    draws = [kernels._process(np.arange(200), rng) for _ in range(2000)]
    lines = np.mean([np.abs(np.diff(x, 2)).max() < 1e-9 for x in draws])
    repeats = lambda x: any(np.allclose(x[p:], x[:-p], atol=1e-9) for p in set(kernels.PERIODS))  # noqa: E731
    assert abs(lines - 1 / 7) < 0.04 and abs(np.mean([repeats(x) for x in draws]) - 2 / 7) < 0.05
    sizes = [np.abs(x).max() for x in draws]
    assert min(sizes) > 0.05 and max(sizes) < 12


@pytest.mark.parametrize("wrong", [{"size": 0}, {"past": 0}, {"future": 200_000}, {"past": 1.5}])
def test_sizes_that_are_none_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=f"source.options.{next(iter(wrong))}: want 1 to"):
        made(**wrong)
