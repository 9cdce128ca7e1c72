"""What a damage to the journal or to the files left on the other side, brought over: each makes up for the other.

Owns two repairs of a start. Files that are shorter than the journal knows get their end from its entries. A journal that is given
up (it lost its end, or can't be read) leaves what can still be read of it to the files, which are taken as they lie; rows
that a file has are not written again. Knows nothing of an ordinary start (`recovery`).
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import structlog

from perfmon.wire import WireError
from services.ingest.core.lines import Formatter
from services.ingest.tree import MetricTree, is_metric_path
from shared.batch import Batch, BatchError, decode
from shared.journal import JournalReader, LostPlace, list_segments
from shared.journal.writer import JournalWriter, RegisteredFile
from shared.store.appends import repaired_size

#: What decoding or formatting an entry of a damaged journal may fail with.
BAD_ENTRY: Final = (BatchError, WireError, ValueError, TypeError, ArithmeticError, LookupError)

#: A file's lines by how often they stand in it.
Lines = Counter[bytes]


def refill(journal: JournalWriter, tree: MetricTree, short: Iterable[tuple[RegisteredFile, int]]) -> set[str]:
    """Complete files that are shorter than at the checkpoint, given with the size they were cut to: the paths of those that
    are whole again. The journal may have dropped what is needed; then a file stays as it is.

    Raises: OSError; nothing is written in part.
    """
    lacking = {file.path: file.size - size for file, size in short if size < file.size}
    if not lacking:
        return set()
    ends = _ends(journal, lacking)
    whole = set()
    for file, size in short:
        need, found = lacking.get(file.path, 0), ends.get(file.path, b"")
        # What an entry has for a file begins with a whole line, so all that was found does; else the byte before shows it.
        fits = len(found) == need or found[-need - 1 : -need] == b"\n"
        if need and fits and _append(tree, file.path, size, found[-need:]):
            whole.add(file.path)
            structlog.get_logger().error("metric_file_refilled", file=file.path, size_bytes=need)
    return whole


def bring_over(journal: JournalWriter, tree: MetricTree) -> int:
    """Append to the files what can still be read of a journal that is given up and they lack; how many lines that was.

    Raises: OSError.
    """
    try:
        # SQLite keeps any type in any column.
        registered = {file.path: file.size for file in journal.files() if type(file.size) is int and file.size >= 0}
        forgotten = journal.forgotten_days()
    except (sqlite3.Error, ValueError, TypeError):
        return 0  # without the checkpoint nobody knows what the files have already
    known: dict[str, Lines] = {}
    total = 0
    for seq, batch in _readable(journal, journal.checkpoint_seq):
        for path, data in _formatted(batch):
            if seq > forgotten.get(path[:10], -1):
                if path not in known:
                    known[path] = _lines_behind(tree, path, registered.get(path, 0))
                total += _append_unknown(tree, path, data, known[path])
    return total


def _ends(journal: JournalWriter, lacking: dict[str, int]) -> dict[str, bytes]:
    """The last bytes of each file as the journal tells them up to the checkpoint: one more than is lacking, if it can."""
    found: dict[str, bytes] = {}
    segments = list_segments(journal.directory)
    for seq, batch in _readable(journal, segments[0].first_seq - 1 if segments else journal.head):
        if seq > journal.checkpoint_seq:
            break
        for path, data in _formatted(batch):
            if path in lacking:
                found[path] = (found.get(path, b"") + data)[-lacking[path] - 1 :]
    return found


def _readable(journal: JournalWriter, after: int) -> Iterator[tuple[int, Batch]]:
    """The entries after a sequence, in order, up to the first that can't be read; one that is no batch is passed over."""
    reader = JournalReader(journal.directory)
    try:
        while page := reader.page(after):
            for entry in page:
                try:
                    yield entry.seq, decode(entry.body)
                except BAD_ENTRY:
                    continue
            after = page[-1].seq
    except (sqlite3.Error, LostPlace) as error:
        structlog.get_logger().error("journal_ends_unread", after=after, reason=str(error))
    finally:
        reader.close()


def _formatted(batch: Batch) -> list[tuple[str, bytes]]:
    try:
        return [(lines.path, bytes(lines.data)) for lines in Formatter().lines_of(batch) if is_metric_path(lines.path)]
    except BAD_ENTRY:
        return []


def _append(tree: MetricTree, path: str, size: int, data: bytes) -> bool:
    descriptor = tree.open_existing(path)
    if descriptor is None:
        return False
    try:
        if repaired_size(descriptor) != size:
            return False
        _write(descriptor, size, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


def _append_unknown(tree: MetricTree, path: str, data: bytes, known: Lines) -> int:
    """Append those lines that are not `known`, which are used up; how many there were."""
    new = []
    for line in data.splitlines(keepends=True):
        if known[line]:
            known[line] -= 1
        else:
            new.append(line)
    if new:
        descriptor = tree.open(path)
        try:
            _write(descriptor, repaired_size(descriptor), b"".join(new))
        finally:
            os.close(descriptor)
    return len(new)


def _lines_behind(tree: MetricTree, path: str, size: int) -> Lines:
    descriptor = tree.open_existing(path)
    if descriptor is None:
        return Lines()
    with os.fdopen(descriptor, "rb") as file:
        repaired_size(descriptor)
        file.seek(size)
        return Lines(file)


def _write(descriptor: int, size: int, data: bytes) -> None:
    view, offset = memoryview(data), size
    try:
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written
    except OSError:
        os.ftruncate(descriptor, size)
        raise
