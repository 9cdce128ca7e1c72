"""A server whose tools fail together has an event of its own, and none that a tool's own event explains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmon.paths import DataDirectory
from services.detector.core.engine import Engine
from services.detector.core.events import Book, Event
from services.detector.core.kernels import error_mixture as place
from services.detector.core.kernels import judge, server_errors
from services.detector.core.kernels.twins_servers import ASKED, Company
from services.detector.core.rebuilding import join, set_aside
from services.detector.core.state.codec import BadState, decode_server, encode_servers
from services.detector.core.telling.explain import anomaly
from services.detector.core.telling.narrative import summary
from services.detector.core.telling.phrases import concerns_tool
from services.detector.core.timeline import Timeline
from services.detector.core.watch import Watch
from services.detector.shell.database import Database, Debts
from services.detector.shell.files import AnomalyFiles, line_of
from shared.batch import Batch, Series, concatenate
from shared.consumer import Position
from tests.unit.detector.against_twins import against_twin
from tests.unit.detector.detector_kit import DAY, MINUTE, T0, cut, make_watch, stored

STEP = 5_000


def feed(watch: Watch, whole: Batch, size: int = 50) -> None:
    """Calls by whose time minutes pass, without sweeps."""
    timeline = Timeline(watch, 10_000 * DAY)
    for part in cut(whole, size):
        timeline.take(part, live=True)


calls = st.lists(
    st.tuples(
        st.sampled_from([0, 500, 3_000, 61_000, 2_000_000, 90_000_000, -30_000, -1_000_000]),
        st.integers(0, 2),
        st.booleans(),
        st.integers(1, 25),
    ),
    min_size=1,
    max_size=25,
)


def spread(runs: list[tuple[int, int, bool, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    each = [(step, code, good) for step, code, good, times in runs for _ in range(times)]
    ts = T0 + np.cumsum(np.asarray([step for step, *_ in each], np.int64))
    return np.asarray([c[1] for c in each], np.uint32), ts, np.asarray([c[2] for c in each], np.uint8)


def kernel(columns: tuple[np.ndarray, ...], rates: np.ndarray, busy: np.ndarray, rows: np.ndarray) -> list[float]:
    """Kinds of what happened in these calls; whatever is asked is answered with yes."""
    out, at, seen = np.zeros((4, server_errors.HAPPENING)), 0, []
    while at < len(columns[0]):
        found, at = server_errors.judge_servers(*columns, np.asarray([1, 1, 1]), rates, busy, rows, out, at)
        seen += [float(h[1]) for h in out[:found]]
        if seen and seen[-1] == ASKED:
            server_errors.open_event(rows[1])
    return seen


some_rates = st.lists(st.sampled_from([0.0, 1e-4, 0.01, 0.3, 0.999]), min_size=3, max_size=3).map(np.asarray)
some_busy = st.lists(st.integers(0, 1), min_size=3, max_size=3).map(lambda bits: np.asarray(bits, np.uint8))


@against_twin(server_errors.judge_servers, server_errors.open_event)
@given(calls, some_rates, some_busy)
@settings(max_examples=150, deadline=None)
def test_servers_are_judged_as_by_the_twin_and_however_the_calls_are_cut_into_batches(runs, rates, busy) -> None:
    columns = spread(runs)
    twin, rows = Company(), np.zeros((2, server_errors.SIZE))
    seen = []
    for i, (code, t, good) in enumerate(zip(*columns, strict=True)):
        kinds = kernel(tuple(column[i : i + 1].copy() for column in columns), rates, busy, rows)
        # The pace is the windows' matter, of which the twin knows nothing.
        twin.test.rate = float(rows[1, place.PACE])
        assert twin.judge(float(t), not good, rates[code] or 0.5, bool(busy[code])) == kinds
        if kinds and kinds[-1] == ASKED:
            assert twin.open() == (rows[1, place.PHASE] == judge.OPEN)
        seen += kinds
    whole = np.zeros_like(rows)
    assert kernel(columns, rates, busy, whole) == seen
    assert np.array_equal(whole, rows)
    assert np.isfinite(rows).all()
    assert not rows[0].any()


@against_twin(server_errors.explained)
@given(calls, some_rates, st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_what_a_tools_own_event_explains_is_forgotten_as_by_the_twin(runs, rates, every: int) -> None:
    columns, busy = spread(runs), np.zeros(3, np.uint8)
    twin, rows = Company(), np.zeros((2, server_errors.SIZE))
    for i, (code, t, good) in enumerate(zip(*columns, strict=True)):
        if i % every == 0:
            server_errors.explained(rows[1])
            twin.explained()
        kinds = kernel(tuple(column[i : i + 1].copy() for column in columns), rates, busy, rows)
        twin.test.rate = float(rows[1, place.PACE])
        assert twin.judge(float(t), not good, rates[code] or 0.5, False) == kinds
        if kinds and kinds[-1] == ASKED:
            assert twin.open() == (rows[1, place.PHASE] == judge.OPEN)
        assert rows[1, place.MIXTURE : place.MIXTURE + place.RATES] == pytest.approx(twin.test.mixture)


def test_the_twins_own_streams_ask_rise_and_end() -> None:
    """Else the test above would prove little."""
    rows, kinds = np.zeros((2, server_errors.SIZE)), set()
    n = 2_000
    ok = np.ones(n, np.uint8)
    ok[500:520] = ok[600:612] = 0
    ts = T0 + np.arange(n, dtype=np.int64) * 10_000
    codes = (np.arange(n) % 3).astype(np.uint32)
    kinds |= set(kernel((codes, ts, ok), np.full(3, 0.01), np.zeros(3, np.uint8), rows))
    assert kinds >= {ASKED, 2.0}


# --- streams ---------------------------------------------------------------------------------------------------------


def server(
    n: int, tools: int, failed: np.ndarray, start: int = T0, every_ms: int = STEP, name: str = "server"
) -> Batch:
    """Calls of the tools in turn; `failed` bool[n]."""
    keys = tuple(Series(name, f"tool{i}") for i in range(tools))
    codes = (np.arange(n) % tools).astype(np.uint32)
    ts = start + np.arange(n, dtype=np.int64) * every_ms
    return Batch(keys, codes, ts, np.full(n, 100.0), (~failed).astype(np.uint8))


def of_server(watch: Watch) -> list[Event]:
    return [e for e in stored(watch, "error_rate_spike") if e.evidence.get("scope") == "server"]


def chance(n: int, rate: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(n) < rate


def test_a_server_of_which_every_tool_fails_a_little_has_one_event() -> None:
    watch, tools, n = make_watch(), 40, 8_000
    failed = chance(n, 0.005, 1)
    failed[6_000:6_400] = chance(400, 0.06, 2)  # ten calls of each
    feed(watch, server(n, tools, failed), 100)
    (event,) = of_server(watch)
    assert event.type == "error_rate_spike"
    assert abs(event.start_ms - (T0 + 6_000 * STEP)) < 10 * MINUTE
    assert event.end_ms is not None
    assert abs(event.end_ms - (T0 + 6_400 * STEP)) < 10 * MINUTE
    assert event.evidence["toolsAffected"] >= 3
    assert sum(tool["failures"] for tool in event.evidence["tools"]) <= event.points + 5
    assert 0 < event.median < 2
    assert 2 < event.value < 12


def test_quiet_tools_that_fail_at_the_same_time_are_found_together() -> None:
    watch, tools = make_watch(), 20
    for hour in range(30):
        failed = np.full(tools, hour == 29)
        watch.apply(server(tools, tools, failed, T0 + hour * 60 * MINUTE, 500), live=True)
    assert not of_server(watch), "for a minute it may yet be one tool's"
    watch.tick(T0 + 29 * 60 * MINUTE + 2 * MINUTE)
    (event,) = of_server(watch)
    assert (event.points, event.calls, event.value) == (20, 20, 100.0)
    assert event.severity == "warning", "for ten seconds so far"
    assert len(stored(watch)) == 1
    assert [t.event.id for t in watch.take_raises()] == [event.id]
    watch.apply(server(tools, tools, np.full(tools, True), T0 + 30 * 60 * MINUTE, 500), live=True)
    watch.tick(T0 + 30 * 60 * MINUTE + MINUTE)
    assert event.severity == "critical"


def test_what_one_tool_explains_is_no_event_of_the_server() -> None:
    watch, tools, n = make_watch(), 10, 12_000
    failed = chance(n, 0.005, 3)
    failed[8_000:9_000:10] = True  # tool0 alone
    feed(watch, server(n, tools, failed), 100)
    assert not of_server(watch)
    assert {e.tool for e in stored(watch, "error_rate_spike")} == {"tool0"}


def test_a_server_whose_tools_all_alarm_by_themselves_has_no_event_besides() -> None:
    watch, tools, n = make_watch(), 5, 6_000
    failed = chance(n, 0.005, 4)
    failed[4_000:4_400] = True
    feed(watch, server(n, tools, failed, every_ms=500), 50)
    assert not of_server(watch)
    assert len({e.tool for e in stored(watch, "error_rate_spike")}) == tools


def test_failures_as_usual_are_no_event_of_a_server() -> None:
    watch, n = make_watch(), 60_000
    feed(watch, server(n, 25, chance(n, 0.03, 5), every_ms=30_000), 2_000)
    assert len(of_server(watch)) <= 3  # one in 20,000 calls


def test_servers_do_not_hear_of_each_other() -> None:
    watch, n = make_watch(), 4_000
    failed = chance(n, 0.005, 6)
    ill = failed | (chance(n, 0.1, 7) & (np.arange(n) >= 3_000))
    whole = concatenate([server(n, 20, failed, name="well"), server(n, 20, ill, name="ill")])
    feed(watch, whole.take(np.argsort(whole.ts, kind="stable")))
    assert {e.server for e in of_server(watch)} == {"ill"}


def test_the_sweep_and_a_rebuild_leave_an_event_of_a_server_alone() -> None:
    watch, n = make_watch(), 4_000
    failed = chance(n, 0.002, 7)
    failed[3_700:] |= chance(300, 0.08, 8)
    feed(watch, server(n, 30, failed), 100)
    (event,) = of_server(watch)
    now_ms = T0 + n * STEP
    watch.sweep(watch.engine.series.values(), now_ms)
    watch.reconcile()
    watch.tick(now_ms)
    assert event.end_ms is None
    watch.tick(now_ms + 120 * MINUTE)
    assert event.ended == "no more calls"


def test_an_event_of_a_server_goes_on_when_its_tools_are_read_back_one_after_the_other() -> None:
    watch, n = make_watch(), 4_000
    failed = chance(n, 0.002, 7)
    failed[3_700:] |= chance(300, 0.08, 8)
    whole = server(n, 30, failed)
    feed(watch, whole, 100)
    (event,) = of_server(watch)
    again = Watch(Engine(100), watch.book)
    under_way = set_aside(again, watch.engine)
    for code in range(30):
        again.apply(whole.take(np.flatnonzero(whole.codes == code)), live=False)
    join(again, under_way)
    assert of_server(again) == [event]
    assert event.end_ms is None
    again.tick(T0 + n * STEP + 120 * MINUTE)
    assert event.ended == "no more calls"


def test_a_servers_row_survives_as_bytes_and_damage_is_noticed() -> None:
    watch = make_watch()
    feed(watch, server(500, 5, chance(500, 0.1, 9)), 100)
    servers = watch.engine.servers
    ((name, data),) = encode_servers(servers)
    assert name == "server"
    assert np.array_equal(decode_server(data), servers.rows[servers.numbers["server"]])
    for bad in (b"", data[:-1], data.replace(b"row", b"wor")):
        with pytest.raises(BadState):
            decode_server(bad)


def test_a_server_without_tools_is_forgotten() -> None:
    watch = make_watch()
    feed(watch, server(100, 5, chance(100, 0.1, 9)), 100)
    watch.engine.forget_after(T0 - 1)
    assert not watch.engine.servers.numbers
    assert watch.engine.servers.gone == {"server"}
    assert not watch.engine.servers.rows.any()


def test_a_restart_in_the_midst_of_it_changes_nothing(tmp_path: Path) -> None:
    n, cut_at = 4_000, 3_820
    failed = chance(n, 0.002, 7)
    failed[3_700:] |= chance(300, 0.08, 8)
    whole = make_watch()
    feed(whole, server(n, 30, failed), 20)
    first = make_watch()
    feed(first, server(cut_at, 30, failed[:cut_at]), 20)
    database = Database(tmp_path / "detector.db")
    database.save(Position("epoch", 1), first.engine, first.book, Debts([], [], [], []))
    database.close()
    database, engine, book = Database(tmp_path / "detector.db"), Engine(100), Book()
    assert database.load(engine, book, 0) == Position("epoch", 1)
    database.close()
    second = Watch(engine, book)
    assert not engine.servers.dirty
    rest = server(n, 30, failed).take(np.arange(cut_at, n))
    feed(second, rest, 20)
    assert [(e.id, e.points, e.calls) for e in of_server(second)] == [
        (e.id, e.points, e.calls) for e in of_server(whole)
    ]
    assert of_server(whole)


def test_a_server_that_went_goes_from_the_database(tmp_path: Path) -> None:
    watch, database = make_watch(), Database(tmp_path / "detector.db")
    feed(watch, server(100, 5, chance(100, 0.1, 9)), 100)
    database.save(Position("epoch", 1), watch.engine, watch.book, Debts([], [], [], []))
    watch.engine.forget_after(T0 - 1)
    database.save(Position("epoch", 2), watch.engine, watch.book, Debts([], [], [], []))
    engine = Engine(100)
    database.load(engine, Book(), 0)
    database.close()
    assert not engine.servers.numbers


def test_an_event_of_a_server_reads_as_one() -> None:
    watch, n = make_watch(), 4_000
    failed = chance(n, 0.002, 7)
    failed[3_700:] |= chance(300, 0.08, 8)
    feed(watch, server(n, 30, failed), 100)
    watch.tick(T0 + n * STEP)
    (event,) = of_server(watch)
    assert "tools of this server fail more than usual together, most of all “tool" in event.recommendations[0]
    assert f"{event.evidence['toolsAffected']} tools of “server”" in summary(event)


def test_an_event_of_a_server_is_listed_under_no_tool_and_found_by_each_of_them() -> None:
    watch, n = make_watch(), 4_000
    failed = chance(n, 0.002, 7)
    failed[3_700:] |= chance(300, 0.08, 8)
    feed(watch, server(n, 30, failed), 100)
    watch.tick(T0 + n * STEP)
    (event,) = of_server(watch)
    told = anomaly(event, full=True, iso_times=True)
    assert (told["toolName"], told["scope"], told["foundIn"]) == ("(all tools)", "server", event.tool)
    failing = [tool["tool"] for tool in event.evidence["tools"]]
    assert [concerns_tool(event, tool) for tool in (None, failing[-1], "another")] == [True, True, False]


def test_an_event_of_a_server_is_read_back_from_the_files(tmp_path: Path) -> None:
    watch, n = make_watch(), 4_000
    failed = chance(n, 0.002, 7)
    failed[3_700:] |= chance(300, 0.08, 8)
    feed(watch, server(n, 30, failed), 100)
    watch.tick(T0 + n * STEP)
    (event,) = of_server(watch)
    data = DataDirectory(tmp_path)
    data.create()
    files = AnomalyFiles(data)
    files.append([line_of(event, "open")], T0)
    (again,) = files.events(T0)
    assert (again.id, again.tool, again.found_as) == (event.id, event.tool, event.found_as)


@pytest.mark.parametrize("quiet_minutes", [0, 240])
def test_an_event_of_a_server_is_recognised_when_its_row_is_lost_too(quiet_minutes: int) -> None:
    """As without a database: the files know the event, its tools are read back one after the other."""
    watch, n = make_watch(), 4_000
    failed = chance(n, 0.002, 7)
    failed[3_700:] |= chance(300, 0.08, 8)
    whole = concatenate(
        [
            server(n, 30, failed),
            server(quiet_minutes * 4, 30, chance(quiet_minutes * 4, 0.002, 9), T0 + n * STEP, 15_000),
        ]
    )
    feed(watch, whole.take(np.arange(n)), 100)
    (event,) = of_server(watch)
    again = Watch(Engine(100), watch.book)
    under_way = set_aside(again, Engine(100))
    assert not under_way.rows
    for code in range(30):
        again.apply(whole.take(np.flatnonzero(whole.codes == code)), live=False)
    join(again, under_way)
    assert of_server(again) == [event]
    if quiet_minutes:
        assert event.ended == "back inside"
        assert abs(event.last_ms - (T0 + n * STEP)) < 20 * MINUTE
        return
    assert event.end_ms is None
    again.tick(T0 + n * STEP + 120 * MINUTE)
    assert event.ended == "no more calls"
