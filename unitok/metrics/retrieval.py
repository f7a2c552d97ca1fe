"""Retrieval between two sets of embeddings. Axes: Q queries, G gallery items, D width."""

from __future__ import annotations

import numpy as np
from scipy import special


def ranks(similarity_QG: np.ndarray, relevant_QG: np.ndarray) -> np.ndarray:
    """Rank, from 1, of each query's best relevant item, float64 [Q]; among equals, the middle of them.

    The middle rank, so that embeddings that have all collapsed to one score as chance, not as perfect.
    Raises ValueError for a query with nothing relevant.

    >>> ranks(np.array([[0.9, 0.1, 0.5]]), np.array([[False, False, True]])).tolist()
    [2.0]
    >>> ranks(np.zeros((1, 3)), np.array([[True, False, False]])).tolist()
    [2.0]
    """
    similarity, relevant = np.asarray(similarity_QG, np.float64), np.asarray(relevant_QG, bool)
    if not relevant.any(axis=1).all():
        raise ValueError("retrieval: a query has no relevant item")
    best = np.where(relevant, similarity, -np.inf).max(axis=1, keepdims=True)
    others = ~relevant
    before = (others & (similarity > best)).sum(axis=1)
    level_others = (others & (similarity == best)).sum(axis=1)
    level = (relevant & (similarity == best)).sum(axis=1)
    return (
        before + 1 + level_others / (level + 1)
    )  # expected place of the first of `level` among both


def recall_at(rank_Q: np.ndarray, k: int) -> np.ndarray:
    """Whether the best relevant item is among the first k: float64 [Q].

    >>> recall_at(np.array([1.0, 7.0]), 5).tolist()
    [1.0, 0.0]
    """
    return (np.asarray(rank_Q) <= k).astype(np.float64)


def chance_at(relevant_Q: np.ndarray, gallery: int, k: int) -> float:
    """Expected recall at k of a random order: 1 - C(G - r, k) / C(G, k), mean over queries with r relevant.

    >>> chance_at(np.array([1, 1]), 10, 1), chance_at(np.array([10]), 10, 1)
    (0.1, 1.0)
    """
    r = np.asarray(relevant_Q, np.float64)
    k = min(k, gallery)
    log_choose = lambda n: special.gammaln(n + 1) - special.gammaln(n - k + 1)  # noqa: E731
    with np.errstate(divide="ignore", invalid="ignore"):
        miss = np.where(gallery - r >= k, np.exp(log_choose(gallery - r) - log_choose(gallery)), 0)
    return float(np.round(1 - miss.mean(), 12))


def chance_median_rank(relevant_Q: np.ndarray, gallery: int) -> float:
    """Median, over queries and random orders, of the best relevant item's rank.

    >>> chance_median_rank(np.array([1]), 9)
    5.0
    """
    for k in range(1, gallery + 1):
        if chance_at(relevant_Q, gallery, k) >= 0.5:
            return float(k)
    return float(gallery)
