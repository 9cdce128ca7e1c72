"""Names that a call asked for, against the names that have metrics: what was meant by a wrong one, last metric for a right one.

Pure; works on the aggregator's `series` answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from services.gateway.core.refusals import did_you_mean, quoted


class Known(NamedTuple):
    """What is known of the names asked for: `problem` when one is unknown, else when they were last heard of (epoch ms, None =
    never any metric at all).
    """

    problem: str | None
    last_ms: int | None


def look_up(series: Sequence[Any], server: str | None, tool: str | None) -> Known:
    """Check names against `[[server, tool, lastTs], …]`."""
    entries = [(str(entry[0]), str(entry[1]), entry[2]) for entry in series if len(entry) >= 3]
    if not entries:
        return Known(None, None)
    entries.sort(key=lambda entry: -(entry[2] if isinstance(entry[2], int | float) else 0))
    servers = list(dict.fromkeys(name for name, _, _ in entries))  # last called first
    if server is not None and server not in servers:
        return Known(f"mcpServer {quoted(server)} has no metrics. {did_you_mean(server, servers)}", None)
    within = [entry for entry in entries if server is None or entry[0] == server]
    tools = list(dict.fromkeys(name for _, name, _ in within))
    if tool is not None and tool not in tools:
        where = "" if server is None else f" of {quoted(server)}"
        return Known(f"toolName {quoted(tool)}{where} has no metrics. {did_you_mean(tool, tools)}", None)
    times = [last for _, name, last in within if (tool is None or name == tool) and isinstance(last, int | float)]
    return Known(None, int(max(times)) if times else None)
