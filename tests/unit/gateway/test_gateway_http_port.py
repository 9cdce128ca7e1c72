"""The port: remembered, preferred, the data directory's own; what it became is written down with the token, and said."""

import socket
from pathlib import Path

import pytest

from perfmon.http_access import OWN_PORTS, load, load_or_create, own_ports
from perfmon.paths import DataDirectory
from services.gateway.http_port import listen, open_port


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


class Heard:
    """A log that remembers."""

    def __init__(self) -> None:
        self.warnings = []

    def warning(self, event, **fields):
        self.warnings.append((event, fields))


def test_a_data_directory_has_ports_of_its_own_that_never_change(data, tmp_path):
    mine = own_ports(data)
    assert own_ports(DataDirectory(data.root)) == mine
    assert own_ports(DataDirectory(tmp_path / "other")) != mine
    assert all(port in OWN_PORTS for port in mine)
    assert len(set(mine)) == len(mine)


def test_a_busy_port_gives_the_data_directorys_own_each_time(data):
    with socket.create_server(("127.0.0.1", 0)) as other:
        busy = other.getsockname()[1]
        found = []
        for _ in range(2):
            listener, access = listen(data, busy)
            listener.close()
            found.append(access.port)
    assert found[0] == found[1]
    assert found[0] in own_ports(data)


def test_it_goes_back_to_the_port_that_clients_were_told_of(data, free_port):
    first, _ = listen(data, free_port)
    first.close()
    with socket.create_server(("127.0.0.1", free_port)):
        moved, access = listen(data, free_port)
        moved.close()
        assert (access.left_port, access.home_port) == (free_port, free_port)
        assert access.port in own_ports(data)
    back, access = listen(data, free_port)
    back.close()
    assert (access.port, access.left_port) == (free_port, None)


def test_it_stays_where_clients_were_told_of_since(data, free_port):
    first, _ = listen(data, free_port)
    first.close()
    with socket.create_server(("127.0.0.1", free_port)):
        moved, access = listen(data, free_port)
        moved.close()
    load_or_create(data, port=access.port)  # what connecting again does
    stayed, later = listen(data, free_port)
    stayed.close()
    assert (later.port, later.left_port) == (access.port, None)


def test_a_move_is_warned_of_and_a_stay_is_not(data, free_port):
    log = Heard()
    for _ in range(2):
        listener, _ = open_port(data, free_port, log, chosen=False)
        listener.close()
    assert log.warnings == []
    with socket.create_server(("127.0.0.1", free_port)):
        listener, access = open_port(data, free_port, log, chosen=False)
        listener.close()
    [(event, fields)] = log.warnings
    assert event == "http_port_moved"
    assert (fields["expected_port"], fields["port"]) == (free_port, access.port)
    assert access.token not in str(fields)


def test_a_first_start_beside_another_pipeline_is_warned_of_too(data):
    log = Heard()
    with socket.create_server(("127.0.0.1", 0)) as other:
        listener, access = open_port(data, other.getsockname()[1], log, chosen=False)
        listener.close()
    assert len(log.warnings) == 1
    assert access.left_port is None
