"""A consumer against a real ingest: whatever is killed, lost or poisoned, its state holds each row once."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from perfmon.paths import CONSUMERS, DataDirectory
from perfmon.wire import encode_batch, encode_rows
from shared.gathering import GATHER_BYTES
from shared.journal import list_segments
from tests.kit import ServiceProcess, Writer, eventually, row, stored
from tests.kit.counting_service import FAILS, KILLS

pytestmark = pytest.mark.pipeline

Start = Callable[..., ServiceProcess]

#: What a row of `full_batch` takes in an entry: code, time, duration, success and three measurements.
ROW_BYTES = 2 + 8 + 8 + 1 + 3 * 8


@pytest.fixture
def count(start: Start) -> Callable[..., ServiceProcess]:
    """Start the counting consumer."""

    def starter(*, ready: bool = True, **environment: str) -> ServiceProcess:
        command = (sys.executable, "-m", "tests.kit.counting_service")
        return start("detector", ready=ready, command=command, environment=environment)

    return starter


def write(writer: Writer, *values: float) -> int:
    """Each value in a message of its own; the last entry."""
    seq = 0
    for value in values:
        ack = writer.write(row(duration=value))
        assert ack["stored"] == 1
        seq = ack["entry"]
    return seq


def has(consumer: ServiceProcess, *values: float) -> None:
    eventually(lambda: consumer.call("durations") == sorted(values), f"the state holds {len(values)} rows")


def full_batch(values: range) -> bytes:
    """A batch message with every column measured."""
    ones = [1.0] * len(values)
    now_ms = time.time_ns() // 1_000_000
    return encode_batch(
        [("files", f"tool{number}") for number in range(10)],
        series=[value % 10 for value in values],
        ts=[now_ms] * len(values),
        duration=[float(value) for value in values],
        ok=[True] * len(values),
        cpu=ones,
        memory=ones,
        disk_io=ones,
    )


def plant(data: DataDirectory, body: bytes) -> int:
    """Put an entry into the journal of a stopped ingest; its sequence."""
    database = sqlite3.connect(list_segments(data.journal)[-1].path)
    seq = int(database.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()[0]) + 1
    database.execute("INSERT INTO entries VALUES (?, 0, ?)", (seq, body))
    database.commit()
    database.close()
    return seq


def test_what_was_written_before_and_after_the_start_is_counted_once(
    ingest: ServiceProcess, writer: Writer, count: Start
) -> None:
    write(writer, 1, 2)
    consumer = count()
    seq = write(writer, 3)
    assert consumer.call("wait", {"seq": seq}) is True
    assert consumer.call("durations") == [1, 2, 3]
    assert consumer.call("wait", {"seq": seq + 1, "timeoutS": 0.01}) is False
    assert consumer.stats()["rebuilds_total"] == 0


def test_its_place_is_told_to_ingest_and_shown_by_ping(ingest: ServiceProcess, writer: Writer, count: Start) -> None:
    consumer = count()
    seq = write(writer, 1)
    ingest.eventually(lambda stats: stats["consumers"] == {"detector": seq})
    ping = consumer.call("ping")
    assert (ping["epoch"], ping["seq"], ping["ready"]) == (ingest.call("ping")["epoch"], seq, True)
    assert consumer.stats()["lag"] == 0


def test_what_came_while_it_was_down_is_read_from_the_journal(
    ingest: ServiceProcess, writer: Writer, count: Start
) -> None:
    consumer = count()
    write(writer, 1)
    has(consumer, 1)
    assert consumer.terminate() == 0
    write(writer, 2, 3)
    has(count(), 1, 2, 3)


def test_what_the_stream_dropped_while_it_was_stopped_is_read_from_the_journal(
    ingest: ServiceProcess, writer: Writer, count: Start
) -> None:
    consumer = count()
    write(writer, 0)
    has(consumer, 0)
    consumer.process.send_signal(signal.SIGSTOP)
    # Far more than the stream's high-water marks hold, and large enough to fill the socket's buffers.
    for number in range(1, 1_001):
        writer.write(*[row(duration=number, success=False, error="x" * 900)] * 5)
    consumer.process.send_signal(signal.SIGCONT)
    has(consumer, 0, *(number for number in range(1, 1_001) for _ in range(5)))
    assert consumer.stats()["gaps_total"] >= 1
    assert consumer.stats()["rebuilds_total"] == 0


def test_a_stopped_consumer_holds_nobody_up_and_catches_up_in_bounded_pieces_while_ingest_goes_on(
    ingest: ServiceProcess, writer: Writer, count: Start
) -> None:
    consumer, rows = count(), 5_000

    def write_batch(number: int) -> None:
        ack = writer.ask(full_batch(range(number * rows, (number + 1) * rows)))
        assert ack["stored"] == rows

    write_batch(0)
    ingest.eventually(lambda stats: stats["consumers"] == {"detector": 1})
    consumer.process.send_signal(signal.SIGSTOP)
    # 15 MB: twice what is applied at once, and more than any buffer on the way takes.
    for number in range(1, 61):
        write_batch(number)
    assert ingest.stats()["consumers"] == {"detector": 1}
    assert ingest.stats()["stored_total"] == 61 * rows
    consumer.process.send_signal(signal.SIGCONT)
    for number in range(61, 81):
        write_batch(number)
    has(consumer, *range(81 * rows))
    stats = consumer.stats()
    assert (stats["rebuilds_total"], stats["parked_total"], stats["lag"]) == (0, 0, 0)
    assert stats["rows_total"] == 81 * rows
    assert consumer.call("largest") * ROW_BYTES <= GATHER_BYTES
    ingest.eventually(lambda stats: stats["consumers"]["detector"] == consumer.call("ping")["seq"])
    assert ingest.stats()["lost_places_total"] == 0


def test_an_entry_that_no_stream_ever_carried_is_learned_of_from_the_heartbeat(
    ingest: ServiceProcess, writer: Writer, count: Start, start: Start, data_directory: DataDirectory
) -> None:
    consumer = count()
    write(writer, 1)
    ingest.kill()
    database = sqlite3.connect(list_segments(data_directory.journal)[-1].path)
    [body] = database.execute("SELECT body FROM entries").fetchone()
    database.close()
    plant(data_directory, body)  # committed, and never published
    start("ingest")
    has(consumer, 1, 1)
    write(writer, 2)
    has(consumer, 1, 1, 2)
    assert consumer.stats()["rebuilds_total"] == 0
    assert consumer.call("ping")["pid"] == consumer.pid


@pytest.mark.parametrize("restarted", [True, False])
def test_a_new_epoch_makes_it_rebuild_from_the_files(
    ingest: ServiceProcess, writer: Writer, count: Start, start: Start, data_directory: DataDirectory, restarted: bool
) -> None:
    consumer = count()
    write(writer, 1, 2, 3)
    has(consumer, 1, 2, 3)
    if restarted:
        consumer.terminate()
    assert ingest.terminate() == 0
    shutil.rmtree(data_directory.journal)
    again = start("ingest")
    if restarted:
        consumer = count()
    write(writer, *range(10, 20))
    has(consumer, 1, 2, 3, *range(10, 20))
    assert consumer.call("reasons") == ["new epoch"]
    assert consumer.call("ping")["epoch"] == again.call("ping")["epoch"]
    again.call("flush")
    assert sorted(record["duration"] for record in stored(data_directory)) == [1, 2, 3, *range(10, 20)]


def test_a_consumer_without_a_state_rebuilds_from_a_store_that_was_there_before(
    ingest: ServiceProcess, writer: Writer, count: Start, start: Start, data_directory: DataDirectory
) -> None:
    write(writer, 1, 2)
    ingest.terminate()
    shutil.rmtree(data_directory.journal)
    start("ingest")
    write(writer, 3)
    consumer = count()
    has(consumer, 1, 2, 3)
    assert consumer.call("reasons") == ["no state"]


def test_a_lost_place_makes_it_rebuild_from_the_files(
    writer: Writer, count: Start, start: Start, data_directory: DataDirectory
) -> None:
    environment = {"PERFMON_SEGMENT_MB": "1", "PERFMON_JOURNAL_MAX_MB": "8", "PERFMON_CHECKPOINT_INTERVAL_S": "0.2"}
    ingest = start("ingest", environment=environment)
    consumer = count()
    write(writer, 1)
    has(consumer, 1)
    consumer.terminate()
    text = "漢" * 1_000
    for number in range(6):
        rows = [row(duration=number, success=False, error=text)] * 800
        assert writer.write(*rows)["stored"] == 800
    ingest.eventually(lambda stats: stats["lost_places_total"] >= len(CONSUMERS))
    assert ingest.stats()["journalBytes"] < 16 * 2**20
    consumer = count()
    has(consumer, 1, *(number for number in range(6) for _ in range(800)))
    assert consumer.call("reasons") == ["lost place"]


def test_segments_go_once_every_consumer_is_past_them(
    writer: Writer, start: Start, data_directory: DataDirectory
) -> None:
    ingest = start("ingest", environment={"PERFMON_SEGMENT_MB": "1", "PERFMON_CHECKPOINT_INTERVAL_S": "0.2"})
    for number in range(3):
        writer.write(*([row(duration=number, success=False, error="漢" * 1_000)] * 500))
    assert len(list_segments(data_directory.journal)) > 2
    ping = ingest.call("ping")
    for service in CONSUMERS:
        assert ingest.call("progress", {"service": service, "epoch": ping["epoch"], "seq": ping["seq"]})["noted"]
    writer.write(row())
    eventually(lambda: len(list_segments(data_directory.journal)) == 1, "old segments are dropped")
    assert ingest.stats()["lost_places_total"] == 0


@pytest.mark.parametrize("body", [b"not a batch", b"", b"\x80", encode_rows([row()])], ids=repr)
def test_an_entry_that_cannot_be_read_is_parked_and_passed(
    body: bytes, ingest: ServiceProcess, writer: Writer, count: Start, start: Start, data_directory: DataDirectory
) -> None:
    write(writer, 1)
    ingest.terminate()
    seq = plant(data_directory, body)
    again = start("ingest")
    write(writer, 2)
    consumer = count()
    has(consumer, 1, 2)
    assert consumer.stats()["parked_total"] == 1
    assert again.stats()["parked_total"] == 1
    epoch = again.call("ping")["epoch"]
    parked = data_directory.state / "detector" / "parked" / f"{epoch}-{seq}.msgpack"
    assert parked.read_bytes() == body
    consumer.terminate()
    consumer = count()
    has(consumer, 1, 2)
    assert consumer.stats()["parked_total"] == 1


def test_an_entry_that_fails_in_the_state_is_parked_and_the_state_is_as_without_it(
    ingest: ServiceProcess, writer: Writer, count: Start
) -> None:
    consumer = count(COUNTING_SAVE_S="3600")  # so that the replay begins at the last save, at the start
    write(writer, 1, 2)
    write(writer, FAILS)
    write(writer, 3)
    has(consumer, 1, 2, 3)
    assert consumer.stats()["parked_total"] == 1
    write(writer, FAILS, 4)
    has(consumer, 1, 2, 3, 4)
    assert consumer.terminate() == 0
    has(count(), 1, 2, 3, 4)


def test_of_entries_that_are_applied_together_only_those_that_fail_are_parked(
    ingest: ServiceProcess, writer: Writer, count: Start
) -> None:
    write(writer, 1, 2, FAILS, 3, FAILS, 4)
    consumer = count()
    has(consumer, 1, 2, 3, 4)
    assert consumer.stats()["parked_total"] == 2
    write(writer, 5)
    has(consumer, 1, 2, 3, 4, 5)
    assert consumer.terminate() == 0
    has(count(), 1, 2, 3, 4, 5)


@pytest.mark.parametrize("first", [True, False])
def test_an_entry_that_kills_the_process_three_times_is_parked(
    first: bool, ingest: ServiceProcess, writer: Writer, count: Start
) -> None:
    before = [] if first else [1.0]
    if before:
        consumer = count()
        write(writer, *before)
        has(consumer, *before)
        consumer.terminate()
    write(writer, KILLS)
    write(writer, 2)
    for _ in range(3):
        assert count(ready=False).wait_end() == 66
    consumer = count()
    has(consumer, *before, 2)
    assert consumer.stats()["parked_total"] == 1
    write(writer, 3)
    has(consumer, *before, 2, 3)


def test_place_and_state_are_one_whenever_it_is_killed(ingest: ServiceProcess, writer: Writer, count: Start) -> None:
    rng = random.Random(4)
    sent: list[float] = []
    for _ in range(4):
        consumer = count(COUNTING_SAVE_S="0.01")
        for _ in range(rng.randint(50, 150)):
            writer.send(encode_rows([row(duration=len(sent))]))
            sent.append(len(sent))
        until = rng.randint(1, 50)
        for at in range(50):
            writer.receive()
            if at == until:
                consumer.kill()
    while not _all_answered(writer):
        pass
    ingest.eventually(lambda stats: stats["stored_total"] == len(sent))
    has(count(), *sent)


def _all_answered(writer: Writer) -> bool:
    while not writer.silent():
        writer.receive()
    return True


def test_a_progress_is_told_again_to_an_ingest_that_restarted(
    ingest: ServiceProcess, writer: Writer, count: Start, start: Start
) -> None:
    count()
    write(writer, 1)
    ingest.kill()
    again = start("ingest")
    seq = write(writer, 2)
    again.eventually(lambda stats: stats["consumers"] == {"detector": seq})


def test_queries_are_answered_while_it_waits_for_a_journal(count: Start, data_directory: DataDirectory) -> None:
    consumer = count(ready=False)
    ping: dict[str, Any] = eventually(lambda: consumer.call("ping", timeout_s=0.5))
    assert ping["ready"] is False
    assert ping["epoch"] == ""
    assert consumer.terminate() == 0


def test_a_place_beyond_the_journals_head_is_no_place(
    ingest: ServiceProcess, start: Start, writer: Writer, count: Start, data_directory: DataDirectory
) -> None:
    write(writer, 1, 2)
    consumer = count()
    has(consumer, 1, 2)
    assert consumer.terminate() == 0
    database = sqlite3.connect(data_directory.state / "counting.db")
    database.execute("UPDATE place SET seq = seq + 64")  # a bit flipped
    database.commit()
    database.close()
    consumer = count()
    write(writer, 3)
    has(consumer, 1, 2, 3)
    assert consumer.call("reasons") == ["beyond the head"]


def test_entries_that_cannot_be_read_any_more_are_taken_from_the_files(
    start: Start, writer: Writer, count: Start, data_directory: DataDirectory
) -> None:
    ingest = start("ingest", environment={"PERFMON_SEGMENT_MB": "1"})
    assert count().terminate() == 0
    values = [float(value) for value in range(30)]
    for value in values:
        many = [row(duration=value, success=False, error="e" * 900) for _ in range(80)]
        assert writer.write(*many)["stored"] == 80
    ingest.call("flush")
    oldest = list_segments(data_directory.journal)[0].path
    content = bytearray(oldest.read_bytes())
    for at in range(8 * 4_096, len(content), 4_096):
        content[at : at + 64] = b"\xff" * 64
    oldest.write_bytes(content)
    consumer = count(ready=False)
    eventually(lambda: consumer.call("ping")["ready"], "it gets past the damage")
    has(consumer, *(value for value in values for _ in range(80)))
    assert consumer.call("reasons") == ["damaged journal"]
