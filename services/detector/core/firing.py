"""Which part of the detector fired, how seldom chance does that, and the bands of every sensitivity, while they are known.

Read off the kernels' rows as an event opens and goes on, and kept in its evidence, for the rows move on.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from services.detector.core.events import Event
from services.detector.core.kernels import baseline, error_mixture, judge
from services.detector.core.kernels.fold import N
from services.detector.core.metrics import ERROR_RATE_SPIKE, HISTORY_MS, METRICS, MINUTE_MS, SENSITIVITIES
from services.detector.core.signal import course, scorer
from services.detector.core.state.series import SeriesState

#: What each part is, as a reader is told.
MEANINGS: Final = {
    "calls": "single calls outside the band, more of them than chance explains (CUSUM)",
    "errors": "failures against the usual rate (Shiryaev–Roberts mixture)",
    "first-calls": "all calls since its first, against a tool that works, of which 30 % fail at most (likelihood ratio)",
    "range": "minutes beyond the highest or lowest so far",
    "spike": "minutes far from what was expected",
    "shift": "the level of the last hour left what is usual",
    "drift": "the level of the last hours left what is usual",
    "volatility": "values became more restless, or flatter, than usual",
    "jump": "a break from one minute to the next",
    "novelty": "a course that was not seen before",
    "hour": "values far off what is usual at this hour of the day",
    "season": "a level that is not what is usual at this hour of the day",
    "rank-shift": "the recent calls lie higher than those before (rank test)",
    "times-slower": "the latest calls are likelier several times as slow, each kind of them, than as usual (likelihood ratio)",
    "median-shift": "the recent calls' median against that of the calls before (sign test)",
    "theil-sen": "robust slope of memory (Theil–Sen, Mann–Kendall)",
    "pace": "calls of half an hour against the half hours before",
    "gap": "so long without a call, by the tool's own pauses and the hour of the day",
    "z-score": "further from the mean of the lookback than so many deviations",
    "moving-avg": "so many times the mean of the calls before",
    "percentile": "above a percentile of the lookback",
}
#: Facts of the moment in which an event opened, which later readings do not replace.
_AT_OPENING: Final = ("part", "bands", "baselineCalls", "baselineSinceMs")

_KEPT: Final = (judge.KEPT_MEDIAN, judge.KEPT_LOWER, judge.KEPT_BAND)
_CURRENT: Final = (baseline.MEDIAN, baseline.LOWER, baseline.BAND)


class Usual(NamedTuple):
    """Median and lower end of the usual values, and the upper limits by sensitivity, in the metric's unit."""

    median: float
    lower: float
    bands: tuple[float, ...]


def note_track(event: Event, place: judge.Row) -> None:
    """Keep what the track of slow calls, or of failures, says."""
    _note(event, _of_failures(event, place) if event.type == ERROR_RATE_SPIKE else _of_calls(place))


def note_turn(event: Event, track: judge.Row) -> None:
    """Keep what a signal's course says."""
    _note(
        event,
        {
            "part": scorer.PARTS[int(track[course.PART])],
            "tailP": float(track[course.TAIL]),
            "per": "minute",
            "bands": {"medium": float(track[course.UPPER])},
        },
    )


def note_baseline(event: Event, series: SeriesState) -> None:
    """Keep how many calls before the event it was judged by, and since when any are known."""
    calls = _judged_by(event, series)
    if calls:
        _note(event, {"baselineCalls": calls, "baselineSinceMs": min(series.first_ts, event.start_ms)})


def note_surer(event: Event, again: Event) -> None:
    """Keep that another part has found it too, and is surer."""
    if again.confidence > event.confidence and part_of(again) != part_of(event):
        _note(event, {"surer": part_of(again)})


def part_of(event: Event) -> str:
    """The part's name, also for an event that was found before it was noted."""
    fired = event.evidence.get("fired")
    part = fired.get("part") if isinstance(fired, dict) else None
    if isinstance(part, str) and part in MEANINGS:
        return part
    if event.method == "auto":
        return "errors" if event.type == ERROR_RATE_SPIKE else "calls"
    return event.method


def _note(event: Event, now: dict[str, Any]) -> None:
    """`fired` in its evidence: {part, surer?, bands?: {sensitivity: limit}, tailP?, per?, baselineCalls?, baselineSinceMs?}."""
    if "bands" in now:
        now["bands"] = {name: limit for name, limit in now["bands"].items() if math.isfinite(limit)}
    if not math.isfinite(now.get("tailP", 0.0)):
        del now["tailP"]
    kept = event.evidence.get("fired")
    before = kept if isinstance(kept, dict) else {}
    seldom = [p for p in (before.get("tailP"), now.get("tailP")) if isinstance(p, int | float)]
    if seldom:
        now["tailP"] = min(seldom)
    event.evidence["fired"] = before | now | {name: before[name] for name in _AT_OPENING if name in before}


def _judged_by(event: Event, series: SeriesState) -> int:
    """The calls of the day before, those that are held, or those that the baseline remembers, whichever are more: a night or a
    holiday takes nothing away from what is known.
    """
    begun_ms = event.start_ms // MINUTE_MS * MINUTE_MS
    of_minute, held = (len(series.calls.between(ms, event.start_ms - 1)[0]) for ms in (begun_ms, 0))
    minutes, calls = series.minutes, series.moments[:, 0, N]
    minute = event.start_ms // MINUTE_MS
    of_day = int(calls[minutes.between(minute - HISTORY_MS // MINUTE_MS, minute - 1)].sum()) + of_minute
    since = int(calls[minutes.between(minute, minutes.newest)].sum()) - of_minute
    return max(of_day, held, min(_remembered(event, series), series.calls_total - since))


def _remembered(event: Event, series: SeriesState) -> int:
    """The calls, as they have faded, that its usual values are taken from."""
    if event.type == ERROR_RATE_SPIKE:
        return int(series.run[error_mixture.SEEN])
    metric = next((number for number, known in enumerate(METRICS) if known.name == event.metric), series.metrics)
    return int(series.tracks[metric, baseline.WEIGHT]) if metric < series.metrics else 0


def usual_of(track: judge.Row) -> Usual:
    """What was usual when slow calls became an event; of a track that an older program left, what is usual now."""
    kept = track[judge.HELD] == judge.KEPT
    median, lower, band = _KEPT if kept else _CURRENT
    return Usual(float(track[median]), float(track[lower]), tuple(track[band : band + len(SENSITIVITIES)].tolist()))


def _of_calls(track: judge.Row) -> dict[str, Any]:
    bands = dict(zip(SENSITIVITIES, usual_of(track).bands, strict=True))
    found: dict[str, Any] = {"part": "calls", "bands": bands}
    strength = min(float(track[judge.STRENGTH]), 700.0)
    return found | {"tailP": min(1.0, max(1.0, float(track[baseline.RATE])) * math.exp(-strength)), "per": "minute"}


def _of_failures(event: Event, run: judge.Row) -> dict[str, Any]:
    strength = min(float(run[error_mixture.STRENGTH]), 700.0)
    part, per = ("first-calls", "new tool") if event.since_first else ("errors", "call")
    return {"part": part, "tailP": min(1.0, math.exp(-strength)), "per": per}
