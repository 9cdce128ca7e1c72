"""Lasting changes are told by the level before and the level now, not by their worst call."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.core.events import from_record, to_record
from services.detector.core.readings import NEW_LEVEL
from services.detector.core.telling.explain import anomaly
from services.detector.core.telling.explanation_text import lines
from services.detector.core.telling.levels import (
    NEW_USUAL,
    Level,
    is_lasting,
    is_new_usual,
    is_step,
    kind_of,
    level_of,
    measure,
)
from services.detector.core.telling.narrative import summary
from services.detector.core.telling.remarks import whole
from services.detector.core.watch import Watch
from tests.unit.detector.detector_kit import HOUR, KEY, MINUTE, T0, batch, feed, make_watch, ordinary, stored, times

N = 2_400  # ten hours, four calls a minute


def swept(memory: np.ndarray | None = None, slow: tuple[int, int, float] = (0, 0, 1.0), until: int = N) -> Watch:
    """A tool of about 80 ms, with a sweep every five minutes; `slow`: first call, last, times."""
    watch, x, ts = make_watch(), ordinary(N, 3, level=80.0, spread=0.25), times(N)
    x[slow[0] : slow[1]] *= slow[2]
    for at in range(0, until, 20):
        part = slice(at, at + 20)
        feed(watch, batch(ts[part], x[part], memory=None if memory is None else memory[part]))
        watch.tick(int(ts[at + 19]))
        watch.sweep(list(watch.engine.series.values()), int(ts[at + 19]))
    return watch


def of_memory(until: int) -> np.ndarray:
    memory = ordinary(N, 5, level=200.0, spread=0.02)
    memory[1_800:until] *= 2.1
    return memory


@pytest.fixture(scope="module")
def shifted() -> Watch:
    return swept(slow=(2_040, N, 1.6))


@pytest.fixture(scope="module")
def stepped() -> Watch:
    return swept(of_memory(2_040))


def test_a_shift_is_told_by_its_level_and_not_by_its_worst_call(shifted: Watch) -> None:
    (event,) = [e for e in stored(shifted) if e.type == "response_time_shift"]
    level = level_of(event)
    assert level is not None
    assert level.before == pytest.approx(80, rel=0.1)
    assert level.now == pytest.approx(128, rel=0.1)
    told = anomaly(event)["details"]
    assert (told["currentValue"], told["usual"]) == (level.now, level.before)
    assert told["deviation"] == f"{level.now / level.before:.2g}x"
    assert told["worstValue"] == pytest.approx(event.value)
    assert f"level {level.before:.3g} → {level.now:.3g} ms, {told['deviation']} of before; usual were " in summary(
        event
    )
    assert "at worst" not in summary(event)
    text = "\n".join(lines(event, whole(shifted, event)["explanation"], 100))
    assert f"level {level.before:.3g} → {level.now:.3g} ms" in text


def test_the_level_of_what_goes_on_is_that_of_its_latest_calls() -> None:
    memory = of_memory(N)
    memory[1_850:] *= 1.5
    watch = swept(memory, until=2_040)
    (event,) = [e for e in stored(watch) if e.metric == "memory"]
    assert event.end_ms is None
    level = level_of(event)
    assert level is not None
    assert level.now == pytest.approx(200 * 2.1 * 1.5, rel=0.05)


def test_a_level_that_became_the_usual_says_so_and_how_far_it_is_from_before() -> None:
    watch = swept(of_memory(N))
    (event,) = [e for e in stored(watch) if e.metric == "memory"]
    assert event.ended == NEW_USUAL == NEW_LEVEL
    assert is_new_usual(event)
    said = summary(event)
    assert ", the new usual since " in said
    assert "still 2.1x of before" in said
    assert "(stayed: the new usual)" in lines(event, whole(watch, event)["explanation"], 100)[0]
    assert anomaly(event)["ended"] == NEW_USUAL


def test_what_went_back_as_soon_as_it_was_taken_for_the_usual_did_not_stay(stepped: Watch) -> None:
    (event,) = [e for e in stored(stepped) if e.metric == "memory"]
    event = from_record(to_record(event))
    event.ended = NEW_USUAL
    level = level_of(event)
    assert level is not None
    assert level.after == pytest.approx(200, rel=0.05)
    assert not is_new_usual(event)
    assert anomaly(event)["ended"] == "back inside"
    assert "the new usual" not in summary(event)
    assert "(over: back inside)" in lines(event, whole(stepped, event)["explanation"], 100)[0]


def test_memory_that_rose_for_an_hour_is_a_step_and_no_spike(stepped: Watch) -> None:
    (event,) = [e for e in stored(stepped) if e.metric == "memory"]
    assert is_step(event)
    told = anomaly(event)
    assert (told["anomalyType"], told["details"]["kind"]) == ("resource_spike", "resource_step")
    assert told["details"]["deviation"] == "2.1x"
    said = summary(event)
    assert "Memory of “tool” of “server” rose" in said
    assert "level 200 → 42" in said
    assert "likely a lasting step" in said
    assert "spike" not in said
    assert event.recommendations[0].startswith("Memory went from 200")
    assert "resource step" in lines(event, whole(stepped, event)["explanation"], 100)[0]


def test_slow_calls_that_became_the_usual_ones_are_a_shift(shifted: Watch) -> None:
    (event,) = [e for e in stored(shifted) if e.type == "response_time_shift"]
    event = from_record(to_record(event))
    event.type, event.end_ms = "response_time_spike", event.last_ms
    assert kind_of(event) == "response_time_spike"
    event.ended = NEW_USUAL
    assert kind_of(event) == anomaly(event)["details"]["kind"] == "response_time_shift"
    assert "likely a lasting change" in summary(event)


def test_memory_that_rose_for_minutes_is_a_spike() -> None:
    (event,) = [e for e in stored(swept(of_memory(1_840))) if e.metric == "memory"]
    assert not is_lasting(event)
    assert "kind" not in anomaly(event)["details"]
    assert "likely a spike" in summary(event)


def test_no_level_is_told_where_none_is_known(shifted: Watch) -> None:
    (event,) = [e for e in stored(shifted) if e.type == "response_time_shift"]
    series = shifted.engine.series[KEY]
    other = from_record(to_record(event))
    other.evidence = {}
    assert level_of(other) is None
    assert "usual are" in summary(other)
    for kept in ({"before": 0, "now": 1}, {"before": "a", "now": 1}, [], {"now": 3}):
        other.evidence = {"level": kept}
        assert level_of(other) is None
    other.median = 0.0
    assert measure(other, series) is None
    other.median, other.metric = 80.0, "error_rate"
    assert measure(other, series) is None
    other.metric, other.start_ms, other.last_ms = "response_time", T0 - HOUR, T0 - HOUR + MINUTE
    assert measure(other, series) is None
    assert Level(80.0, 128.0).times == 1.6
