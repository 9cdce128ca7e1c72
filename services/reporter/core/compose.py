"""A report from the other services' answers.

Pure: an answer that failed costs its section, is named in the gaps, and nothing else. Knows no socket, no file and no format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.reporter.core.answered import Answered
from services.reporter.core.answers import Alert, Alerts, Anomaly, ErrorGroup, Stats
from services.reporter.core.evidence import Evidence
from services.reporter.core.gaps import find_gaps, sources_of
from services.reporter.core.health import Health, of_system, unknown
from services.reporter.core.incident_stories import stories
from services.reporter.core.model import AlertSection, Range, Ranked, Report, ServerRow
from services.reporter.core.questions import bucket_of
from services.reporter.core.ranking import (
    by_error_rate,
    by_slowness,
    by_time_spent,
    by_tool,
    in_order,
    judged_servers,
    with_timelines,
)
from services.reporter.core.recommendations import recommend
from services.reporter.core.silent_servers import (
    WORTH_A_WORD_MS,
    SilentTool,
    of_silence,
    silent_tools,
    tools_of_servers,
    with_silence,
)
from services.reporter.core.trends import Trend, compare, is_whole

SEVERITY_ORDER: Final = {"critical": 0, "warning": 1, "info": 2}


def compose(
    answered: Answered,
    span: Range,
    now_ms: int,
    *,
    server: str | None = None,
    errors: Sequence[ErrorGroup] = (),
    include_recommendations: bool = True,
) -> Report:
    """The report of a range from the answers to `questions.for_report` and `more_for_report`."""
    total, before = _total(answered), answered.rollup("before")
    tools, tools_before = all_tools(answered), by_tool(answered.rollup("tools_before"))
    alerts, anomalies = _alerts(answered, span), _anomalies(answered, span)
    silent = silent_tools(answered) if _is_current(span, now_ms) else ()
    servers = _servers(answered, alerts.active or (), span, silent, now_ms)
    evidence = Evidence(
        tuple(tools or ()),
        None if before is None else tools_before,
        anomalies or (),
        alerts.active or (),
        tuple(errors),
        answered.thresholds,
        before is None or is_whole(before.total, span.before.start_ms, span.before.span_ms),
    )
    wanted = include_recommendations and tools is not None
    return Report(
        range=span,
        generated_ms=now_ms,
        server=server,
        health=_health(answered, servers, total, server, span, silent, now_ms),
        summary=total,
        before=None if before is None else before.total,
        timeline=_timeline(answered),
        bucket_ms=bucket_of(span)[1],
        servers=servers,
        servers_total=max(len(servers or ()), _rows_total(answered, "servers")),
        by_errors=_ranked(tools, by_error_rate(tools or (), tools_before)),
        by_p95=_ranked(tools, by_slowness(tools or (), tools_before)),
        by_time=_ranked(tools, by_time_spent(tools or (), tools_before)),
        trends=_trends(answered, total, span),
        anomalies=anomalies,
        anomalies_total=_anomalies_total(answered, anomalies),
        incidents=stories(anomalies or (), (*(alerts.active or ()), *(alerts.raised or ()))),
        alerts=alerts,
        errors=tuple(errors),
        recommendations=recommend(evidence) if wanted else None,
        gaps=find_gaps(answered, span, now_ms, total, len(tools or ())),
        sources=sources_of(answered),
        freshness=answered.freshness,
    )


def server_names(answered: Answered) -> list[str]:
    """Servers with calls in the range, most called first."""
    rollup = answered.rollup("servers")
    return [] if rollup is None else [row.server for row in rollup.rows]


def all_tools_came(answered: Answered) -> bool:
    """Whether the ranking of tools is over all of them."""
    rollup = answered.rollup("tools")
    return rollup is None or len(rollup.rows) >= rollup.rows_total


def all_tools(answered: Answered) -> list[Stats] | None:
    """Every tool that was answered, from whichever question."""
    rollups = [answered.rollup(name) for name in ("tools", "slowest", "busiest")]
    if rollups[0] is None:
        return None
    merged: dict[tuple[str, str], Stats] = {}
    for rollup in rollups:
        merged |= by_tool(rollup)
    return list(merged.values())


def failing_tools(answered: Answered, limit: int) -> list[tuple[str, str]]:
    """(server, tool) of the tools that failed worst, whose messages are worth reading."""
    rows = by_error_rate(all_tools(answered) or (), {}).rows[:limit]
    return [(row.stats.server, row.stats.tool) for row in rows]


def _total(answered: Answered) -> Stats | None:
    for name in ("timeline", "servers", "tools"):
        rollup = answered.rollup(name)
        if rollup is not None:
            return rollup.total
    return None


def _timeline(answered: Answered) -> tuple[Stats, ...]:
    rollup = answered.rollup("timeline")
    rows = () if rollup is None else rollup.rows
    return tuple(sorted((row for row in rows if row.ts is not None), key=lambda row: row.ts or 0))


def _rows_total(answered: Answered, name: str) -> int:
    rollup = answered.rollup(name)
    return 0 if rollup is None else rollup.rows_total


def _is_current(span: Range, now_ms: int) -> bool:
    """Whether a range reaches up to now, so that what is silent now is silent at its end."""
    return abs(now_ms - span.end_ms) < WORTH_A_WORD_MS


def _servers(
    answered: Answered, alerts: Sequence[Alert], span: Range, silent: Sequence[SilentTool], now_ms: int
) -> tuple[ServerRow, ...] | None:
    """The servers with calls in the range, and those whose silence the detector finds unusual."""
    if answered.rollup("servers") is None:
        return None
    unusual = {one.server for one in silent}
    tools = tools_of_servers(answered, silent)
    judged = judged_servers(answered, alerts, silent=bool(unusual), now_ms=now_ms)
    rows = in_order(
        with_silence(row, span, silent, tools[row.stats.server]) if row.stats.server in unusual else row
        for row in judged
        if row.stats.count or row.stats.server in unusual
    )
    lines = {row.stats.server: answered.rollup(f"timeline {row.stats.server}") for row in rows}
    return with_timelines(rows, {name: rollup.rows for name, rollup in lines.items() if rollup is not None})


def _health(  # noqa: PLR0917 - one call, by position
    answered: Answered,
    servers: Sequence[ServerRow] | None,
    total: Stats | None,
    server: str | None,
    span: Range,
    silent: Sequence[SilentTool],
    now_ms: int,
) -> Health:
    if servers is None or total is None:
        return unknown(("the aggregator did not answer, so nothing can be judged",))
    if server is not None and len(servers) == 1:
        return servers[0].health
    last_ms = answered.series.last_of(server)
    if last_ms is None and server is None:
        last_ms = answered.freshness.last_metric_ms
    health = of_system([(row.stats.server, row.health) for row in servers], last_ms, now_ms)
    return of_silence(health, servers, span, silent) if silent else health


def _trends(answered: Answered, total: Stats | None, span: Range) -> tuple[Trend, ...]:
    before = answered.rollup("before")
    if total is None or before is None:
        return ()
    return compare(total, before.total, span.before.start_ms, span.before.span_ms)


def _ranked(tools: Sequence[Stats] | None, ranked: Ranked) -> Ranked | None:
    return None if tools is None else ranked


def _anomalies(answered: Answered, span: Range) -> tuple[Anomaly, ...] | None:
    listed = answered.anomalies
    if listed is None:
        return None
    inside = [a for a in listed.rows if a.start_ms is None or a.start_ms < span.end_ms]
    return tuple(sorted(inside, key=lambda a: (SEVERITY_ORDER[a.severity], -(a.start_ms or 0), a.anomaly_id)))


def _anomalies_total(answered: Answered, inside: Sequence[Anomaly] | None) -> int:
    listed = answered.anomalies
    return 0 if listed is None or inside is None else listed.total - (len(listed.rows) - len(inside))


def _alerts(answered: Answered, span: Range) -> AlertSection:
    listed, history = answered.alerts("alerts"), answered.alerts("history")
    active = None if listed is None else tuple(sorted((a for a in listed.rows if a.is_open), key=_alert_order))
    known = None if history is None else _latest(history, listed)
    return AlertSection(
        active,
        0 if listed is None else max(listed.total, len(active or ())),
        None if known is None else tuple(a for a in known if _inside(a.raised_ms, span)),
        None if known is None else tuple(a for a in known if not a.is_open and _inside(a.resolved_ms, span)),
        () if listed is None else listed.suppressed,
    )


def _latest(history: Alerts, listed: Alerts | None) -> list[Alert]:
    """One row an alert: the last that is known of it."""
    rows = {alert.alert_id: alert for alert in (*history.rows, *(listed.rows if listed else ()))}
    return sorted(rows.values(), key=_alert_order)


def _alert_order(alert: Alert) -> tuple[int, int, str]:
    return SEVERITY_ORDER[alert.severity], -(alert.raised_ms or 0), alert.alert_id


def _inside(ts_ms: int | None, span: Range) -> bool:
    return ts_ms is not None and span.start_ms <= ts_ms < span.end_ms
