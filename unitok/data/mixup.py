"""More series from the same: weighted sums of the records of one split (TSMixup; Ansari et al. 2024, Chronos).

    "augment": {"split": "train", "copies": 3, "mix": 3, "fields": ["past", "future"], "same": "channel"}

Copy 0 is the data itself. In each other copy a record becomes the sum of itself and up to mix - 1 others,
weighted by a draw from Dirichlet(1.5), each first divided by the mean absolute value of its first field; all
fields of a record get the same weights, so that a future still goes on from its past. same: only records
that agree in this field are mixed. Series of one length and as many channels are wanted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unitok.data.columns import Column, check_series, repeated
from unitok.errors import InputError
from unitok.values import Series

OPTIONS = {"split", "copies", "mix", "fields", "same"}
CONCENTRATION = 1.5  # of the Dirichlet distribution: Chronos' own


def mixed(
    fields: Mapping[str, Column], rows: np.ndarray, rule: Mapping[str, Any], seed: int
) -> tuple[dict[str, Column], np.ndarray]:
    """(fields, rows): the chosen rows `copies` times over, mixed in all but the first copy.

    Raises InputError for a rule that is none, or fields that are not there or hold no series.
    """
    copies: Any = rule.get("copies")
    most: Any = rule.get("mix")
    names: Any = rule.get("fields")
    sound = isinstance(copies, int) and isinstance(most, int) and min(copies, most) > 0
    sound = sound and isinstance(names, (list, tuple)) and len(names) > 0
    if set(rule) - OPTIONS or not sound:
        raise InputError(
            "source.options.augment: want split, copies and mix (positive integers), fields (names of series), "
            f"and if wanted same; got {dict(rule)}"
        )
    check_series(fields, rows, names)
    partners = _alike(fields, rows, rule.get("same"))
    total = len(fields[names[0]])
    recipe = _Recipe(fields[names[0]], partners, most, total, seed)
    made = {name: repeated(column, copies) for name, column in fields.items()}
    for name in names:
        made[name] = recipe.column(fields[name], copies)
    return made, np.concatenate([rows + copy * total for copy in range(copies)])


class _Recipe:
    """Which records, by which weights, make mixed record `place` of copy c: a draw of (seed, place, c)."""

    def __init__(
        self, scales: Column, partners: Mapping[Any, np.ndarray], most: int, total: int, seed: int
    ) -> None:
        self.scales, self.partners, self.most = scales, partners, most
        self.total, self.seed = total, seed

    def column(self, column: Column, copies: int) -> Column:
        def read(row: int) -> Series:
            copy, place = divmod(row, self.total)
            value = column[place]
            if not copy:
                return value
            places, weights = self.draw(place, copy)
            parts = [column[int(p)].values for p in places]
            if len({part.shape for part in parts}) > 1:
                raise InputError("source.options.augment.mix: series of different lengths")
            summed = sum(w * part.astype(np.float64) for w, part in zip(weights, parts))
            return Series(np.asarray(summed), value.freq)

        return Column(self.total * copies, read)

    def draw(self, place: int, copy: int) -> tuple[Sequence[int], np.ndarray]:
        """Places of the records, this one first, and what each is multiplied by."""
        rng = np.random.default_rng((self.seed, place, copy))
        others = rng.choice(self.partners[place], rng.integers(self.most), replace=True)
        places = [place, *others.tolist()]
        sizes = np.array([_mean_size(self.scales[int(p)]) for p in places])
        return places, rng.dirichlet(np.full(len(places), CONCENTRATION)) / sizes


def _mean_size(value: Series) -> float:
    size = np.abs(value.values[np.isfinite(value.values)])
    return float(size.mean()) if size.size and size.any() else 1.0


def _alike(fields: Mapping[str, Column], rows: np.ndarray, same: Any) -> dict[int, np.ndarray]:
    """Rows that each row may be mixed with."""
    if same is None:
        return dict.fromkeys(rows.tolist(), rows)
    column = fields.get(str(same))
    if column is None or column.plain is None:
        raise InputError(f"source.options.augment.same: no plain field {same!r}")
    labels = np.array([str(column.plain[row]) for row in rows])
    groups = {label: rows[labels == label] for label in np.unique(labels).tolist()}
    return {row: groups[label] for row, label in zip(rows.tolist(), labels.tolist())}
