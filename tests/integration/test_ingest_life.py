"""The life of the ingest process: lock, parent, signals, files left by others, and a start that cannot be."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perfmon.paths import DataDirectory
from perfmon.rpc import RpcClient
from perfmon.wire import PROTOCOL_MAJOR, PROTOCOL_MINOR, encode_rows
from shared.runtime.service import EXIT_CONFIGURATION
from tests.kit import ServiceProcess, Writer, eventually, row, service_environment, stored
from tests.kit.processes import CHECKOUT

pytestmark = pytest.mark.pipeline

Start = Callable[..., ServiceProcess]


def test_ping_says_who_answers_and_where_it_stands(ingest: ServiceProcess, data_directory: DataDirectory) -> None:
    ping = ingest.call("ping")
    assert ping["service"] == "ingest"
    assert ping["pid"] == ingest.pid
    assert ping["ready"] is True
    assert ping["protocol"] == [PROTOCOL_MAJOR, PROTOCOL_MINOR]
    assert ping["dataDirectory"] == str(data_directory.root)
    assert (len(ping["epoch"]), ping["seq"]) == (16, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_flushes_everything_checkpoints_and_exits_0(
    number: signal.Signals, ingest: ServiceProcess, writer: Writer, data_directory: DataDirectory, start: Start
) -> None:
    for value in range(50):
        writer.send(encode_rows([row(duration=value)]))
    for _ in range(50):
        assert writer.receive()["stored"] == 1
    ingest.process.send_signal(number)
    assert ingest.wait_end() == 0
    assert sorted(record["duration"] for record in stored(data_directory)) == list(range(50))
    index = json.loads((data_directory.index / "metrics-index.json").read_text())
    [day] = index["index"].values()
    assert day["files"]["count"] == 50
    assert day["files"]["tools"] == ["read"]
    again = start("ingest")
    assert "replayed=0" in again.log_text().splitlines()[-2]


def test_a_stop_under_load_loses_nothing_that_was_acknowledged(
    ingest: ServiceProcess, data_directory: DataDirectory
) -> None:
    acknowledged: set[float] = set()
    with Writer(data_directory) as writer:
        for value in range(3_000):
            writer.send(encode_rows([row(duration=value)], producer="p", seq=value + 1))
        while len(acknowledged) < 200:
            acknowledged.add(writer.receive()["seq"] - 1)
        assert ingest.terminate() == 0
        while not writer.silent():
            acknowledged.add(writer.receive()["seq"] - 1)
    durations = [record["duration"] for record in stored(data_directory)]
    assert acknowledged <= set(durations)
    assert len(durations) == len(set(durations))


def test_the_index_file_is_the_seeds(ingest: ServiceProcess, writer: Writer, data_directory: DataDirectory) -> None:
    writer.write(row(timestamp=(now := ingest.call("hello")["lastHelloMs"])), row(tool="write", timestamp=now))
    ingest.terminate()
    index = json.loads((data_directory.index / "metrics-index.json").read_text())
    assert list(index) == ["version", "lastUpdated", "index"]
    [(day, servers)] = index["index"].items()
    assert servers["files"]["tools"] == ["read", "write"]
    assert servers["files"]["files"] == [f"metrics/{day}/files/read.jsonl", f"metrics/{day}/files/write.jsonl"]
    assert servers["files"]["count"] == 2
    assert servers["files"]["firstTimestamp"] == servers["files"]["lastTimestamp"]
    for path in servers["files"]["files"]:
        assert (data_directory.root / path).is_file()


def test_everything_is_private_whatever_the_umask(data_directory: DataDirectory, start: Start, writer: Writer) -> None:
    ingest = start("ingest", umask=0o022)
    writer.write(row(callId="c"))
    ingest.call("flush")
    ingest.terminate()
    ingest = start("ingest", umask=0)
    for place in (data_directory.root, data_directory.runtime):
        for path in [place, *place.rglob("*")]:
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                assert stat.S_IMODE(mode) == 0o700, path
            elif stat.S_ISREG(mode):
                assert stat.S_IMODE(mode) == 0o600, path
            else:
                assert stat.S_IMODE(mode) & 0o077 == 0, path


def test_a_second_instance_waits_for_the_lock_and_takes_over(
    ingest: ServiceProcess, writer: Writer, start: Start, data_directory: DataDirectory
) -> None:
    second = start("ingest", ready=False)
    eventually(lambda: f'holder="pid {ingest.pid}"' in second.log_text(), "the second says whom it waits for")
    assert writer.write(row(duration=1))["stored"] == 1
    assert ingest.call("ping")["pid"] == ingest.pid
    ingest.kill()
    second.wait_ready()
    assert writer.write(row(duration=2))["stored"] == 1
    second.call("flush")
    assert sorted(record["duration"] for record in stored(data_directory)) == [1, 2]


def test_one_that_waits_for_the_lock_can_be_stopped(ingest: ServiceProcess, start: Start) -> None:
    second = start("ingest", ready=False)
    eventually(lambda: "waiting_for_lock" in second.log_text())
    assert second.terminate() == 0
    assert ingest.call("ping")["pid"] == ingest.pid


def test_the_same_directory_under_another_name_is_the_same_lock(
    ingest: ServiceProcess, start: Start, data_directory: DataDirectory, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(data_directory.root)
    second = start("ingest", ready=False, environment={"PERFMON_DATA_DIR": str(link), "TMPDIR": str(tmp_path)})
    eventually(lambda: "waiting_for_lock" in second.log_text())


@pytest.fixture
def parent(data_directory: DataDirectory) -> Iterator[subprocess.Popen[bytes]]:
    """A process that starts ingest, says its pid and waits."""
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'services.ingest'], stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "child.wait()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env=service_environment(data_directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    yield process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_it_stops_when_its_parent_dies_and_loses_nothing(
    parent: subprocess.Popen[bytes], data_directory: DataDirectory, writer: Writer
) -> None:
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    with RpcClient(data_directory.endpoint("ingest.write")) as client:
        eventually(lambda: client.call("ping", timeout_s=0.5)["ready"])
    assert writer.write(row(duration=1))["stored"] == 1
    parent.kill()
    parent.wait()
    eventually(lambda: not _alive(pid), "ingest ends after its parent")
    assert [record["duration"] for record in stored(data_directory)] == [1]


def _alive(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


def test_stale_sockets_and_files_in_their_place_are_replaced(
    data_directory: DataDirectory, start: Start, writer: Writer, tmp_path: Path
) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(data_directory.runtime / "ingest.write"))
    stale.close()
    (data_directory.runtime / "ingest.push").write_text("a file")
    ingest = start("ingest")
    assert writer.write(row())["stored"] == 1
    assert ingest.terminate() == 0


def test_a_killed_ingest_leaves_sockets_that_the_next_one_replaces(
    ingest: ServiceProcess, start: Start, writer: Writer
) -> None:
    ingest.kill()
    start("ingest")
    assert writer.write(row())["stored"] == 1


@pytest.mark.parametrize("room", ["metrics", "journal", "state", "state/locks", "index"])
def test_a_room_that_is_a_link_is_refused(
    room: str, data_directory: DataDirectory, start: Start, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    path = data_directory.root / room
    for child in sorted(path.rglob("*"), reverse=True):
        child.rmdir()
    path.rmdir()
    path.symlink_to(outside)
    ingest = start("ingest", ready=False)
    assert ingest.wait_end() == EXIT_CONFIGURATION
    assert "symbolic link" in ingest.log_text()
    assert list(outside.iterdir()) == []


def test_a_planted_lock_file_is_not_written_through(
    data_directory: DataDirectory, start: Start, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (data_directory.locks / "ingest.lock").symlink_to(victim)
    ingest = start("ingest", ready=False)
    assert ingest.wait_end() == EXIT_CONFIGURATION
    assert "cannot_start" in ingest.log_text()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("settings", ["{", '{"shell": "rm -rf /"}', '{"max_series": -1}'])
def test_settings_that_are_none_are_refused_by_name(settings: str, data_directory: DataDirectory, start: Start) -> None:
    (data_directory.config / "settings.json").write_text(settings)
    ingest = start("ingest", ready=False)
    assert ingest.wait_end() == EXIT_CONFIGURATION
    assert "cannot_start" in ingest.log_text()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_directory_of_somebody_else_is_refused(data_directory: DataDirectory, start: Start, tmp_path: Path) -> None:
    os.chown(data_directory.journal, 65_534, 65_534)
    ingest = start("ingest", ready=False)
    assert ingest.wait_end() == EXIT_CONFIGURATION
    assert "belongs to user 65534" in ingest.log_text()


def test_a_recovery_that_fails_ends_the_process_with_an_error(data_directory: DataDirectory, start: Start) -> None:
    (data_directory.state / "call-ids").write_text("a file in the place of a folder")
    ingest = start("ingest", ready=False)
    assert ingest.wait_end() not in {0, None}
