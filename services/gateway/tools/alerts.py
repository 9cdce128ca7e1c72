"""set_alert_threshold, get_active_alerts, acknowledge_alert: what the alerter keeps."""

from __future__ import annotations

from services.gateway.core.alerts_answer import (
    acknowledged_answer,
    alerts_answer,
    alerts_request,
    threshold_answer,
    threshold_request,
)
from services.gateway.core.arguments import AcknowledgeAlert, GetActiveAlerts, SetAlertThreshold
from services.gateway.core.paging import place_of
from services.gateway.core.ranges import window_ms
from services.gateway.core.schema import anything, counts, flag, listing, number, record, text, whole
from services.gateway.core.shaping import Answer
from services.gateway.tools.get_metrics import NEXT_CURSOR
from services.gateway.tools.spec import ToolContext, ToolSpec

ALERT = record(
    {
        "alertId": text(null=True),
        "mcpServer": text(null=True),
        "toolName": text(null=True),
        "severity": text(null=True),
        "condition": text(null=True),
        "status": text(null=True),
    },
    timestamp=text(null=True),
    currentValue=number(null=True),
    threshold=number(null=True),
    acknowledgedBy=text(null=True),
    notes=text(null=True),
    unit=text("Of currentValue and threshold.", null=True),
    judgedBy=text("One call, or which figure over which window.", null=True),
)


async def _set_threshold(arguments: SetAlertThreshold, context: ToolContext) -> Answer:
    span_ms = None
    if arguments.window is not None:
        span_ms = window_ms(SET_ALERT_THRESHOLD.name, arguments.window, SET_ALERT_THRESHOLD.example)
    request = threshold_request(arguments, span_ms)
    reply = await context.backends.ask("alerter", "thresholds.set", request, mutation=True)
    note = None
    if arguments.mcp_server is not None or arguments.tool_name is not None:
        # A threshold may come before the first metric; a misspelt name should still be noticed.
        known = await context.look_up_or_none(arguments.mcp_server, arguments.tool_name)
        note = None if known is None else known.problem
    return threshold_answer(arguments, reply, note)


async def _active_alerts(arguments: GetActiveAlerts, context: ToolContext) -> Answer:
    place = place_of(GET_ACTIVE_ALERTS.name, arguments, context.now_ms(), GET_ACTIVE_ALERTS.example)
    reply = await context.backends.ask("alerter", "alerts.list", alerts_request(arguments, place))
    if reply.get("alerts"):
        return alerts_answer(arguments, reply, None, place)
    known = await context.look_up_or_none(arguments.mcp_server, None)
    if known is not None and known.problem:
        raise GET_ACTIVE_ALERTS.refuse(known.problem)
    return alerts_answer(arguments, reply, known, place)


async def _acknowledge(arguments: AcknowledgeAlert, context: ToolContext) -> Answer:
    request = {"alertId": arguments.alert_id, "acknowledgedBy": arguments.acknowledged_by}
    if arguments.notes is not None:
        request["notes"] = arguments.notes
    reply = await context.backends.ask("alerter", "alerts.acknowledge", request, mutation=True)
    return acknowledged_answer(arguments, reply)


SET_ALERT_THRESHOLD = ToolSpec(
    name="set_alert_threshold",
    title="Set an alert threshold",
    description=(
        "Raise an alert when a metric goes above a threshold. The most specific threshold wins: server and tool, server, "
        "tool, all. Without aggregation and window, response_time is judged on every call as it arrives; error_rate always "
        "over a window. Setting the same metric, severity and scope again replaces it; enabled=false switches it off."
    ),
    arguments=SetAlertThreshold,
    output=record(
        {
            "success": flag(),
            "thresholdId": text(),
            "config": anything("The threshold as it is kept."),
            "alsoApply": listing(anything("A narrower or wider threshold that applies too.")),
        },
        openAlerts=listing(text("An open alert that the threshold covers.")),
        resolvedAlerts=listing(text("An alert that ended by this, for no threshold that now holds is breached.")),
        message=text("Says so when the name has no metrics yet."),
    ),
    example={"metric": "response_time", "threshold": 800, "severity": "warning", "mcpServer": "github"},
    run=_set_threshold,
    needs=("alerter",),
    read_only=False,
)

GET_ACTIVE_ALERTS = ToolSpec(
    name="get_active_alerts",
    title="Open alerts",
    description="Alerts that are not resolved, critical first, with how many were held back and why.",
    arguments=GetActiveAlerts,
    output=record(
        {
            "alerts": listing(ALERT),
            "total": whole("Alerts that match."),
            "summary": record(
                {
                    "totalActive": whole(),
                    "bySeverity": counts("severity → number"),
                    "byMcp": counts("server → number, the ten largest"),
                    "suppressed": counts("reason → alerts held back"),
                }
            ),
            "cut": whole("Alerts that follow these."),
        },
        nextCursor=NEXT_CURSOR,
        message=text("Tells quiet from no data."),
        heldBack=listing(anything("With detail=full: a condition that would be an alert, and why it is not.")),
    ),
    example={"severity": "critical"},
    run=_active_alerts,
    needs=("alerter",),
)

ACKNOWLEDGE_ALERT = ToolSpec(
    name="acknowledge_alert",
    title="Acknowledge an alert",
    description="Say that someone takes care of an alert, so that it does not escalate. The first acknowledgement stays.",
    arguments=AcknowledgeAlert,
    output=record({"success": flag(), "alert": ALERT, "alreadyAcknowledged": flag()}),
    example={"alertId": "alert-20251031-001", "acknowledgedBy": "ana", "notes": "restarting the server"},
    run=_acknowledge,
    needs=("alerter",),
    read_only=False,
)
