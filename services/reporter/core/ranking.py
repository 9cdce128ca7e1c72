"""Servers judged and tools ranked: the lists of a report and of the dashboard.

Pure: from the aggregator's rows, the window before and the open alerts. Ranks by what a sample supports, so that one failure
of one call does not stand above five hundred of a thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from services.reporter.core.answered import Answered
from services.reporter.core.answers import Alert, Rollup, Series, Stats
from services.reporter.core.health import Health, glance, held_back, is_unremarkable, judge, no_data
from services.reporter.core.model import Ranked, ServerRow, ToolRow
from services.reporter.core.sampling import MIN_CALLS, supported_error_rate

Key = tuple[str, str]


def by_tool(rollup: Rollup | None) -> dict[Key, Stats]:
    """Rows by (server, tool)."""
    return {} if rollup is None else {(row.server, row.tool): row for row in rollup.rows}


def by_server(rollup: Rollup | None) -> dict[str, Stats]:
    """Rows by server."""
    return {} if rollup is None else {row.server: row for row in rollup.rows}


def judged_servers(
    answered: Answered, alerts: Sequence[Alert], *, silent: bool, only: str | None = None
) -> tuple[ServerRow, ...]:
    """Every server with calls in the window, worst first; with `silent`, then those known from earlier. From the answers
    `servers`, `tools`, `servers_before`, `tools_before`, `thresholds` and `series`.
    """
    servers, tools = answered.rollup("servers") or Rollup(), answered.rollup("tools") or Rollup()
    earlier, tools_earlier = by_server(answered.rollup("servers_before")), by_tool(answered.rollup("tools_before"))
    parts: dict[str, list[tuple[str, Health]]] = {}
    for row in tools.rows:
        before = tools_earlier.get((row.server, row.tool))
        if is_unremarkable(row, before, answered.thresholds):
            continue
        health = glance(row, before, answered.thresholds)
        parts.setdefault(row.server, []).append((row.tool, health))
    rows = []
    for stats in servers.rows:
        open_alerts = [alert for alert in alerts if alert.is_open and alert.server == stats.server]
        own = judge(stats, earlier.get(stats.server), open_alerts, answered.thresholds)
        health = held_back(own, parts.get(stats.server, ()), "tool")
        rows.append(ServerRow(stats, earlier.get(stats.server), health, len(open_alerts)))
    if silent:
        rows += _silent(answered.series, {row.stats.server for row in rows}, alerts, only)
    return tuple(sorted(rows, key=_worst_first))


def by_error_rate(tools: Iterable[Stats], before: Mapping[Key, Stats]) -> Ranked:
    """Tools that failed, by the error rate that their sample supports."""
    failing = [tool for tool in tools if tool.errors > 0]
    failing.sort(key=lambda t: (-supported_error_rate(t.errors, t.count), -t.errors, t.server, t.tool))
    return _ranked(failing, before)


def by_slowness(tools: Iterable[Stats], before: Mapping[Key, Stats]) -> Ranked:
    """Tools by p95; those with fewer than five calls after the others."""
    timed = [tool for tool in tools if tool.p95 is not None and tool.count > 0]
    timed.sort(key=lambda t: (t.count < MIN_CALLS, -(t.p95 or 0.0), t.server, t.tool))
    return _ranked(timed, before)


def by_time_spent(tools: Iterable[Stats], before: Mapping[Key, Stats]) -> Ranked:
    """Tools by the time their calls took together."""
    timed = [tool for tool in tools if tool.avg is not None and tool.count > 0]
    timed.sort(key=lambda t: (-t.count * (t.avg or 0.0), t.server, t.tool))
    return _ranked(timed, before)


def with_timelines(rows: Sequence[ServerRow], timelines: Mapping[str, tuple[Stats, ...]]) -> tuple[ServerRow, ...]:
    """The same rows with their calls over time, where those came."""
    return tuple(replace(row, timeline=timelines.get(row.stats.server, ())) for row in rows)


def _silent(series: Series, seen: set[str], alerts: Sequence[Alert], only: str | None) -> list[ServerRow]:
    rows = []
    for server in sorted({name for name, _ in series.last_ms} - seen):
        if only in {None, server}:
            last = series.last_of(server)
            waiting = sum(alert.is_open and alert.server == server for alert in alerts)
            rows.append(ServerRow(Stats(server=server, last_ts=last), None, no_data(last), waiting))
    return rows


def _worst_first(row: ServerRow) -> tuple[bool, int, int, str]:
    return row.health.score is None, row.health.score or 0, -row.stats.count, row.stats.server


def _ranked(tools: Sequence[Stats], before: Mapping[Key, Stats]) -> Ranked:
    rows = tuple(ToolRow(tool, before.get((tool.server, tool.tool))) for tool in tools)
    return Ranked(rows, len(rows))
