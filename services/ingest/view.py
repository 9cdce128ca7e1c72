"""The JSONL files: the journal's view, appended to by this process alone.

Owns the registry of files with their sizes, the open descriptors and the retry after a failed write. A file's bytes beyond its
registered size are never served and are cut at the next start; what is behind `view_seq` is complete in the files.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import structlog

from perfmon.paths import private_directory
from services.ingest.core.lines import FileLines, files_of, lines_of
from shared.batch import Batch, Series
from shared.journal.writer import RegisteredFile
from shared.store.appends import repaired_size
from shared.timespan import BadTime, day_start, iso, parse_iso

#: Descriptors kept open: opening a file costs 5 µs more than appending to an open one.
MAX_OPEN_FILES: Final = 128
#: Files at which one sync of the whole file system is cheaper than one a file.
SYNC_EACH_BELOW: Final = 32


@dataclass(slots=True)
class _File:
    series: Series
    size: int
    lines: int
    first_ms: int | None
    last_ms: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The view at one moment: everything up to `seq` is in the files; `changed` since the last checkpoint."""

    seq: int
    changed: tuple[RegisteredFile, ...]


class View:
    """Appends committed batches to their files, in sequence order."""

    def __init__(self, metrics: Path, seq: int) -> None:
        self._root = metrics
        self._log = structlog.get_logger()
        self._files: dict[str, _File] = {}
        self._open: OrderedDict[str, int] = OrderedDict()
        self._folders: set[str] = set()
        self._batches: deque[tuple[int, Batch]] = deque()
        self._writes: deque[FileLines] = deque()
        self._writing_seq = seq
        self._changed: set[str] = set()
        self.seq = seq
        self.pending_rows = 0
        self.pending_bytes = 0
        self.appended_total = 0
        self.append_failures_total = 0

    # --- the registry ---------------------------------------------------------------------------------------------

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def files(self) -> dict[str, int]:
        """Every file below `metrics/` with its size."""
        return {path: file.size for path, file in self._files.items()}

    def series(self) -> dict[Series, str]:
        """Every series that has a file, with its path below a day's folder, without `.jsonl`."""
        return {file.series: path.partition("/")[2].removesuffix(".jsonl") for path, file in self._files.items()}

    def register(self, path: str, series: Series) -> RegisteredFile:
        """The registration of a file that is new: what already lies there (someone put it there) is kept."""
        if self._existing_size(path):
            try:
                self._files[path] = self._take_stock(path)
                return self._registration(path)
            except (OSError, ValueError) as error:
                self._log.warning("metric_file_without_readable_line", file=path, reason=str(error))
        return RegisteredFile(path, self._existing_size(path), 0, None, None, series.server, series.tool)

    def restore(self, file: RegisteredFile) -> None:
        """Take a registered file back after a start: cut what is beyond its size; never create it."""
        kept = self._cut(file.path, file.size)
        if kept != file.size:
            self._log.error("metric_file_shorter", file=file.path, registered=file.size, found=kept)
        series = Series(file.server, file.tool)
        self._files[file.path] = _File(series, kept, file.lines, file.first_ms, file.last_ms)

    def adopt(self) -> list[RegisteredFile]:
        """Register every file there is, as it lies (a torn last line is cut): for a journal that knows none of them."""
        for path in sorted(self._root.glob("????-??-??/*/*.jsonl")):
            if path.is_symlink() or not path.is_file():
                continue
            relative = str(path.relative_to(self._root))
            try:
                self._files[relative] = self._take_stock(relative)
                self._changed.add(relative)
            except (OSError, ValueError) as error:
                self._log.warning("metric_file_passed_over", file=relative, reason=str(error))
        return self.registrations()

    def registrations(self) -> list[RegisteredFile]:
        """Every file as a checkpoint would register it now."""
        return [self._registration(path) for path in self._files]

    def forget_day(self, day: str) -> list[str]:
        """Take a day's files out of the registry; their paths. Whatever still waits for them is dropped with them.

        Raises: BadTime.
        """
        day_start(day)
        paths = [path for path in self._files if path.startswith(f"{day}/")]
        for path in paths:
            del self._files[path]
            self._changed.discard(path)
            self._close_file(path)
        self._writes = deque(write for write in self._writes if not write.path.startswith(f"{day}/"))
        return paths

    def unlink_day(self, day: str) -> tuple[int, int]:
        """Remove a day's folder that was forgotten; files and bytes that went. Links are removed, not followed."""
        folder = self._root / day
        files, size = 0, 0
        self._folders = {known for known in self._folders if not known.startswith(day)}
        for server in _folders(folder):
            for path in server.iterdir():
                size += path.lstat().st_size
                path.unlink()
                files += 1
            server.rmdir()
        if folder.is_dir() and not folder.is_symlink():
            folder.rmdir()
        return files, size

    # --- appending ------------------------------------------------------------------------------------------------

    def add(self, seq: int, batch: Batch, new_files: list[RegisteredFile]) -> None:
        """Take a committed, placed batch whose new files are registered."""
        for file in new_files:
            if file.path not in self._files:
                self._files[file.path] = _File(Series(file.server, file.tool), file.size, 0, None, None)
        self._batches.append((seq, batch))
        self.pending_rows += len(batch)
        self.pending_bytes += 256 * len(batch)

    def append(self) -> None:
        """Write everything that waits.

        Raises: OSError; what was not written stays and is tried again by the next call, nothing is written twice.
        """
        while self._batches or self._writes:
            while self._writes:
                self._write(self._writes[0])
                self._writes.popleft()
            self.seq = self._writing_seq
            if self._batches:
                self._writing_seq, batch = self._batches.popleft()
                self._writes.extend(lines_of(batch))
                self.pending_rows -= len(batch)
                self.pending_bytes -= 256 * len(batch)
        self.seq = self._writing_seq

    def skip(self, seq: int) -> None:
        """Pass an entry that can't be written (it is parked)."""
        self._writing_seq = self.seq = seq

    def snapshot(self) -> Snapshot:
        """What the next checkpoint is to say. Call it only when nothing waits."""
        changed = tuple(self._registration(path) for path in self._changed)
        self._changed = set()
        return Snapshot(self.seq, changed)

    def put_back(self, snapshot: Snapshot) -> None:
        """The checkpoint of this snapshot was not made."""
        self._changed.update(file.path for file in snapshot.changed if file.path in self._files)

    def sync(self, snapshot: Snapshot) -> None:
        """Make the snapshot's files durable; may run in another thread.

        Raises: OSError.
        """
        if len(snapshot.changed) >= SYNC_EACH_BELOW and _sync_file_system(self._root):
            return
        folders = set()
        for file in snapshot.changed:
            path = self._root / file.path
            _fsync(path, os.O_RDONLY)
            folders |= {path.parent, path.parent.parent}
        for folder in {*folders, self._root}:
            _fsync(folder, os.O_RDONLY | os.O_DIRECTORY)

    def index(self, updated_ms: int) -> dict[str, Any]:
        """The seed's metrics index: day → server → tools, files, count, first and last timestamp."""
        days: dict[str, dict[str, Any]] = {}
        for path, file in sorted(self._files.items()):
            day = path.partition("/")[0]
            entry = days.setdefault(day, {}).setdefault(
                file.series.server,
                {"tools": [], "files": [], "count": 0, "firstTimestamp": None, "lastTimestamp": None},
            )
            entry["tools"].append(file.series.tool)
            entry["files"].append(f"metrics/{path}")
            entry["count"] += file.lines
            if file.first_ms is not None and file.last_ms is not None:
                first, last = iso(file.first_ms), iso(file.last_ms)
                entry["firstTimestamp"] = min(entry["firstTimestamp"] or first, first)
                entry["lastTimestamp"] = max(entry["lastTimestamp"] or last, last)
        return {"version": "1.0.0", "lastUpdated": iso(updated_ms), "index": days}

    def close(self) -> None:
        """Close every descriptor; idempotent."""
        for path in list(self._open):
            self._close_file(path)

    # --- one file -------------------------------------------------------------------------------------------------

    def _write(self, lines: FileLines) -> None:
        file = self._files.get(lines.path)
        if file is None:
            # A replayed entry of before the file was registered, or a day that was forgotten and came back.
            file = self._files[lines.path] = _File(lines.series, self._existing_size(lines.path), 0, None, None)
        descriptor = self._descriptor(lines.path)
        view, offset = memoryview(lines.data), file.size
        try:
            while view:
                written = os.pwrite(descriptor, view, offset)
                view, offset = view[written:], offset + written
        except OSError:
            self.append_failures_total += 1
            os.ftruncate(descriptor, file.size)
            raise
        file.size = offset
        file.lines += lines.lines
        file.first_ms = lines.first_ms if file.first_ms is None else min(file.first_ms, lines.first_ms)
        file.last_ms = lines.last_ms if file.last_ms is None else max(file.last_ms, lines.last_ms)
        self._changed.add(lines.path)
        self.appended_total += lines.lines

    def _descriptor(self, path: str) -> int:
        descriptor = self._open.get(path)
        if descriptor is not None:
            self._open.move_to_end(path)
            return descriptor
        day, server, _ = path.split("/")
        folder = f"{day}/{server}"
        if folder not in self._folders:
            private_directory(self._root / day)
            private_directory(self._root / folder)
            self._folders.add(folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._root / path, flags, 0o600)
        self._open[path] = descriptor
        while len(self._open) > MAX_OPEN_FILES:
            self._close_file(next(iter(self._open)))
        return descriptor

    def _close_file(self, path: str) -> None:
        descriptor = self._open.pop(path, None)
        if descriptor is not None:
            os.close(descriptor)

    def _existing_size(self, path: str) -> int:
        try:
            descriptor = os.open(self._root / path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            return repaired_size(descriptor)
        finally:
            os.close(descriptor)

    def _cut(self, path: str, size: int) -> int:
        try:
            descriptor = os.open(self._root / path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            if os.fstat(descriptor).st_size < size:
                return repaired_size(descriptor)
            os.ftruncate(descriptor, size)
            return size
        finally:
            os.close(descriptor)

    def _registration(self, path: str) -> RegisteredFile:
        file = self._files[path]
        return RegisteredFile(
            path, file.size, file.lines, file.first_ms, file.last_ms, file.series.server, file.series.tool
        )

    def _take_stock(self, path: str) -> _File:
        """Count the lines of a file, with its first and last timestamp and the true names in its first readable line."""
        size = self._existing_size(path)
        found: _File | None = None
        lines = 0
        with (self._root / path).open("rb") as file:
            for line in file:
                lines += 1
                found = _widened(found, line)
        if found is None:
            raise ValueError("no readable line")
        return replace(found, size=size, lines=lines)


def _widened(found: _File | None, line: bytes) -> _File | None:
    try:
        record = json.loads(line)
        ts = parse_iso(record["timestamp"])
        if found is None:
            series = Series(str(record["mcpServer"]), str(record["toolName"]))
            return _File(series, 0, 0, ts, ts)
    except (ValueError, KeyError, TypeError, BadTime):
        return found
    found.first_ms = min(ts, found.first_ms if found.first_ms is not None else ts)
    found.last_ms = max(ts, found.last_ms if found.last_ms is not None else ts)
    return found


def new_registrations(view: View, batch: Batch) -> list[RegisteredFile]:
    """The registrations that a placed batch needs before it is committed."""
    return [view.register(path, series) for path, series in files_of(batch) if path not in view]


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir() or folder.is_symlink():
        return []
    found = []
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            found.append(path)
        else:
            path.unlink()
    return found


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file_system(path: Path) -> bool:
    """syncfs(2); False where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return True
    finally:
        os.close(descriptor)
