"""An anomaly's figures and times as all formats of a report tell them."""

from __future__ import annotations

import re
from typing import Final

from services.reporter.core.answers import Anomaly
from services.reporter.core.figures import DASH, duration_text, minute_text, with_unit
from services.reporter.core.text import Untrusted
from shared.timespan import MINUTE_MS, span_text

#: The units of what anomalies are about.
UNITS: Final = frozenset({"ms", "%", "MB", "KB", "calls/min", "calls/h", "calls/day", "calls/30 min"})
#: How an anomaly ended whose level stayed.
NEW_USUAL: Final = "the new normal"
#: Figures with units and what stands between them.
_OURS: Final = re.compile(
    r"(?:[0-9.,]+|[ –→-]|[<>] (?=[0-9])|ms|s|min|h|d|%|KB|MB|calls/(?:min|h|day)|calls/30 min|[kMGT]\b){1,40}"
)
_RANGE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)-([0-9]+(?:\.[0-9]+)?)")


def anomaly_value(anomaly: Anomaly) -> str:
    """`1.39 s`; of a lasting change both levels, `80 ms → 128 ms`."""
    now = with_unit(anomaly.value, anomaly.unit)
    return now if anomaly.usual is None else f"{with_unit(anomaly.usual, anomaly.unit)} → {now}"


def anomaly_expected(anomaly: Anomaly) -> str:
    """`192.5–280.5 MB`; of times `412 ms – 2.86 s`."""
    found = _RANGE.fullmatch(anomaly.expected)
    if found and anomaly.unit == "ms":
        return f"{duration_text(float(found[1]))} – {duration_text(float(found[2]))}"
    return f"{found[1]}–{found[2]} {anomaly.unit}".strip() if found else anomaly.expected or DASH


def anomaly_kind(anomaly: Anomaly) -> str:
    """`response_time_shift`; `resource_step` of a resource that rose and stayed."""
    return anomaly.shape or anomaly.kind


def anomaly_when(anomaly: Anomaly) -> str:
    """`2025-10-31 13:05 UTC, going on` or with how long it lasted."""
    if anomaly.start_ms is None:
        return DASH
    if anomaly.end_ms is None:
        return f"{minute_text(anomaly.start_ms)}, going on"
    if anomaly.ended == NEW_USUAL:
        return f"{minute_text(anomaly.start_ms)}, stays: the new usual"
    return f"{minute_text(anomaly.start_ms)}, {_lasted(max(0, anomaly.end_ms - anomaly.start_ms))}"


def _lasted(span_ms: int) -> str:
    """Whole minutes from two on: when an anomaly began and ended is known no better."""
    return span_text(round(span_ms / MINUTE_MS) * MINUTE_MS if span_ms >= 2 * MINUTE_MS else span_ms)


def figure_text(anomaly: Anomaly, text: str) -> str | Untrusted:
    """A figure with its unit, as ours when the unit is."""
    return text if anomaly.unit in UNITS and _OURS.fullmatch(text) else Untrusted(text)
