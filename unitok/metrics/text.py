"""Scores of generated text against one reference each. Axes: N texts."""

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


def char_error_rate(reference: str, text: str) -> float:
    """Edit distance in characters over the characters of the reference; may exceed 1.

    >>> char_error_rate("cat", "cut")
    0.3333333333333333
    """
    return edit_distance(reference, text) / max(len(reference), 1)


def bits_per_byte(nats: float, text: str) -> float:
    """What a text costs, in bits by each of its UTF-8 bytes: nats / ln 2 / bytes. nats: -log p of the whole text,
    its end included. Raises ValueError for an empty text.

    It compares models whose tokens differ, which bits per token does not: two tokens of 8 bits each, or one of
    16, are 16 bits for the 4 bytes of "four" alike. A model that takes all bytes for equally likely costs 8.

    >>> two_tokens, one_token = -2 * math.log(1 / 256), -math.log(1 / 65536)
    >>> round(bits_per_byte(two_tokens, "four"), 6), round(bits_per_byte(one_token, "four"), 6)
    (4.0, 4.0)
    >>> round(bits_per_byte(4 * math.log(256), "four"), 6)
    8.0
    """
    if not text:
        raise ValueError("bits_per_byte: the text is empty")
    return nats / math.log(2) / len(text.encode())


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
    return bleu_of_counts(bleu_counts(references, texts).sum(axis=0))


def bleu_counts(references: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """What corpus BLEU is made of, item by item, int64 [N, 10]: matches of 4 orders, n-grams of 4 orders, both lengths.

    >>> bleu_counts(["a b c"], ["a b d"]).tolist()
    [[2, 1, 0, 0, 3, 2, 1, 0, 3, 3]]
    """
    rows = []
    for reference, text in zip(references, texts, strict=True):
        wanted, given = reference.split(), text.split()
        found = [_overlap([_grams(wanted, n)], [_grams(given, n)])[:2] for n in range(1, 5)]
        rows.append([*(f[0] for f in found), *(f[1] for f in found), len(given), len(wanted)])
    return np.array(rows, np.int64).reshape(-1, 10)


def bleu_of_counts(counts: np.ndarray) -> float:
    """BLEU of summed `bleu_counts`, [10].

    >>> bleu_of_counts(np.array([5, 4, 3, 2, 5, 4, 3, 2, 5, 5]))
    100.0
    """
    matches, grams, (length, wanted) = counts[:4], counts[4:8], counts[8:]
    if not matches[0] or not grams.all():
        return 0.0
    logs, smooth = [], 1.0
    for match, total in zip(matches, grams):
        smooth *= 1 if match else 2
        logs.append(math.log(match / total) if match else -math.log(smooth * total))
    return float(np.round(100 * math.exp(np.mean(logs) + min(0.0, 1 - wanted / length)), 12))


def cider(references: Sequence[str], texts: Sequence[str], sigma: float = 6.0) -> np.ndarray:
    """CIDEr-D of each text against its one reference (Vedantam et al. 2015, section 3), float64 [N] of 0..10.

    Mean over word n-grams of 1 to 4 of the clipped cosine of tf-idf vectors, times a Gaussian of the
    difference in length, times 10. Rarity is taken from the references: an n-gram that all hold weighs
    nothing, so that a corpus of one reference scores 0. Words are split at white space.

    >>> cider(["a cat", "a dog"], ["a cat", "a cat"]).tolist()  # 1- and 2-grams of 4 orders match wholly
    [5.0, 0.0]
    """
    frequency: Counter = Counter()
    for reference in references:
        frequency.update(set().union(*(_grams(reference.split(), n) for n in range(1, 5))))
    log_items = math.log(max(len(references), 1))
    rarity = lambda gram: log_items - math.log(max(1, frequency[gram]))  # noqa: E731
    scores = []
    for reference, text in zip(references, texts, strict=True):
        wanted, given, total = reference.split(), text.split(), 0.0
        for n in range(1, 5):
            r = {gram: k * rarity(gram) for gram, k in _grams(wanted, n).items()}
            t = {gram: k * rarity(gram) for gram, k in _grams(given, n).items()}
            norms = math.hypot(*r.values()) * math.hypot(*t.values())
            common = sum(min(x, r[gram]) * r[gram] for gram, x in t.items() if gram in r)
            total += common / norms if norms else 0.0
        gap = len(given) - len(wanted)
        scores.append(10 * total / 4 * math.exp(-(gap**2) / (2 * sigma**2)))
    return np.round(scores, 12)


def _grams(sequence: Sequence[Hashable], n: int) -> Counter:
    return Counter(tuple(sequence[i : i + n]) for i in range(len(sequence) - n + 1))


def _overlap(references: list[Counter], texts: list[Counter]) -> tuple[int, int, int]:
    """Matched n-grams, n-grams of the texts, n-grams of the references."""
    match = sum((r & t).total() for r, t in zip(references, texts))
    return match, sum(t.total() for t in texts), sum(r.total() for r in references)
