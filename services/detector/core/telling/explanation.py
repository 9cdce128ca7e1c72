"""An anomaly explained: baseline, band, value, which part fired, when, what else moved, incident, cause, the minutes around it.

Everything as data; `explanation_text` words it. Works with less for old anomalies, and says what is no longer known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from services.detector.core.events import Event
from services.detector.core.firing import MEANINGS, part_of
from services.detector.core.incidents.candidates import Cause
from services.detector.core.incidents.evidence import course
from services.detector.core.kernels.fold import HIGH, N
from services.detector.core.metrics import (
    ERROR_RATE_SPIKE,
    METRICS,
    MINUTE_MS,
    RESPONSE_TIME_SPIKE,
    SENSITIVITIES,
    THROUGHPUT_CHANGE,
)
from services.detector.core.state.series import SeriesState
from services.detector.core.telling.chart import MOST_COLUMNS, Plot, draw
from services.detector.core.telling.explain import ended
from services.detector.core.telling.narrative import is_silence, others
from services.detector.core.telling.surety import confidence_of
from services.detector.core.telling.words import RESOURCES, UNITS, WORDS, number
from shared.timespan import iso

#: Minutes before and after an event that are shown at least.
BEFORE_MS: Final = 30 * MINUTE_MS
AFTER_MS: Final = 10 * MINUTE_MS
#: Points that a caller may hand in.
MAX_POINTS: Final = 3_000
#: No model of chance is trusted beyond.
LEAST_P: Final = 1e-12

#: A pace as calls a minute.
_A_MINUTE: Final = {"calls/30 min": 1 / 30, "calls/h": 1 / 60}

Points = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Window:
    """The minutes that a chart of an event shows."""

    start_ms: int
    end_ms: int


def window(event: Event, until_ms: int | None = None) -> Window:
    """An hour around a short event; around a long one, half as much before and a quarter after; nothing after `until_ms`, for
    nothing is known of it.
    """
    span = event.last_ms - event.start_ms
    start_ms = (event.start_ms - max(BEFORE_MS, span // 2)) // MINUTE_MS * MINUTE_MS
    end_ms = (event.last_ms + max(AFTER_MS, span // 4)) // MINUTE_MS * MINUTE_MS + MINUTE_MS
    if until_ms is not None:
        end_ms = min(end_ms, (max(until_ms, event.last_ms) // MINUTE_MS + 1) * MINUTE_MS)
    missing = MOST_COLUMNS * MINUTE_MS - (end_ms - start_ms)
    return Window(start_ms - max(0, missing), end_ms)


def points_of(event: Event, series: SeriesState, shown: Window) -> Points:
    """The event's figure by minute within a window, as far as the series knows it; silent minutes count for calls."""
    first, last = shown.start_ms // MINUTE_MS, shown.end_ms // MINUTE_MS - 1
    if _shows_worst(event):
        metric = next(j for j, known in enumerate(METRICS) if known.name == event.metric)
        if metric >= series.metrics:
            return []
        rows = series.minutes.between(first, last)
        some = series.moments[rows, metric, N] > 0
        start, values = series.minutes.index[rows][some] * MINUTE_MS, series.moments[rows, metric, HIGH][some]
    else:
        name = "calls_per_minute" if event.type == THROUGHPUT_CHANGE else event.metric
        start, values = course(series, name, first, last)
    points = list(zip(start.tolist(), values.tolist(), strict=True))
    if event.type != THROUGHPUT_CHANGE:
        return points
    held = range(max(shown.start_ms, series.since()), min(shown.end_ms, series.newest_ts + MINUTE_MS), MINUTE_MS)
    calls = dict(points)
    return [(ts, calls.get(ts, 0.0)) for ts in (ms // MINUTE_MS * MINUTE_MS for ms in held)]


def asked_for(event: Event) -> dict[str, Any]:
    """Which rollup by minute holds the figure that the chart shows: {metric, field, startMs, endMs, mcpServer, toolName}."""
    shown = window(event)
    field = "max" if _shows_worst(event) else "avg"
    fields = {"response_time": field, "error_rate": "errorRate", "calls": "count", "disk_io": "diskIO"}
    return {
        "metric": event.metric,
        "field": fields.get(event.metric, event.metric),
        "startMs": shown.start_ms,
        "endMs": shown.end_ms,
        "mcpServer": event.server,
        "toolName": event.tool,
    }


def plot_of(event: Event, points: Points, shown: Window) -> Plot:
    """What the chart of an event shows."""
    # Changed pace is told by the half hour or hour, and shown by the minute.
    share = _A_MINUTE.get(event.unit, 1.0)
    pace = event.type == THROUGHPUT_CHANGE
    unit, what = ("", "calls") if pace else (event.unit, WORDS.get(event.metric, event.metric))
    how = "worst call of each minute" if _shows_worst(event) else "each minute"
    return Plot(
        points,
        shown.start_ms,
        shown.end_ms,
        event.lower * share,
        event.upper * share,
        (event.start_ms, event.peak_ms, event.last_ms),
        unit,
        what,
        how,
        low=event.value < event.median,
        band="of a tool that works" if event.since_first else "usual",
    )


def explanation(
    event: Event,
    series: SeriesState | None,
    *,
    points: Points | None = None,
    causes: Sequence[Cause] = (),
    width: int = 80,
    ascii_only: bool = False,
    until_ms: int | None = None,
) -> dict[str, Any]:
    """All that is known of why an event is one. `points`: the figure by minute, where the series no longer has it. `until_ms`:
    the latest time of which anything is known.
    """
    around = window(event, until_ms)
    held = points_of(event, series, around) if points is None and series is not None else points or []
    fired = event.evidence.get("fired")
    known = fired if isinstance(fired, dict) else {}
    chart = draw(plot_of(event, held, around), width, ascii_only=ascii_only)
    part = part_of(event)
    return {
        "metric": event.metric,
        "unit": event.unit,
        "value": number(event.value),
        "typical": number(event.typical),
        "baseline": {
            "median": None if event.since_first else number(event.median),
            "lower": number(event.lower),
            "upper": number(event.upper),
            "calls": known.get("baselineCalls"),
            "since": _iso(known.get("baselineSinceMs")),
        },
        "bands": _bands(known),
        "part": part,
        "partMeaning": MEANINGS.get(part, ""),
        "tailProbability": known.get("tailP"),
        "tailPer": known.get("per"),
        "chance": _chance(known),
        "surer": known.get("surer") if known.get("surer") in MEANINGS else None,
        "confidence": confidence_of(event),
        "timeline": {
            "start": iso(event.start_ms),
            "peak": iso(event.peak_ms),
            "lastSeen": iso(event.last_ms),
            "end": _iso(event.end_ms),
            "ended": ended(event),
        },
        "moved": _moved(event),
        "unmoved": [name for name, change in others(event) if not change.rose(name) and not is_silence(event)],
        "notMeasured": [] if is_silence(event) else _not_measured(event),
        "tools": [tool for tool in event.evidence.get("tools") or () if isinstance(tool, dict)],
        "said": [said for said in event.evidence.get("said") or () if isinstance(said, dict)],
        "incident": event.incident,
        "causes": [cause.as_map() for cause in causes],
        "chart": chart,
        "unknown": _unknown(event, known, chart),
    }


def _chance(known: dict[str, Any]) -> str | None:
    """The tail probability in words; a number so small is easily rounded to none."""
    p = known.get("tailP")
    if not isinstance(p, int | float) or not known.get("per"):
        return None
    return f"{'less than 1e-12' if p < LEAST_P else f'about {p:.2g}'} a {known['per']}"


def _shows_worst(event: Event) -> bool:
    """Single calls that were slow are lost in a minute's mean."""
    return event.type == RESPONSE_TIME_SPIKE and event.method != "signal"


def _bands(known: dict[str, Any]) -> dict[str, float]:
    bands = known.get("bands")
    if not isinstance(bands, dict):
        return {}
    return {name: number(bands[name]) for name in SENSITIVITIES if isinstance(bands.get(name), int | float)}


def _moved(event: Event) -> list[dict[str, Any]]:
    return [
        {
            "figure": name,
            "before": number(change.before),
            "during": number(change.during),
            "unit": UNITS.get(name, "calls/min"),
            "since": _iso(change.since_ms),
            "leadS": None if change.since_ms is None else (event.start_ms - change.since_ms) // 1_000,
        }
        for name, change in others(event)
        if change.moved(name)
    ]


def _not_measured(event: Event) -> list[str]:
    measured = event.evidence.get("measured")
    return [] if not isinstance(measured, list) else [name for name in RESOURCES if name not in measured]


def _unknown(event: Event, known: dict[str, Any], chart: list[str]) -> list[str]:
    """What an explanation should say and cannot any more."""
    said = []
    if not chart:
        said.append("the minutes around it: the detector holds a day of them, the rollups two")
    if not _bands(known) and event.method == "auto" and event.type != ERROR_RATE_SPIKE:
        said.append("the bands of the other sensitivities at that time")
    if "baselineCalls" not in known and not event.since_first:
        said.append("of how many calls the baseline is")
    if "changes" not in event.evidence:
        said.append("what else moved")
    return said


def _iso(ts_ms: object) -> str | None:
    return iso(ts_ms) if type(ts_ms) is int else None


def finite(points: object) -> list[tuple[int, float]] | None:
    """Points that a caller handed in, ascending; None when they are no list of [epoch ms, number] or too many."""
    if not isinstance(points, list) or len(points) > MAX_POINTS:
        return None
    pairs = [p for p in points if isinstance(p, list | tuple) and len(p) == 2]
    sound = [(p[0], float(p[1])) for p in pairs if type(p[0]) is int and type(p[1]) in (int, float)]
    return sorted(p for p in sound if np.isfinite(p[1])) if len(sound) == len(points) else None
