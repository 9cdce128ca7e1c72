"""Rows (maps with the seed's field names) to columns. Strict: a wrong type or an unknown field costs the row, and only it.

`typed_rows` does the same with messages in which nothing is wrong, five times as fast.
"""

from __future__ import annotations

import math
from typing import Any, Final

from perfmon.wire import MAX_CALL_ID_BYTES
from services.ingest.core.validation import MAX_NAMED, Refused
from shared.batch import MAX_TS_MS, Batch
from shared.columns import Columns
from shared.timespan import BadTime, parse_iso

_FIELDS: Final = frozenset({"mcpServer", "toolName", "duration", "success", "error", "resource", "timestamp", "callId"})
_RESOURCES: Final = frozenset({"cpu", "memory", "diskIO"})
_NAN: Final = math.nan
#: Text longer than any ISO-8601 time is not parsed.
_MAX_TIME_CHARS: Final = 40


class Fault(Exception):
    """What is wrong with a row, by its reason."""


class _Columns(Columns):
    """Columns under construction, and where each kept row came from."""

    def __init__(self) -> None:
        super().__init__()
        self.origin: list[int] = []


def rows_to_batch(rows: list[Any], now_ms: int) -> tuple[Batch, list[int], Refused]:
    """The rows of good structure as a batch, the index each came from, and the refused ones. Values are checked later."""
    columns = _Columns()
    named: list[tuple[int, str]] = []
    by_reason: dict[str, int] = {}
    for index, row in enumerate(rows):
        try:
            _take(columns, row, now_ms)
            columns.origin.append(index)
        except Fault as fault:
            reason = str(fault)
            by_reason[reason] = by_reason.get(reason, 0) + 1
            if len(named) < MAX_NAMED:
                named.append((index, reason))
    return columns.batch(), columns.origin, Refused(named, by_reason)


def _take(columns: _Columns, row: Any, now_ms: int) -> None:
    if not isinstance(row, dict):
        raise Fault("row_not_a_map")
    if not _FIELDS.issuperset(row):
        raise Fault("unknown_field")
    try:
        server, tool, duration, success = row["mcpServer"], row["toolName"], row["duration"], row["success"]
    except KeyError:
        raise Fault("missing_field") from None
    if not isinstance(server, str) or not isinstance(tool, str):
        raise Fault("name_not_text")
    if success is not True and success is not False:
        raise Fault("success_not_boolean")
    milliseconds = _number(duration, "duration_not_a_number")
    error = row.get("error")
    if error is not None and not isinstance(error, str):
        raise Fault("error_not_text")
    call_id = row.get("callId")
    if call_id is not None and not is_call_id(call_id):
        raise Fault("call_id_not_text")
    ts = timestamp(row.get("timestamp"), now_ms)
    cpu, memory, disk_io = _resources(row.get("resource"))
    at = len(columns.codes)
    columns.codes.append(columns.union.setdefault((server, tool), len(columns.union)))
    columns.ts.append(ts)
    columns.duration.append(milliseconds)
    columns.ok.append(success)
    columns.cpu.append(cpu)
    columns.memory.append(memory)
    columns.disk_io.append(disk_io)
    if error:
        columns.errors[at] = error
    if call_id is not None:
        columns.call_ids[at] = call_id


def _number(value: Any, reason: str) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value) if abs(value) < 2**63 else math.inf
    raise Fault(reason)


def _resources(value: Any) -> tuple[float, float, float]:
    if value is None:
        return _NAN, _NAN, _NAN
    if not isinstance(value, dict):
        raise Fault("resource_not_a_map")
    if not _RESOURCES.issuperset(value):
        raise Fault("unknown_field")
    return _resource(value.get("cpu")), _resource(value.get("memory")), _resource(value.get("diskIO"))


def _resource(value: Any) -> float:
    if value is None:
        return _NAN
    number = _number(value, "resource_not_a_number")
    # NaN means not measured in a column, so a row must not say it by number.
    return number if number == number else math.inf  # noqa: PLR0124 - not NaN


def timestamp(value: Any, now_ms: int) -> int:
    """Epoch ms of a row's `timestamp`.

    Raises: Fault.
    """
    if value is None:
        return now_ms
    if type(value) is int:
        if 0 <= value <= MAX_TS_MS:
            return value
    elif isinstance(value, str) and len(value) <= _MAX_TIME_CHARS:
        try:
            return parse_iso(value)
        except BadTime:
            pass
    raise Fault("timestamp_not_a_time")


def is_call_id(value: Any) -> bool:
    """Whether a call id can be kept."""
    if not isinstance(value, str) or not value:
        return False
    try:
        return len(value.encode()) <= MAX_CALL_ID_BYTES
    except UnicodeEncodeError:
        return False
