"""Figures as people read them: counts, durations, percent, sizes. None and what is not finite is a dash.

Pure formatting; knows nothing of what a figure means.
"""

from __future__ import annotations

import math
from typing import Final

from shared.timespan import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, iso

DASH: Final = "–"
#: Significant digits of a figure for programs.
DIGITS: Final = 4
#: Digits of a figure that is rounded once more when it is told.
UNROUNDED: Final = 9
#: From here on a figure is written as a power of ten.
SCIENTIFIC_FROM: Final = 1e15


def count_text(value: float | None) -> str:
    """`12,345`."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.3g}" if abs(value) >= SCIENTIFIC_FROM else f"{round(value):,}"


def counted(value: int, noun: str, plural: str | None = None) -> str:
    """`1 call`, `12,345 calls`."""
    return f"{count_text(value)} {noun if value == 1 else plural or f'{noun}s'}"


def short_count(value: float | None) -> str:
    """`12.3k`, `4.5M`: a count for an axis or a narrow place."""
    if value is None or not math.isfinite(value):
        return DASH
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size <= abs(value) < SCIENTIFIC_FROM:
            return f"{_trimmed(value / size)}{unit}"
    return _trimmed(value)


def duration_text(value_ms: float | None) -> str:
    """`0.8 ms`, `850 ms`, `1.25 s`, `2.5 min`, `3.1 h`, `4 d`."""
    if value_ms is None or not math.isfinite(value_ms):
        return DASH
    for size, unit in ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min"), (SECOND_MS, "s")):
        if abs(value_ms) >= size:
            return f"{_trimmed(value_ms / size)} {unit}"
    return f"{_trimmed(value_ms)} ms"


def percent_text(value: float | None) -> str:
    """`0 %`, `0.03 %`, `12.5 %`, `100 %`; what is not quite 100 is never rounded up to it, nor down to 0."""
    if value is None or not math.isfinite(value):
        return DASH
    if 99.9 < value < 100:
        return "> 99.9 %"
    if 0 < value < 0.01:
        return "< 0.01 %"
    return f"{value:.2g} %" if 0 < value < 1 else f"{_trimmed(value)} %"


def change_text(percent: float | None) -> str:
    """`+42 %`, `−8 %`, `×12` from tenfold on."""
    if percent is None or not math.isfinite(percent):
        return DASH
    if percent >= 900:
        return f"×{short_count(percent / 100 + 1)}"
    return f"{'−' if percent < 0 else '+'}{_trimmed(abs(percent))} %"


def resource_text(value: float | None, unit: str) -> str:
    """`15.5 %`, `128 MB`, `1,020 KB`."""
    return DASH if value is None or not math.isfinite(value) else with_unit(value, unit)


def minute_text(ts_ms: int | None) -> str:
    """`2025-10-31 13:05 UTC`."""
    return DASH if ts_ms is None else f"{iso(ts_ms)[:16].replace('T', ' ')} UTC"


def clock_text(ts_ms: int, near_ms: int) -> str:
    """`13:05Z`, with the day before it when `near_ms` is of another day."""
    text = iso(ts_ms)
    return f"{'' if text[:10] == iso(near_ms)[:10] else text[:10] + ' '}{text[11:16]}Z"


def with_unit(value: float | None, unit: str) -> str:
    """`1.39 s` of milliseconds, `421 MB`, `1,030 MB`."""
    if value is None or not math.isfinite(value):
        return DASH
    if unit in {"ms", "%"}:
        return duration_text(value) if unit == "ms" else percent_text(value)
    return f"{count_text(value) if abs(value) >= 1_000 else _trimmed(value)} {unit}".strip()


def rounded(value: float | None, digits: int = DIGITS) -> float | int | None:
    """A figure for JSON: `digits` significant digits, whole when it is; None when not finite."""
    if value is None or not math.isfinite(value):
        return None
    if value == 0 or abs(value) >= 10**digits:
        return round(value)
    cut = float(f"{value:.{digits}g}")
    return int(cut) if cut.is_integer() else cut


def _trimmed(value: float) -> str:
    """Three digits or so, without idle zeros."""
    size = abs(value)
    if size >= SCIENTIFIC_FROM or 0 < size < 1:
        return f"{value:.3g}" if size >= SCIENTIFIC_FROM else f"{value:.2g}"
    digits = 0 if size >= 100 else 1 if size >= 10 else 2
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
