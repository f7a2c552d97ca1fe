"""Every metric beside a reference implementation, and its worked example."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn import metrics as sk

import unitok.metrics
from unitok.metrics import audio, bootstrap, classification, images, series, text

WORDS = st.lists(st.sampled_from(["a", "bc", "cat", "dog", "the", "x"]), min_size=1, max_size=9)
NAMES = [m.name for m in pkgutil.iter_modules(unitok.metrics.__path__)]


@pytest.mark.parametrize("name", NAMES)
def test_worked_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"unitok.metrics.{name}"))
    assert result.attempted > 0, f"unitok.metrics.{name} has no worked example"
    assert result.failed == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_classification_agrees_with_sklearn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = [t for t, _ in pairs], [p for _, p in pairs]
    labels = sorted(set(truth))
    assert classification.accuracy(truth, predicted) == pytest.approx(
        sk.accuracy_score(truth, predicted)
    )
    assert classification.macro_f1(truth, predicted) == pytest.approx(
        sk.f1_score(truth, predicted, labels=labels, average="macro", zero_division=0)
    )
    counts = classification.confusion_matrix(truth, predicted, labels)
    everything = [*labels, *sorted(set(predicted) - set(labels))]
    reference = sk.confusion_matrix(truth, predicted, labels=everything)[: len(labels)]
    np.testing.assert_array_equal(counts[:, :-1], reference[:, : len(labels)])
    np.testing.assert_array_equal(counts[:, -1], reference[:, len(labels) :].sum(axis=1))


def test_calibration_error_of_calibrated_and_of_overconfident() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(100_000)
    assert classification.expected_calibration_error(p, rng.random(100_000) < p) < 0.01
    wrong = classification.expected_calibration_error(np.ones(100), np.arange(100) < 40)
    assert wrong == pytest.approx(0.6)


@given(st.text(max_size=12), st.text(max_size=12))
def test_edit_distance_is_a_metric(a: str, b: str) -> None:
    distance = text.edit_distance(a, b)
    assert distance == text.edit_distance(b, a)
    assert (distance == 0) == (a == b)
    assert abs(len(a) - len(b)) <= distance <= max(len(a), len(b))


@settings(max_examples=50)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_text_agrees_with_sacrebleu(pairs: list[tuple[list[str], list[str]]]) -> None:
    sacrebleu = pytest.importorskip("sacrebleu", reason="needs sacrebleu, in the extra `test`")
    references, texts = [" ".join(r) for r, _ in pairs], [" ".join(t) for _, t in pairs]
    reference = sacrebleu.corpus_chrf(texts, [references]).score
    assert text.chrf(references, texts) == pytest.approx(reference, abs=1e-9)
    reference = sacrebleu.corpus_bleu(texts, [references], tokenize="none", force=True).score
    assert text.bleu(references, texts) == pytest.approx(reference, abs=1e-9)


@given(WORDS, WORDS)
def test_rouge_l_by_exhaustive_subsequences(a: list[str], b: list[str]) -> None:
    def subsequences(words: list[str]) -> set[tuple[str, ...]]:
        found: set[tuple[str, ...]] = {()}
        for word in words:
            found |= {(*s, word) for s in found}
        return found

    longest = max(map(len, subsequences(a) & subsequences(b)))
    expected = 2 * longest / (len(a) + len(b))
    assert text.rouge_l(" ".join(a), " ".join(b)) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(32, 40, 3), (11, 11, 1), (64, 16, 1)])
def test_images_agree_with_skimage(shape: tuple[int, int, int]) -> None:
    reference = pytest.importorskip("skimage.metrics", reason="needs scikit-image, in `test`")
    rng = np.random.default_rng(1)
    a = rng.integers(0, 256, shape, np.uint8)
    b = np.clip(a + rng.normal(0, 20, shape), 0, 255).astype(np.uint8)
    expected = reference.peak_signal_noise_ratio(a, b)
    assert images.psnr(a, b) == pytest.approx(expected, abs=1e-9)
    expected = reference.structural_similarity(
        a, b, channel_axis=2, gaussian_weights=True, use_sample_covariance=False, data_range=255
    )
    assert images.ssim(a, b) == pytest.approx(expected, abs=1e-9)


def test_ssim_takes_images_smaller_than_its_window() -> None:
    rng = np.random.default_rng(2)
    for side in (1, 2, 8):
        a = rng.integers(0, 256, (side, side, 1), np.uint8)
        assert images.ssim(a, a) == pytest.approx(1)
        assert images.ssim(a, 255 - a) < 1


def test_series_errors_agree_with_sklearn() -> None:
    rng = np.random.default_rng(3)
    truth, forecast = rng.normal(size=50), rng.normal(size=50)
    assert series.mse(truth, forecast) == pytest.approx(sk.mean_squared_error(truth, forecast))
    assert series.mae(truth, forecast) == pytest.approx(sk.mean_absolute_error(truth, forecast))
    both = 2 * sk.mean_absolute_percentage_error(np.abs(truth) + np.abs(forecast), np.zeros(50))
    assert both == 2  # sMAPE of opposite signs is 200 %
    assert series.smape(np.abs(truth), -np.abs(forecast)) == pytest.approx(100 * both)


def test_seasonal_naive_has_mase_one_on_its_own_past() -> None:
    past = np.random.default_rng(4).normal(size=60)
    assert series.mase(past[7:], past[:-7], past, season=7) == pytest.approx(1)


@pytest.mark.parametrize("truth", [-2.0, 0.1, 3.0])
def test_crps_is_the_integral_over_the_distribution(truth: float) -> None:
    samples = np.random.default_rng(5).normal(size=9)
    cdf = stats.ecdf(samples).cdf.evaluate
    knots = [*samples, truth]
    expected, _ = integrate.quad(
        lambda x: (cdf(x) - (x >= truth)) ** 2, -8, 8, points=knots, limit=500
    )
    assert series.crps(np.array([truth]), samples[:, None]) == pytest.approx(expected, abs=1e-7)


def test_crps_of_a_gaussian_approaches_its_closed_form() -> None:
    samples = np.random.default_rng(6).normal(size=(100_000, 1))
    y = 0.7  # Gneiting and Raftery 2007, for the standard normal
    exact = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / np.sqrt(np.pi)
    assert series.crps(np.array([y]), samples) == pytest.approx(exact, abs=5e-3)


def test_si_sdr_ignores_scale_and_equals_the_snr_of_orthogonal_noise() -> None:
    rng = np.random.default_rng(7)
    clean, noise = rng.normal(size=(2, 4000))
    clean, noise = clean - clean.mean(), noise - noise.mean()
    noise -= (noise @ clean) / (clean @ clean) * clean
    expected = 10 * np.log10((clean @ clean) / (noise @ noise))
    for scale in (1, 0.01, -3):
        assert audio.si_sdr(clean, scale * (clean + noise)) == pytest.approx(expected)


def test_log_mel_agrees_with_transformers() -> None:
    reference = pytest.importorskip(
        "transformers.audio_utils", reason="needs transformers, in the extra `torch`"
    )
    samples = np.random.default_rng(8).normal(size=5000)
    filters = reference.mel_filter_bank(513, 80, 0, 8000, 16000, mel_scale="htk")
    expected = reference.spectrogram(
        samples,
        reference.window_function(1024, "hann"),
        frame_length=1024,
        hop_length=256,
        power=1.0,
        mel_filters=filters,
        log_mel="log10",
        mel_floor=audio.FLOOR,
    )
    np.testing.assert_allclose(audio.log_mel(samples, 16000), expected, atol=1e-4)


def test_bootstrap_agrees_with_scipy_and_covers() -> None:
    rng = np.random.default_rng(9)
    values = rng.normal(size=80)
    ours = bootstrap.mean(values)
    reference = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=5000, random_state=0
    ).confidence_interval
    width = reference.high - reference.low
    assert ours.low == pytest.approx(reference.low, abs=0.06 * width)
    assert ours.high == pytest.approx(reference.high, abs=0.06 * width)
    covered = []
    for seed in range(150):
        estimate = bootstrap.mean((np.random.default_rng(seed).random(60) < 0.7).astype(float))
        covered.append(estimate.low <= 0.7 <= estimate.high)
    assert 0.87 <= np.mean(covered) <= 1


def test_bootstrap_is_deterministic_and_claims_no_certainty_from_a_perfect_score() -> None:
    values = np.random.default_rng(10).random(30)
    assert bootstrap.mean(values) == bootstrap.mean(values)
    exact = stats.binomtest(30, 30).proportion_ci(0.95, "exact")
    assert bootstrap.mean(np.ones(30)).low == pytest.approx(exact.low)
    assert bootstrap.mean(np.zeros(30)).high == pytest.approx(1 - exact.low)
