"""What moved against the window before, in plain words and with the sample sizes.

A trend is claimed only from 30 calls in each window on, and only when the change is larger than chance and worth a word.
Knows nothing of thresholds: a rise may be harmless, a steady figure may be bad.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from services.reporter.core.answers import Stats
from services.reporter.core.figures import change_text, count_text, duration_text, percent_text
from services.reporter.core.sampling import MIN_TREND_CALLS, rates_differ

Direction = Literal["up", "down", "steady", "unknown"]
_Pair = tuple[float | None, float | None]

#: A duration that moved less than this is steady: share of the earlier value, and ms.
STEADY_SHARE: Final = 0.10
STEADY_MS: Final = 2.0
#: An error rate that moved less than this is steady, in percentage points.
STEADY_POINTS: Final = 0.2
#: Calls that moved less than this share are steady.
STEADY_CALLS_SHARE: Final = 0.15
#: A window before whose first call comes later than this share of it was not fully watched.
COVERED_SHARE: Final = 0.10
#: Said of the number of calls alone: rates and durations are of a call, however long calls came.
NUMBER_NOT_COMPARED: Final = "the number of calls is not compared: the window before has some only from part of it"
_LABELS: Final = {"calls": "Calls", "error_rate": "Error rate"}


@dataclass(frozen=True, slots=True)
class Trend:
    """One figure now and before. `change_percent` of the earlier value (points for an error rate are in `words`); `worse`
    only for what is worse when it grows; calls_* are the sample sizes.
    """

    metric: str
    label: str
    now: float | None
    before: float | None
    change_percent: float | None
    direction: Direction
    worse: bool
    words: str
    calls_now: int
    calls_before: int


def compare(now: Stats, before: Stats | None, before_start_ms: int, span_ms: int) -> tuple[Trend, ...]:
    """Trends of calls, error rate, p50, p95 and p99; of calls alone when there were none before. `before` None = the window
    before could not be had; where it was not fully watched, the number of calls alone has no trend, and says so.
    """
    if before is None or not (now.count or before.count):
        return ()
    trends = [_calls(now, before, before_start_ms, span_ms)]
    if not before.count:
        return tuple(trends)
    trends.append(_error_rate(now, before))
    for metric in ("p50", "p95", "p99"):
        trends.append(_duration(metric, now, before))
    return tuple(trends)


def tool_moves(now: Stats, before: Stats) -> tuple[Trend, ...]:
    """The trends of one tool that are worse than before, error rate first; none on too few calls."""
    found = (_error_rate(now, before), _duration("p95", now, before), _duration("p50", now, before))
    return tuple(trend for trend in found if trend.worse)


def change_percent(now: float | None, before: float | None) -> float | None:
    """Change in percent of the earlier value; None without both, or from 0."""
    if now is None or before is None or before == 0:
        return None
    return 100.0 * (now - before) / before


def is_whole(window: Stats, start_ms: int, span_ms: int) -> bool:
    """Whether there were calls from the beginning of a window on; so when that is not known."""
    return window.first_ts is None or window.first_ts - start_ms <= COVERED_SHARE * span_ms


def _calls(now: Stats, before: Stats, before_start_ms: int, span_ms: int) -> Trend:
    change = change_percent(now.count, before.count)
    late = not is_whole(before, before_start_ms, span_ms)
    sizes = f"{count_text(before.count)} → {count_text(now.count)}"
    direction: Direction = "unknown"
    if before.count == 0:
        words = f"no calls in the window before, {count_text(now.count)} now"
    elif max(now.count, before.count) < MIN_TREND_CALLS:
        words = _too_few(now, before)
    elif late:
        words = f"{sizes}; {NUMBER_NOT_COMPARED}"
    elif abs(now.count - before.count) <= STEADY_CALLS_SHARE * before.count:
        direction, words = "steady", f"steady ({sizes})"
    else:
        direction = "up" if now.count > before.count else "down"
        words = f"{change_text(change)} ({sizes})"
    return _trend("calls", (now.count, before.count), direction, words, (now.count, before.count))


def _error_rate(now: Stats, before: Stats) -> Trend:
    rate_now, rate_before = now.error_rate, before.error_rate
    direction: Direction = "unknown"
    if not _enough(now, before) or rate_now is None or rate_before is None:
        words = _too_few(now, before)
    else:
        sizes = f"{percent_text(rate_before)} → {percent_text(rate_now)}"
        moved = abs(rate_now - rate_before) > STEADY_POINTS and rates_differ(
            now.errors, now.count, before.errors, before.count
        )
        direction = "steady" if not moved else "up" if rate_now > rate_before else "down"
        words = f"steady ({sizes})" if not moved else f"{_verb(direction)} ({sizes})"
    return _trend("error_rate", (rate_now, rate_before), direction, words, (now.count, before.count))


def _duration(metric: str, now: Stats, before: Stats) -> Trend:
    value_now: float | None = getattr(now, metric)
    value_before: float | None = getattr(before, metric)
    direction: Direction = "unknown"
    if not _enough(now, before) or value_now is None or value_before is None:
        words = _too_few(now, before)
    else:
        sizes = f"{duration_text(value_before)} → {duration_text(value_now)}"
        moved = abs(value_now - value_before) > max(STEADY_MS, STEADY_SHARE * value_before)
        direction = "steady" if not moved else "up" if value_now > value_before else "down"
        change = change_text(change_percent(value_now, value_before))
        words = f"steady ({sizes})" if not moved else f"{change} ({sizes})"
    return _trend(metric, (value_now, value_before), direction, words, (now.count, before.count))


def _trend(metric: str, values: _Pair, direction: Direction, words: str, calls: tuple[int, int]) -> Trend:
    change = None if direction == "unknown" else change_percent(*values)
    worse = direction == "up" and metric != "calls"
    return Trend(metric, _LABELS.get(metric, metric), *values, change, direction, worse, words, *calls)


def _enough(now: Stats, before: Stats) -> bool:
    return now.count >= MIN_TREND_CALLS and before.count >= MIN_TREND_CALLS


def _too_few(now: Stats, before: Stats) -> str:
    counts = f"{count_text(now.count)} now, {count_text(before.count)} before"
    return f"too few calls for a trend ({counts}; {MIN_TREND_CALLS} needed in each)"


def _verb(direction: Direction) -> str:
    return "rose" if direction == "up" else "fell"
