"""Checkpoints of the view: sync the files in a thread, then tell the journal, then drop what nobody needs.

Owns when a checkpoint is due and the one that is under way. A checkpoint says that everything up to its sequence is on disk in
files of the recorded sizes; until then the journal keeps it all, so a checkpoint that is not made loses nothing.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final

import structlog

from services.ingest.registry import Snapshot
from services.ingest.store import Store
from shared.settings import Settings

#: How long the sync that is under way at a stop may take.
STOP_SYNC_S: Final = 20.0


class Checkpoints:
    """One checkpoint at a time. `call_soon` must run a callback on the loop's thread."""

    def __init__(self, settings: Settings, store: Store, call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._settings = settings
        self._journal = store.journal
        self._view = store.view
        self._call_ids = store.call_ids
        self._progress = store.progress
        self._disk = store.disk
        self._call_soon = call_soon
        self._log = structlog.get_logger()
        # At once after a start: whoever is killed again and again must not replay more each time.
        self._due_at = time.monotonic()
        self._bytes = 0
        self._syncing: threading.Thread | None = None
        self._void = False
        self._sync_failure: OSError | None = None
        self._unsaved: dict[int, set[bytes]] = {}

    def note_committed(self, size_bytes: int) -> None:
        """So many bytes were committed, which a restart would replay."""
        self._bytes += size_bytes

    def note_call_ids(self, hour: int, digests: Iterable[bytes]) -> None:
        """Write call ids of committed rows to their file, now or before the next checkpoint."""
        try:
            self._call_ids.append(hour, digests)
        except OSError as error:
            # The journal has them; without a checkpoint they come back from there.
            self._unsaved.setdefault(hour, set()).update(digests)
            self._disk.failed("call_ids", error, time.monotonic())

    def void(self) -> None:
        """What is being synced is no longer what is there (files were forgotten): make no checkpoint of it."""
        self._void = self._syncing is not None

    def due(self) -> bool:
        """Whether a checkpoint is to be made now.

        Raises: OSError when the last sync failed: pages that failed to sync may be marked clean, so only a restart, which
        cuts and replays, is safe.
        """
        if self._sync_failure is not None:
            raise self._sync_failure
        if self._syncing is not None:
            return False
        full = self._bytes > self._settings.checkpoint_mb * 2**20
        if not (full or self._view.registry.disturbed or time.monotonic() >= self._due_at):
            return False
        return self._view.seq > self._journal.checkpoint_seq or self._view.registry.disturbed

    def begin(self) -> None:
        """Start a checkpoint of what the files hold, in a thread, unless the disk refuses what must be written before. Nobody may
        be writing the files now.
        """
        if not self._view.whole or not self._flush_call_ids():
            return
        snapshot = self._view.snapshot()
        self._due_at = time.monotonic() + self._settings.checkpoint_interval_s
        self._bytes, self._void = 0, False
        self._syncing = threading.Thread(target=self._sync, args=(snapshot,), name="sync", daemon=True)
        self._syncing.start()

    def last(self) -> None:
        """The checkpoint of a stop; what it can't do the next start will."""
        if self._syncing is not None:
            self._syncing.join(STOP_SYNC_S)
        if self._view.seq != self._journal.head or self._sync_failure is not None or not self._flush_call_ids():
            return
        # All files: those of a checkpoint whose thread ended but was not yet heard of are no longer marked as changed.
        snapshot = Snapshot(self._view.seq, tuple(self._view.registry.registrations()))
        try:
            self._call_ids.sync()
            self._view.sync(snapshot)
            self._journal.checkpoint(snapshot.seq, snapshot.changed)
        except (OSError, sqlite3.Error) as error:
            self._log.error("last_checkpoint_failed", reason=str(error))

    def _sync(self, snapshot: Snapshot) -> None:
        try:
            self._call_ids.sync()
            self._view.sync(snapshot)
        except OSError as error:
            self._sync_failure = error
        else:
            self._call_soon(lambda: self._end(snapshot))

    def _end(self, snapshot: Snapshot) -> None:
        self._syncing = None
        if self._void:
            self._view.registry.put_back(snapshot)
            return
        try:
            self._journal.checkpoint(snapshot.seq, snapshot.changed)
        except sqlite3.Error as error:
            self._view.registry.put_back(snapshot)
            self._disk.failed("journal", error, time.monotonic())
            return
        self._drop_segments()

    def _drop_segments(self) -> None:
        self._journal.drop_before(self._progress.droppable(self._journal.checkpoint_seq))
        limit = self._settings.journal_max_mb * 2**20
        segments = self._journal.segments()
        total = sum(info.size_bytes for info in segments)
        for info, following in pairwise(segments):
            if total <= limit or following.first_seq > self._journal.checkpoint_seq + 1:
                return
            laggards = self._progress.lagging(following.first_seq)
            self._log.error("consumers_lose_their_place", consumers=laggards, below=following.first_seq)
            self._progress.lost_places_total += len(laggards)
            self._journal.drop_before(following.first_seq)
            total -= info.size_bytes

    def _flush_call_ids(self) -> bool:
        for hour in list(self._unsaved):
            try:
                self._call_ids.append(hour, self._unsaved[hour])
            except OSError:
                return False
            del self._unsaved[hour]
        self._disk.written("call_ids")
        return True
