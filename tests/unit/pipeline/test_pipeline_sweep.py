"""What a stop takes away below /tmp, and what it leaves alone."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfmon.paths import WHOSE_FILE, DataDirectory
from perfmon.pipeline.locks import held, launch_lock
from perfmon.pipeline.shutdown import stop
from perfmon.pipeline.sweep import ABANDONED_AFTER_S, sweep_abandoned, sweep_sockets

NOW_S = 1_762_000_000.0


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDirectory]:
    made = DataDirectory(tmp_path.resolve() / "data")
    made.create()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(made.runtime / "aggregator"))
    yield made
    shutil.rmtree(made.runtime, ignore_errors=True)


def test_left_sockets_go_with_their_directory_and_a_second_time_changes_nothing(data: DataDirectory) -> None:
    assert stop(data).how == "not running"
    assert not data.runtime.exists()
    assert data.runtime.parent.exists()
    assert stop(data).how == "not running"
    data.create()
    assert data.runtime.is_dir()


def test_the_pid_file_of_a_killed_supervisord_goes_too(data: DataDirectory) -> None:
    (data.runtime / "supervisord.pid").write_text("1")
    assert sweep_sockets(data)


def test_nothing_goes_while_a_service_holds_its_lock(data: DataDirectory) -> None:
    with held(data.locks / "aggregator.lock", 0.0):
        assert not sweep_sockets(data)
    assert (data.runtime / "aggregator").exists()


def test_the_launch_lock_of_the_caller_does_not_count(data: DataDirectory) -> None:
    with held(launch_lock(data), 0.0):
        assert sweep_sockets(data)


def test_what_is_no_socket_stays_with_the_directory(data: DataDirectory) -> None:
    kernels = data.runtime / "numba"
    kernels.mkdir()
    assert not sweep_sockets(data)
    assert list(data.runtime.iterdir()) == [kernels]


def test_a_link_in_its_place_is_not_followed(data: DataDirectory, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    data.runtime.rename(elsewhere)
    data.runtime.symlink_to(elsewhere)
    assert not sweep_sockets(data)
    assert (elsewhere / "aggregator").exists()
    data.runtime.unlink()


def test_a_directory_that_others_can_write_to_is_left_alone(data: DataDirectory) -> None:
    data.runtime.chmod(0o777)
    assert not sweep_sockets(data)
    assert (data.runtime / "aggregator").exists()


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Path]:
    """A folder of runtime directories, near enough for a socket's path."""
    made = Path(tempfile.mkdtemp(prefix="sweep-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def runtime(parent: Path, name: str, whose: Path) -> Path:
    """A runtime directory as a killed pipeline leaves it."""
    folder = parent / name
    folder.mkdir(mode=0o700)
    (folder / WHOSE_FILE).write_text(str(whose))
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "ingest.write"))
    return folder


def test_what_killed_pipelines_left_goes_once_it_is_old_or_its_data_are_gone(parent: Path, tmp_path: Path) -> None:
    old, gone, fresh = (runtime(parent, name, tmp_path) for name in ("old", "gone", "fresh"))
    (gone / WHOSE_FILE).write_text(str(tmp_path / "no more"))
    os.utime(old, (NOW_S - ABANDONED_AFTER_S - 1, NOW_S - ABANDONED_AFTER_S - 1))
    for folder in (gone, fresh):
        os.utime(folder, (NOW_S, NOW_S))
    assert sweep_abandoned(parent, NOW_S) == 2
    assert [folder.name for folder in parent.iterdir()] == ["fresh"]


def test_where_somebody_listens_and_where_other_files_are_nothing_is_lost(parent: Path, tmp_path: Path) -> None:
    busy, kernels = (runtime(parent, name, tmp_path / "no more") for name in ("busy", "kernels"))
    (kernels / "numba").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(busy / "ingest"))
        listening.listen()
        assert sweep_abandoned(parent, NOW_S) == 0
    assert (busy / "ingest.write").exists()
    assert (kernels / "numba").exists()


def test_a_link_among_them_is_not_followed(parent: Path, tmp_path: Path) -> None:
    target = runtime(tmp_path, "t", tmp_path / "no more")
    (parent / "link").symlink_to(target)
    assert sweep_abandoned(parent, NOW_S) == 0
    assert (target / WHOSE_FILE).exists()


def test_a_data_directory_in_use_says_whose_its_sockets_are(data: DataDirectory) -> None:
    os.utime(data.runtime, (1, 1))
    data.create()
    assert data.runtime.stat().st_mtime > 1
    assert (data.runtime / WHOSE_FILE).read_text() == str(data.root)
