"""Follow the stream without losing or repeating an entry: what detector, alerter and aggregator share.

PUB/SUB is only the fast path. A consumer's place is (epoch, sequence), kept in one atomic write with its state. On start, on a
gap, and when the heartbeat shows a head beyond its place, it reads the journal from its place on. Under load entries are
gathered and applied together; an entry that makes the state fail is found one by one, parked, counted and passed. Knows
nothing of what a state does with an entry.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import structlog

from perfmon.rpc import RpcError
from perfmon.wire import Kind
from shared.consumer_state import ConsumerState, Entry, Position, StateNotSaved, StoreSnapshot
from shared.database import is_damage
from shared.decoding import Body, decode_entries
from shared.gathering import GATHER_BYTES, GATHER_S, Waiting, in_groups
from shared.journal import JournalReader, LostPlace
from shared.parking import ParkingLot
from shared.progress import ProgressReport
from shared.runtime.memory import LoadMemory
from shared.runtime.service import Service, now_ms
from shared.saving import Saving
from shared.subscription import Subscription

__all__ = ["Consumer", "ConsumerState", "Entry", "Position", "StateNotSaved", "StoreSnapshot"]

#: How long one turn of catching up may take, so that queries are answered in between.
CATCH_UP_TURN_S: Final = 0.25
#: Pause before the journal is read again after it could not be.
JOURNAL_RETRY_S: Final = 0.2
#: Damage that lasts so long is none of a segment that is just being made.
DAMAGE_LASTS_S: Final = 2.0


class Consumer:
    """Drives a state along the journal inside a service's loop."""

    def __init__(self, service: Service, state: ConsumerState, *, save_every_s: float = 1.0) -> None:
        self.service = service
        self.state = state
        self.lock = threading.RLock()
        self.position = Position("", 0)
        self.head = 0
        self.entries_total = 0
        self.rows_total = 0
        self.gaps_total = 0
        self.rebuilds_total = 0
        self._applied = threading.Condition(self.lock)
        self._log = structlog.get_logger()
        self._reader = JournalReader(service.data.journal)
        self._parking = ParkingLot(service.data.state / service.name)
        self._saving = Saving(state, save_every_s)
        self._gathered: list[Waiting] = []
        self._gathered_bytes = 0
        self._applied_at = 0.0
        self._apply_is_due = False
        self._memory = LoadMemory()
        #: Entries of this epoch up to this one go one by one: one of them made the state fail.
        self._suspects = Position("", 0)
        self._behind = True
        self._catching_up = False
        self._rebuilding = False
        self._rebuild_failure: Exception | None = None
        self._retry_at = 0.0
        self._damaged_since: float | None = None
        self._progress = ProgressReport(service)
        self._stream = Subscription(service.context, service.data)

    def start(self) -> None:
        """Load the state, join the stream and catch up; the service is ready once it stood at the head."""
        service = self.service
        service.ping_fields = lambda: {"epoch": self.position.epoch, "seq": self.position.seq, "head": self.head}
        service.stats.update(
            epoch=lambda: self.position.epoch,
            seq=lambda: self.position.seq,
            head=lambda: self.head,
            lag=lambda: max(0, self.head - self.position.seq),
            entries_total=lambda: self.entries_total,
            rows_total=lambda: self.rows_total,
            gaps_total=lambda: self.gaps_total,
            rebuilds_total=lambda: self.rebuilds_total,
            parked_total=lambda: self._parking.total,
        )
        with self.lock:
            self._load()
            self._suspects = Position(*self._parking.suspects())
        service.watch(self._stream.socket, self._on_stream)
        service.rpc.before = self._apply_what_came
        service.every(1.0, self._tick)
        self._progress.start(lambda: self._saving.saved)
        service.on_stop(self._stop)
        service.call_soon(self._catch_up)

    def wait_for(self, seq: int, timeout_s: float) -> bool:
        """Wait (in a worker thread) until entry `seq` is folded in; whether it is."""
        if self.position.seq < seq:
            self.service.call_soon(self._apply_gathered)
        with self._applied:
            return self._applied.wait_for(lambda: self.position.seq >= seq, timeout_s)

    def save_now(self) -> None:
        """Persist and act on it; for mutations that must be on disk before they are answered. Hold the lock.

        Raises: StateNotSaved.
        """
        self._saving.save(self.position, force=True)

    # --- the stream -----------------------------------------------------------------------------------------------

    def _on_stream(self) -> None:
        for message in self._stream.messages():
            self._on_message(*message)
        if self._gathered and not self._apply_is_due:
            wait_s = self._applied_at + GATHER_S - time.monotonic()
            if wait_s <= 0:
                self._apply_gathered()
            else:
                self._apply_is_due = True
                self.service.after(wait_s, self._apply_gathered)

    def _apply_what_came(self) -> None:
        """Whoever asks is answered with all that has arrived."""
        self._on_stream()
        self._apply_gathered()

    def _on_message(self, kind: str, header: dict[str, Any], body: Body | None) -> None:
        if kind == Kind.DISK_FULL:
            disk_full = getattr(self.state, "disk_full", None)
            if disk_full is not None and not self._rebuilding:
                with self.lock:
                    disk_full()
            return
        if kind not in (Kind.ENTRY, Kind.HEAD):
            return
        epoch, seq = str(header.get("epoch")), int(header.get("seq") or 0)
        if epoch == self.position.epoch:
            self.head = max(self.head, seq)
        if self._behind:
            return
        heard = self._gathered[-1].seq if self._gathered else self.position.seq
        if epoch != self.position.epoch:
            self._fall_behind()
        elif kind == Kind.ENTRY and seq == heard + 1 and body is not None:
            self._gathered.append(Waiting(seq, int(header.get("committedMs") or 0), body))
            self._gathered_bytes += len(body)
            if self._gathered_bytes >= GATHER_BYTES:
                self._apply_gathered()
        elif seq > heard:
            # The stream lost entries, up to this one or, as the heartbeat shows, the last ones.
            self.gaps_total += 1
            self._fall_behind()

    def _apply_gathered(self) -> None:
        self._apply_is_due = False
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if gathered and not self._behind:
            with self.lock:
                self._take(gathered, live=True)
            self._applied_at = time.monotonic()

    def _fall_behind(self) -> None:
        if not self._behind:
            self._apply_gathered()
            self._behind = True
            self.service.call_soon(self._catch_up)

    # --- the journal ----------------------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """One bounded turn of reading the journal; comes again by itself until it stands at the head."""
        if self._rebuild_failure is not None:
            raise self._rebuild_failure
        if self._catching_up or self._rebuilding or not self._behind:
            return
        if time.monotonic() < self._retry_at:
            return
        self._catching_up = True
        try:
            with self.lock:
                if self._catch_up_turn():
                    self._behind = False
                    self._on_caught_up()
        except (sqlite3.Error, OSError, RpcError) as error:
            self._log.warning("journal_not_readable", reason=str(error))
            self._reader.close()
            self._retry_at = time.monotonic() + JOURNAL_RETRY_S
            self._note_damage(error)
        finally:
            self._catching_up = False
        if self._behind and not self._rebuilding and time.monotonic() >= self._retry_at:
            self.service.call_soon(self._catch_up)

    def _catch_up_turn(self) -> bool:
        """Whether the head of the journal is reached."""
        epoch = self._reader.epoch()
        if epoch is None:
            self._retry_at = time.monotonic() + JOURNAL_RETRY_S
            return False
        if epoch != self.position.epoch:
            self._start_epoch(epoch)
            return False
        until = time.monotonic() + CATCH_UP_TURN_S
        while True:
            try:
                page = self._reader.page(self.position.seq)
            except LostPlace as lost:
                self._log.error("place_lost", after=lost.after, oldest=lost.oldest)
                self._rebuild("lost place")
                return False
            if not page:
                return not self._stands_beyond_the_head()
            self._damaged_since = None
            self.head = max(self.head, page[-1].seq)
            if not self._take([Waiting(*raw) for raw in page], live=False):
                return False  # an entry that failed made us load an older place: read from there
            if time.monotonic() >= until:
                return False

    def _stands_beyond_the_head(self) -> bool:
        """Our state, or the journal, is not what it was: what comes next would be taken for what we have."""
        head = self._reader.head()
        if head is None or head >= self.position.seq:
            return False
        self._log.error("place_beyond_the_head", head=head, seq=self.position.seq)
        self._rebuild("beyond the head")
        return True

    def _note_damage(self, error: Exception) -> None:
        """An entry on the way to the head can't be read and never will be: the files have what is in it."""
        if not (isinstance(error, sqlite3.Error) and is_damage(error)):
            return
        now = time.monotonic()
        self._damaged_since = self._damaged_since or now
        if now - self._damaged_since >= DAMAGE_LASTS_S and not self._rebuilding:
            self._damaged_since = None
            self._log.error("journal_damaged", after=self.position.seq, reason=str(error))
            self._rebuild("damaged journal")

    def _start_epoch(self, epoch: str) -> None:
        if not self.position.epoch and self._nothing_stored_before():
            self._log.info("epoch_started", epoch=epoch)
            self.position, self.head = Position(epoch, 0), 0
            self._saving.saved = Position("", 0)
            return
        self._rebuild("new epoch" if self.position.epoch else "no state")

    def _nothing_stored_before(self) -> bool:
        """No state yet, and a journal that began with an empty store and is whole: it alone tells everything."""
        try:
            self._reader.page(0)
        except LostPlace:
            return False
        return self._reader.began_empty()

    def _rebuild(self, reason: str) -> None:
        """Rebuild in a thread of its own, which may take minutes; `ping` goes on being answered."""
        self._rebuilding = True
        self._log.warning("rebuilding", reason=reason, epoch=self.position.epoch, seq=self.position.seq)
        threading.Thread(target=self._rebuild_in_thread, args=(reason,), name="rebuild", daemon=True).start()

    def _rebuild_in_thread(self, reason: str) -> None:
        try:
            with self.lock:
                store = self._snapshot()
                position = store.position
                self.state.rebuild(store, reason)
                self.position, self.head = position, position.seq
                self._saving.save(position, force=True)
            self.rebuilds_total += 1
            self._log.info("rebuilt", epoch=position.epoch, seq=position.seq)
        except RpcError as error:
            # Ingest is not there yet; the next turn of catching up tries again.
            self._log.warning("rebuild_postponed", reason=str(error))
            self._retry_at = time.monotonic() + JOURNAL_RETRY_S
        except Exception as error:  # noqa: BLE001 - handed to the loop, which ends the process with it
            self._rebuild_failure = error
        self._rebuilding = False
        self.service.call_soon(self._catch_up)

    def _snapshot(self) -> StoreSnapshot:
        from perfmon.rpc import RpcClient

        with RpcClient(self.service.data.endpoint("ingest"), timeout_s=10) as ingest:
            answer = ingest.call("snapshot")
        return StoreSnapshot(Position(str(answer["epoch"]), int(answer["seq"])), answer["files"])

    def _on_caught_up(self) -> None:
        with self._applied:
            self._applied.notify_all()
        self._parking.settle()
        caught_up = getattr(self.state, "caught_up", None)
        if caught_up is not None:
            caught_up(now_ms())
        if not self.service.ready:
            self._log.info("ready", epoch=self.position.epoch, seq=self.position.seq)
        self._saving.save_if_room(self.position, force=not self.service.ready)
        self.service.ready = True

    # --- entries --------------------------------------------------------------------------------------------------

    def _take(self, entries: Sequence[Waiting], *, live: bool) -> bool:
        """Apply entries that follow each other from our place on; False when one failed and we stand elsewhere now."""
        return all(self._apply(group, live=live) for group in in_groups(entries, self._goes_alone))

    def _goes_alone(self, seq: int) -> bool:
        epoch = self.position.epoch
        return (epoch == self._suspects.epoch and seq <= self._suspects.seq) or self._parking.holds(epoch, seq)

    def _apply(self, group: list[Waiting], *, live: bool) -> bool:
        epoch, first, last = self.position.epoch, group[0].seq, group[-1].seq
        if self._parking.holds(epoch, first):
            self.position = Position(epoch, first)
            return True
        self._parking.begin(epoch, first, last)
        try:
            batch = decode_entries([entry.body for entry in group])
            urgent = self.state.apply(Entry(epoch, last, group[-1].committed_ms, batch), now_ms(), live)
        except Exception:  # noqa: BLE001 - whatever fails in a core, the entry is parked and the service goes on
            self._failed(group)
            return False
        self._parking.done()
        self.position = Position(epoch, last)
        self.head = max(self.head, last)
        self.entries_total += len(group)
        self.rows_total += len(batch)
        self._memory.applied(len(batch), time.monotonic())
        if urgent:
            self._saving.save_if_room(self.position, force=True)
        with self._applied:
            self._applied.notify_all()
        return True

    def _failed(self, group: list[Waiting]) -> None:
        """Park the entry, or have those that failed together come again one by one."""
        epoch, first, last = self.position.epoch, group[0].seq, group[-1].seq
        if first == last:
            self._log.exception("entry_parked", epoch=epoch, seq=first)
            self._parking.park(epoch, first, bytes(group[0].body))
        else:
            self._log.warning("entries_failed_together", epoch=epoch, first=first, last=last)
            self._parking.done()
            self._suspects = Position(epoch, last)
        self._load()
        self._fall_behind()

    def _load(self) -> None:
        found = self.state.load()
        self.position = found or Position("", 0)
        self._saving.saved = self.position
        deadly = self._parking.park_deadly()
        if deadly is not None:
            self._log.error("entry_parked_after_crashes", epoch=deadly[0], seq=deadly[1])

    # --- the clock ------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._catch_up()
        if self._rebuilding:
            return
        self._memory.applied(0, time.monotonic())
        with self.lock:
            urgent = False if self._behind else self.state.tick(now_ms())
            self._saving.save_if_room(self.position, force=urgent)

    def _stop(self) -> None:
        if not self._rebuilding:
            with self.lock:
                self._saving.save(self.position, force=True)
        self._reader.close()
        self._stream.close()
        self._progress.close()
