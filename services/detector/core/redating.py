"""Events of failures that are found to have begun later than they were said to: when failures really rose, or became far worse.

Owns when an event is dated anew, and what that leaves of the one before and of the series' run. When failures rose says `onset`.
"""

from __future__ import annotations

from typing import Final

from services.detector.core.events import TOLD, Event
from services.detector.core.kernels import error_mixture as errors
from services.detector.core.kernels import judge
from services.detector.core.kernels.error_events import MIN_FAILURES, is_of_first
from services.detector.core.metrics import STORED_LEVEL
from services.detector.core.onset import ANEW_MS, Lull, Onset, is_of_two, lull_before, onset_of, worse_since
from services.detector.core.readings import from_track
from services.detector.core.state.series import SeriesState

#: Failures that an event whose alarm is put off has at most; the next one is looked at whatever it is.
_PUT_OFF_MOST: Final = 7.0
#: Failures of an event that stay learned, as `error_mixture.unlearn` leaves them.
_LEFT: Final = 2.0
#: Failures that an event should have had, at its rate, in the time in which there were none, to be over by then.
MISSED_FAILURES: Final = 4.0


def put_off(series: SeriesState, run: judge.Row) -> None:
    """Let an alarm that rests on two failures and strays long before them stay a suspicion until the next failure, which says
    since when it is: else it would be dated by a stray, with all the calls since. In the series' run likewise, unless that has
    come to a next one.
    """
    if run[errors.LEVEL] < STORED_LEVEL or run[errors.FAILURES] > _PUT_OFF_MOST or is_of_first(run):
        return
    if not is_of_two(series, int(run[errors.START]), int(run[errors.NEWEST]), float(run[errors.USUAL])):
        return
    own = series.run
    open_still = own[errors.PHASE] == judge.OPEN and own[errors.START] == run[errors.START]
    if open_still and own[errors.FAILURES] == run[errors.FAILURES]:
        _suspect_only(own)
        series.dirty = True
    _suspect_only(run)


def _suspect_only(run: judge.Row) -> None:
    run[errors.LEVEL] = STORED_LEVEL - 1
    run[errors.SEEN] += run[errors.CALLS]
    run[errors.FAILED] += max(run[errors.FAILURES] - _LEFT, 0.0)


def dated_anew(series: SeriesState, event: Event, run: judge.Row, *, known: bool) -> Event | None:
    """An event that bears a suspicion since some stray failure, as one that began when failures really rose, and the series' own
    run with it; None if that was at once. One that is `known` to people already goes on, unless it was over before: then it is
    cut back to what it was.
    """
    if event.since_first:
        return None
    onset = onset_of(series, event.start_ms, int(run[errors.NEWEST]), float(run[errors.USUAL]))
    if onset is None or onset.start_ms - event.start_ms < ANEW_MS:
        return None
    if known and not _over_before(series, event, onset.start_ms):
        return None
    if series.run[errors.PHASE] == judge.OPEN and series.run[errors.START] == run[errors.START]:
        _begin_anew(series.run, onset, run)
        series.dirty = True
    _begin_anew(run, onset, run.copy())
    return from_track(series.key, -1, run)


def worse_within(series: SeriesState, event: Event, run: judge.Row) -> Event | None:
    """A far worse event that has begun within one that is told, which would hide it: that is cut back to what was before it, and
    the series' own run follows the new one, as `run` does. What failed before is not learned.
    """
    if event.since_first or not event.stored:
        return None
    told_ms = event.evidence.get(TOLD)
    if type(told_ms) is not int:
        return None
    onset = worse_since(series, event.start_ms, int(run[errors.NEWEST]), float(run[errors.USUAL]), told_ms)
    if onset is None:
        return None
    cut_back(series, event, onset.start_ms)
    risen = run.copy()
    if series.run[errors.PHASE] == judge.OPEN and series.run[errors.START] == run[errors.START]:
        _begin_within(series.run, onset, risen)
        series.dirty = True
    _begin_within(run, onset, risen)
    return from_track(series.key, -1, run)


def _begin_within(run: judge.Row, onset: Onset, risen: judge.Row) -> None:
    learned = run[[errors.SEEN, errors.FAILED]]
    _begin_anew(run, onset, risen)
    run[[errors.SEEN, errors.FAILED]] = learned
    run[errors.NEXT_SEEN] = run[errors.NEXT_FAILED] = 0.0


def _over_before(series: SeriesState, event: Event, onset_ms: int) -> bool:
    """Whether an event of failures was over when they began anew: at its rate there would have been some in between. If so it is
    cut back.
    """
    lull = lull_before(series, event.start_ms, onset_ms)
    if lull is None or lull.failures < MIN_FAILURES or lull.after * lull.failures < MISSED_FAILURES * lull.calls:
        return False
    _cut_to(event, lull)
    return True


def cut_back(series: SeriesState, event: Event, onset_ms: int) -> None:
    """Leave of an event of failures what was before an onset."""
    lull = lull_before(series, event.start_ms, onset_ms)
    if lull is None:
        event.last_ms = event.peak_ms = event.start_ms
    else:
        _cut_to(event, lull)


def _cut_to(event: Event, lull: Lull) -> None:
    event.last_ms = event.peak_ms = max(event.start_ms, lull.last_ms)
    event.calls, event.points = lull.calls, lull.failures
    event.value = event.typical = 100.0 * event.points / event.calls


def _begin_anew(run: judge.Row, onset: Onset, risen: judge.Row) -> None:
    """Leave out of a run what was before the onset: of the run when it rose so many calls and failures, which are usual ones."""
    calls = max(0.0, float(risen[errors.CALLS]) - onset.calls)
    failures = max(0.0, float(risen[errors.FAILURES]) - onset.failures)
    run[errors.START] = onset.start_ms
    # A suspicion rises with a failure that may not have moved the latest one noted yet.
    run[errors.LAST] = max(run[errors.LAST], float(onset.start_ms))
    run[errors.CALLS] -= calls
    run[errors.FAILURES] -= failures
    run[errors.NOTED_CALLS] = max(run[errors.NOTED_CALLS] - calls, onset.calls)
    run[errors.NOTED_FAILURES] = max(run[errors.NOTED_FAILURES] - failures, onset.failures)
    run[errors.SEEN] += calls
    run[errors.FAILED] += failures
