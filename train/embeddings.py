"""Where the embeddings of a learned tokenizer's codes begin: codes that mean the like, alike.

Axes: V table rows, n codes of a block that have vectors, d their width, D d_model.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from unitok.interfaces import Tokenizer
from unitok.vocabulary import Vocabulary

OWN = 0.1  # share of the variance that stays each code's own


def from_codebooks(
    embedding_VD: jax.Array,
    tokenizers: Mapping[str, Tokenizer],
    vocabulary: Vocabulary,
    seed: int,
) -> jax.Array:
    """A fresh table whose rows of codes with vectors are a random projection of these, at the same scale.

    A random projection keeps distances (Johnson and Lindenstrauss 1984): without it every code of an
    image begins as a name of its own, and a small training set is learned by heart before the names of
    neighbouring codes come together. Rows of all other ids are untouched.
    """
    rng = np.random.default_rng((seed, 29))
    width = embedding_VD.shape[1]
    for name, tokenizer in tokenizers.items():
        vectors = getattr(tokenizer, "code_vectors", lambda: None)()
        if vectors is None:
            continue
        kept = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        x_nd = vectors[kept] - vectors[kept].mean(axis=0)
        x_nd = x_nd / max(float(x_nd.std()), 1e-6)
        x_nD = x_nd @ rng.standard_normal((x_nd.shape[1], width)) / np.sqrt(x_nd.shape[1])
        rows_n = vocabulary.block(name).first_code + kept
        embedding_VD = _mix(embedding_VD, rows_n, np.asarray(x_nD, np.float32))
    return embedding_VD


def _mix(embedding_VD: jax.Array, rows_n: np.ndarray, x_nD: np.ndarray) -> jax.Array:
    def mixed(table: jax.Array) -> jax.Array:
        own = table[rows_n]
        return table.at[rows_n].set(OWN**0.5 * own + (1 - OWN) ** 0.5 * jnp.std(own) * x_nD)

    return jax.jit(mixed, out_shardings=embedding_VD.sharding)(embedding_VD)
