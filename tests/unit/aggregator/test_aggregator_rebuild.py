"""A rebuild says what the metrics say, keeps what is older than they are, and counts nothing twice."""

from __future__ import annotations

import json

import pytest

from perfmon.paths import DataDirectory
from services.aggregator.shell.state import FILES_ALONE
from shared.consumer import Entry, Position, StoreSnapshot
from shared.timespan import DAY_MS, HOUR_MS, iso
from tests.unit.aggregator.aggregator_kit import MIDNIGHT, Aggregator, call, matches, total
from tests.unit.aggregator.naive import Call, batch_of


def write_metrics(data: DataDirectory, some: list[Call]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for each in some:
        relative = f"{iso(each.ts)[:10]}/{each.server}/{each.tool}.jsonl"
        path = data.metrics / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        line = {
            "timestamp": iso(each.ts),
            "mcpServer": each.server,
            "toolName": each.tool,
            "duration": each.duration,
            "success": each.ok,
            "error": None,
            "resource": None,
        }
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        sizes[relative] = path.stat().st_size
    return sizes


def rebuilt(aggregator: Aggregator, sizes: dict[str, int]) -> None:
    aggregator.snapshot = sizes
    aggregator.epoch, aggregator.seq = "new", 7
    aggregator.state.rebuild(StoreSnapshot(Position("new", 7), aggregator.snapshot), "test")
    aggregator.save(now_ms=0)


def test_a_rebuild_says_what_the_metrics_say_and_keeps_older_aggregates(aggregator: Aggregator) -> None:
    old, today = [call(MIDNIGHT - 5 * DAY_MS)], [call(MIDNIGHT + at * 100_000, float(at)) for at in range(50)]
    aggregator.commit(*old, *today[:20])
    aggregator.settle()
    sizes = write_metrics(aggregator.data, today)
    rebuilt(aggregator, sizes)
    matches(aggregator.rows(), old + today)
    aggregator.journal.clear()
    aggregator.kill()
    assert (aggregator.epoch, aggregator.seq) == ("new", 7)
    matches(aggregator.rows(), old + today)
    aggregator.settle()
    matches(aggregator.rows(), old + today)
    assert total(aggregator.data.daily, "2024-02-29.json") == 50


def test_a_rebuild_reads_no_byte_beyond_its_position_and_survives_bad_lines(aggregator: Aggregator) -> None:
    sizes = write_metrics(aggregator.data, [call(MIDNIGHT), call(MIDNIGHT + 1)])
    path = aggregator.data.metrics / next(iter(sizes))
    bad = b'null\n{"duration":1e999}\n' + path.read_bytes().splitlines()[0].replace(
        b'"duration": 1.0', b'"duration": -5'
    )
    path.write_bytes(bad + b"\n" + path.read_bytes())
    sizes = {name: path.stat().st_size for name in sizes}
    write_metrics(aggregator.data, [call(MIDNIGHT + 2)])
    rebuilt(aggregator, sizes)
    assert aggregator.rollup()["total"]["count"] == 2


def test_killed_within_a_rebuild_nothing_has_changed(aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch) -> None:
    aggregator.commit(call(MIDNIGHT))
    aggregator.save(now_ms=0)
    aggregator.snapshot = write_metrics(aggregator.data, [call(MIDNIGHT), call(MIDNIGHT + 1)])
    aggregator.state.rebuild(StoreSnapshot(Position("new", 7), aggregator.snapshot), "test")
    aggregator.kill()
    assert aggregator.seq == 1
    assert aggregator.rollup()["total"]["count"] == 1


def test_a_rebuild_spills_to_disk_when_there_is_much(aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.aggregator.shell.rebuild.SPILL_BYTES", 0)
    some = [call(MIDNIGHT + at * 50_000, float(at), tool) for at in range(40) for tool in ("x", "y")]
    rebuilt(aggregator, write_metrics(aggregator.data, some))
    matches(aggregator.rows(), some)
    aggregator.settle()
    matches(aggregator.rows(), some)


def test_a_rebuild_leaves_alone_an_hour_whose_metrics_are_mostly_gone(aggregator: Aggregator) -> None:
    full = [call(MIDNIGHT + HOUR_MS + at) for at in range(10)]
    early, late = call(MIDNIGHT), call(MIDNIGHT + 2 * HOUR_MS)
    aggregator.commit(*full)
    aggregator.settle()
    aggregator.state.database.close()
    for path in aggregator.data.state.glob("aggregator.db*"):
        path.unlink()
    aggregator.start()
    assert aggregator.epoch == FILES_ALONE
    aggregator.journal.clear()
    rebuilt(aggregator, write_metrics(aggregator.data, [early, full[0], late]))
    assert aggregator.state.memory.floors.minute_ms == MIDNIGHT + 2 * HOUR_MS
    matches(aggregator.rows(), [*full, early, late])
    aggregator.kill()
    aggregator.settle()
    matches(aggregator.rows(), [*full, early, late])
    assert total(aggregator.data.hourly, "2024-02-29-00.json") == 1
    assert total(aggregator.data.hourly, "2024-02-29-01.json") == 10
    assert total(aggregator.data.daily, "2024-02-29.json") == 12


def test_files_without_their_database_are_not_counted_twice(aggregator: Aggregator) -> None:
    some = [call(MIDNIGHT), call(MIDNIGHT + HOUR_MS, tool="c")]
    older = call(MIDNIGHT - 9 * DAY_MS)
    aggregator.commit(older, *some)
    aggregator.settle()
    aggregator.state.database.close()
    for path in aggregator.data.state.glob("aggregator.db*"):
        path.unlink()
    aggregator.start()
    assert {name for _, name, _ in aggregator.state.registry.listed()} == {"b", "c"}
    assert aggregator.epoch == FILES_ALONE
    aggregator.journal.clear()
    rebuilt(aggregator, write_metrics(aggregator.data, some))
    matches(aggregator.rows(), [older, *some])
    aggregator.settle()
    late = call(MIDNIGHT - 9 * DAY_MS + 1)
    aggregator.state.apply(Entry("new", 8, 0, batch_of([late])), 0, live=True)
    matches(aggregator.rows(), [older, late, *some])
    aggregator.settle()
    matches(aggregator.rows(), [older, late, *some])
    assert total(aggregator.data.daily, "2024-02-20.json") == 2
