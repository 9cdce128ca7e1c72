"""The gateway's port and token: who may be believed about them."""

from __future__ import annotations

import json
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from perfmon.http_access import DEFAULT_PORT, access_file, load, load_or_create
from perfmon.paths import DataDirectory


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path.resolve() / "data")


def test_the_first_call_makes_a_private_file_and_later_ones_agree(data: DataDirectory) -> None:
    first = load_or_create(data)
    assert (first.host, first.port) == ("127.0.0.1", DEFAULT_PORT)
    assert load_or_create(data) == first == load(data)
    assert stat.S_IMODE(access_file(data).stat().st_mode) == 0o600
    assert first.hook_url == f"http://127.0.0.1:{DEFAULT_PORT}/hooks/claude-code/{first.token}"


def test_another_port_keeps_the_token(data: DataDirectory) -> None:
    first = load_or_create(data)
    moved = load_or_create(data, port=8123)
    assert (moved.port, moved.token) == (8123, first.token)
    assert load_or_create(data) == moved


def test_ipv6_hosts_are_bracketed_in_urls(data: DataDirectory) -> None:
    assert load_or_create(data, host="::1").base_url == f"http://[::1]:{DEFAULT_PORT}"


def test_a_host_off_loopback_is_refused(data: DataDirectory) -> None:
    with pytest.raises(ValueError, match="listens on"):
        load_or_create(data, host="0.0.0.0")


def test_a_file_others_can_read_gets_a_new_token(data: DataDirectory) -> None:
    first = load_or_create(data)
    access_file(data).chmod(0o644)
    assert load(data) is None
    assert load_or_create(data).token != first.token
    assert stat.S_IMODE(access_file(data).stat().st_mode) == 0o600


def test_a_file_that_came_with_a_clone_gets_a_new_token(data: DataDirectory, tmp_path: Path) -> None:
    first = load_or_create(data)
    clone = DataDirectory(tmp_path.resolve() / "clone")
    shutil.copytree(data.root, clone.root)
    assert load(clone) is None
    assert load_or_create(clone).token != first.token


@pytest.mark.parametrize(
    "planted",
    [
        {"host": "evil.example"},
        {"port": "7077"},
        {"port": 0},
        {"port": True},
        {"token": "short"},
        {"token": "a/../../etc/passwd" * 3},
        {"token": None},
        {"inode": 1},
    ],
)
def test_a_planted_value_is_not_believed(data: DataDirectory, planted: dict[str, object]) -> None:
    first = load_or_create(data)
    body = json.loads(access_file(data).read_bytes())
    access_file(data).write_text(json.dumps(body | planted))
    assert load(data) is None
    assert load_or_create(data).token != first.token


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"null", b"{", b"[" * 100_000])
def test_garbage_is_replaced(data: DataDirectory, content: bytes) -> None:
    load_or_create(data)
    access_file(data).write_bytes(content)
    assert load(data) is None
    assert load_or_create(data) == load(data)


def test_a_link_is_not_followed(data: DataDirectory, tmp_path: Path) -> None:
    load_or_create(data)
    elsewhere = tmp_path / "elsewhere.json"
    access_file(data).rename(elsewhere)
    access_file(data).symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    assert load(data) is None
    load_or_create(data)
    assert elsewhere.read_bytes() == before
    assert not access_file(data).is_symlink()


def test_two_at_once_agree_on_one_token(data: DataDirectory) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = {access.token for access in pool.map(lambda _: load_or_create(data), range(32))}
    assert tokens == {load_or_create(data).token}
    assert [path.name for path in data.state.iterdir()] == ["http.json"]


def test_the_port_that_was_left_is_remembered_until_it_is_taken_again(data: DataDirectory) -> None:
    load_or_create(data, port=7100)
    moved = load_or_create(data, port=7200, left_port=7100)
    assert load(data) == moved
    assert (moved.port, moved.home_port) == (7200, 7100)
    assert load_or_create(data) == moved
    assert load_or_create(data, port=7100, left_port=7100).left_port is None


@pytest.mark.parametrize("planted", [0, 65_536, "7100", True, None])
def test_a_left_port_that_is_none_is_not_believed(data: DataDirectory, planted: object) -> None:
    load_or_create(data, port=7200, left_port=7100)
    body = json.loads(access_file(data).read_text())
    access_file(data).write_text(json.dumps(body | {"leftPort": planted}))
    found = load(data)
    assert found is not None
    assert found.home_port == 7200
