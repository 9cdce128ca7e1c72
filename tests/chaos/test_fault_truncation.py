"""Files cut short at the bytes of what was written last: what the medium still holds is kept, once, and what is gone is told.

The real store of ingest is driven in this process (`tests.kit.ingest_store`), so that every byte can have its turn; the last case
plays some of them with real processes. The journal is the truth and the files are its view, so either makes up for the other:
a row is gone only when its commit was cut from the journal before the files had it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from perfmon.paths import DataDirectory
from shared.journal import list_segments
from tests.chaos.faults.rounds import FULL, ROUNDS, in_full, sampled
from tests.chaos.faults.verdict import Verdict, durations_found
from tests.kit import ServiceProcess, Writer, eventually
from tests.kit import row as wire_row
from tests.kit.ingest_store import IngestStore, row

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

FIRST = [row(1), row(2), row(3, tool="write")]
LAST = [row(11), row(12, tool="write", success=False, error="boom é"), row(13, tool="new", callId="x")]
AFTER = 21.0
#: Cuts of a file in the short form, roughly.
SHORT = 60
#: https://sqlite.org/fileformat2.html#the_write_ahead_log: the log's header, and a frame's with its page.
LOG_HEADER_BYTES = 32
FRAME_BYTES = 24 + 4_096
EDGE_BYTES = 64
#: Of so many cuts one is followed by another row and another start.
THOROUGH = 25


def numbers(rows: list[dict[str, float]]) -> list[float]:
    return [float(each["duration"]) for each in rows]


class Cut:
    """A store with a checkpointed batch and a last one, and copies of it that are damaged and recovered."""

    def __init__(self, folder: Path, *, appended: bool, stopped: bool) -> None:
        self.folder = folder
        store = IngestStore(DataDirectory(folder / "store"))
        store.write(*FIRST, producer="p", seq=1)
        store.checkpoint()
        self.wal_before = wal(store.data).stat().st_size
        self.sizes_before = {path: path.stat().st_size for path in store.data.metrics.rglob("*.jsonl")}
        store.write(*LAST, producer="p", seq=2)
        if appended:
            store.append()
        if stopped:
            store.checkpoint()
            store.close()
        self.store, self.epoch, self.head = store, store.journal.epoch, store.journal.head

    def play(
        self,
        verdict: Verdict,
        damage: Callable[[DataDirectory], None],
        run: object,
        *,
        appended: bool,
        thorough: bool = True,
    ) -> None:
        """Damage a copy and recover it; `thorough`: take another row, start once more, and see that all is as it was."""
        target = self.folder / "copy"
        data = self.store.crashed_copy(target)
        damage(data)
        with capture_logs() as logs:
            again = IngestStore(data)
        kept = again.journal.epoch == self.epoch and again.journal.head >= self.head
        given_up = [] if appended or kept else numbers(LAST)
        verdict.look(data, numbers(FIRST + LAST), run, given_up=given_up)
        # Consumers stand at the old head: they must never take another entry for one they have.
        assert kept or again.journal.epoch != self.epoch, f"{run}: the sequences of the old epoch are given out again"
        assert kept or any(entry["log_level"] == "error" for entry in logs), f"{run}: the loss is not told"
        if not thorough:
            again.close()
            shutil.rmtree(target)
            return
        again.write(row(AFTER), producer="p", seq=3)
        again = again.recover_again()
        verdict.look(data, [*numbers(FIRST + LAST), AFTER], f"{run}, a start later", given_up=given_up)
        assert again.view.seq == again.journal.head
        again.close()
        shutil.rmtree(target)


def wal(data: DataDirectory) -> Path:
    """The newest segment's write-ahead log."""
    path = list_segments(data.journal)[-1].path
    return path.with_name(path.name + "-wal")


def log_cuts(start: int, end: int) -> Iterator[int]:
    """Where the log is cut: in full at every byte of the frames' headers and of the pages' beginnings and ends, and at every
    eighth byte within a page, of which SQLite's checksum makes no difference.
    """
    for size in sampled(start, end, short=SHORT):
        at = (size - LOG_HEADER_BYTES) % FRAME_BYTES
        if ROUNDS < FULL or size % 8 == 0 or not EDGE_BYTES < at < FRAME_BYTES - EDGE_BYTES:
            yield size


def cut_wal(size: int) -> Callable[[DataDirectory], None]:
    return lambda data: os.truncate(wal(data), size)


def cut_file(name: Path, size: int) -> Callable[[DataDirectory], None]:
    return lambda data: os.truncate(data.metrics / name, size)


@pytest.mark.parametrize("appended", [True, False], ids=["the files have it", "the files lack it"])
def test_the_journals_log_cut_within_the_last_commit(memory_folder: Path, appended: bool) -> None:
    verdict = Verdict(
        f"truncation/journal log, {'' if appended else 'not '}yet in the files",
        "The write-ahead log is cut at the bytes of the last commit.",
    )
    cut = Cut(memory_folder, appended=appended, stopped=False)
    for number, size in enumerate(log_cuts(cut.wal_before, wal(cut.store.data).stat().st_size)):
        cut.play(verdict, cut_wal(size), size, appended=appended, thorough=number % THOROUGH == 0)
    verdict.close("" if appended else "A commit that is cut before the files have it is gone, and told.")


@pytest.mark.parametrize("stopped", [True, False], ids=["after a stop", "after a kill"])
def test_the_journals_file_cut_anywhere(memory_folder: Path, stopped: bool) -> None:
    verdict = Verdict(
        f"truncation/journal segment after a {'stop' if stopped else 'kill'}",
        "The newest segment is cut at every seventh byte.",
    )
    cut = Cut(memory_folder, appended=True, stopped=stopped)

    def damage(size: int) -> Callable[[DataDirectory], None]:
        return lambda data: os.truncate(list_segments(data.journal)[-1].path, size)

    whole = list_segments(cut.store.data.journal)[-1].path.stat().st_size
    for number, size in enumerate(sampled(0, whole, short=SHORT, step=7)):
        cut.play(verdict, damage(size), size, appended=True, thorough=number % THOROUGH == 0)
    verdict.close()


@pytest.mark.parametrize("missing", [("-wal",), ("-shm",), ("-wal", "-shm"), ("",), ("", "-wal", "-shm")], ids="+".join)
def test_a_part_of_the_journal_that_is_gone(memory_folder: Path, missing: tuple[str, ...]) -> None:
    verdict = Verdict(
        f"truncation/journal without {' and '.join(part or 'segment' for part in missing)}",
        "After a kill a file of the newest segment is gone.",
    )
    cut = Cut(memory_folder, appended=True, stopped=False)

    def damage(data: DataDirectory) -> None:
        path = list_segments(data.journal)[-1].path
        for suffix in missing:
            path.with_name(path.name + suffix).unlink()

    cut.play(verdict, damage, "gone", appended=True)
    verdict.close()


@pytest.mark.parametrize("stopped", [True, False], ids=["after a stop", "after a kill"])
def test_the_metric_files_cut_at_every_byte_of_the_last_batch(memory_folder: Path, stopped: bool) -> None:
    verdict = Verdict(
        f"truncation/metric files after a {'stop' if stopped else 'kill'}",
        "Every JSONL file is cut at every byte of the last batch.",
    )
    cut = Cut(memory_folder, appended=True, stopped=stopped)
    metrics = cut.store.data.metrics
    for path in sorted(metrics.rglob("*.jsonl")):
        name, size = path.relative_to(metrics), path.stat().st_size
        for at in sampled(cut.sizes_before.get(path, 0), size - 1, short=SHORT):
            cut.play(verdict, cut_file(name, at), f"{name} at {at}", appended=True, thorough=at % 5 == 0)
    verdict.close()


@pytest.mark.pipeline
@pytest.mark.parametrize("appended", [True, in_full(False)], ids=["the files have it", "the files lack it"])
def test_a_consumer_that_had_what_was_cut_from_the_journal_counts_what_is_left(
    appended: bool, start: Callable[..., ServiceProcess], data_directory: DataDirectory
) -> None:
    verdict = Verdict(
        f"truncation/consumer ahead of the journal, {'' if appended else 'not '}yet in the files",
        "The journal loses a commit that a consumer has; metrics go on coming.",
    )
    environment = {"PERFMON_APPEND_INTERVAL_S": "60", "PERFMON_CHECKPOINT_INTERVAL_S": "300"}
    ingest = start("ingest", environment=environment)
    counting = start("detector", command=_counting())
    with Writer(data_directory, "p") as writer:
        writer.write(wire_row(duration=1))
        ingest.call("flush")
        before = wal(data_directory).stat().st_size
        head = writer.write(wire_row(duration=2))["entry"]
        if appended:
            ingest.call("flush")
        eventually(lambda: counting.call("ping")["seq"] == head)
        ingest.kill()
        verdict.kills += 1
        os.truncate(wal(data_directory), before)
        ingest = start("ingest", environment=environment)
        for value in (3, 4):
            assert writer.write(wire_row(duration=value))["stored"] == 1
    ingest.call("flush")
    given_up = [] if appended else [2.0]
    verdict.look(data_directory, [1, 2, 3, 4], given_up=given_up)
    wanted = sorted(durations_found(data_directory)[0])
    verdict.close()
    eventually(lambda: counting.call("durations") == wanted, "the consumer has what the files have")


def _counting() -> list[str]:
    return [sys.executable, "-m", "tests.kit.counting_service"]
