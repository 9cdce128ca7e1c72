"""The door: one message in, what is let in of it out.

Takes a `rows` or `batch` message and returns a validated, redacted batch with the refused rows named. A message that was
decoded by type goes the fast way (`typed_rows`, `typed_columns`), any other and any that has a fault of structure the strict
way (`rows`, `shared.batch`), which names what is wrong; both end in the same checks of values. Knows nothing of producers'
sequences or call ids (`duplicates`), nor of files (`placement`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from perfmon.wire import MAX_PRODUCER_BYTES, MAX_ROWS, Kind, WireError
from services.ingest.core.frames import Body, Rows, Written
from services.ingest.core.redact import redact
from services.ingest.core.rows import is_call_id, rows_to_batch
from services.ingest.core.typed_columns import columns_of
from services.ingest.core.typed_rows import rows_of
from services.ingest.core.validation import MAX_NAMED, Bool, Refused, check_names, check_values
from shared.batch import Batch, BatchError, from_columns


class Arrival(NamedTuple):
    """What is let in of one message. `rows` counts all rows it had."""

    batch: Batch
    refused: Refused
    rows: int


class MessageRefused(ValueError):
    """Nothing of the message can be let in; `reason` is one of `reasons.REASONS`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


def let_in(kind: str, body: Body, now_ms: int, oldest_ms: int) -> Arrival:
    """The good rows of a message.

    Raises: MessageRefused.
    """
    if isinstance(body, Written):
        arrival = _typed(body, now_ms, oldest_ms)
        if arrival is not None:
            return arrival
        try:
            body = body.unpacked()
        except WireError as error:
            # It was read by type, which is a little more patient (with a key that comes 100,000 times, say).
            raise MessageRefused("bad_batch", str(error)) from error
    if kind == Kind.ROWS:
        return _rows(body, now_ms, oldest_ms)
    if kind == Kind.BATCH:
        return _batch(body, now_ms, oldest_ms)
    raise MessageRefused("unknown_kind")


def producer_of(body: Body) -> tuple[str, int] | None:
    """Who sent a message and its sequence; None when it does not say.

    Raises: MessageRefused when it says one without the other, or not as a string and a positive integer.
    """
    producer, seq = body.get("producer"), body.get("seq")
    if producer is None and seq is None:
        return None
    if not isinstance(producer, str) or type(seq) is not int or not 0 < seq < 2**63:
        raise MessageRefused("bad_producer")
    if not _is_producer(producer):
        raise MessageRefused("bad_producer")
    return producer, seq


def named_by(body: Body) -> tuple[str | None, int | None]:
    """What a message says of its producer and sequence, right or wrong, as far as an answer can repeat it."""
    producer, seq = body.get("producer"), body.get("seq")
    return (
        producer if isinstance(producer, str) and _is_producer(producer) else None,
        seq if type(seq) is int else None,
    )


def _is_producer(name: str) -> bool:
    try:
        return 0 < len(name.encode()) <= MAX_PRODUCER_BYTES
    except UnicodeEncodeError:
        return False


def _typed(body: Written, now_ms: int, oldest_ms: int) -> Arrival | None:
    """The arrival of a message that has no fault of structure; None when it has one."""
    message, sparse = body.message, body.sparse
    if isinstance(message, Rows):
        typed = rows_of(message.rows, now_ms)
    else:
        typed = None if sparse is None else columns_of(message, sparse)
    if typed is None:
        return None
    batch = typed.batch
    faults = [] if typed.names_good else check_names(batch)
    good, refused = check_values(batch, now_ms, oldest_ms, faults)
    kept = batch if good is None and typed.compact else _kept(batch, good)
    return Arrival(_redacted(kept), refused, len(batch))


def _rows(body: dict[Any, Any], now_ms: int, oldest_ms: int) -> Arrival:
    rows = body.get("rows")
    if not isinstance(rows, list):
        raise MessageRefused("bad_batch", "`rows` is a list of maps")
    if len(rows) > MAX_ROWS:
        raise MessageRefused("too_many_rows")
    batch, origin, misshapen = rows_to_batch(rows, now_ms)
    good, refused = check_values(batch, now_ms, oldest_ms, check_names(batch))
    named = sorted([*misshapen.named, *((origin[row], reason) for row, reason in refused.named)])[:MAX_NAMED]
    by_reason = {**misshapen.by_reason, **_added(misshapen, refused)}
    return Arrival(_redacted(_kept(batch, good)), Refused(named, by_reason), len(rows))


def _batch(body: dict[Any, Any], now_ms: int, oldest_ms: int) -> Arrival:
    n = body.get("n")
    if type(n) is int and n > MAX_ROWS:
        raise MessageRefused("too_many_rows")
    # `paths` is ingest's own column; a producer's word for a path is never taken.
    columns = {key: value for key, value in body.items() if key != "paths"}
    try:
        batch = from_columns(columns)
    except BatchError as error:
        raise MessageRefused("bad_batch", str(error)) from error
    good, refused = check_values(batch, now_ms, oldest_ms, check_names(batch))
    misnamed = {row for row, call_id in batch.call_ids.items() if not is_call_id(call_id)}
    if misnamed:
        good, refused = _without(batch, good, refused, misnamed)
    return Arrival(_redacted(_kept(batch, good)), refused, len(batch))


def _without(batch: Batch, good: Bool | None, refused: Refused, rows: set[int]) -> tuple[Bool, Refused]:
    mask = np.ones(len(batch), np.bool_) if good is None else good
    fresh = sorted(row for row in rows if mask[row])
    mask[fresh] = False
    named = sorted([*refused.named, *((row, "call_id_not_text") for row in fresh)])[:MAX_NAMED]
    return mask, Refused(named, {**refused.by_reason, "call_id_not_text": len(fresh)})


def _added(first: Refused, second: Refused) -> dict[str, int]:
    return {reason: count + first.by_reason.get(reason, 0) for reason, count in second.by_reason.items()}


def _kept(batch: Batch, good: Bool | None) -> Batch:
    # Names that no good row has were refused or never checked: they must not become series or files.
    return (batch if good is None else batch.take(good)).compact()


def _redacted(batch: Batch) -> Batch:
    # An outage says the same thing many times.
    known: dict[str, str] = {}
    for row, message in batch.errors.items():
        redacted = known.get(message)
        if redacted is None:
            redacted = known[message] = redact(message)
        batch.errors[row] = redacted
    return batch
