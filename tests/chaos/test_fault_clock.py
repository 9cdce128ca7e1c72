"""Clocks that jump while everything runs: nothing is lost or doubled, nothing is deleted that is not old, ids stay unique, and
what waits for a time does not wait for days.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perfmon.paths import DataDirectory
from shared.timespan import DAY_MS, HOUR_MS, day_of
from tests.chaos.acknowledged_load import Load
from tests.chaos.faults.fixtures import ended
from tests.chaos.faults.judge import RATE, caught_up, flowing, judge
from tests.chaos.faults.rounds import in_full
from tests.chaos.faults.service import Control, command
from tests.chaos.rounds import rounds
from tests.kit import ServiceProcess, Writer, line, row

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(600)]

Start = Callable[..., ServiceProcess]
JUMPS = {"+1 h": HOUR_MS, "-1 h": -HOUR_MS, "+3 d": 3 * DAY_MS, "-3 d": -3 * DAY_MS}
#: 2028-02-28T23:59:40Z, and the seconds that are left of that day.
EVE_OF_A_LEAP_DAY_MS = 1_835_395_180_000
SMALL = {"PERFMON_SEGMENT_MB": "1", "PERFMON_CHECKPOINT_INTERVAL_S": "0.3"}


class Shifted:
    """Services of which the clock can be set while they run."""

    def __init__(self, start: Start, control: Control) -> None:
        self._start = start
        self.control = control
        self.shift_ms = 0

    def start(self, name: str) -> ServiceProcess:
        return self._start(name, command=command(name), environment={**SMALL, **self.control.environment})

    def jump(self, shift_ms: int) -> None:
        self.shift_ms = shift_ms
        self.control.set("clock", shift_ms)

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.shift_ms


@pytest.fixture
def shifted(start: Start, tmp_path: Path) -> Shifted:
    return Shifted(start, Control(tmp_path / "control"))


@pytest.fixture
def load(data_directory: DataDirectory, shifted: Shifted) -> Iterator[Load]:
    """A producer on the same machine: its clock jumps too. Those on their way when it jumps are a little off, so it waits."""
    made = Load(data_directory, RATE, moment=lambda _, now_ms: now_ms + shifted.shift_ms)
    yield made
    ended(made)


@pytest.mark.parametrize("jump", ["+3 d", in_full("-3 d"), in_full("+1 h"), in_full("-1 h")])
def test_a_jump_and_back_loses_doubles_and_deletes_nothing(
    jump: str, shifted: Shifted, load: Load, data_directory: DataDirectory
) -> None:
    old = data_directory.metrics / day_of(shifted.now_ms() - DAY_MS) / "files"
    old.mkdir(parents=True)
    (old / "read.jsonl").write_bytes(line("files", "read", f"{old.parent.name}T23:59:59.000Z", 0.1))
    ingest, aggregator, alerter = (shifted.start(name) for name in ("ingest", "aggregator", "alerter"))
    load.start()
    kills = 0
    for _ in range(rounds(3)):
        for shift_ms in (JUMPS[jump], 0):
            flowing(load)
            load.settle()
            cleaned = aggregator.stats()["cleanups_total"]
            shifted.jump(shift_ms)
            load.resume()
            flowing(load)
            aggregator.call("cleanup", timeout_s=30)
            aggregator.eventually(lambda stats, cleaned=cleaned: stats["cleanups_total"] > cleaned)
            assert (old / "read.jsonl").exists(), "a day that is not old was deleted"
            aggregator.kill()
            aggregator = shifted.start("aggregator")
            aggregator.call("cleanup", timeout_s=30)
            kills += 1
    load.settle()
    caught_up(ingest, aggregator, alerter)
    assert (old / "read.jsonl").exists(), "a day that is not old was deleted"
    (old / "read.jsonl").unlink()
    found = alerter.call("alerts.list", {"limit": 100})["alerts"]
    open_now = [(alert["mcpServer"], alert["toolName"], alert["condition"].split()[0]) for alert in found]
    assert len(open_now) == len(set(open_now)), "one open alert a condition and series"
    ids = [alert["alertId"] for alert in found]
    assert len(ids) == len(set(ids))
    counted = aggregator.call("rollup", {"startMs": 0, "endMs": 4_102_444_800_000, "by": "tool"}, timeout_s=30)["rows"]
    assert sum(each["count"] for each in counted if each["mcpServer"] != "files") == len(load.acknowledged)
    judge(
        f"clock {jump} and back",
        "The clock of services and producers jumps and is set back; the clean-up runs and the aggregator is killed each time.",
        ingest,
        load,
        kills=kills,
    )


@pytest.mark.parametrize("killed", [in_full(False), True], ids=["", "with kills"])
def test_midnight_before_a_leap_day(killed: bool, shifted: Shifted, load: Load) -> None:
    shifted.jump(EVE_OF_A_LEAP_DAY_MS - time.time_ns() // 1_000_000)
    ingest, aggregator = shifted.start("ingest"), shifted.start("aggregator")
    load.start()
    flowing(load)
    # The last seconds of the day are skipped, so that it is midnight in the middle of the load.
    shifted.jump(EVE_OF_A_LEAP_DAY_MS + 19_000 - time.time_ns() // 1_000_000)
    kills = 0
    for _ in range(3):
        flowing(load, RATE // 2)
        if killed:
            ingest.kill()
            kills += 1
            ingest = shifted.start("ingest")
    assert {path.name for path in ingest.data.metrics.iterdir()} == {"2028-02-28", "2028-02-29"}
    shifted.jump(EVE_OF_A_LEAP_DAY_MS + 19_000 + DAY_MS - time.time_ns() // 1_000_000)
    flowing(load, RATE * 2)
    assert "2028-03-01" in {path.name for path in ingest.data.metrics.iterdir()}
    caught_up(ingest, aggregator)
    judge(
        f"midnight around a leap day{', with kills' if killed else ''}",
        "The load goes on through the midnights before and after 29 February.",
        ingest,
        load,
        kills=kills,
    )


def test_a_call_id_is_known_again_when_the_clock_was_days_ahead_in_between(
    shifted: Shifted, data_directory: DataDirectory
) -> None:
    ingest = shifted.start("ingest")
    with Writer(data_directory) as writer:
        assert writer.write(row(duration=1, callId="a"))["stored"] == 1
        shifted.jump(3 * DAY_MS)
        head = ingest.call("ping")["seq"]
        # Two heartbeats, in which what is too old is forgotten.
        for _ in range(3):
            assert writer.write(row(duration=2 + _))["stored"] == 1
        ingest.eventually(lambda stats: stats["head"] > head and stats["checkpointSeq"] > head)
        shifted.jump(0)
        assert writer.write(row(duration=9, callId="a"))["duplicates"] == 1
        ingest.kill()
        ingest = shifted.start("ingest")
        assert writer.write(row(duration=9, callId="a"))["duplicates"] == 1
