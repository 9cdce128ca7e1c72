"""Locks, the record and log tails: small files that decide what is believed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from perfmon.paths import DataDirectory
from perfmon.pipeline import locks
from perfmon.pipeline.check_damage import check_damage
from perfmon.pipeline.check_files import check_set_aside
from perfmon.pipeline.errors import Busy
from perfmon.pipeline.logs import tail
from perfmon.pipeline.record import Record, read_record, record_path, remove_record, write_record
from perfmon.pipeline.spawn import clean_environment

RECORD = Record("0.1.0", "up", 1_000, "secret", None)


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path.resolve() / "data")
    directory.state.mkdir(parents=True, mode=0o700)
    directory.locks.mkdir(mode=0o700)
    return directory


def test_a_lock_says_who_holds_it_and_is_free_afterwards(data: DataDirectory) -> None:
    path = locks.launch_lock(data)
    with locks.held(path, 0):
        assert locks.is_held(path)
        assert locks.holder(path) == os.getpid()
        with pytest.raises(Busy) as refused, locks.held(path, 0):
            pass
        assert refused.value.holder == os.getpid()
    assert not locks.is_held(path)


def test_a_lock_file_that_is_a_link_is_not_followed(data: DataDirectory, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    locks.launch_lock(data).symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"), locks.held(locks.launch_lock(data), 0):
        pass
    assert victim.read_text() == "precious"
    assert not locks.is_held(locks.launch_lock(data))


def test_garbage_in_a_lock_file_names_nobody(data: DataDirectory) -> None:
    path = locks.supervisor_lock(data)
    for text in ("", "[]", "null", '{"pid": "x"}', "\x00\x01"):
        path.write_text(text)
        assert locks.holder(path) is None


def test_the_record_comes_back_as_written_and_goes(data: DataDirectory) -> None:
    write_record(data, RECORD)
    assert read_record(data) == RECORD
    assert record_path(data).stat().st_mode & 0o777 == 0o600
    remove_record(data)
    remove_record(data)
    assert read_record(data) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"version": 1}', "[" * 100_000])
def test_a_record_that_is_not_one_is_no_record(data: DataDirectory, text: str) -> None:
    record_path(data).write_text(text)
    record_path(data).chmod(0o600)
    assert read_record(data) is None


def test_a_record_that_others_can_read_is_not_believed(data: DataDirectory) -> None:
    write_record(data, RECORD)
    record_path(data).chmod(0o644)
    assert read_record(data) is None


def test_a_tail_shows_the_last_lines_with_control_characters_escaped(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"first\n" + b"x" * 40_000 + b"\n\nlast \x1b[31mred\xff\n")
    assert tail(log, 1) == ["last \\x1b[31mred\ufffd"]
    assert len(tail(log, 5)[0]) <= 301
    assert tail(tmp_path / "none") == []


def test_a_log_that_is_a_link_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "x.log").symlink_to(tmp_path / "secret")
    assert tail(tmp_path / "x.log") == []


def test_the_environment_keeps_the_callers_settings_but_nothing_that_changes_the_interpreter() -> None:
    environment = {
        "HOME": "/home/x",
        "PERFMON_HTTP_PORT": "7000",
        "PERFMON_DATA_DIR": "elsewhere",
        "PYTHONPATH": "/hostile",
        "PYTHONWARNINGS": "error",
        "PYTHONSAFEPATH": "1",
        "PYTHONHOME": "/hostile",
        "PYTHONOPTIMIZE": "2",
        "PYTHONPYCACHEPREFIX": "/cache",
    }
    assert clean_environment(environment, Path("/app")) == {
        "HOME": "/home/x",
        "PERFMON_HTTP_PORT": "7000",
        "PYTHONPYCACHEPREFIX": "/cache",
        "PYTHONPATH": "/app",
        "PYTHONUTF8": "1",
    }


def test_the_record_holds_no_command_and_no_path(data: DataDirectory) -> None:
    write_record(data, RECORD)
    assert set(json.loads(record_path(data).read_text())) == {
        "version",
        "started_by",
        "started_ms",
        "password",
        "idle_stop_s",
        "settings",
    }


def test_doctor_tells_what_was_set_aside_among_the_metric_files(data: DataDirectory) -> None:
    assert check_set_aside(data).verdict == "ok"
    folder = data.metrics / "2025-10-31" / "files"
    folder.mkdir(parents=True)
    (folder / "read.jsonl.set-aside-1").symlink_to("/etc/passwd")
    (data.metrics / "2025-10-30.set-aside-1").touch()
    found = check_set_aside(data)
    assert found.verdict == "warning"
    assert found.found == "2 in metrics/: 2025-10-30.set-aside-1, 2025-10-31/files/read.jsonl.set-aside-1"


def test_doctor_tells_of_each_file_that_could_not_be_read_what_was_lost_and_what_to_do(data: DataDirectory) -> None:
    assert [check.verdict for check in check_damage(data)] == ["ok"]
    for number, name in enumerate(("alerter.db.unusable-1", "alerter.db.unusable-1-wal", "detector.db.unusable-2")):
        path = data.state / name
        path.write_bytes(b"x")
        os.utime(path, (1_700_000_000 - number, 1_700_000_000 - number))
    data.config.mkdir()
    data.journal.mkdir()
    (data.config / "thresholds.json.unusable-1").write_bytes(b"{")
    (data.journal / "segment-0000000000000001.db.unusable-1").symlink_to("/nowhere")
    found = list(check_damage(data))
    assert {check.verdict for check in found} == {"warning"}
    assert len(found) == 4
    of = {check.found.split(" ")[0]: check for check in found}
    alerter = of["state/alerter.db.unusable-1"]
    assert "(last written 2023-11-14 22:13Z): alerts began anew" in alerter.found
    assert f"rm {data.state / 'alerter.db.unusable-1'}*" in alerter.advice
    assert "learned the last day anew" in of["state/detector.db.unusable-2"].found
    assert "mend it" in of["config/thresholds.json.unusable-1"].advice
    assert "journal" in of["journal/segment-0000000000000001.db.unusable-1"].found
    for number in range(9):
        (data.state / f"aggregator.db.unusable-{number + 1}").write_bytes(b"x")
    told = list(check_damage(data))
    assert len(told) == 6
    assert told[-1].found == "8 more such files"
