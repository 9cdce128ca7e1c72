"""Figures, names and moments as they stand in sentences.

Names of servers and tools, and messages, come from what is monitored: they are escaped and quoted wherever they are spoken of.
"""

from __future__ import annotations

import math
from typing import Final

from shared.names import shown
from shared.timespan import iso, span_text

UNITS: Final = {"error_rate": "%", "cpu": "%", "memory": "MB", "disk_io": "KB", "response_time": "ms"}
RESOURCES: Final = ("cpu", "memory", "disk_io")
WORDS: Final = {
    "cpu": "CPU",
    "memory": "memory",
    "disk_io": "disk I/O",
    "error_rate": "failures",
    "response_time": "response time",
    "calls_per_minute": "calls",
    "calls": "calls",
}
#: Characters of a name or message inside a sentence.
MAX_QUOTED_CHARS: Final = 80


def number(value: float) -> float:
    """A figure to nine digits; whole ones stay exact, what is not finite is 0."""
    if not math.isfinite(value):
        return 0.0
    return float(value) if value == int(value) else float(f"{value:.9g}")


def plain(value: float) -> str:
    """A figure of an expected range: four digits, never an exponent."""
    if not math.isfinite(value):
        return "0"
    if abs(value) >= 1000 or value == 0:
        return f"{value:.0f}"
    return f"{value:.{max(0, 3 - math.floor(math.log10(abs(value))))}f}".rstrip("0").rstrip(".") or "0"


def brief(value: float) -> str:
    """A figure in a sentence: three digits, thousands apart, never an exponent."""
    if not math.isfinite(value):
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return plain(float(f"{value:.3g}"))


def measured(value: float, unit: str) -> str:
    """`850 ms`, `12 %`."""
    return f"{brief(value)} {unit}".rstrip()


def quoted(name: str) -> str:
    """An untrusted name as part of a sentence: escaped, cut, in quotes of its own."""
    return "“" + shown(name, MAX_QUOTED_CHARS).replace("“", "'").replace("”", "'") + "”"


def begun(word: str) -> str:
    """The word as a sentence begins with it."""
    return word[:1].upper() + word[1:]


def plain_type(name: str) -> str:
    """An anomaly's type as words."""
    return name.replace("_", " ")


def listed(words: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def counted(count: int, noun: str) -> str:
    """`1 call`, `1,200 calls`, `3 anomalies`."""
    plural = noun[:-1] + "ies" if noun.endswith("ly") else noun + "s"
    return f"{count:,} {noun if count == 1 else plural}"


def clock(ts_ms: int, near_ms: int | None = None) -> str:
    """`13:02Z`, with the day before it when that is another than `near_ms` has, or there is none to go by."""
    text = iso(ts_ms)
    day = "" if near_ms is not None and iso(near_ms)[:10] == text[:10] else text[:10] + " "
    return f"{day}{text[11:16]}Z"


def lead(ms: int) -> str:
    """How long before, as people say it: whole minutes from two on."""
    return span_text(round(ms / 60_000) * 60_000) if ms >= 120_000 else f"{max(1, round(ms / 1_000))} s"


def lead_or_lag(ms: int) -> str:
    """`5 min before`, `with it` within two minutes, `20 min after` of what came later."""
    if abs(ms) < 120_000:
        return "with it"
    return f"{lead(abs(ms))} {'before' if ms > 0 else 'after'}"
