"""What stands in the place of a file in a data directory that came with someone's clone neither hangs us nor is followed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from perfmon.http_access import load, load_or_create
from perfmon.paths import DataDirectory, UnsafeDirectory
from perfmon.pipeline import locks
from perfmon.pipeline.check_files import _newest
from perfmon.pipeline.logs import tail
from perfmon.pipeline.spawn import _make_way_for_logs
from perfmon.plain_file import is_plain, make_way, read_plain
from shared.settings import SettingsError, load_settings
from shared.store.appends import append_lines
from shared.store.atomic import read_json, write_json


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("kept")


def _link(path: Path) -> None:
    path.symlink_to(path.parent / "victim")


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


PLANTED = pytest.mark.parametrize("plant", [_pipe, _folder, _link, _endless])
pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def planted(tmp_path: Path, plant: Callable[[Path], None]) -> Path:
    (tmp_path / "victim").write_text("precious and torn")
    path = tmp_path / "planted"
    plant(path)
    return path


@PLANTED
def test_what_is_no_file_is_not_read(planted: Path) -> None:
    with pytest.raises((OSError, UnsafeDirectory)):
        read_plain(planted, 100)
    assert read_json(planted) is None
    assert tail(planted) == []


@PLANTED
def test_what_is_no_file_is_moved_aside_before_its_name_is_written(planted: Path) -> None:
    append_lines(planted, [b"one"])
    assert planted.read_bytes() == b"one\n"
    assert (planted.parent / "victim").read_text() == "precious and torn"
    assert len(list(planted.parent.glob("planted.set-aside-*"))) == 1


@PLANTED
def test_a_file_that_is_replaced_whole_takes_the_place_of_anything(planted: Path) -> None:
    write_json(planted, {"a": 1})
    assert read_json(planted) == {"a": 1}
    assert (planted.parent / "victim").read_text() == "precious and torn"


@PLANTED
def test_logs_are_files_before_supervisord_opens_them(planted: Path, tmp_path: Path) -> None:
    _make_way_for_logs(tmp_path)
    assert not os.path.lexists(planted)
    assert (tmp_path / "victim").read_text() == "precious and torn"


@PLANTED
def test_settings_that_are_no_file_are_refused_with_their_name(plant: Callable[[Path], None], tmp_path: Path) -> None:
    data = DataDirectory(tmp_path.resolve())
    data.config.mkdir()
    plant(data.config / "settings.json")
    with pytest.raises(SettingsError, match=r"settings\.json cannot be read"):
        load_settings(data)


@PLANTED
def test_what_is_no_file_gives_way_to_a_new_token(plant: Callable[[Path], None], tmp_path: Path) -> None:
    data = DataDirectory(tmp_path.resolve() / "data")
    data.create()
    plant(data.state / "http.json")
    made = load_or_create(data)
    assert load(data) == made


def test_the_doctor_reads_nothing_behind_a_link(tmp_path: Path) -> None:
    day = tmp_path / "metrics" / "2025-10-31"
    day.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.jsonl").write_text("not ours\n")
    (day / "server").symlink_to(tmp_path / "outside")
    assert _newest(tmp_path / "metrics") == []


def test_lines_that_differ_in_their_time_alone_are_shown_once(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("timestamp=1 event=a\ntimestamp=2 event=a\ntimestamp=3 event=b\n")
    assert tail(log) == ["timestamp=1 event=a", "timestamp=3 event=b"]


@PLANTED
def test_a_lock_that_is_no_file_is_refused_at_once(plant: Callable[[Path], None], tmp_path: Path) -> None:
    data = DataDirectory(tmp_path.resolve() / "data")
    data.create()
    plant(data.locks / "ingest.lock")
    with pytest.raises(UnsafeDirectory, match=r"ingest\.lock: is not a file"):
        data.create()
    with pytest.raises((OSError, UnsafeDirectory)), locks.held(data.locks / "ingest.lock", 0):
        pass


def test_a_state_folder_that_is_a_link_is_refused_at_once(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path.resolve() / "data")
    data.create()
    (data.state / "call-ids").symlink_to(tmp_path)
    with pytest.raises(UnsafeDirectory, match="call-ids: is a symbolic link"):
        data.create()


def test_a_file_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"123")
    assert read_plain(path, 3) == b"123"
    with pytest.raises(UnsafeDirectory, match="more than 2 bytes"):
        read_plain(path, 2)


def test_files_and_free_names_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert make_way(path) is None
    path.write_bytes(b"1")
    assert make_way(path) is None
    assert is_plain(path)
    assert not is_plain(tmp_path)
