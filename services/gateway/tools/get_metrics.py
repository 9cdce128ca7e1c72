"""get_metrics: figures of a range, from whichever rollup answers it."""

from __future__ import annotations

from services.gateway.core.arguments import GetMetrics
from services.gateway.core.metrics_answer import FIELDS, metrics_answer, no_metrics_answer, rollup_request
from services.gateway.core.paging import place_of
from services.gateway.core.ranges import resolve_range
from services.gateway.core.schema import listing, number, record, text, whole
from services.gateway.core.shaping import Answer
from services.gateway.tools.spec import ToolContext, ToolSpec


async def _run(arguments: GetMetrics, context: ToolContext) -> Answer:
    place = place_of(SPEC.name, arguments, context.now_ms(), SPEC.example)
    found = resolve_range(SPEC.name, arguments.start_time, arguments.end_time, place.now_ms, SPEC.example)
    request = rollup_request(arguments, found, context.backends.after_seq, place)
    reply = await context.backends.ask("aggregator", "rollup", request)
    if reply.get("rows"):
        return metrics_answer(arguments, found, reply, place)
    known = await context.look_up(arguments.mcp_server, arguments.tool_name)
    if known.problem:
        raise SPEC.refuse(known.problem)
    return no_metrics_answer(arguments, found, reply, known)


RANGE = record(
    {"startTime": text(), "endTime": text()},
    answered=record({"startTime": text(), "endTime": text()}),
)
NEXT_CURSOR = text("For `cursor`.")
FRESHNESS = record({"lastMetric": text(null=True)}, lagEntries=whole("Journal entries not yet in this answer."))

SPEC = ToolSpec(
    name="get_metrics",
    title="Figures of tool calls",
    description=(
        "What was slow, failing or busy: one row a tool (or a tool and time slot with groupBy), highest value first, with "
        "a summary over all calls of the range. Times are ISO-8601 or spans back from now. For one tool over time, give "
        "mcpServer, toolName and groupBy. No data is answered as no data, never as health."
    ),
    arguments=GetMetrics,
    output=record(
        {
            "aggregation": text(enum=list(FIELDS)),
            "unit": text(),
            "metrics": listing(
                record(
                    {
                        "timestamp": text("Start of the slot, or the tool's last call.", null=True),
                        "mcpServer": text(),
                        "toolName": text(),
                        "value": number(null=True),
                        "count": whole(),
                    }
                )
            ),
            "summary": record(
                {
                    "totalCalls": whole(),
                    "avgResponseTime": number("ms", null=True),
                    "p50": number("ms", null=True),
                    "p95": number("ms", null=True),
                    "p99": number("ms", null=True),
                    "errorRate": number("Percent.", null=True),
                }
            ),
            "range": RANGE,
            "source": text("Which rollups answered: raw, minute, hourly, daily or a mix."),
            "freshness": FRESHNESS,
            "rowsTotal": whole("Rows there are."),
            "cut": whole("Rows that follow these."),
        },
        nextCursor=NEXT_CURSOR,
        message=text("Says so when there is no data."),
    ),
    example={"mcpServer": "github", "startTime": "24h", "aggregation": "p95"},
    run=_run,
    needs=("aggregator",),
)
