"""The decisions of one group commit: which messages are stored, in which entries, and what each sender is told.

`plan` looks at all messages that wait; the shell commits what it says in one transaction and then calls `committed`, or
`failed` when the disk refused, after which nothing of the plan is remembered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from perfmon.wire import MAX_ROWS, ack_reply
from services.ingest.core.door import MessageRefused, let_in, named_by, producer_of
from services.ingest.core.duplicates import CallIdMemory, ProducerLedger, Seen, call_digest
from services.ingest.core.frames import Body
from services.ingest.core.placement import Placement
from services.ingest.core.reasons import REASONS
from services.ingest.core.refusals import UNREAD_ROWS, Refusals
from services.ingest.core.validation import NONE_REFUSED, Refused
from shared.batch import Batch, concatenate
from shared.settings import Settings
from shared.timespan import HOUR_MS

#: Bytes of one journal entry; messages are joined up to these, a larger message is an entry of its own. Not more, since entries
#: wait in the stream for slow subscribers.
ENTRY_BYTES: Final = 1024 * 1024


class Message(NamedTuple):
    """One write as it came: `sender` gets the acknowledgement (None: fire and forget)."""

    sender: Any
    kind: str
    body: Body


@dataclass(slots=True)
class Outcome:
    """What becomes of one message, and where its rows stand once committed. `lacking`: its rows when all were refused."""

    sender: Any
    lacking: int = 0
    producer: str | None = None
    seq: int | None = None
    stored: int = 0
    duplicates: int = 0
    refused: Refused = NONE_REFUSED
    entry: int = -1
    first_row: int = 0
    error: tuple[str, str] | None = None


@dataclass(slots=True)
class Plan:
    """One group commit: `entries` are placed batches, in order."""

    now_ms: int
    outcomes: list[Outcome] = field(default_factory=list)
    entries: list[Batch] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)


class Answer(NamedTuple):
    """An acknowledgement to send."""

    sender: Any
    frame: bytes


class IngestCore:
    """What ingest knows, and the counters of what it decided."""

    def __init__(self, settings: Settings) -> None:
        self._retention_ms = settings.raw_retention_hours * HOUR_MS
        self.placement = Placement(settings.max_series)
        self.producers = ProducerLedger()
        self.call_ids = CallIdMemory(settings.call_id_hours, settings.max_call_ids)
        self.stored_total = 0
        self.duplicates_total = 0
        self.refused_total: Counter[str] = Counter()
        self.refusals = Refusals()
        self.last_metric_ms = 0

    def plan(self, messages: Sequence[Message], now_ms: int) -> Plan:
        """Decide about all messages that wait. Only staged: nothing is remembered before `committed`."""
        plan = Plan(now_ms)
        parts: list[tuple[Outcome, Batch]] = []
        for message in messages:
            outcome = Outcome(message.sender)
            plan.outcomes.append(outcome)
            batch = self._decide(message, outcome, plan)
            if batch is not None and len(batch):
                parts.append((outcome, batch))
        self._fill_entries(plan, parts)
        return plan

    def committed(
        self, plan: Plan, epoch: str, last_seq: int, credit_of: Callable[[Any], int | None] = lambda _: None
    ) -> list[Answer]:
        """The plan is on disk, its last entry as `last_seq`: remember it; the acknowledgements, each with the credit that
        `credit_of` gives its sender.
        """
        self.producers.commit()
        self.producers.prune(plan.now_ms)
        self.call_ids.add(plan.now_ms // HOUR_MS, plan.digests)
        first = last_seq - len(plan.entries) + 1
        answers = []
        for outcome in plan.outcomes:
            self._count(outcome, plan.now_ms)
            entry = first + outcome.entry if outcome.entry >= 0 else 0
            if outcome.sender is not None:
                answers.append(self._answer(outcome, epoch, entry, credit_of(outcome.sender)))
        return answers

    def failed(self, plan: Plan, epoch: str, code: str, message: str) -> list[Answer]:
        """The disk refused the plan: forget it; the refusals."""
        self.producers.roll_back()
        answers = []
        for outcome in plan.outcomes:
            self._count_failed(outcome, code)
            if outcome.error is None:
                outcome.stored, outcome.error, outcome.entry = 0, (code, message), -1
            self.refused_total[outcome.error[0]] += 1
            if outcome.sender is not None:
                answers.append(self._answer(outcome, epoch, 0))
        return answers

    def refuse(self, reason: str) -> None:
        """Count a frame that was not even a message."""
        self.refused_total[reason] += 1

    def lose(self, reason: str) -> None:
        """Count a fire-and-forget frame that was not even a message."""
        self.refuse(reason)
        self.refusals.note(reason, UNREAD_ROWS, acknowledged=False)

    def turn_away(self, message: Message, reason: str) -> None:
        """Count a message that nobody looked at, since nothing can be stored now."""
        self.refuse(reason)
        rows = max(UNREAD_ROWS, _claimed_rows(message.body))
        self.refusals.note(reason, rows, acknowledged=message.sender is not None, again=True)

    def replayed(self, batch: Batch, committed_ms: int) -> set[bytes]:
        """Take note of a committed entry that is read again after a start; the call ids that were not known."""
        digests = {call_digest(call_id) for call_id in batch.call_ids.values()}
        unknown = {digest for digest in digests if digest not in self.call_ids}
        self.call_ids.add(committed_ms // HOUR_MS, unknown)
        return unknown

    def _decide(self, message: Message, outcome: Outcome, plan: Plan) -> Batch | None:
        try:
            identity = producer_of(message.body)
            if identity is not None:
                outcome.producer, outcome.seq = identity
                seen = self.producers.look_up(*identity)
                if seen is Seen.TOO_OLD:
                    raise MessageRefused("stale_sequence")
                if seen is Seen.STORED:
                    outcome.duplicates = _claimed_rows(message.body)
                    return None
            arrival = let_in(message.kind, message.body, plan.now_ms, plan.now_ms - self._retention_ms)
        except MessageRefused as refused:
            outcome.producer, outcome.seq = named_by(message.body)
            outcome.error = (refused.reason, f"{REASONS[refused.reason]} ({refused})")
            outcome.lacking = max(UNREAD_ROWS, _claimed_rows(message.body))
            return None
        outcome.refused = arrival.refused
        batch = self._without_known_calls(arrival.batch, plan)
        outcome.duplicates = len(arrival.batch) - len(batch)
        outcome.stored = len(batch)
        if outcome.producer is not None and outcome.seq is not None:
            self.producers.stage(outcome.producer, outcome.seq, plan.now_ms)
        return batch

    def _without_known_calls(self, batch: Batch, plan: Plan) -> Batch:
        if not batch.call_ids:
            return batch
        known = []
        for row, call_id in sorted(batch.call_ids.items()):
            digest = call_digest(call_id)
            if digest in plan.digests or digest in self.call_ids:
                known.append(row)
            plan.digests.add(digest)
        if not known:
            return batch
        keep = np.ones(len(batch), np.bool_)
        keep[known] = False
        return batch.take(keep).compact()

    def _fill_entries(self, plan: Plan, parts: list[tuple[Outcome, Batch]]) -> None:
        group: list[Batch] = []
        rows = size = 0
        for outcome, batch in parts:
            batch_bytes = batch.size_bytes()
            if group and size + batch_bytes > ENTRY_BYTES:
                plan.entries.append(self.placement.place(concatenate(group)))
                group, rows, size = [], 0, 0
            outcome.entry, outcome.first_row = len(plan.entries), rows
            group.append(batch)
            rows += len(batch)
            size += batch_bytes
        if group:
            plan.entries.append(self.placement.place(concatenate(group)))

    def _count(self, outcome: Outcome, now_ms: int) -> None:
        self.stored_total += outcome.stored
        self.duplicates_total += outcome.duplicates
        self.refused_total.update(outcome.refused.by_reason)
        self._count_refused(outcome)
        if outcome.error is not None:
            self.refused_total[outcome.error[0]] += 1
        if outcome.stored:
            self.last_metric_ms = now_ms

    def _count_refused(self, outcome: Outcome) -> None:
        acknowledged = outcome.sender is not None
        if outcome.error is not None:
            self.refusals.note(outcome.error[0], outcome.lacking, acknowledged=acknowledged)
        for reason, rows in outcome.refused.by_reason.items():
            self.refusals.note(reason, rows, acknowledged=acknowledged)

    def _count_failed(self, outcome: Outcome, code: str) -> None:
        acknowledged = outcome.sender is not None
        if outcome.error is not None or not acknowledged:
            self._count_refused(outcome)
        if outcome.error is None:
            # All of an acknowledged message comes again; of another, what was good is lost too.
            rows = outcome.stored + (outcome.refused.total if acknowledged else 0)
            self.refusals.note(code, rows, acknowledged=acknowledged, again=True)

    def _answer(self, outcome: Outcome, epoch: str, entry: int, credit: int | None = None) -> Answer:
        place = None if outcome.producer is None else self.producers.place(outcome.producer)
        frame = ack_reply(
            producer=outcome.producer,
            seq=outcome.seq,
            cumulative=None if place is None else place.cumulative(),
            stored=outcome.stored,
            duplicates=outcome.duplicates,
            rejected=outcome.refused.named,
            rejected_total=outcome.refused.total,
            epoch=epoch,
            entry=entry,
            first_row=outcome.first_row,
            error=outcome.error,
            credit=credit,
        )
        return Answer(outcome.sender, frame)


def _claimed_rows(body: Body) -> int:
    # A claim that no message can have had is none: nobody looked at the rest of this one.
    rows, n = body.get("rows"), body.get("n")
    claimed = len(rows) if isinstance(rows, list) else n
    return claimed if type(claimed) is int and 0 <= claimed <= MAX_ROWS else 0
