"""One metric to store: the row that ingest takes, the answer to its acknowledgement, and words for its refusals. Pure."""

from __future__ import annotations

from typing import Any, Final

from services.gateway.core.arguments import TrackPerformance
from services.gateway.core.refusals import quoted
from services.gateway.core.shaping import Answer, printed
from shared.names import shown
from shared.timespan import iso

#: Characters of a journal's epoch that are part of a metric's id.
EPOCH_CHARS: Final = 8

#: What a caller can do about ingest's reasons; others are named as they are.
ADVICE: Final = {
    "timestamp_in_future": "timestamp is more than 10 minutes ahead of this machine's clock",
    "timestamp_too_old": "timestamp is older than the raw metrics that are kept (24 h unless set otherwise)",
    "timestamp_not_a_time": "timestamp is no time; accepted: ISO-8601",
    "name_reserved": "`__overflow__` is a reserved name",
    "journal_full": "the journal is at its size limit and refuses writes until the files catch up; try again soon",
    "disk_full": "the disk is full; old data is being cleaned up, try again in a minute",
    "stopping": "the pipeline is stopping; try again",
}


def row_of(arguments: TrackPerformance, ts_ms: int) -> dict[str, Any]:
    """The row with the seed's field names; what was not given is left out."""
    row: dict[str, Any] = {
        "mcpServer": arguments.mcp_server,
        "toolName": arguments.tool_name,
        "duration": arguments.duration,
        "success": arguments.success,
        "timestamp": ts_ms,
    }
    if arguments.error_message is not None and not arguments.success:
        row["error"] = arguments.error_message
    if arguments.resource_usage is not None:
        used = arguments.resource_usage
        measured = {"cpu": used.cpu, "memory": used.memory, "diskIO": used.disk_io}
        row["resource"] = {name: value for name, value in measured.items() if value is not None} or None
    if arguments.call_id is not None:
        row["callId"] = arguments.call_id
    return row


def stored_answer(
    arguments: TrackPerformance, ts_ms: int, epoch: str, entry: int, row: int, *, duplicate: bool
) -> Answer:
    """The answer once the metric is on disk."""
    metric_id = None if duplicate else f"m-{epoch[:EPOCH_CHARS]}-{entry}-{row}"
    data = {
        "success": True,
        "metricId": metric_id,
        "timestamp": iso(ts_ms),
        "stored": True,
        "duplicate": duplicate,
    }
    if duplicate:
        return Answer(f"Already stored: this callId {quoted(arguments.call_id)} is known; nothing was added.", data)
    outcome = "ok" if arguments.success else "failed"
    series = f"{quoted(arguments.mcp_server)} / {quoted(arguments.tool_name)}"
    return Answer(f"Stored {metric_id}: {series}, {printed(arguments.duration, 'ms')}, {outcome}.", data)


def refusal_reason(code: str, message: str) -> str:
    """Why ingest did not store a metric."""
    known = ADVICE.get(code)
    return f"{known} ({code})" if known else f"{shown(message)} ({shown(code, 60)})"
