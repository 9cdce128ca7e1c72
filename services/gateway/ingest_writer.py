"""Acknowledged writes to the ingest: many in flight, each resent under its own sequence until it is answered or given up.

Owns a producer id and its sequences. A frame that is sent again is stored once, because ingest remembers the pair; so an answer
that was lost costs a moment and not a metric. What was not acknowledged in time is not reported as stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import zmq

from perfmon.rpc import RpcError, Unavailable
from perfmon.wire import Kind, WireError, encode_rows, unpack_envelope
from perfmon.wire.limits import MAX_FRAME_BYTES

#: How long one write may take, ingest's restart not included.
ACK_PATIENCE_S: Final = 1.8
#: After how long an unanswered frame is sent again.
RESEND_AFTER_S: Final = 0.5
#: Pauses between attempts to reconnect.
RECONNECT_MS: Final = 50
RECONNECT_MAX_MS: Final = 500
#: How long after a write a query asks to see it; later every consumer has it, or the journal has begun a new epoch.
FRESH_S: Final = 10.0
#: Frames that wait for an answer before the next one waits for room.
MAX_IN_FLIGHT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Ack:
    """What ingest did with one message: `stored` rows are fsynced in `entry` of `epoch` from row `first_row` on."""

    epoch: str
    entry: int
    first_row: int
    stored: int
    duplicates: int
    rejected: tuple[tuple[int, str], ...]


@dataclass(slots=True)
class _Flight:
    frame: bytes
    answered: asyncio.Future[dict[str, Any]]
    resent: bool = False


class IngestWriter:
    """Writes to `ingest.write`; lives in one event loop."""

    def __init__(self, endpoint: str, context: zmq.Context[Any], *, patience_s: float = ACK_PATIENCE_S) -> None:
        self.endpoint = endpoint
        self.producer = f"gateway-{secrets.token_hex(8)}"
        self._last_entry: int | None = None
        self._last_at_s = 0.0
        self._patience_s = patience_s
        self._seq = 0
        self._flights: dict[int, _Flight] = {}
        self._room = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._loop = asyncio.get_running_loop()
        self._socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.MAXMSGSIZE, MAX_FRAME_BYTES),
            (zmq.SNDHWM, 2 * MAX_IN_FLIGHT),
            (zmq.RECONNECT_IVL, RECONNECT_MS),
            (zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS),
        ):
            self._socket.setsockopt(option, value)
        self._socket.connect(endpoint)
        self._fd: int = self._socket.getsockopt(zmq.FD)
        self._loop.add_reader(self._fd, self._readable)

    @property
    def fresh_entry(self) -> int | None:
        """The newest journal entry with a row of ours, while a consumer may not have it yet."""
        return self._last_entry if self._loop.time() - self._last_at_s < FRESH_S else None

    async def write(self, rows: Sequence[Mapping[str, Any]], *, patience_s: float | None = None) -> Ack:
        """What became of the rows, once they are on disk.

        Raises: Unavailable when ingest did not answer in time, RpcError when it stored nothing of the message.
        """
        wait_s = self._patience_s if patience_s is None else patience_s
        try:
            async with asyncio.timeout(wait_s), self._room:
                return await self._fly(rows)
        except TimeoutError:
            raise Unavailable(self.endpoint, "write", wait_s) from None

    async def _fly(self, rows: Sequence[Mapping[str, Any]]) -> Ack:
        self._seq += 1
        seq = self._seq
        frame = encode_rows(rows, producer=self.producer, seq=seq)
        if len(frame) > MAX_FRAME_BYTES:
            raise RpcError("frame_too_large", f"a message has at most {MAX_FRAME_BYTES} bytes")
        flight = self._flights[seq] = _Flight(frame, self._loop.create_future())
        timer = self._loop.call_later(RESEND_AFTER_S, self._resend, seq)
        try:
            self._send(frame)
            body = await flight.answered
        finally:
            timer.cancel()
            del self._flights[seq]
        return self._ack(body, len(rows), resent=flight.resent)

    def close(self) -> None:
        """Let go of the socket; writes under way are given up. Idempotent."""
        if not self._socket.closed:
            self._loop.remove_reader(self._fd)
            self._socket.close(linger=0)
        for flight in self._flights.values():
            flight.answered.cancel()

    def _ack(self, body: dict[str, Any], rows: int, *, resent: bool) -> Ack:
        error = body.get("error")
        if isinstance(error, dict):
            raise RpcError(str(error.get("code", "refused")), str(error.get("message", "")))
        ack = Ack(
            epoch=str(body.get("epoch", "")),
            entry=int(body.get("entry") or 0),
            first_row=int(body.get("firstRow") or 0),
            stored=int(body.get("stored") or 0),
            duplicates=int(body.get("duplicates") or 0),
            rejected=tuple((int(index), str(reason)) for index, reason in body.get("rejected") or ()),
        )
        if resent and ack.duplicates == rows:
            # Our own first attempt was stored and its answer lost.
            return Ack(ack.epoch, ack.entry, ack.first_row, rows, 0, ())
        if ack.stored:
            self._last_entry, self._last_at_s = ack.entry, self._loop.time()
        return ack

    def _resend(self, seq: int) -> None:
        flight = self._flights.get(seq)
        if flight is not None and not flight.answered.done():
            flight.resent = True
            self._send(flight.frame)
            self._loop.call_later(RESEND_AFTER_S, self._resend, seq)

    def _send(self, frame: bytes) -> None:
        with contextlib.suppress(zmq.Again):  # the socket's queue is full; the frame comes again
            self._socket.send(frame, zmq.NOBLOCK)
        # The descriptor tells edges, not levels, and sending may have consumed one.
        if int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._loop.call_soon(self._readable)

    def _readable(self) -> None:
        while not self._socket.closed:
            try:
                frame = self._socket.recv_multipart(zmq.NOBLOCK)[-1]
            except zmq.Again:
                return
            self._answered(frame)

    def _answered(self, frame: bytes) -> None:
        try:
            envelope = unpack_envelope(frame)
        except WireError:
            return
        seq = envelope.body.get("seq")
        flight = self._flights.get(seq) if isinstance(seq, int) else None
        if envelope.kind == Kind.ACK and flight is not None and not flight.answered.done():
            flight.answered.set_result(envelope.body)
