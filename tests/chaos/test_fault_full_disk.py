"""Disks that are full, read-only or closed to us, under load: nothing acknowledged is lost, producers are told or slowed, and
everything goes on by itself once there is room.
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perfmon.paths import DataDirectory
from tests.chaos.acknowledged_load import Load
from tests.chaos.faults.disks import SmallDisk
from tests.chaos.faults.judge import RATE, flowing, judge
from tests.chaos.faults.rounds import in_full
from tests.chaos.rounds import rounds
from tests.kit import ServiceProcess

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(600)]

Start = Callable[..., ServiceProcess]
Mount = Callable[[Path, str], SmallDisk]
SMALL = {"PERFMON_SEGMENT_MB": "1", "PERFMON_CHECKPOINT_INTERVAL_S": "0.3"}


@pytest.fixture
def mount() -> Iterator[Mount]:
    """`mount(folder, "4m")` → a small disk there until the test ends."""
    mounted: list[SmallDisk] = []

    def mounter(folder: Path, size: str) -> SmallDisk:
        mounted.append(SmallDisk(folder, size))
        return mounted[-1]

    yield mounter
    for disk in mounted:
        disk.close()


def obeying() -> tuple[str, ...]:
    """What makes root obey permissions."""
    if os.getuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root passes over permissions, and setpriv is not there to change that")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.mark.parametrize("killed", [in_full(False), True], ids=["", "killed while full"])
def test_the_journals_disk_is_full_for_a_while(
    killed: bool, mount: Mount, data_directory: DataDirectory, start: Start, load: Load
) -> None:
    disk = mount(data_directory.journal, "24m")
    ingest = start("ingest", environment=SMALL)
    load.start()
    for _ in range(rounds(4)):
        flowing(load)
        disk.fill()
        ingest.eventually(lambda stats: stats["diskFull"], "the disk is full")
        ingest.eventually(lambda stats: stats["refusedByReason"].get("disk_full"), "producers are told")
        assert ingest.call("ping")["ready"]
        if killed:
            ingest.kill()
            # On a disk as full as this SQLite can't even open its log: it starts again until it can.
            ingest = start("ingest", environment=SMALL, ready=False)
        disk.free()
        if killed and ingest.process.poll() is not None:
            ingest = start("ingest", environment=SMALL)
        flowing(load)
        ingest.eventually(lambda stats: not stats["diskFull"], "it knows that there is room again")
    judge(
        f"full disk of the journal{', ingest killed meanwhile' if killed else ''}",
        "The journal's disk fills up under load and is freed; producers are told `disk_full`.",
        ingest,
        load,
        kills=rounds(4) if killed else 0,
    )


def test_the_metric_files_disk_is_full_for_a_while(
    mount: Mount, data_directory: DataDirectory, start: Start, load: Load
) -> None:
    disk = mount(data_directory.metrics, "48m")
    ingest = start("ingest", environment=SMALL)
    load.start()
    kills = 0
    for number in range(rounds(4)):
        flowing(load)
        disk.fill()
        seen = ingest.stats()["append_failures_total"]
        ingest.eventually(lambda stats, seen=seen: stats["append_failures_total"] > seen, "the files can't be written")
        flowing(load)
        if number % 2:
            ingest.kill()
            kills += 1
            ingest = start("ingest", environment=SMALL)
            flowing(load)
        disk.free()
        head = ingest.stats()["head"]
        ingest.eventually(lambda stats, head=head: stats["viewSeq"] >= head, "the files catch up by themselves")
        ingest.eventually(lambda stats: not stats["diskFull"])
    judge(
        "full disk of the metric files",
        "The disk of `metrics/` fills up under load and is freed; the journal takes everything meanwhile.",
        ingest,
        load,
        kills=kills,
    )


def test_a_size_limit_makes_writes_short_for_a_while(start: Start, load: Load) -> None:
    ingest = start("ingest", environment={**SMALL, "PERFMON_SEGMENT_MB": "64"})
    load.start()
    for _ in range(rounds(4)):
        flowing(load)
        files = [path.stat().st_size for path in ingest.data.metrics.rglob("*.jsonl")]
        resource.prlimit(ingest.pid, resource.RLIMIT_FSIZE, (max(files) + 100, resource.RLIM_INFINITY))
        ingest.eventually(
            lambda stats: stats["append_failures_total"] + stats["storage_failures_total"], "a write went wrong"
        )
        resource.prlimit(ingest.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        flowing(load)
        ingest.eventually(lambda stats: stats["viewSeq"] == stats["head"] or stats["pendingRows"] < RATE)
    judge("short writes", "Files may not grow for a while (RLIMIT_FSIZE): writes are short, then fail.", ingest, load)


@pytest.mark.parametrize("what", [in_full("metrics"), in_full("day"), "file"])
def test_permission_is_taken_away_for_a_while(what: str, start: Start, load: Load) -> None:
    ingest = start("ingest", environment=SMALL, prefix=obeying())
    load.start()
    flowing(load)
    ingest.kill()
    file = next(ingest.data.metrics.rglob("*.jsonl"))
    locked = {"metrics": ingest.data.metrics, "day": file.parent.parent, "file": file}[what]
    mode = locked.stat().st_mode & 0o777
    locked.chmod(0o500 if what == "metrics" else 0)
    try:
        ingest = start("ingest", environment=SMALL, prefix=obeying())
        if what == "metrics":
            flowing(load)
        else:
            ingest.eventually(lambda stats: stats["append_failures_total"], "the files can't be written")
            flowing(load)
    finally:
        locked.chmod(mode)
    ingest.eventually(lambda stats: stats["viewSeq"] == stats["head"] or not stats["diskFull"])
    judge(
        f"permission for the {what} taken away",
        "Ingest is killed and starts without the permission, which comes back later.",
        ingest,
        load,
        kills=1,
    )


def test_a_read_only_file_system_refuses_the_start_and_loses_nothing(
    mount: Mount, tmp_path: Path, start: Start
) -> None:
    disk = mount(tmp_path / "disk" / "data", "64m")
    data = DataDirectory(disk.folder.resolve())
    data.create()
    load = Load(data, RATE).start()
    try:
        ingest = start("ingest", data=data, environment=SMALL)
        for _ in range(rounds(3)):
            flowing(load)
            ingest.kill()
            disk.read_only(True)
            refused = start("ingest", data=data, environment=SMALL, ready=False)
            assert refused.wait_end() != 0
            assert "Read-only file system" in refused.log_text()
            disk.read_only(False)
            ingest = start("ingest", data=data, environment=SMALL)
            flowing(load)
        judge(
            "read-only file system",
            "Ingest is killed and finds its file system read-only; later it is not.",
            ingest,
            load,
            kills=rounds(3),
        )
    finally:
        load.end()
        shutil.rmtree(data.runtime, ignore_errors=True)


def test_every_service_gets_through_a_full_disk(mount: Mount, tmp_path: Path, start: Start) -> None:
    disk = mount(tmp_path / "disk", "64m")
    data = DataDirectory((disk.folder / "data").resolve())
    data.create()
    load = Load(data, RATE).start()
    names = ("alerter", "aggregator")
    try:
        ingest = start("ingest", data=data, environment=SMALL)
        consumers = {name: start(name, data=data) for name in names}
        for _ in range(rounds(3)):
            flowing(load)
            disk.fill()
            ingest.eventually(lambda stats: stats["diskFull"], "the disk is full")
            for name, process in consumers.items():
                assert process.process.poll() is None, f"{name} ended: {process.log_text()[-2000:]}"
                assert process.call("ping")["service"] == name
            disk.free()
            flowing(load)
        load.settle()
        head = ingest.call("flush")["seq"]
        for process in consumers.values():
            process.eventually(lambda stats, head=head: stats["seq"] >= head, "it catches up by itself")
        counted = consumers["aggregator"].call("rollup", {"startMs": 0, "endMs": 4_102_444_800_000, "by": "all"})
        assert counted["total"]["count"] == len(load.acknowledged)
        judge("full disk of everything", "The one disk of all services fills up under load and is freed.", ingest, load)
    finally:
        load.end()
        shutil.rmtree(data.runtime, ignore_errors=True)
