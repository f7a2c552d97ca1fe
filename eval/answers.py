"""Whether a task that answers in text chooses among few answers, or writes freely: seen from its training answers."""

from __future__ import annotations

from collections.abc import Sequence

from unitok.metrics.regression import parse_number

FEW = 50  # distinct answers that are classes, whatever they are
MOST = 256  # the most that can be: more would cost a probe more than it tells
RECUR = 5  # times that each is given on average, where there are more than FEW


def classes(known: Sequence[str]) -> list[str]:
    """The distinct answers, sorted, where they are classes; [] where answers are free text or numbers.

    known: the answers of training records, or of a sample of them. Up to FEW are classes; up to MOST where they
    recur and are not all numbers, as an intent of Banking77's 77 does and a sentence or a solubility does not.

    >>> classes(["cat", "dog", "cat"])
    ['cat', 'dog']
    >>> intents, sentences = [f"intent {i % 77}" for i in range(2000)], [f"sentence {i}" for i in range(77)]
    >>> len(classes(intents)), len(classes(sentences))
    (77, 0)
    """
    distinct = sorted(set(known))
    if len(distinct) <= FEW:
        return distinct
    recur = len(known) >= RECUR * len(distinct)
    if len(distinct) > MOST or not recur or all(parse_number(a) is not None for a in distinct):
        return []
    return distinct
