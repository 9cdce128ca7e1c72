"""What every producer must do, in whatever language: one set of tests against the Python SDK and against one in Node that was
written from docs/protocol.md alone, each behind the same command line.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perfmon.paths import DataDirectory
from perfmon.wire import INITIAL_CREDIT_BYTES, MAX_IN_FLIGHT
from tests.contract.producer.adapters import LIMIT_S, AdapterProcess, adapter_process, call
from tests.fakes.fake_ingest import FakeIngest, rows_of
from tests.kit import ServiceProcess, eventually, stored

pytestmark = pytest.mark.pipeline

Start = Callable[..., ServiceProcess]


@pytest.fixture(params=["python", "node"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def producer(language: str, tmp_path: Path) -> Iterator[AdapterProcess]:
    with adapter_process(language, tmp_path) as process:
        yield process


def durations(data: DataDirectory) -> list[float]:
    return sorted(record["duration"] for record in stored(data))


# --- with a real ingest -------------------------------------------------------------------------------------------


def test_every_row_that_is_acknowledged_is_stored_once(
    producer: AdapterProcess, ingest: ServiceProcess, data_directory: DataDirectory
) -> None:
    producer.open(ingest.endpoint)
    producer.record(call(duration=0))
    producer.fill(1, 20_000)
    assert producer.flush()
    stats = producer.close()
    assert (stats["recorded"], stats["acknowledged"], stats["rejected"], stats["dropped"]) == (20_001, 20_001, 0, 0)
    assert (stats["inFlight"], stats["buffered"]) == (0, 0)
    ingest.call("flush")
    assert durations(data_directory) == list(range(20_001))


#: Durations that are stored as they were, bit for bit.
NUMBERS = [0, -0.0, 150, 0.1, 1 / 3, 1e-9, 123456.789, 999_999_999.999, 1e9, 5e-324]
TEXTS = ["deploy", "größe", "名前", "🦀 crab", "a/b\\c", "..", "<b>&\"'", "tab\there", "x" * 300, "CON"]


@pytest.mark.parametrize("copies", [1, 40], ids=["a few rows", "many rows"])
def test_values_arrive_exactly(
    copies: int, producer: AdapterProcess, ingest: ServiceProcess, data_directory: DataDirectory
) -> None:
    now = time.time_ns() // 1_000_000
    rows = [call(tool="numbers", duration=number, ts=now - 5) for number in NUMBERS]
    rows += [call(tool=text, server=text, ts=now - 5) for text in TEXTS]
    rows += [
        call(tool="errors", success=False, error="connection refused: “größe” 🦀\nsecond line", ts=now - 5),
        call(tool="errors", success=False, ts=now - 5),
        call(tool="resources", cpu=15.5, memory=128, diskIO=None, ts=now - 5),
        call(tool="resources", cpu=None, memory=None, diskIO=0.0, ts=now - 5),
        call(tool="resources", ts=now - 5),
        call(tool="ids", callId="toolu_01A", ts=now - 5),
        call(tool="ids", callId="größe-🦀", ts=now - 5),
    ]
    producer.open(ingest.endpoint)
    for copy in range(copies):
        producer.record(*(row | ({"callId": f"{row['callId']}-{copy}"} if "callId" in row else {}) for row in rows))
    assert producer.flush()
    assert producer.stats()["acknowledged"] == copies * len(rows)
    ingest.call("flush")
    records = stored(data_directory)
    assert len(records) == copies * len(rows)

    def of(tool: str, field: str) -> list[Any]:
        return [record[field] for record in records if record["toolName"] == tool]

    numbers = of("numbers", "duration")
    assert sorted(map(_bits, numbers)) == sorted(_bits(number) for number in NUMBERS * copies)
    assert {record["toolName"] for record in records} >= set(TEXTS)
    assert set(of("errors", "error")) == {None, "connection refused: “größe” 🦀\nsecond line"}
    assert set(of("errors", "success")) == {False}
    resources = {str(value) for value in of("resources", "resource")}
    assert resources == {
        "None",
        str({"cpu": 15.5, "memory": 128, "diskIO": None}),
        str({"cpu": None, "memory": None, "diskIO": 0}),
    }
    assert {name.rsplit("-", 1)[0] for name in of("ids", "callId")} == {"toolu_01A", "größe-🦀"}
    assert {_epoch_ms(record["timestamp"]) for record in records} == {now - 5}


def _bits(number: float) -> tuple[float, float]:
    return float(number), math.copysign(1.0, number)


def _epoch_ms(text: str) -> int:
    from shared.timespan import parse_iso

    return int(parse_iso(text))


def test_a_row_without_a_time_gets_that_of_its_recording(
    producer: AdapterProcess, ingest: ServiceProcess, data_directory: DataDirectory
) -> None:
    before = time.time_ns() // 1_000_000
    producer.open(ingest.endpoint)
    producer.record(call())
    assert producer.flush()
    ingest.call("flush")
    [record] = stored(data_directory)
    assert before <= _epoch_ms(record["timestamp"]) <= time.time_ns() // 1_000_000


@pytest.mark.parametrize("copies", [1, 40], ids=["a few rows", "many rows"])
def test_rows_that_are_refused_are_counted_with_the_reason_and_the_others_stored(
    copies: int, producer: AdapterProcess, ingest: ServiceProcess, data_directory: DataDirectory
) -> None:
    producer.open(ingest.endpoint)
    producer.record(*[call(duration=1), call(duration=-1), call(duration=2)] * copies)
    assert producer.flush()
    stats = producer.stats()
    assert (stats["acknowledged"], stats["rejected"]) == (2 * copies, copies)
    assert stats["lastError"] == "duration_out_of_range"
    ingest.call("flush")
    assert durations(data_directory) == [1.0] * copies + [2.0] * copies


def test_a_call_that_is_known_by_its_id_is_stored_once_whoever_sends_it(
    producer: AdapterProcess, ingest: ServiceProcess, data_directory: DataDirectory
) -> None:
    producer.open(ingest.endpoint)
    producer.record(call(callId="once"))
    assert producer.flush()
    producer.record(call(callId="once"))
    assert producer.flush()
    stats = producer.stats()
    assert (stats["acknowledged"], stats["duplicates"]) == (2, 1)
    ingest.call("flush")
    assert len(stored(data_directory)) == 1


def test_an_ingest_that_is_killed_in_the_middle_loses_and_doubles_nothing(
    producer: AdapterProcess, ingest: ServiceProcess, start: Start, data_directory: DataDirectory
) -> None:
    producer.open(ingest.endpoint)
    total = 0
    for _ in range(3):
        producer.fill(total, 15_000)
        total += 15_000
        _eventually_acknowledged(producer, total - 15_000)
        ingest.kill()
        producer.fill(total, 100)
        total += 100
        ingest = start("ingest")
    assert producer.flush()
    stats = producer.stats()
    assert (stats["recorded"], stats["acknowledged"], stats["dropped"], stats["rejected"]) == (total, total, 0, 0)
    ingest.call("flush")
    assert durations(data_directory) == list(range(total))


def _eventually_acknowledged(producer: AdapterProcess, more_than: int) -> None:
    eventually(lambda: producer.stats()["acknowledged"] > more_than, timeout_s=LIMIT_S)


def test_a_pipeline_that_comes_late_gets_everything_in_order(
    producer: AdapterProcess, start: Start, data_directory: DataDirectory
) -> None:
    producer.open(data_directory.endpoint("ingest.write"))
    producer.fill(0, 1_000)
    assert not producer.flush(0.0)
    ingest = start("ingest")
    assert producer.flush()
    ingest.call("flush")
    assert [record["duration"] for record in stored(data_directory)] == list(range(1_000))


def test_fire_and_forget_rows_are_stored_and_not_acknowledged(
    producer: AdapterProcess, ingest: ServiceProcess, data_directory: DataDirectory
) -> None:
    producer.open(data_directory.endpoint("ingest.push"), acknowledged=False)
    producer.record(call(duration=0), call(duration=1), call(duration=-1))
    producer.fill(2, 5_000)
    assert producer.flush()
    stats = producer.close()
    assert (stats["sent"], stats["acknowledged"]) == (5_003, 0)
    ingest.eventually(lambda found: found["stored_total"] == 5_002)
    ingest.call("flush")
    assert durations(data_directory) == list(range(5_002))
    assert ingest.stats()["refusedByReason"] == {"duration_out_of_range": 1}


def test_rows_with_long_errors_fill_messages_and_are_stored(
    producer: AdapterProcess, ingest: ServiceProcess, data_directory: DataDirectory
) -> None:
    producer.open(ingest.endpoint)
    producer.fill(0, 4_000, success=False, error="größe" * 180)
    assert producer.flush()
    assert producer.stats()["acknowledged"] == 4_000
    ingest.call("flush")
    records = stored(data_directory)
    assert sorted(record["duration"] for record in records) == list(range(4_000))
    assert {record["error"] for record in records} == {"größe" * 180}


def test_without_a_pipeline_the_oldest_rows_are_dropped_and_counted(
    producer: AdapterProcess, data_directory: DataDirectory
) -> None:
    producer.open(data_directory.endpoint("ingest.write"), max_buffered=100)
    producer.fill(0, 5_000)
    stats = producer.close(0.0)
    assert (stats["recorded"], stats["dropped"], stats["buffered"], stats["inFlight"]) == (5_000, 5_000, 0, 0)


# --- flow control, with an ingest that grants what a test says ----------------------------------------------------


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeIngest]:
    made = FakeIngest(f"ipc://{tmp_path}/i").start()
    yield made
    made.stop()


def _sent(fake: FakeIngest) -> list[float]:
    return [row["duration"] for row in fake.stored]


def test_messages_go_out_without_waiting_for_answers_within_the_initial_window(
    producer: AdapterProcess, fake: FakeIngest
) -> None:
    fake.holds = True
    producer.open(fake.endpoint)
    producer.fill(0, 150_000, success=False, error="e" * 100)
    fake.wait_until(lambda: sum(fake.out()) > 0.6 * INITIAL_CREDIT_BYTES and len(fake.out()) > 2)
    assert producer.stats()["acknowledged"] == 0
    for _ in range(20):
        fake.release(1)
    fake.holds = False
    fake.release(len(fake.held))
    assert producer.flush()
    assert fake.excesses == []
    assert sorted(_sent(fake)) == list(range(150_000))


@pytest.mark.parametrize("credit", [20_000, 200_000])
def test_what_is_out_never_exceeds_the_window(credit: int, producer: AdapterProcess, fake: FakeIngest) -> None:
    fake.credit = credit
    producer.open(fake.endpoint)
    producer.record(call())
    assert producer.flush()  # now the window is known
    fake.holds = True
    producer.fill(0, 30_000)
    for _ in range(20):
        fake.wait_until(lambda: len(fake.held) > 0)
        fake.release(1)
    fake.holds = False
    fake.release(len(fake.held))
    assert producer.flush()
    assert fake.excesses == []
    assert sorted(_sent(fake)[1:]) == list(range(30_000))


def test_without_credit_nothing_is_sent_until_ingest_says_so(producer: AdapterProcess, fake: FakeIngest) -> None:
    fake.credit = 0
    producer.open(fake.endpoint, probe_s=1_000.0)
    producer.record(call(duration=0))
    assert producer.flush()
    producer.fill(1, 5_000)
    assert not producer.flush(0.5)
    assert len(fake.messages) == 1
    fake.send_credit(100_000)
    assert producer.flush()
    assert _sent(fake) == list(range(5_001))


def test_a_credit_that_got_lost_is_made_up_for_by_single_probes(producer: AdapterProcess, fake: FakeIngest) -> None:
    fake.credit = 0
    producer.open(fake.endpoint, probe_s=0.3)
    producer.record(call(duration=0))
    assert producer.flush()
    fake.holds = True
    producer.fill(1, 20_000)
    fake.wait_until(lambda: len(fake.held) == 1)
    assert len(rows_of(fake.held[0][1])) < 20_000
    fake.holds = False
    fake.credit = 1_000_000
    fake.release(1)
    assert producer.flush()
    assert _sent(fake) == list(range(20_001))


def test_a_message_larger_than_the_window_goes_alone(producer: AdapterProcess, fake: FakeIngest) -> None:
    fake.credit = 10
    producer.open(fake.endpoint)
    producer.record(call(duration=0))
    assert producer.flush()
    fake.holds = True
    for number in range(1, 4):
        producer.record(call(duration=number))
        producer.record(call(duration=number + 0.5))
        fake.wait_until(lambda: len(fake.held) == 1)
        assert not producer.flush(0.1)
        assert len(fake.held) == 1
        fake.release(1)
    fake.holds = False
    fake.release(1)
    assert producer.flush()
    assert _sent(fake) == [0, *(half / 2 for half in range(2, 8))]


def test_an_ingest_of_version_1_0_that_grants_nothing_is_written_to(producer: AdapterProcess, fake: FakeIngest) -> None:
    fake.credit = None
    producer.open(fake.endpoint)
    producer.fill(0, 30_000)
    assert producer.flush()
    assert _sent(fake) == list(range(30_000))


def test_a_lost_answer_is_made_up_for_by_sending_again(producer: AdapterProcess, fake: FakeIngest) -> None:
    fake.script = ["silent"]
    producer.open(fake.endpoint)
    producer.record(call(duration=1))
    assert producer.flush()
    stats = producer.stats()
    assert (stats["acknowledged"], stats["duplicates"]) == (1, 1)
    assert stats["resent"] >= 1
    assert {body["seq"] for body in fake.messages} == {1}
    assert _sent(fake) == [1]


@pytest.mark.parametrize("code", ["journal_full", "disk_full", "storage_failed"])
def test_what_is_refused_for_now_is_sent_again_later(code: str, producer: AdapterProcess, fake: FakeIngest) -> None:
    fake.script = [code, code]
    producer.open(fake.endpoint)
    producer.record(call(duration=1))
    assert producer.flush()
    assert len(fake.messages) >= 3
    assert {body["seq"] for body in fake.messages} == {1}
    assert producer.stats()["acknowledged"] == 1


def test_what_is_refused_for_good_is_dropped_and_told(producer: AdapterProcess, fake: FakeIngest) -> None:
    fake.script = ["bad_batch"]
    producer.open(fake.endpoint)
    producer.record(call(duration=1))
    assert producer.flush()
    producer.record(call(duration=2))
    assert producer.flush()
    stats = producer.stats()
    assert (stats["rejected"], stats["acknowledged"]) == (1, 1)
    assert "bad_batch" in stats["lastError"]
    assert _sent(fake) == [2]


def test_sequences_stay_within_what_ingest_tells_apart(producer: AdapterProcess, fake: FakeIngest) -> None:
    fake.holds = True
    fake.credit = 1 << 30
    producer.open(fake.endpoint)
    for number in range(1, MAX_IN_FLIGHT + 1):
        producer.record(call(duration=number))
        fake.wait_until(lambda number=number: fake.highest_seq() >= number)  # type: ignore[misc] # bound now
    producer.fill(MAX_IN_FLIGHT + 1, 1_000)
    assert not producer.flush(0.3)
    assert fake.highest_seq() == MAX_IN_FLIGHT
    fake.holds = False
    fake.release(len(fake.held))
    assert producer.flush()
    assert sorted(_sent(fake)) == list(range(1, MAX_IN_FLIGHT + 1_001))
