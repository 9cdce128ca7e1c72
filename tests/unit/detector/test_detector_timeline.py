"""When anything is looked for is a function of the calls alone: batches may be cut anyhow, come now or be read back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from services.detector.core.answers.past import Replay
from services.detector.core.engine import Engine
from services.detector.core.events import Book
from services.detector.core.timeline import CLOCK_LAG_MS, Timeline
from services.detector.core.watch import Watch
from shared.batch import Batch, Series, concatenate
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


@pytest.fixture(scope="module", params=[2, 5])
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


@pytest.mark.parametrize("span_ms", [700, 20 * SECOND])
def test_the_past_is_told_as_the_stream_told_it(
    span_ms: int, calls: Batch, expected: dict[str, tuple[Any, ...]]
) -> None:
    replay = Replay(calls, END, 100, FIVE)
    assert list(replay.steps())[-1] == END
    assert told(heard(calls, span_ms)) == told(replay.watch) == expected
