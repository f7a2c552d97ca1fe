"""Where embeddings of learned codes begin, and the hiding of input codes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from unitok.data.tasks import hide_codes
from unitok.interfaces import Tokens
from unitok.train.embeddings import from_codebooks
from unitok.vocabulary import MASK, Vocabulary


class Book:
    """Codes 0, 1 are a header; 2.. lie on a line, so that neighbours are alike."""

    def code_vectors(self) -> np.ndarray:
        line = np.arange(20.0)[:, None] * np.ones((1, 4))
        return np.concatenate([np.full((2, 4), np.nan), line]).astype(np.float32)


def test_like_codes_begin_alike_and_all_other_rows_stay() -> None:
    vocabulary = Vocabulary.build([("text", 30, ""), ("image", 22, "")])
    table = jax.random.normal(jax.random.key(0), (vocabulary.padded_size, 64)) * 0.1
    out = np.asarray(from_codebooks(table, {"text": object(), "image": Book()}, vocabulary, 0))
    first = vocabulary.block("image").first_code + 2
    rows = np.r_[0:first, vocabulary.size : vocabulary.padded_size]
    np.testing.assert_array_equal(out[rows], np.asarray(table)[rows])
    codes = out[first : first + 20]
    near = np.linalg.norm(np.diff(codes, axis=0), axis=1).mean()
    far = np.linalg.norm(codes[0] - codes[-1])
    assert far > 2 * near
    assert 0.5 < codes.std() / float(jnp.std(table)) < 2


def test_only_codes_between_marks_are_hidden() -> None:
    vocabulary = Vocabulary.build([("text", 30, ""), ("image", 20, "")])
    image = vocabulary.to_global("image", np.arange(20))
    ids = np.concatenate(
        [
            vocabulary.to_global("text", np.arange(9)),
            [vocabulary.begin("image")],
            image,
            [vocabulary.end("image")],
        ]
    ).astype(np.int32)
    tokens = Tokens(ids, np.zeros((len(ids), 3), np.int32), vocabulary.modality_of(ids))
    hidden_ever = np.zeros(len(ids), bool)
    shares = []
    for seed in range(60):
        out = hide_codes(tokens, 0.5, vocabulary, np.random.default_rng(seed))
        changed = out.ids != ids
        assert (out.ids[changed] == MASK).all()
        np.testing.assert_array_equal(out.modality, tokens.modality)
        hidden_ever |= changed
        shares.append(changed.sum() / 20)
    np.testing.assert_array_equal(hidden_ever, np.isin(ids, image))
    assert 0.15 < np.mean(shares) < 0.35
