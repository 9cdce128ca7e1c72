"""What a silent service is seen to do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from perfmon.paths import DataDirectory
from services.watchdog.work import WORKING_S, Work
from tests.kit import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processor time is read from /proc")


@pytest.fixture
def busy(data_directory: DataDirectory) -> Iterator[int]:
    """A process that only computes, said to be the detector."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    (data_directory.locks / "detector.lock").write_text(json.dumps({"pid": process.pid}))
    yield process.pid
    process.kill()
    process.wait()


def test_a_process_that_computes_works_and_one_that_is_stopped_does_not(
    data_directory: DataDirectory, busy: int
) -> None:
    work = Work(data_directory)
    assert work.since_last_round({"detector"}) == frozenset(), "nothing to compare with"
    used = psutil.Process(busy).cpu_times().user
    eventually(lambda: psutil.Process(busy).cpu_times().user > used + 2 * WORKING_S, "it used the processor")
    assert work.since_last_round({"detector"}) == {"detector"}
    os.kill(busy, signal.SIGSTOP)
    work.since_last_round({"detector"})
    assert work.since_last_round({"detector"}) == frozenset()


def test_one_that_answered_in_between_is_looked_at_anew(data_directory: DataDirectory, busy: int) -> None:
    work = Work(data_directory)
    work.since_last_round({"detector"})
    work.since_last_round(set())
    assert work.since_last_round({"detector"}) == frozenset()


def test_an_ingest_whose_journal_grows_works(data_directory: DataDirectory) -> None:
    (data_directory.locks / "ingest.lock").write_text(json.dumps({"pid": os.getpid()}))
    segment = data_directory.journal / "segment-0000000000000001.db-wal"
    segment.touch()
    os.utime(segment, ns=(1, 1))
    work = Work(data_directory)
    work.since_last_round({"ingest"})
    os.utime(segment, ns=(2, 2))
    assert work.since_last_round({"ingest"}) == {"ingest"}
