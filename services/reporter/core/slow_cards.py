"""What to do about tools and servers that are slow: slower than before, or over their threshold as ever. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from services.reporter.core.answers import Stats
from services.reporter.core.evidence import (
    Evidence,
    also_moved,
    by_server,
    since,
    slower,
    too_slow,
)
from services.reporter.core.figures import count_text, counted, duration_text, short_count
from services.reporter.core.incident import incident_of, incident_text
from services.reporter.core.recommendation import Recommendation
from services.reporter.core.sampling import MIN_CALLS, MIN_TREND_CALLS
from services.reporter.core.text import Text, Untrusted, tool_of
from services.reporter.core.trends import tool_moves

#: What to do about a tool that got slower, by what moved with it, in this order of `also_moved`.
_SLOW_WITH: Final = {
    "error_rate": "It fails more at the same time: its failures say why, or what it depends on is in trouble.",
    "cpu": "It uses more CPU than before: profile it, or compare what it is asked to do now.",
    "memory": "It uses more memory than before: look for growing data and missing limits.",
    "disk_io": "It reads or writes more than before: look for growing data and missing limits.",
    "calls": "It is called more than before: check whether calls queue up, and who calls it more.",
}


def slow(evidence: Evidence) -> Iterable[Recommendation]:
    """Servers and tools that got slower, and tools that are over their critical threshold as ever."""
    grown = [tool for tool in evidence.tools if slower(evidence, tool)]
    for server, group, wide in by_server(evidence, grown):
        if wide:
            yield _slow_server(evidence, server, group)
        else:
            yield from (slower_tool(evidence, tool) for tool in group)
    for tool in evidence.tools:
        if tool not in grown and too_slow(evidence, tool):
            yield always_slow(evidence, tool)


def slower_tool(evidence: Evidence, tool: Stats) -> Recommendation:
    """One that got slower."""
    before = evidence.earlier(tool) or Stats()
    moves = {trend.metric for trend in tool_moves(tool, before)}
    every = "p50" in moves
    steps = f"p95 {duration_text(before.p95)} → {duration_text(tool.p95)}, p50 {duration_text(before.p50)} → "
    spread = "every call is slower" if every else "only some calls are slow, the middle one is not"
    said: list[Text] = [(f"{steps}{duration_text(tool.p50)}: {spread}",)]
    said.append((f"{counted(tool.count, 'call')}, {count_text(before.count)} in the window before",))
    said += incident_text(incident_of(evidence, tool.server, {tool.tool}, "response_time"))
    said += [(moved.words,) for moved in also_moved(evidence, tool, "response_time")]
    ratio = short_count((tool.p95 or 0.0) / before.p95) if before.p95 else "much"
    return Recommendation(
        "critical" if too_slow(evidence, tool) else "warning",
        "response_time",
        tool.server,
        tool.tool,
        (*tool_of(tool.server, tool.tool), f" got {ratio} times slower at p95"),
        _slowness_action(evidence, tool, every=every),
        tuple(said),
        since(evidence, tool, "response_time"),
        weight=_lost_ms(evidence, [tool]),
    )


def _slowness_action(evidence: Evidence, tool: Stats, *, every: bool) -> Text:
    for moved in also_moved(evidence, tool, "response_time"):
        if moved.metric in _SLOW_WITH:
            return (_SLOW_WITH[moved.metric],)
    if every:
        return ("Nothing measured moved with it: look at what changed then, a deployment or a service it calls.",)
    return ("Find what the slow calls have in common: arguments, size of the answer, time of day.",)


def _slow_server(evidence: Evidence, server: str, tools: Sequence[Stats]) -> Recommendation:
    begun = [start for tool in tools if (start := since(evidence, tool, "response_time"))]
    worst = max(tools, key=lambda tool: tool.p95 or 0.0)
    was = evidence.earlier(worst) or Stats()
    said: Text = ("worst ", Untrusted(worst.tool), f": p95 {duration_text(was.p95)} → {duration_text(worst.p95)}")
    return Recommendation(
        "critical" if any(too_slow(evidence, tool) for tool in tools) else "warning",
        "response_time",
        server,
        "",
        (Untrusted(server), f" got slower as a whole: {len(tools)} of its tools, each against its own earlier level"),
        ("They share a cause: look at the server's process, its host and what it depends on, not at one tool.",),
        (said,),
        min(begun, default=None),
        weight=_lost_ms(evidence, tools),
    )


def always_slow(evidence: Evidence, tool: Stats) -> Recommendation:
    """One that is over its threshold and was before."""
    limit = evidence.thresholds.of("response_time", "critical", tool.server, tool.tool)
    before = evidence.earlier(tool)
    known = before is not None and before.count >= MIN_TREND_CALLS
    few = ", too few to be sure" if tool.count < MIN_CALLS else ""
    was = f", {duration_text(before.p95)} in the window before" if known and before is not None else ""
    action = (
        "It is no slower than before: make it faster, or set a threshold that fits it with set_alert_threshold."
        if known
        else "There is no earlier level to compare with: see which calls are slow with get_metrics, groupBy minute, and set a "
        "threshold that fits it if that is what it takes."
    )
    return Recommendation(
        "warning",
        "response_time",
        tool.server,
        tool.tool,
        (*tool_of(tool.server, tool.tool), f" takes {duration_text(tool.p95)} at p95"),
        (action,),
        ((f"threshold {duration_text(limit)}; {counted(tool.count, 'call')}{few}{was}",),),
        since(evidence, tool, "response_time"),
        weight=(tool.p95 or 0.0) - (limit or 0.0),
    )


def _lost_ms(evidence: Evidence, tools: Sequence[Stats]) -> float:
    return sum(
        tool.count * max(0.0, (tool.avg or 0.0) - (was.avg or 0.0))
        for tool in tools
        if (was := evidence.earlier(tool)) is not None
    )
