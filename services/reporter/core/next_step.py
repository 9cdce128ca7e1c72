"""The one thing to do next, as a tool call with its arguments, or a command.

Pure. Names go into the arguments as they are only when they are harmless to show; otherwise the call goes without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from services.reporter.core.answered import Answered
from services.reporter.core.answers import Alert, Stats
from services.reporter.core.health import Health
from services.reporter.core.model import ServerRow
from services.reporter.core.ranking import by_error_rate, by_slowness
from services.reporter.core.sampling import MIN_CALLS
from services.reporter.core.silent_servers import WORTH_A_WORD_MS, SilentTool
from services.reporter.core.text import visible
from shared.names import ALL_TOOLS

#: How far back a look goes in each window.
_LOOKBACK: Final = {"last hour": "1h", "last 24 h": "24h", "last data seen": "24h"}

#: How the conditions begin whose course get_metrics shows; that of others is in the anomalies.
_IN_METRICS: Final = ("error", "response_time")
_ABOUT: Final = {
    "memory": "memory",
    "cpu": "CPU",
    "disk_io": "disk I/O",
    "resource": "a resource",
    "throughput": "the pace of calls",
}


def next_step(
    answered: Answered,
    health: Health,
    rows: Sequence[ServerRow],
    active: Sequence[Alert],
    *,
    window: str,
    silent: Sequence[SilentTool] = (),
    server: str | None = None,
) -> dict[str, Any]:
    """{tool, arguments, why}; `tool` is None when it is a command to run, which `why` gives. `rows`: as their calls make them,
    `silent`: what stopped; `server`: the one that was asked for.
    """
    if health.status == "unknown":
        return _step(None, {}, "The aggregator does not answer: run `perfmon doctor`.")
    waiting = [alert for alert in active if alert.status != "acknowledged"]
    if waiting:
        return _about_alert(waiting[0])
    if health.status == "no_data":
        if not answered.series.last_ms:
            return _step(
                None, {}, "Nothing is recorded yet: run `perfmon connect claude-code`, or call track_performance."
            )
        if server is not None and _others_are_called(answered, server):
            why = "Other servers are called, this one is not: see since when, and what else changed."
            return _step("detect_anomalies", _names(server, "") | {"lookbackWindow": "24h"}, why)
        return _step("generate_report", {"period": "day"}, "Nothing is being recorded now; `perfmon doctor` says why.")
    troubled = [row for row in rows if row.health.status in {"critical", "degraded"}]
    if troubled:
        return _about_server(answered, troubled[0], _LOOKBACK[window])
    if silent:
        which = _names(silent[0].server, silent[0].tool if len(silent) == 1 else "")
        why = "Calls stopped that usually come: see since when, and what else changed."
        return _step("detect_anomalies", which | {"lookbackWindow": "24h"}, why)
    if health.few_calls:
        why = "There are too few calls to judge by yet: see what there is."
        return _step("get_metrics", _names(server or "", "") | {"aggregation": "p95", "startTime": "24h"}, why)
    return _step("generate_report", {"period": "day"}, "All is well: see how the day went and what moved.")


def _about_alert(alert: Alert) -> dict[str, Any]:
    names = _names(alert.server, "" if alert.tool == ALL_TOOLS else alert.tool)
    if not alert.condition.startswith(_IN_METRICS):
        why = (
            f"An alert waits ({_word(alert)}): see since when and what else moved, then take it with acknowledge_alert."
        )
        return _step("detect_anomalies", names | {"lookbackWindow": "24h"}, why)
    aggregation = "error_rate" if alert.condition.startswith("error") else "p95"
    arguments = names | {"aggregation": aggregation, "groupBy": "minute", "startTime": "1h"}
    return _step("get_metrics", arguments, "An alert waits: see how it developed, then take it with acknowledge_alert.")


def _word(alert: Alert) -> str:
    """What it is about: `memory`, `the pace of calls`."""
    return next((words for name, words in _ABOUT.items() if alert.condition.startswith(name)), "an anomaly")


def _about_server(answered: Answered, row: ServerRow, lookback: str) -> dict[str, Any]:
    rollup = answered.rollup("tools")
    tools = [stats for stats in (rollup.rows if rollup else ()) if stats.server == row.stats.server]
    failing = by_error_rate(tools, {}).rows
    if failing and failing[0].stats.errors:
        tool: Stats = failing[0].stats
        arguments = _names(tool.server, tool.tool) | {"aggregation": "error_rate", "groupBy": "minute"}
        arguments["startTime"] = lookback
        return _step("get_metrics", arguments, "This tool fails most on the worst server: see since when.")
    slow = [found.stats for found in by_slowness(tools, {}).rows if found.stats.count >= MIN_CALLS]
    arguments = _names(row.stats.server, slow[0].tool if slow else "")
    why = "The worst server is slow: see which calls are outside its usual range."
    return _step("detect_anomalies", arguments | {"lookbackWindow": lookback}, why)


def _others_are_called(answered: Answered, server: str) -> bool:
    """Whether other servers were called for some time after this one was last."""
    last_ms, own_ms = answered.series.last_of(None), answered.series.last_of(server)
    return last_ms is not None and own_ms is not None and last_ms - own_ms >= WORTH_A_WORD_MS


def _names(server: str, tool: str) -> dict[str, Any]:
    """The names as arguments, without those that cannot be shown as they are."""
    wanted = {"mcpServer": server, "toolName": tool}
    return {key: value for key, value in wanted.items() if value and visible(value) == value}


def _step(tool: str | None, arguments: dict[str, Any], why: str) -> dict[str, Any]:
    return {"tool": tool, "arguments": arguments, "why": why}
