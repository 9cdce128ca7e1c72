"""Messages that are encoded once and sent many times, each time with a sequence and timestamps of their own.

A producer's sequence and each timestamp have a fixed width in the encoded frame (msgpack's 64-bit integer), so that a frame
is made new by overwriting bytes: some nanoseconds a metric, and never the same row twice. Knows nothing of sockets or clocks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np

from bench.bytes_in_place import at_every_byte
from bench.load import Columns, columns, series_names
from perfmon.wire import Kind, pack
from perfmon.wire.envelope import PROTOCOL_MAJOR

#: msgpack: an unsigned 64-bit integer follows; a map of fewer than 16 fields; a list of so many maps follows.
_UINT64: Final = b"\xcf"
_FIXMAP: Final = 0x80
_ARRAY32: Final = b"\xdd"
_NAMES: Final = series_names()


class Frame(Protocol):
    """A message of `rows` metrics; `at` gives its bytes, valid until the next call."""

    rows: int
    size_bytes: int

    def at(self, seq: int, now_ms: int) -> bytearray:
        """The frame with this sequence and timestamps that end at `now_ms`."""


class BatchFrame:
    """A columnar record batch. Timestamps are one run of bytes, which numpy writes in place."""

    def __init__(self, found: Columns, producer: str) -> None:
        self.rows = len(found)
        body = _Writer(13)
        body.envelope(Kind.BATCH, producer)
        body.field("n", self.rows)
        body.field("dictionary", [list(pair) for pair in _NAMES])
        body.field("series", found.series.astype("<u2").tobytes())
        ts_end = body.field("ts", bytes(8 * self.rows))
        for name, column in (("duration", found.duration), ("cpu", found.cpu), ("memory", found.memory)):
            body.field(name, column.astype("<f8").tobytes())
        body.field("ok", found.ok.tobytes())
        body.field("diskIO", found.disk_io.astype("<f8").tobytes())
        self._bytes, self._seq_at = body.done(), body.seq_at
        self.size_bytes = len(self._bytes)
        self._ts = np.frombuffer(self._bytes, "<i8", self.rows, ts_end - 8 * self.rows)
        self._age_ms = found.age_ms

    def at(self, seq: int, now_ms: int) -> bytearray:
        """The frame, its bytes valid until the next call."""
        struct.pack_into(">Q", self._bytes, self._seq_at, seq)
        np.subtract(now_ms, self._age_ms, out=self._ts)
        return self._bytes


class RowsFrame:
    """A list of maps with the seed's field names, as any language sends it. Each row has a timestamp to overwrite."""

    def __init__(self, found: Columns, producer: str) -> None:
        self.rows = len(found)
        body = _Writer(5)
        body.envelope(Kind.ROWS, producer)
        body.raw(pack("rows"), _ARRAY32, struct.pack(">I", self.rows))
        ends = [_row(body, found, row) for row in range(self.rows)]
        self._bytes, self._seq_at = body.done(), body.seq_at
        self.size_bytes = len(self._bytes)
        self._places = np.asarray(ends, np.int64) - 8
        self._numbers = at_every_byte(self._bytes, ">i8")
        self._age_ms = found.age_ms

    def at(self, seq: int, now_ms: int) -> bytearray:
        """The frame, its bytes valid until the next call."""
        struct.pack_into(">Q", self._bytes, self._seq_at, seq)
        self._numbers[self._places] = now_ms - self._age_ms
        return self._bytes


SHAPES: Final[dict[str, Callable[[Columns, str], Frame]]] = {"batch": BatchFrame, "rows": RowsFrame}


def ring(shape: str, rows: int, count: int, producer: str, *, seed: int = 1) -> Sequence[Frame]:
    """`count` frames of different metrics, to be sent in turn."""
    return [SHAPES[shape](columns(rows, seed + number), producer) for number in range(count)]


class _Writer:
    """One msgpack map, field by field, that knows where its bytes stand."""

    def __init__(self, fields: int) -> None:
        self._parts: list[bytes] = [bytes([_FIXMAP | fields])]
        self._size = 1
        self.seq_at = 0

    def raw(self, *parts: bytes) -> int:
        """Append bytes; where they end."""
        self._parts.extend(parts)
        self._size += sum(map(len, parts))
        return self._size

    def field(self, name: str, value: object) -> int:
        """Append a field; where its value ends."""
        return self.raw(pack(name), pack(value))

    def envelope(self, kind: Kind, producer: str) -> None:
        self.field("v", PROTOCOL_MAJOR)
        self.field("kind", kind)
        self.field("producer", producer)
        self.seq_at = self.raw(pack("seq"), _UINT64, bytes(8)) - 8

    def done(self) -> bytearray:
        return bytearray().join(self._parts)


def _row(body: _Writer, found: Columns, row: int) -> int:
    """Append a row; where its timestamp ends."""
    server, tool = _NAMES[found.series[row]]
    body.raw(bytes([_FIXMAP | 6]))
    body.field("mcpServer", server)
    body.field("toolName", tool)
    end = body.raw(pack("timestamp"), _UINT64, bytes(8))
    body.field("duration", float(found.duration[row]))
    body.field("success", bool(found.ok[row]))
    resource = {"cpu": found.cpu[row], "memory": found.memory[row], "diskIO": found.disk_io[row]}
    body.field("resource", {name: float(value) for name, value in resource.items()})
    return end
