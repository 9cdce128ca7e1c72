"""Calls that fail or do less than asked, in the process of ingest: nothing is claimed that was not done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfmon.paths import DataDirectory
from tests.chaos.acknowledged_load import Load
from tests.chaos.faults.judge import RATE, flowing, judge
from tests.chaos.faults.rounds import full_only, in_full
from tests.chaos.faults.service import Control, command
from tests.chaos.faults.shim import SyncShim
from tests.chaos.rounds import rounds
from tests.kit import ServiceProcess, Writer, eventually, row

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(600)]

Start = Callable[..., ServiceProcess]
SMALL = {"PERFMON_SEGMENT_MB": "1", "PERFMON_CHECKPOINT_INTERVAL_S": "0.3"}


@pytest.fixture
def control(tmp_path: Path) -> Control:
    return Control(tmp_path / "control")


class Supervised:
    """Ingest, started again whenever it ends by itself, as supervisord does it. `starts` counts."""

    def __init__(self, start: Callable[[], ServiceProcess]) -> None:
        self._start = start
        self.process = start()
        self.starts = 1

    def keep(self, condition: Callable[[ServiceProcess], object], what: str, *, timeout_s: float = 40.0) -> None:
        """Wait for a condition, starting ingest again whenever it ended."""

        def seen() -> object:
            if self.process.process.poll() is not None:
                self.process = self._start()
                self.starts += 1
            return condition(self.process)

        eventually(seen, what, timeout_s=timeout_s)


@pytest.fixture
def supervised(start: Start, control: Control) -> Callable[..., Supervised]:
    def starter(**environment: str) -> Supervised:
        return Supervised(
            lambda: start(
                "ingest",
                ready=False,
                command=command("ingest"),
                environment={**SMALL, **control.environment, **environment},
            )
        )

    return starter


def ready(process: ServiceProcess) -> bool:
    return bool(process.call("ping", timeout_s=1.0)["ready"])


def figure(process: ServiceProcess, name: str) -> int:
    return int(process.call("stats", timeout_s=1.0)[name])


@pytest.mark.parametrize("fault", ["short", "EIO", in_full("ENOSPC")])
def test_writes_of_the_files_fail_for_a_while(
    fault: str, supervised: Callable[..., Supervised], control: Control, load: Load
) -> None:
    ingest = supervised()
    ingest.keep(ready, "ingest is ready")
    load.start()
    for _ in range(rounds(4)):
        flowing(load)
        before = ingest.process.stats()["append_failures_total"]
        control.set("pwrite", fault)
        if fault == "short":
            flowing(load)
        else:
            ingest.keep(
                lambda process, before=before: figure(process, "append_failures_total") > before, "an append failed"
            )
            flowing(load)
        control.clear("pwrite")
        ingest.keep(lambda process: figure(process, "pendingRows") < RATE, "the files catch up")
    judge(f"pwrite {fault}", "Writes to the metric files are short or fail for a while.", ingest.process, load)


def test_a_failing_sync_of_the_files_is_no_checkpoint(
    supervised: Callable[..., Supervised], control: Control, load: Load
) -> None:
    ingest = supervised()
    ingest.keep(ready, "ingest is ready")
    load.start()
    for _ in range(rounds(4)):
        flowing(load)
        control.set("fsync", "EIO")
        starts = ingest.starts
        ingest.keep(lambda _, starts=starts: ingest.starts > starts, "it ends rather than claim, and is started again")
        control.clear("fsync")
        ingest.keep(ready, "ingest is ready")
        flowing(load)
    judge(
        "fsync EIO of the metric files",
        "The files can't be synced for a while: ingest ends instead of making a checkpoint, and replays.",
        ingest.process,
        load,
        note=f"{ingest.starts - 1} restarts.",
    )


@full_only
def test_a_checkpoint_never_says_more_than_was_synced(
    supervised: Callable[..., Supervised], control: Control, data_directory: DataDirectory
) -> None:
    ingest = supervised(PERFMON_CHECKPOINT_INTERVAL_S="0.2")
    ingest.keep(ready, "ingest is ready")
    with Writer(data_directory, "p") as writer:
        assert writer.write(row(duration=1))["stored"] == 1
        ingest.keep(lambda process: figure(process, "checkpointSeq") == 1, "a checkpoint is made")
        control.set("fsync", "EIO")
        assert writer.write(row(duration=2))["stored"] == 1
        starts = ingest.starts
        seen: list[int] = []

        def restarted_twice(process: ServiceProcess) -> bool:
            if ingest.starts >= starts + 2:
                return True
            seen.append(figure(process, "checkpointSeq"))
            return False

        ingest.keep(restarted_twice, "it ended twice")
        assert set(seen) == {1}
        control.clear("fsync")
        ingest.keep(lambda process: figure(process, "checkpointSeq") == 2, "the checkpoint is made once it can be")


def test_a_failing_sync_of_the_journal_is_no_acknowledgement(start: Start, tmp_path: Path, load: Load) -> None:
    shim = SyncShim(tmp_path)
    ingest = Supervised(lambda: start("ingest", ready=False, environment={**SMALL, **shim.environment}))
    ingest.keep(ready, "ingest is ready")
    load.start()
    for number in range(rounds(6)):
        flowing(load)
        refused, starts = _refused(ingest.process.stats()), ingest.starts
        shim.failing = True

        def told(process: ServiceProcess, more: int, refused: int = refused, starts: int = starts) -> bool:
            # It ends rather than claim when the sync of a checkpoint is the first to fail.
            return ingest.starts > starts or _refused(process.call("stats", timeout_s=1.0)) > refused + more

        ingest.keep(lambda process, told=told: told(process, 2), "producers are told")
        acknowledged = len(load.acknowledged)
        ingest.keep(lambda process, told=told: told(process, 4), "they are told again")
        assert len(load.acknowledged) == acknowledged
        if number % 2:
            # What was refused may be found in the journal's log now; it comes again with the same sequence.
            ingest.process.kill()
        shim.failing = False
        ingest.keep(ready, "ingest is ready")
        goal = len(load.acknowledged) + 2_000
        ingest.keep(lambda _, goal=goal: len(load.acknowledged) >= goal, "metrics are acknowledged again")
    judge(
        "fsync EIO of the journal",
        "SQLite's syncs fail for a while: nothing is acknowledged, and what was refused is taken when it comes again.",
        ingest.process,
        load,
        kills=rounds(6) // 2,
    )


def _refused(stats: dict[str, Any]) -> int:
    return int(stats["refusedByReason"].get("storage_failed", 0))
