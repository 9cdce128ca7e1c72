"""get_dashboard: how everything is, at a glance."""

from __future__ import annotations

from typing import Any, Final

from services.gateway.core.arguments import GetDashboard
from services.gateway.core.dashboard_answer import dashboard_answer, dashboard_request
from services.gateway.core.schema import Schema, anything, counts, listing, number, record, text, whole
from services.gateway.core.shaping import Answer
from services.gateway.tools.spec import ToolContext, ToolSpec
from shared.timespan import iso

#: How long the reporter, which asks the others in its turn, may take.
PATIENCE_S: Final = 10.0


async def _run(arguments: GetDashboard, context: ToolContext) -> Answer:
    if arguments.mcp_server is not None:
        known = await context.look_up_or_none(arguments.mcp_server, None)
        if known is not None and known.problem:
            raise SPEC.refuse(known.problem)
    reply: Any = await context.backends.ask(
        "reporter", "dashboard", dashboard_request(arguments, context.backends.after_seq), patience_s=PATIENCE_S
    )
    return dashboard_answer(arguments, reply, iso(context.now_ms()))


def _entries(description: str) -> Schema:
    return {
        "type": ["array", "null"],
        "items": anything(),
        "description": f"{description} null when its service did not answer.",
    }


SPEC = ToolSpec(
    name="get_dashboard",
    title="Everything at a glance",
    description=(
        "Health of the system and of each MCP server, what got slow, worst tools, open alerts, recent anomalies, how "
        "fresh the data is, and what to look at next. Start here when asked how things are. Without data it says since when."
    ),
    arguments=GetDashboard,
    output=record(
        {
            "timestamp": text(),
            "systemHealth": {"description": "Overall status, and why."},
            "mcpServers": listing(
                record(
                    {"name": text()},
                    healthScore=number("0 to 100; null without data.", null=True),
                    status=text(null=True),
                    avgResponseTime=number("ms", null=True),
                    p95=number("ms", null=True),
                    errorRate=number("Percent.", null=True),
                    calls=number(null=True),
                    activeAlerts=number(null=True),
                )
            ),
            "worstTools": _entries("By their own health; those with too few calls to judge last."),
            "activeAlerts": _entries("Worst first."),
            "recentAnomalies": _entries("Those that go on first."),
            "refreshInterval": whole("Seconds until asking again makes sense."),
            "cut": counts("list → entries left out of this answer"),
        },
        slowestTools=_entries("What got slow: p95 before and now; else over its threshold; else just the slowest."),
        freshness=anything("How fresh the figures are."),
    ),
    example={"mcpServer": "github"},
    run=_run,
    needs=("reporter", "aggregator"),
)
