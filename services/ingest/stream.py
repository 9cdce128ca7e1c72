"""The stream (PUB): every committed entry, the head as a heartbeat, and the call for a clean-up.

Subscribers that are slow lose messages and read the journal instead, so nothing here waits for them.
"""

from __future__ import annotations

from typing import Any, Final

import zmq

from perfmon.wire import PROTOCOL_MAJOR, Kind, pack
from shared.journal.writer import JournalWriter
from shared.runtime.service import Service

#: Entries that a slow subscriber may have waiting before it loses some, and the largest of them: a larger one is only announced,
#: by a head beyond what subscribers have. So a stopped consumer holds 68 MiB here at the most.
STREAM_HWM: Final = 64
STREAM_ENTRY_BYTES: Final = 1024 * 1024 + 64 * 1024


class Stream:
    """Publishes on behalf of the journal."""

    def __init__(self, service: Service, journal: JournalWriter) -> None:
        self._journal = journal
        self._socket: zmq.Socket[bytes] = service.context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, STREAM_HWM)
        self._socket.bind(service.data.endpoint("stream"))
        service.guard.add(self._socket)

    def entries(self, bodies: list[bytes], committed_ms: int, view_seq: int) -> None:
        """The journal's last entries."""
        for seq, body in enumerate(bodies, self._journal.head - len(bodies) + 1):
            if len(body) <= STREAM_ENTRY_BYTES:
                self._publish(Kind.ENTRY, body, seq=seq, committedMs=committed_ms)
            else:
                self.head(view_seq)

    def head(self, view_seq: int) -> None:
        """How far the journal is, and the files."""
        self._publish(Kind.HEAD, seq=self._journal.head, viewSeq=view_seq)

    def disk_full(self) -> None:
        """Whoever can remove something is asked to."""
        self._publish(Kind.DISK_FULL)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(linger=0)

    def _publish(self, kind: Kind, *body: bytes, **fields: Any) -> None:
        header = {"v": PROTOCOL_MAJOR, "kind": kind, "epoch": self._journal.epoch, **fields}
        self._socket.send_multipart([pack(header), *body], zmq.NOBLOCK)
