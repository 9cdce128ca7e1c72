"""Read metrics back from the JSONL files as columns.

Lines that are not the seed's (torn, `null`, edited by hand into something else) are passed over and counted, never served and
never fatal. Reads no further than the size a file had when it was opened, so a line under way is not half seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from perfmon.paths import DataDirectory
from shared.batch import Batch
from shared.columns import Columns
from shared.names import path_stem, twin_stem
from shared.timespan import DAY_MS, BadTime, day_of, parse_iso

#: Bytes read from a file at once.
CHUNK_BYTES: Final = 4 * 1024 * 1024

_END_OF_TIME_MS: Final = 1 << 62
_NAN: Final = float("nan")


class _Resource(msgspec.Struct):
    cpu: float | None = None
    memory: float | None = None
    diskIO: float | None = None  # noqa: N815 - the seed's name


class _Line(msgspec.Struct):
    timestamp: str
    mcpServer: str  # noqa: N815 - the seed's name
    toolName: str  # noqa: N815 - the seed's name
    duration: float
    success: bool
    error: str | None = None
    resource: _Resource | None = None
    callId: str | None = None  # noqa: N815 - the seed's name


_decoder = msgspec.json.Decoder(_Line)


class TooManyRows(RuntimeError):
    """More rows than asked for; a coarser source is the right one."""


@dataclass(slots=True)
class RawRows:
    """What was read: `batch` in file order, and how many lines could not be."""

    batch: Batch
    unparsable_lines: int


def read_raw(
    data: DataDirectory,
    start_ms: int,
    end_ms: int,
    server: str | None = None,
    tool: str | None = None,
    *,
    max_rows: int | None = None,
    sizes: Mapping[str, int] | None = None,
) -> RawRows:
    """The rows with start_ms <= ts < end_ms, of one server or tool if named. `sizes` (path below `metrics/` → bytes) limits
    what is read of each file, and files it does not name are left out.

    Raises: TooManyRows.
    """
    columns = _Columns()
    for path in metric_files(data.metrics, start_ms, end_ms, server, tool):
        relative = str(path.relative_to(data.metrics))
        if sizes is not None and relative not in sizes:
            continue
        for line in _lines(path, None if sizes is None else sizes[relative]):
            columns.take(line, start_ms, end_ms, server, tool)
            if max_rows is not None and len(columns.codes) > max_rows:
                raise TooManyRows(f"more than {max_rows} rows")
    return RawRows(columns.batch(), columns.unparsable)


def read_batches(data: DataDirectory, sizes: Mapping[str, int], *, rows: int = 50_000) -> Iterator[RawRows]:
    """All rows of some files (path below `metrics/` → bytes that are read of it), oldest day first, at most `rows` at once."""
    columns = _Columns()
    for relative in sorted(sizes):
        path = data.metrics / relative
        if path.parent.is_symlink() or path.parent.parent.is_symlink():
            continue
        for line in _lines(path, sizes[relative]):
            columns.take(line, 0, _END_OF_TIME_MS, None, None)
            if len(columns.codes) >= rows:
                yield RawRows(columns.batch(), columns.unparsable)
                columns = _Columns()
    yield RawRows(columns.batch(), columns.unparsable)


def metric_files(
    metrics: Path, start_ms: int, end_ms: int, server: str | None = None, tool: str | None = None
) -> Iterator[Path]:
    """The JSONL files that may hold rows of a range, oldest day first. Never follows a link."""
    for day_ms in range(start_ms - start_ms % DAY_MS, max(end_ms, start_ms + 1), DAY_MS):
        folder = metrics / day_of(day_ms)
        for server_folder in _entries(folder, None if server is None else _stems(server)):
            if not server_folder.is_dir() or server_folder.is_symlink():
                continue
            wanted = None if tool is None else {f"{stem}.jsonl" for stem in _stems(tool)}
            for path in _entries(server_folder, wanted):
                if path.suffix == ".jsonl" and path.is_file() and not path.is_symlink():
                    yield path


class _Columns(Columns):
    """Columns under construction, and how many lines could not be read."""

    def __init__(self) -> None:
        super().__init__()
        self.unparsable = 0

    def take(self, raw: bytes, start_ms: int, end_ms: int, server: str | None, tool: str | None) -> None:
        try:
            line = _decoder.decode(raw)
            ts = parse_iso(line.timestamp)
        except (msgspec.MsgspecError, UnicodeDecodeError, BadTime, RecursionError):
            self.unparsable += 1
            return
        if not start_ms <= ts < end_ms:
            return
        if (server is not None and line.mcpServer != server) or (tool is not None and line.toolName != tool):
            return
        at = len(self.codes)
        self.codes.append(self.union.setdefault((line.mcpServer, line.toolName), len(self.union)))
        self.ts.append(ts)
        self.duration.append(line.duration)
        self.ok.append(line.success)
        resource = line.resource
        self.cpu.append(_NAN if resource is None or resource.cpu is None else resource.cpu)
        self.memory.append(_NAN if resource is None or resource.memory is None else resource.memory)
        self.disk_io.append(_NAN if resource is None or resource.diskIO is None else resource.diskIO)
        if line.error is not None:
            self.errors[at] = line.error
        if line.callId is not None:
            self.call_ids[at] = line.callId


def _lines(path: Path, size: int | None) -> Iterator[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        left = os.fstat(descriptor).st_size if size is None else size
        rest = b""
        while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
        # What stands after the last newline is torn: it is not served.


def _stems(name: str) -> set[str]:
    try:
        return {path_stem(name), twin_stem(name)}
    except ValueError:
        return set()


def _entries(folder: Path, wanted: set[str] | None) -> list[Path]:
    if not folder.is_dir() or folder.is_symlink():
        return []
    if wanted is not None:
        return [folder / name for name in sorted(wanted) if (folder / name).exists()]
    return sorted(folder.iterdir())
