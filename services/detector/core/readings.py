"""Events read off the kernels' tracks and the sweep's findings.

Owns the translation of numbers into the fields of an event; decides nothing about its life (`watch`).
"""

from __future__ import annotations

from typing import Final

from services.detector.core import severity
from services.detector.core.events import SEVERITIES, SINCE_FIRST, TOLD, Event, Severity, event_id
from services.detector.core.firing import note_track, note_turn, usual_of
from services.detector.core.kernels import baseline, burn, judge
from services.detector.core.kernels import error_mixture as errors
from services.detector.core.kernels.error_events import WORKS, is_of_first
from services.detector.core.metrics import (
    ERROR_RATE_SPIKE,
    HISTORY_MS,
    METRICS,
    MINUTE_MS,
    RESPONSE_TIME,
    RESPONSE_TIME_SHIFT,
    RESPONSE_TIME_SPIKE,
    SERVER_ERRORS,
    SIGNAL,
    STORED_LEVEL,
    THROUGHPUT_CHANGE,
)
from services.detector.core.signal import course
from services.detector.core.state.series import SeriesState
from services.detector.core.sweeps.findings import Finding
from services.detector.core.sweeps.surges import is_usual_now
from services.detector.core.sweeps.sweep import RECENT_MS
from shared.batch import Series

#: How an event ended.
INSIDE: Final = "back inside"
SILENT: Final = "no more calls"
NEW_LEVEL: Final = "the new normal"
REBUILT: Final = "lost in a rebuild"
LOST: Final = "watched no more"
WORSE: Final = "a far worse one began"
ENDINGS: Final = {judge.CLOSED_INSIDE: INSIDE, judge.CLOSED_QUIET: SILENT, judge.CLOSED_ADOPTED: NEW_LEVEL}

SIGNAL_ENDINGS: Final = {
    course.CLOSED_INSIDE: INSIDE,
    course.CLOSED_QUIET: SILENT,
    course.CLOSED_ADOPTED: NEW_LEVEL,
}

#: Types and metrics that a kernel's track follows; the others are swept.
TRACKED: Final = {ERROR_RATE_SPIKE, SERVER_ERRORS, *(metric.spike_type for metric in METRICS)}
TRACKED_METRICS: Final = {"error_rate", *(metric.name for metric in METRICS)}
METRIC_NUMBER: Final = {metric.name: number for number, metric in enumerate(METRICS)}
SIGNAL_NUMBER: Final = METRIC_NUMBER | {"calls": course.CALLS_SIGNAL}


def place_of(series: SeriesState, event: Event) -> judge.Row | None:
    """The track of an event while it is under way."""
    if event.type == ERROR_RATE_SPIKE:
        run = series.run
        return run if run[errors.PHASE] == judge.OPEN and int(run[errors.START]) == event.start_ms else None
    number = METRIC_NUMBER.get(event.metric)
    if event.origin not in TRACKED or number is None or number >= series.metrics:
        return None
    track: judge.Row = series.tracks[number]
    return track if track[judge.PHASE] == judge.OPEN and int(track[judge.START]) == event.start_ms else None


def from_track(key: Series, metric: int, place: judge.Row) -> Event:
    """The event that a track (metric ≥ 0) or the failures (−1) of a series show."""
    kind = None if metric < 0 else METRICS[metric]
    name, unit = ("error_rate", "%") if kind is None else (kind.name, kind.unit)
    anomaly_type = ERROR_RATE_SPIKE if kind is None else kind.spike_type
    start_ms = int(place[errors.START] if kind is None else place[judge.START])
    event = Event(
        event_id(key, anomaly_type, name, start_ms), key.server, key.tool, anomaly_type, name, unit, "auto",
        start_ms, start_ms, start_ms, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0.0,
    )  # fmt: skip
    update(event, place)
    return event


def update(event: Event, place: judge.Row) -> None:
    """Let an event follow its track."""
    if event.type == ERROR_RATE_SPIKE:
        _update_failures(event, place)
    else:
        _update_spike(event, place)
    note_track(event, place)


def _update_spike(event: Event, track: judge.Row) -> None:
    event.level = max(event.level, int(track[judge.LEVEL]))
    event.last_ms = max(event.start_ms, int(track[judge.LAST]))
    event.peak_ms = int(track[judge.PEAK_AT])
    event.value = float(track[judge.PEAK])
    event.points = int(track[judge.OUTSIDE])
    event.calls = max(event.points, int(track[judge.CALLS] - track[judge.QUIET]))
    event.typical = float(track[judge.TOTAL]) / max(event.points, 1)
    usual = usual_of(track)
    event.median, event.lower = usual.median, usual.lower
    event.upper = usual.bands[min(event.level, STORED_LEVEL) - 1]
    event.confidence = severity.from_cusum(float(track[judge.STRENGTH]), float(track[baseline.RATE]))
    metric = METRICS[METRIC_NUMBER[event.metric]]
    found = severity.of_deviation(metric, event.typical, event.median, event.upper)
    if event.type == RESPONSE_TIME_SHIFT:  # it is as severe as the level that the sweep found
        be_as_severe(event, found)
    else:
        event.severity = found


def be_as_severe(event: Event, found: Severity) -> None:
    """Let an event be no less severe than it was found to be."""
    event.severity = max(event.severity, found, key=SEVERITIES.index)


def _update_failures(event: Event, run: judge.Row) -> None:
    event.level = max(event.level, int(run[errors.LEVEL]))
    if event.stored:
        event.evidence.setdefault(TOLD, int(run[errors.NEWEST]))
    event.last_ms = event.peak_ms = max(event.start_ms, int(run[errors.LAST]))
    event.calls, event.points = int(run[errors.NOTED_CALLS]), int(run[errors.NOTED_FAILURES])
    event.value = event.typical = 100.0 * event.points / max(event.calls, 1)
    if is_of_first(run):
        event.evidence[SINCE_FIRST] = True
    if event.since_first:
        event.median, event.upper = 0.0, 100.0 * WORKS
    elif not run[errors.ADOPTED]:
        failed, seen = float(run[errors.FAILED]), float(run[errors.SEEN])
        event.median, event.upper = 100.0 * failed / max(seen, 1.0), 100.0 * severity.upper_rate(failed, seen)
    strength, pace = float(run[errors.STRENGTH]), float(run[errors.PACE])
    event.confidence = severity.from_ratio(strength) if event.since_first else severity.from_mixture(strength, pace)
    burns = severity.burn_rates(burn.shares(run), event.median / 100.0)
    event.evidence["burn"] = {name: round(times, 2) for name, times in zip(burn.NAMES, burns, strict=True)}
    found = severity.of_failures(event.points, event.calls, burns, event.last_ms - event.start_ms)
    be_as_severe(event, found)


def metric_of(signal: int) -> tuple[str, str]:
    """Name and unit of a signal."""
    return ("calls", "calls/min") if signal == course.CALLS_SIGNAL else (METRICS[signal].name, METRICS[signal].unit)


def from_turn(key: Series, signal: int, track: judge.Row) -> Event:
    """The event that a signal's track shows."""
    name, unit = metric_of(signal)
    kind = THROUGHPUT_CHANGE if signal == course.CALLS_SIGNAL else METRICS[signal].spike_type
    start_ms = int(track[course.START])
    event = Event(
        event_id(key, SIGNAL, name, start_ms), key.server, key.tool, kind, name, unit, SIGNAL,
        start_ms, start_ms, start_ms, 0.0, 0.0, float(track[course.EXPECTED]), float(track[course.LOWER]),
        float(track[course.UPPER]), 0, 0, 0, 0.0,
    )  # fmt: skip
    follow_turn(event, signal, track)
    return event


def follow_turn(event: Event, signal: int, track: judge.Row) -> None:
    """Let an event follow its signal's track."""
    note_turn(event, track)
    event.level = max(event.level, int(track[course.LEVEL]))
    event.last_ms = max(event.last_ms, int(track[course.LAST]) + MINUTE_MS - 1)
    event.peak_ms, event.value = int(track[course.PEAK_AT]), float(track[course.PEAK])
    event.points = max(event.points, int(track[course.POINTS]))
    event.calls = max(event.calls, int(track[course.CALLS]), event.points)
    event.typical = float(track[course.TOTAL]) / max(float(track[course.POINTS]), 1.0)
    event.confidence = max(event.confidence, severity.from_tail(float(track[course.TAIL]), severity.LOOKS))
    if signal == course.CALLS_SIGNAL:
        event.severity = "warning" if event.typical >= 10 * max(event.median, 1.0) else "info"
        return
    if event.type == METRICS[0].spike_type and event.last_ms - event.start_ms >= RECENT_MS:
        event.type = RESPONSE_TIME_SHIFT
    # A level that has shifted is as severe as it is far from the level before, whatever single values did.
    usual = event.median if event.type == RESPONSE_TIME_SHIFT else max(event.median, event.upper)
    event.severity = severity.of_deviation(METRICS[signal], event.typical, event.median, usual)


def from_finding(key: Series, finding: Finding) -> Event:
    """The event that a finding shows."""
    event = Event(
        event_id(key, finding.type, finding.metric, finding.start_ms), key.server, key.tool, finding.type, finding.metric,
        finding.unit, finding.method, finding.start_ms, finding.last_ms, finding.peak_ms, 0.0, 0.0, finding.median,
        finding.lower, finding.upper, 0, 0, finding.level, 0.0,
    )  # fmt: skip
    move(event, finding)
    return event


def move(event: Event, finding: Finding) -> None:
    """A lasting condition goes on: its worst stays, its baseline is that of its beginning."""
    falls = finding.value < finding.median
    if event.points == 0 or (finding.value < event.value if falls else finding.value > event.value):
        event.value, event.peak_ms = finding.value, finding.peak_ms
    event.typical = finding.typical
    event.last_ms = max(event.last_ms, finding.last_ms)
    event.points = max(event.points, finding.points, 1)
    event.calls = max(event.calls, event.points)
    event.level = max(event.level, finding.level)
    event.confidence = max(event.confidence, finding.confidence)
    be_as_severe(event, finding.severity)


def name_by_length(event: Event) -> None:
    """A shift is called a spike until it has lasted."""
    if event.origin == RESPONSE_TIME_SHIFT:
        brief = event.last_ms - event.start_ms < RECENT_MS
        event.type, event.found_as = (RESPONSE_TIME_SPIKE, RESPONSE_TIME_SHIFT) if brief else (RESPONSE_TIME_SHIFT, "")


def ending(series: SeriesState, event: Event, end_ms: int) -> str:
    """Why a swept event is over: it went back, fell silent, or became what is usual."""
    rose = event.type == THROUGHPUT_CHANGE and event.value > event.median
    if rose and is_usual_now(series, event.start_ms, event.typical, end_ms):
        return NEW_LEVEL
    if event.metric != RESPONSE_TIME.name:
        return INSIDE
    if series.newest_ts - event.last_ms > 2 * RECENT_MS or end_ms - series.newest_ts > 2 * RECENT_MS:
        return SILENT
    return NEW_LEVEL if end_ms - event.start_ms >= HISTORY_MS else INSIDE
