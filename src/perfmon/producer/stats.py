"""The counters that a producer exports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProducerStats:
    """Rows by what became of them, except `resent_total`, which counts messages.

    `acknowledged_total` rows are on disk (`duplicates_total` of them had been before); `sent_total` were handed to the
    socket by a fire-and-forget producer, which never learns more; `rejected_total` were refused for what they are, and
    `rejected_by_reason` says for what, as in docs/protocol.md, "Reasons" (`not_named` where an acknowledgement, which names
    its first 20, did not say); `dropped_total` found no room, or no pipeline before the end. `last_error` is the newest
    reason for any loss or delay.
    `buffered_bytes` is what the buffered rows take, about; `in_flight_bytes` are frames that wait to be acknowledged, and
    `credit_bytes` how many of them ingest allows (None before anything was sent, and for fire and forget).
    """

    recorded_total: int
    acknowledged_total: int
    duplicates_total: int
    sent_total: int
    dropped_total: int
    rejected_total: int
    rejected_by_reason: Mapping[str, int]
    resent_total: int
    in_flight: int
    buffered: int
    buffered_bytes: int
    in_flight_bytes: int
    credit_bytes: int | None
    last_error: str | None
