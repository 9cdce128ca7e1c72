"""The course of an anomaly in a signal, and the minutes that are its points, are those of the twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.core.metrics import METRICS
from services.detector.core.signal import course, minutes, scorer
from services.detector.core.signal.course import CALLS_SIGNAL, SIGNALS
from services.detector.core.signal.pending import COUNT, MINUTE, SLOTS, SUM, WIDTH
from services.detector.core.signal.twin import Judged
from services.detector.core.signal.twin_course import Course
from services.detector.core.signal.twin_minutes import Happened, Tool
from tests.unit.detector.against_twins import AWKWARD, TINY, against_twin, any_value, awkward

T0_MS = 1_760_000_000_000.0
MINUTE_MS = 60_000.0
LIMITS = scorer.LIMITS

# --- the course -------------------------------------------------------------------------------------------------------

some_tail = st.sampled_from([1.0, LIMITS["high"], LIMITS["medium"], LIMITS["medium"] / 2, LIMITS["low"], 1e-12])
some_step = st.sampled_from([0.0, 1.0, 1.0, 1.0, 2.0, 30.0, 361.0, -5.0])
some_expected = st.sampled_from([0.0, TINY, 1.0, 20.0, 50.0, 85.0, 100.0, 1e300, -1e300, -4.0])
some_value = st.one_of(any_value, st.floats(50.0, 300.0), st.sampled_from([1.0, 20.0, 100.0, 300.0, 900.0]))
quiet = st.tuples(some_value, st.just(1.0), st.sampled_from([0.0, 1.0, 9.0]), some_tail, some_expected)
point = st.tuples(some_value, some_step, st.sampled_from([0.0, 1.0, 9.0]), some_tail, some_expected)
#: An anomaly that is seen for long, so that events open, rise, end and are adopted.
lasting = st.tuples(st.integers(1, 20), st.sampled_from([1.0, 15.0]), some_tail, st.floats(90.0, 160.0)).map(
    lambda shape: [(600.0, shape[1], 9.0, shape[2], 100.0)] * shape[0] + [(shape[3], 1.0, 9.0, 1.0, 100.0)] * 5
)
points = st.one_of(
    st.lists(point, max_size=40),
    st.lists(quiet, max_size=40),
    st.lists(lasting, max_size=6).map(lambda parts: [p for part in parts for p in part]),
)


def scored(tail_p: float, expected: float, part: int = 1) -> np.ndarray:
    state = np.zeros(scorer.SIZE)
    state[[scorer.TAIL_P, scorer.EXPECTED, scorer.PART]] = tail_p, expected, part
    state[[scorer.LOWER, scorer.UPPER]] = expected / 2, expected * 2
    return state


def followed(each: list[tuple[float, float, float, float, float]], signal: int) -> list[float]:
    """The kinds of what happened, while kernel and twin have the same track after every point."""
    track, twin, t_ms, kinds = np.zeros(course.SIZE), Course(signal), T0_MS, []
    for value, step, calls, tail_p, expected in each:
        t_ms += step * MINUTE_MS
        state = scored(tail_p, expected)
        kind = course.end_if_silent(t_ms, track)
        assert kind == twin.end_if_silent(t_ms)
        kinds.append(kind)
        kind = course.follow(t_ms, value, calls, signal, state, track, course.MARGINS[signal])
        assert kind == twin.follow(t_ms, value, calls, Judged(*state[: scorer.COLUMNS].tolist()))
        np.testing.assert_array_equal(track, twin.row())
        kinds.append(kind)
    return [kind for kind in kinds if kind]


@against_twin(course.follow, course.end_if_silent)
@given(points, st.integers(0, CALLS_SIGNAL))
@settings(max_examples=200)
def test_the_course_is_that_of_the_twin(each, signal: int) -> None:
    followed(each, signal)


@pytest.mark.parametrize("signal", range(SIGNALS))
@pytest.mark.parametrize("values", AWKWARD.values(), ids=AWKWARD)
def test_awkward_values_have_the_course_of_the_twin(values: list[float], signal: int) -> None:
    for expected in (0.0, TINY, 10.0, 1e300):
        followed([(value, 1.0, 9.0, 1e-12, expected) for value in values * 3], signal)


def test_the_twins_own_points_open_raise_end_and_adopt_events() -> None:
    """Else the tests above would prove little."""
    low, medium = LIMITS["low"], LIMITS["medium"]
    bad, good = (600.0, 1.0, 9.0, medium, 100.0), (100.0, 1.0, 9.0, 1.0, 100.0)
    worse, late = (900.0, 1.0, 9.0, low, 100.0), (100.0, 500.0, 9.0, 1.0, 100.0)
    story = [bad, bad, worse, good, good, good, bad, bad, late, *[bad] * 190]
    expected = [
        course.SUSPECTED, course.OPENED, course.OPENED, course.CLOSED_INSIDE,
        course.SUSPECTED, course.OPENED, course.CLOSED_QUIET,
        course.SUSPECTED, course.OPENED, course.CLOSED_ADOPTED,
    ]  # fmt: skip
    assert followed(story, 0)[: len(expected)] == expected


# --- the minutes ------------------------------------------------------------------------------------------------------

ROWS = 3


class Kernel:
    """The arrays of some series, and `minutes.close` called as its docstring says, with little room."""

    def __init__(self) -> None:
        self.heads = np.full((ROWS, minutes.HEADS), -1, np.int64)
        self.pending = np.zeros((ROWS, SLOTS, WIDTH))
        self.places = np.full((ROWS, SIGNALS), -1, np.int64)
        self.states = np.zeros((1, scorer.SIZE), np.float32)
        self.tracks = np.zeros((1, course.SIZE))
        self.spare, self.counts = np.zeros(1, np.int64), np.zeros(2, np.int64)
        self.out = np.zeros((16, minutes.HAPPENING))

    def close(self, first: int, end: int, until: int, silent_until: int) -> list[tuple[int, Happened]]:
        seen = []
        while first < end:
            found, first, more = minutes.close(
                first, end, until, silent_until, self.heads, self.pending, self.places, self.states, self.tracks,
                course.MARGINS, self.spare, self.counts, self.out,
            )  # fmt: skip
            seen += [(int(o[0]), Happened(int(o[1]), float(o[2]), o[3:].copy())) for o in self.out[:found]]
            if more:
                self._grow()
        return seen

    def claim(self, row: int, minute: int) -> tuple[np.ndarray | None, list[tuple[int, Happened]]]:
        """The slot of a minute, as `state.signals` gives it to calls."""
        there = int(self.pending[row, minute % SLOTS, MINUTE])
        if minute <= self.heads[row, minutes.JUDGED] or there > minute:
            return None, []
        seen = self.close(row, row + 1, there, there) if 0 < there < minute else []
        slot = self.pending[row, minute % SLOTS]
        slot[MINUTE] = minute
        return slot, seen

    def _grow(self) -> None:
        n = len(self.states) + 1
        for name in ("states", "tracks"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros((1, old.shape[1]), old.dtype)]))
        self.spare = np.zeros(n, np.int64)


some_calls = st.tuples(
    st.integers(0, ROWS - 1),
    st.sampled_from([0, 0, 1, 1, 1, 2, 7, 700, 1_500]),  # minutes since the calls before
    st.sampled_from([0, 0, 0, 1, 2, 5]),  # minutes late
    st.sampled_from([1, 1, 3, 8, 40]),  # calls
    st.one_of(st.sampled_from([100.0, 100.0, 100.0, 6_000.0]), any_value),
    st.booleans(),  # whether resources were measured too
    st.booleans(),  # whether a look follows
)


def assert_same(one: list[tuple[int, Happened]], other: list[tuple[int, Happened]]) -> None:
    assert [(row, h.signal, h.kind) for row, h in one] == [(row, h.signal, h.kind) for row, h in other]
    for (_, mine), (_, its) in zip(one, other, strict=True):
        np.testing.assert_allclose(mine.track, its.track, rtol=1e-12)


def add(slot: np.ndarray, twin: Tool, minute: int, calls: tuple[int, float, bool]) -> None:
    n, value, measured = calls
    under_way, _ = twin.claim(minute)
    assert under_way is not None
    for metric in range(len(METRICS) if measured else 1):
        slot[COUNT + 2 * metric] += n
        under_way.counts[metric] += n
        with np.errstate(over="ignore", invalid="ignore"):
            slot[SUM + 2 * metric] += n * np.float64(value)
            under_way.totals[metric] = float(under_way.totals[metric] + n * np.float64(value))


def run(each: list[tuple[int, int, int, int, float, bool, bool]]) -> set[float]:
    """The kinds of what happened in these calls, while kernel and twins say the same."""
    kernel, twins, now, kinds = Kernel(), [Tool() for _ in range(ROWS)], 29_333_000, set()
    for row, step, late, n, value, measured, look in each:
        now += step
        slot, seen = kernel.claim(row, now - late)
        said = [(row, h) for h in twins[row].claim(now - late)[1]]
        assert_same(seen, said)
        if slot is not None:
            add(slot, twins[row], now - late, (n, value, measured))
        if look:
            seen += kernel.close(0, ROWS, now - 3, now - 11)
            said += [(at, h) for at, twin in enumerate(twins) for h in twin.close(now - 3, now - 11)]
            assert_same(seen, said)
        kinds |= {h.kind for _, h in seen}
        assert kernel.heads[:, minutes.JUDGED].tolist() == [twin.judged for twin in twins]
    for at, twin in enumerate(twins):
        for signal, kept in twin.signals.items():
            place = kernel.places[at, signal]
            np.testing.assert_array_equal(kernel.states[place], kept.state)
            np.testing.assert_allclose(kernel.tracks[place], kept.course.row(), rtol=1e-12)
        assert set(np.flatnonzero(kernel.places[at] >= 0)) == set(twin.signals)
    return kinds


@against_twin(minutes.close)
@given(st.lists(some_calls, max_size=60))
@settings(max_examples=100, deadline=None)
def test_minutes_become_the_points_that_the_twin_says(each) -> None:
    run(each)


@given(st.lists(any_value, max_size=30), st.integers(0, 3))
@awkward(0)
@settings(max_examples=50, deadline=None)
def test_minutes_of_awkward_values_become_the_points_that_the_twin_says(values: list[float], late: int) -> None:
    run([(0, 1, late if i % 5 == 0 else 0, 9, value, True, True) for i, value in enumerate(values)])


def test_the_twins_own_minutes_open_and_end_events() -> None:
    """Else the tests above would prove little."""
    rng = np.random.default_rng(4)
    bins = 370.0 + rng.normal(0, 3, 3_000)
    bins[2_000:2_030] += 60.0
    kinds = run([(0, 1, 0, 20, float(value), False, True) for value in bins])
    assert kinds >= {course.OPENED, course.CLOSED_INSIDE, course.SUSPECTED}
    assert math.isfinite(sum(bins))
