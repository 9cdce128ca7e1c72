"""Decode entries of the journal, many at once, into one batch: each value is copied once, into columns that are its own.

Owns the reading of what `Batch.encode` writes: the map's head is read in place and the columns are copied from where they lie;
dictionaries, which hardly change from entry to entry, are recognised by their bytes. Anything that looks otherwise is left to
`shared.batch.decode`, which says what is wrong with it. About 6 ns a full row for entries of 5,000 rows, 4 ns for larger ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from perfmon.wire.limits import MAX_ENTRY_BYTES, MAX_ROWS
from shared.batch import RESOURCE_COLUMNS, Batch, BatchError, Series, concatenate, decode, dictionary_of, row_map_of

Body = bytes | memoryview

#: Dictionaries that are recognised by their bytes, and the bytes of the longest of them.
KNOWN_DICTIONARIES: Final = 4
KNOWN_BYTES: Final = 1 << 20

_WIDTHS: Final = {"ts": 8, "duration": 8, "ok": 1, "cpu": 8, "memory": 8, "diskIO": 8}
_TYPES: Final = {"ts": np.int64, "duration": np.float64, "ok": np.uint8}


class _Parts(NamedTuple):
    """One entry taken apart: its columns still lie in the body."""

    n: int
    dictionary: tuple[Series, ...]
    columns: dict[str, memoryview]
    errors: dict[int, str]
    call_ids: dict[int, str]


#: The latest dictionaries and paths: their bytes, and what they say. Threads may read and replace it at any time.
_known: dict[str, list[tuple[bytes, Any]]] = {"dictionary": [], "paths": []}


def decode_entries(bodies: Sequence[Body]) -> Batch:
    """The rows of all entries, in order; without paths. Columns are writable, aligned and share no memory with the bodies.

    Raises: BatchError, perfmon.wire.MalformedFrame when any entry is none that ingest commits.
    """
    parts = [_take_apart(memoryview(body)) for body in bodies]
    dictionary = parts[0].dictionary if parts and parts[0] is not None else ()
    if not parts or any(p is None or (p.dictionary is not dictionary and p.dictionary != dictionary) for p in parts):
        return concatenate([decode(body) if p is None else _joined([p]) for body, p in zip(bodies, parts, strict=True)])
    return _joined([p for p in parts if p is not None])


def _joined(parts: Sequence[_Parts]) -> Batch:
    """One batch of entries over the same dictionary."""
    total = sum(part.n for part in parts)
    errors: dict[int, str] = {}
    call_ids: dict[int, str] = {}
    at = 0
    for part in parts:
        if part.errors:
            errors.update((row + at, text) for row, text in part.errors.items())
        if part.call_ids:
            call_ids.update((row + at, text) for row, text in part.call_ids.items())
        at += part.n
    ts, duration, ok = (_column(parts, name, total) for name in _TYPES)
    cpu, memory, disk_io = (_measured(parts, name, total) for name in RESOURCE_COLUMNS.values())
    codes = _codes(parts, total)
    batch = Batch(parts[0].dictionary, codes, ts, duration, ok, cpu, memory, disk_io, errors=errors, call_ids=call_ids)
    batch.check()
    batch.check_values()
    return batch


def _measured(parts: Sequence[_Parts], name: str, total: int) -> NDArray[np.float64] | None:
    return _column(parts, name, total) if any(name in part.columns for part in parts) else None


def _column(parts: Sequence[_Parts], name: str, total: int) -> NDArray[Any]:
    column = np.empty(total, _TYPES.get(name, np.float64))
    width, raw, at = column.itemsize, column.view(np.uint8), 0
    for part in parts:
        end = at + width * part.n
        if name in part.columns:
            raw[at:end] = np.frombuffer(part.columns[name], np.uint8)
        else:
            column[at // width : end // width] = np.nan
        at = end
    return column


def _codes(parts: Sequence[_Parts], total: int) -> NDArray[np.uint32]:
    codes = np.empty(total, np.uint32)
    at = 0
    for part in parts:
        raw = part.columns["series"]
        codes[at : at + part.n] = np.frombuffer(raw, "<u4" if len(raw) == 4 * part.n else "<u2")
        at += part.n
    return codes


def _take_apart(data: memoryview) -> _Parts | None:
    """An entry as `Batch.encode` writes it; None when it is written in any other way."""
    if not 0 < len(data) <= MAX_ENTRY_BYTES or data[0] & 0xF0 != 0x80:
        return None
    try:
        return _parts_of(_map_of(data))
    except (IndexError, ValueError, TypeError, KeyError, RecursionError, msgpack.exceptions.UnpackException):
        return None


def _map_of(data: memoryview) -> dict[str, Any]:
    """The map with its binary values in place. Raises whatever a body of another form makes of it."""
    body: dict[str, Any] = {}
    pairs, at = data[0] & 0x0F, 1
    for _ in range(pairs):
        size = data[at] & 0x1F
        if data[at] & 0xE0 != 0xA0:
            raise ValueError("a short string")
        name = str(data[at + 1 : at + 1 + size], "ascii")
        body[name], at = _value_at(data, at + 1 + size, name)
    if at != len(data) or len(body) != pairs:
        raise ValueError("one map and nothing after it")
    return body


def _value_at(data: memoryview, at: int, name: str) -> tuple[Any, int]:
    first = data[at]
    if 0xC4 <= first <= 0xC6:
        width = 1 << (first - 0xC4)
        start = at + 1 + width
        end = start + int.from_bytes(data[at + 1 : start], "big")
        if end > len(data):
            raise ValueError("a whole column")
        return data[start:end], end
    for raw, value in _known.get(name, ()):
        if bytes(data[at : at + len(raw)]) == raw:
            return value, at + len(raw)
    value, end = _unpacked(data, at)
    if name in _known:
        value = dictionary_of(value) if name == "dictionary" else value
        if end - at <= KNOWN_BYTES:
            _known[name] = [(bytes(data[at:end]), value), *_known[name][: KNOWN_DICTIONARIES - 1]]
    return value, end


def _unpacked(data: memoryview, at: int) -> tuple[Any, int]:
    unpacker = msgpack.Unpacker(
        raw=False,
        strict_map_key=False,
        unicode_errors="surrogateescape",
        max_buffer_size=MAX_ENTRY_BYTES,
        max_array_len=8 * MAX_ROWS,
        max_map_len=MAX_ROWS,
        max_ext_len=0,
    )
    # Small values come first in what is left, so hardly ever is all of it fed.
    size = 64 if data[at] < 0x80 or 0xCC <= data[at] <= 0xD3 else len(data)
    unpacker.feed(data[at : at + size])
    value = unpacker.unpack()
    return value, at + unpacker.tell()


def _parts_of(body: dict[str, Any]) -> _Parts | None:
    n, dictionary = body["n"], body["dictionary"]
    if type(n) is not int or n < 0 or not isinstance(dictionary, tuple):
        return None
    columns = {name: value for name, value in body.items() if isinstance(value, memoryview)}
    required = {"series", *_TYPES}
    if not required <= columns.keys() <= required | set(RESOURCE_COLUMNS.values()):
        return None
    if len(columns["series"]) not in {2 * n, 4 * n}:
        return None
    if any(len(columns[name]) != width * n for name, width in _WIDTHS.items() if name in columns):
        return None
    paths = body.get("paths")
    if paths is not None and len(paths) != len(dictionary):
        return None
    return _Parts(
        n,
        dictionary,
        columns,
        row_map_of(body.get("errors"), "errors", n),
        row_map_of(body.get("callIds"), "callIds", n),
    )


__all__ = ["KNOWN_DICTIONARIES", "BatchError", "Body", "decode_entries"]
