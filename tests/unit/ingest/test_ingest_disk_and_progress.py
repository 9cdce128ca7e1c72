"""What the disk refused, how far the consumers are, and the files of call ids."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from perfmon.paths import CONSUMERS
from services.ingest.call_id_files import DIGEST_BYTES, CallIdFiles
from services.ingest.core.duplicates import call_digest
from services.ingest.disk import ASK_AGAIN_S, Disk
from services.ingest.progress import Progress

FULL = OSError(28, "No space left on device")
BROKEN = OSError(5, "Input/output error")


# --- the disk -----------------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_from_a_broken_one() -> None:
    disk = Disk()
    assert disk.failed("journal", BROKEN, 0)[0] == "storage_failed"
    assert not disk.full
    assert disk.failed("journal", FULL, 0)[0] == "disk_full"
    assert disk.full
    assert disk.failures_total == 2
    assert disk.failed("journal", sqlite3.OperationalError("locked"), 0)[0] == "storage_failed"


def test_a_disk_is_full_until_every_refused_write_went_through() -> None:
    disk = Disk()
    disk.failed("journal", FULL, 0)
    disk.failed("files", FULL, 0)
    disk.written("journal")
    assert disk.full
    disk.written("files")
    assert not disk.full


def test_space_is_asked_for_at_once_then_again_and_again_and_not_without_need() -> None:
    disk = Disk()
    assert not disk.ask_for_space(0)
    disk.failed("files", FULL, 1)
    assert disk.ask_for_space(1)
    assert not disk.ask_for_space(1.5)
    assert disk.ask_for_space(1 + ASK_AGAIN_S)
    disk.freed()
    assert not disk.ask_for_space(1_000)


# --- the consumers ------------------------------------------------------------------------------------------------


def test_nothing_is_droppable_before_every_consumer_has_reported() -> None:
    progress = Progress("e")
    for service in CONSUMERS[:-1]:
        assert progress.report(service, "e", 10)
        assert progress.droppable(100) == 0
    assert progress.report(CONSUMERS[-1], "e", 4)
    assert progress.droppable(100) == 5
    assert progress.droppable(2) == 3


@pytest.mark.parametrize(
    ("service", "epoch", "seq"), [("gateway", "e", 1), ("detector", "old", 1), ("detector", "e", -1)]
)
def test_a_report_of_another_kind_is_not_noted(service: str, epoch: str, seq: int) -> None:
    progress = Progress("e")
    assert not progress.report(service, epoch, seq)
    assert progress.places == {}


def test_those_lag_who_still_need_what_would_go() -> None:
    progress = Progress("e")
    progress.report("detector", "e", 9)
    progress.report("alerter", "e", 8)
    assert progress.lagging(10) == ["alerter", "aggregator"]
    assert progress.lagging(9) == ["aggregator"]
    assert progress.lagging(0) == []


# --- call ids -----------------------------------------------------------------------------------------------------


def digests(*call_ids: str) -> set[bytes]:
    return {call_digest(call_id) for call_id in call_ids}


def test_call_ids_come_back_by_the_hour(tmp_path: Path) -> None:
    files = CallIdFiles(tmp_path / "ids")
    files.append(5, digests("a", "b"))
    files.append(5, digests("c"))
    files.append(6, digests("d"))
    files.append(7, set())
    files.sync()
    assert CallIdFiles(tmp_path / "ids").load() == {5: digests("a", "b", "c"), 6: digests("d")}
    files.remove(5)
    files.remove(5)
    files.sync()
    assert files.load() == {6: digests("d")}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "ids").iterdir()} == {0o600}


@pytest.mark.parametrize("torn", range(1, DIGEST_BYTES))
def test_a_torn_digest_is_passed_over_and_written_over(torn: int, tmp_path: Path) -> None:
    files = CallIdFiles(tmp_path / "ids")
    files.append(5, digests("a"))
    with (tmp_path / "ids" / "5.ids").open("ab") as file:
        file.write(b"x" * torn)
    assert files.load() == {5: digests("a")}
    files.append(5, digests("b"))
    assert files.load() == {5: digests("a", "b")}


def test_a_short_write_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = CallIdFiles(tmp_path / "ids")
    files.append(5, digests("a"))
    real = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda descriptor, data, offset: real(descriptor, data[:20], offset))
        with pytest.raises(OSError, match="No space"):
            files.append(5, digests("b", "c"))
    assert files.load() == {5: digests("a")}


def test_a_file_that_was_removed_does_not_fail_the_sync(tmp_path: Path) -> None:
    files = CallIdFiles(tmp_path / "ids")
    files.append(5, digests("a"))
    (tmp_path / "ids" / "5.ids").unlink()
    files.sync()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "ids"
    folder.mkdir()
    for name in ("5.txt", "x.ids", "-5.ids", "99999999999.ids", "٥.ids"):
        (folder / name).write_bytes(b"x" * 16)
    assert CallIdFiles(folder).load() == {}
    assert len(list(folder.iterdir())) == 5
