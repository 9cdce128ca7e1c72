"""The start of ingest: from what is on disk to a view that holds everything that was acknowledged.

Registered files are cut to the size of the last checkpoint and the journal is replayed from there, so kill -9 at any instant
leaves nothing lost, nothing doubled and no torn line. A new journal adopts the files as they lie.
"""

from __future__ import annotations

import structlog

from perfmon.wire import WireError
from services.ingest.call_id_files import CallIdFiles
from services.ingest.core.ingest import IngestCore
from services.ingest.view import View
from shared.batch import BatchError, decode
from shared.journal import JournalReader
from shared.journal.reader import RawEntry
from shared.journal.writer import JournalWriter
from shared.parking import ParkingLot


def recover(journal: JournalWriter, view: View, core: IngestCore, call_ids: CallIdFiles, parking: ParkingLot) -> int:
    """Bring the view up to the journal's head; how many entries were replayed.

    Raises: OSError when the files can't be written: ingest can't start.
    """
    log = structlog.get_logger()
    if journal.fresh:
        adopted = view.adopt()
        journal.checkpoint(journal.head, adopted)
        log.info("journal_started", epoch=journal.epoch, files_adopted=len(adopted))
    else:
        for file in journal.files():
            view.restore(file)
    for place in journal.producers():
        core.producers.restore(place.producer, place.seq, place.seen, place.at_ms)
    for hour, digests in call_ids.load().items():
        core.call_ids.add(hour, digests)
    for series, path in view.series().items():
        core.placement.restore(series, path)
    replayed = _replay(journal, view, core, parking)
    for series, path in view.series().items():
        core.placement.restore(series, path)
    return replayed


def _replay(journal: JournalWriter, view: View, core: IngestCore, parking: ParkingLot) -> int:
    reader = JournalReader(journal.directory)
    replayed, after = 0, journal.checkpoint_seq
    try:
        while after < journal.head:
            page = reader.page(after)
            for entry in page:
                _replay_one(journal, view, core, parking, entry)
            after = page[-1].seq
            replayed += len(page)
    finally:
        reader.close()
    return replayed


def _replay_one(journal: JournalWriter, view: View, core: IngestCore, parking: ParkingLot, entry: RawEntry) -> None:
    if parking.holds(journal.epoch, entry.seq):
        view.skip(entry.seq)
        return
    try:
        batch = core.placement.place(decode(entry.body))
        view.add(entry.seq, batch, [])
        core.replayed(batch, entry.committed_ms)
    except (BatchError, WireError, ValueError, TypeError, IndexError) as error:
        structlog.get_logger().error("entry_parked", seq=entry.seq, reason=str(error))
        parking.park(journal.epoch, entry.seq, entry.body)
        view.skip(entry.seq)
        return
    view.append()
