"""What is known about a window, and what else moved when one thing did.

Owns the lookups that recommendations argue from: the same tool before, since when, resources and load that moved with it,
neighbours in the same trouble, and what its failures say. Decides nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from services.reporter.core.answers import Alert, Anomaly, ErrorGroup, Stats
from services.reporter.core.figures import change_text, percent_text, resource_text, short_count
from services.reporter.core.health import LATENCY_MARGIN_MS, SLOWER_RATIO
from services.reporter.core.messages import fingerprint
from services.reporter.core.sampling import MIN_CALLS, MIN_TREND_CALLS, supported_error_rate
from services.reporter.core.thresholds import Thresholds
from services.reporter.core.trends import change_percent, tool_moves

Key = tuple[str, str]

#: A resource or the load moved with something when it grew by this share at least.
MOVED_SHARE: Final = 0.30
#: So many tools of one server in the same trouble, and half of those that were called, are one trouble of the server.
SERVER_WIDE_TOOLS: Final = 3
SERVER_WIDE_SHARE: Final = 0.5
#: Fewer failures than this are no pattern.
MIN_FAILURES: Final = 3

_ERROR_METRICS: Final = ("error", "error_rate")
_LATENCY_METRICS: Final = ("response_time", "duration")


class Moved(NamedTuple):
    """A figure that moved beside another: its name, and how far in words."""

    metric: str
    words: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a recommendation may argue from; `before` None = the window before could not be had, `before_is_whole`: there
    were calls from its beginning on, so that numbers of calls can be compared.
    """

    tools: tuple[Stats, ...] = ()
    before: Mapping[Key, Stats] | None = None
    anomalies: tuple[Anomaly, ...] = ()
    alerts: tuple[Alert, ...] = ()
    errors: tuple[ErrorGroup, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)
    before_is_whole: bool = True

    def earlier(self, tool: Stats) -> Stats | None:
        """The same tool in the window before."""
        return None if self.before is None else self.before.get((tool.server, tool.tool))


def by_server(evidence: Evidence, tools: Sequence[Stats]) -> Iterable[tuple[str, list[Stats], bool]]:
    """Troubled tools by server, and whether they are so many that it is the server's trouble."""
    called: dict[str, int] = defaultdict(int)
    for tool in evidence.tools:
        called[tool.server] += tool.count >= MIN_CALLS
    groups: dict[str, list[Stats]] = defaultdict(list)
    for tool in tools:
        groups[tool.server].append(tool)
    for server, group in groups.items():
        yield server, group, len(group) >= max(SERVER_WIDE_TOOLS, SERVER_WIDE_SHARE * called[server])


def fails(evidence: Evidence, tool: Stats) -> bool:
    """Whether the failures of a tool are a pattern: three at least, and a rate over the warning threshold that its sample
    supports.
    """
    limit = evidence.thresholds.of("error_rate", "warning", tool.server, tool.tool)
    return tool.errors >= MIN_FAILURES and supported_error_rate(tool.errors, tool.count) > (limit or 0.0)


def slower(evidence: Evidence, tool: Stats) -> bool:
    """Whether a tool got slower than its own earlier level by what a person would notice."""
    before = evidence.earlier(tool)
    if before is None or tool.p95 is None or not before.p95:
        return False
    grown = tool.p95 - before.p95 > LATENCY_MARGIN_MS and tool.p95 >= SLOWER_RATIO * before.p95
    return grown and any(trend.metric == "p95" for trend in tool_moves(tool, before))


def too_slow(evidence: Evidence, tool: Stats) -> bool:
    """Whether a tool is over its critical threshold, on enough calls."""
    return tool.count >= MIN_CALLS and is_over_limit(evidence, tool)


def is_over_limit(evidence: Evidence, tool: Stats) -> bool:
    """Whether a tool's p95 is over its critical threshold, however few its calls."""
    limit = evidence.thresholds.of("response_time", "critical", tool.server, tool.tool)
    return limit is not None and tool.p95 is not None and tool.count > 0 and tool.p95 > limit


def since(evidence: Evidence, tool: Stats, about: str) -> int | None:
    """When the trouble began: the first anomaly of its kind, else the first open alert, else the first failure."""
    words = _ERROR_METRICS if about == "error_rate" else _LATENCY_METRICS
    key = (tool.server, tool.tool)
    starts = [a.start_ms for a in evidence.anomalies if (a.server, a.tool) == key and a.kind.startswith(words)]
    raised = [
        a.raised_ms for a in evidence.alerts if a.is_open and a.server == tool.server and _about(a, tool.tool, words)
    ]
    firsts = [g.first_ms for g in evidence.errors if about == "error_rate" and (g.server, g.tool) == key]
    return next((min(known) for times in (starts, raised, firsts) if (known := [t for t in times if t])), None)


def also_moved(evidence: Evidence, tool: Stats, about: str) -> tuple[Moved, ...]:
    """What of the same tool got worse or grew by 30 % or more beside `about`: failures or durations, CPU, memory, disk I/O,
    number of calls.
    """
    before = evidence.earlier(tool)
    if before is None or min(tool.count, before.count) < MIN_TREND_CALLS:
        return ()
    found = [
        Moved(trend.metric, f"{'failures' if trend.metric == 'error_rate' else trend.metric} {trend.words}")
        for trend in tool_moves(tool, before)
        if (about == "error_rate") != (trend.metric == "error_rate") and trend.metric != "p50"
    ]
    for name, label, unit in (("cpu", "CPU", "%"), ("memory", "memory", "MB"), ("disk_io", "disk I/O", "KB")):
        now, was = getattr(tool, name), getattr(before, name)
        if grew(now, was):
            found.append(Moved(name, f"{label} went from {resource_text(was, unit)} to {resource_text(now, unit)}"))
    if evidence.before_is_whole and grew(tool.count, before.count):
        change = change_text(change_percent(tool.count, before.count))
        found.append(Moved("calls", f"calls {change} ({short_count(before.count)} → {short_count(tool.count)})"))
    return tuple(found)


def grew(now: float | None, was: float | None) -> bool:
    """Whether a figure grew by 30 % or more."""
    change = change_percent(now, was)
    return change is not None and change >= 100 * MOVED_SHARE


def main_message(evidence: Evidence, tools: Iterable[Stats]) -> tuple[ErrorGroup, float, int] | None:
    """The message that most failures of these tools share (figures and ids aside), its percentage, and how many there are."""
    keys = {(tool.server, tool.tool) for tool in tools}
    groups = [group for group in evidence.errors if (group.server, group.tool) in keys and group.count > 0]
    if not groups:
        return None
    top = max(groups, key=lambda group: group.count)
    counts = sum(group.count for group in groups)
    said = [(fingerprint(group.message), group.count) for group in groups]
    same = sum(count for pattern, count in said if pattern == fingerprint(top.message))
    return top, 100.0 * same / counts, len({pattern for pattern, _ in said})


def share_text(share: float, messages: int) -> str:
    """How far one message explains the failures."""
    if messages == 1:
        return "all failures that were read give the message below"
    return f"{percent_text(share)} of the failures that were read give the message below, one of {messages}"


def _about(alert: Alert, tool: str, words: tuple[str, ...]) -> bool:
    return alert.tool in {tool, ""} and alert.condition.startswith(words)
