"""Metrics beside another's implementation on random cases: jiwer, RapidFuzz, scipy, scikit-learn.

Where none is light and kept up, an independent way to the same number, said as such at the test. What
sacreBLEU, rouge-score, scikit-image, transformers and scikit-learn check besides is in `test_metrics.py` and
`test_uncertainty_metrics.py`; boxes and graphs are in `test_metric_references_structures.py`.
"""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal, stats
from sklearn import metrics as sk
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from unitok.metrics import (
    audio,
    bootstrap,
    calibration,
    conformal,
    counting,
    frechet,
    retrieval,
    series,
    text,
)

SENTENCES = st.lists(
    st.sampled_from(["a", "bc", "cat", "dog", "the", "x"]), min_size=1, max_size=12
).map(" ".join)
SEEDS = st.integers(0, 10_000)


# ---- text --------------------------------------------------------------------------------------


@given(SENTENCES, SENTENCES)
def test_error_rates_agree_with_jiwer(reference: str, written: str) -> None:
    jiwer = pytest.importorskip("jiwer", reason="needs jiwer, in the extra `test`")
    assert text.word_error_rate(reference, written) == pytest.approx(jiwer.wer(reference, written))
    assert text.char_error_rate(reference, written) == pytest.approx(jiwer.cer(reference, written))


@given(st.text(max_size=30), st.text(max_size=30))
def test_edit_distance_agrees_with_rapidfuzz(a: str, b: str) -> None:
    levenshtein = pytest.importorskip("rapidfuzz.distance", reason="comes with jiwer").Levenshtein
    assert text.edit_distance(a, b) == levenshtein.distance(a, b)


@settings(max_examples=60)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=2, max_size=8))
def test_cider_by_dense_matrices(pairs: list[tuple[str, str]]) -> None:
    """The paper's equations 1 to 4, CIDEr-D's clipping and length penalty, over all n-grams at once, counted by
    scikit-learn. pycocoevalcap, the authors' code, is 104 MB and of 2020: too much to ask of a test."""
    references, texts = [r for r, _ in pairs], [t for _, t in pairs]
    total = np.zeros(len(pairs))
    for n in range(1, 5):
        counter = CountVectorizer(ngram_range=(n, n), token_pattern=r"\S+", lowercase=False)
        try:
            counts = counter.fit_transform(references + texts).toarray().astype(float)
        except ValueError:  # no sentence has n words
            continue
        wanted, given_ = counts[: len(pairs)], counts[len(pairs) :]
        rarity = np.log(len(pairs) / np.maximum((wanted > 0).sum(axis=0), 1))
        r, t = wanted * rarity, given_ * rarity
        norms = np.linalg.norm(r, axis=1) * np.linalg.norm(t, axis=1)
        dots = (np.minimum(r, t) * r).sum(axis=1)
        total += np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
    gaps = np.array([len(t.split()) - len(r.split()) for r, t in pairs])
    expected = 10 / 4 * total * np.exp(-(gaps**2) / (2 * 6.0**2))
    np.testing.assert_allclose(text.cider(references, texts), expected, atol=1e-9)


# ---- sound and series --------------------------------------------------------------------------


def test_log_mel_agrees_with_scipy_and_interpolated_filters() -> None:
    """scipy's short-time transform; each band a piecewise linear function through its three corners."""
    samples = np.random.default_rng(0).normal(size=6000)
    _, _, spectrum = signal.stft(
        samples, 16000, "hann", audio.N_FFT, audio.N_FFT - audio.HOP, boundary="even", padded=False
    )
    magnitude = np.abs(spectrum) * audio.N_FFT / 2  # scipy divides by the sum of the window
    mel = lambda hertz: 2595 * math.log10(1 + hertz / 700)  # noqa: E731
    corners = 700 * (10 ** (np.linspace(0, mel(8000), audio.MELS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(audio.N_FFT, 1 / 16000)
    bands = [np.interp(bins, corners[i : i + 3], [0, 1, 0]) for i in range(audio.MELS)]
    expected = np.log10(np.maximum(np.array(bands) @ magnitude, audio.FLOOR))
    found = audio.log_mel(samples, 16000)
    np.testing.assert_allclose(found, expected[:, : found.shape[1]], atol=1e-9)
    other = np.random.default_rng(1).normal(size=6000)
    distance = sk.mean_absolute_error(found, audio.log_mel(other, 16000))
    assert audio.log_mel_distance(samples, other, 16000) == pytest.approx(distance)


def test_stoi_is_pystoi() -> None:
    pystoi = pytest.importorskip("pystoi", reason="needs pystoi, in the extras `audio` and `test`")
    rng = np.random.default_rng(2)
    clean = rng.normal(size=16000) * (1 + np.sin(np.arange(16000) / 300))
    heard = clean + rng.normal(size=16000)
    assert audio.stoi(clean, heard, 10000) == pystoi.stoi(clean, heard, 10000)


@given(SEEDS)
def test_snr_is_the_unexplained_share_in_decibels(seed: int) -> None:
    truth, forecast = np.random.default_rng(seed).normal(size=(2, 20))
    unexplained = 1 - sk.r2_score(truth, forecast)
    assert series.snr_db(truth, forecast) == pytest.approx(-10 * math.log10(unexplained))


@given(SEEDS, st.sampled_from([0.5, 0.8]))
def test_coverage_counts_what_scipys_quantiles_hold(seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    truth, samples = rng.normal(size=12), rng.normal(size=(9, 12))
    low, high = stats.mstats.mquantiles(samples, [(1 - level) / 2, (1 + level) / 2], 1, 1, axis=0)
    expected = np.mean([a <= t <= b for a, t, b in zip(low, truth, high)])
    assert series.coverage(truth, samples, level) == pytest.approx(expected)


@given(st.lists(st.sampled_from([0.0, 3.0]), min_size=5, max_size=40))
def test_events_are_scipys_connected_stretches(values: list[float]) -> None:
    loud = np.repeat(np.array(values), 40)
    assert counting.count_bursts(loud, 8000) == ndimage.label(values)[1]
    if np.median(values) == 0:
        assert counting.count_spikes(np.array(values)) == ndimage.label(values)[1]


def test_frechet_distance_of_commuting_covariances() -> None:
    """Dowson and Landau 1982: where covariances are diagonal, the squared distance of means and of deviations."""
    rng = np.random.default_rng(3)
    base = np.linalg.qr(rng.normal(size=(40, 5)))[0]
    base = np.linalg.qr(base - base.mean(axis=0))[0] * math.sqrt(39)  # mean 0, covariance 1
    one, two = rng.uniform(0.5, 3, (2, 5))
    shift = rng.normal(size=5)
    expected = np.sum(shift**2) + np.sum((one - two) ** 2)
    assert frechet.frechet_distance(base * one, base * two + shift) == pytest.approx(expected)


# ---- uncertainty -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_temperature_is_sklearns_logistic_regression(seed: int) -> None:
    """With two classes, 1 / T is the one coefficient of a regression on the difference of logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(400, 2)) * 4
    gap = logits[:, 1] - logits[:, 0]
    truth = (rng.random(400) < 1 / (1 + np.exp(-gap / 2.5))).astype(int)
    fit = LogisticRegression(C=1e12, fit_intercept=False, tol=1e-10).fit(gap[:, None], truth)
    assert calibration.fit_temperature(logits, truth) == pytest.approx(1 / fit.coef_[0, 0], rel=1e-3)  # fmt: skip


@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_the_oracle_is_the_best_of_all_orders(hits: list[bool]) -> None:
    hit = np.array(hits)
    sureness = [np.array(order, float) for order in permutations(range(len(hits)))]
    areas = [calibration.aurc(order, hit) for order in sureness]
    assert calibration.oracle_aurc(hit) == pytest.approx(min(areas))
    assert np.mean(areas) == pytest.approx(
        1 - hit.mean()
    )  # what a sureness that tells nothing gets


def test_intervals_agree_with_scipys_bootstrap() -> None:
    rng = np.random.default_rng(4)
    top, bottom = rng.uniform(1, 3, 60), rng.uniform(1, 3, 60)
    share = lambda t, b: t.sum() / b.sum()  # noqa: E731
    kinds = {"vectorized": False, "paired": True, "method": "percentile", "n_resamples": 3000, "rng": 0}  # fmt: skip
    expected = stats.bootstrap((top, bottom), share, **kinds).confidence_interval
    ours = bootstrap.ratio(top, bottom)
    assert (ours.low, ours.high) == pytest.approx(tuple(expected), abs=0.012)
    other = top + rng.normal(0.2, 0.3, 60)
    gain = lambda o, t, b: o.sum() / b.sum() - t.sum() / b.sum()  # noqa: E731
    expected = stats.bootstrap((other, top, bottom), gain, **kinds).confidence_interval
    first, second = (np.stack([x, bottom], axis=1) for x in (top, other))
    ours = bootstrap.paired(first, second)
    assert (ours.low, ours.high) == pytest.approx(tuple(expected), abs=0.006)
    inside, outside = rng.normal(0, 1, 50), rng.normal(0.5, 1, 40)
    kinds |= {"paired": False, "n_resamples": 2000}
    expected = stats.bootstrap((inside, outside), calibration.auroc, **kinds).confidence_interval
    assert calibration.auroc_interval(inside, outside) == pytest.approx(tuple(expected), abs=0.02)


@given(SEEDS, st.integers(20, 80), st.sampled_from([0.05, 0.1, 0.3]))
def test_thresholds_are_the_corrected_quantile(seed: int, n: int, alpha: float) -> None:
    """As Angelopoulos and Bates 2021, section 1, define it: the ceil((n + 1)(1 - alpha)) / n quantile."""
    scores = np.random.default_rng(seed).normal(size=n)
    level = (
        math.ceil(round((n + 1) * (1 - alpha), 6)) / n - 1e-9
    )  # k / n itself may round up past k
    assert conformal.threshold(scores, alpha) == np.quantile(scores, level, method="inverted_cdf")


@given(SEEDS, st.integers(1, 5))
def test_recall_agrees_with_sklearn_and_chance_with_scipy(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    queries, gallery = 12, 8
    similarity, truth = rng.normal(size=(queries, gallery)), rng.integers(gallery, size=queries)
    found = retrieval.ranks(similarity, np.eye(gallery, dtype=bool)[truth])
    expected = sk.top_k_accuracy_score(truth, similarity, k=k, labels=range(gallery))
    assert retrieval.recall_at(found, k).mean() == pytest.approx(expected)
    reciprocal = sk.label_ranking_average_precision_score(np.eye(gallery)[truth], similarity)
    assert np.mean(1 / found) == pytest.approx(reciprocal)
    relevant = rng.integers(1, gallery, queries)
    law = stats.hypergeom(gallery, relevant, k)
    assert retrieval.chance_at(relevant, gallery, k) == pytest.approx(law.sf(0).mean(), abs=1e-9)
