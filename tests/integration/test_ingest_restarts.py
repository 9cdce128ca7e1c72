"""Ingest that is killed again and again: what a start has replayed is checkpointed at once."""

from __future__ import annotations

from collections.abc import Callable

from perfmon.paths import DataDirectory
from tests.kit import ServiceProcess, Writer, row

Start = Callable[..., ServiceProcess]

#: So long that no checkpoint comes by the clock.
SELDOM = {"PERFMON_CHECKPOINT_INTERVAL_S": "300"}


def settled(ingest: ServiceProcess) -> None:
    ingest.eventually(lambda stats: stats["checkpointSeq"] == stats["head"], "a checkpoint at the head")


def test_a_start_checkpoints_what_it_replayed(data_directory: DataDirectory, start: Start) -> None:
    ingest = start("ingest", environment=SELDOM)
    settled(ingest)
    with Writer(data_directory) as writer:
        for number in range(20):
            writer.write(row(duration=number))
    assert ingest.stats()["checkpointSeq"] < ingest.stats()["head"]
    ingest.kill()
    settled(start("ingest", environment=SELDOM))


def test_call_ids_that_only_the_journal_knew_are_known_after_the_checkpoint_too(
    data_directory: DataDirectory, start: Start
) -> None:
    ingest = start("ingest", environment=SELDOM)
    settled(ingest)
    with Writer(data_directory) as writer:
        assert writer.write(row(callId="once"))["stored"] == 1
    ingest.kill()
    for path in (data_directory.state / "call-ids").iterdir():
        path.unlink()  # what a power failure does to what was not synced
    ingest = start("ingest", environment=SELDOM)
    settled(ingest)
    ingest.kill()
    start("ingest", environment=SELDOM)
    with Writer(data_directory) as writer:
        assert writer.write(row(callId="once"))["duplicates"] == 1
