"""Alerts in words: a line an alert, with units and what each is judged by; what was held back, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from services.gateway.core.shaping import (
    COMPACT_TABLE_CHARS,
    FULL_TABLE_CHARS,
    Data,
    counted,
    fenced,
    printed,
    table,
)
from shared.conditions import spaced, told_apart
from shared.held_back import held_back
from shared.names import shown

UNITS: Final = {"response_time": "ms", "error_rate": "%", "cpu": "%", "memory": "MB", "disk_io": "KB"}
#: Characters that the table of held-back conditions may take.
HELD_TABLE_CHARS: Final = 4_000
#: Other thresholds that a text names, and characters of each.
NAMED_RELATED: Final = 5
WORDS_CHARS: Final = 300


def unit_of(alert: Data) -> str:
    """The unit of an alert's value: its own, else that of the metric its condition is about."""
    condition = str(alert.get("condition") or "")
    return str(alert.get("unit") or next((unit for name, unit in UNITS.items() if condition.startswith(name)), ""))


def value_of(alert: Data) -> str:
    """The value with its unit; near its limit with as many digits as tell them apart."""
    value, limit = (
        one if isinstance(one, int | float) else None for one in (alert.get("currentValue"), alert.get("threshold"))
    )
    apart, unit = told_apart(value, limit, printed), unit_of(alert)
    return printed(value, unit) if apart is None else f"{apart} {unit}".rstrip()


def related_text(related: Sequence[Data], total: int) -> str:
    """The other thresholds that apply to some of the same calls, each with its place and which of the two holds."""
    if not related:
        return ""
    lines = [spaced(str(one.get("words") or one.get("meaning") or one.get("thresholdId"))) for one in related]
    named = [shown(line, WORDS_CHARS) for line in lines[:NAMED_RELATED]]
    more = [f"… and {total - len(named)} more"] if total > len(named) else []
    others = "Another threshold applies" if total == 1 else "Other thresholds apply"
    return f"\n{others} to some of the same calls:\n{fenced(chr(10).join([*named, *more]))}"


def alerts_text(data: Data, note: str, *, chosen: bool, full: bool, filtered: bool) -> str:
    """The answer's text; `note`: which alerts are shown; `chosen`: a limit or everything was asked for; `filtered`: not all
    alerts were asked for, while what was held back is told of all.
    """
    held = _held(data["summary"]["suppressed"], "Held back of all servers" if filtered else "Held back")
    if not data["alerts"]:
        return f"{data.get('message', 'No alert is open.')}{held}{_held_table(data, full=full)}"
    header = [
        "alert",
        "severity",
        "status",
        "value",
        "condition",
        "judged by",
        *(_MORE if full else ("last true",)),
        "server",
        "tool",
    ]
    rows = [_row(one, _last_day(data), full=full) for one in data["alerts"]]
    body = table(header, rows, FULL_TABLE_CHARS if chosen else COMPACT_TABLE_CHARS)
    many = ", worst first" if data["total"] != 1 else ""
    return f"{counted(data['total'], 'alert')}{many}.{held}\n{body}{note}{_held_table(data, full=full)}"


_MORE: Final = ("peak", "since", "last true", "taken by", "notes")


def _last_day(data: Data) -> str:
    return max((str(one.get("lastTrue") or "")[:10] for one in data["alerts"]), default="")


def _row(one: Data, day: str, *, full: bool) -> list[str]:
    """`day`: of which times are told without it."""
    unit = unit_of(one)
    more = (
        printed(one.get("peakValue"), unit),
        *(str(one.get(name) or "–")[:16] for name in ("timestamp", "lastTrue")),
        *(str(one.get(name) or "–") for name in ("acknowledgedBy", "notes")),
    )
    return [
        str(one.get("alertId")),
        str(one.get("severity")),
        str(one.get("status")),
        value_of(one),
        spaced(str(one.get("condition"))),
        str(one.get("judgedBy") or "–"),
        *(more if full else [_seen(one, day)]),
        str(one.get("mcpServer")),
        str(one.get("toolName") or "(all)"),
    ]


def _seen(one: Data, day: str) -> str:
    """When its condition was last true; of an anomaly when the detector saw it, as far as it has told: it may go on."""
    seen = str(one.get("lastTrue") or "")
    clock = f"{seen[11:16] if seen[:10] == day else seen[:16]}Z" if seen else "–"
    return f"seen {clock}" if str(one.get("condition")).endswith(" detected") else clock


def _held(suppressed: dict[str, Any], what: str) -> str:
    numbers = {reason: n for reason, n in suppressed.items() if isinstance(n, int) and n > 0}
    if not numbers:
        return ""
    return f" {what}: {sum(numbers.values()):,} in 24 h ({held_back(numbers.items())})."


def _held_table(data: Data, *, full: bool) -> str:
    held = [one for one in data.get("heldBack") or [] if isinstance(one, dict)]
    if not full or not held:
        return ""
    rows = [
        [
            str(one.get("reason")),
            str(one.get("severity")),
            printed(one.get("currentValue"), unit_of(one)),
            spaced(str(one.get("condition"))),
            str(one.get("since") or "–")[:16],
            str(one.get("mcpServer")),
            str(one.get("toolName") or "(all)"),
        ]
        for one in held
    ]
    header = ["reason", "severity", "value", "condition", "since", "server", "tool"]
    return f"\nWould be alerts, but are held back:\n{table(header, rows, HELD_TABLE_CHARS)}"
