"""The image tokenizer: any size comes back in its shape, codes do not depend on the batch, a fit learns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from unitok import tokenizers
from unitok.conformance import check_grammar, check_tokenizer, check_value
from unitok.errors import InputError, RunError
from unitok.metrics.images import psnr
from unitok.tokenizers import base, codec_fit
from unitok.tokenizers import image as room
from unitok.tokenizers.image import ImageTokenizer, canvas_side
from unitok.tokenizers.image_grammar import FIRST_CODE, HEADER, header_ids, parse_header
from unitok.values import Audio, Image, ValueRefused


def small(**options: object) -> ImageTokenizer:
    return ImageTokenizer(**{"patch": 4, "codes": 60, "width": 8, "depth": 1, **options})


TOKENIZER = small()


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> Image:
    rng = np.random.default_rng([seed, height, width, channels])
    return Image(rng.integers(0, 256, (height, width, channels), dtype=np.uint8))


def same_shape(value: Image, back: Image) -> bool:
    return value.pixels.shape == back.pixels.shape


def request_of(value: Image) -> dict[str, int]:
    return {"height": value.height, "width": value.width, "channels": value.channels}


def test_conformance() -> None:
    values = [picture(8, 8, 1), picture(9, 31), picture(1, 1), picture(28, 28, 1)]
    requests = ({}, request_of(values[1]))
    check_tokenizer(small, values, same_shape, request_of=request_of, requests=requests)


@pytest.mark.parametrize("levels", [None, [4, 4, 4]])
def test_folder_keeps_fingerprint_and_ids(levels: list[int] | None, tmp_path) -> None:
    tokenizer = small(levels=levels, patch=2)
    tokenizer.save(tmp_path)
    loaded = tokenizers.load(tmp_path)
    assert (loaded.fingerprint, loaded.size) == (tokenizer.fingerprint, tokenizer.size)
    value = picture(16, 16)
    ids = tokenizer.encode(value)
    assert np.array_equal(ids, loaded.encode(value)) and tokenizer.decode(ids) == loaded.decode(ids)
    assert len(np.unique(ids[HEADER:])) > 8  # the codes say something


def test_more_than_one_rate_may_ship(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(base, "DEFAULTS", tmp_path)
    for folder, codes in (("image", 16), ("image-low", 8)):
        ImageTokenizer(patch=8, codes=codes, width=8, depth=1).save(tmp_path / folder)
    (tmp_path / "image-torn").mkdir()  # a folder without a header is none
    assert ImageTokenizer.variants() == ["low"]
    assert tokenizers.build("image").num_codes == 16
    assert tokenizers.build("image", variant="low").num_codes == 8
    with pytest.raises(ValueError, match="no variant 'high' ships; there are: low"):
        tokenizers.build("image", variant="high")
    with pytest.raises(ValueError, match="takes no options"):
        tokenizers.build("image", variant="low", codes=8)


def test_weights_of_another_codec_are_refused(tmp_path) -> None:
    TOKENIZER.save(tmp_path)
    header = tmp_path / "tokenizer.json"
    header.write_text(header.read_text().replace('"width": 8', '"width": 16'))
    with pytest.raises(InputError, match="has shape"):
        ImageTokenizer.load(tmp_path)


sides = st.one_of(st.integers(8, 40), st.sampled_from([63, 64, 65, 127, 200, 513, 1000, 1024]))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(sides, st.integers(8, 40), st.booleans(), st.sampled_from([1, 3]))
def test_any_size_comes_back(long: int, short: int, tall: bool, channels: int) -> None:
    height, width = (long, short) if tall else (short, long)
    value = picture(height, width, channels)
    check_value(TOKENIZER, value, same_shape, request=request_of(value))
    ids = TOKENIZER.encode(value)
    assert len(ids) == HEADER + -(-height // 4) * -(-width // 4)
    bits = 21 + (len(ids) - HEADER) * np.log2(60)
    assert TOKENIZER.bits_per_item(value) == pytest.approx(bits)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 1024), st.integers(1, 1024), st.sampled_from([1, 3]))
def test_header_says_the_size(height: int, width: int, channels: int) -> None:
    ids = header_ids(height, width, channels)
    assert ids.dtype == np.int32 and len(ids) == HEADER and ids.max() < FIRST_CODE
    assert parse_header(ids) == (height, width, channels)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, TOKENIZER.size - 1), max_size=12))
def test_decode_is_total(ids: list[int]) -> None:
    try:
        value = TOKENIZER.decode(np.array(ids, np.int32))
    except ValueError:
        return
    assert value.height <= 1024 and value.width <= 1024


def test_decode_takes_any_codes_under_a_right_header() -> None:
    rng = np.random.default_rng(0)
    for height, width, channels in ((8, 8, 1), (5, 30, 3), (16, 16, 3)):
        count = -(-height // 4) * -(-width // 4)
        codes = rng.integers(FIRST_CODE, TOKENIZER.size, count)
        ids = np.concatenate([header_ids(height, width, channels), codes]).astype(np.int32)
        assert TOKENIZER.decode(ids).pixels.shape == (height, width, channels)
        for wrong in (ids[:-1], np.append(ids, ids[-1]), ids[1:], np.append(ids[:-1], 0)):
            with pytest.raises(ValueError, match="image:"):
                TOKENIZER.decode(wrong)


def test_codes_do_not_depend_on_the_batch() -> None:
    """Bitwise: alone, in any company, at any place, beside images of other sizes on the same canvas."""
    rng = np.random.default_rng(0)
    values = [picture(28, 28, 1, seed) for seed in range(70)]
    values += [picture(int(h), int(w)) for h, w in rng.integers(33, 49, (20, 2))]
    order = rng.permutation(len(values))
    alone = [TOKENIZER.encode(values[i]) for i in order[:12]]
    together = TOKENIZER.encode_batch([values[i] for i in order])
    assert all(np.array_equal(a, b) for a, b in zip(alone, together))
    decoded = TOKENIZER.decode_batch(together)
    assert all(TOKENIZER.decode(ids) == decoded[i] for i, ids in enumerate(alone))
    assert group_vectors_equal(TOKENIZER, picture(28, 28))


def group_vectors_equal(tokenizer: ImageTokenizer, value: Image) -> bool:
    """The encoder's vectors, before any rounding to codes, are bit-identical at every row of the group."""
    group = room.group_size((7, 7))
    x_GHWC = jnp.asarray(np.random.default_rng(1).normal(size=(group, 28, 28, 3)), jnp.float32)
    same = jnp.broadcast_to(x_GHWC[:1], x_GHWC.shape)
    encode = jax.jit(tokenizer.codec.encode)
    mixed, alike = encode(tokenizer._params, x_GHWC), encode(tokenizer._params, same)
    return bool((alike == mixed[:1]).all())


def test_a_larger_canvas_changes_nothing() -> None:
    """The mask makes a value in a corner of the canvas come out as on a canvas of its own."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 20, 28, 3)), jnp.float32)
    canvas = jnp.zeros((1, 32, 48, 3)).at[:, :20, :28].set(x)
    mask = jnp.zeros((1, 8, 12), bool).at[:, :5, :7].set(True)
    codec, params = TOKENIZER.codec, codec_with_all_weights(TOKENIZER)
    own, in_corner = codec.encode(params, x), codec.encode(params, canvas, mask)[:, :5, :7]
    np.testing.assert_allclose(own, in_corner, atol=1e-5)
    own, in_corner = (
        codec.decode(params, own),
        codec.decode(params, jnp.ones((1, 8, 12, 8)).at[:, :5, :7].set(own), mask),
    )
    np.testing.assert_allclose(own, in_corner[:, :20, :28], atol=1e-5)


def codec_with_all_weights(tokenizer: ImageTokenizer) -> dict:
    """Random weights everywhere: freshly made residual branches are zero and would hide a leak."""
    leaves, tree = jax.tree.flatten(tokenizer._params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return tree.unflatten([0.3 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)])


def test_few_programs_for_all_sizes() -> None:
    sides = {canvas_side(n) for n in range(1, 513)}
    assert len(sides) <= 20
    assert all(n <= canvas_side(n) <= max(n, 1.5 * n) for n in range(1, 513))


def test_grammar_closes_for_a_fixed_width() -> None:
    check_grammar(small(patch=8), {"width": 40, "channels": 1})


def test_request_is_obeyed_to_the_token() -> None:
    grammar = TOKENIZER.grammar(height=100, width=33, channels=3)
    assert grammar.min_tokens == HEADER + 25 * 9 + 1
    registers, code = grammar.registers(), -1
    for left in range(grammar.min_tokens, 0, -1):
        registers, allowed, _ = STEP(grammar, registers, code, left)
        code = int(np.flatnonzero(np.asarray(allowed))[0])
        wanted = header_ids(100, 33, 3).tolist()
        step = grammar.min_tokens - left
        assert code == wanted[step] if step < HEADER else code >= FIRST_CODE
    assert code == TOKENIZER.size


STEP = jax.jit(lambda grammar, *a: grammar.step(*a), static_argnums=0)


def test_bad_requests_and_values_are_refused() -> None:
    for request in ({"height": 0}, {"width": 1025}, {"channels": 2}):
        with pytest.raises(ValueError, match="image\\."):
            TOKENIZER.grammar(**request)
    with pytest.raises(ValueRefused, match="1024"):
        TOKENIZER.encode(Image(np.zeros((8, 1025, 1), np.uint8)))
    with pytest.raises(ValueRefused, match="Audio"):
        TOKENIZER.encode(Audio(np.zeros(8, np.float32), 16000))
    for options in ({"patch": 0}, {"levels": [1, 3]}, {"width": 2.5}):
        with pytest.raises(ValueError, match="image\\."):
            small(**options)


# ---- fitting -------------------------------------------------------------------------------------

DIGITS = [Image(np.round(x * 15.9375).astype(np.uint8)) for x in load_digits().images]


def test_a_short_fit_learns_digits_and_is_reproducible() -> None:
    lines: list[str] = []
    options = {"patch": 2, "codes": 32, "width": 16, "depth": 1, "steps": 90, "batch_size": 64}
    tokenizer = ImageTokenizer.fit(DIGITS[:1400], log=lines.append, **options)
    test = DIGITS[1400:]
    ids = tokenizer.encode_batch(test)
    back = tokenizer.decode_batch(ids)
    fidelity = np.mean([psnr(a.pixels, b.pixels) for a, b in zip(test, back)])
    assert fidelity > 17  # the mean picture alone gives about 11 dB
    codes = np.concatenate([i[HEADER:] - FIRST_CODE for i in ids])
    assert len(np.unique(codes)) >= 30
    again = tokenizer.encode_batch(back)
    assert np.mean(np.concatenate(again) == np.concatenate(ids)) > 0.6  # token self-consistency
    assert len(lines) >= 10 and "perplexity" in lines[0]
    assert ImageTokenizer.fit(DIGITS[:1400], log=lines.append, **options).fingerprint == (
        tokenizer.fingerprint
    )


def test_a_fit_that_diverges_says_so() -> None:
    progress = codec_fit._Progress(TOKENIZER.quantizer, 10, lambda _: None)
    with pytest.raises(RunError, match="learning rate"):
        progress.update(9, {"loss": float("nan"), "codes": np.zeros(1), "mse": 1.0})


def test_crops_are_parts_of_the_pictures() -> None:
    values = [picture(40, 90), picture(24, 20, 1), picture(64, 64)]
    draw = codec_fit.image_crops(values, 4, crop=30, scales=(1, 2), grey=0.5, flip=False)
    crops = draw(np.random.default_rng(0), 64)
    assert crops.shape == (64, 32, 32, 3) and crops.dtype == np.uint8
    assert np.array_equal(crops, draw(np.random.default_rng(0), 64))
    grey = (crops == crops[..., :1]).all((1, 2, 3))
    assert 10 < grey.sum() < 60
    with pytest.raises(ValueRefused, match="no images"):
        codec_fit.image_crops([], 4, crop=32, scales=(1,), grey=0, flip=False)


def test_the_shipped_default_reads_photos() -> None:
    """The default that `pip install` brings: fidelity on a photo that scikit-learn carries."""
    from sklearn.datasets import load_sample_image

    tokenizer = tokenizers.build("image")
    value = Image(load_sample_image("flower.jpg")[100:292, 200:392])
    back = tokenizer.decode(tokenizer.encode(value))
    assert psnr(value.pixels, back.pixels) > 24
