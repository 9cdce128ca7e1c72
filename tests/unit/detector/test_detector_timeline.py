"""When anything is looked for is a function of the calls alone: batches may be cut anyhow, come now or be read back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.detector.core.answers.past import Replay
from services.detector.core.engine import Engine
from services.detector.core.events import Book
from services.detector.core.server_events import is_of_server
from services.detector.core.state.series import SeriesState
from services.detector.core.sweeps.silent_servers import KEY as COMPANY
from services.detector.core.sweeps.silent_servers import is_silence
from services.detector.core.timeline import CLOCK_LAG_MS, SWEPT_AT_ONCE, Timeline
from services.detector.core.watch import Watch
from services.detector.shell.database import Database, Debts
from shared.batch import Batch, Series, concatenate
from shared.consumer import Position
from tests.unit.detector.detector_kit import HOUR, MINUTE, T0, batch, cut, ordinary

FIVE = 5 * MINUTE
SECOND = 1_000
#: How long the fleet is called, and a time in the first minute that is on no boundary.
HOURS = 8
START = T0 + 17 * SECOND
END = START + HOURS * HOUR
#: Tools with their calls a minute and their level.
TOOLS = {
    Series("alpha", "busy"): (12.0, 40.0),
    Series("alpha", "leaks"): (4.0, 90.0),
    Series("alpha", "stops"): (3.0, 20.0),
    Series("beta", "slows"): (2.0, 150.0),
    Series("beta", "fails"): (5.0, 60.0),
    Series("gone", "one"): (2.0, 30.0),
    Series("gone", "two"): (1.0, 10.0),
}


def fleet(seed: int) -> Batch:
    """Tools of three servers in order of time, each with a trouble of its own: bursts, a leak, silence, a shift, failures."""
    whole = concatenate([_calls(key, *TOOLS[key], seed=[seed, number]) for number, key in enumerate(TOOLS)])
    return whole.take(np.argsort(whole.ts, kind="stable"))


def _calls(key: Series, a_minute: float, level: float, seed: list[int]) -> Batch:
    rng = np.random.default_rng(seed)
    n = rng.poisson(a_minute * (END - START) / MINUTE)
    ts = np.sort(rng.integers(START, END, n))
    at = (ts - START) / HOUR
    x, ok, memory = ordinary(n, seed[1], level, 0.35), (rng.random(n) > 0.01).astype(np.uint8), np.full(n, 200.0)
    fault = 4.0 + rng.uniform(0.0, 1.0)
    if key.tool == "busy":
        x[(at > fault) & (at < fault + 0.1)] *= 9
        x[(at > fault + 1.5) & (at < fault + 1.7)] *= 5
        x[(at > 2) & (at < 2.1)] *= 2.2
    if key.tool == "leaks":
        memory += 120.0 * np.maximum(at - fault, 0.0)
    if key.tool == "slows":
        x[at > fault] *= 2.5
    if key.tool in {"fails", "leaks"}:
        ok[(at > fault) & (at < fault + 0.4) & (rng.random(n) < 0.35)] = 0
        ok[(at > 2) & (at < 2.05) & (rng.random(n) < 0.5)] = 0
    if key.server == "alpha":
        ok[(at > 7) & (at < 7.15) & (rng.random(n) < 0.25)] = 0
    heard = at < (5.5 if key.tool == "stops" or key.server == "gone" else HOURS)
    return batch(ts, x, ok, key, memory=memory * rng.lognormal(0.0, 0.01, n)).take(heard)


def by(whole: Batch, span_ms: int) -> Iterator[Batch]:
    part = whole.ts // span_ms
    return (whole.take(part == one) for one in np.unique(part))


def make_timeline(*, awake: bool = False) -> Timeline:
    return Timeline(Watch(Engine(100), Book()), FIVE, awake=awake)


def lived(parts: Iterable[Batch]) -> Watch:
    """Batches read back."""
    timeline = make_timeline(awake=True)
    for part in parts:
        timeline.take(part, live=False)
    timeline.go_on(END, live=False)
    return timeline.watch


def heard(whole: Batch, span_ms: int) -> Watch:
    """As it is live: what comes in a span, a little later, and a turn of the clock every second."""
    timeline, turn_ms = make_timeline(), START
    for part in by(whole, span_ms):
        came_ms = int(part.ts[-1]) + 150
        for now_ms in range(turn_ms, came_ms, SECOND):
            timeline.turn(now_ms)
            turn_ms = now_ms + SECOND
        timeline.take(part, live=True, came_ms=came_ms)
    for now_ms in range(turn_ms, END + CLOCK_LAG_MS + SECOND, SECOND):
        timeline.turn(now_ms)
    return timeline.watch


def told(watch: Watch) -> dict[str, tuple[Any, ...]]:
    """What is said of each event: whose, what, since when, until when, how sure."""
    return {
        e.id: (e.series, e.type, e.metric, e.level, e.start_ms, e.last_ms, e.end_ms, e.ended, e.points, e.calls)
        for e in watch.book.events.values()
    }


@pytest.fixture(scope="module", params=[5])
def calls(request: pytest.FixtureRequest) -> Batch:
    return fleet(request.param)


@pytest.fixture(scope="module")
def expected(calls: Batch) -> dict[str, tuple[Any, ...]]:
    found = told(lived(by(calls, MINUTE)))
    kinds = {one[1] for one in found.values()}
    assert kinds >= {
        "response_time_spike",
        "response_time_shift",
        "error_rate_spike",
        "resource_leak",
        "throughput_change",
    }
    return found


@pytest.mark.parametrize("size", [1, 1_000, 1_000_000])
def test_batches_cut_anyhow_give_the_same_anomalies(
    size: int, calls: Batch, expected: dict[str, tuple[Any, ...]]
) -> None:
    assert told(lived(cut(calls, size))) == expected


@pytest.mark.parametrize("span_ms", [700])
def test_the_past_is_told_as_the_stream_told_it(
    span_ms: int, calls: Batch, expected: dict[str, tuple[Any, ...]]
) -> None:
    replay = Replay(calls, END, 100, FIVE)
    assert list(replay.steps())[-1] == END
    assert told(heard(calls, span_ms)) == told(replay.watch) == expected


def silences(watch: Watch) -> dict[str, tuple[Any, ...]]:
    """Of each silence how grave it is, whether it goes on, and what the other tools of its server do."""
    return {
        e.id: (e.series, e.severity, e.end_ms, e.evidence.get(COMPANY), e.incident.get("id"))
        for e in watch.book.events.values()
        if is_silence(e.type, e.value)
    }


def test_a_server_that_falls_silent_is_told_in_the_past_as_it_was(calls: Batch) -> None:
    found = silences(heard(calls, 20 * SECOND))
    warnings = [one for one in found.values() if one[1] == "warning"]
    assert [(one[0].server, one[3]["wholeServer"]) for one in warnings] == [("gone", True)]
    assert silences(lived([calls])) == found
    assert {one[0].tool for one in found.values()} >= {"stops", "one", "two"}


class Noted(Watch):
    """A watch that notes what is done when, and does nothing but take calls."""

    def __init__(self) -> None:
        super().__init__(Engine(1_000), Book())
        self.done: list[tuple[str, int]] = []
        self.swept: list[str] = []

    def apply(self, batch: Batch, *, live: bool, came_ms: int | None = None) -> bool:
        self.done.append(("calls", len(batch)))
        return super().apply(batch, live=live, came_ms=came_ms)

    def tick(self, now_ms: int, *, live: bool = True) -> bool:
        self.done.append(("minute", (now_ms - T0) // MINUTE))
        return False

    def sweep(self, all_series: Iterable[SeriesState], now_ms: int, *, live: bool = True) -> bool:
        self.done.append(("sweep", (now_ms - T0) // MINUTE))
        self.swept += [series.key.tool for series in all_series]
        return False

    def taken(self) -> list[tuple[str, int]]:
        done, self.done = self.done, []
        return done


def noted(*minutes: float, **named: Any) -> tuple[Noted, Timeline]:
    """A timeline that has taken one call in each of some minutes."""
    watch = Noted()
    timeline = Timeline(watch, FIVE, **named)
    for minute in minutes:
        timeline.take(one(minute), live=True)
    return watch, timeline


def one(minute: float, tool: str = "tool") -> Batch:
    return batch([T0 + round(minute * MINUTE)], [100.0], key=Series("server", tool))


def test_a_minute_passes_before_the_first_call_at_or_after_it_is_judged_and_every_fifth_is_swept() -> None:
    watch, _ = noted(3.2, 3.9, 4.0, 5.5)
    calls = ("calls", 1)
    assert watch.taken() == [calls, calls, ("minute", 4), calls, ("minute", 5), ("sweep", 5), calls]


def test_where_no_call_comes_a_minute_passes_by_the_clock_a_little_later() -> None:
    watch, timeline = noted(3.2)
    timeline.turn(T0 + 4 * MINUTE + CLOCK_LAG_MS - 1)
    assert watch.taken() == [("calls", 1)]
    timeline.turn(T0 + 4 * MINUTE + CLOCK_LAG_MS)
    assert watch.taken() == [("minute", 4)]
    timeline.take(one(4.5), live=True)
    assert watch.taken() == [("calls", 1)]


def test_calls_of_a_clock_that_is_ahead_do_not_take_the_time_with_them() -> None:
    watch, timeline = noted(3.2)
    timeline.take(one(11.0), live=True, came_ms=T0 + 3 * MINUTE + 20 * SECOND)
    assert watch.taken() == [("calls", 1)] * 2
    timeline.take(one(4.1), live=True, came_ms=T0 + 4 * MINUTE + 10 * SECOND)
    assert watch.taken() == [("minute", 4), ("calls", 1)]


def test_a_late_call_is_judged_with_those_that_come_now() -> None:
    watch, timeline = noted(3.2, 7.1)
    watch.taken()
    timeline.take(concatenate([one(7.2), one(4.0), one(8.1)]), live=True)
    assert watch.taken() == [("calls", 2), ("minute", 8), ("calls", 1)]


def test_of_a_long_pause_in_which_nobody_looked_the_latest_moments_are_made_up_for() -> None:
    watch, timeline = noted(3.2)
    watch.taken()
    timeline.take(one(63.5), live=False)
    assert watch.taken() == [("minute", 60), ("sweep", 60), ("minute", 63), ("calls", 1)]
    watch, _ = noted(3.2, 63.5, awake=True)
    assert [done for done in watch.taken() if done[0] == "minute"] == [("minute", minute) for minute in range(4, 64)]


def test_after_a_restart_the_moments_go_on_after_the_newest_call_that_is_known() -> None:
    watch, timeline = noted(3.2, 7.1)
    watch.taken()
    again = Timeline(watch, FIVE)
    assert (again.passed_ms, again.swept_ms) == (timeline.passed_ms, timeline.swept_ms)
    again.take(one(8.1), live=True)
    assert watch.taken() == [("minute", 8), ("calls", 1)]


def test_a_clock_that_is_set_back_goes_on_from_there() -> None:
    watch, timeline = noted(300.5)
    watch.engine.forget_after(0)
    timeline.turn(T0 + 100 * MINUTE)
    watch.taken()
    timeline.take(one(101.2), live=True)
    assert watch.taken() == [("minute", 101), ("calls", 1)]


def test_of_many_tools_those_that_are_called_are_swept_first_and_the_others_in_turns() -> None:
    watch, timeline = noted()
    tools = [f"tool-{number:03}" for number in range(2 * SWEPT_AT_ONCE + 10)]
    timeline.take(concatenate([one(3.2, tool) for tool in tools]), live=True)
    timeline.take(one(5.1, tools[-1]), live=True)
    assert watch.swept == [*tools[:SWEPT_AT_ONCE], tools[-1]]
    timeline.turn(T0 + 5 * MINUTE + 10 * SECOND)
    assert timeline.sweeping
    timeline.turn(T0 + 5 * MINUTE + 11 * SECOND)
    assert not timeline.sweeping
    assert sorted(watch.swept) == tools


def restarted(timeline: Timeline, path: Path, seq: int) -> Timeline:
    """What is read of a timeline's state that was saved."""
    timeline.watch.take_lines()
    timeline.watch.take_raises()
    database, engine, book = Database(path), Engine(100), Book()
    database.save(Position("e", seq), timeline.watch.engine, timeline.watch.book, Debts([], [], [], []))
    database.load(engine, book, 0)
    database.close()
    return Timeline(Watch(engine, book), FIVE, awake=True)


def test_restarts_at_any_moment_change_nothing(
    calls: Batch, expected: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    timeline = make_timeline(awake=True)
    for seq, part in enumerate(cut(calls, 97), start=1):
        timeline.take(part, live=False)
        if seq % 9 == 5:
            timeline = restarted(timeline, tmp_path / "detector.db", seq)
    timeline.go_on(END, live=False)
    assert told(timeline.watch) == expected


def company(seed: int) -> Batch:
    """Twelve quiet tools of a server that fail a little together, twice."""
    rng, parts = np.random.default_rng(seed), []
    for number, a_minute in enumerate([1.0, 1.0, 0.5, 0.5, 2.0, 2.0, 0.3, 0.3, 1.0, 1.0, 3.0, 8.0]):
        n = rng.poisson(a_minute * 240)
        ts = np.sort(rng.integers(START, START + 4 * HOUR, n))
        at, ok = (ts - START) / HOUR, (rng.random(n) > 0.01).astype(np.uint8)
        ok[(at > 2) & (at < 2.4) & (rng.random(n) < 0.12)] = 0
        ok[(at > 3) & (at < 3.3) & (rng.random(n) < 0.2)] = 0
        parts.append(batch(ts, ordinary(n, number, 50.0 * (number + 1), 0.4), ok, Series("together", f"t{number}")))
    whole = concatenate(parts)
    return whole.take(np.argsort(whole.ts, kind="stable"))


@pytest.mark.parametrize("seed", [3, 8])
def test_tools_that_fail_together_are_told_the_same_however_their_calls_are_cut(seed: int) -> None:
    whole = company(seed)
    watch = lived(by(whole, MINUTE))
    expected = told(watch)
    assert any(is_of_server(event) for event in watch.book.events.values()) == (seed == 3)
    for size in (1, 37, len(whole)):
        assert told(lived(cut(whole, size))) == expected
