"""Two of everything on one data directory, and what a kill -9 or somebody else left in the way of the sockets and locks."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perfmon.paths import DataDirectory
from tests.chaos.acknowledged_load import Load
from tests.chaos.faults.judge import caught_up, flowing, judge
from tests.chaos.faults.rounds import in_full
from tests.chaos.rounds import rounds
from tests.kit import ServiceProcess, Writer, eventually, row

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(600)]

Start = Callable[..., ServiceProcess]
SMALL = {"PERFMON_SEGMENT_MB": "1", "PERFMON_CHECKPOINT_INTERVAL_S": "0.3"}
#: Exit code of a service that only a person can help.
CONFIGURATION = 78


def test_a_second_instance_waits_and_takes_over_when_the_first_is_killed(start: Start, load: Load) -> None:
    names = ("ingest", "aggregator")
    first = {name: start(name, environment=SMALL) for name in names}
    load.start()
    kills = 0
    for _ in range(rounds(8)):
        second = {name: start(name, environment=SMALL, ready=False) for name in names}
        eventually(lambda second=second: all("waiting_for_lock" in one.log_text() for one in second.values()))
        flowing(load)
        for name in names:
            assert first[name].call("ping")["pid"] == first[name].pid
            first[name].kill()
            kills += 1
            second[name].wait_ready()
        flowing(load)
        first = second
        for one in first.values():
            one.log.write_text("")
    load.settle()
    caught_up(first["ingest"], first["aggregator"])
    params = {"startMs": 0, "endMs": 4_102_444_800_000, "by": "all"}
    assert first["aggregator"].call("rollup", params, timeout_s=30)["total"]["count"] == len(load.acknowledged)
    judge(
        "two instances",
        "Ingest and aggregator run twice on one directory; the waiting ones take over when the others are killed.",
        first["ingest"],
        load,
        kills=kills,
    )


@pytest.mark.parametrize(
    "left", ["sockets of a kill", in_full("plain files"), in_full("sockets of nobody"), in_full("links"), "folders"]
)
def test_what_stands_in_the_place_of_the_sockets_is_no_obstacle(
    left: str, start: Start, data_directory: DataDirectory, tmp_path: Path
) -> None:
    ingest = start("ingest")
    with Writer(data_directory, "p") as writer:
        assert writer.write(row(duration=1))["stored"] == 1
    ingest.kill()
    names = [path.name for path in data_directory.runtime.iterdir()]
    assert names
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for name in names:
        put(left, data_directory.runtime / name, victim)
    ingest = start("ingest")
    with Writer(data_directory, "p") as writer:
        assert writer.write(row(duration=1), seq=1)["duplicates"] == 1
        assert writer.write(row(duration=2), seq=2)["stored"] == 1
    assert victim.read_bytes() == b"precious"


def put(what: str, path: Path, victim: Path) -> None:
    if what == "sockets of a kill":
        return
    path.unlink()
    if what == "plain files":
        path.write_bytes(b"in the way")
    elif what == "links":
        path.symlink_to(victim)
    elif what == "folders":
        (path / "inside").mkdir(parents=True)
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))


def test_a_runtime_directory_that_is_not_ours_is_refused_by_its_name(
    start: Start, data_directory: DataDirectory, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(data_directory.runtime)
    data_directory.runtime.symlink_to(elsewhere)
    refused = start("ingest", ready=False)
    assert refused.wait_end() == CONFIGURATION
    assert str(data_directory.runtime) in refused.log_text()
    assert list(elsewhere.iterdir()) == []
    data_directory.runtime.unlink()
    if os.getuid() == 0:
        data_directory.runtime.mkdir(mode=0o700)
        os.chown(data_directory.runtime, 65534, 65534)
        refused = start("ingest", ready=False)
        assert refused.wait_end() == CONFIGURATION
        assert "65534" in refused.log_text()
        data_directory.runtime.rmdir()
    start("ingest")


def test_another_user_can_neither_talk_to_it_nor_take_its_place(start: Start, data_directory: DataDirectory) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    ingest = start("ingest")
    attempt = f"""
import os, socket
os.setgid(65534); os.setuid(65534)
for name in ("ingest.write", "ingest.push", "stream"):
    for what in ("connect", "bind"):
        with socket.socket(socket.AF_UNIX) as one:
            try:
                getattr(one, what)({str(data_directory.runtime)!r} + "/" + name + ("" if what == "connect" else ".x"))
            except PermissionError:
                continue
            raise SystemExit(f"{{what}} {{name}}")
"""
    done = subprocess.run([sys.executable, "-c", attempt], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ingest.call("ping")["ready"]


def test_a_lock_whose_holder_stands_still_is_waited_for(start: Start, data_directory: DataDirectory) -> None:
    holder = start("ingest")
    holder.process.send_signal(signal.SIGSTOP)
    second = start("ingest", ready=False)
    eventually(lambda: f"pid {holder.pid}" in second.log_text(), "it says for whom it waits")
    holder.process.send_signal(signal.SIGCONT)
    with Writer(data_directory, "p") as writer:
        assert writer.write(row(duration=1))["stored"] == 1
        holder.kill()
        second.wait_ready()
        assert writer.write(row(duration=2))["stored"] == 1
    assert second.terminate() == 0
