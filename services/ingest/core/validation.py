"""Check the values of a batch's columns, all rows at once.

The usual case, all rows good, costs a minimum and a maximum a column; only when one of these fails are the rows looked at.
NaN in a measured column means not measured; NaN elsewhere is refused (comparisons with NaN are false).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import chain
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


#: What is wrong with some rows, and which rows.
Fault = tuple[str, Bool]


def check_names(batch: Batch) -> list[Fault]:
    """What is wrong with the names of the batch's series."""
    by_reason: dict[str, list[int]] = {}
    for code, series in enumerate(batch.dictionary):
        fault = series_fault(series)
        if fault:
            by_reason.setdefault(fault, []).append(code)
    return [(reason, np.isin(batch.codes, codes)) for reason, codes in by_reason.items()]


def check_values(
    batch: Batch, now_ms: int, oldest_ms: int, of_names: Iterable[Fault] = ()
) -> tuple[Bool | None, Refused]:
    """Which rows are good (None: all of them), and what is wrong with the others. A row counts for its first fault.

    of_names: the faults that `check_names` found; they come first.
    """
    good: Bool | None = None
    by_reason: dict[str, int] = {}
    faults: list[tuple[int, str]] = []
    for reason, bad in chain(of_names, _faulty(batch, now_ms, oldest_ms)):
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


def _faulty(batch: Batch, now_ms: int, oldest_ms: int) -> Iterator[Fault]:
    if not len(batch):
        return
    if not _all_within(batch.duration, _DURATION_BITS):
        bad = ~((batch.duration >= 0) & (batch.duration <= limits.MAX_DURATION_MS))
        if bad.any():
            yield "duration_out_of_range", bad
    if np.maximum.reduce(batch.ok) > 1:
        yield "success_not_boolean", batch.ok > 1
    for reason, column, limit, bits in (
        ("cpu_out_of_range", batch.cpu, limits.MAX_CPU_PERCENT, _CPU_BITS),
        ("memory_out_of_range", batch.memory, limits.MAX_MEMORY_MB, _MEMORY_BITS),
        ("disk_io_out_of_range", batch.disk_io, limits.MAX_DISK_IO_KB, _DISK_IO_BITS),
    ):
        if column is None or _all_within(column, bits):
            continue
        bad = ~(((column >= 0) & (column <= limit)) | np.isnan(column))
        if bad.any():
            yield reason, bad
    if np.maximum.reduce(batch.ts) > now_ms + limits.MAX_FUTURE_MS:
        yield "timestamp_in_future", batch.ts > now_ms + limits.MAX_FUTURE_MS
    if np.minimum.reduce(batch.ts) < oldest_ms:
        yield "timestamp_too_old", batch.ts < oldest_ms


def _bits(limit: float) -> int:
    """A float's IEEE 754 bits as an unsigned integer."""
    return int.from_bytes(struct.pack("<d", limit), "little")


_DURATION_BITS: Final = _bits(limits.MAX_DURATION_MS)
_CPU_BITS: Final = _bits(limits.MAX_CPU_PERCENT)
_MEMORY_BITS: Final = _bits(limits.MAX_MEMORY_MB)
_DISK_IO_BITS: Final = _bits(limits.MAX_DISK_IO_KB)


def _all_within(column: Float64, limit_bits: int) -> bool:
    """True: all values are from 0 to the limit. False: look closer.

    The bits of floats from 0 up are ordered as the floats are, and those of negative ones (-0.0 too), of infinity and of NaN
    are larger: so one maximum tells it all, at half the cost of two.
    """
    return bool(np.maximum.reduce(column.view("<u8")) <= limit_bits)


def series_fault(series: Series) -> str | None:
    """Why a series is refused; None when both names are fine."""
    return name_fault(series.server) or name_fault(series.tool)
