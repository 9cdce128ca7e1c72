"""generate_report: a report of a range, in a file and as much inline as can be read."""

from __future__ import annotations

from typing import Any, Final

from services.gateway.core.arguments import GenerateReport
from services.gateway.core.ranges import PERIODS_MS, Range, resolve_range
from services.gateway.core.report_answer import report_answer, report_request
from services.gateway.core.schema import anything, listing, record, text
from services.gateway.core.shaping import Answer
from services.gateway.tools.get_metrics import RANGE
from services.gateway.tools.spec import ToolContext, ToolSpec

#: How long a report over a long range may take before we give up on it.
PATIENCE_S: Final = 30.0


async def _run(arguments: GenerateReport, context: ToolContext) -> Answer:
    found = _range(arguments, context.now_ms())
    if arguments.mcp_server is not None:
        known = await context.look_up_or_none(arguments.mcp_server, None)
        if known is not None and known.problem:
            raise SPEC.refuse(known.problem)
    reply: Any = await context.backends.ask(
        "reporter", "report", report_request(arguments, found, context.backends.after_seq), patience_s=PATIENCE_S
    )
    return report_answer(arguments, found, reply)


def _range(arguments: GenerateReport, now_ms: int) -> Range:
    if arguments.start_time is not None:
        return resolve_range(SPEC.name, arguments.start_time, arguments.end_time or "now", now_ms, SPEC.example)
    return Range(now_ms - PERIODS_MS[arguments.period or "day"], now_ms)


SPEC = ToolSpec(
    name="generate_report",
    title="Write a report",
    description=(
        "Write a report with worst tools, error rates, trends against the window before, anomalies, alerts and "
        "recommendations. It is kept in a file, whose path is answered; markdown and JSON also come inline, cut when long."
    ),
    arguments=GenerateReport,
    output=record(
        {
            "format": text(enum=["markdown", "json", "html"]),
            "report": {
                "type": ["string", "object", "array", "null"],
                "description": "Markdown text or the JSON report, cut when long; null for html.",
            },
            "path": text("The file with the whole report; null when it could not be written.", null=True),
            "digest": text("What it says, in a few lines."),
            "summary": anything("Its main figures."),
            "recommendations": listing({"description": "What to do, and why."}),
            "gaps": listing(text("What could not be asked for.")),
            "range": RANGE,
        }
    ),
    example={"period": "day", "format": "markdown"},
    run=_run,
    needs=("reporter", "aggregator"),
    read_only=False,
    idempotent=False,
)
