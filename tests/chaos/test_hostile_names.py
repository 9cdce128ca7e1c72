"""Ids in tool names, by the million: the series cap holds, few files are open, memory is bounded, acknowledgements keep coming.

CHAOS_ROUNDS makes it short (20,000 names).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from perfmon.paths import DataDirectory
from perfmon.wire import OVERFLOW_NAME, encode_batch
from tests.chaos.reliability import record
from tests.kit import ServiceProcess, Writer, row, stored_by_file
from tests.kit.measure import descriptors, resident_mb

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(3600)]

NAMES = 20_000 if os.environ.get("CHAOS_ROUNDS") else 1_000_000
#: The default of `max_series`.
CAP = 10_000
#: Names in a message.
A_MESSAGE = 500
MAX_DESCRIPTORS = 256
#: What a process may grow by from its first message on: 10,000 series, and whatever they are kept in.
GROWTH_MB = {"ingest": 200, "aggregator": 250, "detector": 250, "alerter": 500}


def batch(first: int, now_ms: int) -> bytes:
    tools = [("ids", f"call-{number:07d}") for number in range(first, first + A_MESSAGE)]
    return encode_batch(
        tools,
        series=range(A_MESSAGE),
        ts=[now_ms] * A_MESSAGE,
        duration=[float(number) for number in range(first, first + A_MESSAGE)],
        ok=[True] * A_MESSAGE,
        producer="ids",
        seq=first // A_MESSAGE + 1,
    )


def test_a_million_tool_names(
    start: Callable[..., ServiceProcess], data_directory: DataDirectory, writer: Writer
) -> None:
    ingest = start("ingest")
    processes = [ingest, *(start(name, ready=False).wait_ready(120) for name in GROWTH_MB if name != "ingest")]
    assert writer.write(row(tool="before"))["stored"] == 1
    settled = {process.name: resident_mb(process.pid) for process in processes}
    opened, waits = 0, []
    for first in range(0, NAMES, A_MESSAGE):
        sent = time.monotonic()
        ack = writer.ask(batch(first, time.time_ns() // 1_000_000), timeout_ms=60_000)
        while ack["kind"] == "credit":
            ack = writer.receive(timeout_ms=60_000)
        waits.append(time.monotonic() - sent)
        assert (ack["stored"], ack["rejectedTotal"]) == (A_MESSAGE, 0), ack
        opened = max(opened, descriptors(ingest.pid))
    stats = ingest.stats()
    assert stats["series"] <= CAP + 1
    assert stats["overflowed_total"] == NAMES + 1 - CAP
    assert opened <= MAX_DESCRIPTORS
    head = ingest.call("flush", timeout_s=60)["seq"]
    for process in processes[1:]:
        process.eventually(lambda stats: stats["seq"] >= head, f"{process.name} has read all", timeout_s=300)
        assert not process.stats()["parked_total"], process.log_text()[-2_000:]
    grown = {process.name: resident_mb(process.pid, peak=True) - settled[process.name] for process in processes}
    new = sorted(waits[: CAP // A_MESSAGE])
    known = sorted(waits[CAP // A_MESSAGE :])
    record(
        "hostile/tool names",
        does=f"{NAMES:,} tool names, {A_MESSAGE} new ones in each message.",
        acknowledged=NAMES,
        lost=0,
        doubled=0,
        unparsable=0,
        note=f"At most {opened} descriptors. A message took {new[len(new) // 2] * 1000:.0f} ms while series were new (at most "
        f"{new[-1] * 1000:.0f}), {known[len(known) // 2] * 1000:.1f} ms beyond the cap (at most {known[-1] * 1000:.0f}). Memory "
        f"grew by {', '.join(f'{name} {value:.0f} MB' for name, value in grown.items())}.",
    )
    files = stored_by_file(data_directory)
    assert len(files) <= CAP + 1
    assert sorted(
        one["duration"]
        for name, records in files.items()
        for one in records
        if "/ids/" in name or OVERFLOW_NAME in name
    ) == [float(number) for number in range(NAMES)]
    assert {name: value for name, value in grown.items() if value > GROWTH_MB[name]} == {}
    assert all(process.process.poll() is None for process in processes)
    assert ingest.terminate() == 0
    assert start("ingest").stats()["series"] == stats["series"]
