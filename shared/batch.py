"""The record batch: the coin between processes.

Columns of one journal entry as numpy arrays over a dictionary of series. Owns the columnar decoding and encoding;
deliberately knows nothing of validation (ingest's door), of files (`shared.store`) or of sockets. What is in a batch that
came from the journal has been validated: finite, in range, redacted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perfmon.wire import pack, unpack
from perfmon.wire.limits import MAX_DURATION_MS, MAX_ENTRY_BYTES

Int64 = NDArray[np.int64]
UInt32 = NDArray[np.uint32]
UInt8 = NDArray[np.uint8]
Float64 = NDArray[np.float64]

#: The optional measured columns: attribute of Batch → name on the wire.
RESOURCE_COLUMNS: Final = {"cpu": "cpu", "memory": "memory", "disk_io": "diskIO"}


#: The year 9999: a timestamp beyond it has no day.
MAX_TS_MS: Final = 253_402_300_799_999


class BatchError(ValueError):
    """Columns that do not fit each other, or a dictionary that does not cover them."""


class Series(NamedTuple):
    """One tool of one server."""

    server: str
    tool: str


@dataclass(frozen=True, slots=True)
class Batch:
    """`n` rows over a dictionary of series.

    dictionary: the series that occur; `codes` u32[n] indexes it.
    ts: i64[n], epoch ms UTC. duration: f64[n], ms. ok: u8[n], 0 or 1.
    cpu, memory, disk_io: f64[n] in %, MB, KB, NaN = not measured; None = none measured.
    errors: {row: message}, only for rows with ok = 0. call_ids: {row: id}.
    paths: the file of each series below `metrics/DATE/`, without `.jsonl`; set once ingest has placed the batch.
    """

    dictionary: tuple[Series, ...]
    codes: UInt32
    ts: Int64
    duration: Float64
    ok: UInt8
    cpu: Float64 | None = None
    memory: Float64 | None = None
    disk_io: Float64 | None = None
    errors: dict[int, str] = field(default_factory=dict)
    call_ids: dict[int, str] = field(default_factory=dict)
    paths: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def check(self) -> None:
        """Raises: BatchError when a column has another length or a code has no series."""
        n = len(self.codes)
        columns = (self.ts, self.duration, self.ok, self.cpu, self.memory, self.disk_io)
        if any(column is not None and len(column) != n for column in columns):
            raise BatchError("columns differ in length")
        if n and int(self.codes.max()) >= len(self.dictionary):
            raise BatchError("a code has no series in the dictionary")
        if self.paths is not None and len(self.paths) != len(self.dictionary):
            raise BatchError("paths do not match the dictionary")

    def check_values(self) -> None:
        """Raises: BatchError when a value is none that ingest lets in, as seen from the columns' extremes."""
        if not len(self):
            return
        if not 0 <= self.ts.min() <= self.ts.max() <= MAX_TS_MS:
            raise BatchError("a timestamp is out of range")
        if not (self.duration.min() >= 0 and self.duration.max() <= MAX_DURATION_MS):
            raise BatchError("a duration is out of range")
        if self.ok.max() > 1:
            raise BatchError("a success flag is neither 0 nor 1")
        for name in RESOURCE_COLUMNS:
            column = self.resource(name)
            # NaN is not measured; comparisons pass it over. (fmin and fmax do not: a signalling NaN is their result.)
            if column is not None and ((column < 0.0) | (column == np.inf)).any():
                raise BatchError(f"a value of {name} is out of range")

    def resource(self, name: str) -> Float64 | None:
        """The column `cpu`, `memory` or `disk_io`."""
        column: Float64 | None = getattr(self, name)
        return column

    def take(self, rows: NDArray[Any]) -> Batch:
        """The rows of a mask (bool[n]) or of ascending indices, with the same dictionary."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Batch(
            self.dictionary,
            self.codes[index],
            self.ts[index],
            self.duration[index],
            self.ok[index],
            cpu=None if self.cpu is None else self.cpu[index],
            memory=None if self.memory is None else self.memory[index],
            disk_io=None if self.disk_io is None else self.disk_io[index],
            errors=_renumber(self.errors, index),
            call_ids=_renumber(self.call_ids, index),
            paths=self.paths,
        )

    def size_bytes(self) -> int:
        """About how many bytes the batch takes encoded and placed, a little more rather than less."""
        text = sum(map(len, self.errors.values())) + sum(map(len, self.call_ids.values()))
        names = sum(map(len, chain.from_iterable(self.dictionary)))
        return 48 * len(self) + 4 * names + 2 * text

    def compact(self) -> Batch:
        """The same rows over a dictionary in which every series occurs, and once; without paths if it had to change."""
        counts = np.bincount(self.codes, minlength=len(self.dictionary))
        if counts.all() and len(set(self.dictionary)) == len(self.dictionary):
            return self
        union: dict[Series, int] = {}
        mapping = np.zeros(max(len(self.dictionary), 1), np.uint32)
        for code in np.flatnonzero(counts).tolist():
            mapping[code] = union.setdefault(self.dictionary[code], len(union))
        return replace(self, dictionary=tuple(union), codes=mapping[self.codes], paths=None)

    def encode(self) -> bytes:
        """The journal's and the stream's bytes of this batch: one msgpack map, little-endian columns."""
        body: dict[str, Any] = {
            "n": len(self),
            "dictionary": [[s.server, s.tool] for s in self.dictionary],
            "series": self.codes.astype("<u2" if len(self.dictionary) <= 65_536 else "<u4").tobytes(),
            "ts": self.ts.astype("<i8", copy=False).tobytes(),
            "duration": self.duration.astype("<f8", copy=False).tobytes(),
            "ok": self.ok.tobytes(),
        }
        for attribute, name in RESOURCE_COLUMNS.items():
            if (column := self.resource(attribute)) is not None:
                body[name] = column.astype("<f8", copy=False).tobytes()
        if self.errors:
            body["errors"] = self.errors
        if self.call_ids:
            body["callIds"] = self.call_ids
        if self.paths is not None:
            body["paths"] = list(self.paths)
        return pack(body)


def decode(data: bytes | memoryview) -> Batch:
    """The batch in a journal entry or a stream message.

    Its values are those that ingest lets in; an entry that anyone else wrote is refused here, for every consumer alike.

    Raises: BatchError, perfmon.wire.MalformedFrame.
    """
    body = unpack(data, max_bytes=MAX_ENTRY_BYTES)
    if not isinstance(body, dict):
        raise BatchError("a batch is a map")
    batch = from_columns(body)
    batch.check_values()
    return batch


def from_columns(body: dict[Any, Any]) -> Batch:
    """A batch from a map of raw columns (see docs/protocol.md); structure is checked, values are not.

    Raises: BatchError naming the first column that does not fit.
    """
    n = body.get("n")
    if type(n) is not int or n < 0:
        raise BatchError("`n` is the number of rows")
    dictionary = dictionary_of(body.get("dictionary"))
    codes = body.get("series")
    if not isinstance(codes, bytes) or (n and len(codes) not in (2 * n, 4 * n)) or (not n and codes):
        raise BatchError("`series` has 2 or 4 bytes a row")
    wide = n and len(codes) == 4 * n
    paths = body.get("paths")
    batch = Batch(
        dictionary,
        np.frombuffer(codes, "<u4" if wide else "<u2").astype(np.uint32),
        _column(body, "ts", "<i8", n),
        _column(body, "duration", "<f8", n),
        _column(body, "ok", "u1", n),
        cpu=_optional_f64(body, "cpu", n),
        memory=_optional_f64(body, "memory", n),
        disk_io=_optional_f64(body, "diskIO", n),
        errors=row_map_of(body.get("errors"), "errors", n),
        call_ids=row_map_of(body.get("callIds"), "callIds", n),
        paths=None if paths is None else tuple(paths),
    )
    batch.check()
    return batch


def concatenate(batches: Sequence[Batch]) -> Batch:
    """One batch of all rows in order, over the union of the dictionaries. Paths are dropped unless all batches have them."""
    if len(batches) == 1:
        return batches[0]
    dictionary, paths, codes = _united(batches)
    errors: dict[int, str] = {}
    call_ids: dict[int, str] = {}
    offset = 0
    for batch in batches:
        errors.update((row + offset, text) for row, text in batch.errors.items())
        call_ids.update((row + offset, text) for row, text in batch.call_ids.items())
        offset += len(batch)
    return Batch(
        dictionary,
        _joined(codes, np.uint32),
        _joined([b.ts for b in batches], np.int64),
        _joined([b.duration for b in batches], np.float64),
        _joined([b.ok for b in batches], np.uint8),
        cpu=_joined_resource(batches, "cpu"),
        memory=_joined_resource(batches, "memory"),
        disk_io=_joined_resource(batches, "disk_io"),
        errors=errors,
        call_ids=call_ids,
        paths=paths,
    )


def _united(batches: Sequence[Batch]) -> tuple[tuple[Series, ...], tuple[str, ...] | None, list[UInt32]]:
    """The union of the dictionaries, its paths if all batches have them, and each batch's codes over it."""
    if not batches:
        return (), (), []
    first = batches[0]
    # Producers send the same dictionary again and again; comparing two that share their series is cheap.
    same = all(batch.dictionary == first.dictionary and batch.paths == first.paths for batch in batches)
    if same and len(set(first.dictionary)) == len(first.dictionary):
        return first.dictionary, first.paths, [batch.codes for batch in batches]
    union: dict[Series, int] = {}
    paths: dict[Series, str] = {}
    placed = all(batch.paths is not None for batch in batches)
    codes: list[UInt32] = []
    for batch in batches:
        # A dictionary without series has no rows; one code keeps its mapping an array of codes.
        mapping = np.array([union.setdefault(series, len(union)) for series in batch.dictionary] or [0], np.uint32)
        codes.append(mapping[batch.codes])
        if placed and batch.paths is not None:
            for series, path in zip(batch.dictionary, batch.paths, strict=True):
                paths.setdefault(series, path)
    return tuple(union), tuple(paths.values()) if placed else None, codes


def build(rows: Iterable[tuple[str, str, int, float, bool]], **columns: Sequence[float] | None) -> Batch:
    """A batch from (server, tool, ts_ms, duration_ms, ok) tuples and optional resource columns; for tests and tools."""
    union: dict[Series, int] = {}
    listed = list(rows)
    codes = [union.setdefault(Series(server, tool), len(union)) for server, tool, *_ in listed]
    return Batch(
        tuple(union),
        np.asarray(codes, np.uint32),
        np.asarray([row[2] for row in listed], np.int64),
        np.asarray([row[3] for row in listed], np.float64),
        np.asarray([row[4] for row in listed], np.uint8),
        cpu=_optional_array(columns.get("cpu")),
        memory=_optional_array(columns.get("memory")),
        disk_io=_optional_array(columns.get("disk_io")),
    )


def _renumber(sparse: dict[int, str], index: NDArray[Any]) -> dict[int, str]:
    if not sparse:
        return {}
    place = {int(row): new for new, row in enumerate(index)}
    return {place[row]: text for row, text in sparse.items() if row in place}


def _optional_array(values: Sequence[float] | None) -> Float64 | None:
    return None if values is None else np.asarray(values, np.float64)


def _joined(columns: Sequence[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate(columns) if columns else np.empty(0, dtype)


def _joined_resource(batches: Sequence[Batch], name: str) -> Float64 | None:
    columns = [batch.resource(name) for batch in batches]
    if all(column is None for column in columns):
        return None
    return np.concatenate(
        [np.full(len(b), np.nan) if c is None else c for b, c in zip(batches, columns, strict=True)],
    )


def dictionary_of(raw: object) -> tuple[Series, ...]:
    """The series of a list of [mcpServer, toolName] pairs. Raises: BatchError."""
    if not isinstance(raw, list):
        raise BatchError("`dictionary` is a list of [mcpServer, toolName] pairs")
    pairs = []
    for pair in raw:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            raise BatchError("`dictionary` is a list of [mcpServer, toolName] pairs")
        pairs.append(Series(pair[0], pair[1]))
    return tuple(pairs)


def _column(body: dict[Any, Any], name: str, dtype: str, n: int) -> NDArray[Any]:
    raw = body.get(name)
    wanted = np.dtype(dtype).itemsize * n
    if not isinstance(raw, bytes) or len(raw) != wanted:
        raise BatchError(f"`{name}` has {wanted} bytes for {n} rows")
    return np.frombuffer(raw, dtype)


def _optional_f64(body: dict[Any, Any], name: str, n: int) -> Float64 | None:
    return None if body.get(name) is None else _column(body, name, "<f8", n)


def row_map_of(raw: object, name: str, n: int) -> dict[int, str]:
    """{row: text} of rows 0 … n − 1; None has none. Raises: BatchError."""
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise BatchError(f"`{name}` is a map of row to text")
    found: dict[int, str] = {}
    for key, text in raw.items():
        row = _row_number(key)
        if row is None or not 0 <= row < n or not isinstance(text, str):
            raise BatchError(f"`{name}` is a map of row (an integer below {n}) to text; {key!r:.40} is none")
        found[row] = text
    return found


def _row_number(key: object) -> int | None:
    """A row's number; JavaScript's maps have decimal strings for it."""
    if type(key) is int:
        return key
    return int(key) if isinstance(key, str) and len(key) <= 6 and key.isascii() and key.isdigit() else None
