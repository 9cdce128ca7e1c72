"""The credit window of one connection: how many bytes may be unacknowledged on it, as ingest says. Pure.

The rules are those of docs/protocol.md, "Credit". Counts bytes of frames; knows nothing of what is in them.
"""

from __future__ import annotations

from perfmon.wire import CREDIT_LAPSE_S, CREDIT_PROBE_S, INITIAL_CREDIT_BYTES


class Window:
    """What may be sent now. Times are seconds of a clock that is never set back.

    probe_s: how long a producer without credit waits before it sends one message all the same.
    """

    def __init__(self, *, probe_s: float = CREDIT_PROBE_S) -> None:
        self._probe_s = probe_s
        self.connected(0.0)

    def connected(self, now_s: float) -> None:
        """The connection is a new one: nothing is out on it."""
        self.out_bytes = 0
        self._credit = INITIAL_CREDIT_BYTES
        self._told_s = self._sent_s = now_s

    def told(self, credit: object, now_s: float) -> None:
        """What came as `credit`; anything but a number of bytes is ignored."""
        if type(credit) is int and credit >= 0:
            self._credit, self._told_s = credit, now_s

    def sent(self, size_bytes: int, now_s: float) -> None:
        """A frame went out."""
        self.out_bytes += size_bytes
        self._sent_s = now_s

    def settled(self, size_bytes: int) -> None:
        """A frame that was out was answered."""
        self.out_bytes -= size_bytes

    def credit(self, now_s: float) -> int:
        """The window in bytes."""
        if now_s - self._told_s >= CREDIT_LAPSE_S:
            return min(self._credit, INITIAL_CREDIT_BYTES)
        return self._credit

    def left(self, now_s: float) -> int:
        """Bytes that fit now."""
        return max(0, self.credit(now_s) - self.out_bytes)

    def allows(self, size_bytes: int, now_s: float) -> bool:
        """Whether a frame of this size may go out."""
        credit = self.credit(now_s)
        if credit == 0:
            return now_s >= self._probe_at_s()
        return self.out_bytes + size_bytes <= credit or self.out_bytes == 0

    def wait_s(self, now_s: float) -> float:
        """How long until a probe is allowed, when there is no credit."""
        return max(0.0, self._probe_at_s() - now_s)

    def _probe_at_s(self) -> float:
        return max(self._told_s, self._sent_s) + self._probe_s
