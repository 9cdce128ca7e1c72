"""The ingest process: frames in, one group commit, acknowledgements, stream and files out.

All that waits on the sockets goes into one transaction. Decisions are in `core`; the sockets are `intake`'s and `stream`'s, the
files `view`'s (written by `appender`), checkpoints in `checkpoints`, what can be asked in `queries`.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from typing import Final

from perfmon.wire import ack_reply, credit_message
from services.ingest.appender import INLINE_ROWS, Appender
from services.ingest.call_id_files import CallIdFiles
from services.ingest.checkpoints import Checkpoints
from services.ingest.core.credit import Credit
from services.ingest.core.ingest import Answer, IngestCore, Message, Plan
from services.ingest.disk import Disk
from services.ingest.intake import Intake
from services.ingest.progress import Progress
from services.ingest.queries import Queries
from services.ingest.recovery import MAX_PENDING_BYTES, recover
from services.ingest.remote import Remote
from services.ingest.store import Store
from services.ingest.stream import Stream
from services.ingest.view import BLOCK_ROWS, View
from shared.database import is_damage
from shared.journal.writer import JournalWriter, ProducerPlace, RegisteredFile
from shared.parking import ParkingLot
from shared.runtime.service import Service, now_ms
from shared.store.atomic import write_json
from shared.timespan import HOUR_MS
from shared.trusted_clock import TrustedClock

#: How often the head is published, and the files are looked after.
HEARTBEAT_S: Final = 1.0
#: How often the index files are written when something changed.
INDEX_S: Final = 10.0
#: How long the thread that writes files may keep the interpreter from the loop.
SWITCH_INTERVAL_S: Final = 0.0005
#: How often lost rows are spoken of in the log.
LOST_LOG_S: Final = 60.0
#: Turns of the loop in which a stop still takes what has arrived.
STOP_TURNS: Final = 100


def build(service: Service) -> None:
    """Recover, then bind: whoever gets an answer from ingest gets it from a whole one."""
    remote = Remote(service)
    Ingest(service).start()
    remote.start()


class Ingest:
    """The shell around `IngestCore`."""

    def __init__(self, service: Service) -> None:
        data, settings = service.data, service.settings
        self.service = service
        self._log = service.log
        self._core = IngestCore(settings)
        store_empty = not any(data.metrics.iterdir())
        self._journal = JournalWriter(data.journal, segment_bytes=settings.segment_mb * 2**20, store_empty=store_empty)
        self._view = View(data.metrics)
        self._call_ids = CallIdFiles(data.state / "call-ids")
        self._parking = ParkingLot(data.state / "ingest")
        self._disk = Disk()
        self._clock = TrustedClock(now_ms)
        self._credit = Credit()
        self._intake = Intake(service, self._core.refuse, self._core.lose, self._credit.gone)
        self._appender = Appender(self._view, service.call_soon, self._appended)
        self._append_at = 0.0
        self._lost_rows = 0
        self._index_changed = True
        self._indexed_seq = 0
        self.entries_total = 0

    def start(self) -> None:
        """Recover and serve."""
        service = self.service
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        started = time.monotonic()
        recovered = recover(self._journal, self._view, self._core, self._call_ids, self._parking)
        self._log.info("recovered", replayed=recovered.entries, seconds=round(time.monotonic() - started, 3))
        progress = Progress(self._journal.epoch)
        store = Store(self._journal, self._view, self._call_ids, self._parking, progress, self._disk)
        self._checkpoints = Checkpoints(service.settings, store, service.call_soon)
        for hour, digests in recovered.call_ids.items():
            self._checkpoints.note_call_ids(hour, digests)
        Queries(service, store, self._core, self._checkpoints, self._appender.finish)
        service.stats["entries_total"] = lambda: self.entries_total
        service.stats["pendingBytes"] = lambda: self._view.pending_bytes
        service.stats["creditGrantedBytes"] = lambda: self._credit.granted_bytes
        service.stats["credit_stops_total"] = lambda: self._credit.stopped_total
        service.stats["push_messages_total"] = lambda: self._intake.push_messages_total
        self._stream = Stream(service, self._journal)
        # A socket for requests alone: whoever asks how ingest is does not stand in line behind a flood of writes.
        service.serve()
        self._intake.bind(self._receive)
        service.every(HEARTBEAT_S, self._heartbeat)
        service.every(min(service.settings.append_interval_s, 1.0) / 4, self._look_after_files)
        service.every(INDEX_S, self._write_index)
        service.every(LOST_LOG_S, self._tell_of_lost_rows)
        service.on_stop(self._stop)
        self._write_index()
        service.ready = True
        self._log.info("ready", epoch=self._journal.epoch, head=self._journal.head)

    # --- the write path -------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Take all that waits and commit it at once."""
        messages = self._intake.receive()
        if messages:
            self._commit(messages)

    def _commit(self, messages: list[Message]) -> None:
        refusal = self._refusal()
        if refusal is not None:
            self._refuse_all(messages, *refusal)
            return
        plan = self._core.plan(messages, now_ms())
        try:
            registered = [self._view.registry.new_of(batch) for batch in plan.entries]
            bodies = [batch.encode() for batch in plan.entries]
            self._store(plan, bodies, [file for files in registered for file in files])
        except (sqlite3.Error, OSError) as error:
            answers = self._core.failed(plan, self._journal.epoch, *self._refused("journal", error))
            self._answer(answers)
            if isinstance(error, sqlite3.Error) and is_damage(error):
                raise  # the next start gives the journal up; this process could only go on refusing
            return
        self._take_over(plan, bodies, registered)
        # Whoever waits is told first: it is on disk, and the stream wakes three processes that want the same cores.
        self._answer(self._core.committed(plan, self._journal.epoch, self._journal.head, self._credit_of))
        self._pass_on(plan, bodies)

    def _answer(self, answers: list[Answer]) -> None:
        for answer in answers:
            self._intake.send(answer.sender, answer.frame)

    def _store(self, plan: Plan, bodies: list[bytes], new_files: list[RegisteredFile]) -> None:
        staged = self._core.producers.staged
        if not bodies and not staged:
            return
        # Without entries all was refused or known, and the sequences are to be remembered.
        places = [ProducerPlace(name, place.seq, place.seen_bytes(), place.at_ms) for name, place in staged.items()]
        self._journal.commit(bodies, plan.now_ms, producers=places, new_files=new_files)
        self._disk.written("journal")

    def _take_over(self, plan: Plan, bodies: list[bytes], registered: list[list[RegisteredFile]]) -> None:
        """What was committed waits for its files."""
        first = self._journal.head - len(bodies) + 1
        for seq, (batch, files) in enumerate(zip(plan.entries, registered, strict=True), first):
            self._view.add(seq, batch, files)
        self.entries_total += len(bodies)
        self._checkpoints.note_committed(sum(map(len, bodies)))

    def _credit_of(self, sender: list[bytes]) -> int:
        return self._credit.window(sender[0], _monotonic_ms(), self._view.pending_bytes)

    def _give_credit(self) -> None:
        """Tell producers that were stopped that there is room again."""
        for identity, credit in self._credit.room(_monotonic_ms(), self._view.pending_bytes):
            self._intake.send([identity], credit_message(credit))

    def _pass_on(self, plan: Plan, bodies: list[bytes]) -> None:
        """What was committed goes to the stream and the call ids."""
        self._stream.entries(bodies, plan.now_ms, self._view.seq)
        self._checkpoints.note_call_ids(plan.now_ms // HOUR_MS, plan.digests)
        try:
            self._journal.rotate_if_full()
        except (sqlite3.Error, OSError) as error:
            self._refused("journal", error)

    def _refusal(self) -> tuple[str, str] | None:
        if self._view.pending_bytes > MAX_PENDING_BYTES:
            return (
                "journal_full",
                "the metric files can't be written and what waits for them is at its limit; try again",
            )
        limit = self.service.settings.journal_max_mb * 2**20
        if self._view.failing and self._view.pending_rows and self._journal.size_bytes() > limit:
            return "journal_full", "the metric files can't be written and the journal is at its limit; try again"
        return None

    def _refuse_all(self, messages: list[Message], code: str, text: str) -> None:
        for message in messages:
            self._core.turn_away(message, code)
            if message.sender is None:
                continue
            producer, seq = message.body.get("producer"), message.body.get("seq")
            frame = ack_reply(
                producer=producer if isinstance(producer, str) else None,
                seq=seq if type(seq) is int else None,
                cumulative=None,
                stored=0,
                duplicates=0,
                rejected=[],
                rejected_total=0,
                epoch=self._journal.epoch,
                entry=0,
                first_row=0,
                error=(code, text),
            )
            self._intake.send(message.sender, frame)

    def _refused(self, where: str, error: Exception) -> tuple[str, str]:
        answer = self._disk.failed(where, error, time.monotonic())
        self._ask_for_space()
        return answer

    def _ask_for_space(self) -> None:
        if self._disk.ask_for_space(time.monotonic()):
            self._stream.disk_full()

    # --- files and the clock --------------------------------------------------------------------------------------

    def _look_after_files(self) -> None:
        if self._appender.busy:
            return
        settings, now = self.service.settings, time.monotonic()
        if self._checkpoints.due():
            if self._view.pending_rows <= INLINE_ROWS:
                self._appender.finish()
            self._checkpoints.begin()
        if self._view.pending_rows >= settings.append_rows or now >= self._append_at:
            self._append_at = now + settings.append_interval_s
            self._appender.begin()

    def _appended(self, error: OSError | None) -> None:
        if error is not None:
            self._refused("files", error)
            return
        self._disk.written("files")
        self._give_credit()
        self._index_changed = self._index_changed or self._view.seq != self._indexed_seq
        if self._view.pending_rows >= BLOCK_ROWS:
            self.service.call_soon(self._look_after_files)

    def _heartbeat(self) -> None:
        self._stream.head(self._view.seq)
        self._ask_for_space()
        for hour in self._core.call_ids.expire(self._clock() // HOUR_MS):
            self._call_ids.remove(hour)

    def _tell_of_lost_rows(self) -> None:
        lost = self._core.refusals.lost
        fresh, self._lost_rows = lost.total() - self._lost_rows, lost.total()
        if fresh:
            self._log.warning("rows_lost", rows=fresh, since_start=dict(lost))

    def _write_index(self) -> None:
        if not self._index_changed:
            return
        try:
            write_json(self.service.data.index / "metrics-index.json", self._view.registry.index(now_ms()))
            self._index_changed, self._indexed_seq = False, self._view.seq
        except OSError as error:
            self._refused("index", error)
        else:
            self._disk.written("index")

    def _stop(self) -> None:
        """Stop intake, drain what has arrived, flush, make a last checkpoint, close."""
        self._intake.unbind()
        for _ in range(STOP_TURNS):
            self._receive()
            if not self._intake.waiting:
                break
        self._appender.finish()
        self._checkpoints.last()
        self._write_index()
        self._view.close()
        self._journal.close()
        self._intake.close()
        self._stream.close()


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
