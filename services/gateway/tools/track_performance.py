"""track_performance: store one metric, and say so only when it is on disk."""

from __future__ import annotations

from perfmon.rpc import RpcError, Unavailable
from services.gateway.core.arguments import TrackPerformance
from services.gateway.core.ranges import moment
from services.gateway.core.schema import flag, record, text
from services.gateway.core.shaping import Answer
from services.gateway.core.track_answer import refusal_reason, row_of, stored_answer
from services.gateway.tools.spec import ToolContext, ToolSpec


async def _run(arguments: TrackPerformance, context: ToolContext) -> Answer:
    now_ms = context.now_ms()
    ts_ms = now_ms
    if arguments.timestamp is not None:
        ts_ms = moment(SPEC.name, "timestamp", arguments.timestamp, now_ms, SPEC.example)
    try:
        stored = await context.backends.store(row_of(arguments, ts_ms))
    except Unavailable:
        raise
    except RpcError as error:
        raise SPEC.refuse(f"nothing was stored: {refusal_reason(error.code, error.message)}") from error
    return stored_answer(arguments, ts_ms, stored.epoch, stored.entry, stored.row, duplicate=stored.duplicate)


SPEC = ToolSpec(
    name="track_performance",
    title="Record a tool call",
    description=(
        "Record one call of an MCP tool: how long it took, whether it succeeded, what it used. Answers stored: true only "
        "when the metric is safely on disk. Give a callId to make repeating the call harmless. Calls that come through "
        "`perfmon wrap` or Claude Code's hooks are recorded without this tool."
    ),
    arguments=TrackPerformance,
    output=record(
        {
            "success": flag(),
            "metricId": text("Names the stored metric; null when the callId was known.", null=True),
            "timestamp": text("When the call happened, UTC."),
            "stored": flag("true: the journal has it on disk."),
        },
        duplicate=flag("true: this callId was stored before, nothing was added."),
    ),
    example={"mcpServer": "github", "toolName": "get_issue", "duration": 182.5, "success": True},
    run=_run,
    needs=("ingest",),
    read_only=False,
    idempotent=False,
)
