"""Axes of charts: round steps for values, calendar steps for times. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from shared.timespan import DAY_MS, HOUR_MS, MINUTE_MS, iso

#: Values are drawn up to here, so that no arithmetic on them overflows.
LARGEST: Final = 1e300
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_STEPS_MS: Final = (
    *(n * MINUTE_MS for n in (1, 2, 5, 10, 15, 30)),
    *(n * HOUR_MS for n in (1, 2, 3, 4, 6, 12)),
    *(n * DAY_MS for n in (1, 2, 4, 7, 14, 28, 56, 112, 364)),
)


def drawable(value: float | None) -> float | None:
    """The value as something that can be drawn: finite, from 0 to `LARGEST`; None for what is not a number."""
    if value is None or math.isnan(value):
        return None
    return min(max(value, 0.0), LARGEST)


def ticks(values: Iterable[float], most: int = 4) -> list[float]:
    """0 and up to `most` round steps that cover the values; 0 and 1 when there is nothing above 0."""
    largest = max((v for value in values if (v := drawable(value)) is not None), default=0.0)
    if largest <= 1e-300:
        return [0.0, 1.0]
    rough = largest / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * n for n in (1.0, 2.0, 2.5, 5.0, 10.0) if power * n >= rough * (1 - 1e-9))
    count = max(1, math.ceil(largest / step - 1e-9))
    return [step * n for n in range(count + 1)]


def time_ticks(start_ms: int, end_ms: int, most: int = 6) -> list[tuple[int, str]]:
    """Times on round minutes, hours or days with their labels; days are written out when the range is longer than one."""
    span = max(1, end_ms - start_ms)
    step = next((s for s in _STEPS_MS if span / s <= most), span // most or 1)
    first = -(-start_ms // step) * step
    return [(ts, _label(ts, step, span)) for ts in range(first, end_ms + 1, step)]


def _label(ts_ms: int, step_ms: int, span_ms: int) -> str:
    text = iso(ts_ms)
    day = f"{_MONTHS[int(text[5:7]) - 1]} {int(text[8:10])}"
    if step_ms >= DAY_MS:
        return day
    return day if ts_ms % DAY_MS == 0 and span_ms > DAY_MS // 2 else text[11:16]
