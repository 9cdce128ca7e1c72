"""Ingest's two write sockets: frames in, messages out, answers back.

Owns `ingest.push` (PULL, fire and forget) and `ingest.write` (ROUTER, acknowledged writes and queries), and what is refused
before it is a message. Requests are answered here too, by the service's own queries; writes are handed on in groups.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

import zmq

from perfmon.wire import MAX_FRAME_BYTES, Kind, WireError, error_reply
from services.ingest.core.frames import read
from services.ingest.core.ingest import Message
from shared.rpc import router
from shared.runtime.service import Service

#: Messages and bytes that go into one group commit at the most, so that an acknowledgement never waits for long.
COMMIT_MESSAGES: Final = 512
COMMIT_BYTES: Final = 8 * 1024 * 1024
#: Frames taken from one socket in a turn, whatever they are, so that a flood of junk or of queries stops nothing.
TURN_FRAMES: Final = 1_024
#: Frames of one message: identity, a REQ's request id and delimiter, the message. ZeroMQ bounds a frame, not their number.
MAX_FRAMES: Final = 4
#: Messages of a connection that libzmq may hold for us; beyond it the producer waits. So one that ignores its credit has at most
#: 128 MiB here, whatever it sends: 8 frames of 16 MiB.
RECEIVE_HWM: Final = 8


class Intake:
    """`refuse` counts a reason, `lose` that of a frame whose sender is not told; `gone` is told of a connection that takes no
    answer.
    """

    def __init__(
        self,
        service: Service,
        refuse: Callable[[str], None],
        lose: Callable[[str], None],
        gone: Callable[[bytes], None],
    ) -> None:
        self._service = service
        self._refuse = refuse
        self._lose = lose
        self._gone = gone
        self._messages: list[Message] = []
        self._received_bytes = 0
        self.push_messages_total = 0

    def bind(self, ready: Callable[[], None]) -> None:
        """Bind both sockets; `ready` is called when something waits on them."""
        context, data = self._service.context, self._service.data
        self._push: zmq.Socket[bytes] = context.socket(zmq.PULL)
        self._push.setsockopt(zmq.LINGER, 0)
        self._push.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._push.setsockopt(zmq.RCVHWM, RECEIVE_HWM)
        self._push.bind(data.endpoint("ingest.push"))
        self._write = router(context, data.endpoint("ingest.write"), receive_hwm=RECEIVE_HWM)
        for socket in (self._push, self._write):
            self._service.watch(socket, ready)
            self._service.guard.add(socket)

    def receive(self) -> list[Message]:
        """All writes that wait on both sockets, as far as one commit takes them. Requests are answered."""
        # Half of a commit each at first, so that a flood on one socket never shuts out the other.
        self._take(self._push, self._on_push_frames, COMMIT_MESSAGES // 2, COMMIT_BYTES // 2)
        self._take(self._write, self._on_write_frames, COMMIT_MESSAGES, COMMIT_BYTES)
        messages, self._messages, self._received_bytes = self._messages, [], 0
        return messages

    def send(self, envelope: list[bytes], frame: bytes) -> None:
        """Send to a connection of `ingest.write`; one that is gone, or takes nothing, is told when it sends again."""
        try:
            self._write.send_multipart([*envelope, frame], zmq.NOBLOCK)
        except zmq.ZMQError:
            self._gone(envelope[0])
            self._refuse("acknowledgement_undeliverable")

    def unbind(self) -> None:
        """Take no new connections."""
        for socket in (self._write, self._push):
            with contextlib.suppress(zmq.ZMQError):  # it does not listen just now: the guard cut its connections
                socket.unbind(socket.getsockopt_string(zmq.LAST_ENDPOINT))

    @property
    def waiting(self) -> bool:
        """Whether something has arrived that was not taken."""
        return bool(self._write.poll(0) or self._push.poll(0))

    def close(self) -> None:
        """Close both sockets."""
        for socket in (self._write, self._push):
            socket.close(linger=0)

    def _take(
        self, socket: zmq.Socket[bytes], take: Callable[[list[bytes]], None], messages: int, size_bytes: int
    ) -> None:
        for _ in range(TURN_FRAMES):
            if len(self._messages) >= messages or self._received_bytes >= size_bytes:
                return
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            take(frames)

    def _on_write_frames(self, frames: list[bytes]) -> None:
        # DEALER: [identity, message]; REQ: [identity, (request id,) empty, message].
        envelope, frame = frames[:-1], frames[-1]
        if len(frames) > MAX_FRAMES:
            self._refuse("too_many_frames")
            self.send(frames[:1], error_reply("", "too_many_frames", "a message is one frame"))
            return
        try:
            kind, body = read(frame)
        except WireError as error:
            self._refuse(error.reason)
            self.send(envelope, error_reply("", error.reason, str(error)))
            return
        if kind in (Kind.ROWS, Kind.BATCH):
            self._enqueue(Message(envelope, kind, body), len(frame))
        elif kind == Kind.REQUEST:
            self._service.rpc.answer(self._write, envelope, frame)
        else:
            self._refuse("unknown_kind")
            self.send(envelope, error_reply(str(body.get("id") or ""), "unknown_kind", f"unknown kind {kind[:40]!r}"))

    def _on_push_frames(self, frames: list[bytes]) -> None:
        self.push_messages_total += 1
        if len(frames) > MAX_FRAMES:
            self._lose("too_many_frames")
            return
        try:
            kind, body = read(frames[-1])
        except WireError as error:
            self._lose(error.reason)
            return
        self._enqueue(Message(None, kind, body), len(frames[-1]))

    def _enqueue(self, message: Message, size: int) -> None:
        self._messages.append(message)
        self._received_bytes += size
