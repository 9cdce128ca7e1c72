"""Alerts in words: a line an alert, with units and what each is judged by; what was held back, and why. Pure."""

from __future__ import annotations

from typing import Any, Final

from services.gateway.core.shaping import (
    COMPACT_TABLE_CHARS,
    FULL_TABLE_CHARS,
    Data,
    counted,
    printed,
    table,
)
from shared.held_back import held_back

UNITS: Final = {"response_time": "ms", "error_rate": "%", "cpu": "%", "memory": "MB", "disk_io": "KB"}
#: Characters that the table of held-back conditions may take.
HELD_TABLE_CHARS: Final = 4_000


def unit_of(alert: Data) -> str:
    """The unit of an alert's value: its own, else that of the metric its condition is about."""
    condition = str(alert.get("condition") or "")
    return str(alert.get("unit") or next((unit for name, unit in UNITS.items() if condition.startswith(name)), ""))


def alerts_text(data: Data, note: str, *, chosen: bool, full: bool) -> str:
    """The answer's text; `note`: which alerts are shown; `chosen`: a limit or everything was asked for."""
    held = _held(data["summary"]["suppressed"])
    if not data["alerts"]:
        return f"{data.get('message', 'No alerts match.')}{held}{_held_table(data, full=full)}"
    header = [
        "alert",
        "severity",
        "status",
        "value",
        "condition",
        "judged by",
        *(_MORE if full else ()),
        "server",
        "tool",
    ]
    body = table(
        header, [_row(one, full=full) for one in data["alerts"]], FULL_TABLE_CHARS if chosen else COMPACT_TABLE_CHARS
    )
    many = ", worst first" if data["total"] != 1 else ""
    return f"{counted(data['total'], 'alert')}{many}.{held}\n{body}{note}{_held_table(data, full=full)}"


_MORE: Final = ("peak", "since", "last true", "taken by", "notes")


def _row(one: Data, *, full: bool) -> list[str]:
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
        printed(one.get("currentValue"), unit),
        str(one.get("condition")),
        str(one.get("judgedBy") or "–"),
        *(more if full else ()),
        str(one.get("mcpServer")),
        str(one.get("toolName") or "(all)"),
    ]


def _held(suppressed: dict[str, Any]) -> str:
    numbers = {reason: n for reason, n in suppressed.items() if isinstance(n, int) and n > 0}
    if not numbers:
        return ""
    return f" Held back: {sum(numbers.values()):,} in 24 h ({held_back(numbers.items())})."


def _held_table(data: Data, *, full: bool) -> str:
    held = [one for one in data.get("heldBack") or [] if isinstance(one, dict)]
    if not full or not held:
        return ""
    rows = [
        [
            str(one.get("reason")),
            str(one.get("severity")),
            printed(one.get("currentValue"), unit_of(one)),
            str(one.get("condition")),
            str(one.get("since") or "–")[:16],
            str(one.get("mcpServer")),
            str(one.get("toolName") or "(all)"),
        ]
        for one in held
    ]
    header = ["reason", "severity", "value", "condition", "since", "server", "tool"]
    return f"\nWould be alerts, but are held back:\n{table(header, rows, HELD_TABLE_CHARS)}"
