"""Scores of generated text against one reference each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np


def exact_match(reference: str, text: str) -> float:
    """1 where both are the same string, surrounding white space apart.

    >>> exact_match("a dog", " a dog")
    1.0
    """
    return float(reference.strip() == text.strip())


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Fewest insertions, deletions and substitutions that turn a into b (Levenshtein 1966). O(len(a) len(b)).

    >>> edit_distance("kitten", "sitting")
    3
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]


def word_error_rate(reference: str, text: str) -> float:
    """Edit distance in words over the words of the reference; may exceed 1.

    >>> word_error_rate("one two three", "one too three")
    0.3333333333333333
    """
    words = reference.split()
    return edit_distance(words, text.split()) / max(len(words), 1)


def rouge_l(reference: str, text: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004), 0..1.

    >>> rouge_l("the cat sat down", "the cat down")  # 3 of 3 and 3 of 4
    0.8571428571428571
    """
    a, b = reference.split(), text.split()
    row = [0] * (len(b) + 1)
    for x in a:
        corner = 0
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], corner + 1 if x == y else max(row[j], row[j - 1])
    return 2 * row[-1] / (len(a) + len(b)) if row[-1] else 0.0


def chrf(
    references: Sequence[str], texts: Sequence[str], order: int = 6, beta: float = 2.0
) -> float:
    """chrF (Popovic 2015), 0..100: F-beta of character n-grams up to `order`, white space left out, over the corpus.

    As in sacreBLEU: an order longer than every text or every reference is left out, and a text's
    n-grams count only where its reference has some of that order.

    >>> chrf(["abc"], ["abc"])
    100.0
    """
    precision = recall = used = 0.0
    for n in range(1, order + 1):
        wanted = [_grams("".join(s.split()), n) for s in references]
        given = [_grams("".join(s.split()), n) for s in texts]
        given = [t if r else Counter() for r, t in zip(wanted, given)]
        match, in_text, in_reference = _overlap(wanted, given)
        if in_text and in_reference:
            precision, recall, used = (
                precision + match / in_text,
                recall + match / in_reference,
                used + 1,
            )
    if not precision + recall:
        return 0.0
    precision, recall = precision / used, recall / used
    return 100 * (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def bleu(references: Sequence[str], texts: Sequence[str]) -> float:
    """Corpus BLEU-4 (Papineni et al. 2002), 0..100, words split at white space, one reference each.

    An order without a match counts as half of the previous such, as in sacreBLEU's `exp` smoothing
    (Chen and Cherry 2014, method 3).

    >>> bleu(["the cat sat on the mat"], ["the cat sat on the mat"])
    100.0
    """
    hypothesis, truth = [t.split() for t in texts], [r.split() for r in references]
    logs, smooth = [], 1.0
    for n in range(1, 5):
        match, in_text, _ = _overlap(
            [_grams(r, n) for r in truth], [_grams(h, n) for h in hypothesis]
        )
        if not in_text:
            return 0.0
        if not match:
            smooth *= 2
            logs.append(math.log(1 / (smooth * in_text)))
        else:
            logs.append(math.log(match / in_text))
    length, wanted = sum(map(len, hypothesis)), sum(map(len, truth))
    brevity = min(0.0, 1 - wanted / length)
    matched_words = _overlap([_grams(r, 1) for r in truth], [_grams(h, 1) for h in hypothesis])[0]
    return float(np.round(100 * math.exp(np.mean(logs) + brevity), 12)) if matched_words else 0.0


def _grams(sequence: Sequence[Hashable], n: int) -> Counter:
    return Counter(tuple(sequence[i : i + n]) for i in range(len(sequence) - n + 1))


def _overlap(references: list[Counter], texts: list[Counter]) -> tuple[int, int, int]:
    """Matched n-grams, n-grams of the texts, n-grams of the references."""
    match = sum((r & t).total() for r, t in zip(references, texts))
    return match, sum(t.total() for t in texts), sum(r.total() for r in references)
