"""From what was recorded to the columns of a `batch` message, about ten times cheaper for both ends than rows. Pure, no numpy.

`of_rows` takes the rows of `record` when every one of them fits a column; what does not (a number of another library, a lone
surrogate, a name without end) goes as rows, which are mended one by one. `of_columns` takes what `record_batch` was given.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from math import nan
from typing import Any, Final, NamedTuple

from perfmon.producer.rows import Row
from perfmon.wire import MAX_CALL_ID_BYTES, MAX_ERROR_CHARS, MAX_NAME_BYTES, batch_columns, column_bytes

#: Rows and bytes of one message that `record_batch` makes; larger ones are cut into several.
BLOCK_ROWS: Final = 10_000
BLOCK_BYTES: Final = 1024 * 1024
#: Columns: name on the wire → (typecode, formats of a buffer that are that already).
_COLUMNS: Final = {
    "ts": ("q", ("q", "l") if sys.maxsize > 2**32 else ("q",)),
    "duration": ("d", ("d",)),
    "cpu": ("d", ("d",)),
    "memory": ("d", ("d",)),
    "diskIO": ("d", ("d",)),
}
_NUMBERS: Final = frozenset({int, float})
_NONE: Final = type(None)


class Block(NamedTuple):
    """The fields of a `batch` message: `rows` of them, `size_bytes` in memory, about."""

    fields: dict[str, Any]
    rows: int
    size_bytes: int


def of_rows(rows: Sequence[Row]) -> dict[str, Any] | None:
    """The fields of a batch with these rows; None when one of them fits no column."""
    servers, tools, durations, oks, errors, cpus, memories, disk_ios, times, call_ids, _ = zip(*rows, strict=True)
    if not _fit(servers, tools, durations, oks, times):
        return None
    codes: dict[tuple[str, str], int] = {}
    series = [codes.setdefault(pair, len(codes)) for pair in zip(servers, tools, strict=True)]
    sparse_errors, sparse_ids = _sparse(errors), _sparse(call_ids)
    if sparse_errors is None or sparse_ids is None or not _names_travel(codes, sparse_errors, sparse_ids):
        return None
    try:
        return batch_columns(
            list(codes),
            series=series,
            ts=times,
            duration=durations,
            ok=oks,
            cpu=_measured(cpus),
            memory=_measured(memories),
            disk_io=_measured(disk_ios),
            errors=sparse_errors,
            call_ids=sparse_ids,
        )
    except (TypeError, ValueError, OverflowError):
        return None


def of_columns(
    dictionary: Sequence[tuple[str, str]],
    *,
    series: Any,
    duration_ms: Any,
    ok: Any,
    ts_ms: Any,
    resources: Mapping[str, Any],
    errors: Mapping[int, str] | None,
    call_ids: Mapping[int, str] | None,
) -> Iterator[Block]:
    """Blocks of ready columns, copied at once. A column is a sequence or an object with the buffer protocol.

    Raises: ValueError naming what does not fit or is no UTF-8, TypeError and OverflowError for values that no column holds.
    """
    n = len(duration_ms)
    width = 2 if len(dictionary) <= 65_536 else 4
    pairs = [[server, tool] for server, tool in dictionary]
    if not all(isinstance(name, str) for pair in pairs for name in pair):
        raise ValueError("dictionary lists (server, tool), both text")
    columns = {
        "series": _bytes_of(series, "H" if width == 2 else "I", ("H",) if width == 2 else ("I",)),
        "ok": _flags(ok),
        "ts": ts_ms.to_bytes(8, "little", signed=True) * n
        if isinstance(ts_ms, int)
        else _bytes_of(ts_ms, *_COLUMNS["ts"]),
        "duration": _bytes_of(duration_ms, *_COLUMNS["duration"]),
    }
    columns |= {name: _measured_bytes(values, name) for name, values in resources.items() if values is not None}
    for name, data in columns.items():
        if len(data) != n * _width(name, width):
            raise ValueError(f"the column {name} has not as many rows as duration, {n}")
    if n and max(memoryview(columns["series"]).cast("H" if width == 2 else "I")) >= len(dictionary):
        raise ValueError("series has an index that the dictionary has not")
    texts, ids = _cut(errors), dict(call_ids or {})
    if not all(
        type(row) is int and 0 <= row < n and isinstance(text, str) for row, text in [*texts.items(), *ids.items()]
    ):
        raise ValueError(f"errors and call_ids map rows, 0 to {n - 1}, to texts")
    "".join([*(name for pair in pairs for name in pair), *texts.values(), *ids.values()]).encode()
    whole = _Span(pairs, columns, width, texts, ids)
    yield from whole.blocks(0, n)


class _Span:
    """Columns that are cut into blocks."""

    def __init__(
        self,
        dictionary: list[list[str]],
        columns: dict[str, bytes],
        width: int,
        errors: dict[int, str],
        call_ids: dict[int, str],
    ) -> None:
        self._dictionary = dictionary
        self._columns = columns
        self._width = width
        self._errors = errors
        self._call_ids = call_ids
        self._names_bytes = sum(sys.getsizeof(name) for pair in dictionary for name in pair)

    def blocks(self, first: int, end: int) -> Iterator[Block]:
        """The rows from `first` up to `end`, in halves as long as they are too many or too large."""
        if first == end:
            return
        block = self._block(first, end)
        if end - first > 1 and (block.rows > BLOCK_ROWS or block.size_bytes - self._names_bytes > BLOCK_BYTES):
            middle = (first + end) // 2
            yield from self.blocks(first, middle)
            yield from self.blocks(middle, end)
        else:
            yield block

    def _block(self, first: int, end: int) -> Block:
        fields: dict[str, Any] = {"n": end - first, "dictionary": self._dictionary}
        size_bytes = self._names_bytes
        for name, data in self._columns.items():
            width = _width(name, self._width)
            fields[name] = data[first * width : end * width]
            size_bytes += (end - first) * width
        for name, sparse in (("errors", self._errors), ("callIds", self._call_ids)):
            here = {row - first: text for row, text in sparse.items() if first <= row < end}
            if here:
                fields[name] = here
                size_bytes += sum(map(sys.getsizeof, here.values()))
        return Block(fields, end - first, size_bytes)


def _fit(
    servers: Sequence[Any], tools: Sequence[Any], durations: Sequence[Any], oks: Sequence[Any], times: Sequence[Any]
) -> bool:
    return (
        set(map(type, oks)) == {bool}
        and set(map(type, times)) == {int}
        and set(map(type, durations)) <= _NUMBERS
        and set(map(type, servers)) == {str} == set(map(type, tools))
    )


def _sparse(texts: Sequence[Any]) -> dict[int, str] | None:
    """{row: text} of those that are not None; None when one is no text."""
    if texts.count(None) == len(texts):
        return {}
    if not set(map(type, texts)) <= {str, _NONE}:
        return None
    return {row: text for row, text in enumerate(texts) if text is not None}


def _names_travel(names: Mapping[tuple[str, str], int], errors: dict[int, str], call_ids: Mapping[int, str]) -> bool:
    if any(len(server) > MAX_NAME_BYTES or len(tool) > MAX_NAME_BYTES for server, tool in names):
        return False
    if call_ids and not all(0 < len(call_id) <= MAX_CALL_ID_BYTES for call_id in call_ids.values()):
        return False
    for row in [row for row, text in errors.items() if not text]:
        del errors[row]
    try:
        "".join([*(name for pair in names for name in pair), *errors.values(), *call_ids.values()]).encode()
    except UnicodeEncodeError:
        return False
    return True


def _measured(values: Sequence[Any]) -> list[float] | None:
    """A column with NaN where nothing was measured; None when nothing was.

    Raises: TypeError for what is not a number of Python's own.
    """
    absent = values.count(None)
    if absent == len(values):
        return None
    if not set(map(type, values)) <= {*_NUMBERS, _NONE}:
        raise TypeError("not a number")
    return [nan if value is None else value for value in values] if absent else list(values)


def _measured_bytes(values: Any, name: str) -> bytes:
    listed = values if _is_buffer(values) else [nan if value is None else value for value in values]
    return _bytes_of(listed, *_COLUMNS[name])


def _bytes_of(values: Any, typecode: str, formats: Sequence[str]) -> bytes:
    """A column's bytes; a buffer of the right format is copied as it is."""
    if _is_buffer(values):
        view = memoryview(values)
        if view.ndim == 1 and view.format in formats and sys.byteorder == "little":
            return view.tobytes()
    return column_bytes(typecode, _listed(values))


def _flags(values: Any) -> bytes:
    if _is_buffer(values):
        view = memoryview(values)
        if view.ndim == 1 and view.format in ("B", "?"):
            data = view.tobytes()
            if not data.strip(b"\0\1"):
                return data
    return bytes(map(bool, _listed(values)))


def _listed(values: Any) -> Sequence[Any]:
    # `tolist` is what arrays of every library have; their elements are then Python's own.
    listed: Sequence[Any] = values.tolist() if hasattr(values, "tolist") else values
    return listed


def _is_buffer(values: object) -> bool:
    try:
        memoryview(values)  # type: ignore[arg-type] # that is the question
    except (TypeError, ValueError):
        return False
    return True


def _cut(errors: Mapping[int, str] | None) -> dict[int, str]:
    return {row: text[:MAX_ERROR_CHARS] for row, text in (errors or {}).items() if text}


def _width(name: str, series_width: int) -> int:
    return series_width if name == "series" else 1 if name == "ok" else 8
