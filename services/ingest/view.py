"""The JSONL files: the journal's view, appended to by this process alone.

Owns the registry of files with their sizes, the open descriptors and the retry after a failed write. A file's bytes beyond its
registered size are never served and are cut at the next start; what is behind `seq` is complete in the files. The files
themselves are `tree`'s.

While one thread is in `append`, another may call `add`, `register` and `files` and read the figures, nothing else.
"""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from services.ingest.core.lines import FileLines, Formatter, files_of
from services.ingest.tree import MetricTree, adoptable, begin_sync, is_metric_path
from shared.batch import Batch, Series, build, concatenate
from shared.journal.writer import RegisteredFile
from shared.timespan import day_start, iso

#: Descriptors kept open: opening a file costs 5 µs more than appending to an open one.
MAX_OPEN_FILES: Final = 200
#: Writes of this size come only under load, when the disk should begin with them at once.
BEGIN_SYNC_BYTES: Final = 16 * 1024
#: Rows that are sorted by file and written together: the more, the fewer and larger the writes.
BLOCK_ROWS: Final = 131_072


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


class _Block:
    """Entries up to `seq` on their way into the files: what is written of them, and what is still to come."""

    def __init__(self, seq: int, rows: int, size_bytes: int, rest: Iterator[FileLines], gone: Iterable[str]) -> None:
        self.seq = seq
        self.rows = rows
        self.size_bytes = size_bytes
        #: Days whose rows are not to be written any more.
        self.gone = set(gone)
        self._rest = rest
        #: The lines to write next, unless they are `done`.
        self.lines: FileLines
        self.done = True
        self.written = False

    def advance(self) -> bool:
        """Whether there is something to write: what failed before, or the next."""
        if self.done:
            following = next(self._rest, None)
            if following is None:
                return False
            self.lines, self.done = following, False
        return True


class View:
    """Appends committed batches to their files, in sequence order."""

    def __init__(self, metrics: Path) -> None:
        self._tree = MetricTree(metrics)
        self._log = structlog.get_logger()
        self._files: dict[str, _File] = {}
        self._open: OrderedDict[str, int] = OrderedDict()
        self._batches: deque[tuple[int, Batch]] = deque()
        self._block = _Block(0, 0, 0, iter(()), ())
        self._block.written = True
        self._changed: set[str] = set()
        self._forgotten: dict[str, int] = {}
        self._taken_rows = self._taken_bytes = 0
        self._passed_rows = self._passed_bytes = 0
        self.formatter = Formatter()
        self.seq = 0
        self.appended_total = 0
        self.append_failures_total = 0
        #: The last attempt to write failed; what waits stays.
        self.failing = False
        #: A file was found changed by somebody else, so its registered size is wrong: checkpoint soon.
        self.disturbed = False

    # --- the registry ---------------------------------------------------------------------------------------------

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def files(self) -> dict[str, int]:
        """Every file below `metrics/` with its size."""
        return {path: file.size for path, file in list(self._files.items())}

    def series(self) -> dict[Series, str]:
        """Every series that has a file, with its path below a day's folder, without `.jsonl`."""
        return {file.series: path.partition("/")[2].removesuffix(".jsonl") for path, file in self._files.items()}

    @property
    def whole(self) -> bool:
        """Whether the files hold everything up to `seq` and nothing after: no batch is written in part."""
        return self._block.written

    @property
    def pending_rows(self) -> int:
        """Rows that wait to be written, those under way among them."""
        return self._taken_rows - self._passed_rows

    @property
    def pending_bytes(self) -> int:
        """About what they take in memory."""
        return self._taken_bytes - self._passed_bytes

    def begin(self, seq: int, forgotten: dict[str, int]) -> None:
        """Start from a checkpoint: everything up to `seq` is in the files. `forgotten`: day → the last entry whose rows of
        that day are not to come back.
        """
        self.seq = seq
        self._forgotten = dict(forgotten)

    def register(self, path: str, series: Series) -> RegisteredFile:
        """The registration of a file that is new to the view: what already lies there (someone put it there) is kept.

        Raises: OSError.
        """
        stock = self._tree.take_stock(path)
        return RegisteredFile(path, stock.size, stock.lines, stock.first_ms, stock.last_ms, series.server, series.tool)

    def restore(self, file: RegisteredFile) -> RegisteredFile | None:
        """Take a registered file back after a start: cut what is beyond its size; never create it. What its registration
        must be changed to, when the file is shorter than that or gone. One that can't be opened is cut before it is written.
        """
        self._files[file.path] = _file(file)
        try:
            kept = self._tree.cut(file.path, file.size)
        except OSError as error:
            self._log.error("metric_file_not_cut", file=file.path, reason=str(error))
            return None
        if kept == file.size:
            return None
        self._log.error("metric_file_shorter", file=file.path, registered=file.size, found=kept)
        self._restock(file.path)
        return self._registration(file.path)

    def adopt(self) -> list[RegisteredFile]:
        """Register every file there is, as it lies (a torn last line is cut): for a journal that knows none of them.

        Raises: OSError.
        """
        self._files = {}
        for path in self._tree.existing():
            stock = self._tree.take_stock(path)
            series = adoptable(path, stock)
            if series is None:
                self._log.warning("metric_file_passed_over", file=path, reason="no line in it belongs there")
                continue
            self._files[path] = _File(series, stock.size, stock.lines, stock.first_ms, stock.last_ms)
        return self.registrations()

    def registrations(self) -> list[RegisteredFile]:
        """Every file as a checkpoint would register it now."""
        return [self._registration(path) for path in self._files]

    def of_day(self, day: str) -> list[str]:
        """The registered files of a day.

        Raises: BadTime.
        """
        day_start(day)
        return [path for path in self._files if path.startswith(f"{day}/")]

    def forget_day(self, day: str, seq: int) -> None:
        """Take a day's files out of the registry, with what entries up to `seq` still wait to write there."""
        for path in self.of_day(day):
            del self._files[path]
            self._changed.discard(path)
            self._close_file(path)
        self._forgotten[day] = seq
        self._block.gone.add(day)

    def remove_day(self, day: str) -> tuple[int, int]:
        """Remove a forgotten day's folder; files and bytes that went.

        Raises: OSError.
        """
        return self._tree.remove_day(day)

    # --- appending ------------------------------------------------------------------------------------------------

    def add(self, seq: int, batch: Batch, new_files: list[RegisteredFile]) -> None:
        """Take a committed, placed batch whose new files are registered."""
        for file in new_files:
            self._files.setdefault(file.path, _file(file))
        self._wait(seq, batch)

    def replay(self, seq: int, batch: Batch) -> None:
        """Take a batch from the journal, which may be damaged or hostile: whether it can be written shows now.

        Raises: ValueError, or whatever its texts fail with; then nothing was taken.
        """
        for path, series in files_of(batch):
            if not is_metric_path(path):
                raise ValueError(f"no path of ours: {path[:200]!r}")
            "".join(series).encode()
        "".join((*batch.errors.values(), *batch.call_ids.values())).encode()
        self._wait(seq, batch)

    def append(self) -> None:
        """Write everything that waits by now.

        Raises: OSError; what was not written stays and is tried again by the next call, nothing is written twice.
        """
        last = self._batches[-1][0] if self._batches else self.seq
        try:
            self._write_block()
            while self.seq < last:
                self._block = self._next_block()
                self._write_block()
        except OSError:
            self.append_failures_total += 1
            self.failing = True
            raise
        self.failing = False

    def skip(self, seq: int) -> None:
        """Pass an entry that can't be written (it is parked)."""
        self._wait(seq, _NOTHING)

    def snapshot(self) -> Snapshot:
        """What the next checkpoint is to say. Call it only when nothing waits."""
        changed = tuple(self._registration(path) for path in self._changed)
        self._changed = set()
        self.disturbed = False
        return Snapshot(self.seq, changed)

    def put_back(self, snapshot: Snapshot) -> None:
        """The checkpoint of this snapshot was not made."""
        self._changed.update(file.path for file in snapshot.changed if file.path in self._files)

    def sync(self, snapshot: Snapshot) -> None:
        """Make the snapshot's files durable; may run in another thread.

        Raises: OSError.
        """
        self._tree.sync(file.path for file in snapshot.changed)

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

    def _wait(self, seq: int, batch: Batch) -> None:
        self._taken_rows += len(batch)
        self._taken_bytes += batch.size_bytes()
        self._batches.append((seq, batch))

    def _next_block(self) -> _Block:
        """The next batches that wait, as one; none across the entry up to which a day was forgotten."""
        seq, batch = self._batches.popleft()
        batches, rows = [batch], len(batch)
        while self._batches and rows + len(self._batches[0][1]) <= BLOCK_ROWS and seq not in self._forgotten.values():
            seq, batch = self._batches.popleft()
            batches.append(batch)
            rows += len(batch)
        size = sum(batch.size_bytes() for batch in batches)
        gone = [day for day, last in self._forgotten.items() if seq <= last]
        return _Block(seq, rows, size, self.formatter.lines_of(_joined(batches)), gone)

    def _write_block(self) -> None:
        block = self._block
        if block.written:
            return
        while block.advance():
            if block.lines.path[:10] not in block.gone:
                self._write(block.lines)
            block.done = True
        self.seq = block.seq
        self._passed_rows += block.rows
        self._passed_bytes += block.size_bytes
        block.written = True

    def _write(self, lines: FileLines) -> None:
        file = self._files.get(lines.path)
        if file is None:
            # Only a damaged journal has entries whose files it does not know.
            file = self._files[lines.path] = _file(self.register(lines.path, lines.series))
        descriptor = self._descriptor(lines.path, file)
        view, offset = memoryview(lines.data), file.size
        try:
            while view:
                written = os.pwrite(descriptor, view, offset)
                view, offset = view[written:], offset + written
        except OSError:
            os.ftruncate(descriptor, file.size)
            raise
        if len(lines.data) >= BEGIN_SYNC_BYTES:
            begin_sync(descriptor, file.size, len(lines.data))
        file.size = offset
        file.lines += lines.lines
        file.first_ms = lines.first_ms if file.first_ms is None else min(file.first_ms, lines.first_ms)
        file.last_ms = lines.last_ms if file.last_ms is None else max(file.last_ms, lines.last_ms)
        self._changed.add(lines.path)
        self.appended_total += lines.lines

    def _descriptor(self, path: str, file: _File) -> int:
        """An open descriptor of a file that has the size we know of."""
        descriptor = self._open.get(path)
        if descriptor is None:
            descriptor = self._open_file(path)
        else:
            self._open.move_to_end(path)
        found = os.fstat(descriptor)
        if found.st_nlink == 0:
            # Removed under us: what we append to it would vanish without an error.
            self._close_file(path)
            descriptor = self._open_file(path)
            found = os.fstat(descriptor)
        if found.st_size > file.size:
            os.ftruncate(descriptor, file.size)
        elif found.st_size < file.size:
            self._log.error("metric_file_shorter", file=path, registered=file.size, found=found.st_size)
            self._restock(path)
            self.disturbed = True
        return descriptor

    def _restock(self, path: str) -> None:
        file, stock = self._files[path], self._tree.take_stock(path)
        file.size, file.lines, file.first_ms, file.last_ms = stock.size, stock.lines, stock.first_ms, stock.last_ms
        self._changed.add(path)

    def _open_file(self, path: str) -> int:
        descriptor = self._open[path] = self._tree.open(path)
        while len(self._open) > MAX_OPEN_FILES:
            self._close_file(next(iter(self._open)))
        return descriptor

    def _close_file(self, path: str) -> None:
        descriptor = self._open.pop(path, None)
        if descriptor is not None:
            os.close(descriptor)

    def _registration(self, path: str) -> RegisteredFile:
        file = self._files[path]
        return RegisteredFile(
            path, file.size, file.lines, file.first_ms, file.last_ms, file.series.server, file.series.tool
        )


def new_registrations(view: View, batch: Batch) -> list[RegisteredFile]:
    """The registrations that a placed batch needs before it is committed.

    Raises: OSError.
    """
    return [view.register(path, series) for path, series in files_of(batch) if path not in view]


def _joined(batches: list[Batch]) -> Batch:
    # An entry that is passed has no rows and no paths.
    return concatenate([batch for batch in batches if len(batch)] or batches[:1])


def _file(file: RegisteredFile) -> _File:
    return _File(Series(file.server, file.tool), file.size, file.lines, file.first_ms, file.last_ms)


_NOTHING: Final = build([])
