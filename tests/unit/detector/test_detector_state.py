"""The state survives restarts at every point: the same events, the same ids, no line twice; and bad bytes are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmon.wire import pack
from services.detector.core.answers import methods
from services.detector.core.engine import MOST_AT_HAND, Engine
from services.detector.core.events import Book, from_record, to_record
from services.detector.core.kernels.bins import BINS
from services.detector.core.state.budget import Budget
from services.detector.core.state.calls import MAX_CALLS, Calls
from services.detector.core.state.codec import BadState, decode_chunk, decode_series, encode_chunk, encode_series
from services.detector.core.state.histograms import Histograms
from services.detector.core.state.rows import SortedRows
from services.detector.core.state.series import MAX_MINUTES, SeriesState
from services.detector.core.watch import Watch
from services.detector.shell.database import FILE_NAME, Database, Debts, StateDamaged
from shared.batch import Batch, Series
from shared.consumer import Position
from tests.unit.detector.detector_kit import (
    DAY,
    HOUR,
    KEY,
    MINUTE,
    T0,
    batch,
    bursts,
    feed,
    make_watch,
    ordinary,
    stored,
    times,
)

NO_DEBTS = Debts([], [], [], [])


def faulty(n: int = 420):
    values, ok = ordinary(n), np.ones(n, np.uint8)
    values[150:160] *= 9
    values[300:306] *= 30
    ok[300:330] = 0
    memory = np.where(np.arange(n) % 5 == 0, np.nan, 100.0)
    return batch(times(n), values, ok, memory=memory)


def copy_of(series: SeriesState) -> SeriesState:
    again = decode_series(series.key, series.number, encode_series(series), Budget())
    for chunk in sorted({int(m) // 30 for m in series.minutes.index[: series.minutes.filled]}):
        body = encode_chunk(series, chunk)
        assert body is not None
        decode_chunk(again, body)
    return again


def same_series(a: SeriesState, b: SeriesState) -> None:
    n, m = a.calls.filled, a.minutes.filled
    assert (b.calls.filled, b.minutes.filled, b.metrics) == (n, m, a.metrics)
    for kept, again in zip(a.calls.in_order(), b.calls.in_order(), strict=True):
        np.testing.assert_array_equal(kept, again)
    np.testing.assert_array_equal(a.moments, b.moments)
    np.testing.assert_array_equal(a.failures, b.failures)
    np.testing.assert_array_equal(a.tracks, b.tracks)
    np.testing.assert_array_equal(a.run, b.run)
    np.testing.assert_array_equal(a.histograms.base, b.histograms.base)
    q = a.histograms.quarters.filled
    np.testing.assert_array_equal(a.histograms.counts[:q], b.histograms.counts[:q])
    assert (a.first_ts, a.newest_ts, a.calls_total, a.calls.dropped_ts) == (
        b.first_ts, b.newest_ts, b.calls_total, b.calls.dropped_ts,
    )  # fmt: skip


def test_a_series_comes_back_from_its_bytes_as_it_was() -> None:
    watch = make_watch()
    feed(watch, faulty())
    feed(watch, batch(times(3_000, 1_000, T0 + 3 * HOUR), ordinary(3_000), cpu=np.full(3_000, 5.0)))
    series = watch.engine.series[KEY]
    same_series(series, copy_of(series))


def second_layout(series: SeriesState) -> bytes:
    """As programs before this layout wrote a series."""
    ts, x, ok = series.calls.in_order()
    hists = series.histograms
    return pack(
        {
            "layout": 2,
            "metrics": series.metrics,
            "first": series.first_ts,
            "newest": series.newest_ts,
            "total": series.calls_total,
            "forgotten": series.minutes.forgotten,
            "dropped": series.calls.dropped_ts,
            "ts": ts.tobytes(),
            "x": x.tobytes(),
            "ok": ok.tobytes(),
            "lows": hists.lows.tolist(),
            "starts": hists.starts.tolist(),
            "base": hists.base.astype(np.float64).tobytes(),
            "tracks": series.tracks.tobytes(),
            "run": series.run.tobytes(),
            "signals": series.signals.export(series.row),
        }
    )


def test_what_the_version_before_saved_is_read_without_loss_and_saved_anew() -> None:
    watch = make_watch()
    feed(watch, faulty())
    feed(watch, batch(times(3_000, 1_000, T0 + 3 * HOUR), ordinary(3_000), cpu=np.full(3_000, 5.0)))
    series = watch.engine.series[KEY]
    again = decode_series(KEY, 1, second_layout(series), Budget())
    assert again.dirty
    for chunk in sorted({int(m) // 30 for m in series.minutes.index[: series.minutes.filled]}):
        decode_chunk(again, encode_chunk(series, chunk) or b"")
    same_series(series, again)
    same_series(series, copy_of(again))


def test_without_room_for_quarter_hours_minutes_and_named_methods_go_on() -> None:
    calls = batch(times(1_400, MINUTE), ordinary(1_400))
    watch = Watch(Engine(10, Budget(0)), Book())
    feed(watch, calls, 3)
    series = watch.engine.series[KEY]
    assert series.histograms.quarters.filled == 0
    assert series.minutes.filled == 2
    assert series.minutes.index[1] == T0 // MINUTE + 1_399
    for method in ("z-score", "moving-avg", "percentile"):
        found = list(methods.find(series, method, "high", T0, T0 + DAY))
        assert all(np.isfinite(part.groups).all() for part in found)
    same_series(series, copy_of(series))


def test_calls_find_room_in_a_spent_budget_without_a_gap() -> None:
    """Minutes that are opened by the kernel and those opened by the state are the same, whatever batches calls come in."""
    calls = batch(times(1_400, MINUTE), ordinary(1_400))
    one_by_one, together = Watch(Engine(10, Budget(20_000)), Book()), Watch(Engine(10, Budget(20_000)), Book())
    feed(one_by_one, calls, 1)
    feed(together, calls, 7)
    for watch in (one_by_one, together):
        minutes = watch.engine.series[KEY].minutes
        assert np.all(np.diff(minutes.index[: minutes.filled]) == 1)
        assert minutes.index[minutes.filled - 1] == T0 // MINUTE + 1_399
        assert minutes.forgotten == minutes.index[0] - 1
        assert not minutes.column(0)[minutes.filled :].any()


@pytest.mark.parametrize("every", [1, 13, 50])
def test_a_restart_after_any_batch_changes_no_event_and_doubles_no_line(tmp_path: Path, every: int) -> None:
    whole, undisturbed = faulty(), make_watch()
    feed(undisturbed, whole, every)
    expected = [(e.id, e.start_ms, e.end_ms, e.points, e.value, e.severity) for e in stored(undisturbed)]
    lines = [(line.event.id, line.phase) for line in undisturbed.take_lines()]
    assert len(expected) == 3
    database = Database(tmp_path / FILE_NAME)
    watch, seen = make_watch(), []
    for seq, at in enumerate(range(0, len(whole), every), start=1):
        watch.apply(whole.take(np.arange(at, min(at + every, len(whole)))), live=True)
        seen += [(line.event.id, line.phase) for line in watch.take_lines()]
        database.save(Position("epoch", seq), watch.engine, watch.book, NO_DEBTS)
        if every > 1 or at % 30 == 0:
            engine, book = Engine(100), Book()
            assert database.load(engine, book, 0) == Position("epoch", seq)
            same_series(watch.engine.series[KEY], engine.series[KEY])
            watch = Watch(engine, book)
    assert [(e.id, e.start_ms, e.end_ms, e.points, e.value, e.severity) for e in stored(watch)] == expected
    assert seen == lines
    database.close()


@pytest.mark.parametrize("back", [1, 3, 8])
def test_entries_replayed_from_an_older_place_give_the_same_ids(tmp_path: Path, back: int) -> None:
    """State and place are one transaction, so a crash repeats what came after both."""
    whole = faulty()
    batches = [whole.take(np.arange(at, at + 10)) for at in range(0, len(whole), 10)]
    undisturbed = make_watch()
    for part in batches:
        undisturbed.apply(part, live=True)
    database = Database(tmp_path / FILE_NAME)
    watch, place = make_watch(), 0
    seen: set[tuple[str, str]] = set()
    for number in range(len(batches)):
        watch.apply(batches[number], live=True)
        seen |= {(line.event.id, line.phase) for line in watch.take_lines()}
        if number % back == 0:
            database.save(Position("e", number + 1), watch.engine, watch.book, NO_DEBTS)
        engine, book = Engine(100), Book()
        restored = database.load(engine, book, 0)
        place = 0 if restored is None else restored.seq
        watch = Watch(engine, book)
        for part in batches[place : number + 1]:
            watch.apply(part, live=False)
        seen |= {(line.event.id, line.phase) for line in watch.take_lines()}
    assert [e.id for e in stored(watch)] == [e.id for e in stored(undisturbed)]
    assert seen == {(line.event.id, line.phase) for line in undisturbed.take_lines()}
    database.close()


def test_history_is_saved_in_chunks_and_only_what_changed(tmp_path: Path) -> None:
    database = Database(tmp_path / FILE_NAME)
    watch = make_watch()
    feed(watch, batch(times(240 * 6), ordinary(240 * 6)))
    assert len(watch.engine.series[KEY].dirty_chunks) == 12
    database.save(Position("e", 1), watch.engine, watch.book, NO_DEBTS)
    assert not watch.engine.series[KEY].dirty
    feed(watch, batch(times(10, start=T0 + 6 * HOUR), ordinary(10)))
    assert len(watch.engine.series[KEY].dirty_chunks) == 1
    database.close()


def test_pruning_forgets_what_no_lookback_reaches(tmp_path: Path) -> None:
    database = Database(tmp_path / FILE_NAME)
    watch = make_watch()
    feed(watch, faulty())
    database.save(Position("e", 1), watch.engine, watch.book, NO_DEBTS)
    feed(watch, batch(times(100, start=T0 + 3 * DAY), ordinary(100)))
    database.save(Position("e", 2), watch.engine, watch.book, NO_DEBTS)
    database.prune(watch.engine, T0 + DAY, T0 + DAY)
    engine, book = Engine(100), Book()
    database.load(engine, book, 0)
    assert engine.series[KEY].minutes.index[0] >= (T0 + 3 * DAY) // MINUTE
    assert not book.events
    database.close()


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x80", b"\x81\xa6layout\x63"])
def test_bytes_that_are_no_series_are_refused(damage: bytes) -> None:
    with pytest.raises(BadState):
        decode_series(KEY, 1, damage, Budget())


@given(st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=80, deadline=None)
def test_damaged_bytes_are_refused_or_read_but_never_crash(at: int, value: int) -> None:
    watch = make_watch()
    feed(watch, batch(times(60), ordinary(60)))
    series = watch.engine.series[KEY]
    for data, read in (
        (encode_series(series), lambda b: decode_series(KEY, 1, b, Budget())),
        (encode_chunk(series, T0 // MINUTE // 30) or b"", lambda b: decode_chunk(copy_of(series), b)),
    ):
        damaged = bytearray(data)
        damaged[at % len(damaged)] = value
        try:
            read(bytes(damaged))
        except BadState:
            continue


def test_an_event_of_an_older_version_is_read_without_what_is_no_longer_kept() -> None:
    watch = make_watch()
    feed(watch, batch(times(600), bursts(600)))
    for event in watch.book.events.values():
        assert from_record(to_record(event) | {"opened_live": True}) == event
    assert watch.book.events


def test_a_damaged_database_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    database = Database(tmp_path / FILE_NAME)
    watch = make_watch()
    feed(watch, faulty())
    database.save(Position("e", 1), watch.engine, watch.book, NO_DEBTS)
    database._connection.execute("UPDATE series SET state = x'00'")
    with pytest.raises(StateDamaged):
        database.load(Engine(10), Book(), 0)
    assert database.load(Engine(10), Book(), 0) is None
    assert (tmp_path / f"{FILE_NAME}.unusable-1").exists()
    database.close()
    (tmp_path / FILE_NAME).write_bytes(b"this is not a database at all" * 100)
    again = Database(tmp_path / FILE_NAME)
    assert again.set_aside_total == 1
    again.close()


# --- the parts -------------------------------------------------------------------------------------------------------


def test_calls_keep_the_latest_and_say_since_when_they_are_whole() -> None:
    calls = Calls(1, Budget())
    ts = times(5_000, 1_000)
    for at in range(0, 5_000, 70):
        part = ts[at : at + 70]
        calls.append(part, part[None, :].astype(float), np.ones(len(part), np.uint8))
    kept = calls.between(0, int(ts[-1]))[0]
    assert 0.75 * MAX_CALLS <= len(kept) <= MAX_CALLS
    assert kept.tolist() == ts[-len(kept) :].tolist()
    assert calls.dropped_ts == ts[-len(kept) - 1]
    assert calls.covers(int(kept[0]))
    assert not calls.covers(calls.dropped_ts)


@given(st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=30), max_size=12), st.integers(0, 4_000))
def test_rows_are_sorted_unique_and_never_more_than_allowed(batches: list[list[int]], budget: int) -> None:
    rows = SortedRows(4, ((np.float64, (2,)),), 40, 100, Budget(budget))
    for keys in batches:
        rows.make_room(np.unique(np.asarray(keys, np.int64)))
        present = rows.index[: rows.filled]
        assert np.all(np.diff(present) > 0)
        assert rows.filled <= 40
        for key in present:
            place = int(np.searchsorted(present, key))
            assert rows.columns[0][place, 0] in (0, key), "values stay with their key"
            rows.columns[0][place] = key
        assert not rows.columns[0][rows.filled :].any()
        assert max(keys) in present or max(keys) < rows.newest


def test_a_window_of_bins_widens_without_losing_a_count() -> None:
    hists = Histograms(2, Budget())
    hists.make_bins(0, 100, 110)
    hists.make_bins(1, 5, 5)
    hists.quarters.make_room(np.asarray([7]))
    hists.base_of(0)[3], hists.base_of(1)[2] = 5.0, 7.0
    hists.counts[0, 3] = 4
    for value in (1e-9, 1e300, 3.0):
        hists.make_bins(0, value, value)
        hists.make_bins(1, value, value)
    assert hists.base_of(0).sum() == 5.0
    assert hists.base_of(1).sum() == 7.0
    assert hists.counts[0].sum() == 4
    assert len(hists.base_of(0)) == BINS


def test_a_spent_budget_shortens_histories_and_says_so() -> None:
    watch = Watch(Engine(10, Budget(20_000)), Book())
    feed(watch, batch(times(1_400, MINUTE), ordinary(1_400)))
    series = watch.engine.series[KEY]
    assert watch.engine.budget.refused_total > 0
    assert series.minutes.filled < MAX_MINUTES
    assert series.since() > series.first_ts
    assert series.since() == int(series.minutes.index[0]) * MINUTE
    assert len(stored(watch)) == 0


def test_a_day_of_a_busy_series_stays_within_the_stated_bytes() -> None:
    watch = make_watch()
    n = 1_440
    feed(watch, batch(times(n, MINUTE), ordinary(n)))
    assert watch.engine.series[KEY].size_bytes < 250_000
    feed(watch, batch(times(n, MINUTE, T0 + DAY), ordinary(n)))
    assert watch.engine.series[KEY].size_bytes < 250_000
    assert watch.engine.series[KEY].minutes.filled <= MAX_MINUTES


@pytest.mark.parametrize(("tools", "kept"), [(2, True), (MOST_AT_HAND + 1, False)])
def test_arrays_are_kept_at_hand_of_few_tools_only_also_of_those_that_begin_together(tools: int, kept: bool) -> None:
    engine = Engine(tools)
    names = tuple(Series("server", f"tool-{number}") for number in range(tools))
    engine.apply(
        Batch(names, np.arange(tools, dtype=np.uint32), times(tools, 1), ordinary(tools), np.ones(tools, np.uint8))
    )
    assert {one.at_hand is not None for one in engine.series.values()} == {kept}
