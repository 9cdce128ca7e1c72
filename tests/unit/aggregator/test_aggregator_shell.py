"""The aggregator's state on a real directory: killed anywhere it neither loses nor doubles; what others put there is survived."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmon.paths import DataDirectory
from services.aggregator.core.planner import plan
from services.aggregator.core.query import from_blocks
from services.aggregator.core.request import parse_request
from services.aggregator.core.schedule import GRACE_MS, RETRY_MS
from services.aggregator.core.tiers import HOUR, Node
from services.aggregator.shell.files import AggregateFiles
from services.aggregator.shell.state import FILES_ALONE, AggregatorState
from shared.batch import Batch
from shared.consumer import Entry, Position, StoreSnapshot
from shared.timespan import DAY_MS, HOUR_MS, MINUTE_MS, iso
from tests.unit.aggregator.naive import T0, Call, assert_same, batch_of, calls, grouped

MIDNIGHT = T0 + 2 * MINUTE_MS
#: Long after everything here has ended.
LATER = MIDNIGHT + 3 * DAY_MS


class Killed(BaseException):
    """kill -9, between two steps."""


class Aggregator:
    """One life of the state after the other on one directory; `journal` is what ingest has committed."""

    def __init__(self, data: DataDirectory) -> None:
        self.data = data
        self.journal: list[Batch] = []
        self.asked_for_cleanup: list[str] = []
        self.snapshot: dict[str, int] = {}
        self.clock_ms = 0
        self.start()

    def start(self) -> None:
        self.state = AggregatorState(self.data, ask_for_cleanup=self.asked_for_cleanup.append)
        position = self.state.load()
        self.seq = position.seq if position else 0
        self.epoch = position.epoch if position else "e"
        if self.epoch == FILES_ALONE:
            return  # the consumer asks for a rebuild
        for seq in range(self.seq + 1, len(self.journal) + 1):
            self.apply(seq)

    def kill(self) -> None:
        self.state.database.close()
        self.start()

    def apply(self, seq: int) -> None:
        self.state.apply(Entry(self.epoch, seq, 0, self.journal[seq - 1]), self.clock_ms, live=True)
        self.seq = seq

    def commit(self, *some: Call) -> None:
        self.journal.append(batch_of(some))
        self.apply(len(self.journal))

    def save(self, now_ms: int = LATER) -> None:
        self.state.save(Position(self.epoch, self.seq))
        self.state.saved(now_ms)

    def settle(self, now_ms: int = LATER + DAY_MS) -> None:
        """Save and write until nothing is due."""
        self.save(now_ms)
        while self.state.tick(now_ms):
            self.save(now_ms)

    def rollup(self, start_ms: int = 0, end_ms: int = LATER, **more: Any) -> dict[str, Any]:
        request = parse_request({"startMs": start_ms, "endMs": end_ms, **more})
        view = self.state.view()
        last = view.registry.last_ts()
        planned = plan(request, view.snapshot.floors, view.snapshot.first_ms, last or 0)
        tree = view.tree()
        slots = ((slot.ts_ms, tree.blocks(slot.nodes)) for slot in planned.slots)
        found = from_blocks(request, slots, view.registry)
        view.cache.close(view.watch)
        return found

    def rows(self, **more: Any) -> dict[tuple[str, str], dict[str, Any]]:
        return {(row["mcpServer"], row["toolName"]): row for row in self.rollup(**more)["rows"]}


@pytest.fixture
def aggregator(data_directory: DataDirectory) -> Aggregator:
    return Aggregator(data_directory)


def matches(found: dict[tuple[str, str], dict[str, Any]], some: list[Call]) -> None:
    wanted = grouped(some, lambda call: (call.server, call.tool))
    assert set(found) == set(wanted)
    for name, figures in wanted.items():
        assert_same(found[name], figures)


def call(ts: int, duration: float = 1.0, tool: str = "b") -> Call:
    return Call("a", tool, ts, duration, ok=True)


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def total(folder: Path, name: str) -> int:
    return sum(each["metrics"]["count"] for each in json.loads((folder / name).read_text()))


# --- killed ----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            calls(-26 * HOUR_MS, 26 * HOUR_MS, max_size=5, min_size=1),
            st.sampled_from(["save", "kill", "settle", "ask"]),
        ),
        max_size=12,
    )
)
def test_killed_between_any_two_steps_every_committed_call_counts_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    data = DataDirectory(tmp_path_factory.mktemp("killed"))
    data.create()
    try:
        aggregator = Aggregator(data)
        committed: list[Call] = []
        for step in steps:
            if isinstance(step, list):
                aggregator.commit(*step)
                committed += step
            elif step == "ask":
                matches(aggregator.rows(), committed)
            else:
                getattr(aggregator, step)()
        matches(aggregator.rows(), committed)
        aggregator.kill()
        matches(aggregator.rows(), committed)
        aggregator.settle()
        aggregator.kill()
        matches(aggregator.rows(), committed)
        for name in files_of(data.daily):
            day = [c for c in committed if iso(c.ts)[:10] == name[:10]]
            assert total(data.daily, name) == len(day)
        aggregator.state.database.close()
    finally:
        shutil.rmtree(data.runtime, ignore_errors=True)
        shutil.rmtree(data.root)


@pytest.mark.parametrize("late", [False, True])
def test_killed_after_the_file_and_before_its_mark_goes_the_file_is_written_again(
    aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    aggregator.commit(call(MIDNIGHT), call(MIDNIGHT + HOUR_MS))
    if late:
        aggregator.settle()
        aggregator.commit(call(MIDNIGHT + 1))
    aggregator.save(now_ms=0)

    def die(node: Node) -> None:
        raise Killed

    monkeypatch.setattr(aggregator.state.database, "file_written", die)
    with pytest.raises(Killed):
        aggregator.settle()
    assert total(aggregator.data.hourly, "2024-02-29-00.json") == 1 + late
    aggregator.kill()
    assert Node(HOUR, MIDNIGHT) in aggregator.state.memory.stale
    aggregator.settle()
    assert total(aggregator.data.hourly, "2024-02-29-00.json") == 1 + late
    assert total(aggregator.data.daily, "2024-02-29.json") == 2 + late
    assert aggregator.state.memory.stale == set()
    assert aggregator.rollup()["total"]["count"] == 2 + late


def test_killed_after_late_rows_of_a_held_hour_were_written_they_do_not_count_twice(
    aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregator.commit(call(MIDNIGHT))
    aggregator.settle()
    state = aggregator.state
    state.memory.raise_floors(state.memory.floors._replace(minute_ms=MIDNIGHT + 5 * HOUR_MS))
    state.database.forget_minutes(0, MIDNIGHT + 5 * HOUR_MS)
    aggregator.save()
    aggregator.commit(call(MIDNIGHT + 1))
    aggregator.save(now_ms=0)
    assert state.memory.held == {Node(HOUR, MIDNIGHT)}

    def die(node: Node) -> None:
        raise Killed

    monkeypatch.setattr(state.database, "file_written", die)
    with pytest.raises(Killed):
        aggregator.settle()
    assert total(aggregator.data.hourly, "2024-02-29-00.json") == 2
    aggregator.kill()
    aggregator.commit(call(MIDNIGHT + 2))
    aggregator.settle()
    assert aggregator.state.memory.held == set()
    assert total(aggregator.data.hourly, "2024-02-29-00.json") == 3
    assert total(aggregator.data.daily, "2024-02-29.json") == 3


def test_a_save_that_fails_stores_nothing_and_loses_nothing(
    aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregator.commit(call(MIDNIGHT))
    real = aggregator.state.database.put_blocks

    def full(blocks: dict[Node, Any]) -> None:
        real(blocks)
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(aggregator.state.database, "put_blocks", full)
    with pytest.raises(sqlite3.OperationalError):
        aggregator.save()
    assert aggregator.asked_for_cleanup == ["disk full"]
    monkeypatch.undo()
    aggregator.save()
    aggregator.kill()
    assert aggregator.rollup()["total"]["count"] == 1


# --- files -----------------------------------------------------------------------------------------------------------


def test_files_are_written_when_their_hour_and_day_are_over_and_again_for_late_rows(aggregator: Aggregator) -> None:
    aggregator.commit(call(MIDNIGHT + 5, 10.0), call(MIDNIGHT + HOUR_MS, 20.0), call(MIDNIGHT - 1, 30.0))
    aggregator.settle(MIDNIGHT + HOUR_MS + GRACE_MS - 1)
    assert files_of(aggregator.data.hourly) == ["2024-02-28-23.json"]
    aggregator.settle(MIDNIGHT + HOUR_MS + GRACE_MS)
    assert files_of(aggregator.data.hourly) == ["2024-02-28-23.json", "2024-02-29-00.json"]
    assert files_of(aggregator.data.daily) == ["2024-02-28.json"]
    aggregator.settle(LATER)
    assert files_of(aggregator.data.daily) == ["2024-02-28.json", "2024-02-29.json"]
    aggregator.commit(call(MIDNIGHT + 6, 40.0))
    assert aggregator.rollup(MIDNIGHT, MIDNIGHT + DAY_MS)["total"]["count"] == 3
    aggregator.settle()
    assert total(aggregator.data.hourly, "2024-02-29-00.json") == 2
    assert total(aggregator.data.daily, "2024-02-29.json") == 3
    assert total(aggregator.data.daily, "2024-02-28.json") == 1
    assert {path.stat().st_mode & 0o777 for path in aggregator.data.hourly.iterdir()} == {0o600}


def test_a_file_that_cannot_be_written_is_tried_again_and_answers_do_not_miss_it(
    aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregator.commit(call(MIDNIGHT))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(aggregator.state.files, "write", full)
    aggregator.save(LATER)
    assert aggregator.state.write_failures_total == 1
    assert aggregator.asked_for_cleanup == ["disk full"]
    assert not aggregator.state.tick(LATER + RETRY_MS - 1)
    assert aggregator.rollup()["total"]["count"] == 1
    monkeypatch.undo()
    aggregator.settle(LATER + RETRY_MS)
    assert total(aggregator.data.daily, "2024-02-29.json") == 1


@pytest.mark.parametrize("damage", ["missing", "junk", "array of junk", "link", "folder", "pipe"])
def test_a_file_that_is_damaged_or_replaced_is_told_from_its_minutes(aggregator: Aggregator, damage: str) -> None:
    import os

    aggregator.commit(call(MIDNIGHT), call(MIDNIGHT + 1), call(MIDNIGHT + HOUR_MS))
    aggregator.settle()
    path = aggregator.data.hourly / "2024-02-29-00.json"
    other = aggregator.data.root / "other.json"
    path.rename(other)
    if damage == "junk":
        path.write_text("{")
    elif damage == "link":
        path.symlink_to(other)
    elif damage == "folder":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    elif damage == "array of junk":
        path.write_text("[[], 5]")
    aggregator.kill()
    found = aggregator.rollup(MIDNIGHT, MIDNIGHT + HOUR_MS)["total"]["count"]
    # An array without a sound object is a readable file: it says that nothing happened.
    assert found == (0 if damage == "array of junk" else 2)
    assert aggregator.state.files.bad_files_total == (damage == "junk")
    assert aggregator.state.files.skipped_objects_total == (2 if damage == "array of junk" else 0)


def test_a_linked_folder_of_aggregates_is_not_followed(aggregator: Aggregator, tmp_path: Path) -> None:
    aggregator.commit(call(MIDNIGHT))
    aggregator.settle()
    outside = tmp_path / "outside"
    aggregator.data.hourly.rename(outside)
    aggregator.data.hourly.symlink_to(outside)
    files = AggregateFiles(aggregator.data)
    assert files.read(Node(HOUR, MIDNIGHT), aggregator.state.registry) is None
    assert files.nodes(HOUR) == []


# --- the database ----------------------------------------------------------------------------------------------------


def test_names_and_last_moments_are_known_after_a_restart(aggregator: Aggregator) -> None:
    for second in range(0, 150, 7):
        aggregator.commit(call(MIDNIGHT + second * 1000), call(MIDNIGHT, tool="ünï\0\n"))
        aggregator.save()
    aggregator.kill()
    assert aggregator.state.registry.listed() == [["a", "b", MIDNIGHT + 147_000], ["a", "ünï\0\n", MIDNIGHT]]


@pytest.mark.parametrize(
    "harm",
    [
        "CREATE TRIGGER t AFTER INSERT ON minutes BEGIN DELETE FROM minutes; END",
        "UPDATE meta SET value = 'x' WHERE key = 'seq'",
        "UPDATE meta SET value = '1,2' WHERE key = 'floors'",
        "UPDATE series SET server = x'00ff'",
        "UPDATE series SET last_ts = 'soon'",
        "INSERT INTO stale VALUES (0, 5)",
        "INSERT INTO hours VALUES (-1, x'00')",
        "PRAGMA user_version = 99",
    ],
)
def test_a_database_that_makes_no_sense_is_set_aside(aggregator: Aggregator, harm: str) -> None:
    aggregator.commit(call(MIDNIGHT))
    aggregator.save(now_ms=0)
    aggregator.state.database.close()
    path = aggregator.data.state / "aggregator.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(harm)
    connection.close()
    aggregator.start()
    assert aggregator.epoch == "e"
    assert aggregator.rollup()["total"]["count"] == 1
    assert any("unusable" in name for name in files_of(aggregator.data.state))


def test_a_minute_that_is_no_block_is_counted_and_passed_over(aggregator: Aggregator) -> None:
    aggregator.commit(call(MIDNIGHT), call(MIDNIGHT + MINUTE_MS))
    aggregator.save(now_ms=0)
    aggregator.state.database.close()
    connection = sqlite3.connect(aggregator.data.state / "aggregator.db", isolation_level=None)
    connection.execute("UPDATE minutes SET body = 'x' WHERE start_ms = ?", (MIDNIGHT,))
    connection.close()
    aggregator.start()
    assert aggregator.rollup()["total"]["count"] == 1
    assert aggregator.state.database.bad_rows_total >= 1


# --- rebuilding ------------------------------------------------------------------------------------------------------


def write_metrics(data: DataDirectory, some: list[Call]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for call in some:
        relative = f"{iso(call.ts)[:10]}/{call.server}/{call.tool}.jsonl"
        path = data.metrics / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        line = {
            "timestamp": iso(call.ts),
            "mcpServer": call.server,
            "toolName": call.tool,
            "duration": call.duration,
            "success": call.ok,
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


# --- a batch that can't be folded ------------------------------------------------------------------------------------


def test_a_batch_that_cannot_be_folded_is_refused_before_it_touches_anything(aggregator: Aggregator) -> None:
    aggregator.commit(call(MIDNIGHT))
    with pytest.raises(ValueError, match="duration"):
        aggregator.commit(call(MIDNIGHT, float("nan")))
    aggregator.journal.pop()
    aggregator.kill()
    assert aggregator.rollup()["total"]["count"] == 1


def test_a_failure_halfway_through_folding_is_never_saved(
    aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregator.commit(call(MIDNIGHT), call(MIDNIGHT + MINUTE_MS))
    real = aggregator.state.memory.add

    def fail(minute_ms: int, block: Any) -> Any:
        if minute_ms != MIDNIGHT:
            raise MemoryError
        return real(minute_ms, block)

    monkeypatch.setattr(aggregator.state.memory, "add", fail)
    with pytest.raises(MemoryError):
        aggregator.rollup()
    assert aggregator.state.tick(0)
    with pytest.raises(MemoryError):
        aggregator.save()
    aggregator.kill()
    assert aggregator.rollup()["total"]["count"] == 2


def test_rows_of_the_future_are_kept_for_their_minute(aggregator: Aggregator) -> None:
    aggregator.commit(call(LATER + 9 * MINUTE_MS))
    aggregator.save(LATER)
    assert files_of(aggregator.data.hourly) == []
    assert aggregator.rollup(LATER, LATER + DAY_MS)["total"]["count"] == 1


def test_a_day_asked_for_while_it_goes_on_has_the_newest_calls(aggregator: Aggregator) -> None:
    for second in range(30):
        aggregator.commit(call(MIDNIGHT + second * 1000))
        assert aggregator.rollup(MIDNIGHT, MIDNIGHT + DAY_MS)["total"]["count"] == second + 1
        if second % 4 == 0:
            aggregator.save(now_ms=0)
