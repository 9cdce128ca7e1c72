"""detect_anomalies: what is abnormal, each tool against its own history."""

from __future__ import annotations

from typing import Final

from services.gateway.core.anomalies_answer import anomalies_answer, anomalies_request
from services.gateway.core.arguments import DetectAnomalies
from services.gateway.core.known_names import Known
from services.gateway.core.paging import place_of
from services.gateway.core.ranges import LOOKBACKS_MS, Range
from services.gateway.core.schema import anything, counts, listing, number, record, text, whole
from services.gateway.core.shaping import Answer
from services.gateway.tools.get_metrics import NEXT_CURSOR, RANGE
from services.gateway.tools.spec import ToolContext, ToolSpec

#: How long a search over a day of thousands of series may take before we give up on it.
PATIENCE_S: Final = 20.0


async def _run(arguments: DetectAnomalies, context: ToolContext) -> Answer:
    place = place_of(SPEC.name, arguments, context.now_ms(), SPEC.example)
    found = Range(place.now_ms - LOOKBACKS_MS[arguments.lookback_window], place.now_ms)
    request = anomalies_request(arguments, found, place)
    reply = await context.backends.ask("detector", "anomalies", request, patience_s=PATIENCE_S)
    if reply.get("anomalies"):
        return anomalies_answer(arguments, found, reply, None, place)
    known = await context.look_up_or_none(arguments.mcp_server, arguments.tool_name)
    if known is None:
        known = Known(None, (reply.get("freshness") or {}).get("lastMetricMs"))
    if known.problem:
        raise SPEC.refuse(known.problem)
    return anomalies_answer(arguments, found, reply, known, place)


SPEC = ToolSpec(
    name="detect_anomalies",
    title="What is abnormal",
    description=(
        "Find response-time spikes and shifts, error-rate spikes, resource spikes and leaks, and changes of throughput. One "
        "event is one anomaly, with what was expected, how far off it is, how sure that is, and what to do. Only reads."
    ),
    arguments=DetectAnomalies,
    output=record(
        {
            "anomalies": listing(
                record(
                    {
                        "timestamp": text("When it began.", null=True),
                        "mcpServer": text(null=True),
                        "toolName": text(null=True),
                        "anomalyType": text(null=True),
                        "severity": text(null=True),
                        "details": record(
                            {},
                            currentValue=number(null=True),
                            expectedRange=text(null=True),
                            confidence=number("null: unknown.", null=True),
                            method=text(null=True),
                        ),
                        "recommendations": listing(text()),
                    },
                    id=text("For `perfmon explain`."),
                    summary=text("What, since when, how sure."),
                    incident=record({}, id=text(), role=text("cause, effect or alone.")),
                    explanation=anything("With detail=full."),
                )
            ),
            "summary": record(
                {"total": whole(), "bySeverity": counts("severity → number"), "byType": counts("type → number")},
                incidents=listing(anything("id, cause, confidence, members, since, servers.")),
                autoFinds=whole(),
            ),
            "range": RANGE,
            "method": text(),
            "sensitivity": text(),
            "coverage": anything("How much was looked at."),
            "cut": whole("Rows that follow these."),
        },
        nextCursor=NEXT_CURSOR,
        message=text("Says whether there is no anomaly or no data."),
    ),
    example={"lookbackWindow": "24h", "sensitivity": "high", "mcpServer": "github"},
    run=_run,
    needs=("detector", "aggregator"),
)
