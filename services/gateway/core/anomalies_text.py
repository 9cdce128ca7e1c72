"""Anomalies in words: a line an anomaly (of the named methods a line a tool), what belongs together, what to do. Pure."""

from __future__ import annotations

import json
from typing import Any, Final

from services.gateway.core.arguments import DetectAnomalies
from services.gateway.core.shaping import (
    COMPACT_TABLE_CHARS,
    FULL_TABLE_CHARS,
    Data,
    begun,
    counted,
    cut_text,
    fenced,
    printed,
    table,
    whole_number,
)
from shared.names import shown

#: Anomalies that a full answer's text explains, pieces of advice each, and characters of evidence and of all of it.
EXPLAINED: Final = 20
ADVICE_EACH: Final = 3
#: Of advice that was given before.
ADVICE_CHARS: Final = 50
EVIDENCE_CHARS: Final = 400
EXPLAINED_CHARS: Final = 7_000
#: From here on a confidence is not rounded to certainty.
NEARLY_SURE: Final = 0.995
#: How an anomaly ended whose level stayed.
NEW_USUAL: Final = "the new normal"
#: Evidence that the anomaly's sentence and explanation tell in words.
_TOLD: Final = frozenset({"changes", "siblings", "first", "otherTools", "measured", "said", "burn", "tools", "level"})


def anomalies_text(arguments: DetectAnomalies, data: Data, note: str) -> str:
    """The answer's text; `note`: which anomalies are shown."""
    span = f"{data['range']['startTime']} to {data['range']['endTime']}"
    how = f"method {arguments.method}, sensitivity {arguments.sensitivity}"
    seen = _looked_at(arguments, data)
    if not data["anomalies"]:
        nothing = data.get("message", "No anomaly found.") if not note else note.strip()
        return f"{nothing}{seen}{_auto_finds(data)} Range {span}; {how}."
    full, chosen = arguments.detail == "full", arguments.detail == "full" or arguments.limit is not None
    total = data["summary"]["total"]
    head = f"{counted(total, 'anomaly', 'anomalies')}, {span}; {how}.{seen}{_by_chance(arguments, data)}"
    by_tool = any("events" in one for one in data["anomalies"])
    order = "" if len(data["anomalies"]) < 2 else " The worst of each tool:" if by_tool else " Worst first:"
    rows = [_tool_line(one) if by_tool else _line(one, full=full) for one in data["anomalies"]]
    header = _TOOL_HEADER if by_tool else _header(full=full)
    body = table(header, rows, FULL_TABLE_CHARS if chosen else COMPACT_TABLE_CHARS)
    explained = _explained(data["anomalies"]) if full else ""
    return f"{head}{order}\n{body}{_incidents(data['summary'])}{explained}{note}"


def _looked_at(arguments: DetectAnomalies, data: Data) -> str:
    """What could be seen: calls and tools, since when, and whether that is enough to judge by."""
    coverage = data["coverage"]
    calls, tools, short = (whole_number(coverage.get(name)) for name in ("calls", "series", "seriesWithTooFewCalls"))
    if not tools:
        return ""
    since = str(coverage.get("since") or data["range"]["startTime"])
    text = f" Looked at {counted(calls, 'call')} of {counted(tools, 'tool')} since {since[:16]}Z"
    needed = whole_number(coverage.get("minCalls"))
    if short:
        who = (
            "it has"
            if tools == 1
            else "all have"
            if short == tools
            else f"{short:,} of them {'has' if short == 1 else 'have'}"
        )
        text += f"; {who} too little history to know what is usual ({arguments.method} needs {needed} calls a tool)"
    if part := whole_number(coverage.get("seriesSeenInPart")):
        text += f"; {counted(part, 'tool')} could be seen only in part"
    return f"{text}."


def _by_chance(arguments: DetectAnomalies, data: Data) -> str:
    """What a method that compares with a fixed limit cannot know, and how many it finds where nothing is wrong."""
    summary = data["summary"]
    if arguments.method == "auto" or "expectedByChance" not in summary:
        return ""
    limit = f" ({summary['limit']})" if summary.get("limit") else ""
    return (
        f" Were nothing wrong, {arguments.method}{limit} would still find about {summary['expectedByChance']:,}: it judges "
        "single calls by a fixed limit. It sees no failures; the method auto does."
    )


def _auto_finds(data: Data) -> str:
    """A named method that finds nothing is no clean bill of health."""
    found = whole_number(data["summary"].get("autoFinds"))
    return f" The method auto finds {counted(found, 'anomaly', 'anomalies')} in it." if found else ""


def _incidents(summary: Data) -> str:
    """What belongs together, and the likely cause."""
    lines = []
    for one in summary.get("incidents") or []:
        members, cause = whole_number(one.get("members")), one.get("cause")
        servers = ", ".join(str(server) for server in one.get("servers") or [])
        told = f"; likely cause ({_sure(one.get('confidence'))}): {cause}" if cause else "; no cause stands out"
        since = str(one.get("since"))[:16]
        lines.append(f"{one.get('id')}: {counted(members, 'anomaly', 'anomalies')} of {servers} since {since}Z{told}")
    return f"\nWhat belongs together:\n{fenced(chr(10).join(lines))}" if lines else ""


_TOOL_HEADER: Final = ("severity", "events", "by chance", "last", "type", "worst", "expected", "server", "tool")


def _header(*, full: bool) -> list[str]:
    more = ("sure", "method") if full else ()
    return ["severity", "since", "until", "type", "value", "expected", "off by", *more, "server", "tool"]


def _tool_line(one: Data) -> list[str]:
    return [
        str(one.get("severity")),
        printed(one.get("events")),
        printed(one.get("expectedByChance")),
        str(one.get("lastEventTs"))[:16],
        str(one.get("anomalyType")),
        *_figures(one),
        str(one.get("mcpServer")),
        str(one.get("toolName")),
    ]


def _line(one: Data, *, full: bool) -> list[str]:
    details: dict[str, Any] = one.get("details") or {}
    more = [_sure(details.get("confidence")), str(details.get("method") or "–")]
    return [
        str(one.get("severity")),
        str(one.get("timestamp"))[:16],
        _until(one),
        _type(one),
        *_figures(one),
        str(details.get("deviation") or "–"),
        *(more if full else ()),
        str(one.get("mcpServer")),
        str(one.get("toolName")),
    ]


def _type(one: Data) -> str:
    """By the name that the data has as well, and what it is called where that says more: `resource_spike (step)`."""
    kind = str((one.get("details") or {}).get("kind") or "")
    return str(one.get("anomalyType")) + (f" ({kind.rpartition('_')[2]})" if kind else "")


def _figures(one: Data) -> tuple[str, str]:
    """The value (of a lasting change the level before as well), and what was expected."""
    details: dict[str, Any] = one.get("details") or {}
    value = printed(details.get("currentValue"), str(details.get("unit") or ""))
    if details.get("usual") is not None:
        value = f"{printed(details['usual'])} → {value}"
    return value, str(details.get("expectedRange", "–"))


def _until(one: Data) -> str:
    if "endTs" not in one:
        return "–"
    if one.get("quietSince"):
        return f"{str(one['quietSince'])[11:16]}?"
    if one.get("ended") == NEW_USUAL:
        return "new usual"
    end, start = str(one["endTs"] or ""), str(one.get("timestamp"))
    return "going on" if not end else end[11:16] if end[:10] == start[:10] else end[:16]


def _says(advice: str, cause: str) -> bool:
    """Whether it repeats the likely cause, which the sentence has said."""
    return bool(cause) and advice[1:].startswith(cause[1:ADVICE_CHARS])


def _sure(confidence: object) -> str:
    """Nothing found in data is certain."""
    sure = isinstance(confidence, int | float) and confidence >= NEARLY_SURE
    return ">0.99" if sure else printed(confidence)


def _explained(anomalies: list[Data]) -> str:
    """What to do about the worst, and why we think so: the detector's words and evidence."""
    lines: list[str] = []
    told: dict[str, int] = {}
    for place, one in enumerate(anomalies[:EXPLAINED], 1):
        evidence = {**(one.get("evidence") or {}), **((one.get("details") or {}).get("evidence") or {})}
        untold = {name: value for name, value in evidence.items() if name not in _TOLD}
        said = one.get("summary") or f"{one.get('mcpServer')} / {one.get('toolName')}: {one.get('anomalyType')}"
        lines.append(f"{place}. {said}")
        cause = str(((one.get("incident") or {}).get("likelyCause") or {}).get("sentence") or "")
        untold_advice = [advice for advice in map(str, one.get("recommendations") or []) if not _says(advice, cause)]
        for advice in untold_advice[:ADVICE_EACH]:
            first = told.setdefault(advice, place)
            lines.append(
                f"   do: {advice}" if first == place else f"   do: as for {first}: {begun(advice, ADVICE_CHARS)}"
            )
        if untold:
            lines.append(f"   evidence: {shown(json.dumps(untold, ensure_ascii=False), EVIDENCE_CHARS)}")
    rest = "the rest is in the structured content, or narrow the question"
    return f"\nWhat to do, and why:\n{fenced(cut_text(chr(10).join(lines), EXPLAINED_CHARS, rest))}"
