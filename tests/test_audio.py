"""The audio tokenizer: any length comes back at exactly that length, gain and batch change no code."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from unitok import tokenizers
from unitok.conformance import check_tokenizer
from unitok.eval.roundtrip import main
from unitok.metrics.audio import si_sdr
from unitok.tokenizers import audio as room
from unitok.tokenizers import audio_codec as codec
from unitok.tokenizers import audio_spectral
from unitok.tokenizers.audio import AudioTokenizer, gain_of, loudness_of
from unitok.tokenizers.audio_grammar import (
    CODES,
    FIRST_CODE,
    FRAME,
    HEADER,
    LOUDNESS,
    header_ids,
    parse_header,
)
from unitok.tokenizers.mdct import imdct, mdct
from unitok.values import Audio, Image, ValueRefused

TOKENIZER = tokenizers.build("audio")


def noise(length: int, seed: int = 0, rate: int = 16000) -> Audio:
    rng = np.random.default_rng([seed, length])
    return Audio(rng.normal(0, 0.1, length).astype(np.float32), rate)


def melody(seconds: float, seed: int = 0) -> Audio:
    """A glide with overtones under a rising and falling envelope: what a codec should carry."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(16000 * seconds)) / 16000
    pitch = rng.uniform(90, 250) * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(0.3, 1) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    tones = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 9))
    return Audio((0.1 * tones * np.sin(np.pi * time / seconds)).astype(np.float32), 16000)


def same_length(value: Audio, back: Audio) -> bool:
    return back.rate == 16000 and len(back.samples) == -(-len(value.samples) * 16000 // value.rate)


def request_of(value: Audio) -> dict[str, float]:
    return {"length": len(value.samples)}


def test_conformance() -> None:
    values = [noise(0), noise(1), noise(320), melody(0.2), Audio(np.zeros(700, np.float32), 16000)]
    requests = ({}, {"seconds": 0.05}, {"length": 0})
    check_tokenizer(
        tokenizers.build("audio"), values, same_length, request_of=request_of, requests=requests,
        slacks=(0, 1, 5, 17, 60),
    )  # fmt: skip


# ---- the transform -------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3000), st.sampled_from([2, 16, 320]), st.integers(0, 99))
def test_the_transform_loses_nothing(length: int, size: int, seed: int) -> None:
    samples = np.random.default_rng(seed).uniform(-1, 1, length).astype(np.float32)
    coefficients = mdct(samples, size)
    assert coefficients.shape == (-(-length // size), size)
    back = imdct(coefficients, length)
    assert len(back) == length and np.abs(back - samples).max(initial=0) < 1e-5
    assert np.sum(coefficients**2) == pytest.approx(np.sum(samples**2), rel=1e-4)


# ---- sound in and out ------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5000), st.integers(0, 99))
def test_any_length_comes_back(length: int, seed: int) -> None:
    value = noise(length, seed)
    ids = TOKENIZER.encode(value)
    assert len(ids) == HEADER + -(-length // FRAME) * 4
    assert len(TOKENIZER.decode(ids).samples) == length
    assert TOKENIZER.bits_per_item(value) == pytest.approx(
        34.32 + 10 * (len(ids) - HEADER), abs=0.01
    )


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 255), st.integers(0, room.MAX_LENGTH))
def test_header_says_loudness_and_length(level: int, length: int) -> None:
    ids = header_ids(level, length)
    assert ids.dtype == np.int32 and len(ids) == HEADER and 0 <= ids.min() <= ids.max() < FIRST_CODE
    assert parse_header(ids) == (level, length)


@pytest.mark.parametrize("amplitude", [0.0, 1e-7, 4e-6])
def test_silence_stays_silence(amplitude: float) -> None:
    quiet = Audio((noise(3000).samples * 10 * amplitude).astype(np.float32), 16000)
    assert np.abs(TOKENIZER.decode(TOKENIZER.encode(quiet)).samples).max() < 1e-4
    if amplitude <= 1e-7:
        assert not TOKENIZER.decode(TOKENIZER.encode(quiet)).samples.any()


@settings(max_examples=30, deadline=None)
@given(st.integers(-12, 3), st.integers(0, 5))
def test_gain_changes_the_loudness_token_alone(power: int, seed: int) -> None:
    value = melody(0.3, seed)
    louder = Audio(value.samples * np.float32(2.0**power), 16000)
    ids, other = TOKENIZER.encode(value), TOKENIZER.encode(louder)
    assert np.array_equal(ids[1:], other[1:])
    assert other[0] - ids[0] == pytest.approx(power * 20 * np.log10(2) / room.STEP_DB, abs=1)
    one, two = TOKENIZER.decode(ids).samples, TOKENIZER.decode(other).samples
    gain = gain_of(other[0] - LOUDNESS) / gain_of(ids[0] - LOUDNESS)
    np.testing.assert_allclose(two, gain * one, rtol=1e-4, atol=1e-6)
    assert gain == pytest.approx(2.0**power, rel=0.06)  # half a step of 0.5 dB, twice


def test_pauses_do_not_change_the_loudness() -> None:
    voice = melody(0.5).samples
    with_pause = np.concatenate([voice, np.zeros(16000, np.float32)])
    level, amplitude = loudness_of(voice)
    assert loudness_of(with_pause) == (level, pytest.approx(amplitude))
    assert gain_of(level) == pytest.approx(amplitude, rel=0.03)


def test_codes_do_not_depend_on_the_batch() -> None:
    """Bitwise: alone, in any company, at any place of the program's rows."""
    values = [
        noise(int(n), seed) for seed, n in enumerate(np.random.default_rng(0).integers(1, 9000, 20))
    ]
    values += [melody(0.4, seed) for seed in range(10)]
    together = TOKENIZER.encode_batch(values)
    assert all(np.array_equal(TOKENIZER.encode(v), ids) for v, ids in zip(values, together))
    backs = TOKENIZER.decode_batch(together)
    assert all(TOKENIZER.decode(ids) == back for ids, back in zip(together, backs))


def test_levels_have_ids_of_their_own() -> None:
    value = melody(0.5)
    four, eight = TOKENIZER, tokenizers.build("audio", codes_per_frame=8)
    assert (four.size, eight.size) == (FIRST_CODE + 4 * CODES, FIRST_CODE + 8 * CODES)
    for tokenizer, levels in ((four, 4), (eight, 8)):
        ids = tokenizer.encode(value)[HEADER:].reshape(-1, levels)
        assert np.array_equal(
            (ids - FIRST_CODE) // CODES, np.tile(np.arange(levels), (len(ids), 1))
        )
    assert tokenizers.build("audio", variant="high").fingerprint == eight.fingerprint
    for wrong in ({"variant": "low"}, {"variant": "high", "codes_per_frame": 4}):
        with pytest.raises(ValueError, match="variant"):
            tokenizers.build("audio", **wrong)
    with pytest.raises(ValueError, match="gains"):
        tokenizers.build("audio", codes_per_frame=9)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, TOKENIZER.size - 1), max_size=20))
def test_decode_is_total(ids: list[int]) -> None:
    try:
        value = TOKENIZER.decode(np.array(ids, np.int32))
    except ValueError:
        return
    assert len(value.samples) <= len(ids) * FRAME


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 255), st.integers(1, 3000), st.integers(0, 99))
def test_decode_takes_any_codes_under_a_right_header(level: int, length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, CODES, (-(-length // FRAME), 4)) + FIRST_CODE + CODES * np.arange(4)
    ids = np.concatenate([header_ids(level, length), codes.reshape(-1)]).astype(np.int32)
    assert len(TOKENIZER.decode(ids).samples) == length
    for wrong in (ids[:-1], np.append(ids, ids[-1]), ids[1:], np.append(ids[:-1], 0)):
        with pytest.raises(ValueError, match="audio:"):
            TOKENIZER.decode(wrong)


def test_other_rates_are_resampled() -> None:
    time = np.arange(8000) / 8000
    value = Audio(np.sin(2 * np.pi * 440 * time).astype(np.float32), 8000)
    back = TOKENIZER.decode(TOKENIZER.encode(value))
    assert (back.rate, len(back.samples)) == (16000, 16000)
    assert np.argmax(np.abs(np.fft.rfft(back.samples))) == pytest.approx(440, abs=2)


def test_bad_requests_and_values_are_refused() -> None:
    for request in ({"seconds": -1}, {"seconds": 9999}, {"length": -1}):
        with pytest.raises(ValueError, match="audio:"):
            TOKENIZER.grammar(**request)
    with pytest.raises(ValueRefused, match="Image"):
        TOKENIZER.encode(Image(np.zeros((8, 8), np.uint8)))
    with pytest.raises(ValueRefused, match="cut it"):
        TOKENIZER.encode(Audio(np.zeros(5_300_000, np.float32), 1000))
    with pytest.raises(ValueRefused, match="full scale"):
        TOKENIZER.encode(Audio(np.full(400, 1e6, np.float32), 16000))
    for wrong in (1, 33, 2.5):
        with pytest.raises(ValueError, match="codes_per_frame"):
            AudioTokenizer(codes_per_frame=wrong)


@pytest.mark.parametrize(("codes", "floor"), [(4, 2.0), (8, 5.0)])
def test_the_shipped_default_carries_sound(codes: int, floor: float) -> None:
    tokenizer = tokenizers.build("audio", codes_per_frame=codes)
    values = [melody(1.0, seed) for seed in range(8)]
    backs = tokenizer.decode_batch(tokenizer.encode_batch(values))
    assert np.mean([si_sdr(v.samples, b.samples) for v, b in zip(values, backs)]) > floor


def test_codes_have_vectors() -> None:
    vectors = TOKENIZER.code_vectors()
    assert vectors.shape == (TOKENIZER.size, codec.BANDS + FRAME) and vectors.dtype == np.float32
    assert np.isnan(vectors[:FIRST_CODE]).all() and np.isfinite(vectors[FIRST_CODE:]).all()


# ---- on files ------------------------------------------------------------------------------------


def test_roundtrip_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stereo = np.stack([melody(0.8).samples, melody(0.8, 1).samples], axis=1)
    soundfile.write(tmp_path / "clip.wav", np.repeat(stereo, 2, axis=0), 32000)
    out = tmp_path / "out"
    assert roundtrip([f"{tmp_path / 'clip.wav'}", "--json", f"--out={out}"]) == 0
    (item,) = json.loads(capsys.readouterr().out)["items"]
    assert item["tokens"] == HEADER + 40 * 4 and item["rate"]["unit"] == "kbit/s"
    assert {"SI-SDR", "log-mel"} <= set(item["fidelity"])
    back = soundfile.info(out / "clip.wav")
    assert (back.samplerate, back.frames, back.channels) == (16000, 12800, 1)
    assert (out / "roundtrip.png").stat().st_size > 10_000


@pytest.mark.parametrize("rate", [0, 1, 2**31 - 1])
def test_a_header_with_an_absurd_rate_costs_one_line(
    rate: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = 2 * 9000
    wav = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16)
    wav += struct.pack("<HHIIHH", 1, 1, rate, 2 * rate % 2**32, 2, 16)
    wav += b"data" + struct.pack("<I", size) + np.random.default_rng(0).bytes(size)
    (tmp_path / "absurd.wav").write_bytes(wav)
    assert roundtrip([f"{tmp_path / 'absurd.wav'}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "absurd.wav" in line


def roundtrip(arguments: list[str]) -> int:
    return main(["audio", *arguments])


# ---- the codec -----------------------------------------------------------------------------------


def test_the_beam_leaves_no_more_than_the_greedy_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    x_GN = np.random.default_rng(0).normal(size=(16, FRAME)).astype(np.float32)
    params = codec.full_precision(codec.initial_weights(4), 4)
    left = {}
    for beam in (1, 4):
        monkeypatch.setattr(codec, "BEAM", beam)
        codes_GQ = codec.encode(params, x_GN)
        monkeypatch.setattr(codec, "FILL", 0.0)
        back_GN = codec.decode(params, codes_GQ, np.arange(16))
        left[beam] = np.sum((x_GN - np.asarray(back_GN)) ** 2, axis=1)
    assert (left[4] <= left[1] * (1 + 1e-5)).mean() > 0.8 and left[4].sum() < left[1].sum()


def test_a_chosen_shape_is_the_best_of_all() -> None:
    """The score by bands equals the squared error itself, tried one by one."""
    rng = np.random.default_rng(0)
    rest_GN, shapes_HN = rng.normal(size=(3, FRAME)), rng.normal(size=(codec.SHAPES, FRAME))
    gain_GB = rng.uniform(0.1, 0.4, (3, codec.BANDS))
    (_, code_G1) = codec.best_shapes(shapes_HN, gain_GB, rest_GN[:, None], 1)
    both_KN = np.concatenate([shapes_HN, -shapes_HN])
    for rest_N, gain_B, code in zip(rest_GN, gain_GB, np.asarray(code_G1)[:, 0]):
        error_K = np.sum((rest_N - both_KN * (codec.IN_BAND @ gain_B)) ** 2, axis=1)
        assert code == np.argmin(error_K)


def test_noise_fills_empty_bands_up_to_their_envelope_and_no_more() -> None:
    params = codec.full_precision(codec.initial_weights(4), 4)
    codes_GQ = np.random.default_rng(0).integers(0, CODES, (64, 4))
    power_GB = np.asarray(params["envelopes"])[codes_GQ[:, 0]] ** (1 / codec.COMPANDING)
    nothing_GN = np.zeros((64, FRAME), np.float32)
    rms_GB = np.asarray(codec.missing_rms(params, codes_GQ[:, 0], nothing_GN))
    assert (rms_GB**2 <= power_GB * (1 + 1e-4)).all()
    energy_G = np.sum(rms_GB**2 * codec.WIDTHS, axis=1)
    assert (energy_G <= codec.FILL * np.sum(power_GB * codec.WIDTHS, axis=1) * (1 + 1e-4)).all()
    assert (np.isclose(rms_GB**2, power_GB, rtol=1e-2).mean(axis=1) > 0).mean() > 0.9


# ---- fitting -------------------------------------------------------------------------------------


def test_a_short_fit_learns_and_is_reproducible() -> None:
    values = [melody(1.0, seed) for seed in range(6)]
    options = {"steps": 30, "batch_size": 4, "codes_per_frame": 3, "seed": 0}
    lines: list[str] = []
    tokenizer = AudioTokenizer.fit(values, log=lines.append, **options)
    test = melody(1.0, 99)
    found = si_sdr(test.samples, tokenizer.decode(tokenizer.encode(test)).samples)
    blank = AudioTokenizer(codes_per_frame=3)
    assert found > 3 + si_sdr(test.samples, blank.decode(blank.encode(test)).samples)
    assert "perplexity" in lines[-1] and "left" in lines[-1]
    again = AudioTokenizer.fit(values, log=lines.append, **options)
    assert again.fingerprint == tokenizer.fingerprint
    with pytest.raises(ValueRefused, match="more recordings"):
        AudioTokenizer.fit([melody(0.5)], **options)


def test_the_spectrum_of_the_fit_is_that_of_an_fft() -> None:
    x_CT = np.random.default_rng(0).standard_normal((2, 6000)).astype(np.float32)
    for window in audio_spectral.BANDS_OF:
        frames = np.lib.stride_tricks.sliding_window_view(x_CT, window, axis=1)[:, :: window // 4]
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
        want = np.abs(np.fft.rfft(frames * hann, axis=-1))
        got = np.asarray(audio_spectral.magnitudes(jnp.asarray(x_CT), window))
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)


def test_the_spectral_term_hears_what_the_codec_plays() -> None:
    """Its sounds are the inverse transform's, it knows how far off they are, and it has a slope everywhere."""
    x_GN = mdct(melody(0.64).samples, FRAME)
    whole = imdct(x_GN, len(x_GN) * FRAME)
    heard = np.asarray(audio_spectral.samples(jnp.asarray(x_GN)[None]))[0]
    np.testing.assert_allclose(heard, whole[FRAME // 2 : -FRAME // 2], atol=1e-5)
    far = [float(audio_spectral.distance(x_GN, k * x_GN, 32)) for k in (1.0, 0.9, 0.5, 0.0)]
    assert far == sorted(far) and far[0] < 1e-3 < far[1]
    for made_GN in (np.zeros_like(x_GN), x_GN):
        slope = jax.grad(lambda y_GN: audio_spectral.distance(x_GN, y_GN, 32))(made_GN)
        assert np.isfinite(slope).all()


def test_a_fit_with_the_spectral_term_comes_nearer_in_spectrum() -> None:
    values = [melody(1.0, seed) for seed in range(6)]
    options = {
        "steps": 30,
        "batch_size": 4,
        "codes_per_frame": 3,
        "seed": 0,
        "log": lambda line: None,
    }
    test = melody(1.0, 99)
    frames_GN = mdct(test.samples, FRAME)[:32]

    def missed(spectral: float) -> float:
        tokenizer = AudioTokenizer.fit(values, spectral=spectral, **options)
        made_GN = mdct(tokenizer.decode(tokenizer.encode(test)).samples, FRAME)[:32]
        return float(audio_spectral.distance(frames_GN, made_GN, 32))

    assert missed(0.3) < missed(0.0)
