"""The port: remembered, preferred, or whichever is free; what it became is written down with the token."""

import socket
from pathlib import Path

import pytest

from perfmon.http_access import load
from perfmon.paths import DataDirectory
from services.gateway.http_main import listen


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    found = DataDirectory(tmp_path / "data")
    found.create()
    return found


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def test_the_preferred_port_is_taken_written_down_and_kept(data, free_port):
    first, access = listen(data, free_port)
    first.close()
    assert access.port == free_port
    assert load(data) == access
    second, again = listen(data, 1)
    second.close()
    assert again == access


def test_a_busy_port_gives_another_and_the_token_stays(data):
    with socket.create_server(("127.0.0.1", 0)) as other:
        busy = other.getsockname()[1]
        listener, access = listen(data, busy)
        listener.close()
    assert access.port != busy
    assert load(data) == access
    with socket.create_server(("127.0.0.1", access.port)):
        moved, later = listen(data, busy)
        moved.close()
    assert later.token == access.token
    assert later.port != access.port


def test_a_port_that_someone_chose_comes_before_the_remembered_one(data, free_port):
    remembered, _ = listen(data, 0)
    remembered.close()
    listener, access = listen(data, free_port, chosen=True)
    listener.close()
    assert access.port == free_port


def test_it_listens_on_loopback_alone(data):
    listener, _ = listen(data, 0)
    with listener:
        assert listener.getsockname()[0] == "127.0.0.1"
