"""Decides what a producer sends, sends again, and gives up. Pure: time comes in, frames and verdicts go out.

One message is under way at a time. Ingest knows a producer by the highest sequence it stored, so a message that was refused
must never be overtaken by a later one: its repetition would be taken for a duplicate and lost. A message that is not
answered in time goes again under the same sequence, which ingest stores once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from perfmon.producer.rows import Row, build_message
from perfmon.wire import Kind

#: How long an answer may take before the message goes again; doubled each time up to the limit.
ACK_TIMEOUT_S: Final = 1.0
MAX_ACK_TIMEOUT_S: Final = 8.0
#: How long a producer waits after "not now"; doubled each time up to the limit.
RETRY_PAUSE_S: Final = 0.1
MAX_RETRY_PAUSE_S: Final = 5.0
#: Refusals that pass: nothing was stored, and the same message may be stored later.
TRY_AGAIN: Final = frozenset(
    {"journal_full", "disk_full", "unavailable", "busy", "not_ready", "stopping", "storage_failed"}
)


class Phase(Enum):
    """Where the message under way stands."""

    IDLE = "idle"  # there is none
    READY = "ready"  # to be sent, once `not_before_s` is past
    WAITING = "waiting"  # sent, the answer is due by `deadline_s`


class Verdict(NamedTuple):
    """What an answer settled. `rows` counts are zero unless the message is done; `reason` says why rows were not stored."""

    done: bool
    acknowledged: int = 0
    duplicates: int = 0
    sent: int = 0
    rejected: int = 0
    reason: str | None = None


#: An answer to something that is no longer under way.
STALE: Final = Verdict(False)


class Delivery:
    """The message under way. `producer` None means fire and forget: a message is done when the socket took it."""

    def __init__(self, producer: str | None) -> None:
        self._producer = producer
        self.phase = Phase.IDLE
        self.frame = b""
        self.seq = 0
        self._rows = 0
        self._attempts = 0
        self._not_before_s = 0.0
        self._deadline_s = 0.0

    def load(self, rows: Sequence[Row], now_s: float) -> Verdict:
        """Make the next message. The verdict counts rows that cannot travel; it is done when none can."""
        seq = None if self._producer is None else self.seq + 1
        message = build_message(rows, producer=self._producer, seq=seq)
        if not message.rows:
            return Verdict(True, rejected=message.rejected, reason=message.reason)
        self.seq += 1
        self.frame, self._rows = message.frame, message.rows
        self.phase, self._attempts, self._not_before_s = Phase.READY, 0, now_s
        return Verdict(False, rejected=message.rejected, reason=message.reason)

    def wait_s(self, now_s: float) -> float:
        """How long nothing but an answer or a row can happen."""
        due_s = self._not_before_s if self.phase is Phase.READY else self._deadline_s
        return max(0.0, due_s - now_s)

    def sent(self, now_s: float) -> Verdict:
        """The socket took the frame."""
        if self._producer is None:
            return self._finish(Verdict(True, sent=self._rows))
        timeout_s = min(ACK_TIMEOUT_S * 2.0 ** min(self._attempts, 10), MAX_ACK_TIMEOUT_S)
        self.phase, self._deadline_s = Phase.WAITING, now_s + timeout_s
        return STALE

    def timed_out(self, now_s: float) -> bool:
        """Whether the answer is overdue; if so the message is ready to be sent again at once."""
        if self.phase is not Phase.WAITING or now_s < self._deadline_s:
            return False
        self.phase, self._not_before_s = Phase.READY, now_s
        self._attempts += 1
        return True

    def answered(self, kind: str, body: Mapping[str, Any], now_s: float) -> Verdict:
        """What an answer means for the message under way."""
        if self.phase is Phase.IDLE:
            return STALE
        if kind == Kind.REPLY and body.get("ok") is False:
            return self._refused(body.get("error"), now_s)
        if kind != Kind.ACK or body.get("seq") != self.seq or body.get("producer") != self._producer:
            return STALE
        if body.get("error") is not None:
            return self._refused(body["error"], now_s)
        rejected = min(_count(body.get("rejectedTotal")), self._rows)
        kept = self._rows - rejected
        duplicates = min(_count(body.get("duplicates")), kept)
        reason = _first_reason(body.get("rejected")) if rejected else None
        return self._finish(Verdict(True, acknowledged=kept, duplicates=duplicates, rejected=rejected, reason=reason))

    def give_up(self, reason: str) -> Verdict:
        """Let the message go unsettled; its rows count as rejected."""
        return self._finish(Verdict(True, rejected=self._rows, reason=reason))

    def _refused(self, error: object, now_s: float) -> Verdict:
        code = error.get("code") if isinstance(error, Mapping) else None
        if code not in TRY_AGAIN:
            return self.give_up(f"refused: {code}"[:200])
        pause_s = min(RETRY_PAUSE_S * 2.0 ** min(self._attempts, 10), MAX_RETRY_PAUSE_S)
        self.phase, self._not_before_s = Phase.READY, now_s + pause_s
        self._attempts += 1
        return Verdict(False, reason=str(code))

    def _finish(self, verdict: Verdict) -> Verdict:
        self.phase, self.frame, self._rows = Phase.IDLE, b"", 0
        return verdict


def _count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def _first_reason(rejected: object) -> str:
    if isinstance(rejected, list) and rejected and isinstance(rejected[0], list) and len(rejected[0]) == 2:
        return str(rejected[0][1])[:200]
    return "rejected"
