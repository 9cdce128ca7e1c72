"""From what `record` was given to the maps of a `rows` message. Pure; ingest is who judges values.

Here only what would make a message unsendable is put right or refused: lone surrogates (a file name in an error message),
numbers that are not Python's own (numpy's), names without end.
"""

from __future__ import annotations

import contextlib
import operator
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from perfmon.wire import MAX_CALL_ID_BYTES, MAX_ERROR_CHARS, MAX_NAME_BYTES, encode_rows

#: (server, tool, duration_ms, success, error, cpu, memory, disk_io, ts_ms, call_id, size in bytes); a plain tuple because it
#: is made on the host's own path.
Row = tuple[Any, Any, Any, Any, Any, Any, Any, Any, Any, Any, int]

#: What a row takes in memory besides its texts, about: the tuple and its numbers.
ROW_BYTES: Final = 256

#: What packing raises for a row that cannot travel.
UNPACKABLE: Final = (TypeError, ValueError, OverflowError, RecursionError)


def build_rows(rows: Sequence[Row]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The rows that can travel, as maps, and how many of the others cannot for which reason, that of the first one first."""
    maps = [to_map(row) for row in rows]
    if None not in maps:
        found = [one for one in maps if one is not None]
        try:
            "".join(_texts(found)).encode()
            encode_rows(found)
        except UNPACKABLE:
            pass  # one row is to blame; find it
        else:
            return found, {}
    kept: list[dict[str, Any]] = []
    reasons: dict[str, int] = {}
    for row, found_map in zip(rows, maps, strict=True):
        cleaned, why = _clean(found_map) if found_map is not None else (None, _oversize(row))
        if cleaned is None:
            reasons[str(why)] = reasons.get(str(why), 0) + 1
        else:
            kept.append(cleaned)
    return kept, reasons


def to_map(row: Row) -> dict[str, Any] | None:
    """The row with the seed's field names; None when a name or the call id is longer than any that is accepted."""
    server, tool, duration_ms, success, error, cpu, memory, disk_io, ts_ms, call_id, _ = row
    if _oversize(row) is not None:
        return None
    found: dict[str, Any] = {
        "mcpServer": server,
        "toolName": tool,
        "duration": duration_ms,
        "success": success,
        "timestamp": ts_ms,
    }
    if error is not None:
        found["error"] = error
    resource = {
        name: value
        for name, value in (("cpu", cpu), ("memory", memory), ("diskIO", disk_io))
        if value is not None and not (type(value) is float and value != value)  # noqa: PLR0124 - NaN: not measured
    }
    if resource:
        found["resource"] = resource
    if call_id is not None:
        found["callId"] = call_id
    return found


def error_text(error: object) -> str:
    """An error as text, cut to what is kept of it; an exception becomes `Class: message`."""
    if isinstance(error, str):
        return error if len(error) <= MAX_ERROR_CHARS else error[: MAX_ERROR_CHARS - 1] + "…"
    if isinstance(error, BaseException):
        name = type(error).__qualname__
        text = _text_of(error)
        return error_text(f"{name}: {text}" if text else name)
    return error_text(_text_of(error))


def size_bytes(server: object, tool: object, error: str | None, call_id: object) -> int:
    """What a row takes in memory, about."""
    texts = (text for text in (server, tool, error, call_id) if isinstance(text, str))
    return ROW_BYTES + sum(map(sys.getsizeof, texts))


def plain(value: Any) -> Any:
    """A value as one of Python's own that can be packed, if it can be made one; another library's number becomes int or float."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, bool | int | float | dict):
        return value
    for convert in (operator.index, float):
        with contextlib.suppress(Exception):  # the object's own code; what becomes no number is refused by the packing
            return convert(value)
    return value


def _texts(maps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    return (value for found in maps for value in found.values() if isinstance(value, str))


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - the host's own __str__ may do anything; the metric is worth more than its text
        return ""


def _oversize(row: Row) -> str | None:
    server, tool, call_id = row[0], row[1], row[9]
    if _too_long(server, MAX_NAME_BYTES) or _too_long(tool, MAX_NAME_BYTES):
        return "name_too_long"
    return "call_id_not_text" if _too_long(call_id, MAX_CALL_ID_BYTES) else None


def _too_long(value: object, limit: int) -> bool:
    return isinstance(value, str) and len(value) > limit


def _clean(found: dict[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """The row made packable, or None and why it cannot be."""
    cleaned = {key: plain(value) for key, value in found.items()}
    if "resource" in found:
        cleaned["resource"] = {key: plain(value) for key, value in found["resource"].items()}
    try:
        encode_rows([cleaned])
    except UNPACKABLE as error:
        return None, f"not_packable: {type(error).__name__}"
    return cleaned, None
