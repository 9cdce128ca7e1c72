"""What to do, from the evidence: which tool, which metric, since when, what else moved. Ranked; none when nothing is wrong.

Each rule reads the evidence and gives recommendations; ranking puts the severe and costly first. The words are ours, names and
messages are kept apart as untrusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from services.reporter.core.anomaly_words import anomaly_expected, anomaly_kind, anomaly_value, figure_text
from services.reporter.core.answers import SEVERITIES, Alert, Anomaly, Stats
from services.reporter.core.card_times import with_ends
from services.reporter.core.evidence import (
    Evidence,
    also_moved,
    by_server,
    fails,
    is_over_limit,
    main_message,
    share_text,
    since,
    slower,
)
from services.reporter.core.figures import count_text, counted, duration_text, percent_text
from services.reporter.core.incident import TIMES, incident_of, incident_text
from services.reporter.core.incident_cards import one_an_incident
from services.reporter.core.recommendation import Recommendation
from services.reporter.core.sampling import MIN_CALLS, MIN_TREND_CALLS
from services.reporter.core.slow_cards import always_slow, slow, slower_tool
from services.reporter.core.stopped import stopped
from services.reporter.core.text import Text, Untrusted, term, tool_of
from services.reporter.core.trends import tool_moves
from shared.conditions import spaced
from shared.names import ALL_TOOLS

#: Recommendations that are given; more is a list nobody reads.
MAX_RECOMMENDATIONS: Final = 8
#: Failing calls that end this fast did no work; those that take this long wait for something.
FAST_FAILURE_MS: Final = 20.0
SLOW_FAILURE_MS: Final = 3_000.0
#: Percent of calls from which "it always fails" is near enough.
NEARLY_ALWAYS: Final = 90.0
#: Percent of failures that one message explains before it is called the cause to start from.
MAIN_CAUSE: Final = 60.0


def recommend(evidence: Evidence) -> tuple[Recommendation, ...]:
    """The recommendations that the evidence supports, most severe and costly first, eight at most."""
    found = [*_failing(evidence), *slow(evidence)]
    spoken_of = {(r.server, r.tool, r.metric) for r in found}
    found += stopped(evidence)
    found += _from_anomalies(evidence, spoken_of)
    found = _with_unattended(found, evidence)
    found = one_an_incident(sorted(found, key=_rank), evidence)
    return tuple(with_ends(_with_slowest(found[:MAX_RECOMMENDATIONS], evidence), evidence))


def _with_slowest(found: list[Recommendation], evidence: Evidence) -> list[Recommendation]:
    """The same, with the slowest tool over its critical limit among them: an alert about it says less than this does."""
    over = [tool for tool in evidence.tools if is_over_limit(evidence, tool)]
    if not over:
        return found
    slowest = max(over, key=lambda tool: (tool.count >= MIN_CALLS, tool.p95 or 0.0, tool.server, tool.tool))
    if any(
        item.metric == "response_time" and item.server == slowest.server and item.tool in {"", slowest.tool}
        for item in found
    ):
        return found
    return sorted([*found[: MAX_RECOMMENDATIONS - 1], _slow_alone(evidence, slowest)], key=_rank)


def _slow_alone(evidence: Evidence, tool: Stats) -> Recommendation:
    return slower_tool(evidence, tool) if slower(evidence, tool) else always_slow(evidence, tool)


def _rank(item: Recommendation) -> tuple[int, int, float, str, str]:
    kind = 0 if item.metric == "error_rate" else 1 if item.metric == "response_time" else 2
    return SEVERITIES.index(item.severity), kind, -item.weight, item.server, item.tool


def _failing(evidence: Evidence) -> Iterable[Recommendation]:
    tools = [tool for tool in evidence.tools if fails(evidence, tool)]
    for server, group, wide in by_server(evidence, tools):
        if wide:
            yield _failing_server(evidence, server, group)
        else:
            yield from (_failing_tool(evidence, tool) for tool in group)


def _failing_tool(evidence: Evidence, tool: Stats) -> Recommendation:
    before = evidence.earlier(tool)
    incident = incident_of(evidence, tool.server, {tool.tool}, "error_rate")
    rate = tool.error_rate or 0.0
    at_worst = incident is not None and (incident.value or 0.0) >= TIMES * rate
    whole = f", {percent_text(rate)}, in all of the range" if at_worst else ""
    said: list[Text] = [(f"{count_text(tool.errors)} of {counted(tool.count, 'call')} failed{whole}",)]
    if before is not None and before.count >= MIN_TREND_CALLS:
        said.append((f"{percent_text(before.error_rate)} failed in the window before",))
    said = [*incident_text(incident), *said] if at_worst else [*said, *incident_text(incident)]
    message = main_message(evidence, [tool])
    said += [(moved.words,) for moved in also_moved(evidence, tool, "error_rate")]
    title = _failed(incident) if incident is not None and at_worst else ""
    return Recommendation(
        _worse(_error_severity(evidence, tool), incident),
        "error_rate",
        tool.server,
        tool.tool,
        (*tool_of(tool.server, tool.tool), title or f" fails {percent_text(tool.error_rate)} of its calls"),
        _failure_action(evidence, tool, message[1] if message else None),
        (*said, *_message_text(message)),
        since(evidence, tool, "error_rate"),
        message[0].message if message else None,
        float(tool.errors),
    )


def _failed(incident: Anomaly) -> str:
    """How much a tool failed while an anomaly lasted, or does while it goes on."""
    rate = percent_text(incident.value)
    return (
        f" fails {rate} of its calls by now" if incident.end_ms is None else f" failed {rate} of its calls for a time"
    )


def _failing_server(evidence: Evidence, server: str, tools: Sequence[Stats]) -> Recommendation:
    errors, calls = sum(t.errors for t in tools), sum(t.count for t in tools)
    message = main_message(evidence, tools)
    incident = incident_of(evidence, server, {ALL_TOOLS, *(tool.tool for tool in tools)}, "error_rate")
    begun = [start for tool in tools if (start := since(evidence, tool, "error_rate"))]
    begun += [incident.start_ms] if incident is not None and incident.start_ms else []
    verb = "fails" if incident is None or incident.end_ms is None else "failed for a time"
    title: Text = (
        Untrusted(server),
        f" {verb} as a whole: {len(tools)} of its tools, {_rate(errors, calls)} of their calls",
    )
    action: Text = (
        "Look at the server before its tools: is it running, are its credentials valid, is what it depends on reachable? ",
        "Restarting it and calling one tool by hand tells them apart.",
    )
    severities = [_error_severity(evidence, tool) for tool in tools]
    said: Text = (
        f"{count_text(errors)} of {counted(calls, 'call')} failed; worst ",
        Untrusted(_worst_rate(tools).tool),
    )
    return Recommendation(
        _worse(min(severities, key=SEVERITIES.index), incident),
        "error_rate",
        server,
        "",
        title,
        action,
        (said, *incident_text(incident), *_message_text(message)),
        min(begun, default=None),
        message[0].message if message else None,
        float(errors),
    )


def _failure_action(evidence: Evidence, tool: Stats, share: float | None) -> Text:
    rate, before = tool.error_rate or 0.0, evidence.earlier(tool)
    if share is not None and share >= MAIN_CAUSE:
        return ("Most failures have one cause: start from the message below.",)
    if rate >= NEARLY_ALWAYS and tool.p95 is not None and tool.p95 <= FAST_FAILURE_MS:
        quick = f"It gives up within {duration_text(tool.p95)}, before doing any work: "
        return (quick, "check its arguments, its credentials and how the server was started.")
    if rate >= NEARLY_ALWAYS and tool.p50 is not None and tool.p50 >= SLOW_FAILURE_MS:
        waits = f"Its calls take {duration_text(tool.p50)} to fail, which looks like a time-out: "
        return (waits, "check that what it calls is reachable.")
    if before is not None and any(trend.metric in {"p95", "p50"} for trend in tool_moves(tool, before)):
        return ("It got slower at the same time: check what it depends on (network, disk, an upstream service) first.",)
    return (
        "See when it fails with get_metrics, aggregation error_rate, groupBy minute; then compare what was asked of it.",
    )


def _from_anomalies(evidence: Evidence, spoken_of: set[tuple[str, str, str]]) -> list[Recommendation]:
    """Anomalies of resources and throughput, which no rule above covers, one a tool and kind."""
    found: dict[tuple[str, str, str], Recommendation] = {}
    covered = {"response_time": "response_time", "error_rate": "error_rate"}
    for anomaly in sorted(evidence.anomalies, key=lambda a: SEVERITIES.index(a.severity)):
        metric = next((name for prefix, name in covered.items() if anomaly.kind.startswith(prefix)), anomaly.kind)
        key = (anomaly.server, anomaly.tool, metric)
        if key in spoken_of or (anomaly.server, "", metric) in spoken_of or key in found:
            continue
        if anomaly.severity != "info" and not anomaly.is_silence:
            found[key] = _of_anomaly(evidence, anomaly, metric)
    return list(found.values())


def _of_anomaly(evidence: Evidence, anomaly: Anomaly, metric: str) -> Recommendation:
    actions = {
        "resource_leak": "It keeps growing: restart the server to win time, then look for what it never lets go of.",
        "resource_spike": "Compare what was asked of it then; set a threshold if this is to be told at once.",
        "throughput_change": "Check whether its callers changed or stopped.",
    }
    title: Text = (*tool_of(anomaly.server, anomaly.tool), ": ", term(anomaly_kind(anomaly)))
    said: Text = (term(anomaly.metric or "value"), " ", figure_text(anomaly, anomaly_value(anomaly)))
    expected: Text = (", usual ", figure_text(anomaly, anomaly_expected(anomaly))) if anomaly.expected else ()
    message = main_message(evidence, [Stats(anomaly.server, anomaly.tool)]) if metric == "error_rate" else None
    known = "Start from the message below." if message else None
    action = known or actions.get(anomaly.kind, "Look at this tool around that time with get_metrics, groupBy minute.")
    return Recommendation(
        anomaly.severity,
        metric,
        anomaly.server,
        anomaly.tool,
        title,
        (action,),
        ((*said, *expected), *_message_text(message)),
        anomaly.start_ms,
        message[0].message if message else None,
    )


def _with_unattended(found: list[Recommendation], evidence: Evidence) -> list[Recommendation]:
    """The critical alert that waits is told with what it is about, where that is told; else, as several are, by itself."""
    waiting = _waiting(evidence)
    if len(waiting) != 1:
        return [*found, *_unattended(evidence)]
    (alert,) = waiting
    for place, card in enumerate(found):
        if card.server == alert.server and card.tool == alert.tool and alert.condition.startswith(card.metric):
            said: Text = ("alert ", Untrusted(alert.alert_id), " waits: take it with acknowledge_alert")
            return [*found[:place], replace(card, evidence=(*card.evidence, said)), *found[place + 1 :]]
    return [*found, *_unattended(evidence)]


def _waiting(evidence: Evidence) -> list[Alert]:
    return [a for a in evidence.alerts if a.severity == "critical" and a.status in {"active", "escalated"}]


def _unattended(evidence: Evidence) -> Iterable[Recommendation]:
    waiting = _waiting(evidence)
    if not waiting:
        return
    oldest = min(waiting, key=lambda alert: (alert.raised_ms or 0, alert.alert_id))
    several = len(waiting) > 1
    title = f"{len(waiting)} critical alerts wait" if several else "1 critical alert waits"
    yield Recommendation(
        "critical",
        "alerts",
        "",
        "",
        (title,),
        (
            "Take them with acknowledge_alert, the oldest is "
            if several
            else "Take it with acknowledge_alert, alertId ",
            Untrusted(oldest.alert_id),
            ", so that others know who is on it.",
        ),
        (("oldest: ", Untrusted(spaced(oldest.condition)), " on ", *tool_of(oldest.server, oldest.tool)),),
        oldest.raised_ms,
    )


def _worse(severity: str, incident: Anomaly | None) -> str:
    return severity if incident is None else min(severity, incident.severity, key=SEVERITIES.index)


def _error_severity(evidence: Evidence, tool: Stats) -> str:
    limit = evidence.thresholds.of("error_rate", "critical", tool.server, tool.tool)
    return "critical" if limit is not None and (tool.error_rate or 0.0) > limit else "warning"


def _message_text(message: tuple[object, float, int] | None) -> tuple[Text, ...]:
    return () if message is None else ((share_text(message[1], message[2]),),)


def _worst_rate(tools: Sequence[Stats]) -> Stats:
    return max(tools, key=lambda tool: tool.error_rate or 0.0)


def _rate(errors: int, calls: int) -> str:
    return percent_text(100.0 * errors / calls if calls else None)
