"""Decides what a producer sends, sends again, and gives up. Pure: time comes in, frames and verdicts go out.

Many messages are under way at a time, as many as the credit window and the sequence window let be; they are sent in the order of
their sequences, and again in that order when the connection is new. Ingest stores a sequence once, however often it comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from perfmon.producer.messages import Message
from perfmon.producer.window import Window
from perfmon.wire import CREDIT_PROBE_S, MAX_FRAME_BYTES, MAX_IN_FLIGHT, Kind

#: How long answers may stay away before all goes again on a new connection; doubled each time up to the limit.
ACK_TIMEOUT_S: Final = 1.0
MAX_ACK_TIMEOUT_S: Final = 8.0
#: How long a producer waits after "not now"; doubled each time up to the limit.
RETRY_PAUSE_S: Final = 0.1
MAX_RETRY_PAUSE_S: Final = 5.0
#: Frames kept until they are acknowledged, in all; one message more may be among them.
MAX_IN_FLIGHT_BYTES: Final = 8 * 1024 * 1024
#: About the size of the largest message that is made, as the buffer counts it; the frame is smaller as a rule.
LARGE_MESSAGE_BYTES: Final = 1024 * 1024
#: The smallest message that is made for want of credit.
SMALL_MESSAGE_BYTES: Final = 16 * 1024
#: Characters of a reason that are kept.
MAX_REASON_CHARS: Final = 100
#: Refusals that pass: nothing was stored, and the same message may be stored later.
TRY_AGAIN: Final = frozenset(
    {"journal_full", "disk_full", "unavailable", "busy", "not_ready", "stopping", "storage_failed"}
)


class Verdict(NamedTuple):
    """What an answer settled. `ticket` names the message that is done; the counts are of its rows; `reason` says why some were
    not stored, or nothing was for now; `reasons` are the rejected rows by reason, as far as these are known.
    """

    ticket: int | None = None
    acknowledged: int = 0
    duplicates: int = 0
    sent: int = 0
    rejected: int = 0
    reason: str | None = None
    reasons: Mapping[str, int] = MappingProxyType({})


#: An answer that settles nothing.
NOTHING: Final = Verdict()


@dataclass(slots=True, eq=False)
class _UnderWay:
    """A message that is not settled; `out` while it is sent and not answered."""

    seq: int
    ticket: int
    frame: bytes
    rows: int
    out: bool = False


class Delivery:
    """The messages under way. `producer` None means fire and forget: a message is done when the socket took it."""

    def __init__(self, producer: str | None, *, probe_s: float = CREDIT_PROBE_S) -> None:
        self.producer = producer
        self.window = Window(probe_s=probe_s)
        self.seq = 0
        self.frames_bytes = 0
        self._under_way: dict[int, _UnderWay] = {}  # by sequence, ascending
        self._unsent: deque[_UnderWay] = deque()  # ascending too
        self._failures = 0
        self._not_before_s = 0.0
        self._progress_s = 0.0

    # --- sending --------------------------------------------------------------------------------------------------

    def appetite_bytes(self, now_s: float) -> int:
        """How large a message may be added now, as the buffer counts; 0 when none should be."""
        if self._unsent or now_s < self._not_before_s:
            return 0
        if self.producer is None:
            return LARGE_MESSAGE_BYTES
        if self._under_way:
            full = len(self._under_way) >= MAX_IN_FLIGHT or self.frames_bytes >= MAX_IN_FLIGHT_BYTES
            if full or self.seq + 1 >= next(iter(self._under_way)) + MAX_IN_FLIGHT:
                return 0
        if not self.window.allows(1, now_s):
            return 0
        return min(max(self.window.left(now_s), SMALL_MESSAGE_BYTES), LARGE_MESSAGE_BYTES)

    def add(self, ticket: int, message: Message, now_s: float) -> Verdict:
        """Take the next message. The verdict counts rows that cannot travel; nothing is under way when none can."""
        if not message.rows:
            return Verdict(ticket, rejected=message.rejected, reason=message.reason, reasons=message.reasons)
        frame = message.frame(self.producer, self.seq + 1)
        if len(frame) > MAX_FRAME_BYTES:
            reasons = {**message.reasons, "frame_too_large": message.rows}
            return Verdict(ticket, rejected=sum(reasons.values()), reason="frame_too_large", reasons=reasons)
        self.seq += 1
        added = _UnderWay(self.seq, ticket, frame, message.rows)
        if not self._under_way:
            self._progress_s = now_s
        self._under_way[added.seq] = added
        self._unsent.append(added)
        self.frames_bytes += len(added.frame)
        return Verdict(rejected=message.rejected, reason=message.reason, reasons=message.reasons)

    def next_frame(self, now_s: float) -> bytes | None:
        """The frame that is to be sent now; the same one until `sent`."""
        if not self._unsent or now_s < self._not_before_s:
            return None
        frame = self._unsent[0].frame
        if self.producer is not None and not self.window.allows(len(frame), now_s):
            return None
        return frame

    def sent(self, now_s: float) -> Verdict:
        """The socket took the frame."""
        message = self._unsent.popleft()
        if self.producer is None:
            return self._done(message, Verdict(message.ticket, sent=message.rows))
        if self.window.out_bytes == 0:
            self._progress_s = now_s
        message.out = True
        self.window.sent(len(message.frame), now_s)
        return NOTHING

    def wait_s(self, now_s: float) -> float:
        """How long nothing but an answer or a row can happen."""
        if now_s < self._not_before_s:
            return self._not_before_s - now_s
        if self.waits_for_answers:
            return max(0.0, self._overdue_at_s() - now_s)
        return self.window.wait_s(now_s)

    # --- answers --------------------------------------------------------------------------------------------------

    def answered(self, kind: str, body: Mapping[str, Any], now_s: float) -> Verdict:
        """What an answer means for what is under way."""
        if kind in (Kind.ACK, Kind.CREDIT):
            self.window.told(body.get("credit"), now_s)
        if kind == Kind.REPLY and body.get("ok") is False:
            # A refusal that does not say of what: of the message that has waited the longest.
            oldest = next((message for message in self._under_way.values() if message.out), None)
            return NOTHING if oldest is None else self._refused(oldest, body.get("error"), now_s)
        seq = body.get("seq")
        if kind != Kind.ACK or body.get("producer") != self.producer or type(seq) is not int:
            return NOTHING
        message = self._under_way.get(seq)
        if message is None:
            return NOTHING
        self._progress_s = now_s
        if body.get("error") is not None:
            return self._refused(message, body["error"], now_s)
        self._failures = 0
        rejected = min(_count(body.get("rejectedTotal")), message.rows)
        kept = message.rows - rejected
        duplicates = min(_count(body.get("duplicates")), kept)
        reasons = _named_reasons(body.get("rejected"), rejected)
        reason = next(iter(reasons), "rejected") if rejected else None
        return self._done(message, Verdict(message.ticket, kept, duplicates, 0, rejected, reason, reasons))

    @property
    def waits_for_answers(self) -> bool:
        """Whether anything is out."""
        return self.window.out_bytes > 0

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._under_way

    def overdue(self, now_s: float) -> bool:
        """Whether no answer came for too long: connect anew."""
        if not self.waits_for_answers or now_s < self._overdue_at_s():
            return False
        self._failures += 1
        return True

    def connected(self, now_s: float) -> int:
        """The connection is a new one: all that is under way is to be sent, again if it was out. How many messages were."""
        again = sum(message.out for message in self._under_way.values())
        for message in self._under_way.values():
            message.out = False
        self._unsent = deque(self._under_way.values())
        self.window.connected(now_s)
        self._progress_s = now_s
        return again

    def give_up(self) -> None:
        """Forget all that is under way."""
        self._under_way.clear()
        self._unsent.clear()
        self.frames_bytes = 0
        self.window.connected(0.0)

    def _refused(self, message: _UnderWay, error: object, now_s: float) -> Verdict:
        code = error.get("code") if isinstance(error, Mapping) else None
        if code not in TRY_AGAIN:
            self._failures = 0
            reason = str(code)[:MAX_REASON_CHARS]
            refused = Verdict(
                message.ticket, rejected=message.rows, reason=f"refused: {reason}", reasons={reason: message.rows}
            )
            return self._done(message, refused)
        self._take_in(message)
        # Whatever else is out will be refused too as a rule: one pause for all of them.
        if now_s >= self._not_before_s:
            pause_s = min(RETRY_PAUSE_S * 2.0 ** min(self._failures, 10), MAX_RETRY_PAUSE_S)
            self._not_before_s = now_s + pause_s
            self._failures += 1
        return Verdict(reason=str(code))

    def _take_in(self, message: _UnderWay) -> None:
        """It is no longer out, and is to be sent again in its turn."""
        if message.out:
            message.out = False
            self.window.settled(len(message.frame))
            self._unsent = deque(sorted([*self._unsent, message], key=lambda unsent: unsent.seq))

    def _done(self, message: _UnderWay, verdict: Verdict) -> Verdict:
        del self._under_way[message.seq]
        self.frames_bytes -= len(message.frame)
        if message.out:
            self.window.settled(len(message.frame))
        elif message in self._unsent:
            self._unsent.remove(message)
        return verdict

    def _overdue_at_s(self) -> float:
        return self._progress_s + min(ACK_TIMEOUT_S * 2.0 ** min(self._failures, 10), MAX_ACK_TIMEOUT_S)


def _count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def _named_reasons(rejected: object, rows: int) -> dict[str, int]:
    """How many of so many rejected rows an `ack` names by which reason; it names the first ones."""
    found: dict[str, int] = {}
    for named in rejected[:rows] if isinstance(rejected, list) else ():
        if isinstance(named, list) and len(named) == 2:
            reason = str(named[1])[:MAX_REASON_CHARS]
            found[reason] = found.get(reason, 0) + 1
    return found
