"""Servers judged and tools ranked: the lists of a report and of the dashboard.

Pure: from the aggregator's rows, the window before and the open alerts. Ranks by what a sample supports, and what has fewer
than five calls after the rest, so that one failure of one call does not stand above five hundred of a thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from services.reporter.core.answered import Answered
from services.reporter.core.answers import Alert, Rollup, Series, Stats
from services.reporter.core.health import (
    HEALTHY_FROM,
    LATENCY_MARGIN_MS,
    SLOWER_RATIO,
    Health,
    glance,
    held_back,
    is_unremarkable,
    judge,
    no_data,
)
from services.reporter.core.model import Ranked, ServerRow, ToolRow
from services.reporter.core.sampling import MIN_BASELINE_CALLS, MIN_CALLS, supported_error_rate
from services.reporter.core.thresholds import Thresholds

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SlowTool:
    """A tool and how it is slow: `why` None = it is neither slower than before nor over a limit. `before_ms` is the p95 before
    where enough calls were seen; `excess_ms` how far it rose, is over `limit_ms`, or its p95.
    """

    stats: Stats
    before_ms: float | None
    why: str | None
    limit_ms: float | None
    excess_ms: float

    @property
    def order(self) -> int:
        """What rose comes first, then what is over its threshold."""
        return 0 if self.why == "slower than before" else 1 if self.why else 2


def by_tool(rollup: Rollup | None) -> dict[Key, Stats]:
    """Rows by (server, tool)."""
    return {} if rollup is None else {(row.server, row.tool): row for row in rollup.rows}


def by_server(rollup: Rollup | None) -> dict[str, Stats]:
    """Rows by server."""
    return {} if rollup is None else {row.server: row for row in rollup.rows}


def judged_servers(
    answered: Answered, alerts: Sequence[Alert], *, silent: bool, now_ms: int, only: str | None = None
) -> tuple[ServerRow, ...]:
    """Every server with calls in the window, worst first; with `silent`, then those known from earlier, or from a clock that
    is ahead. From the answers `servers`, `tools`, `servers_before`, `tools_before`, `thresholds` and `series`.
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
        rows += _silent(answered.series, {row.stats.server for row in rows}, alerts, only, now_ms)
    return in_order(rows)


def by_error_rate(tools: Iterable[Stats], before: Mapping[Key, Stats]) -> Ranked:
    """Tools that failed, by the error rate that their sample supports; those with fewer than five calls after the others."""
    failing = [tool for tool in tools if tool.errors > 0]
    failing.sort(
        key=lambda t: (t.count < MIN_CALLS, -supported_error_rate(t.errors, t.count), -t.errors, t.server, t.tool)
    )
    return _ranked(failing, before)


def by_slowness(tools: Iterable[Stats], before: Mapping[Key, Stats]) -> Ranked:
    """Tools by p95; those with fewer than five calls after the others."""
    timed = [tool for tool in tools if tool.p95 is not None and tool.count > 0]
    timed.sort(key=lambda t: (t.count < MIN_CALLS, -(t.p95 or 0.0), t.server, t.tool))
    return _ranked(timed, before)


def by_health(tools: Iterable[Stats], before: Mapping[Key, Stats], thresholds: Thresholds) -> Ranked:
    """Tools by their own health, worst first; those with fewer than five calls after the others."""

    def worst_first(tool: Stats) -> tuple[bool, int, int, float, str, str]:
        score = glance(tool, before.get((tool.server, tool.tool)), thresholds).score or 0
        return tool.count < MIN_CALLS, score, -tool.errors, -(tool.p95 or 0.0), tool.server, tool.tool

    return _ranked(sorted((tool for tool in tools if tool.count > 0), key=worst_first), before)


def by_slowdown(tools: Iterable[Stats], before: Mapping[Key, Stats], thresholds: Thresholds) -> tuple[SlowTool, ...]:
    """What got slow: tools whose p95 rose, by how far; then those over their threshold, by how far; then the slowest. Only
    tools with enough calls, unless no tool has.
    """
    timed = [tool for tool in tools if tool.p95 is not None and tool.count > 0]
    enough = [tool for tool in timed if tool.count >= MIN_CALLS] or timed
    found = [_slow_tool(tool, before.get((tool.server, tool.tool)), thresholds) for tool in enough]
    return tuple(sorted(found, key=lambda one: (one.order, -one.excess_ms, one.stats.server, one.stats.tool)))


def _slow_tool(tool: Stats, before: Stats | None, thresholds: Thresholds) -> SlowTool:
    p95, was = tool.p95 or 0.0, None if before is None or before.count < MIN_BASELINE_CALLS else before.p95
    if was is not None and tool.count >= MIN_CALLS and p95 - was > LATENCY_MARGIN_MS and p95 >= SLOWER_RATIO * was:
        return SlowTool(tool, was, "slower than before", None, p95 - was)
    critical, warning = (thresholds.of("response_time", s, tool.server, tool.tool) for s in ("critical", "warning"))
    limit = critical if critical is not None and p95 > critical else warning
    if limit is not None and p95 > limit:
        return SlowTool(tool, was, "over its threshold", limit, p95 - limit)
    return SlowTool(tool, was, None, None, p95)


def by_time_spent(tools: Iterable[Stats], before: Mapping[Key, Stats]) -> Ranked:
    """Tools by the time their calls took together."""
    timed = [tool for tool in tools if tool.avg is not None and tool.count > 0]
    timed.sort(key=lambda t: (-t.count * (t.avg or 0.0), t.server, t.tool))
    return _ranked(timed, before)


def with_timelines(rows: Sequence[ServerRow], timelines: Mapping[str, tuple[Stats, ...]]) -> tuple[ServerRow, ...]:
    """The same rows with their calls over time, where those came."""
    return tuple(replace(row, timeline=timelines.get(row.stats.server, ())) for row in rows)


def _silent(series: Series, seen: set[str], alerts: Sequence[Alert], only: str | None, now_ms: int) -> list[ServerRow]:
    rows = []
    for server in sorted({name for name, _ in series.last_ms} - seen):
        if only in {None, server}:
            last = series.last_of(server)
            waiting = sum(alert.is_open and alert.server == server for alert in alerts)
            rows.append(ServerRow(Stats(server=server, last_ts=last), None, no_data(last, now_ms), waiting))
    return rows


def in_order(rows: Iterable[ServerRow]) -> tuple[ServerRow, ...]:
    """Servers worst first, those with fewer than five calls after the others; one that had calls in the window and has no score
    stands before the healthy ones.
    """
    return tuple(sorted(rows, key=_worst_first))


def _worst_first(row: ServerRow) -> tuple[bool, bool, int, int, str]:
    stopped = row.health.score is None and row.stats.count > 0
    score = HEALTHY_FROM - 1 if stopped else row.health.score or 0
    return row.health.score is None and not stopped, row.health.few_calls, score, -row.stats.count, row.stats.server


def _ranked(tools: Sequence[Stats], before: Mapping[Key, Stats]) -> Ranked:
    rows = tuple(ToolRow(tool, before.get((tool.server, tool.tool))) for tool in tools)
    return Ranked(rows, len(rows))
