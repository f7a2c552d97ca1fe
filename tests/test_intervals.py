"""Intervals of scores that are no means: they hold what they promise where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from unitok.metrics import bootstrap, calibration, classification, frechet, graphs
from unitok.values import Graph

TRIALS = 150
LEAST = 0.90  # share of 95 % intervals that hold the truth: 2.8 standard deviations below 0.95


def share_covered(estimates: list[bootstrap.Estimate], truth: float) -> float:
    return float(np.mean([e.low <= truth <= e.high for e in estimates]))


def test_the_share_of_distinct_graphs_is_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs drawn evenly from so many kinds: the expected share of distinct ones is known."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 400)
    monkeypatch.setattr(graphs, "fingerprint", str)  # a number stands for a graph
    for kinds, size in ((100, 60), (1000, 60), (20, 60)):
        truth = kinds / size * (1 - (1 - 1 / kinds) ** size)
        draws = [np.random.default_rng(s).integers(0, kinds, size).tolist() for s in range(TRIALS)]
        estimates = [graphs.uniqueness_estimate(d) for d in draws]
        assert share_covered(estimates, truth) >= LEAST, kinds
        assert np.mean([e.high - e.low for e in estimates]) < 0.35
    percentile = [
        bootstrap.of_items(60, lambda i, d=d: len({d[k] for k in i}) / 60) for d in draws[:20]
    ]
    assert share_covered(percentile, truth) < 0.5, "why it is not the plain bootstrap"


def test_all_alike_and_all_distinct_graphs_claim_no_certainty() -> None:
    distinct = graphs.uniqueness_estimate([Graph(n, []) for n in range(1, 31)])
    assert distinct.value == distinct.high == 1.0 and distinct.low == pytest.approx(
        0.025 ** (1 / 30)
    )
    alike = graphs.uniqueness_estimate([Graph(2, [])] * 30)
    assert alike.low == alike.value == pytest.approx(1 / 30) and alike.high < 0.2


def test_the_calibration_error_is_that_of_its_bins_and_is_covered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 400)

    def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Always 0.1 too sure."""
        rng = np.random.default_rng(seed)
        p = rng.uniform(0.3, 1.0, 300)
        return p, (rng.random(300) < p - 0.1).astype(float)

    pairs = [draw(seed) for seed in range(TRIALS)]
    estimates = [calibration.calibration_error(p, hit) for p, hit in pairs]
    for (p, hit), estimate in zip(pairs, estimates):
        plain = classification.expected_calibration_error(p.tolist(), hit.astype(bool).tolist())
        assert estimate.value == pytest.approx(plain)
    assert share_covered(estimates, float(np.mean([e.value for e in estimates]))) >= LEAST


def test_tokens_of_one_item_are_resampled_together() -> None:
    p, hit = draw_alike()
    alone = calibration.calibration_error(p, hit)
    groups = np.repeat(np.arange(50), 20)
    whole = calibration.calibration_error(p, hit, groups)
    assert whole.value == pytest.approx(alone.value) and whole.items == 50
    assert (whole.high - whole.low) > 3 * (alone.high - alone.low), "20 tokens that are one"


def draw_alike() -> tuple[np.ndarray, np.ndarray]:
    """50 items, the 20 tokens of each right together or wrong together."""
    right = np.random.default_rng(0).random(50) < 0.5
    return np.full(1000, 0.85), np.repeat(right, 20).astype(float)


def test_a_calibrated_model_s_error_is_chance_alone() -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(0.1, 1.0, 200)
    errors = [
        calibration.calibration_error(p, (rng.random(200) < p).astype(float)).value
        for _ in range(60)
    ]
    assert calibration.calibration_error_by_chance(p) == pytest.approx(np.mean(errors), rel=0.1)
    assert calibration.calibration_error_by_chance(np.ones(9)) == 0.0


def test_frechet_distance_by_triangles_is_the_one_of_covariances() -> None:
    rng = np.random.default_rng(0)
    for n, m, width in ((80, 60, 5), (12, 9, 20), (30, 200, 30)):
        a, b = rng.normal(size=(n, width)), rng.normal(0.5, 2.0, size=(m, width))
        cov = [np.atleast_2d(np.cov(x.T)) for x in (a, b)]
        root = linalg.sqrtm(cov[0] @ cov[1]).real
        shift = ((a.mean(0) - b.mean(0)) ** 2).sum()
        expected = shift + np.trace(cov[0] + cov[1] - 2 * root)
        assert frechet.frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)


def test_distances_of_sets_have_intervals_about_them() -> None:
    """A resample's distance is the larger by its own noise, so plain percentiles would lie beside the value."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(100, 20)), rng.normal(0.3, 1.0, size=(100, 20))
    estimate = frechet.frechet_estimate(a, b)
    plain = [frechet.frechet_distance(rng.choice(a, 100), rng.choice(b, 100)) for _ in range(50)]
    assert estimate.low < estimate.value < estimate.high
    assert estimate.value < np.quantile(plain, 0.025), "what the percentile interval would miss"
    assert frechet.frechet_estimate(a, b) == estimate, "deterministic"

    paths = [Graph(n, [[i, i + 1] for i in range(n - 1)]) for n in rng.integers(3, 9, 40)]
    stars = [Graph(n, [[0, i] for i in range(1, n)]) for n in rng.integers(3, 9, 40)]
    for kernel in (graphs.wl_kernel, graphs.degree_kernel):
        apart, alike = (graphs.mmd_estimate(paths, x, kernel) for x in (stars, paths[:20]))
        assert apart.value == pytest.approx(graphs.squared_mmd(paths, stars, kernel))
        assert apart.low < apart.value < apart.high and alike.high < apart.low
        assert alike.low >= 0.0
