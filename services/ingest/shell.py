"""The ingest process: frames in, one group commit, acknowledgements, stream and files out.

Owns the sockets `ingest.push` (PULL, fire and forget), `ingest.write` (ROUTER, acknowledged writes and queries) and `stream`
(PUB). All that waits on the sockets goes into one transaction. Decisions are in `core`, files in `view`.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from itertools import pairwise
from typing import Any, Final

import zmq

from perfmon.wire import MAX_FRAME_BYTES, PROTOCOL_MAJOR, Kind, WireError, ack_reply, error_reply, pack, unpack_envelope
from services.ingest.call_id_files import CallIdFiles
from services.ingest.core.ingest import Answer, IngestCore, Message, Plan
from services.ingest.progress import Progress
from services.ingest.recovery import recover
from services.ingest.view import Snapshot, View, new_registrations
from shared.journal.writer import JournalWriter, ProducerPlace
from shared.parking import ParkingLot
from shared.rpc import Refusal, router
from shared.runtime.service import Service, now_ms
from shared.store.atomic import write_json
from shared.timespan import HOUR_MS, BadTime

#: Messages and bytes that go into one group commit at the most, so that an acknowledgement never waits for long.
COMMIT_MESSAGES: Final = 512
COMMIT_BYTES: Final = 8 * 1024 * 1024
#: Messages a socket may hold for us; beyond it producers wait (ROUTER, PULL) by back-pressure.
RECEIVE_HWM: Final = 1_000
#: Batches a slow subscriber may have waiting before it loses some and reads the journal.
STREAM_HWM: Final = 200
#: Rows in memory that wait for their files before writes are refused: about 256 MB.
MAX_PENDING_BYTES: Final = 256 * 1024 * 1024
#: How often the head is published, and the files are looked after.
HEARTBEAT_S: Final = 1.0
#: How often the index files are written when something changed.
INDEX_S: Final = 10.0
#: How long the last checkpoint of a stop may take.
STOP_SYNC_S: Final = 20.0


def build(service: Service) -> None:
    """Recover, then bind: whoever gets an answer from ingest gets it from a whole one."""
    Ingest(service).start()


class Ingest:
    """The shell around `IngestCore`."""

    def __init__(self, service: Service) -> None:
        data, settings = service.data, service.settings
        self.service = service
        self._log = service.log
        self._core = IngestCore(settings)
        store_empty = not any(data.metrics.iterdir())
        self._journal = JournalWriter(data.journal, segment_bytes=settings.segment_mb * 2**20, store_empty=store_empty)
        self._view = View(data.metrics, self._journal.checkpoint_seq)
        self._call_ids = CallIdFiles(data.state / "call-ids")
        self._parking = ParkingLot(data.state / "ingest")
        self._progress = Progress(self._journal.epoch)
        self._messages: list[Message] = []
        self._received_bytes = 0
        self._append_at = 0.0
        self._checkpoint_at = time.monotonic() + settings.checkpoint_interval_s
        self._uncheckpointed_bytes = 0
        self._syncing: threading.Thread | None = None
        self._sync_failure: OSError | None = None
        self._index_changed = True
        self._disk_full = False
        self._last_hello_ms = now_ms()
        self._unsaved_digests: dict[int, set[bytes]] = {}
        self.entries_total = 0
        self.push_messages_total = 0

    def start(self) -> None:
        """Recover and serve."""
        service, data = self.service, self.service.data
        started = time.monotonic()
        replayed = recover(self._journal, self._view, self._core, self._call_ids, self._parking)
        self._log.info("recovered", replayed=replayed, seconds=round(time.monotonic() - started, 3))
        self._stream = self._bind(zmq.PUB, "stream")
        self._push = self._bind(zmq.PULL, "ingest.push")
        self._write = router(service.context, data.endpoint("ingest.write"))
        service.watch(self._push, self._receive)
        service.watch(self._write, self._receive)
        service.every(HEARTBEAT_S, self._heartbeat)
        service.every(min(service.settings.append_interval_s, 1.0) / 4, self._look_after_files)
        service.every(INDEX_S, self._write_index)
        service.on_stop(self._stop)
        self._register()
        self._write_index()
        service.ready = True
        self._log.info("ready", epoch=self._journal.epoch, head=self._journal.head)

    # --- queries --------------------------------------------------------------------------------------------------

    def _register(self) -> None:
        rpc, stats = self.service.rpc, self.service.stats
        self.service.ping_fields = lambda: {"epoch": self._journal.epoch, "seq": self._journal.head}
        rpc.register("flush", self._on_flush)
        rpc.register("snapshot", self._on_snapshot)
        rpc.register("progress", self._on_progress)
        rpc.register("forget", self._on_forget, mutation=True)
        rpc.register("hello", self._on_hello)
        core, view = self._core, self._view
        stats.update(
            epoch=lambda: self._journal.epoch,
            head=lambda: self._journal.head,
            seq=lambda: self._journal.head,
            viewSeq=lambda: view.seq,
            checkpointSeq=lambda: self._journal.checkpoint_seq,
            stored_total=lambda: core.stored_total,
            duplicates_total=lambda: core.duplicates_total,
            refusedByReason=lambda: dict(core.refused_total),
            rejected_total=lambda: sum(core.refused_total.values()),
            entries_total=lambda: self.entries_total,
            push_messages_total=lambda: self.push_messages_total,
            appended_total=lambda: view.appended_total,
            append_failures_total=lambda: view.append_failures_total,
            pendingRows=lambda: view.pending_rows,
            parked_total=lambda: self._parking.total,
            series=lambda: len(core.placement),
            overflowed_total=lambda: core.placement.overflowed_total,
            producers=lambda: len(core.producers),
            callIds=lambda: len(core.call_ids),
            journalBytes=self._journal.size_bytes,
            consumers=lambda: dict(self._progress.places),
            lost_places_total=lambda: self._progress.lost_places_total,
            lastMetricMs=lambda: core.last_metric_ms,
            lastHelloMs=lambda: self._last_hello_ms,
            diskFull=lambda: self._disk_full,
        )

    def _on_flush(self, _: dict[str, Any]) -> dict[str, Any]:
        self._append()
        return {"epoch": self._journal.epoch, "seq": self._view.seq}

    def _on_snapshot(self, _: dict[str, Any]) -> dict[str, Any]:
        self._append()
        return {"epoch": self._journal.epoch, "seq": self._view.seq, "files": self._view.files()}

    def _on_progress(self, params: dict[str, Any]) -> dict[str, Any]:
        service, epoch, seq = params.get("service"), params.get("epoch"), params.get("seq")
        if not isinstance(service, str) or not isinstance(epoch, str) or type(seq) is not int:
            raise Refusal("bad_request", "progress takes service, epoch and seq")
        return {"noted": self._progress.report(service, epoch, seq)}

    def _on_forget(self, params: dict[str, Any]) -> dict[str, Any]:
        day = str(params.get("day"))
        try:
            paths = self._view.forget_day(day)
        except BadTime as error:
            raise Refusal("bad_request", str(error)) from error
        self._journal.forget(paths)
        files, size = self._view.unlink_day(day)
        self._core.placement.forget_all()
        for series, path in self._view.series().items():
            self._core.placement.restore(series, path)
        self._index_changed = True
        self._disk_full = False
        self._log.info("day_forgotten", day=day, files=files, bytes=size)
        return {"day": day, "files": files, "bytes": size}

    def _on_hello(self, _: dict[str, Any]) -> dict[str, Any]:
        self._last_hello_ms = now_ms()
        return {"lastHelloMs": self._last_hello_ms}

    # --- the write path -------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Take all that waits on both sockets, then commit it at once."""
        self._take_all(self._write, self._on_write_frames)
        self._take_all(self._push, self._on_push_frames)
        if self._messages:
            self._commit()

    def _take_all(self, socket: zmq.Socket[bytes], take: Any) -> None:
        while len(self._messages) < COMMIT_MESSAGES and self._received_bytes < COMMIT_BYTES:
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            take(frames)

    def _on_write_frames(self, frames: list[bytes]) -> None:
        # DEALER: [identity, message]; REQ: [identity, (request id,) empty, message].
        envelope, frame = frames[:-1], frames[-1]
        try:
            _, kind, body = unpack_envelope(frame)
        except WireError as error:
            self._core.refuse(error.reason)
            self._send(envelope, error_reply("", error.reason, str(error)))
            return
        if kind in (Kind.ROWS, Kind.BATCH):
            self._enqueue(Message(envelope, kind, body), len(frame))
        elif kind == Kind.REQUEST:
            self.service.rpc.answer(self._write, envelope, frame)
        else:
            self._core.refuse("unknown_kind")
            self._send(envelope, error_reply(str(body.get("id") or ""), "unknown_kind", f"unknown kind {kind[:40]!r}"))

    def _on_push_frames(self, frames: list[bytes]) -> None:
        self.push_messages_total += 1
        try:
            _, kind, body = unpack_envelope(frames[-1])
        except WireError as error:
            self._core.refuse(error.reason)
            return
        self._enqueue(Message(None, kind, body), len(frames[-1]))

    def _enqueue(self, message: Message, size: int) -> None:
        self._messages.append(message)
        self._received_bytes += size

    def _commit(self) -> None:
        messages, self._messages, self._received_bytes = self._messages, [], 0
        refusal = self._refusal()
        if refusal is not None:
            self._refuse_all(messages, *refusal)
            return
        plan = self._core.plan(messages, now_ms())
        try:
            answers = self._store(plan)
        except (sqlite3.Error, OSError) as error:
            answers = self._core.failed(plan, self._journal.epoch, *self._storage_failure(error))
        for answer in answers:
            self._send(answer.sender, answer.frame)

    def _store(self, plan: Plan) -> list[Answer]:
        bodies = [batch.encode() for batch in plan.entries]
        registered = [new_registrations(self._view, batch) for batch in plan.entries]
        if bodies:
            self._journal.commit(
                bodies,
                plan.now_ms,
                producers=self._staged_places(),
                new_files=[file for files in registered for file in files],
            )
        elif self._core.producers.staged:
            # Everything in the messages was refused or known: remember the sequences, there is nothing to store.
            self._journal.commit([], plan.now_ms, producers=self._staged_places())
        head = self._journal.head
        answers = self._core.committed(plan, self._journal.epoch, head)
        first = head - len(bodies) + 1
        for offset, (batch, body, files) in enumerate(zip(plan.entries, bodies, registered, strict=True)):
            self._publish(first + offset, plan.now_ms, body)
            self._view.add(first + offset, batch, files)
        self.entries_total += len(bodies)
        self._uncheckpointed_bytes += sum(map(len, bodies))
        self._note_call_ids(plan)
        self._disk_full = False
        self._rotate()
        return answers

    def _staged_places(self) -> list[ProducerPlace]:
        staged = self._core.producers.staged
        return [ProducerPlace(name, p.seq, p.seen_bytes(), p.at_ms) for name, p in staged.items()]

    def _note_call_ids(self, plan: Plan) -> None:
        try:
            self._call_ids.append(plan.now_ms // HOUR_MS, plan.digests)
        except OSError as error:
            # The journal has them; without a checkpoint they come back from there.
            self._unsaved_digests.setdefault(plan.now_ms // HOUR_MS, set()).update(plan.digests)
            self._storage_failure(error)

    def _publish(self, seq: int, committed_ms: int, body: bytes) -> None:
        header = {
            "v": PROTOCOL_MAJOR,
            "kind": Kind.ENTRY,
            "epoch": self._journal.epoch,
            "seq": seq,
            "committedMs": committed_ms,
        }
        self._stream.send_multipart([pack(header), body], zmq.NOBLOCK)

    def _refusal(self) -> tuple[str, str] | None:
        if self._view.pending_bytes > MAX_PENDING_BYTES:
            return (
                "journal_full",
                "the metric files can't be written and what waits for them is at its limit; try again",
            )
        limit = self.service.settings.journal_max_mb * 2**20
        if self._view.append_failures_total and self._view.pending_rows and self._journal.size_bytes() > limit:
            return "journal_full", "the metric files can't be written and the journal is at its limit; try again"
        return None

    def _refuse_all(self, messages: list[Message], code: str, text: str) -> None:
        for message in messages:
            self._core.refuse(code)
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
            self._send(message.sender, frame)

    def _storage_failure(self, error: Exception) -> tuple[str, str]:
        self._log.error("storage_failed", reason=str(error))
        if _is_disk_full(error):
            self._announce_disk_full()
            return "disk_full", "the disk is full; a clean-up was asked for, try again"
        return "storage_failed", "the journal could not be written; the log of ingest says why"

    def _announce_disk_full(self) -> None:
        if not self._disk_full:
            self._disk_full = True
            header = {"v": PROTOCOL_MAJOR, "kind": Kind.DISK_FULL, "epoch": self._journal.epoch}
            self._stream.send_multipart([pack(header)], zmq.NOBLOCK)

    def _send(self, envelope: list[bytes], frame: bytes) -> None:
        try:
            self._write.send_multipart([*envelope, frame], zmq.NOBLOCK)
        except zmq.ZMQError:
            # The producer is gone or takes nothing; it sends again, and is told then.
            self._core.refuse("acknowledgement_undeliverable")

    # --- files ----------------------------------------------------------------------------------------------------

    def _look_after_files(self) -> None:
        settings = self.service.settings
        now = time.monotonic()
        if self._view.pending_rows >= settings.append_rows or now >= self._append_at:
            self._append_at = now + settings.append_interval_s
            self._append()
        if self._sync_failure is not None:
            # Pages that failed to sync may be marked clean: only a restart, which cuts and replays, is safe.
            raise self._sync_failure
        due = now >= self._checkpoint_at or self._uncheckpointed_bytes > settings.checkpoint_mb * 2**20
        if due and self._syncing is None and self._view.seq > self._journal.checkpoint_seq:
            self._begin_checkpoint()

    def _append(self) -> None:
        before = self._view.seq
        try:
            self._view.append()
        except OSError as error:
            self._storage_failure(error)
        self._index_changed = self._index_changed or self._view.seq != before

    def _begin_checkpoint(self) -> None:
        if self._view.pending_rows:
            self._append()
        if self._view.seq != self._journal.head or not self._flush_digests():
            return  # the disk refuses: no checkpoint, the journal keeps it all
        snapshot = self._view.snapshot()
        self._checkpoint_at = time.monotonic() + self.service.settings.checkpoint_interval_s
        self._uncheckpointed_bytes = 0
        self._syncing = threading.Thread(target=self._sync_in_thread, args=(snapshot,), name="sync", daemon=True)
        self._syncing.start()

    def _sync_in_thread(self, snapshot: Snapshot) -> None:
        try:
            self._call_ids.sync()
            self._view.sync(snapshot)
        except FileNotFoundError:
            # A day was forgotten meanwhile: the next checkpoint has the right files.
            self.service.call_soon(lambda: self._checkpoint_failed(snapshot))
        except OSError as error:
            self._sync_failure = error
        else:
            self.service.call_soon(lambda: self._end_checkpoint(snapshot))

    def _checkpoint_failed(self, snapshot: Snapshot) -> None:
        self._syncing = None
        self._view.put_back(snapshot)

    def _end_checkpoint(self, snapshot: Snapshot) -> None:
        self._syncing = None
        try:
            self._journal.checkpoint(snapshot.seq, [file for file in snapshot.changed if file.path in self._view])
        except sqlite3.Error as error:
            self._view.put_back(snapshot)
            self._storage_failure(error)
            return
        self._drop_segments()

    def _rotate(self) -> None:
        try:
            self._journal.rotate_if_full()
        except (sqlite3.Error, OSError) as error:
            self._storage_failure(error)

    def _drop_segments(self) -> None:
        needed_from = self._progress.droppable(self._journal.checkpoint_seq)
        self._journal.drop_before(needed_from)
        limit = self.service.settings.journal_max_mb * 2**20
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

    def _flush_digests(self) -> bool:
        for hour in list(self._unsaved_digests):
            try:
                self._call_ids.append(hour, self._unsaved_digests[hour])
            except OSError:
                return False
            del self._unsaved_digests[hour]
        return True

    def _heartbeat(self) -> None:
        header = {
            "v": PROTOCOL_MAJOR,
            "kind": Kind.HEAD,
            "epoch": self._journal.epoch,
            "seq": self._journal.head,
            "viewSeq": self._view.seq,
        }
        self._stream.send_multipart([pack(header)], zmq.NOBLOCK)
        for hour in self._core.call_ids.expire(now_ms() // HOUR_MS):
            self._call_ids.remove(hour)

    def _write_index(self) -> None:
        if not self._index_changed:
            return
        try:
            write_json(self.service.data.index / "metrics-index.json", self._view.index(now_ms()))
            self._index_changed = False
        except OSError as error:
            self._storage_failure(error)

    def _stop(self) -> None:
        """Stop intake, drain what has arrived, flush, make a last checkpoint, close."""
        deadline = time.monotonic() + STOP_SYNC_S
        for socket in (self._write, self._push):
            socket.unbind(socket.getsockopt_string(zmq.LAST_ENDPOINT))
        for _ in range(100):
            self._receive()
            if not (self._write.poll(0) or self._push.poll(0)):
                break
        if self._syncing is not None:
            self._syncing.join(max(0.0, deadline - time.monotonic()))
        self._append()
        if self._view.seq == self._journal.head and self._sync_failure is None and self._flush_digests():
            self._last_checkpoint()
        self._write_index()
        self._view.close()
        self._journal.close()
        for socket in (self._write, self._push, self._stream):
            socket.close(linger=0)

    def _last_checkpoint(self) -> None:
        # Files of a checkpoint whose thread ended but was not yet heard of are still marked changed by their sizes.
        snapshot = Snapshot(self._view.seq, tuple(self._view.registrations()))
        try:
            self._call_ids.sync()
            self._view.sync(snapshot)
            self._journal.checkpoint(snapshot.seq, snapshot.changed)
        except (OSError, sqlite3.Error) as error:
            self._log.error("last_checkpoint_failed", reason=str(error))

    def _bind(self, kind: int, name: str) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self.service.context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        if kind == zmq.PUB:
            socket.setsockopt(zmq.SNDHWM, STREAM_HWM)
        else:
            socket.setsockopt(zmq.RCVHWM, RECEIVE_HWM)
        socket.bind(self.service.data.endpoint(name))
        return socket


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
