"""The detector's state on disk and what is owed, in the order that makes a crash harmless."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from perfmon.paths import DataDirectory
from services.detector.core.metrics import HISTORY_MS
from services.detector.shell import state as state_module
from services.detector.shell.explaining import Explaining
from services.detector.shell.state import DetectorState
from shared.batch import Batch, Series
from shared.consumer import Entry, Position
from shared.rpc import Refusal
from shared.settings import Settings
from shared.timespan import iso
from tests.kit import store_snapshot
from tests.unit.detector.detector_kit import (
    DAY,
    HOUR,
    KEY,
    T0,
    batch,
    bursts,
    ordinary,
    stored,
    times,
)
from tests.unit.detector.detector_shell_kit import DAY_NAME, NOW, faulty, lines


class Noted:
    """A courier that only takes notes."""

    def __init__(self) -> None:
        self.offered: dict[str, dict[str, Any]] = {}
        self.waiting = 0

    def offer(self, name: str, anomaly: dict[str, Any]) -> None:
        self.offered[name] = anomaly

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [NOW]
    monkeypatch.setattr(state_module, "clock_ms", lambda: now[0])
    return now


@pytest.fixture
def make(data_directory: DataDirectory) -> Iterator[Callable[[], DetectorState]]:
    made: list[DetectorState] = []

    def build() -> DetectorState:
        state = DetectorState(data_directory, Settings(), Noted())
        made.append(state)
        return state

    yield build
    for state in made:
        state.close()


def run(state: DetectorState, whole: Batch, seq: int = 0, *, live: bool = True, now: int = NOW) -> int:
    """As the consumer does: apply, save when asked to, act on it."""
    for at in range(0, len(whole), 40):
        seq += 1
        part = whole.take(np.arange(at, min(at + 40, len(whole))))
        if state.apply(Entry("e", seq, now, part), now, live):
            state.save(Position("e", seq))
            state.saved(now)
    return seq


# --- the state -------------------------------------------------------------------------------------------------------


def test_an_event_is_on_disk_before_it_is_written_and_told(make, data_directory: DataDirectory) -> None:
    state = make()
    assert state.load() is None
    assert state.apply(Entry("e", 1, NOW, faulty(304)), NOW, live=True)
    assert not lines(data_directory)
    assert not state.courier.offered
    state.save(Position("e", 1))
    assert not lines(data_directory)
    state.saved(NOW)
    (line,) = lines(data_directory)
    assert list(state.courier.offered) == [line["id"]]
    assert state.courier.offered[line["id"]]["startTs"] == times(304)[300]


def test_an_anomaly_that_becomes_worse_is_told_again_as_the_same_anomaly(make) -> None:
    state = make()
    state.load()
    values = ordinary(330)
    values[300:] *= 6
    values[306:] *= 40
    whole = batch(times(330), values)
    seq = run(state, whole.take(np.arange(305)))
    run(state, whole.take(np.arange(305, 330)), seq)
    state.save(Position("e", 99))
    state.saved(NOW)
    (event,) = stored(state.watch)
    found = {name: (told["id"], told["severity"]) for name, told in state.courier.offered.items()}
    assert found == {event.id: (event.id, "warning"), f"{event.id}-critical": (event.id, "critical")}


def test_a_crash_between_saving_and_acting_loses_and_doubles_nothing(make, data_directory: DataDirectory) -> None:
    first = make()
    first.load()
    first.apply(Entry("e", 1, NOW, faulty(304)), NOW, live=True)
    first.save(Position("e", 1))
    second = make()
    assert second.load() == Position("e", 1)
    (line,) = lines(data_directory)
    assert list(second.courier.offered) == [line["id"]]
    third = make()
    third.load()
    assert len(lines(data_directory)) == 1
    assert list(third.courier.offered) == [line["id"]]


def test_what_the_alerter_has_answered_is_not_told_again(make) -> None:
    state = make()
    state.load()
    seq = run(state, faulty(304))
    for name in list(state.courier.offered):
        state.delivered(name)
    state.save(Position("e", seq))
    again = make()
    again.load()
    assert not again.courier.offered


@pytest.mark.parametrize("stop", range(0, 400, 40))
def test_a_kill_at_any_point_gives_the_same_lines_once(make, data_directory: DataDirectory, stop: int) -> None:
    whole = faulty(400)
    before = make()
    before.load()
    run(before, whole.take(np.arange(stop)))  # killed: nothing more is saved
    after = make()
    place = after.load()
    done = 0 if place is None else place.seq * 40
    seq = run(after, whole.take(np.arange(done, 400)), seq=0 if place is None else place.seq)
    after.save(Position("e", seq))
    after.saved(NOW)
    found = lines(data_directory)
    assert [line["phase"] for line in found] == ["open", "close"]
    assert len({line["id"] for line in found}) == 1
    assert found[0]["startTs"] == iso(int(times(400)[300]))


def test_what_a_replay_finds_is_stored_and_told_only_if_it_is_news(make, data_directory: DataDirectory) -> None:
    state = make()
    state.load()
    # Long over: an hour of calls after the fault. Going on: the fault is the end of what there is.
    over = faulty(320 + 240)
    going_on = Batch(
        (Series("server", "other"),), *(getattr(faulty(306), c) for c in ("codes", "ts", "duration", "ok"))
    )
    seq = run(state, over, live=False)
    seq = run(state, going_on, seq, live=False)
    assert not state.courier.offered
    state.caught_up(NOW)
    state.save(Position("e", seq))
    state.saved(NOW)
    assert [a["toolName"] for a in state.courier.offered.values()] == ["other"]
    assert {line["toolName"] for line in lines(data_directory)} == {"tool", "other"}


def test_a_faint_event_is_neither_stored_nor_told_but_answers_a_sensitive_query(
    make, data_directory: DataDirectory
) -> None:
    state = make()
    state.load()
    run(state, batch(times(6_000), bursts()))
    faint = [e for e in state.watch.book.events.values() if e.level == 1]
    assert faint
    assert not {line["id"] for line in lines(data_directory)} & {e.id for e in faint}
    assert not set(state.courier.offered) & {e.id for e in faint}


def test_lines_that_cannot_be_written_are_kept_and_written_later(
    make, data_directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = make()
    state.load()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("services.detector.shell.files.append_lines", full)
        run(state, faulty(304))
        assert state.file_failures_total == 1
    assert not lines(data_directory)
    state.tick(int(times(304)[-1]))
    assert len(lines(data_directory)) == 1


def test_the_sweep_runs_by_its_interval_and_reaches_every_series(make) -> None:
    state = make()
    state.load()
    for number in range(600):
        state.apply(Entry("e", 1, NOW, batch([T0], [1.0], key=Series("s", f"t{number}"))), NOW, live=True)
    state.save(Position("e", 1))
    for tick in range(3):
        state.tick(NOW + tick)
    assert state.sweeps_total == 1
    state.tick(NOW + 1_000)
    assert state.sweeps_total == 1
    for tick in range(3):
        state.tick(NOW + 300_000 + tick)
    assert state.sweeps_total == 2


def write_metrics(data: DataDirectory, whole: Batch, day: str = DAY_NAME) -> None:
    folder = data.metrics / day / "server"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "timestamp": iso(int(whole.ts[i])), "mcpServer": "server", "toolName": "tool", "duration": float(whole.duration[i]),
            "success": True, "error": None, "resource": {"cpu": 5.0, "memory": None, "diskIO": None},
        }
        for i in range(len(whole))
    ]  # fmt: skip
    with (folder / "tool.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_a_rebuild_reads_the_last_day_back_keeps_anomalies_and_raises_nothing_old(
    make, data_directory: DataDirectory
) -> None:
    state = make()
    state.load()
    whole = faulty(400)
    seq = run(state, whole)
    before = [(e.id, e.end_ms) for e in stored(state.watch)]
    told = set(state.courier.offered)
    write_metrics(data_directory, whole)
    state.rebuild(store_snapshot(data_directory, "new", 7), "new epoch")
    state.caught_up(NOW)
    state.save(Position("new", 7))
    state.saved(NOW)
    assert seq
    assert [(e.id, e.end_ms) for e in stored(state.watch)] == before
    assert set(state.courier.offered) == told
    assert [line["phase"] for line in lines(data_directory)] == ["open", "close"]
    series = state.watch.engine.series[KEY]
    assert series.calls_total == 400
    assert np.isfinite(series.calls.x[1, :400]).all()
    again = make()
    assert again.load() == Position("new", 7)
    assert again.watch.engine.series[KEY].calls_total == 400


def test_without_a_database_the_anomalies_come_back_from_the_files(make, data_directory: DataDirectory) -> None:
    state = make()
    state.load()
    seq = run(state, faulty(400))
    state.save(Position("e", seq))
    state.close()
    for path in data_directory.state.glob("detector.db*"):
        path.unlink()
    again = make()
    assert again.load() is None
    assert [e.id for e in stored(again.watch)] == [e.id for e in stored(state.watch)]
    write_metrics(data_directory, faulty(400))
    again.rebuild(store_snapshot(data_directory, "e", seq), "no state")
    again.caught_up(NOW)
    again.save(Position("e", seq))
    again.saved(NOW)
    assert [line["phase"] for line in lines(data_directory)] == ["open", "close"]
    assert not again.courier.offered


@pytest.mark.parametrize("database", [True, False])
def test_an_anomaly_that_goes_on_goes_on_after_a_rebuild(make, data_directory: DataDirectory, database: bool) -> None:
    values = ordinary(400)
    values[300:310] *= 12
    values[390:] *= 12
    whole = batch(times(400), values)
    state = make()
    state.load()
    seq = run(state, whole)
    state.save(Position("e", seq))
    before = [(e.id, e.end_ms) for e in stored(state.watch)]
    assert [end_ms is None for _, end_ms in before] == [False, True]
    if not database:
        state.close()
        for path in data_directory.state.glob("detector.db*"):
            path.unlink()
        state = make()
        state.load()
    told = dict(state.courier.offered)
    write_metrics(data_directory, whole)
    state.rebuild(store_snapshot(data_directory, "new", 7), "new epoch")
    state.caught_up(NOW)
    state.save(Position("new", 7))
    state.saved(NOW)
    assert [(e.id, e.end_ms) for e in stored(state.watch)] == before
    assert state.courier.offered == told
    assert [line["phase"] for line in lines(data_directory)] == ["open", "close", "open"]
    again = make()
    again.load()
    assert [(e.id, e.end_ms) for e in stored(again.watch)] == before


def test_an_anomaly_that_goes_on_when_the_clock_is_set_back_ends_and_the_next_is_found(
    make: Callable[[], DetectorState], clock: list[int]
) -> None:
    state = make()
    values = ordinary(320)
    values[310:] *= 12
    clock[0] = T0 + 320 * 15_000
    seq = run(state, batch(times(320), values), now=clock[0])
    state.tick(clock[0])
    (first,) = stored(state.watch)
    assert first.end_ms is None
    clock[0] -= HOUR
    state.tick(clock[0])
    assert (first.ended, state.watch.book.open) == ("the clock was set back", {})
    calm, spike = ordinary(240, 2), ordinary(10, 3) * 12
    run(state, batch(times(250, start=clock[0]), np.concatenate([calm, spike])), seq, now=clock[0] + HOUR)
    assert [event.end_ms is None for event in stored(state.watch)] == [False, True]


def test_an_anomaly_of_a_tool_whose_place_another_took_ends(make, clock: list[int]) -> None:
    state = make()
    state.watch.engine.max_series = 1
    values = ordinary(320)
    values[310:] *= 12
    run(state, batch(times(320), values))
    (event,) = stored(state.watch)
    assert event.end_ms is None
    clock[0] = NOW + 2 * DAY
    run(state, batch(times(20, start=clock[0]), ordinary(20), key=Series("server", "other")), now=clock[0])
    assert list(state.watch.engine.series) == [Series("server", "other")]
    state.tick(clock[0])
    assert (event.ended, event.end_ms, state.watch.book.open) == ("no more calls", event.last_ms, {})


def test_a_rebuild_that_crashes_is_a_rebuild_again(make, data_directory: DataDirectory, monkeypatch) -> None:
    state = make()
    state.load()
    seq = run(state, faulty(400))
    state.save(Position("e", seq))

    def fails(*_: object) -> None:
        raise OSError("gone")

    monkeypatch.setattr(state_module, "batches_of_last_day", fails)
    with pytest.raises(OSError, match="gone"):
        state.rebuild(store_snapshot(data_directory, "new", 1), "new epoch")
    assert not state.rebuilding
    again = make()
    assert again.load() is None
    assert stored(again.watch), "anomalies stay"


def test_old_metrics_are_not_read_back(make, data_directory: DataDirectory, clock: list[int]) -> None:
    write_metrics(data_directory, faulty(400, start=T0 - 12 * HOUR), "2025-10-09")
    clock[0] = T0 + 20 * HOUR
    state = make()
    state.load()
    state.rebuild(store_snapshot(data_directory, "e", 1), "no state")
    assert not state.watch.engine.series
    assert HISTORY_MS == DAY


def test_a_spike_is_found_after_a_clock_that_was_days_ahead_is_set_back(
    make: Callable[[], DetectorState], clock: list[int]
) -> None:
    state = make()
    clock[0] = NOW + 3 * DAY
    seq = run(state, batch(times(20, start=T0 + 3 * DAY), ordinary(20)), now=clock[0])
    state.tick(clock[0])
    assert len(state.watch.engine.series) == 1
    clock[0] = T0 + 5 * HOUR
    state.tick(clock[0])
    assert state.watch.engine.series == {}
    seq = run(state, faulty(), seq, now=clock[0])
    state.tick(clock[0])
    assert [series.key for series in state.watch.engine.series.values()] == [KEY]
    state.save(Position("e", seq))
    state.saved(clock[0])
    assert lines(state._data) != []
    assert list(make().watch.engine.series) == []
    again = make()
    assert again.load() == Position("e", seq)
    assert list(again.watch.engine.series) == [KEY]


# --- explain ---------------------------------------------------------------------------------------------------------


def test_an_anomaly_is_known_by_the_beginning_and_the_end_of_its_id(make: Callable[[], DetectorState]) -> None:
    state = make()
    state.load()
    run(state, faulty())
    (event,) = stored(state.watch)
    explaining = Explaining(state, contextlib.nullcontext)
    own = event.id.rpartition("-")[2]
    for booked in (True, False):
        for name in (event.id, own, own[:6], own[-6:], event.id[:-2], event.id[3:]):
            assert explaining.explain({"id": name})["anomaly"]["id"] == event.id, (name, booked)
        state.save(Position("e", 99))
        state.watch.book.events.clear()


def test_the_nearest_to_the_end_of_an_id_are_those_that_end_nearly_so(make: Callable[[], DetectorState]) -> None:
    state = make()
    state.load()
    run(state, faulty())
    (event,) = stored(state.watch)
    ends = ("7f7778", "2025f9", "111111", "333333")
    for end in ends:
        state.watch.book.add(replace(event, id=f"anomaly-20251010-aaaaaa{end}", end_ms=event.last_ms))
    with pytest.raises(Refusal) as refused:
        Explaining(state, contextlib.nullcontext).explain({"id": "2025f8"})
    assert refused.value.code == "unknown_anomaly"
    assert refused.value.fields["nearest"][0]["id"].endswith("2025f9"), "and not one whose day looks so"
