"""get_dashboard: everything at a glance, within a default answer's size. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from services.gateway.core.alerts_text import value_of
from services.gateway.core.arguments import DEFAULT_LIMIT, GetDashboard
from services.gateway.core.shaping import (
    COMPACT_TEXT_CHARS,
    TABLE_NAME_CHARS,
    Answer,
    Data,
    begun,
    brief,
    counted,
    ended,
    fenced,
    fit,
    harmless,
    printed,
    table,
)
from shared.conditions import spaced
from shared.names import shown
from shared.timespan import MINUTE_MS, BadTime, parse_iso

#: Characters of JSON that each list of the dashboard may take; together with the rest a default answer.
SERVERS_CHARS: Final = 1_000
LIST_CHARS: Final = 480
TABLE_CHARS: Final = 800
#: Entries of each other list that the text names.
NAMED: Final = 3
#: Characters of a map beside the lists, above which it is left out.
MAP_CHARS: Final = 900
#: Characters of a sentence about the whole (how things are and why, what to do next), and of a word in it.
SENTENCE_CHARS: Final = 400
WORD_CHARS: Final = 80
#: A value that was seen so recently is that of now.
CURRENT_MS: Final = 5 * MINUTE_MS
NOW: Final = "now"
#: How an anomaly ends whose level stayed.
NEW_USUAL: Final = "the new normal"
_LONG_WORD: Final = re.compile(rf"(\S{{{WORD_CHARS}}})\S+")

_TITLES: Final = {
    "slowestTools": "Slowest",
    "worstTools": "Worst tools",
    "activeAlerts": "Open alerts",
    "recentAnomalies": "Recent anomalies",
}
#: The tool that lists all of it.
_LISTED_BY: Final = {
    "slowestTools": "get_metrics",
    "worstTools": "get_metrics",
    "activeAlerts": "get_active_alerts",
    "recentAnomalies": "detect_anomalies",
}
#: Lists whose entries go without what is not known, to be short.
_WITHOUT_NULLS: Final = ("activeAlerts", "recentAnomalies")
_LISTS: Final = tuple(_TITLES)
#: How the reporter begins to say since when a server is not called.
_NOT_CALLED: Final = ("no calls since", "no data since")


def dashboard_request(arguments: GetDashboard, after_seq: int | None = None) -> Data:
    """The parameters of the reporter's `dashboard`."""
    optional = {"mcpServer": arguments.mcp_server, "afterSeq": after_seq}
    return {"limit": DEFAULT_LIMIT} | {name: value for name, value in optional.items() if value is not None}


def dashboard_answer(arguments: GetDashboard, reply: Data, timestamp: str) -> Answer:
    """The dashboard with its lists cut to size, worst first as the reporter ranked them."""
    data: Data = {"timestamp": str(reply.get("timestamp") or timestamp), "refreshInterval": arguments.refresh_interval}
    cut: dict[str, int] = {}
    named: dict[str, list[Any]] = {}
    for name, value in reply.items():
        if name in {"timestamp", "refreshInterval"}:
            continue
        listed = isinstance(value, list | tuple)
        shaped = harmless(value, COMPACT_TEXT_CHARS) if listed else _about_the_whole(value)
        if listed:
            if name in _WITHOUT_NULLS:
                shaped = [_without_nulls(one) for one in shaped]
            fitted = fit(brief(shaped), SERVERS_CHARS if name == "mcpServers" else LIST_CHARS)
            named[name] = shaped[: len(fitted.rows) if name == "mcpServers" else NAMED]
            shaped = fitted.rows
            total = reply.get(f"{name}Total")
            left_out = (total if isinstance(total, int) else len(shaped) + fitted.cut) - len(shaped)
            if left_out > 0:
                cut[name] = left_out
        elif isinstance(shaped, dict) and len(json.dumps(shaped, ensure_ascii=False)) > MAP_CHARS:
            shaped = {key: item for key, item in shaped.items() if not isinstance(item, dict | list)}
        data[name] = shaped
    for name in ("mcpServers", *_LISTS):
        data.setdefault(name, [])
    data.setdefault("systemHealth", None)
    data["cut"] = cut
    return Answer(_text(data, named), data)


def _about_the_whole(value: object) -> Any:
    """What is no list: its sentences have room to be said to their ends; names in `arguments` stay whole, to be asked with."""
    if isinstance(value, dict):
        return {shown(str(k)): _sentence(v) if isinstance(v, str) else harmless(v) for k, v in value.items()}
    return _sentence(value) if isinstance(value, str) else harmless(value)


def _sentence(said: str) -> str:
    return begun(_LONG_WORD.sub(r"\1…", said), SENTENCE_CHARS)


def _without_nulls(one: object) -> object:
    return {key: item for key, item in one.items() if item is not None} if isinstance(one, dict) else one


def _text(data: Data, named: dict[str, list[Any]]) -> str:
    parts = [_headline(data)]
    if data["mcpServers"]:
        cells = [_server(one) for one in _maps(named.get("mcpServers"))]
        parts.append(table(["status", "health", "calls", "p95 ms", "err %", "alerts", "server"], cells, TABLE_CHARS))
        left_out = data["cut"].get("mcpServers", 0)
        parts.extend([f"{counted(left_out, 'more server')}: ask for one with mcpServer."] if left_out else [])
        parts.extend(_silent(data["mcpServers"]))
    slow = [one for one in _maps(named.get("slowestTools")) if one.get("why")]
    for name in _LISTS:
        listed = _maps(named.get(name))
        rows = _worth_telling(name, listed, slow)
        if rows:
            more = len(data[name]) + data["cut"].get(name, 0) - len(listed)
            rest = f", {more} more with {_LISTED_BY[name]}" if more > 0 else ""
            lines = [_slow_line(one) if name == "slowestTools" else _line(one, data["timestamp"]) for one in rows]
            parts.append(f"{_title(name, rows)}{rest}:\n{fenced(chr(10).join(lines))}")
    if data.get("missing"):
        parts.append("Missing: " + "; ".join(_inline(str(one)) for one in data["missing"]))
    parts.extend(_next_step(data.get("nextStep")))
    return "\n".join(parts)


def _maps(rows: list[Any] | None) -> list[Data]:
    return [one for one in rows or [] if isinstance(one, dict)]


def _worth_telling(name: str, rows: list[Data], slow: list[Data]) -> list[Data]:
    """Without the tools that are not slow where some are, and those that neither fail nor are slow."""
    if name == "slowestTools":
        return slow or rows
    if name == "worstTools":
        known = {_names(one) for one in slow}
        return [one for one in rows if one.get("errorRate") or _names(one) in known]
    return rows


def _silent(servers: list[Any]) -> list[str]:
    """The servers that are not called now, and since when, but those that hardly ever were; what else is said of them is in the
    table.
    """
    known = [one for one in servers if isinstance(one, dict) and not one.get("fewCalls")]
    rows = [one for one in known if str(one.get("note") or "").startswith(_NOT_CALLED)]
    notes = [str(one["note"]).split(";")[0] for one in rows[:NAMED]]
    lines = [
        shown(f"{note}  {shown(str(one.get('name')), TABLE_NAME_CHARS)}", 160)
        for note, one in zip(notes, rows, strict=False)
    ]
    more = f", {len(rows) - len(lines)} more" if len(rows) > len(lines) else ""
    return [f"Not called now{more}:\n{fenced(chr(10).join(lines))}"] if lines else []


def _next_step(step: object) -> list[str]:
    if not isinstance(step, dict) or not step.get("why"):
        return [f"Next: {_inline(step)}"] if isinstance(step, str) and step else []
    call = f" {step['tool']}({json.dumps(step.get('arguments') or {}, ensure_ascii=False)})" if step.get("tool") else ""
    return [_inline(f"Next: {step['why']}{call}")]


def _headline(data: Data) -> str:
    health = data["systemHealth"]
    if not isinstance(health, dict):
        return f"System health: {'unknown' if health is None else _inline(str(health))}, {data['timestamp']}."
    score = f" {printed(health['score'])} of 100" if health.get("score") is not None else ""
    status = _inline(str(health.get("status") or "unknown")).replace("_", " ")
    why = [str(health[key]) for key in ("message", "reason") if health.get(key)]
    said = f": {_inline('; '.join(why))}" if why else ""
    return ended(f"System health{score}, {status}, {_window(data)}{data['timestamp']}{said}")


def _window(data: Data) -> str:
    window = data.get("window")
    name = window.get("name") if isinstance(window, dict) else None
    return f"{_inline(str(name))}, " if name else ""


def _title(name: str, rows: list[Data]) -> str:
    if name != "slowestTools":
        return _TITLES[name]
    word = "Slow" if any(one.get("why") for one in rows) else _TITLES[name]
    return f"{word} (p95{', the day before → now' if any(one.get('p95Before') is not None for one in rows) else ''})"


def _slow_line(one: Data) -> str:
    was = f"{printed(one['p95Before'], 'ms')} → " if one.get("p95Before") is not None else ""
    limit = f" ({printed(one['limit'], 'ms')})" if one.get("limit") is not None else ""
    why = f", {one['why']}{limit}" if one.get("why") else ""
    calls = f", {counted(one['calls'], 'call')}" if isinstance(one.get("calls"), int) else ""
    return shown(f"{was}{printed(one.get('p95'), 'ms')}{why}{calls}  {_names(one)}", 160)


def _inline(sentence: str) -> str:
    """The reporter's sentence; a name in it cannot open a fence."""
    return sentence.replace("`", "'")


def _line(one: Data, now: str) -> str:
    kind = one.get("kind") or one.get("anomalyType")
    condition = spaced(str(one.get("condition") or ""))
    taken = str(one.get("status") or "") if one.get("alertId") and one.get("status") != "active" else ""
    named = (one.get("alertId"), one.get("severity"), taken, condition, kind, one.get("reason"))
    what = [str(part) for part in named if part]
    if what:
        seen = "" if kind else _seen(one, now)
        was = f"{printed(one['usual'])} → " if one.get("usual") is not None else ""
        value = value_of(one) if one.get("alertId") else printed(one.get("currentValue"), str(one.get("unit") or ""))
        said = f"{was}{value}" if kind else f"now {value}" if seen == NOW else _then(f"{value}{seen}", condition)
        what += [said] if one.get("currentValue") is not None else []
        what += [_while(one, now)] if one.get("timestamp") else []
    else:
        calls = f" of {counted(one['calls'], 'call')}" if isinstance(one.get("calls"), int) else ""
        what = [f"errors {printed(one.get('errorRate'), '%')}{calls}, p95 {printed(one.get('p95'), 'ms')}"]
    return shown(f"{' '.join(what)}  {_names(one)}", 200)


def _seen(alert: Data, now: str) -> str:
    """Whether an alert's value is that of now, or ` at 13:02Z` unless that is when it began; an anomaly's is that of when it was
    told.
    """
    seen = str(alert.get("lastTrue") or "")
    try:
        recent = not seen or parse_iso(now) - parse_iso(seen) < CURRENT_MS
    except BadTime:
        recent = True
    if recent:
        return NOW
    return "" if _clock(seen, now) == _clock(str(alert.get("timestamp") or ""), now) else f" at {_clock(seen, now)}"


def _then(value: str, condition: str) -> str:
    """The value of an alert as it was; of an anomaly it is told as that of the anomaly."""
    return f"{value}," if condition.endswith(" detected") else f"was {value},"


def _while(one: Data, now: str) -> str:
    """`since 14:29Z`, or `14:35Z to 14:43Z` of what is over; with the day unless it is today."""
    start, end = (_clock(str(one.get(name) or ""), now) for name in ("timestamp", "end"))
    if one.get("ended") == NEW_USUAL:
        return f"since {start}, the usual by now"
    return f"{start} to {end}" if end else f"since {start}"


def _clock(time: str, now: str) -> str:
    return time and f"{time[11:16] if time[:10] == now[:10] else time[:16]}Z"


def _names(one: Data) -> str:
    return " / ".join(shown(str(one[key]), TABLE_NAME_CHARS) for key in ("mcpServer", "toolName") if one.get(key))


def _server(one: Data) -> list[str]:
    return [
        f"{one.get('status', '–')}{' (few calls)' if one.get('fewCalls') else ''}",
        printed(one.get("healthScore")),
        printed(one.get("calls")),
        printed(one.get("p95")),
        printed(one.get("errorRate")),
        printed(one.get("activeAlerts")),
        str(one.get("name", "–")),
    ]
