"""What ingest keeps on disk, as one thing to hand around once it is recovered."""

from __future__ import annotations

from dataclasses import dataclass

from services.ingest.call_id_files import CallIdFiles
from services.ingest.disk import Disk
from services.ingest.progress import Progress
from services.ingest.view import View
from shared.journal.writer import JournalWriter
from shared.parking import ParkingLot


@dataclass(frozen=True, slots=True)
class Store:
    """The journal and its views, what was parked, how far the consumers are, and what the disk refused."""

    journal: JournalWriter
    view: View
    call_ids: CallIdFiles
    parking: ParkingLot
    progress: Progress
    disk: Disk
