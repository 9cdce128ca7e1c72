"""Typed rows to columns, a whole column at a time.

The fast twin of `rows`: it takes messages in which every row has a good structure, and leaves any other to it. Both make the
same batch of the same message.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from struct import pack
from typing import Final, NamedTuple

import numpy as np

from services.ingest.core.frames import Resource, Row
from services.ingest.core.known import series_of
from services.ingest.core.rows import Fault, is_call_id, timestamp
from shared.batch import MAX_TS_MS, Batch, Float64, Int64

_NOT_MEASURED: Final = Resource()


class Typed(NamedTuple):
    """A batch before its values are checked. `names_good`: its names are fine. `compact`: every series occurs, and once."""

    batch: Batch
    names_good: bool
    compact: bool


class _Codes(dict[tuple[str, str], int]):
    """Pairs in the order they come first, each with its place in it."""

    __slots__ = ()

    def __missing__(self, pair: tuple[str, str]) -> int:
        code = self[pair] = len(self)
        return code


def rows_of(rows: list[Row], now_ms: int) -> Typed | None:
    """All rows as a batch; None when one of them needs the strict look. Values are checked later."""
    if not rows:
        return None
    try:
        ts = _timestamps(rows, now_ms)
        call_ids = _call_ids(rows)
        cpu, memory, disk_io = _resources(rows)
    except Fault:
        return None
    union = _Codes()
    pairs = zip([row.mcp_server for row in rows], [row.tool_name for row in rows], strict=True)
    codes = np.frombuffer(pack(f"{len(rows)}I", *map(union.__getitem__, pairs)), np.uint32)
    dictionary, names_good = series_of(union)
    batch = Batch(
        dictionary,
        codes,
        ts,
        _floats([row.duration for row in rows]),
        np.frombuffer(bytes([row.success for row in rows]), np.uint8),
        cpu=cpu,
        memory=memory,
        disk_io=disk_io,
        errors=_errors(rows),
        call_ids=call_ids,
    )
    return Typed(batch, names_good, compact=True)


def _timestamps(rows: list[Row], now_ms: int) -> Int64:
    given = [row.timestamp for row in rows]
    try:
        # Packs integers of 64 bits and nothing else: no text, no nil.
        ts = np.frombuffer(pack(f"{len(given)}q", *given), np.int64)
    except struct.error:
        return np.array([timestamp(value, now_ms) for value in given], np.int64)
    # Seen as unsigned, what is negative is larger than any time.
    if np.maximum.reduce(ts.view(np.uint64)) > MAX_TS_MS:
        raise Fault("timestamp_not_a_time")
    return ts


def _resources(rows: list[Row]) -> tuple[Float64 | None, Float64 | None, Float64 | None]:
    given = [row.resource for row in rows]
    absent = given.count(None)
    if absent == len(given):
        return None, None, None
    # A structure is true, so only nil is replaced.
    measured = [resource or _NOT_MEASURED for resource in given] if absent else given
    return (
        _measured([resource.cpu for resource in measured]),  # type: ignore[union-attr] # none is nil here
        _measured([resource.memory for resource in measured]),  # type: ignore[union-attr] # none is nil here
        _measured([resource.disk_io for resource in measured]),  # type: ignore[union-attr] # none is nil here
    )


def _measured(values: Sequence[float | None]) -> Float64 | None:
    """The column, NaN for nil; None when all are. A NaN that was sent as a number is left to the strict look."""
    try:
        column = _floats(values)
        total = sum(values)  # type: ignore[arg-type] # no nil, or it had not been packed
        sent_nan = total != total  # noqa: PLR0124 - as it is with NaN; also with both infinities, which are refused too
    except struct.error:
        column = np.array(values, np.float64)
        absent = values.count(None)
        if absent == len(values):
            return None
        sent_nan = int(np.count_nonzero(np.isnan(column))) != absent
    if sent_nan:
        raise Fault("resource_not_a_number")
    return column


def _floats(values: Sequence[float | None]) -> Float64:
    # Twice as fast as numpy, and refuses nil.
    return np.frombuffer(pack(f"{len(values)}d", *values), np.float64)


def _errors(rows: list[Row]) -> dict[int, str]:
    errors = [row.error for row in rows]
    return {row: error for row, error in enumerate(errors) if error} if any(errors) else {}


def _call_ids(rows: list[Row]) -> dict[int, str]:
    call_ids = [row.call_id for row in rows]
    if call_ids.count(None) == len(call_ids):
        return {}
    given = {row: call_id for row, call_id in enumerate(call_ids) if call_id is not None}
    if not all(map(is_call_id, given.values())):
        raise Fault("call_id_not_text")
    return given
