"""Calibration, conformal prediction and retrieval: against scikit-learn, and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import calibration as sk_calibration
from sklearn import metrics as sk

from unitok.metrics import calibration, classification, conformal, retrieval

FINE = st.floats(0.01, 1, allow_nan=False)


# ---- calibration -------------------------------------------------------------------------------


@given(st.lists(st.tuples(FINE, st.booleans()), min_size=2, max_size=60))
def test_reliability_agrees_with_sklearn_and_makes_the_calibration_error(
    pairs: list[tuple[float, bool]],
) -> None:
    p, hit = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    p = np.where(
        np.isclose(p * 10, np.round(p * 10)), p * 0.99 + 0.001, p
    )  # sklearn's bins are [low, high)
    bins = calibration.reliability(p, hit)
    true, predicted = sk_calibration.calibration_curve(hit, p, n_bins=10)
    np.testing.assert_allclose([b.accuracy for b in bins], true)
    np.testing.assert_allclose([b.confidence for b in bins], predicted)
    gap = sum(b.items * abs(b.confidence - b.accuracy) for b in bins) / len(p)
    assert gap == pytest.approx(classification.expected_calibration_error(p, hit.tolist()))


def test_nll_and_brier_agree_with_sklearn() -> None:
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(50, 4)), rng.integers(4, size=50)
    probs = calibration.probabilities(logits)
    expected = sk.log_loss(truth, probs, labels=range(4))
    assert calibration.nll(logits, truth).mean() == pytest.approx(expected)
    binary, hit = rng.random(50), rng.integers(2, size=50)
    two = np.stack([1 - binary, binary], axis=1)
    assert calibration.brier(two, hit).mean() == pytest.approx(2 * sk.brier_score_loss(hit, binary))


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_temperature_undoes_a_known_overconfidence(factor: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20_000, 5)) * 2
    truth = (calibration.probabilities(logits).cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    found = calibration.fit_temperature(logits * factor, truth)
    assert found == pytest.approx(factor, rel=0.05)
    probs = calibration.probabilities(logits * factor, found)
    right = (probs.argmax(axis=1) == truth).tolist()
    assert classification.expected_calibration_error(probs.max(axis=1), right) < 0.015


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=30))
def test_risk_coverage_is_an_average_over_the_orders_of_equals(
    pairs: list[tuple[int, bool]],
) -> None:
    p, hit = np.array([a / 6 for a, _ in pairs]), np.array([b for _, b in pairs])
    rng, curves = np.random.default_rng(0), []
    for _ in range(400):
        order = np.lexsort((rng.random(len(p)), -p))
        curves.append(np.cumsum(1 - hit[order]) / np.arange(1, len(p) + 1))
    _, risk = calibration.risk_coverage(p, hit)
    np.testing.assert_allclose(risk, np.mean(curves, axis=0), atol=0.15)
    assert risk[-1] == pytest.approx(1 - hit.mean())
    assert calibration.oracle_aurc(hit) <= calibration.aurc(p, hit) + 1e-9


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=20),
    st.lists(st.integers(0, 5), min_size=1, max_size=20),
)
def test_auroc_agrees_with_sklearn(inside: list[int], outside: list[int]) -> None:
    truth = [0] * len(inside) + [1] * len(outside)
    expected = sk.roc_auc_score(truth, [*inside, *outside])
    assert calibration.auroc(np.array(inside), np.array(outside)) == pytest.approx(expected)


# ---- conformal ---------------------------------------------------------------------------------


def simulated(classes: int = 6, items: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a model that is wrong about its own sureness, and the truth."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(items, classes)) * 1.5
    probs = calibration.probabilities(logits)
    truth = (probs.cumsum(axis=1) < rng.random((items, 1))).sum(axis=1)
    return calibration.probabilities(logits * 3), truth


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 60), st.integers(1, 50), st.sampled_from([0.05, 0.1, 0.3, 0.5]))
def test_the_law_is_what_simulation_gives(n: int, m: int, alpha: float) -> None:
    rng = np.random.default_rng(n * 100 + m)
    scores = rng.normal(size=(4000, n + m))
    k = conformal.rank(n, alpha)
    limit = np.sort(scores[:, :n], axis=1)[:, k - 1 : k] if k <= n else np.inf
    covered = (scores[:, n:] <= limit).sum(axis=1)
    law = conformal.coverage_law(n, m, alpha)
    support = np.arange(m + 1)
    expected = law.cdf(support)
    measured = np.searchsorted(np.sort(covered), support, side="right") / len(covered)
    assert (
        np.abs(measured - expected).max() < 0.04
    )  # Kolmogorov distance, 1.63 / sqrt(4000) = 0.026
    assert covered.mean() == pytest.approx(law.mean(), abs=5 * law.std() / np.sqrt(4000) + 1e-9)


@pytest.mark.parametrize("kind", ["lac", "aps"])
@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_resplits_of_a_miscalibrated_model_obey_the_law(kind: str, alpha: float) -> None:
    probs, truth = simulated()
    u = np.random.default_rng(5).random(len(probs))
    scores_NK = conformal.lac_scores(probs) if kind == "lac" else conformal.aps_scores(probs, u)
    scores = scores_NK[np.arange(len(truth)), truth]
    coverage = conformal.resplit(scores, 300, alpha, 1000)
    check = conformal.check_coverage(coverage, 300, 300, alpha)
    assert check.within, check
    # an independent way: sets made with the threshold of one split cover what `resplit` counts
    limit = conformal.threshold(scores[:300], alpha)
    members = conformal.sets(scores_NK[300:], limit)
    assert members[np.arange(300), truth[300:]].mean() == np.mean(scores[300:] <= limit)


def test_a_wrong_threshold_is_found_out() -> None:
    """The check can fail: without the + 1 of the finite sample, coverage falls below the law."""
    rng = np.random.default_rng(0)
    naive = []
    for _ in range(1000):
        scores = rng.normal(size=40)
        naive.append(np.mean(scores[20:] <= np.sort(scores[:20])[17]))  # 18th of 20, not 19th
    assert not conformal.check_coverage(np.array(naive), 20, 20, 0.1).within


def test_a_spread_too_small_is_found_out() -> None:
    law = conformal.coverage_law(50, 50, 0.1)
    exact = np.full(1000, law.mean() / 50) + np.random.default_rng(0).normal(0, 1e-4, 1000)
    assert not conformal.check_coverage(exact, 50, 50, 0.1).within


def test_the_check_is_right_as_often_as_it_says() -> None:
    law = conformal.coverage_law(40, 30, 0.1)
    passed = [
        conformal.check_coverage(law.rvs(500, random_state=seed) / 30, 40, 30, 0.1).within
        for seed in range(300)
    ]
    assert np.mean(passed) > 0.95  # two intervals of 99 %


def test_ties_only_add_coverage_and_breaking_them_restores_the_law() -> None:
    scores = np.random.default_rng(0).integers(0, 5, 400).astype(float)
    kept = conformal.resplit(scores, 200, 0.1, 600)
    broken = conformal.resplit(scores, 200, 0.1, 600, break_ties=True)
    assert kept.mean() > broken.mean() + 0.01
    assert conformal.check_coverage(broken, 200, 200, 0.1).within


def test_aps_randomised_is_uniform_in_the_true_model() -> None:
    """Where the model is the truth, the score of the truth is uniform: the reason coverage is exact."""
    rng = np.random.default_rng(3)
    probs = rng.dirichlet(np.ones(5), 5000)
    truth = (probs.cumsum(axis=1) < rng.random((5000, 1))).sum(axis=1)
    scores = conformal.aps_scores(probs, rng.random(5000))[np.arange(5000), truth]
    assert stats.kstest(scores, "uniform").pvalue > 0.01


@given(st.lists(FINE, min_size=2, max_size=6), st.floats(0, 1))
def test_aps_follows_its_definition(masses: list[float], u: float) -> None:
    p = np.array(masses) / np.sum(masses)
    scores = conformal.aps_scores(p[None], u)[0]
    order = np.argsort(-p, kind="stable")
    for place, k in enumerate(order):
        assert scores[k] == pytest.approx(p[order[:place]].sum() + u * p[k])


def test_regression_intervals_cover_by_either_score() -> None:
    rng = np.random.default_rng(0)
    x = rng.random(2000)
    truth = 3 * x + rng.normal(size=2000) * (0.1 + x)
    low, high = 3 * x - 0.2, 3 * x + 0.2  # far too narrow
    for scores in (
        conformal.absolute_scores(truth, 3 * x),
        conformal.quantile_scores(truth, low, high),
    ):
        check = conformal.check_coverage(conformal.resplit(scores, 500, 0.1, 500), 500, 1500, 0.1)
        assert check.within
    limit = conformal.threshold(conformal.quantile_scores(truth, low, high)[:500], 0.1)
    inside = (truth[500:] >= low[500:] - limit) & (truth[500:] <= high[500:] + limit)
    assert inside.mean() == pytest.approx(0.9, abs=0.04)


def test_too_few_items_give_everything_and_bad_levels_are_refused() -> None:
    assert conformal.threshold(np.arange(8.0), 0.1) == np.inf
    assert conformal.coverage_law(8, 5, 0.1).mean() == 5
    assert conformal.check_coverage(np.ones(50), 8, 5, 0.1).within
    with pytest.raises(ValueError, match="alpha"):
        conformal.rank(10, 1.0)
    with pytest.raises(ValueError, match="calibration items"):
        conformal.resplit(np.arange(4.0), 4, 0.1, 2)


# ---- retrieval ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 3))
def test_ranks_are_the_expectation_over_orders_of_equals(
    seed: int, gallery: int, levels: int
) -> None:
    rng = np.random.default_rng(seed)
    similarity = rng.integers(levels, size=(1, gallery)).astype(float)
    relevant = rng.random((1, gallery)) < 0.4
    relevant[0, rng.integers(gallery)] = True
    found = []
    for _ in range(3000):
        order = np.lexsort((rng.random(gallery), -similarity[0]))
        found.append(int(np.argmax(relevant[0, order])) + 1)
    assert retrieval.ranks(similarity, relevant)[0] == pytest.approx(np.mean(found), abs=0.15)


def test_chance_is_what_random_embeddings_get() -> None:
    rng = np.random.default_rng(0)
    relevant = np.zeros((3000, 20), bool)
    relevant[:, :3] = True
    rank = retrieval.ranks(rng.random((3000, 20)), relevant)
    counts = relevant.sum(axis=1)
    for k in (1, 5, 10):
        chance = retrieval.chance_at(counts, 20, k)
        assert retrieval.recall_at(rank, k).mean() == pytest.approx(chance, abs=0.03)
    assert np.median(rank) == pytest.approx(retrieval.chance_median_rank(counts, 20), abs=1)
    assert retrieval.chance_at(np.array([1, 4]), 4, 9) == 1.0


def test_a_query_without_an_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="no relevant"):
        retrieval.ranks(np.zeros((1, 2)), np.zeros((1, 2), bool))
