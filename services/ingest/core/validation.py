"""Check the values of a batch's columns, all rows at once.

The usual case, all rows good, costs a minimum and a maximum a column; only when one of these fails are the rows looked at.
NaN in a measured column means not measured; NaN elsewhere is refused (comparisons with NaN are false).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perfmon.wire import MAX_NAME_BYTES, OVERFLOW_NAME, limits
from shared.batch import Batch, Float64, Series

Bool = NDArray[np.bool_]

#: Refused rows that an answer names; the rest is counted.
MAX_NAMED: Final = 20


class Refused(NamedTuple):
    """Rows that were not let in: the first ones as (index, reason), and how many for each reason."""

    named: list[tuple[int, str]]
    by_reason: dict[str, int]

    @property
    def total(self) -> int:
        """All refused rows."""
        return sum(self.by_reason.values())


NONE_REFUSED: Final = Refused([], {})


def name_fault(name: object) -> str | None:
    """Why a server's or a tool's name is refused; None when it is fine."""
    if not isinstance(name, str):
        return "name_not_text"
    if not name:
        return "name_empty"
    if name == OVERFLOW_NAME:
        return "name_reserved"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "name_not_utf8"
    return "name_too_long" if size > MAX_NAME_BYTES else None


def check_values(batch: Batch, now_ms: int, oldest_ms: int) -> tuple[Bool | None, Refused]:
    """Which rows are good (None: all of them), and what is wrong with the others. A row counts for its first fault."""
    good: Bool | None = None
    by_reason: dict[str, int] = {}
    faults: list[tuple[int, str]] = []
    for reason, bad in _faulty(batch, now_ms, oldest_ms):
        if good is None:
            good = np.ones(len(batch), np.bool_)
        fresh = bad & good
        rows = np.flatnonzero(fresh)
        if len(rows):
            by_reason[reason] = len(rows)
            faults.extend((int(row), reason) for row in rows[:MAX_NAMED])
            good &= ~bad
    if good is None:
        return None, NONE_REFUSED
    return good, Refused(sorted(faults)[:MAX_NAMED], by_reason)


def _faulty(batch: Batch, now_ms: int, oldest_ms: int) -> Iterator[tuple[str, Bool]]:
    if not len(batch):
        return
    yield from _series_faults(batch)
    if not (batch.duration.min() >= 0 and batch.duration.max() <= limits.MAX_DURATION_MS):
        yield "duration_out_of_range", ~((batch.duration >= 0) & (batch.duration <= limits.MAX_DURATION_MS))
    if batch.ok.max() > 1:
        yield "success_not_boolean", batch.ok > 1
    for name, limit in (
        ("cpu", limits.MAX_CPU_PERCENT),
        ("memory", limits.MAX_MEMORY_MB),
        ("disk_io", limits.MAX_DISK_IO_KB),
    ):
        column = batch.resource(name)
        if column is not None and (bad := _out_of_range(column, limit)) is not None:
            yield f"{name}_out_of_range", bad
    if batch.ts.max() > now_ms + limits.MAX_FUTURE_MS:
        yield "timestamp_in_future", batch.ts > now_ms + limits.MAX_FUTURE_MS
    if batch.ts.min() < oldest_ms:
        yield "timestamp_too_old", batch.ts < oldest_ms


def _out_of_range(column: Float64, limit: float) -> Bool | None:
    if column.min() >= 0 and column.max() <= limit:
        return None
    bad = ~(((column >= 0) & (column <= limit)) | np.isnan(column))
    return bad if bad.any() else None


def _series_faults(batch: Batch) -> Iterator[tuple[str, Bool]]:
    by_reason: dict[str, list[int]] = {}
    for code, series in enumerate(batch.dictionary):
        fault = series_fault(series)
        if fault:
            by_reason.setdefault(fault, []).append(code)
    for reason, codes in by_reason.items():
        yield reason, np.isin(batch.codes, codes)


def series_fault(series: Series) -> str | None:
    """Why a series is refused; None when both names are fine."""
    return name_fault(series.server) or name_fault(series.tool)
