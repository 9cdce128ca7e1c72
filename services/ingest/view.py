"""The JSONL files: the journal's view, appended to by this process alone.

Owns what waits to be written, and the retry after a failed write; what is behind `seq` is complete in the files. Which files
there are and how much of each is ours `registry` knows, descriptors are `open_files`', folders and files themselves `tree`'s.

While one thread is in `append`, another may call `add` and read the figures, nothing else.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from services.ingest.core.lines import FileLines, Formatter, files_of
from services.ingest.open_files import OpenFiles
from services.ingest.registry import FileRegistry, Snapshot
from services.ingest.tree import MetricTree, begin_sync, is_metric_path
from shared.batch import Batch, build, concatenate
from shared.journal.writer import RegisteredFile

#: Writes of this size come only under load, when the disk should begin with them at once.
BEGIN_SYNC_BYTES: Final = 16 * 1024
#: Rows that are sorted by file and written together: the more, the fewer and larger the writes.
BLOCK_ROWS: Final = 131_072
#: An entry that is passed.
_NOTHING: Final = build([])


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
        self.registry = FileRegistry(self._tree)
        self._open = OpenFiles(self._tree)
        self._batches: deque[tuple[int, Batch]] = deque()
        self._block = _Block(0, 0, 0, iter(()), ())
        self._block.written = True
        self._forgotten: dict[str, int] = {}
        self._taken_rows = self._taken_bytes = 0
        self._passed_rows = self._passed_bytes = 0
        self.formatter = Formatter()
        self.seq = 0
        self.appended_total = 0
        self.append_failures_total = 0
        #: The last attempt to write failed; what waits stays.
        self.failing = False

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

    def forget_day(self, day: str, seq: int) -> None:
        """Take a day's files out of the registry, with what entries up to `seq` still wait to write there."""
        for path in self.registry.of_day(day):
            self.registry.forget(path)
            self._open.close(path)
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
        self.registry.enter(new_files)
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
        return self.registry.snapshot(self.seq)

    def sync(self, snapshot: Snapshot) -> None:
        """Make the snapshot's files durable; may run in another thread.

        Raises: OSError.
        """
        self._tree.sync(file.path for file in snapshot.changed)

    def close(self) -> None:
        """Close every descriptor; idempotent."""
        self._open.close_all()

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
        file = self.registry.of(lines)
        descriptor, found = self._open.descriptor(lines.path)
        if found > file.size:
            os.ftruncate(descriptor, file.size)
        elif found < file.size:
            self.registry.found_shorter(lines.path, found)
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
        self.registry.written(lines, offset)
        self.appended_total += lines.lines


def _joined(batches: list[Batch]) -> Batch:
    # An entry that is passed has no rows and no paths.
    return concatenate([batch for batch in batches if len(batch)] or batches[:1])
