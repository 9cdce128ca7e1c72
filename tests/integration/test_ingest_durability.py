"""What was acknowledged is stored, once, through kills, repeated messages, and disks that refuse."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from perfmon.paths import DataDirectory
from perfmon.rpc import RpcError
from perfmon.wire import encode_rows, unpack
from tests.kit import ServiceProcess, Writer, eventually, row, stored
from tests.kit.load import AcknowledgedLoad

pytestmark = pytest.mark.pipeline

Start = Callable[..., ServiceProcess]


def durations(data: DataDirectory) -> list[float]:
    return sorted(record["duration"] for record in stored(data))


# --- kills ---------------------------------------------------------------------------------------------------------


def test_an_acknowledged_row_survives_a_kill_right_after(
    ingest: ServiceProcess, start: Start, writer: Writer, data_directory: DataDirectory
) -> None:
    for value in range(5):
        assert writer.write(row(duration=value))["stored"] == 1
        ingest.kill()
        ingest = start("ingest")
    ingest.call("flush")
    assert durations(data_directory) == [0, 1, 2, 3, 4]


def test_a_message_sent_again_after_a_kill_is_stored_once(
    ingest: ServiceProcess, start: Start, data_directory: DataDirectory
) -> None:
    with Writer(data_directory, "p") as writer:
        for seq in (1, 3, 2):
            assert writer.write(row(duration=seq), seq=seq)["stored"] == 1
        ingest.kill()
        ingest = start("ingest")
        for seq in (2, 1, 3):
            ack = writer.write(row(duration=seq), seq=seq)
            assert (ack["stored"], ack["duplicates"], ack["cumulative"]) == (0, 1, 3)
        assert writer.write(row(duration=5), seq=5)["cumulative"] == 3
        assert writer.write(row(duration=4), seq=4)["cumulative"] == 5
    ingest.call("flush")
    assert durations(data_directory) == [1, 2, 3, 4, 5]


def test_a_call_id_is_stored_once_across_kills_and_checkpoints(
    start: Start, writer: Writer, data_directory: DataDirectory
) -> None:
    ingest = start("ingest", environment={"PERFMON_CHECKPOINT_INTERVAL_S": "0.1"})
    ack = writer.write(row(duration=1, callId="a"), row(duration=2, callId="a"), row(duration=3, callId="b"))
    assert (ack["stored"], ack["duplicates"]) == (2, 1)
    ingest.eventually(lambda stats: stats["checkpointSeq"] == 1)
    assert writer.write(row(duration=4, callId="c"))["stored"] == 1
    ingest.kill()
    ingest = start("ingest")
    ack = writer.write(*(row(duration=9, callId=call) for call in "abcd"))
    assert (ack["stored"], ack["duplicates"]) == (1, 3)
    assert ingest.terminate() == 0
    ingest = start("ingest")
    assert writer.write(row(duration=9, callId="d"))["duplicates"] == 1
    ingest.call("flush")
    assert durations(data_directory) == [1, 3, 4, 9]


def test_kills_under_load_lose_and_double_nothing(start: Start, data_directory: DataDirectory) -> None:
    rng = random.Random(11)
    environment = {"PERFMON_CHECKPOINT_INTERVAL_S": "0.2", "PERFMON_SEGMENT_MB": "1"}
    ingest = start("ingest", environment=environment)
    with AcknowledgedLoad(data_directory, seed=11) as load:
        for _ in range(3):
            load.run_until_acknowledged(rng.randint(500, 3_000))
            ingest.kill()
            load.send_some()
            ingest = start("ingest", environment=environment)
        load.drain()
    ingest.call("flush")
    load.check(stored(data_directory))
    assert ingest.terminate() == 0
    load.check(stored(data_directory))


def test_with_the_journal_deleted_ten_new_metrics_are_stored_and_nothing_is_doubled(
    ingest: ServiceProcess, start: Start, writer: Writer, data_directory: DataDirectory
) -> None:
    writer.write(*(row(duration=value) for value in range(20)))
    ingest.call("flush")
    ingest.kill()
    shutil.rmtree(data_directory.journal)
    ingest = start("ingest")
    for value in range(20, 30):
        assert writer.write(row(duration=value))["stored"] == 1
    ingest.call("flush")
    assert durations(data_directory) == list(range(30))
    assert set(ingest.call("snapshot")["files"]) == {
        str(path.relative_to(data_directory.metrics)) for path in data_directory.metrics.rglob("*.jsonl")
    }


def test_a_journal_deleted_while_ingest_runs_does_not_cost_what_was_acknowledged(
    ingest: ServiceProcess, start: Start, writer: Writer, data_directory: DataDirectory
) -> None:
    writer.write(row(duration=1))
    shutil.rmtree(data_directory.journal)
    writer.write(row(duration=2))
    assert ingest.terminate() == 0
    ingest = start("ingest")
    writer.write(row(duration=3))
    ingest.call("flush")
    assert durations(data_directory) == [1, 2, 3]


def test_a_day_forgotten_just_before_a_kill_stays_forgotten(
    ingest: ServiceProcess, start: Start, writer: Writer, data_directory: DataDirectory
) -> None:
    writer.write(row(duration=1))
    ingest.call("flush")
    [day] = [path.name for path in data_directory.metrics.iterdir()]
    writer.write(row(duration=2))
    answer = ingest.call("forget", {"day": day})
    assert answer["files"] == 1
    assert answer["bytes"] > 100
    ingest.kill()
    ingest = start("ingest")
    assert stored(data_directory) == []
    writer.write(row(duration=3))
    ingest.call("flush")
    ingest.kill()
    start("ingest").call("flush")
    assert durations(data_directory) == [3]


# --- disks that refuse ----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[DataDirectory]:
    """A data directory on a file system of 3 MB."""
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "tmpfs", mount], check=False, capture_output=True
    )
    if done.returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    data = DataDirectory((mount / "data").resolve())
    data.create()
    yield data
    subprocess.run(["umount", "--lazy", mount], check=True)
    shutil.rmtree(data.runtime, ignore_errors=True)


def fill(data: DataDirectory) -> Path:
    """Take all the space that is left."""
    filler = data.root.parent / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (65_536, 4_096, 512, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return filler


def write_until_refused(writer: Writer, first: int) -> tuple[list[float], dict[str, Any]]:
    """Rows with a long error each, until the disk is full; the durations that were acknowledged, and the refusal."""
    done: list[float] = []
    for value in range(first, first + 5_000):
        ack = writer.write(row(duration=value, success=False, error="e" * 900))
        if "error" in ack:
            return done, ack
        assert ack["stored"] == 1
        done.append(value)
    raise AssertionError("the disk never filled up")


def test_a_full_disk_refuses_writes_and_loses_nothing(small_disk: DataDirectory, start: Start) -> None:
    ingest = start("ingest", data=small_disk)
    with Writer(small_disk, "p") as writer:
        acknowledged, refusal = write_until_refused(writer, 0)
        assert refusal["error"]["code"] == "disk_full"
        assert (refusal["stored"], refusal["entry"]) == (0, 0)
        assert len(acknowledged) > 50
        assert ingest.call("ping")["ready"]
        assert ingest.stats()["diskFull"] is True
        # Again and again, and across a kill: it goes on serving and asking for space; what still fits is stored.
        for attempt in range(3):
            ack = writer.write(row(duration=9_990 + attempt))
            if ack["stored"]:
                acknowledged.append(9_990 + attempt)
            else:
                assert ack["error"]["code"] == "disk_full"
        ingest.kill()
        ingest = start("ingest", data=small_disk)
        assert set(durations(small_disk)) <= set(acknowledged)
        subprocess.run(["mount", "-o", "remount,size=12m", small_disk.root.parent], check=True)
        more = writer.write(row(duration=10_000))
        assert more["stored"] == 1
    ingest.call("flush")
    assert durations(small_disk) == [*acknowledged, 10_000]
    assert ingest.terminate() == 0
    assert durations(small_disk) == [*acknowledged, 10_000]


def test_a_forgotten_day_makes_room_on_a_full_disk(small_disk: DataDirectory, start: Start) -> None:
    ingest = start("ingest", data=small_disk, environment={"PERFMON_SEGMENT_MB": "1"})
    yesterday = ingest.call("hello")["lastHelloMs"] - 20 * 3_600_000
    with Writer(small_disk, "p") as writer:
        old = [row(duration=1, timestamp=yesterday, success=False, error="e" * 900) for _ in range(300)]
        assert writer.write(*old)["stored"] == 300
        ingest.call("flush")
        day = min(path.name for path in small_disk.metrics.iterdir())
        write_until_refused(writer, 100)
        answer = ingest.call("forget", {"day": day})
        assert answer["files"] == 1
        assert writer.write(row(duration=5))["stored"] == 1
    ingest.call("flush")
    ingest.kill()
    start("ingest", data=small_disk).call("flush")
    assert 1 not in durations(small_disk)


def test_subscribers_are_asked_for_space_until_there_is_some(small_disk: DataDirectory, start: Start) -> None:
    start("ingest", data=small_disk)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stream = context.socket(zmq.SUB)
    stream.setsockopt(zmq.LINGER, 0)
    stream.setsockopt(zmq.SUBSCRIBE, b"")
    stream.connect(small_disk.endpoint("stream"))
    assert stream.poll(10_000)
    fill(small_disk)
    with Writer(small_disk) as writer:
        write_until_refused(writer, 0)

    def asked() -> bool:
        return stream.poll(1_000) != 0 and unpack(stream.recv_multipart()[0])["kind"] == "disk_full"

    eventually(asked, "a clean-up is asked for")
    stream.close(linger=0)
    context.term()


@pytest.mark.parametrize("limit", ["800000", "6000000"], ids=["the journal ends", "a metric file ends"])
def test_a_file_size_limit_tears_and_loses_nothing(limit: str, start: Start, data_directory: DataDirectory) -> None:
    # Writes beyond the limit are short, then fail (SIGXFSZ is ignored by Python).
    environment = {"PERFMON_SEGMENT_MB": "1"}
    limited = start("ingest", prefix=("prlimit", f"--fsize={limit}"), environment=environment)
    acknowledged: list[float] = []
    with Writer(data_directory, "p") as writer:
        for value in range(100):
            ack = writer.write(*[row(duration=value, success=False, error="e" * 900)] * 80)
            if "error" in ack:
                assert ack["error"]["code"] == "storage_failed"
                break
            acknowledged += [value] * 80
    limited.eventually(lambda stats: stats["append_failures_total"] + stats["storage_failures_total"])
    stored(data_directory)
    limited.kill()
    ingest = start("ingest", environment=environment)
    ingest.call("flush")
    assert durations(data_directory) == acknowledged
    assert acknowledged


def _obeys_permissions() -> tuple[str, ...]:
    if os.getuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root passes over permissions, and setpriv is not there to change that")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.mark.parametrize("what", ["file", "server", "day"])
@pytest.mark.parametrize("restarted", [True, False])
def test_what_cannot_be_written_for_lack_of_permission_is_written_once_it_can(
    what: str, restarted: bool, start: Start, writer: Writer, data_directory: DataDirectory
) -> None:
    ingest = start("ingest", prefix=_obeys_permissions())
    assert writer.write(row(duration=1))["stored"] == 1
    ingest.call("flush")
    [path] = data_directory.metrics.rglob("*.jsonl")
    locked = {"file": path, "server": path.parent, "day": path.parent.parent}[what]
    mode = locked.stat().st_mode & 0o777
    if restarted:
        ingest.terminate()
        locked.chmod(0)
        ingest = start("ingest", prefix=_obeys_permissions())
    else:
        ingest.terminate()
        ingest = start("ingest", prefix=_obeys_permissions())
        locked.chmod(0)
    for value in (2, 3):
        assert writer.write(row(duration=value))["stored"] == 1
        ingest.call("flush")
    assert ingest.stats()["append_failures_total"] >= 1
    ingest.kill()
    ingest = start("ingest", prefix=_obeys_permissions())
    assert writer.write(row(duration=4))["stored"] == 1
    locked.chmod(mode)
    eventually(lambda: durations(data_directory) == [1, 2, 3, 4])
    assert ingest.terminate() == 0
    assert durations(data_directory) == [1, 2, 3, 4]


def test_at_its_limit_the_journal_refuses_rather_than_drop_what_no_file_has(
    start: Start, data_directory: DataDirectory
) -> None:
    environment = {"PERFMON_SEGMENT_MB": "1", "PERFMON_JOURNAL_MAX_MB": "8", "PERFMON_CHECKPOINT_INTERVAL_S": "0.2"}
    ingest = start("ingest", environment=environment, prefix=_obeys_permissions())
    acknowledged: list[float] = []
    with Writer(data_directory, "p") as writer:
        data_directory.metrics.chmod(0o500)
        for value in range(200):
            ack = writer.write(*[row(duration=value, success=False, error="e" * 900)] * 100)
            if "error" in ack:
                break
            acknowledged += [value] * 100
        assert ack["error"]["code"] == "journal_full"
        with pytest.raises(RpcError) as incomplete:
            ingest.call("snapshot")
        assert incomplete.value.code == "view_incomplete"
        assert ingest.stats()["lost_places_total"] == 0
        assert ingest.stats()["refusedByReason"]["journal_full"] == 1
        ingest.kill()
        ingest = start("ingest", environment=environment, prefix=_obeys_permissions())
        data_directory.metrics.chmod(0o700)
        ingest.eventually(lambda stats: stats["viewSeq"] == stats["head"], "the files caught up")
        assert writer.write(row(duration=1_000))["stored"] == 1
    ingest.call("flush")
    assert durations(data_directory) == [*acknowledged, 1_000]


def test_a_stopped_and_continued_ingest_answers_what_waited(
    ingest: ServiceProcess, writer: Writer, data_directory: DataDirectory
) -> None:
    ingest.process.send_signal(signal.SIGSTOP)
    for value in range(100):
        writer.send(encode_rows([row(duration=value)]))
    assert writer.silent()
    ingest.process.send_signal(signal.SIGCONT)
    assert sum(writer.receive()["stored"] for _ in range(100)) == 100
    ingest.call("flush")
    assert durations(data_directory) == list(range(100))
