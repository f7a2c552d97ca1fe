"""Windows of one long series: records of a past and the future that follows it.

    options.windows = {"past": 96, "future": 96, "stride": 1, "columns": ["OT"], "freq": "h",
                       "each": true, "standardise": [0, 0.6]}

past, future: steps. stride: steps between windows. columns: names; those of numbers if not given. each:
one channel a record (field `channel` says which), else all channels together. standardise: every channel
less its mean and over its standard deviation in this share of time, as the forecasting benchmarks do with
their training stretch. A split holds the windows whose future lies inside its share of time: the past may
reach back into what lies before.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from unitok.data import columns
from unitok.data.columns import Column
from unitok.errors import InputError
from unitok.values import Series

OPTIONS = ("past", "future", "stride", "columns", "freq", "each", "standardise")


def cut(
    loaded: Mapping[str, Column], rule: Mapping[str, Any], span: Any, where: str
) -> tuple[dict[str, Column], np.ndarray]:
    """Fields past, future (and channel), and their rows, of the share `span` of time. Raises InputError."""
    for name in rule:
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(OPTIONS)}"
            raise InputError(f"source.options.windows.{name}: no such setting; {hint}")
    sizes = [rule.get("past"), rule.get("future"), rule.get("stride", 1)]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise InputError(
            f"source.options.windows: want past and future (and stride) as positive numbers of steps, got {rule!r}"
        )
    if isinstance(span, Mapping):
        raise InputError("source.options.split: windows are cut along time; want [from, to] shares")
    past, future, stride = sizes
    names, table_TC = _table(loaded, rule.get("columns"), where)
    if rule.get("standardise"):
        table_TC = _standardised(table_TC, rule["standardise"])
    first, last = (round(share * len(table_TC)) for share in span)
    starts = np.arange(max(first, past), last - future + 1, stride) - past
    each, freq = bool(rule.get("each")), rule.get("freq")
    fields = {
        "past": _stretch(table_TC, starts, 0, past, freq, each),
        "future": _stretch(table_TC, starts, past, future, freq, each),
    }
    if each:
        fields["channel"] = columns.scalars(names * len(starts))
    return fields, np.arange(len(fields["past"]))


def _stretch(
    table_TC: np.ndarray, starts: np.ndarray, offset: int, length: int, freq: str | None, each: bool
) -> Column:
    """[start + offset, start + offset + length) of all channels, or window by window of each."""
    channels = table_TC.shape[1]

    def read(row: int) -> Series:
        window, channel = divmod(row, channels) if each else (row, slice(None))
        first = int(starts[window]) + offset
        return Series(table_TC[first : first + length, channel], freq)

    return Column(len(starts) * (channels if each else 1), read)


def _table(loaded: Mapping[str, Column], wanted: Any, where: str) -> tuple[list[str], np.ndarray]:
    """Names and values float64 [T, C] of the columns of numbers."""
    names = wanted or [
        name
        for name, column in loaded.items()
        if column.plain is not None and column.plain and not isinstance(column.plain[0], str)
    ]
    for name in names:
        if name not in loaded:
            raise InputError(
                f"{where}: windows.columns names column {name!r}, which is missing; there are {', '.join(loaded)}"
            )
    if not names:
        raise InputError(f"{where}: no column of numbers to cut windows from")
    try:
        return list(names), np.stack(
            [np.asarray(loaded[name].plain, np.float64) for name in names], axis=1
        )
    except (ValueError, TypeError):
        raise InputError(
            f"{where}: windows need columns of numbers, got {', '.join(names)}"
        ) from None


def _standardised(table_TC: np.ndarray, span: Any) -> np.ndarray:
    sound = isinstance(span, (list, tuple)) and len(span) == 2 and 0 <= span[0] < span[1] <= 1
    if not sound:
        raise InputError(
            f"source.options.windows.standardise: want [from, to] shares, got {span!r}"
        )
    first, last = (round(share * len(table_TC)) for share in span)
    stretch = table_TC[first:last]
    deviation = np.nanstd(stretch, axis=0)
    return (table_TC - np.nanmean(stretch, axis=0)) / np.where(deviation > 0, deviation, 1.0)
