"""Servers that were called in a window and are called no more: figures of the past are no health.

Pure: from a row's own calls and the window. Whether a silence is unusual by the hour of the day is the detector's to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from services.reporter.core.answers import Anomalies, Anomaly
from services.reporter.core.figures import clock_text
from services.reporter.core.health import HEALTHY_FROM, Health
from services.reporter.core.model import Range, ServerRow
from services.reporter.core.text import Text, Untrusted
from shared.timespan import MINUTE_MS

#: Since when no call is worth a word.
WORTH_A_WORD_MS: Final = 10 * MINUTE_MS
#: Calls that the silence would have had, by the pace of those before it, from which on nothing is known of the server's health.
MISSED_CALLS: Final = 8.0


def with_silence(row: ServerRow, span: Range) -> ServerRow:
    """The row; without a score when it was well and its calls stopped."""
    since_ms = silent_since(row, span)
    if since_ms is None or row.health.status != "healthy" or not _stopped(row, since_ms, span):
        return row
    return replace(row, health=Health(None, "no_data", row.health.reasons, row.health.few_calls))


def silent_word(row: ServerRow, span: Range) -> str:
    """`no calls since 13:05Z`; empty when it is called."""
    since_ms = silent_since(row, span)
    return "" if since_ms is None else f"no calls since {clock_text(since_ms, span.end_ms)}"


def of_silence(health: Health, rows: Sequence[ServerRow], span: Range, anomalies: Anomalies | None) -> Health:
    """The system's health with a word about the servers that stopped; no longer healthy when the detector finds that unusual."""
    silent = [(row.stats.server, silent_since(row, span)) for row in rows if row.health.score is None]
    stopped = [(server, since_ms) for server, since_ms in silent if since_ms is not None]
    if not stopped or health.score is None:
        return health
    unusual = {a.server for a in (anomalies.rows if anomalies else ()) if _is_silence(a)}
    stopped.sort(key=lambda one: (one[0] not in unusual, -one[1]))
    server, since_ms = stopped[0]
    more = f", and {len(stopped) - 1} more" if len(stopped) > 1 else ""
    word: Text = (Untrusted(server), f" has had no calls since {clock_text(since_ms, span.end_ms)}{more}")
    if server in unusual and health.score >= HEALTHY_FROM:
        return replace(health, score=HEALTHY_FROM - 1, status="degraded", reasons=(word, *health.reasons))
    return replace(health, reasons=(*health.reasons[:1], word, *health.reasons[1:]))


def _is_silence(anomaly: Anomaly) -> bool:
    return anomaly.kind == "throughput_change" and anomaly.value == 0 and anomaly.end_ms is None


def silent_since(row: ServerRow, span: Range) -> int | None:
    """The last call of a server that had some in the window, if it is some time ago."""
    last_ms = row.stats.last_ts
    known = last_ms is not None and row.stats.count > 0 and last_ms >= span.start_ms
    return last_ms if known and span.end_ms - (last_ms or 0) >= WORTH_A_WORD_MS else None


def _stopped(row: ServerRow, since_ms: int, span: Range) -> bool:
    """Whether at the pace of the calls before many would have come since."""
    first_ms = max(span.start_ms, row.stats.first_ts or span.start_ms)
    called_ms = max(since_ms - first_ms, MINUTE_MS)
    return row.stats.count * (span.end_ms - since_ms) / called_ms >= MISSED_CALLS
