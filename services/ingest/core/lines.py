"""A batch as JSONL lines, the seed's line a call, grouped by file.

Numbers read back exactly: a whole number prints without a point, any other as Python's shortest text that parses to the same
double. What was not measured is null; a call without any measurement has `"resource":null`.

Two ways write the same bytes: plain Python, and the compiled `line_kernel`, some ten times as fast, which a process loads only
once it has a load that pays for its memory (`Formatter.compile`).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.batch import Batch, Float64, Int64, Series, UInt8, UInt32
from shared.timespan import DAY_MS, day_of

#: Bytes of lines that the kernel makes at a time, so that they are still in the processor's cache when they are written.
CHUNK_BYTES: Final = 1024 * 1024
#: Files that a table of all possible ones may have; a batch over more of them (its times are far apart) is sorted by comparing.
MAX_TABLE: Final = 1 << 20
_NO_COLUMN: Final = np.empty(0, np.float64)


class FileLines(NamedTuple):
    """Lines for one file below `metrics/`: the data, how many lines, their first and last timestamp. The data is good until the
    next is asked for.
    """

    path: str
    series: Series
    data: bytes | memoryview
    lines: int
    first_ms: int
    last_ms: int


class _Group(NamedTuple):
    """The rows of one file: `order[start:end]`, all of one series and one day (epoch days)."""

    code: int
    day: int
    start: int
    end: int


class _Odd(NamedTuple):
    """Rows whose lines are made in Python: their flags u8[n], their numbers, and all their lines with where each ends."""

    flags: UInt8
    rows: Int64
    ends: Int64
    text: UInt8


@functools.lru_cache(maxsize=64)
def _date(day: int) -> str:
    return day_of(day * DAY_MS)


def file_of(day: int, path: str) -> str:
    """The file of a series' path on a day (epoch days)."""
    return f"{_date(day)}/{path}.jsonl"


def files_of(batch: Batch) -> Iterator[tuple[str, Series]]:
    """The files that a placed batch goes to, each with its series."""
    if batch.paths is None or not len(batch):
        return
    keys, files = _keys(batch)
    for key in np.flatnonzero(np.bincount(keys, minlength=len(files))).tolist():
        code, day = files[key]
        yield file_of(day, batch.paths[code]), batch.dictionary[code]


class Formatter:
    """Makes lines; compiled once `compile` was called. One iteration at a time: they share a buffer."""

    def __init__(self) -> None:
        self._kernel: ModuleType | None = None
        self._buffer: UInt8 = np.empty(0, np.uint8)

    @property
    def compiled(self) -> bool:
        """Whether the kernel is loaded."""
        return self._kernel is not None

    def compile(self) -> None:
        """Load the kernel: half a second, or some seconds the first time on a machine. May run in another thread."""
        from services.ingest.core import line_kernel  # numba takes memory that an idle pipeline has not

        self._kernel = line_kernel

    def lines_of(self, batch: Batch) -> Iterator[FileLines]:
        """The lines of a placed batch, file by file, each file's in the batch's order; a large file's in several parts.

        Raises: ValueError for rows without a place.
        """
        if not len(batch):
            return
        if batch.paths is None:
            raise ValueError("a batch without paths has no files")
        order, groups = self._grouped(batch)
        kernel = self._kernel
        odd = None if kernel is None else _odd_of(kernel, batch)
        for group in groups:
            path, series = file_of(group.day, batch.paths[group.code]), batch.dictionary[group.code]
            parts = (
                self._plain(batch, order, group) if odd is None else self._compiled(kernel, batch, order, group, odd)
            )
            for start, end, data in parts:
                ts = batch.ts[order[start:end]]
                yield FileLines(path, series, data, end - start, int(ts.min()), int(ts.max()))

    def _grouped(self, batch: Batch) -> tuple[UInt32, list[_Group]]:
        keys, files = _keys(batch)
        order, starts = np.empty(len(keys), np.uint32), np.zeros(len(files) + 1, np.int64)
        if self._kernel is None:
            order[:] = np.argsort(keys, kind="stable")
            np.cumsum(np.bincount(keys, minlength=len(files)), out=starts[1:])
        else:
            self._kernel.sort_by_key(keys, len(files), order, starts)
        found = np.flatnonzero(starts[1:] > starts[:-1]).tolist()
        return order, [_Group(*files[key], int(starts[key]), int(starts[key + 1])) for key in found]

    @staticmethod
    def _plain(batch: Batch, order: UInt32, group: _Group) -> Iterator[tuple[int, int, bytes]]:
        rows = order[group.start : group.end]
        yield group.start, group.end, "".join(plain_lines(batch, rows)).encode()

    def _compiled(
        self, kernel: Any, batch: Batch, order: UInt32, group: _Group, odd: _Odd
    ) -> Iterator[tuple[int, int, memoryview]]:
        date, names = _head(batch.dictionary[group.code], group.day)
        head = np.frombuffer(date + names + bytes(kernel.SLACK), np.uint8)
        row_bytes = kernel.FIXED_BYTES + len(date) + len(names)
        step = max(1, CHUNK_BYTES // row_bytes)
        for start in range(group.start, group.end, step):
            end = min(start + step, group.end)
            odd_bytes = _odd_bytes(odd, order, start, end)
            out = self._room((end - start) * row_bytes + odd_bytes + kernel.SLACK)
            size = kernel.write_span(
                order, start, end, head, len(date), len(date) + len(names), batch.ts, batch.duration, batch.ok,
                *_measured(batch), odd.flags, odd.rows, odd.ends, odd.text, out,
            )  # fmt: skip
            yield start, end, out[:size].data

    def _room(self, size: int) -> UInt8:
        if len(self._buffer) < size:
            self._buffer = np.empty(max(size, CHUNK_BYTES), np.uint8)
        return self._buffer


def plain_lines(batch: Batch, rows: NDArray[Any]) -> list[str]:
    """The lines of some rows of a batch, each with its newline; the kernel's twin."""
    stamps = np.datetime_as_string(batch.ts[rows].astype("M8[ms]")).tolist()
    durations = _numbers(batch.duration[rows])
    flags = ("false", "true")
    oks = [flags[flag] for flag in batch.ok[rows].tolist()]
    heads = {code: _names(batch.dictionary[code]) for code in np.unique(batch.codes[rows]).tolist()}
    names = [heads[code] for code in batch.codes[rows].tolist()]
    lines = []
    for row, stamp, name, duration, ok, resource in zip(
        rows.tolist(), stamps, names, durations, oks, _resources(batch, rows), strict=True
    ):
        error, call_id = batch.errors.get(row), batch.call_ids.get(row)
        tail = "" if call_id is None else f',"callId":{_text(call_id)}'
        shown = "null" if error is None else _text(error)
        lines.append(
            f'{{"timestamp":"{stamp}{name}{duration},"success":{ok},"error":{shown},"resource":{resource}{tail}}}\n'
        )
    return lines


def _keys(batch: Batch) -> tuple[UInt32, list[tuple[int, int]]]:
    """The file of each row u32[n] as an index into all files there may be, each (series code, epoch day)."""
    low, high = int(batch.ts.min()) // DAY_MS, int(batch.ts.max()) // DAY_MS
    span, series = high - low + 1, len(batch.dictionary)
    if span == 1:
        return batch.codes, [(code, low) for code in range(series)]
    keys = batch.codes.astype(np.int64) * span + (batch.ts // DAY_MS - low)
    if series * span <= MAX_TABLE:
        return keys.astype(np.uint32), [(code, low + day) for code in range(series) for day in range(span)]
    found, inverse = np.unique(keys, return_inverse=True)
    return inverse.astype(np.uint32), [(key // span, low + key % span) for key in found.tolist()]


def _odd_of(kernel: Any, batch: Batch) -> _Odd:
    flags = np.zeros(len(batch), np.uint8)
    for row in (*batch.errors, *batch.call_ids):
        flags[row] = 1
    kernel.mark_odd(batch.duration, *_measured(batch), flags)
    rows = np.flatnonzero(flags)
    lines = [line.encode() for line in plain_lines(batch, rows)] if len(rows) else []
    ends = np.cumsum([len(line) for line in lines], dtype=np.int64)
    return _Odd(flags, rows, ends, np.frombuffer(b"".join(lines) + bytes(kernel.SLACK), np.uint8))


def _odd_bytes(odd: _Odd, order: UInt32, start: int, end: int) -> int:
    """At least the bytes of the odd lines among `order[start:end]`."""
    if len(odd.text) <= CHUNK_BYTES:
        return len(odd.text)
    rows = order[start:end]
    at = np.searchsorted(odd.rows, rows[odd.flags[rows] == 1])
    return int(np.diff(odd.ends, prepend=0)[at].sum())


def _measured(batch: Batch) -> tuple[Float64, Float64, Float64]:
    columns = (batch.cpu, batch.memory, batch.disk_io)
    cpu, memory, disk_io = (_NO_COLUMN if column is None else column for column in columns)
    return cpu, memory, disk_io


def _head(series: Series, day: int) -> tuple[bytes, bytes]:
    """What stands before the time of day, and between it and the duration."""
    return f'{{"timestamp":"{_date(day)}T'.encode(), _names(series).encode()


def _names(series: Series) -> str:
    return f'Z","mcpServer":{_text(series.server)},"toolName":{_text(series.tool)},"duration":'


def _resources(batch: Batch, rows: NDArray[Any]) -> list[str]:
    columns = []
    for column in (batch.cpu, batch.memory, batch.disk_io):
        columns.append(["null"] * len(rows) if column is None else _numbers(column[rows]))
    return [
        "null" if cpu == memory == disk == "null" else f'{{"cpu":{cpu},"memory":{memory},"diskIO":{disk}}}'
        for cpu, memory, disk in zip(*columns, strict=True)
    ]


def _numbers(values: Float64) -> list[str]:
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> str:
    if value != value:  # noqa: PLR0124 - NaN: not measured
        return "null"
    text = repr(value)
    # 150.0 → 150, but -0.0 stays itself; 1e+22 is JSON as it is.
    return text[:-2] if text.endswith(".0") and text != "-0.0" else text


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
