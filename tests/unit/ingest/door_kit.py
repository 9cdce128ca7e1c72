"""Rows that come to the door of ingest at one moment, and what became of them."""

from __future__ import annotations

from typing import Any

from perfmon.wire import Kind
from services.ingest.core.door import Arrival, let_in
from services.ingest.core.reasons import REASONS
from shared.timespan import HOUR_MS

NOW = 1_761_915_600_123
OLDEST = NOW - 24 * HOUR_MS
GOOD: dict[str, Any] = {"mcpServer": "files", "toolName": "read", "duration": 12.5, "success": True}


def arrive(*rows: Any) -> Arrival:
    return let_in(Kind.ROWS, {"rows": list(rows)}, NOW, OLDEST)


def refused_as(**changes: Any) -> str:
    """The reason for which a row with these changes is refused, between two good neighbours that are stored."""
    arrival = arrive(GOOD, GOOD | changes, GOOD)
    assert len(arrival.batch) == 2
    [(index, reason)] = arrival.refused.named
    assert index == 1
    assert arrival.refused.by_reason == {reason: 1}
    assert reason in REASONS
    return reason
