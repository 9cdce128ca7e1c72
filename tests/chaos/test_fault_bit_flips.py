"""Bits that flip and tails that become NULs: no file of the data directory makes a service crash again and again, what is damaged
is told, and nothing is lost but what stood in the damaged place.

SQLite keeps no checksum of what it stores, so a flip inside a value can go unnoticed; promised is what is asserted here.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from perfmon.paths import DataDirectory
from services.aggregator.shell.state import AggregatorState
from services.alerter.shell.state import AlerterState
from shared.batch import build
from shared.consumer import ConsumerState, Entry, Position
from shared.database import is_damage
from shared.journal import list_segments
from shared.settings import Settings, SettingsError, load_settings
from shared.store.raw import read_raw
from shared.timespan import DAY_MS
from tests.chaos.faults.damage import flip_bits, nul_tail, nuls_behind
from tests.chaos.faults.rounds import ROUNDS
from tests.chaos.faults.verdict import Verdict, durations_found
from tests.kit import ServiceProcess, Writer, store_snapshot
from tests.kit import row as wire_row
from tests.kit.ingest_store import NOW, IngestStore, row

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

#: Damaged copies of each file.
TRIES = 8 * ROUNDS
AROUND = (NOW - DAY_MS, NOW + DAY_MS)
Damage = Callable[[Path, random.Random], object]


def one_bit(path: Path, rng: random.Random) -> object:
    return flip_bits(path, rng)


def many_bits(path: Path, rng: random.Random) -> object:
    return flip_bits(path, rng, 40)


DAMAGES: dict[str, Damage] = {
    "one bit": one_bit,
    "40 bits": many_bits,
    "NUL tail": nul_tail,
    "NULs behind": nuls_behind,
}


def journal_file(data: DataDirectory, suffix: str) -> Path:
    path = list_segments(data.journal)[-1].path
    return path.with_name(path.name + suffix)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", ["", "-wal"], ids=["segment", "log"])
def test_a_damaged_journal_costs_nothing_that_the_files_have(
    part: str, damage: str, memory_folder: Path, rng: random.Random
) -> None:
    verdict = Verdict(
        f"truncation/{damage} in the journal's {'log' if part else 'segment'}",
        "The journal is damaged while the files have everything; metrics go on coming.",
    )
    store = IngestStore(DataDirectory(memory_folder / "store"))
    for seq in range(1, 6):
        store.write(row(seq), row(seq + 10, tool="write", error="x" * 500, success=False), producer="p", seq=seq)
    if part:
        store.append()
    else:
        store.checkpoint()
        store.close()
    acknowledged, sizes, misled = (
        [*range(1, 6), *range(11, 16)],
        registered(store.crashed_copy(memory_folder / "sizes")),
        0,
    )
    for attempt in range(TRIES):
        data = store.crashed_copy(memory_folder / "copy")
        DAMAGES[damage](journal_file(data, part), rng)
        before = Counter(durations_found(data)[0])
        if not part and registered(data) not in (None, sizes):
            misled += 1  # a flip in a recorded size looks like a size: the file is cut to it
            shutil.rmtree(data.root)
            continue
        again = go_on(data, attempt)
        found = durations_found(data)[0]
        assert not before - found, f"{attempt}: rows of the files went: {before - found}"
        verdict.look(data, [*acknowledged, 100.0, 101.0], attempt)
        again.close()
        shutil.rmtree(data.root)
    verdict.close(f"{misled} flips hit the recorded size of a file and are left out." if misled else "")


def registered(data: DataDirectory) -> list[Any] | None:
    """What the journal says of the files, read by SQLite alone; None when it can't be read."""
    database = sqlite3.connect(f"file:{list_segments(data.journal)[-1].path}?mode=ro", uri=True)
    try:
        return database.execute("SELECT path, size FROM files ORDER BY path").fetchall()
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return None
    finally:
        database.close()


def go_on(data: DataDirectory, attempt: int) -> IngestStore:
    """Start, take a row, start again, take another, as supervisord and a producer would; damage may end a process once."""
    store = IngestStore(data)
    for value in (100.0, 101.0):
        for life in range(3):
            try:
                [answer] = store.write(row(value), producer="q", seq=int(value))
                break
            except sqlite3.DatabaseError as error:
                if not is_damage(error) or life == 2:
                    raise AssertionError(f"{attempt}: the damage is not got rid of") from error
                # The process appends what it has and ends; the next start gives the journal up.
                store.append()
                store = store.recover_again()
        assert answer is not None
        store.append()
        store = store.recover_again()
    return store


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_metric_file_serves_no_line_that_is_none_and_costs_no_other(
    damage: str, memory_folder: Path, rng: random.Random
) -> None:
    store = IngestStore(DataDirectory(memory_folder / "store"))
    for seq in range(1, 6):
        store.write(*(row(seq * 10 + at, tool=f"tool{at}") for at in range(3)), producer="p", seq=seq)
    store.checkpoint()
    store.close()
    wanted = {float(seq * 10 + at) for seq in range(1, 6) for at in range(3)}
    for attempt in range(TRIES // 2):
        data = store.crashed_copy(memory_folder / "copy")
        path = rng.choice(sorted(data.metrics.rglob("*.jsonl")))
        intact = {value for value in wanted if value % 10 != float(path.stem.removeprefix("tool"))}
        DAMAGES[damage](path, rng)
        again = IngestStore(data)
        again.write(row(100, tool="tool9"))
        again.append()
        served = Counter(read_raw(data, *AROUND).batch.duration.tolist())
        assert intact | {100.0} <= set(served), f"{attempt}: lines of other files are lost"
        assert all(served[value] == 1 for value in intact), f"{attempt}: {served}"
        lines = path.read_bytes().count(b"\n")
        assert sum(served.values()) <= len(intact) + 1 + lines, f"{attempt}: {served}"
        if "NUL" in damage:
            # What ends in no line is found at the start, and the journal still has it.
            assert set(served) == wanted | {100.0}, f"{attempt}: {served}"
        for make in (aggregator_state, alerter_state):
            rebuilt(make, data, again.journal.head)
        again.close()
        shutil.rmtree(data.root)


def rebuilt(make: Callable[[DataDirectory], Any], data: DataDirectory, head: int) -> None:
    """A consumer takes the files as they are; whatever a line became, it ends no service."""
    data.create()
    state = make(data)
    state.load()
    state.rebuild(store_snapshot(data, "e", head), "damaged")
    state.save(Position("e", head))
    state.apply(entry(1), NOW, True)
    state.save(Position("e", head + 1))
    state.saved(NOW)


# --- consumers ------------------------------------------------------------------------------------------------------


def aggregator_state(data: DataDirectory) -> ConsumerState:
    return AggregatorState(data, ask_for_cleanup=lambda reason: None)


def alerter_state(data: DataDirectory) -> ConsumerState:
    return AlerterState(data, Settings(), data.root.parent)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    ("name", "make"), [("aggregator", aggregator_state), ("alerter", alerter_state)], ids=["aggregator", "alerter"]
)
def test_a_damaged_state_database_is_taken_or_set_aside_and_never_ends_a_service_twice(
    name: str, make: Callable[[DataDirectory], Any], damage: str, memory_folder: Path, rng: random.Random
) -> None:
    data = DataDirectory(memory_folder / "store" / "data")
    data.create()
    state = make(data)
    state.load()
    for seq in range(1, 8):
        state.apply(entry(seq), NOW, True)
    state.save(Position("e", 7))
    state.saved(NOW)
    copies = 0
    for attempt in range(TRIES // 2):
        target = DataDirectory(memory_folder / "copy" / "data")
        shutil.copytree(data.root, target.root, symlinks=True)
        [main] = target.state.glob(f"{name}.db")
        part = rng.choice([path for path in (main, main.with_name(f"{name}.db-wal")) if path.exists()])
        DAMAGES[damage](part, rng)
        crashes = run_lives(make, target, attempt)
        copies += 1
        assert crashes <= 1, f"{attempt}: {damage} in {part.name} ends the service {crashes} times"
        shutil.rmtree(
            target.root.parent, ignore_errors=True
        )  # a connection that is let go of removes its log meanwhile
    assert copies


def run_lives(make: Callable[[DataDirectory], Any], data: DataDirectory, attempt: int) -> int:
    """Three lives, each of which takes an entry and saves; how many of them ended with an exception."""
    crashes = 0
    for _ in range(3):
        try:
            with capture_logs():
                state = make(data)
                position = state.load()
                seq = position.seq + 1 if position else 1
                state.apply(entry(seq), NOW, True)
                state.tick(NOW)
                state.save(Position("e", seq))
                state.saved(NOW)
        except Exception:  # noqa: BLE001 - supervisord starts it again
            crashes += 1
    return crashes


def entry(seq: int) -> Entry:
    rows = [("s", f"t{at}", NOW + seq * 1_000, 600.0 + at, at % 2 == 0) for at in range(8)]
    return Entry("e", seq, NOW + seq * 1_000, build(rows))


# --- files that are read whole --------------------------------------------------------------------------------------


@pytest.mark.pipeline
def test_damaged_files_beside_the_databases_stop_no_service(
    data_directory: DataDirectory, start: Callable[..., ServiceProcess], rng: random.Random
) -> None:
    verdict = Verdict(
        "truncation/damaged JSON files",
        "Index, thresholds, alerts and call ids are damaged between two lives of all services.",
    )
    names = ("ingest", "alerter", "aggregator")
    acknowledged: list[float] = []
    for number in range(max(2, ROUNDS // 2)):
        damaged = [
            path for path in json_files(data_directory) if rng.choice(list(DAMAGES.values()))(path, rng) is not None
        ]
        running = {name: start(name) for name in names}
        with Writer(data_directory, f"p{number}") as writer:
            values = [float(100 * number + at) for at in range(20)]
            assert writer.write(*(wire_row(duration=value, callId=f"c{value}") for value in values))["stored"] == 20
            acknowledged += values
        head = running["ingest"].call("flush")["seq"]
        for name in ("alerter", "aggregator"):
            running[name].eventually(lambda stats, head=head: stats["seq"] == head, f"{name} is at {head}")
        counted = running["aggregator"].call(
            "rollup", {"startMs": 0, "endMs": 4_102_444_800_000, "by": "all"}, timeout_s=20
        )
        assert counted["total"]["count"] == len(acknowledged), f"{number}: {damaged}"
        verdict.look(data_directory, acknowledged, number)
        for process in running.values():
            if rng.random() < 0.5:
                process.kill()
                verdict.kills += 1
            else:
                assert process.terminate() == 0
    verdict.close()


def json_files(data: DataDirectory) -> list[Path]:
    """What is read whole and not a database; the settings are a person's, and a damaged one is refused by its name."""
    folders = (data.index, data.alerts, data.state / "call-ids")
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    others = (data.config / "thresholds.json", data.journal / "witness")
    return [*found, *(path for path in others if path.exists())]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_settings_are_taken_or_refused_by_their_name(
    damage: str, memory_folder: Path, rng: random.Random
) -> None:
    data = DataDirectory(memory_folder / "data")
    data.create()
    path = data.config / "settings.json"
    whole = json.dumps({"raw_retention_hours": 24, "append_interval_s": 1.0, "log_level": "info"})
    refused: list[str] = []
    for _ in range(TRIES):
        path.write_text(whole)
        DAMAGES[damage](path, rng)
        try:
            load_settings(data)
        except SettingsError as error:
            refused.append(str(error))
    assert refused
    assert all("setting" in reason for reason in refused)
