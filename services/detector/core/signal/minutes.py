"""Minutes under way become points once they are over.

A minute of `pending` that is over gives a point to each signal that was measured in it: response time the geometric mean
(of bin middles, within 2 %), resources the mean, calls their number, zero for the minutes between. Knows arrays alone;
`state.signals` owns them. States are kept in single precision, with times since a day's beginning that the series has of its own,
and widened for the scorer.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.bins import LN_WIDTH, ONE
from services.detector.core.kernels.compiled import compiled
from services.detector.core.signal import course, scorer
from services.detector.core.signal.course import CALLS_SIGNAL, SIGNALS
from services.detector.core.signal.pending import COUNT, LATE_MINUTES, MINUTE, SEEN, SLOTS, SUM, WIDTH

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

#: Columns of `heads`: the latest minute that was judged, the latest that had a call; −1 for none. The minute from which the
#: series' scorers count time, a day's first.
JUDGED, CALLED, SINCE = 0, 1, 2
HEADS: Final = 3
#: Columns of a happening: row of the series, signal, kind, then the track.
HAPPENING: Final = 3 + course.SIZE
#: Minutes without calls that are points of a series: up to a day after its last call.
_ALIVE_MINUTES = 1_440
_MINUTE_MS, _MINUTE_S = 60_000.0, 60.0
_DAY_MINUTES = 1_440
#: Calls of a minute from which on their number is a signal: below, a change of it says nothing.
_MANY_CALLS = 8.0
#: `counts`: rows of states in use, rows in `spare`.
USED, SPARE = 0, 1
#: In the place of a row: there was no room for it.
FULL = -1


@compiled("int64(int64, int64, int64[:, ::1], int64, int64[::1], int64[::1])", part=True)
def place_of(row: int, signal: int, places: Int64, capacity: int, spare: Int64, counts: Int64) -> int:
    """The row of a signal's state, given to it now if it has none; FULL when there is none left."""
    place = places[row, signal]
    if place >= 0:
        return int(place)
    if counts[SPARE] > 0:
        counts[SPARE] -= 1
        place = spare[counts[SPARE]]
    elif counts[USED] < capacity:
        place = counts[USED]
        counts[USED] += 1
    else:
        return FULL
    places[row, signal] = place
    return int(place)


@compiled(
    "int64(int64, int64, int64, float64, int64, float64, int64, float32[:, ::1], float64[:, ::1], float64[:, ::1],"
    " float64[:, ::1], int64)",
    part=True,
)
def point(
    row: int,
    minute: int,
    since: int,
    value: float,
    signal: int,
    calls: float,
    place: int,
    states: Float32,
    tracks: Float64,
    margins: Float64,
    out: Float64,
    found: int,
) -> int:
    """Give a point to a signal; how many happenings there are now, at most two more."""
    kept, track = states[place], tracks[place]
    state = np.empty(scorer.SIZE)
    t_ms = minute * _MINUTE_MS
    for step in range(2):
        if step == 0:
            kind = course.end_if_silent(t_ms, track)
        else:
            for i in range(scorer.SIZE):
                state[i] = kept[i]
            scorer.observe((minute - since) * _MINUTE_S, value, state)
            for i in range(scorer.SIZE):
                kept[i] = state[i]
            kind = course.follow(t_ms, value, calls, signal, state, track, margins[signal])
        if kind > 0.0:
            out[found, 0], out[found, 1], out[found, 2] = row, signal, kind
            for i in range(course.SIZE):
                out[found, 3 + i] = track[i]
            found += 1
    return found


@compiled("int64(float64[:, :, ::1], int64, int64, int64)", part=True)
def oldest_due(pending: NDArray[Any], row: int, until: int, forced_until: int) -> int:
    """The slot of a series' oldest minute that is over, −1 without any: up to `until` those to which no call has come since the
    last look, or that the series itself has left behind (clocks of producers differ); up to `forced_until` all.
    """
    best, oldest, newest = -1, float(until) + 1.0, 0.0
    for at in range(SLOTS):
        newest = max(newest, pending[row, at, MINUTE])
    for at in range(SLOTS):
        minute = pending[row, at, MINUTE]
        quiet = pending[row, at, SEEN] == pending[row, at, COUNT]
        over = quiet or minute <= forced_until or minute < newest - LATE_MINUTES
        if 0.0 < minute < oldest and over:
            best, oldest = at, minute
    return best


@compiled(
    "int64(int64, int64, int64[:, ::1], int64[:, ::1], float32[:, ::1], float64[:, ::1], float64[:, ::1],"
    " float64[:, ::1], int64)"
)
def pass_silence(
    row: int,
    last: int,
    heads: Int64,
    places: Int64,
    states: Float32,
    tracks: Float64,
    margins: Float64,
    out: Float64,
    found: int,
) -> int:
    """The minutes after the one judged last up to `last` had no calls; of a series that is alive. Stops where `out` is full."""
    place = places[row, CALLS_SIGNAL]
    if heads[row, JUDGED] < 0 or place < 0:
        return found
    last = min(last, heads[row, CALLED] + _ALIVE_MINUTES)
    while heads[row, JUDGED] < last and found + 2 <= out.shape[0]:
        heads[row, JUDGED] += 1
        found = point(
            row,
            heads[row, JUDGED],
            heads[row, SINCE],
            0.0,
            CALLS_SIGNAL,
            0.0,
            place,
            states,
            tracks,
            margins,
            out,
            found,
        )
    return found


@compiled(
    "int64(int64, int64, int64, float64[:, :, ::1], int64[:, ::1], float32[:, ::1], float64[:, ::1], float64[:, ::1],"
    " float64[:, ::1], int64)"
)
def close_minute(
    row: int,
    at: int,
    since: int,
    pending: NDArray[Any],
    places: Int64,
    states: Float32,
    tracks: Float64,
    margins: Float64,
    out: Float64,
    found: int,
) -> int:
    """Give the points of a minute under way to the signals, all of which have a place; the slot is free after it."""
    part = pending[row, at]
    minute, calls = int(part[MINUTE]), part[COUNT]
    for signal in range(CALLS_SIGNAL):
        n = part[COUNT + 2 * signal]
        if n > 0.0:
            value = part[SUM + 2 * signal] / n
            if signal == 0:
                value = math.exp((value - ONE + 0.5) * LN_WIDTH)
            if math.isfinite(value):
                found = point(
                    row, minute, since, value, signal, n, places[row, signal], states, tracks, margins, out, found
                )
    place = places[row, CALLS_SIGNAL]
    if place >= 0:
        found = point(row, minute, since, calls, CALLS_SIGNAL, calls, place, states, tracks, margins, out, found)
    for i in range(WIDTH):
        part[i] = 0.0
    return found


@compiled(
    "UniTuple(int64, 3)(int64, int64, int64, int64, int64[:, ::1], float64[:, :, ::1], int64[:, ::1], float32[:, ::1],"
    " float64[:, ::1], float64[:, ::1], int64[::1], int64[::1], float64[:, ::1])"
)
def close(
    first: int,
    end: int,
    until: int,
    silent_until: int,
    heads: Int64,
    pending: NDArray[Any],
    places: Int64,
    states: Float32,
    tracks: Float64,
    margins: Float64,
    spare: Int64,
    counts: Int64,
    out: Float64,
) -> tuple[int, int, int]:
    """Judge the minutes of series `first` … `end` − 1 that are over: those with calls up to minute `until`, those without up to
    `silent_until` (an earlier minute); up to that one calls are waited for no longer. O(1) a minute.

    (happenings in `out` f64[≥ 16, HAPPENING], the series to go on from, 1 when more states are needed to go on). It goes on by
    being called again with that series, until it is `end`.
    """
    found = 0
    for row in range(first, end):
        at = oldest_due(pending, row, until, silent_until)
        while at >= 0:
            if found + 2 * SIGNALS + 2 > out.shape[0]:
                return found, row, 0
            for signal in range(SIGNALS):
                fewest = _MANY_CALLS if signal == CALLS_SIGNAL else 1.0
                calls = pending[row, at, COUNT + 2 * (signal % CALLS_SIGNAL)]
                if calls >= fewest and place_of(row, signal, places, states.shape[0], spare, counts) < 0:
                    return found, row, 1
            minute = int(pending[row, at, MINUTE])
            if heads[row, JUDGED] < 0:
                heads[row, SINCE] = minute // _DAY_MINUTES * _DAY_MINUTES
            found = pass_silence(row, minute - 1, heads, places, states, tracks, margins, out, found)
            if found + 2 * SIGNALS + 2 > out.shape[0]:
                return found, row, 0
            found = close_minute(row, at, heads[row, SINCE], pending, places, states, tracks, margins, out, found)
            heads[row, JUDGED] = heads[row, CALLED] = minute
            at = oldest_due(pending, row, until, silent_until)
        found = pass_silence(row, silent_until, heads, places, states, tracks, margins, out, found)
        if found + 2 > out.shape[0]:
            return found, row, 0
        for at in range(SLOTS):
            pending[row, at, SEEN] = pending[row, at, COUNT]
    return found, end, 0
