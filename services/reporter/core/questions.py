"""What to ask whom: the rpc calls behind a report and behind the dashboard.

Pure: names of questions to (service, method, params). `compose` and `dashboard` read the answers by the same names. Knows
nothing of sockets, time-outs or what the answers mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from services.reporter.core.model import Range
from shared.timespan import DAY_MS, HOUR_MS, MINUTE_MS

#: Tools that a report ranks over; an answer of this size is about 0.5 MB.
MAX_TOOLS: Final = 2_000
MAX_SERVERS: Final = 500
#: Tools that a dashboard looks at; the worst come first.
DASHBOARD_TOOLS: Final = 200
#: Anomalies that a dashboard looks at, the latest first: among them the tools that are called no more.
DASHBOARD_ANOMALIES: Final = 60
#: Tools asked for by slowness, when not all came.
SLOWEST: Final = 20
#: Anomalies and alerts that are asked for; the answers say how many there are in all.
MAX_ANOMALIES: Final = 500
MAX_ALERTS: Final = 500
#: Servers that get a line of calls over time.
MAX_TIMELINES: Final = 12
#: Ranges up to these are drawn by the minute, and by the hour; longer ones by the day.
BY_MINUTE_UP_TO_MS: Final = 3 * HOUR_MS
BY_HOUR_UP_TO_MS: Final = 10 * DAY_MS


class Question(NamedTuple):
    """One rpc call: `service` is the name of an endpoint's owner."""

    service: str
    method: str
    params: dict[str, Any]


def bucket_of(span: Range) -> tuple[str, int]:
    """`groupBy` and the bucket's ms for a range."""
    if span.span_ms <= BY_MINUTE_UP_TO_MS:
        return "minute", MINUTE_MS
    return ("hour", HOUR_MS) if span.span_ms <= BY_HOUR_UP_TO_MS else ("day", DAY_MS)


def for_report(span: Range, server: str | None, after_seq: int | None = None) -> dict[str, Question]:
    """All that a report is made of, to be asked at once."""
    only = _only(server)
    now, before = _range(span) | only | _fresh(after_seq), _range(span.before) | only
    return {
        "timeline": _rollup(now | {"by": "all", "groupBy": bucket_of(span)[0]}),
        "servers": _rollup(now | {"by": "server", "sort": "count", "limit": MAX_SERVERS}),
        "tools": _rollup(now | {"by": "tool", "sort": "errors", "limit": MAX_TOOLS}),
        "before": _rollup(before | {"by": "all"}),
        "servers_before": _rollup(before | {"by": "server", "sort": "count", "limit": MAX_SERVERS}),
        "tools_before": _rollup(before | {"by": "tool", "sort": "count", "limit": MAX_TOOLS}),
        "series": Question("aggregator", "series", {}),
        "anomalies": Question("detector", "recent", {"sinceMs": span.start_ms, "limit": MAX_ANOMALIES} | only),
        "alerts": Question("alerter", "alerts.list", {"limit": MAX_ALERTS} | only),
        "history": Question("alerter", "alerts.history", _range(span) | {"limit": MAX_ALERTS} | only),
        "thresholds": Question("alerter", "thresholds.list", {}),
        "ingest": Question("ingest", "stats", {}),
    }


def more_for_report(span: Range, server: str | None, servers: Sequence[str], all_tools: bool) -> dict[str, Question]:
    """What is asked once the first answers are in: a line for the biggest servers, and the slowest tools when not all
    tools came.
    """
    now = _range(span)
    asked = {
        f"timeline {name}": _rollup(now | {"by": "server", "mcpServer": name, "groupBy": bucket_of(span)[0]})
        for name in servers[:MAX_TIMELINES]
        if is_sendable(name)
    }
    if not all_tools:
        asked["slowest"] = _rollup(now | _only(server) | {"by": "tool", "sort": "p95", "limit": DASHBOARD_TOOLS})
        asked["busiest"] = _rollup(now | _only(server) | {"by": "tool", "sort": "count", "limit": DASHBOARD_TOOLS})
    return asked


def is_sendable(name: str) -> bool:
    """Whether a name can be asked about: lone surrogates cannot be sent."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def for_dashboard(span: Range, now_ms: int, server: str | None, after_seq: int | None = None) -> dict[str, Question]:
    """What a dashboard shows of now."""
    only = _only(server)
    return for_window(span, server, after_seq) | {
        "anomalies": Question(
            "detector", "recent", {"sinceMs": max(0, now_ms - DAY_MS), "limit": DASHBOARD_ANOMALIES} | only
        ),
        "alerts": Question("alerter", "alerts.list", {"limit": MAX_ALERTS} | only),
        "thresholds": Question("alerter", "thresholds.list", {}),
        "ingest": Question("ingest", "stats", {}),
    }


def for_window(span: Range, server: str | None, after_seq: int | None = None) -> dict[str, Question]:
    """The figures of one window: servers, and the tools that fail most."""
    window = _range(span) | _only(server) | _fresh(after_seq)
    return {  # the longer answer first, so that it is read while the other is worked out
        "tools": _rollup(window | {"by": "tool", "sort": "errors", "limit": DASHBOARD_TOOLS}),
        "servers": _rollup(window | {"by": "server", "sort": "count", "limit": MAX_SERVERS}),
    }


def for_slowest(span: Range, server: str | None) -> dict[str, Question]:
    """The slowest tools of a window, when not all tools came."""
    return {"slowest": _rollup(_range(span) | _only(server) | {"by": "tool", "sort": "p95", "limit": SLOWEST})}


def for_baseline(span: Range, server: str | None) -> dict[str, Question]:
    """What changes slowly: the day before the window, and every series with its last call."""
    day = _range(Range(max(0, span.start_ms - DAY_MS), span.start_ms)) | _only(server)
    return {
        "servers_before": _rollup(day | {"by": "server", "sort": "count", "limit": MAX_SERVERS}),
        "tools_before": _rollup(day | {"by": "tool", "sort": "count", "limit": MAX_TOOLS}),
        "series": Question("aggregator", "series", {}),
    }


def _rollup(params: dict[str, Any]) -> Question:
    return Question("aggregator", "rollup", params | {"descending": True} if "sort" in params else params)


def _range(span: Range) -> dict[str, Any]:
    return {"startMs": span.start_ms, "endMs": span.end_ms}


def _fresh(after_seq: int | None) -> dict[str, Any]:
    return {} if after_seq is None else {"afterSeq": after_seq}


def _only(server: str | None) -> dict[str, Any]:
    return {} if server is None else {"mcpServer": server}
