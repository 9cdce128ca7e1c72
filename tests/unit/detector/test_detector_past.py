"""Windows that the state does not reach: lived again from the files, they have the anomalies that the stream found."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfmon.paths import DataDirectory
from services.detector.core.answers.answer import answer, parse_query
from services.detector.core.answers.past import Known, Replay, reaches_back_to, united
from services.detector.core.engine import Engine
from services.detector.core.events import Book, Event
from services.detector.core.watch import Watch
from services.detector.shell import past as past_module
from services.detector.shell import state as state_module
from services.detector.shell.database import Database, Debts
from services.detector.shell.past import NOTHING_KEPT, STILL_READ, Past
from services.detector.shell.state import DetectorState
from shared.batch import Batch, Series, concatenate
from shared.consumer import Entry, Position
from shared.settings import Settings
from shared.timespan import day_of, iso
from tests.kit import store_snapshot
from tests.unit.detector.detector_kit import DAY, HOUR, MINUTE, T0, batch, cut, make_watch, ordinary, stored

FIVE_MINUTES = 5 * MINUTE
NOW = T0 + DAY


def day_of_calls() -> Batch:
    """Three tools over a day, each with troubles of its own, in order of time."""
    parts = []
    for number, tool in enumerate("abc"):
        every_ms = (20_000, 30_000, 45_000)[number]
        ts = np.arange(T0 + number, NOW, every_ms, dtype=np.int64)
        n = len(ts)
        x, ok = ordinary(n, number, level=100.0 * (number + 1)), np.ones(n, np.uint8)
        memory = ordinary(n, number + 9, level=300.0, spread=0.02)
        x[n // 2 : n // 2 + 40] *= 12  # a burst
        x[n * 3 // 4 : n * 3 // 4 + 90] *= 6  # a longer one
        ok[n // 3 : n // 3 + 60] = 0
        memory[n * 5 // 8 : n * 5 // 8 + 30] *= 4
        key = Series("server", tool)
        parts.append(batch(ts, x, ok, key, memory=memory, cpu=np.full(n, 5.0), disk_io=np.full(n, 8.0)))
    whole = concatenate(parts)
    return whole.take(np.argsort(whole.ts, kind="stable"))


def streamed(calls: Batch) -> Watch:
    """As the service does it: a batch, the clock, every five minutes the sweep."""
    watch = make_watch()
    for now in range(T0 + MINUTE, NOW + MINUTE, MINUTE):
        rows = np.arange(*np.searchsorted(calls.ts, [now - MINUTE, now]))
        watch.apply(calls.take(rows), live=True)
        watch.tick(now)
        if now % FIVE_MINUTES == 0:
            watch.sweep(list(watch.engine.series.values()), now)
    return watch


@pytest.fixture(scope="module")
def calls() -> Batch:
    return day_of_calls()


@pytest.fixture(scope="module")
def stream(calls: Batch) -> Watch:
    return streamed(calls)


def write_metrics(data: DataDirectory, calls: Batch) -> None:
    lines: dict[Path, list[str]] = {}
    for i in range(len(calls)):
        series, ts = calls.dictionary[calls.codes[i]], int(calls.ts[i])
        assert calls.memory is not None
        row = {
            "timestamp": iso(ts), "mcpServer": series.server, "toolName": series.tool, "duration": float(calls.duration[i]),
            "success": bool(calls.ok[i]), "error": None if calls.ok[i] else "no",
            "resource": {"cpu": 5.0, "memory": float(calls.memory[i]), "diskIO": 8.0},
        }  # fmt: skip
        path = data.metrics / day_of(ts) / series.server / f"{series.tool}.jsonl"
        lines.setdefault(path, []).append(json.dumps(row) + "\n")
    for path, rows in lines.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(rows))


def names(events: list[Event]) -> list[tuple[str, str, str, int]]:
    """Whose, which type, and which minute it began in."""
    return sorted((e.tool, e.type, e.metric, round(e.start_ms / MINUTE)) for e in events)


def same(found: list[Event], expected: list[Event]) -> None:
    """The same events, beginning within a minute of each other."""
    assert [(e.tool, e.type, e.metric) for e in _sorted(found)] == [
        (e.tool, e.type, e.metric) for e in _sorted(expected)
    ]
    for one, other in zip(_sorted(found), _sorted(expected), strict=True):
        assert abs(one.start_ms - other.start_ms) <= MINUTE, (one, other)


def _sorted(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda e: (e.tool, e.type, e.metric, e.start_ms))


def lived(calls: Batch) -> Watch:
    replay = Replay(calls, NOW, 100, FIVE_MINUTES)
    assert list(replay.steps())[-1] >= int(calls.ts[-1])
    return replay.watch


def test_a_day_lived_again_has_the_anomalies_of_the_stream(calls: Batch, stream: Watch) -> None:
    expected = stored(stream)
    assert {e.type for e in expected} >= {"response_time_spike", "error_rate_spike", "resource_spike"}
    same(stored(lived(calls)), expected)


def test_the_ids_of_what_single_calls_show_are_the_same(calls: Batch, stream: Watch) -> None:
    again = {e.id for e in stored(lived(calls))}
    of_calls = {e.id for e in stored(stream) if e.method == "auto"}
    assert of_calls
    assert of_calls <= again


def test_of_two_events_about_the_same_the_one_that_is_known_is_told(calls: Batch, stream: Watch) -> None:
    known, again = stored(stream), stored(lived(calls))
    assert {e.id for e in united(known, again)} == {e.id for e in known}
    assert {e.id for e in united([], again)} == {e.id for e in again}


# --- with files, a database and a state that begins later -------------------------------------------------------------


@pytest.fixture
def database(data_directory: DataDirectory) -> Iterator[Database]:
    opened = Database(data_directory.state / "detector.db")
    yield opened
    opened.close()


def past_of(data: DataDirectory, database: Database, patience_s: float = 60.0) -> Past:
    return Past(data, database.path, Settings(), patience_s=patience_s)


def ask(watch: Watch, past: Past, now: int = NOW, **params: Any) -> dict[str, Any]:
    query = parse_query({"lookbackMs": DAY, "limit": 1_000, **params}, now)
    known = past.known(query, reaches_back_to(watch, named=query.method != "auto"), now)
    return answer(watch, query, contextlib.nullcontext, known)


def late(calls: Batch) -> Watch:
    """A detector that only heard the last hour."""
    watch = make_watch()
    watch.apply(calls.take(np.flatnonzero(calls.ts >= NOW - HOUR)), live=True)
    return watch


def test_what_came_before_the_state_is_found_in_the_files(
    calls: Batch, stream: Watch, data_directory: DataDirectory, database: Database
) -> None:
    write_metrics(data_directory, calls)
    past = past_of(data_directory, database)
    found = ask(late(calls), past)
    expected = {(e.tool, e.type, e.metric) for e in stored(stream)}
    assert {(a["toolName"], a["anomalyType"], a["details"]["metric"]) for a in found["anomalies"]} >= expected
    assert found["coverage"]["calls"] == len(calls)
    assert found["coverage"]["series"] == 3
    assert found["coverage"]["sinceMs"] == T0
    assert "once more" in found["coverage"]["past"]
    past.stop()


@pytest.mark.parametrize("method", ["z-score", "moving-avg", "percentile"])
def test_a_named_method_answers_from_the_files_as_from_the_state(
    method: str, calls: Batch, stream: Watch, data_directory: DataDirectory, database: Database
) -> None:
    write_metrics(data_directory, calls)
    past = past_of(data_directory, database)
    asked = {"method": method, "sensitivity": "low", "toolName": "c"}
    expected, found = ask(stream, past, **asked), ask(late(calls), past, **asked)
    assert [a["id"] for a in found["anomalies"]] == [a["id"] for a in expected["anomalies"]]
    assert found["summary"]["total"] > 0
    past.stop()


def test_a_window_that_the_state_has_lived_through_is_not_lived_again(
    stream: Watch, data_directory: DataDirectory, database: Database
) -> None:
    found = ask(stream, past_of(data_directory, database), endMs=NOW - 6 * HOUR, lookbackMs=6 * HOUR)
    assert "past" not in found["coverage"]
    assert {a["startTs"] // HOUR for a in found["anomalies"]} <= {(T0 + hour * HOUR) // HOUR for hour in range(19)}
    assert found["anomalies"]


def test_stored_anomalies_answer_for_what_left_the_book(
    stream: Watch, data_directory: DataDirectory, database: Database
) -> None:
    for event in stream.book.events.values():
        stream.book.dirty.add(event.id)
    database.save(Position("e", 1), Engine(10), stream.book, Debts([], [], [], []))
    watch, now = Watch(Engine(10), Book()), NOW + 10 * DAY
    watch.apply(batch([now - HOUR], [100.0]), live=True)
    found = ask(watch, past_of(data_directory, database), now, endMs=NOW)
    assert {a["id"] for a in found["anomalies"]} >= {e.id for e in stored(stream)}
    assert found["coverage"]["past"] == NOTHING_KEPT
    assert found["coverage"]["storedAnomalies"] >= len(stored(stream))


def test_a_past_that_takes_long_is_said_to_be_under_way_and_there_later(
    calls: Batch, data_directory: DataDirectory, database: Database
) -> None:
    write_metrics(data_directory, calls)
    past, watch = past_of(data_directory, database, patience_s=0.0), late(calls)
    first = ask(watch, past)
    assert first["coverage"]["past"] == STILL_READ
    work = past._begun(next(iter(past._kept)))
    assert work is not None
    assert work.done.wait(60)
    assert "once more" in ask(watch, past)["coverage"]["past"]
    past.stop()


def test_more_calls_than_may_be_read_leave_tools_out_and_say_so(
    calls: Batch, data_directory: DataDirectory, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_module, "MAX_CALLS", 1_000)
    write_metrics(data_directory, calls)
    past = past_of(data_directory, database)
    assert ask(late(calls), past)["coverage"]["toolsNotRead"] > 0
    past.stop()


class Deaf:
    """A courier that tells nobody."""

    waiting = 0

    def offer(self, name: str, anomaly: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


def test_after_a_rebuild_the_past_has_the_same_anomalies(
    calls: Batch, data_directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [T0]
    monkeypatch.setattr(state_module, "clock_ms", lambda: clock[0])
    state = DetectorState(data_directory, Settings(), Deaf())  # type: ignore[arg-type]  # all that is asked of a courier
    state.load()
    for seq, now in enumerate(range(T0 + MINUTE, NOW + MINUTE, MINUTE), start=1):
        clock[0] = now
        part = calls.take(np.arange(*np.searchsorted(calls.ts, [now - MINUTE, now])))
        if state.apply(Entry("e", seq, now, part), now, live=True) or state.tick(now):
            state.save(Position("e", seq))
            state.saved(now)
    write_metrics(data_directory, calls)
    past = Past(data_directory, state.database.path, Settings(), patience_s=60.0)
    asked = {"endMs": NOW - 2 * HOUR, "lookbackMs": 20 * HOUR}
    answered = ask(state.watch, past, **asked)
    before = answered["anomalies"]
    state.rebuild(store_snapshot(data_directory, "new", 9), "new epoch")
    again = ask(state.watch, past, **asked)
    after = again["anomalies"]
    assert again["coverage"]["calls"] == answered["coverage"]["calls"]
    keys = ("id", "anomalyType", "toolName", "startTs")
    assert sorted(tuple(a[k] for k in keys) for a in after) == sorted(tuple(a[k] for k in keys) for a in before)
    assert len({a["toolName"] for a in before}) == 3
    assert not state.unswept_until_ms
    state.close()


@pytest.mark.parametrize("reached_ms", [NOW - 3 * HOUR, NOW - 3 * HOUR + 20_123, NOW])
def test_calls_that_the_state_and_the_files_both_know_are_counted_once(calls: Batch, reached_ms: int) -> None:
    whole = calls.take(np.flatnonzero(calls.ts >= NOW - 6 * HOUR))
    watch = make_watch()
    for part in cut(whole, 500):
        watch.apply(part, live=True)
    known = Known(replayed=lived(whole.take(np.flatnonzero(whole.ts < reached_ms))))
    query = parse_query({"lookbackMs": 6 * HOUR}, NOW)
    coverage = answer(watch, query, contextlib.nullcontext, known)["coverage"]
    assert (coverage["calls"], coverage["series"]) == (len(whole), 3)


def test_a_window_without_calls_or_anomalies_is_answered_at_once(
    data_directory: DataDirectory, database: Database
) -> None:
    watch, past = make_watch(), past_of(data_directory, database)
    for end in (0, NOW - 3 * DAY, NOW, 2**53):
        found = ask(watch, past, endMs=end)
        assert not found["anomalies"]
    assert not Known().note
