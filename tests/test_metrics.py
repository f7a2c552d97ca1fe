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
from unitok.config import ConfigError, TaskConfig, Template
from unitok.metrics import (
    audio,
    bootstrap,
    classification,
    detection,
    frechet,
    graphs,
    images,
    regression,
    series,
    text,
)
from unitok.metrics.detection import Detections
from unitok.values import Graph

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
    size = np.abs(truth) + np.abs(
        forecast
    )  # a percentage of it: errors once each pair is scaled by it
    expected = 200 * sk.mean_absolute_error(truth / size, forecast / size)
    assert 0 < expected < 200 and series.smape(truth, forecast) == pytest.approx(expected)
    assert series.smape(np.abs(truth), -np.abs(forecast)) == pytest.approx(200)
    past = rng.normal(size=60)
    for season in (1, 7):
        scale = sk.mean_absolute_error(past[season:], past[:-season])
        expected = sk.mean_absolute_error(truth, forecast) / scale
        assert series.mase(truth, forecast, past, season) == pytest.approx(expected)


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


def test_si_sdr_is_the_explained_over_the_unexplained_share_of_a_regression() -> None:
    from sklearn.linear_model import LinearRegression

    rng = np.random.default_rng(12)
    for noise in (0.03, 1.0, 9.0):
        clean = rng.normal(1, 1, 4000)
        heard = -0.7 * clean + noise * rng.normal(size=4000) + 3
        share = LinearRegression().fit(clean[:, None], heard).score(clean[:, None], heard)
        assert audio.si_sdr(clean, heard) == pytest.approx(10 * np.log10(share / (1 - share)))


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


# ---- probabilities, captions, numbers ----------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_auroc_agrees_with_sklearn(classes: int) -> None:
    rng = np.random.default_rng(11)
    truth = rng.integers(0, classes, 80)
    p = rng.dirichlet(np.ones(classes), 80).round(1)  # with ties
    p[:, -1] += 1e-3
    p /= p.sum(axis=1, keepdims=True)
    labels = list(range(classes))
    expected = sk.roc_auc_score(truth, p[:, 1] if classes == 2 else p, multi_class="ovr")
    assert classification.macro_auroc(truth.tolist(), p, labels) == pytest.approx(expected)


@given(WORDS, WORDS)
def test_rouge_l_agrees_with_google(a: list[str], b: list[str]) -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="needs rouge-score, in `test`")
    reference, written = " ".join(a), " ".join(b)
    expected = scorer.RougeScorer(["rougeL"]).score(reference, written)["rougeL"].fmeasure
    assert text.rouge_l(reference, written) == pytest.approx(expected)


def test_corpus_bleu_is_a_function_of_sums() -> None:
    rng = np.random.default_rng(12)
    words = np.array(["a", "bc", "cat", "dog"])
    texts = [" ".join(rng.choice(words, 7)) for _ in range(40)]
    references = [" ".join(rng.choice(words, 8)) for _ in range(40)]
    whole = text.bleu_of_counts(text.bleu_counts(references, texts).sum(axis=0))
    assert whole == text.bleu(references, texts)


def test_cider_by_hand() -> None:
    """Two references share `a`, so that it weighs nothing; log 2 is the weight of every other n-gram."""
    references = ["a red dog", "a blue cat"]
    assert text.cider(references, references).tolist() == [7.5, 7.5]  # there is no 4-gram
    # 1-grams: red and dog of {red, dog}, found {red}: 1 / sqrt(2); 2-grams {a red, red dog}, found {a red}:
    # 1 / sqrt(2); no 3-gram; one word less than the reference
    expected = 10 / 4 * 2 / np.sqrt(2) * np.exp(-1 / 72)
    assert text.cider(references, ["a red", "zebra"]) == pytest.approx([expected, 0.0])
    # clipped: a word said thrice counts once, and only makes its own vector longer
    expected = 10 / 4 * (1 / np.sqrt(2) / 3) / 1
    assert text.cider(references, ["red red red", "zebra"])[0] == pytest.approx(expected)


def test_groups_are_resampled_each_on_its_own() -> None:
    rng = np.random.default_rng(0)
    even, wild = np.full(300, 2.0), rng.normal(5.0, 1.0, 300)
    strata = [np.stack([x, np.ones(300)], axis=1) for x in (even, wild)]
    mean = bootstrap.of_strata(strata, lambda s: float((s[:, 0] / s[:, 1]).mean()))
    assert mean.value == pytest.approx((2.0 + wild.mean()) / 2) and mean.items == 600
    # the first group does not vary: what is left is half of the second's standard error
    width = 2 * 1.96 * wild.std() / np.sqrt(300) / 2
    assert mean.high - mean.low == pytest.approx(width, rel=0.1)
    one = bootstrap.of_strata(strata[1:], lambda s: float(s[0, 0] / s[0, 1]))
    assert one.high - one.low == pytest.approx(2 * width, rel=0.1)
    with pytest.raises(ValueError, match="no items"):
        bootstrap.of_strata([], float)


def test_bits_per_byte_counts_bytes() -> None:
    assert text.bits_per_byte(np.log(2) * 16, "\u00e4\u00f6") == pytest.approx(4.0)
    with pytest.raises(ValueError, match="empty"):
        text.bits_per_byte(1.0, "")


def test_regression_agrees_with_sklearn() -> None:
    truth, guess = np.random.default_rng(13).normal(size=(2, 30))
    assert regression.r2(truth, guess) == pytest.approx(sk.r2_score(truth, guess))
    assert regression.rmse(truth, guess) ** 2 == pytest.approx(sk.mean_squared_error(truth, guess))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_is_written_is_read(value: float) -> None:
    assert regression.parse_number(str(value)) == value
    assert regression.parse_number(f"about {value}") is None


# ---- distances of distributions ----------------------------------------------------------------


def test_frechet_distance_by_the_square_root_of_matrices() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(14)
    a, b = rng.normal(size=(60, 4)), rng.normal(1, 2, (50, 4)) @ rng.normal(size=(4, 4))
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(
        cov_a + cov_b - 2 * np.real(sqrtm(cov_a @ cov_b))
    )
    assert frechet.frechet_distance(a, b) == pytest.approx(expected)
    assert frechet.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    fewer = rng.normal(
        size=(5, 40)
    )  # fewer vectors than features: no root of a singular matrix is taken
    assert frechet.frechet_distance(fewer, fewer) == pytest.approx(0, abs=1e-9)


def test_quantile_loss_of_the_median_is_the_absolute_error() -> None:
    rng = np.random.default_rng(15)
    truth, samples = rng.normal(size=12), rng.normal(size=(9, 12))
    half = series.quantile_loss(truth, samples, np.array([0.5]))
    assert half == pytest.approx(np.abs(truth - np.median(samples, axis=0)).sum())
    point = samples[:1]
    assert series.quantile_loss(truth, point) == pytest.approx(np.abs(truth - point[0]).sum())
    pinball = [
        2 * sk.mean_pinball_loss(truth, np.quantile(samples, q, axis=0), alpha=q) * 12
        for q in series.LEVELS
    ]
    assert series.quantile_loss(truth, samples) == pytest.approx(np.mean(pinball))


def test_coverage_of_the_right_distribution_is_its_level() -> None:
    rng = np.random.default_rng(16)
    samples = rng.normal(size=(400, 3000))
    assert series.coverage(rng.normal(size=3000), samples) == pytest.approx(0.8, abs=0.03)


@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 20))
def test_seasonal_naive_repeats_the_season(season: int, length: int, horizon: int) -> None:
    past = np.arange(length, dtype=float)[:, None]
    forecast = series.seasonal_naive(past, horizon, season)
    used = min(season, length)
    assert forecast.shape == (horizon, 1)
    np.testing.assert_array_equal(forecast[:used], past[length - used :][:horizon])
    np.testing.assert_array_equal(forecast[used:], forecast[: max(horizon - used, 0)])


def test_seasonal_naive_fills_a_missing_value_from_the_season_before() -> None:
    past = np.array([1.0, 2.0, 3.0, np.nan, 5.0, np.nan])[:, None]
    assert series.seasonal_naive(past, 2, season=2)[:, 0].tolist() == [5.0, 2.0]
    assert series.seasonal_naive(np.full((3, 1), np.nan), 2)[:, 0].tolist() == [0.0, 0.0]


# ---- sounds ------------------------------------------------------------------------------------


def test_stoi_falls_with_noise_and_says_when_it_cannot_tell() -> None:
    pytest.importorskip("pystoi", reason="needs pystoi, in the extra `audio`")
    rng = np.random.default_rng(17)
    speech = rng.normal(size=10000) * (1 + np.sin(np.arange(10000) / 300))
    noisy = [audio.stoi(speech, speech + s * rng.normal(size=10000), 10000) for s in (0.1, 1, 5)]
    assert 1 > noisy[0] > noisy[1] > noisy[2]
    assert np.isnan(audio.stoi(speech[:1000], speech[:1000], 10000))


# ---- graphs ------------------------------------------------------------------------------------


def random_graph(seed: int, labelled: bool = False) -> Graph:
    import networkx as nx

    rng = np.random.default_rng(seed)
    drawn = nx.gnp_random_graph(int(rng.integers(1, 9)), 0.4, seed=seed)
    edges = np.array(list(drawn.edges()), int).reshape(-1, 2)
    n = drawn.number_of_nodes()
    labels = {"node_labels": rng.integers(0, 3, n), "edge_labels": rng.integers(0, 2, len(edges))}
    return Graph(n, edges, **(labels if labelled else {}))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.booleans())
def test_fingerprint_and_kernel_do_not_depend_on_names(seed: int, labelled: bool) -> None:
    graph = random_graph(seed, labelled)
    order = np.random.default_rng(seed).permutation(graph.num_nodes)
    other = graph.relabel(order)
    assert graphs.fingerprint(graph) == graphs.fingerprint(other)
    assert graphs.isomorphic(graph, other)
    assert graphs.wl_kernel([graph], [other])[0, 0] == pytest.approx(1)
    assert graphs.squared_mmd([graph], [other], graphs.degree_kernel) == pytest.approx(0)


def test_isomorphism_and_colours_agree_with_networkx() -> None:
    import networkx as nx

    made = [random_graph(seed) for seed in range(60)]
    drawn = [graph.to_networkx() for graph in made]
    theirs = [nx.weisfeiler_lehman_graph_hash(g, iterations=graphs.WL_ROUNDS) for g in drawn]
    ours = [graphs.fingerprint(graph) for graph in made]
    for i in range(60):
        for j in range(i):
            assert graphs.isomorphic(made[i], made[j]) == nx.is_isomorphic(drawn[i], drawn[j])
            if len(drawn[i]) == len(drawn[j]):
                assert (ours[i] == ours[j]) == (theirs[i] == theirs[j])


def test_isomorphic_sees_labels_direction_and_what_colours_cannot_tell() -> None:
    two = Graph(6, [[0, 1], [1, 2], [2, 0], [3, 4], [4, 5], [5, 3]])  # two triangles
    ring = Graph(6, [[i, (i + 1) % 6] for i in range(6)])
    assert graphs.fingerprint(two) == graphs.fingerprint(ring) and not graphs.isomorphic(two, ring)
    arrow = Graph(3, [[0, 1], [1, 2]], directed=True)
    assert graphs.isomorphic(arrow, Graph(3, [[2, 1], [1, 0]], directed=True))
    assert not graphs.isomorphic(arrow, Graph(3, [[0, 1], [2, 1]], directed=True))
    bonds = [Graph(3, [[0, 1], [1, 2]], edge_labels=labels) for labels in ([1, 2], [2, 1], [1, 1])]
    assert graphs.isomorphic(bonds[0], bonds[1]) and not graphs.isomorphic(bonds[0], bonds[2])


@given(st.integers(0, 3000))
def test_properties_agree_with_networkx(seed: int) -> None:
    import networkx as nx

    graph = random_graph(seed)
    drawn = graph.to_networkx()
    expected = {
        "num_nodes": len(drawn), "num_edges": drawn.size(), "num_components": nx.number_connected_components(drawn),
        "num_cycles": len(nx.cycle_basis(drawn)), "max_degree": max(dict(drawn.degree).values()),
        "is_connected": nx.is_connected(drawn), "is_tree": nx.is_tree(drawn), "is_bipartite": nx.is_bipartite(drawn),
    }  # fmt: skip
    assert {name: graphs.property_of(graph, name) for name in graphs.PROPERTIES} == expected


def test_mmd_tells_other_graphs_from_like_ones() -> None:
    sparse = [random_graph(seed) for seed in range(40)]
    like = [random_graph(seed) for seed in range(100, 140)]
    stars = [Graph(6, [[0, i] for i in range(1, 6)])] * 40
    for kernel in (graphs.degree_kernel, graphs.wl_kernel):
        near, far = (
            graphs.squared_mmd(sparse, like, kernel),
            graphs.squared_mmd(sparse, stars, kernel),
        )
        assert 0 < near < far / 4
        assert graphs.squared_mmd(sparse, sparse, kernel) == pytest.approx(0, abs=1e-12)


# ---- boxes -------------------------------------------------------------------------------------


def plain_average_precision(
    truth: list[np.ndarray], found: list[tuple[np.ndarray, np.ndarray]], threshold: float
) -> float:
    """COCO's definition written out: one label, a loop over detections, a loop over recalls."""
    queue = sorted(
        ((score, image, box) for image, (boxes, scores) in enumerate(found) for box, score in zip(boxes, scores)),
        key=lambda item: -item[0],
    )  # fmt: skip
    taken: set[tuple[int, int]] = set()
    points, right = [], 0
    for seen, (_, image, box) in enumerate(queue, 1):
        best, place = threshold, -1
        for i, other in enumerate(truth[image]):
            height = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
            width = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
            both = height * width
            area = lambda b: (b[2] - b[0]) * (b[3] - b[1])  # noqa: E731
            overlap = both / (area(box) + area(other) - both)
            if overlap >= best and (image, i) not in taken:
                best, place = overlap, i
        if place >= 0:
            taken.add((image, place))
            right += 1
        points.append((right / sum(map(len, truth)), right / seen))
    return float(
        np.mean(
            [max((p for r, p in points if r >= at), default=0.0) for at in np.linspace(0, 1, 101)]
        )
    )


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([0.3, 0.5, 0.75]))
def test_average_precision_agrees_with_its_definition(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        low = rng.uniform(0, 5, (count, 2))
        return np.concatenate([low, low + rng.uniform(1, 6, (count, 2))], axis=1)

    truth = [boxes(rng.integers(1, 4)) for _ in range(3)]
    found = []
    for real in truth:
        guess = np.concatenate([real + rng.normal(0, 0.4, real.shape), boxes(rng.integers(0, 3))])
        found.append((guess, rng.permutation(len(guess)) + rng.uniform(0, 0.5)))
    matched = [
        detection.match(
            Detections(t, ["x"] * len(t)), Detections(b, ["x"] * len(b), s), (threshold,)
        )
        for t, (b, s) in zip(truth, found)
    ]
    expected = plain_average_precision(truth, found, threshold)
    assert detection.average_precision(matched)["x"][0] == pytest.approx(expected)


def test_labels_are_averaged_and_a_wrong_label_hits_nothing() -> None:
    box = np.array([[0, 0, 4, 4.0], [5, 5, 9, 9.0]])
    truth = Detections(box, ["a", "b"])
    assert detection.mean_average_precision([detection.match(truth, truth)]) == pytest.approx(1)
    swapped = detection.match(truth, Detections(box, ["b", "a"]))
    assert detection.mean_average_precision([swapped]) == 0
    half = detection.match(truth, Detections(box[:1], ["a"]))
    assert detection.mean_average_precision([half]) == pytest.approx(0.5)


# ---- names -------------------------------------------------------------------------------------


def test_every_listed_metric_is_taken_by_a_task_and_no_other() -> None:
    template = [Template(inputs="", targets="x")]
    TaskConfig(source="s", templates=template, metrics=list(unitok.metrics.NAMES))
    with pytest.raises(ConfigError, match="did you mean 'rouge_l'"):
        TaskConfig(source="s", templates=template, metrics=["rougel"])


def test_bootstrap_of_sums_and_of_items_agree_with_the_mean() -> None:
    values = np.random.default_rng(18).normal(size=60)
    mean = bootstrap.mean(values)
    pairs = np.stack([values, np.ones(60)], axis=1)
    sums = bootstrap.of_sums(pairs, lambda s: s[0] / s[1])
    assert (sums.low, sums.high) == pytest.approx((mean.low, mean.high))
    items = bootstrap.of_items(60, lambda chosen: float(values[chosen].mean()))
    assert items.value == pytest.approx(mean.value)
    assert items.low == pytest.approx(mean.low, abs=0.08) and items.high == pytest.approx(
        mean.high, abs=0.08
    )


def test_events_are_counted_whatever_their_level_and_length():
    from unitok.metrics.counting import count_bursts, count_spikes

    rng = np.random.default_rng(0)
    tone = np.sin(np.arange(320) / 3)
    for count in range(5):
        samples = np.concatenate(
            [np.zeros(100), *(x for _ in range(count) for x in (tone, np.zeros(320)))]
        )
        noise = rng.normal(0, 0.02, len(samples))
        for gain in (0.01, 1.0):
            assert count_bursts(gain * (samples + (noise if count else 0)), 8000) == count
        values = rng.normal(0, 0.05, 24)
        values[2 : 2 + 3 * count : 3] += 3
        assert not count or count_spikes(7 - 2 * -values) == count
    assert count_spikes(np.full(9, 3.0)) == count_spikes(np.full(3, np.nan)) == 0
    assert count_bursts(np.zeros(900), 8000) == count_bursts(np.zeros(0), 8000) == 0
