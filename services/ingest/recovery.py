"""The start of ingest: from what is on disk to a view that holds everything that was acknowledged.

Registered files are cut to the size of the last checkpoint and the journal is replayed from there, so kill -9 at any instant
leaves nothing lost, nothing doubled and no torn line. A new journal adopts the files as they lie.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final, NamedTuple

import structlog

from perfmon.paths import DataDirectory
from services.ingest.call_id_files import CallIdFiles
from services.ingest.core.ingest import IngestCore
from services.ingest.core.validation import series_fault
from services.ingest.salvage import BAD_ENTRY, bring_over, refill
from services.ingest.tree import MetricTree, is_metric_path
from services.ingest.view import View
from shared.batch import Series, decode
from shared.database import is_damage
from shared.journal import JournalReader, LostPlace
from shared.journal.reader import RawEntry
from shared.journal.writer import JournalWriter, ProducerPlace, RegisteredFile
from shared.parking import ParkingLot
from shared.timespan import HOUR_MS

#: Rows in memory that wait for their files before ingest refuses to go on.
MAX_PENDING_BYTES: Final = 256 * 1024 * 1024


class Recovered(NamedTuple):
    """How many entries were replayed, and the call ids in them that their files lack, by hour: to be written before the next
    checkpoint, after which the journal no longer tells them.
    """

    entries: int
    call_ids: dict[int, set[bytes]]


def recover(
    journal: JournalWriter, view: View, core: IngestCore, call_ids: CallIdFiles, parking: ParkingLot
) -> Recovered:
    """Bring the view up to the journal's head. What the disk refuses (it is full) goes on waiting in the view.

    Raises: OSError, sqlite3.Error when the files can't even be looked at, or too much waits: ingest can't start.
    """
    tree = MetricTree(DataDirectory(journal.directory.parent).metrics)
    _give_up_what_is_damaged(journal, tree)
    view.begin(journal.checkpoint_seq, journal.forgotten_days())
    if journal.fresh:
        adopted = view.registry.adopt()
        journal.adopt(adopted)
        structlog.get_logger().info("journal_started", epoch=journal.epoch, files_adopted=len(adopted))
    else:
        _restore(journal, view, tree)
    for place in filter(_is_place, journal.producers()):
        core.producers.restore(place.producer, place.seq, place.seen, place.at_ms)
    for hour, digests in call_ids.load().items():
        core.call_ids.add(hour, digests)
    recovered = _replay(journal, view, core, parking)
    for series, path in view.registry.series().items():
        core.placement.restore(series, path)
    return recovered


def _give_up_what_is_damaged(journal: JournalWriter, tree: MetricTree) -> None:
    """Leave a journal that lost its end or can't be read for a new one: consumers, which may have what it lost, begin anew
    with what the files have.
    """
    # Before anything is cut: files beyond the checkpoint are all that is left of entries that can't be read.
    reason = journal.distrusted or _unreadable(journal)
    if reason is None:
        return
    places = _places(journal)
    lines = bring_over(journal, tree)
    structlog.get_logger().error("journal_given_up", epoch=journal.epoch, reason=reason, lines_brought_over=lines)
    journal.start_over(reason, places)


def _unreadable(journal: JournalWriter) -> str | None:
    try:
        journal.producers()
        journal.files()
        journal.forgotten_days()
        for _ in _pages(journal):
            pass
    except (LostPlace, ValueError, TypeError, sqlite3.DatabaseError) as error:
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            raise
        return str(error)
    return None


def _places(journal: JournalWriter) -> list[ProducerPlace]:
    try:
        return [place for place in journal.producers() if _is_place(place)]
    except (sqlite3.Error, ValueError, TypeError):
        return []


def _restore(journal: JournalWriter, view: View, tree: MetricTree) -> None:
    short, foreign = [], []
    for file in journal.files():
        if not _is_registration(file):
            foreign.append(file.path)
        elif (found := view.registry.restore(file)) is not None:
            short.append((file, found))
    if foreign:
        structlog.get_logger().error("foreign_files_forgotten", paths=foreign[:5], count=len(foreign))
        journal.forget(foreign)
    refilled = refill(journal, tree, [(file, found.size) for file, found in short])
    changed = [found for file, found in short if file.path not in refilled or view.registry.restore(file) is not None]
    if changed:
        # At once: a second crash must cut to what was found now, not to what was once there.
        journal.checkpoint(journal.checkpoint_seq, changed)


def _is_registration(file: RegisteredFile) -> bool:
    # SQLite keeps any type in any column, and the file may be someone else's.
    numbers = (file.size, file.lines, file.first_ms or 0, file.last_ms or 0)
    fits = all(type(number) is int for number in numbers) and file.size >= 0
    named = series_fault(Series(file.server, file.tool)) in (None, "name_reserved")
    return fits and named and isinstance(file.path, str) and is_metric_path(file.path)


def _is_place(place: ProducerPlace) -> bool:
    numbers = type(place.seq) is int and type(place.at_ms) is int
    return numbers and place.seq > 0 and isinstance(place.producer, str) and isinstance(place.seen, bytes)


def _pages(journal: JournalWriter) -> Iterator[list[RawEntry]]:
    """Every entry after the checkpoint, in order.

    Raises: LostPlace, sqlite3.Error.
    """
    reader, after = JournalReader(journal.directory), journal.checkpoint_seq
    try:
        while after < journal.head:
            page = reader.page(after)
            if not page:
                raise LostPlace(after, None)
            yield page
            after = page[-1].seq
    finally:
        reader.close()


def _replay(journal: JournalWriter, view: View, core: IngestCore, parking: ParkingLot) -> Recovered:
    replayed, refused = 0, False
    call_ids: dict[int, set[bytes]] = {}
    for page in _pages(journal):
        replayed += len(page)
        for entry in page:
            unknown = _replay_one(journal, view, core, parking, entry)
            if unknown:
                call_ids.setdefault(entry.committed_ms // HOUR_MS, set()).update(unknown)
        refused = not _appended(view, refused)
    return Recovered(replayed, call_ids)


def _appended(view: View, refused: bool) -> bool:
    try:
        view.append()
    except OSError as error:
        if view.pending_bytes > MAX_PENDING_BYTES:
            raise
        if not refused:
            structlog.get_logger().error("append_failed", reason=str(error))
        return False
    return True


def _replay_one(
    journal: JournalWriter, view: View, core: IngestCore, parking: ParkingLot, entry: RawEntry
) -> set[bytes]:
    if parking.holds(journal.epoch, entry.seq):
        view.skip(entry.seq)
        return set()
    try:
        batch = core.placement.place(decode(entry.body))
        view.replay(entry.seq, batch)
        return core.replayed(batch, entry.committed_ms)
    except BAD_ENTRY as error:
        structlog.get_logger().error("entry_parked", seq=entry.seq, reason=str(error))
        parking.park(journal.epoch, entry.seq, entry.body)
        view.skip(entry.seq)
        return set()
