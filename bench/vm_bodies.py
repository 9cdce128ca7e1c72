"""Full metrics as VictoriaMetrics takes them: bodies that are encoded once and sent many times with timestamps of their own.

Every metric becomes five samples (duration, success, cpu, memory, disk I/O) labelled with server and tool. Formats, fastest
first as measured with 1.79: `remote-write` (Prometheus' protobuf, samples grouped by series in each body; its snappy frame is one
literal, which is the least work to unpack), `json` (its own JSON lines, grouped likewise), `influx` (a line a metric) and
`prometheus` (a text line a sample, as scraped). Its `native` format is passed over: no producer writes it, it is made for moving
data from one VictoriaMetrics to another. Knows nothing of sockets.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.bytes_in_place import at_every_byte
from bench.load import SPREAD_MS, Columns, series_names

#: What a metric is in VictoriaMetrics: one series of each for every tool.
SAMPLES: Final = ("duration", "success", "cpu", "memory", "disk_io")
_NAMES: Final = series_names()
#: A sample as protobuf: field 2 of a time series, 16 bytes: value (double), timestamp (varint of six bytes until the year 2109).
_SAMPLE: Final = np.dtype(
    [("head", "u1", 3), ("value", "<f8"), ("tag", "u1"), ("timestamp", "u1", 6)],
)
#: snappy: a literal whose length follows in four bytes.
_LITERAL: Final = 63 << 2


class Body(Protocol):
    """A request of `rows` metrics; `at` gives its bytes, valid until the next call, always as many."""

    rows: int

    def at(self, now_ms: int) -> bytearray:
        """The body with timestamps of the last two seconds."""


class TextBody:
    """A text format. Timestamps have 13 digits, of which the first ten, the second, are overwritten."""

    def __init__(self, found: Columns, text: Callable[[Columns, list[str]], str]) -> None:
        self.rows = len(found)
        # The placeholder is no number that the values could hold.
        stamps = [f"\x00{SPREAD_MS - 1 - age:012d}" for age in found.age_ms.tolist()]
        self._bytes = bytearray(text(found, stamps).encode())
        places = np.flatnonzero(np.frombuffer(self._bytes, np.uint8) == 0)
        self._first, self._places = at_every_byte(self._bytes, "S8"), places
        self._last = at_every_byte(self._bytes, "S2")

    def at(self, now_ms: int) -> bytearray:
        """The body, its bytes valid until the next call."""
        second = b"%010d" % (now_ms // 1000 - 1)
        self._first[self._places] = second[:8]
        self._last[self._places + 8] = second[8:]
        return self._bytes


class RemoteWriteBody:
    """Prometheus' remote write, version 1, as one snappy literal."""

    def __init__(self, found: Columns) -> None:
        self.rows = len(found)
        parts, places, rows, size = [], [], [], 0
        for code, members in _by_series(found):
            for name in SAMPLES:
                samples = _samples(_values(found, name)[members])
                labels = b"".join(_label(*label) for label in (("__name__", f"call_{name}"), *_labels(code)))
                head = b"\x0a" + varint(len(labels) + len(samples)) + labels
                at = size + len(head) + _SAMPLE.itemsize - 6 + _SAMPLE.itemsize * np.arange(len(members))
                parts += [head, samples]
                size += len(head) + len(samples)
                places.append(at)
                rows.append(members)
        frame = varint(size) + bytes([_LITERAL]) + struct.pack("<I", size - 1)
        self._bytes = bytearray().join([frame, *parts])
        self._places = np.concatenate(places) + len(frame)
        self._age_ms, self._rows = found.age_ms, np.concatenate(rows)
        self._low, self._high = at_every_byte(self._bytes, "<u4"), at_every_byte(self._bytes, "<u2")

    def at(self, now_ms: int) -> bytearray:
        """The body, its bytes valid until the next call."""
        ts = now_ms - self._age_ms
        t = (ts & 0xFFFFFFF).astype(np.uint32)
        low = t & 0x7F | (t & 0x3F80) << 1 | (t & 0x1FC000) << 2 | (t & 0xFE00000) << 3 | 0x80808080
        h = (ts >> 28).astype(np.uint16)
        self._low[self._places] = low[self._rows]
        self._high[self._places + 4] = (h & 0x7F | (h & 0x3F80) << 1 | 0x80)[self._rows]
        return self._bytes


def json_lines(found: Columns, stamps: list[str]) -> str:
    """VictoriaMetrics' own JSON lines: a line a series with all its values and timestamps."""
    lines = []
    for code, members in _by_series(found):
        labels = "".join(f',"{name}":"{value}"' for name, value in _labels(code))
        times = ",".join(stamps[row] for row in members)
        for name in SAMPLES:
            values = ",".join(map(_number, _values(found, name)[members]))
            lines.append(
                f'{{"metric":{{"__name__":"call_{name}"{labels}}},"values":[{values}],"timestamps":[{times}]}}\n'
            )
    return "".join(lines)


def influx_lines(found: Columns, stamps: list[str]) -> str:
    """InfluxDB's line protocol with times in ms: a line a metric."""
    columns = {name: list(map(_number, _values(found, name))) for name in SAMPLES}
    lines = []
    for row, stamp in enumerate(stamps):
        tags = "".join(f",{name}={value}" for name, value in _labels(int(found.series[row])))
        fields = ",".join(f"{name}={column[row]}" for name, column in columns.items())
        lines.append(f"call{tags} {fields} {stamp}\n")
    return "".join(lines)


def prometheus_lines(found: Columns, stamps: list[str]) -> str:
    """Prometheus' text: a line a sample."""
    columns = {name: list(map(_number, _values(found, name))) for name in SAMPLES}
    lines = []
    for row, stamp in enumerate(stamps):
        labels = ",".join(f'{name}="{value}"' for name, value in _labels(int(found.series[row])))
        lines += [f"call_{name}{{{labels}}} {column[row]} {stamp}\n" for name, column in columns.items()]
    return "".join(lines)


class Format:
    """How bodies are sent: the request's path and headers, and how one is made."""

    def __init__(self, path: str, make: Callable[[Columns], Body], headers: str = "") -> None:
        self.path, self.make, self.headers = path, make, headers


FORMATS: Final = {
    "remote-write": Format("/api/v1/write", RemoteWriteBody, "Content-Encoding: snappy\r\n"),
    "json": Format("/api/v1/import", lambda found: TextBody(found, json_lines)),
    "influx": Format("/write?precision=ms", lambda found: TextBody(found, influx_lines)),
    "prometheus": Format("/api/v1/import/prometheus", lambda found: TextBody(found, prometheus_lines)),
}


def varint(value: int) -> bytes:
    """Protobuf's base-128 number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _by_series(found: Columns) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each series that occurs with its rows, in order."""
    order = np.argsort(found.series, kind="stable")
    codes, starts = np.unique(found.series[order], return_index=True)
    yield from zip(codes.tolist(), np.split(order, starts[1:]), strict=True)


def _labels(code: int) -> tuple[tuple[str, str], tuple[str, str]]:
    server, tool = _NAMES[code]
    return ("server", server), ("tool", tool)


def _label(name: str, value: str) -> bytes:
    body = b"\x0a" + varint(len(name)) + name.encode() + b"\x12" + varint(len(value)) + value.encode()
    return b"\x0a" + varint(len(body)) + body


def _samples(values: NDArray[np.float64]) -> bytes:
    samples = np.zeros(len(values), _SAMPLE)
    samples["head"] = (0x12, _SAMPLE.itemsize - 2, 0x09)
    samples["value"] = values
    samples["tag"] = 0x10
    return samples.tobytes()


def _values(found: Columns, name: str) -> NDArray[np.float64]:
    column = found.ok if name == "success" else getattr(found, name)
    values: NDArray[np.float64] = column.astype(np.float64)
    return values


def _number(value: float) -> str:
    text = repr(float(value))
    return text.removesuffix(".0")
