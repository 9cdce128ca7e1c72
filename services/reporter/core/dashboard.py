"""The dashboard's data: how things stand now, small enough for a model's context, worst first.

Pure: chooses the window (the last hour, else the last day, else the last hour that had data, and says which), judges, cuts. Knows
no page and no socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from services.reporter.core.answered import Answered
from services.reporter.core.answers import Alert, Stats
from services.reporter.core.compose import SEVERITY_ORDER, all_tools
from services.reporter.core.figures import UNROUNDED, rounded
from services.reporter.core.gaps import find_missing, servers_left_out
from services.reporter.core.health import Health, is_ahead, of_system, since_words, unknown
from services.reporter.core.model import Range, ServerRow
from services.reporter.core.next_step import next_step
from services.reporter.core.ranking import SlowTool, by_health, by_slowdown, by_tool, in_order, judged_servers
from services.reporter.core.render_json import alert_object, anomaly_object, health_object, summary_object
from services.reporter.core.silent_servers import (
    SilentTool,
    is_silence_text,
    of_silence,
    silent_tools,
    silent_word,
    tools_of_servers,
    with_silence,
)
from services.reporter.core.text import plain, visible
from shared.timespan import DAY_MS, HOUR_MS, MINUTE_MS, iso, span_text

WindowName = Literal["last hour", "last 24 h", "last data seen"]

#: Servers that are listed unless more are asked for, and the most that can be.
SERVERS: Final = 12
MAX_LISTED: Final = 200
#: Rows of the other lists.
TOOLS, SLOW_TOOLS, ALERTS, ANOMALIES = 5, 3, 5, 5
#: Reasons of the system's health that are told.
SAID: Final = 2


@dataclass(frozen=True, slots=True)
class Window:
    """The window that a dashboard's figures are of, and why that one."""

    span: Range
    name: WindowName
    why: str = ""


def first_window(now_ms: int) -> Window:
    """The last hour, from a whole minute on: figures by the minute and those of single calls then count the same calls."""
    return Window(_until(now_ms, HOUR_MS), "last hour")


def wider_window(tried: Window, answered: Answered, now_ms: int, server: str | None) -> Window | None:
    """The window to try when there were no calls in the one tried; None when there is no reason or nothing left to try."""
    servers = answered.rollup("servers")
    if servers is None or servers.total.count or servers.rows:
        return None
    if tried.name == "last hour":
        return Window(_until(now_ms, DAY_MS), "last 24 h", "no calls in the last hour")
    last = last_call_ms(answered, server)
    if tried.name == "last 24 h" and last is not None:
        why = since_words(last, now_ms) + ("" if is_ahead(last, now_ms) else ": these figures are old")
        return Window(_until(last + 1, HOUR_MS), "last data seen", why)
    return None


def _until(end_ms: int, span_ms: int) -> Range:
    """The range up to a moment, of that length and what is missing to a whole minute."""
    return Range(max(0, end_ms - span_ms) // MINUTE_MS * MINUTE_MS, end_ms)


def build(
    answered: Answered, window: Window, now_ms: int, server: str | None = None, limit: int = SERVERS
) -> dict[str, Any]:
    """The dashboard as a JSON-able object. `answered` holds the window's answers and the day's before it."""
    listed = answered.alerts("alerts")
    active = () if listed is None else tuple(sorted((a for a in listed.rows if a.is_open), key=_alert_order))
    judged = judged_servers(answered, active, silent=True, now_ms=now_ms, only=server)
    silent = silent_tools(answered)
    tools = tools_of_servers(answered, silent)
    rows = in_order([with_silence(row, window.span, silent, tools[row.stats.server]) for row in judged])
    health = _health(answered, rows, window, server, silent, now_ms=now_ms)
    servers = answered.rollup("servers")
    return {
        "timestamp": iso(now_ms),
        "window": _window(window),
        "systemHealth": {**health_object(health), "message": _message(health, window, now_ms)},
        "summary": None if servers is None else summary_object(servers.total),
        "mcpServers": [_server(row, window, silent) for row in rows[:limit]],
        "mcpServersTotal": len(rows),
        "worstTools": _worst_tools(answered),
        "slowestTools": _slowest_tools(answered),
        "activeAlerts": None if listed is None else [alert_object(alert, UNROUNDED) for alert in active[:ALERTS]],
        "activeAlertsTotal": None if listed is None else max(listed.total, len(active)),
        "recentAnomalies": _anomalies(answered),
        "freshness": _freshness(answered, now_ms, server),
        **_ingest(answered),
        "missing": [plain(text) for text in (*find_missing(answered), *servers_left_out(answered))],
        "nextStep": next_step(
            answered, health, in_order(judged), active, window=window.name, silent=silent, server=server
        ),
    }


def last_call_ms(answered: Answered, server: str | None) -> int | None:
    """The last call known: of a server, or of all. The series may be some minutes old; the figures' answers are of now, and of
    that server alone.
    """
    known = (answered.series.last_of(server), answered.freshness.last_metric_ms)
    return max((last_ms for last_ms in known if last_ms is not None), default=None)


def _health(
    answered: Answered,
    rows: Sequence[ServerRow],
    window: Window,
    server: str | None,
    silent: Sequence[SilentTool],
    *,
    now_ms: int,
) -> Health:
    if answered.rollup("servers") is None:
        return unknown(("the aggregator did not answer, so nothing can be judged",))
    if _is_old(window, now_ms):
        return of_system([], last_call_ms(answered, server), now_ms)
    if server is not None and len(rows) == 1:
        return rows[0].health
    health = of_system([(row.stats.server, row.health) for row in rows], last_call_ms(answered, server), now_ms)
    return of_silence(health, rows, window.span, silent)


def _is_old(window: Window, now_ms: int) -> bool:
    """Whether a window's figures are of the past: those of a clock that is ahead are of now."""
    return window.name == "last data seen" and not is_ahead(window.span.end_ms - 1, now_ms)


def _message(health: Health, window: Window, now_ms: int) -> str:
    if _is_old(window, now_ms):
        return window.why
    return "; ".join(text for text in (window.why, *map(plain, health.reasons[:SAID])) if text)


def _window(window: Window) -> dict[str, Any]:
    return {
        "name": window.name,
        "start": iso(window.span.start_ms),
        "end": iso(window.span.end_ms),
        "why": window.why or None,
    }


def _server(row: ServerRow, window: Window, silent: Sequence[SilentTool]) -> dict[str, Any]:
    stats, health = row.stats, row.health
    known = {
        "name": visible(stats.server),
        "healthScore": health.score,
        "status": health.status,
        "avgResponseTime": rounded(stats.avg, UNROUNDED),
        "p95": rounded(stats.p95, UNROUNDED),
        "errorRate": rounded(stats.error_rate, UNROUNDED),
        "calls": stats.count,
        "activeAlerts": row.open_alerts,
    }
    few = {"fewCalls": True} if health.few_calls and health.score is not None else {}
    return {**known, **few, "note": _note(row, window, silent) or None}


def _note(row: ServerRow, window: Window, tools: Sequence[SilentTool]) -> str:
    """Since when it, or one of its tools, is not called, and what holds it back most."""
    health, silent = row.health, silent_word(row, window.span, tools)
    chosen = health.reasons[:1] if health.status not in ("healthy", "no_data") else ()
    chosen = () if silent and any(is_silence_text(reason) for reason in chosen) else chosen
    if not chosen and (health.few_calls or (health.status == "no_data" and not silent)):
        chosen = health.reasons[-1:]
    return "; ".join(text for text in (silent, *map(plain, chosen)) if text)


def _worst_tools(answered: Answered) -> list[dict[str, Any]] | None:
    """The tools that fail or are slow, by their own health; those with too few calls to judge last."""
    tools = all_tools(answered)
    if tools is None:
        return None
    ranked = by_health(tools, by_tool(answered.rollup("tools_before")), answered.thresholds)
    return [_tool(row.stats, row.before) for row in ranked.rows[:TOOLS]]


def _slowest_tools(answered: Answered) -> list[dict[str, Any]] | None:
    """What got slow: slower than the day before, else over its threshold, else just the slowest."""
    tools = all_tools(answered)
    if tools is None:
        return None
    found = by_slowdown(tools, by_tool(answered.rollup("tools_before")), answered.thresholds)
    return [_slow_tool(one) for one in found[:SLOW_TOOLS]]


def _slow_tool(one: SlowTool) -> dict[str, Any]:
    return {
        "mcpServer": visible(one.stats.server),
        "toolName": visible(one.stats.tool),
        "calls": one.stats.count,
        "p95": rounded(one.stats.p95, UNROUNDED),
        "p95Before": rounded(one.before_ms, UNROUNDED),
        "limit": rounded(one.limit_ms, UNROUNDED),
        "why": one.why,
    }


def _tool(stats: Stats, before: Stats | None) -> dict[str, Any]:
    return {
        "mcpServer": visible(stats.server),
        "toolName": visible(stats.tool),
        "calls": stats.count,
        "errorRate": rounded(stats.error_rate, UNROUNDED),
        "p95": rounded(stats.p95, UNROUNDED),
        "p95Before": rounded(None if before is None else before.p95, UNROUNDED),
    }


def _anomalies(answered: Answered) -> list[dict[str, Any]] | None:
    listed = answered.anomalies
    if listed is None:
        return None
    newest = sorted(listed.rows, key=lambda a: (a.end_ms is not None, SEVERITY_ORDER[a.severity], -(a.start_ms or 0)))
    return [anomaly_object(anomaly, UNROUNDED) for anomaly in newest[:ANOMALIES]]


def _freshness(answered: Answered, now_ms: int, server: str | None) -> dict[str, Any]:
    last = last_call_ms(answered, server)
    age = None if last is None else max(0, now_ms - last)
    return {
        "lastMetric": None if last is None else iso(last),
        "age": None if age is None else span_text(age),
        "lagEntries": answered.freshness.lag_entries,
    }


def _ingest(answered: Answered) -> dict[str, Any]:
    """`ingestLag`: journal entries that the aggregator has not folded in; `dropped`: rows refused and batches parked."""
    counters, freshness = answered.ingest, answered.freshness
    if counters is None:
        return {"ingestLag": freshness.lag_entries, "dropped": None}
    head, lag = counters.get("head"), freshness.lag_entries
    if head is not None and freshness.seq is not None:
        lag = max(0, head - freshness.seq)
    dropped = {"refused": counters.get("rejected_total", 0), "parked": counters.get("parked_total", 0)}
    return {"ingestLag": lag, "dropped": {**dropped, "pendingRows": counters.get("pendingRows", 0)}}


def _alert_order(alert: Alert) -> tuple[bool, int, int, str]:
    return alert.status == "acknowledged", SEVERITY_ORDER[alert.severity], -(alert.raised_ms or 0), alert.alert_id
