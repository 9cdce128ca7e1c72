"""Hostile messages by the million: nothing crashes, memory stays bounded, everything is answered or counted, the good is stored.

CHAOS_ROUNDS makes it short (30,000 messages), CHAOS_MESSAGES names another number.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfmon.paths import DataDirectory
from perfmon.wire import MAX_FRAME_BYTES
from tests.chaos.fuzzing import WITNESS, Fuzzing
from tests.chaos.hostile import grammar
from tests.chaos.reliability import record
from tests.kit import ServiceProcess, Writer, eventually, row, stored_by_file
from tests.kit.measure import forget_peak, resident_mb

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(3600)]

SHORT = bool(os.environ.get("CHAOS_ROUNDS"))
MESSAGES = int(os.environ.get("CHAOS_MESSAGES") or (30_000 if SHORT else 1_000_000))
#: Of the hypothesis grammar; each is some twenty messages.
EXAMPLES = 100 if SHORT else 1_000
#: What ingest's memory may grow by, whatever comes in messages of ordinary size.
GROWTH_MB = 200
#: And for messages of the largest size there is, while one is looked at.
LARGEST_GROWTH_MB = 500
CONSUMERS = ("detector", "alerter", "aggregator")


def filled(element: bytes, size_bytes: int) -> bytes:
    """A list of lists of an element, that is about so long; each as long as msgpack lets a list be."""
    block = b"\xdd\x00\x0c\x00\x00" + element * 786_432
    blocks, rest = divmod(size_bytes, len(block))
    last = b"\xdd" + (rest // len(element)).to_bytes(4, "big") + element * (rest // len(element))
    return b"\xdc" + (blocks + 1).to_bytes(2, "big") + block * blocks + last


def counted(before: dict, after: dict) -> tuple[int, int]:
    """Rows stored or known, and everything refused, since `before`."""
    names = ("stored_total", "duplicates_total")
    rows = sum(after[name] - before[name] for name in names)
    return rows, after["rejected_total"] - before["rejected_total"]


def assert_all_is_counted(ingest: ServiceProcess, before: dict, fuzzing: Fuzzing) -> dict:
    """Pushed messages are taken whenever ingest comes to it, so this waits for the sums."""
    wanted = (fuzzing.rows, fuzzing.refused.total())
    after: dict = ingest.eventually(lambda stats: counted(before, stats) == wanted and stats, f"the sums are {wanted}")
    assert not fuzzing.doubts, fuzzing.doubts[:3]
    assert after["failed_total"] == 0, ingest.log_text()[-2_000:]
    for reason in sorted(fuzzing.refused.keys() - {"rows of the acknowledged"}):
        assert after["refusedByReason"][reason] - before["refusedByReason"].get(reason, 0) >= fuzzing.refused[reason]
    assert "acknowledgement_undeliverable" not in after["refusedByReason"]
    return after


def assert_witnesses_are_stored(data: DataDirectory, witnesses: set[float]) -> int:
    """Each once, and exactly; every line of every file is JSON and in the tree. How many lines there are."""
    files = stored_by_file(data)
    found = [record for name, records in files.items() if f"/{WITNESS}/" in name for record in records]
    assert sorted(record["duration"] for record in found) == sorted(witnesses)
    for one in found:
        assert (one["mcpServer"], one["success"], one["error"]) == (WITNESS, True, None)
        assert one["toolName"] == f"tool{int(one['duration']) % 7}"
        assert one["resource"] == {"cpu": 1.5, "memory": one["duration"], "diskIO": None}
    for name in files:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d/[A-Za-z0-9_%~-][A-Za-z0-9_.%~-]*/[A-Za-z0-9_%~-][A-Za-z0-9_.%~-]*", name)
    return sum(map(len, files.values()))


def test_mutated_messages(start: Callable[..., ServiceProcess], data_directory: DataDirectory) -> None:
    ingest = start("ingest", environment={"PERFMON_MAX_SERIES": "1000"})
    consumers = [start(name, ready=False).wait_ready(120) for name in CONSUMERS]  # kernels may have to be compiled
    before = ingest.stats()
    with Fuzzing(data_directory, seed=20_261_123) as fuzzing:
        fuzzing.run(2_000)
        fuzzing.drain()
        settled_mb = resident_mb(ingest.pid)
        fuzzing.run(MESSAGES - 2_000)
        fuzzing.drain()
        after = assert_all_is_counted(ingest, before, fuzzing)
    growth_mb = resident_mb(ingest.pid, peak=True) - settled_mb
    head = ingest.call("flush", timeout_s=60)["seq"]
    lines = assert_witnesses_are_stored(data_directory, fuzzing.witnesses)
    assert lines == after["stored_total"]
    for consumer in consumers:
        consumer.eventually(lambda stats: stats["seq"] >= head, f"{consumer.name} has read all", timeout_s=120)
        parked = {name: value for name, value in consumer.stats().items() if "parked" in name.lower() and value}
        assert not parked, f"{consumer.name}: {parked}\n{consumer.log_text()[-3_000:]}"
    record(
        "hostile/mutated messages",
        does="Golden frames broken in bits, bytes, lengths, types and fields, on both sockets, with good rows in between.",
        runs=fuzzing.sent + fuzzing.pushed,
        acknowledged=len(fuzzing.witnesses),
        lost=0,
        doubled=0,
        unparsable=0,
        note=f"Memory of ingest grew by {growth_mb:.0f} MB; {fuzzing.answered:,} answers; {fuzzing.refused.total():,} refused.",
    )
    assert growth_mb < GROWTH_MB
    assert ingest.terminate() == 0
    assert sum(map(len, stored_by_file(data_directory).values())) == lines
    assert start("ingest").stats()["series"] == after["series"]


def test_messages_of_a_grammar(start: Callable[..., ServiceProcess], data_directory: DataDirectory) -> None:
    ingest = start("ingest", environment={"PERFMON_MAX_SERIES": "1000"})
    before = ingest.stats()
    with Fuzzing(data_directory, seed=1) as fuzzing:

        @settings(max_examples=EXAMPLES, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(st.lists(grammar(), min_size=10, max_size=40), st.booleans())
        def send(frames: list[bytes], pushed: bool) -> None:
            for frame in frames:
                if not (pushed and fuzzing.push(frame)):
                    fuzzing.send([frame])
            fuzzing.drain()

        send()
        assert_all_is_counted(ingest, before, fuzzing)
    ingest.call("flush")
    stored_by_file(data_directory)
    assert ingest.terminate() == 0


def test_the_largest_messages_are_refused_in_bounded_memory(
    ingest: ServiceProcess, data_directory: DataDirectory, writer: Writer
) -> None:
    room = MAX_FRAME_BYTES - 1_000
    head = b"\x83\xa1v\x01\xa4kind\xa4rows\xa4rows"
    bombs = {
        "empty lists": head + filled(b"\x90", room),
        "empty maps": head + filled(b"\x80", room),
        "lists in lists": head + filled(b"\x91\x90", room),
        "short texts": head + filled(b"\xa2ab", room),
        "rows of lists": head + filled(b"\x81\xa9mcpServer\x94\x90\x90\x90\x90", room),
        "one long text": head + b"\x91\x81\xa9mcpServer\xdb" + room.to_bytes(4, "big") + b"x" * room,
    }
    assert writer.write(row())["stored"] == 1
    settled_mb = resident_mb(ingest.pid)
    for name, bomb in bombs.items():
        assert len(bomb) <= MAX_FRAME_BYTES
        forget_peak(ingest.pid)
        answer = writer.ask(bomb)
        assert answer.get("error") or answer["rejectedTotal"], name
        grown_mb = resident_mb(ingest.pid, peak=True) - settled_mb
        assert grown_mb < LARGEST_GROWTH_MB, f"{name}: {grown_mb:.0f} MB"
    assert writer.write(row())["stored"] == 1
    assert ingest.process.poll() is None
    eventually(lambda: resident_mb(ingest.pid) - settled_mb < GROWTH_MB, "the memory is given back")
