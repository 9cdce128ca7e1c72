"""What a stop takes away below /tmp, and what it leaves alone."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfmon.paths import DataDirectory
from perfmon.pipeline.locks import held, launch_lock
from perfmon.pipeline.shutdown import stop
from perfmon.pipeline.sweep import sweep_sockets


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
