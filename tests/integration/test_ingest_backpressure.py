"""When the files can't keep up, producers are slowed by credit, memory stays bounded and nothing acknowledged is lost."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from perfmon.paths import DataDirectory
from perfmon.wire import INITIAL_CREDIT_BYTES, encode_batch
from services.ingest.core.credit import BUDGET_BYTES, FLOOR_BYTES, LARGEST_SHARE
from tests.kit import ServiceProcess, Writer, eventually, row

pytestmark = pytest.mark.pipeline

#: Rows of a message: about 1.3 MB.
ROWS = 50_000

#: Runs ingest with a disk that takes nothing for the metric files while a file exists.
STALLED_INGEST = """
import os, sys
real = os.pwrite
def pwrite(descriptor, data, offset):
    if os.path.exists(sys.argv[1]):
        raise OSError(28, "No space left on device")
    return real(descriptor, data, offset)
os.pwrite = pwrite
import runpy
runpy.run_module("services.ingest", run_name="__main__")
"""


@pytest.fixture
def stall(tmp_path: Path) -> Path:
    return tmp_path / "stalled"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDirectory]:
    made = DataDirectory((tmp_path / "data").resolve())
    made.create()
    yield made
    shutil.rmtree(made.runtime, ignore_errors=True)


@pytest.fixture
def ingest(data: DataDirectory, stall: Path) -> Iterator[ServiceProcess]:
    process = ServiceProcess("ingest", data, command=(sys.executable, "-c", STALLED_INGEST, str(stall)))
    yield process.wait_ready()
    process.clean_up()


def batch(first: int) -> bytes:
    numbers = range(first, first + ROWS)
    now_ms = time.time_ns() // 1_000_000
    return encode_batch(
        [("s", "t"), ("s", "u")],
        series=[number % 2 for number in numbers],
        ts=[now_ms] * ROWS,
        duration=[float(number) for number in numbers],
        ok=[True] * ROWS,
    )


def lines(data: DataDirectory) -> int:
    return sum(path.read_bytes().count(b"\n") for path in data.metrics.rglob("*.jsonl"))


def test_every_acknowledgement_grants_credit(ingest: ServiceProcess, data: DataDirectory) -> None:
    with Writer(data) as writer:
        credit = writer.write(row())["credit"]
    assert INITIAL_CREDIT_BYTES <= credit <= BUDGET_BYTES * LARGEST_SHARE


def test_several_producers_share_the_budget(ingest: ServiceProcess, data: DataDirectory) -> None:
    writers = [Writer(data, f"p{n}") for n in range(8)]
    granted = [writer.write(row())["credit"] for writer in [*writers, *writers]][8:]
    assert all(credit >= FLOOR_BYTES for credit in granted)
    assert sum(granted) <= BUDGET_BYTES
    for writer in writers:
        writer.close()


def test_a_stalled_disk_stops_producers_within_bounded_memory_and_room_is_told(
    ingest: ServiceProcess, data: DataDirectory, stall: Path
) -> None:
    resident = psutil.Process(ingest.pid).memory_info
    with Writer(data, "fast") as writer:
        writer.write(row())
        before = resident().rss
        stall.touch()
        sent, credit = 0, 1
        while credit:
            ack = writer.ask(batch(sent * ROWS))
            assert ack["stored"] == ROWS
            sent, credit = sent + 1, ack["credit"]
            assert sent * ROWS * 48 <= 2 * BUDGET_BYTES, "credit never ended"
        stats = ingest.stats()
        assert BUDGET_BYTES <= stats["pendingBytes"] <= BUDGET_BYTES + 2 * ROWS * 48
        assert stats["credit_stops_total"] == 1
        assert resident().rss - before < 4 * BUDGET_BYTES
        stall.unlink()
        told = writer.receive(timeout_ms=60_000)
        assert (told["kind"], told["credit"] > 0) == ("credit", True)
        assert writer.ask(batch(sent * ROWS))["stored"] == ROWS
    total = (sent + 1) * ROWS + 1
    ingest.call("flush", timeout_s=60)
    eventually(lambda: lines(data) == total, "everything acknowledged is in the files")
    assert ingest.stats()["pendingBytes"] == 0
