"""Servers and tools that were called in a window and are called no more: figures of the past are no health.

Pure: from a row's own calls, the window, and what the detector found. Whether a silence is unusual by the hour of the day, and
that of one tool among others at all, is the detector's to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.reporter.core.answered import Answered
from services.reporter.core.figures import clock_text
from services.reporter.core.health import HEALTHY_FROM, Health
from services.reporter.core.model import Range, ServerRow
from services.reporter.core.text import Text, Untrusted, plain, tool_of
from shared.timespan import MINUTE_MS

#: Since when no call is worth a word.
WORTH_A_WORD_MS: Final = 10 * MINUTE_MS
#: Calls that the silence would have had, by the pace of those before it, from which on nothing is known of the server's health.
MISSED_CALLS: Final = 8.0
_SINCE: Final = " has had no calls since "


@dataclass(frozen=True, slots=True)
class SilentTool:
    """A tool that the detector finds silent, and that was not called since."""

    server: str
    tool: str
    since_ms: int


def silent_tools(answered: Answered) -> tuple[SilentTool, ...]:
    """Those of all servers, the longest silent first."""
    rollup, listed = answered.rollup("tools"), answered.anomalies
    called = {(row.server, row.tool): row.last_ts or 0 for row in (rollup.rows if rollup else ())}
    found = {
        (one.server, one.tool): SilentTool(one.server, one.tool, one.start_ms)
        for one in (listed.rows if listed else ())
        if one.is_silence and one.start_ms is not None and called.get((one.server, one.tool), 0) <= one.start_ms
    }
    return tuple(sorted(found.values(), key=lambda one: (one.since_ms, one.server, one.tool)))


def tools_of_servers(answered: Answered, silent: Sequence[SilentTool]) -> Counter[str]:
    """Tools a server: those with calls in the window, and the silent ones."""
    rollup = answered.rollup("tools")
    called = {(row.server, row.tool) for row in (rollup.rows if rollup else ())}
    return Counter(server for server, _ in called | {(one.server, one.tool) for one in silent})


def with_silence(row: ServerRow, span: Range, silent: Sequence[SilentTool] = (), tools: int = 0) -> ServerRow:
    """The row; without a score when it was well and its calls stopped; not healthy when those of half of its `tools` did."""
    own = [one for one in silent if one.server == row.stats.server]
    since_ms = silent_since(row, span)
    if since_ms is not None:
        said: Text = (f"no calls since {clock_text(since_ms, span.end_ms)}",)
        if row.health.status != "healthy" and own:
            first, *rest = row.health.reasons or (said,)
            return replace(row, health=replace(row.health, reasons=(first, said, *rest)))
        if row.health.status != "healthy" or not (own or _stopped(row, since_ms, span)):
            return row
        return replace(row, health=Health(None, "no_data", (said, *row.health.reasons), row.health.few_calls))
    if not own or row.health.score is None:
        return row
    reasons = (_tools_text(own, span), *row.health.reasons)
    if row.health.score < HEALTHY_FROM or 2 * len(own) < tools:
        return replace(row, health=replace(row.health, reasons=(*row.health.reasons[:1], *reasons[:1], *reasons[2:])))
    return replace(row, health=replace(row.health, score=HEALTHY_FROM - 1, status="degraded", reasons=reasons))


def silent_word(row: ServerRow, span: Range, silent: Sequence[SilentTool] = ()) -> str:
    """`no calls since 13:05Z`, or `no calls since 13:05Z of "radar"`; empty when it is called."""
    since_ms = silent_since(row, span, silent)
    if since_ms is not None:
        return f"no calls since {clock_text(since_ms, span.end_ms)}"
    own = [one for one in silent if one.server == row.stats.server]
    if not own:
        return ""
    which = f"{len(own)} tools" if len(own) > 1 else plain((Untrusted(own[0].tool),))
    return f"no calls since {clock_text(own[0].since_ms, span.end_ms)} of {which}"


def of_silence(health: Health, rows: Sequence[ServerRow], span: Range, silent: Sequence[SilentTool]) -> Health:
    """The system's health with a word about what stopped; no longer healthy when the detector finds that of a server unusual."""
    stopped = _stopped_servers(rows, span, silent)
    unusual = {one.server for one in silent}
    word = _word(rows, span, silent)
    if not word or health.score is None:
        return health
    if any(server in unusual for server, _ in stopped) and health.score >= HEALTHY_FROM:
        return replace(health, score=HEALTHY_FROM - 1, status="degraded", reasons=(word, *health.reasons))
    return replace(health, reasons=(*health.reasons[:1], word, *health.reasons[1:]))


def _word(rows: Sequence[ServerRow], span: Range, silent: Sequence[SilentTool]) -> Text:
    """The server that stopped, that which the detector finds unusual first; else the tools; empty when nothing did."""
    stopped, unusual = _stopped_servers(rows, span, silent), {one.server for one in silent}
    if stopped:
        server, since_ms = min(stopped, key=lambda one: (one[0] not in unusual, -one[1]))
        more = f", and {len(stopped) - 1} more" if len(stopped) > 1 else ""
        return Untrusted(server), f"{_SINCE}{clock_text(since_ms, span.end_ms)}{more}"
    called = {row.stats.server for row in rows if silent_since(row, span, silent) is None and not _says_so(row)}
    tools = [one for one in silent if one.server in called]
    return _tools_text(tools, span, of_server=True) if tools else ()


def is_silence_text(reason: Text) -> bool:
    """Whether a reason is that calls stopped."""
    return any(isinstance(part, str) and part.startswith(_SINCE) for part in reason)


def _says_so(row: ServerRow) -> bool:
    return any(is_silence_text(reason) for reason in row.health.reasons[:1]) and row.health.status != "healthy"


def _tools_text(tools: Sequence[SilentTool], span: Range, *, of_server: bool = False) -> Text:
    """`"radar" of "weather" has had no calls since 13:05Z, and 2 more`."""
    first = tools[0]
    name: Text = tool_of(first.server, first.tool) if of_server else (Untrusted(first.tool),)
    more = f", and {len(tools) - 1} more" if len(tools) > 1 else ""
    return (*name, f"{_SINCE}{clock_text(first.since_ms, span.end_ms)}{more}")


def _stopped_servers(rows: Sequence[ServerRow], span: Range, silent: Sequence[SilentTool]) -> list[tuple[str, int]]:
    """The servers that stopped and were well, or whose silence the detector finds unusual, and since when."""
    unusual = {one.server for one in silent}
    chosen = [row for row in rows if row.health.score is None or row.stats.server in unusual]
    times = [(row.stats.server, silent_since(row, span, silent)) for row in chosen]
    return [(server, since_ms) for server, since_ms in times if since_ms is not None]


def silent_since(row: ServerRow, span: Range, silent: Sequence[SilentTool] = ()) -> int | None:
    """The last call of a server that had some in the window, if it is some time ago; of one that had none, that of its silent
    tools.
    """
    if not row.stats.count:
        return max((one.since_ms for one in silent if one.server == row.stats.server), default=None)
    last_ms = row.stats.last_ts
    known = last_ms is not None and row.stats.count > 0 and last_ms >= span.start_ms
    return last_ms if known and span.end_ms - (last_ms or 0) >= WORTH_A_WORD_MS else None


def _stopped(row: ServerRow, since_ms: int, span: Range) -> bool:
    """Whether at the pace of the calls before many would have come since."""
    first_ms = max(span.start_ms, row.stats.first_ts or span.start_ms)
    called_ms = max(since_ms - first_ms, MINUTE_MS)
    return row.stats.count * (span.end_ms - since_ms) / called_ms >= MISSED_CALLS
