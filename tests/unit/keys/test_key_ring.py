"""The key ring: made once, private, clients listed and taken off; what is no key lists nobody."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from perfmon.cli.app import build
from perfmon.keys import BadKeys, KeyRing, NameTaken, NoKeys, UnknownName, load_client_keys
from perfmon.paths import UnsafeDirectory


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    made = KeyRing(tmp_path / "keys")
    assert made.init()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_server_keys_are_made_once_and_only_their_owner_can_read_them(ring: KeyRing) -> None:
    before = ring.server().secret_key
    assert not ring.init()
    assert ring.server().secret_key == before
    assert mode(ring.folder) == mode(ring.folder / "clients") == 0o700
    assert mode(ring.folder / "server.json") == 0o600


def test_no_secret_is_shown_by_accident(ring: KeyRing) -> None:
    given = ring.add("laptop")
    assert given.secret_key not in repr(given)
    assert ring.server().secret_key not in repr(ring.server())


def test_keys_that_others_can_read_are_not_used(ring: KeyRing) -> None:
    (ring.folder / "server.json").chmod(0o644)
    with pytest.raises(BadKeys, match="can be read by others"):
        ring.server()


def test_without_keys_it_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(NoKeys, match="perfmon keys init"):
        KeyRing(tmp_path).server()
    with pytest.raises(NoKeys):
        KeyRing(tmp_path).add("laptop")


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "keys").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeDirectory):
        KeyRing(tmp_path / "keys").init()


def test_a_client_is_listed_and_its_secret_is_kept_nowhere(ring: KeyRing, tmp_path: Path) -> None:
    version = ring.version()
    given = ring.add("laptop", endpoint="tcp://far:7078")
    assert ring.clients() == {given.public_key: "laptop"}
    assert ring.version() != version
    assert all(given.secret_key not in path.read_text() for path in ring.folder.rglob("*.json"))
    file = tmp_path / "given.json"
    file.write_bytes(given.to_json())
    assert load_client_keys(file) == given
    with pytest.raises(NameTaken):
        ring.add("laptop")


def test_a_revoked_client_is_listed_no_more(ring: KeyRing) -> None:
    ring.add("laptop")
    version = ring.version()
    ring.revoke("laptop")
    assert ring.clients() == {}
    assert ring.version() != version
    with pytest.raises(UnknownName):
        ring.revoke("laptop")


@pytest.mark.parametrize("name", ["", "..", "../server", "a/b", "A", ".hidden", "-rf", "a" * 65, "a\0b", "é"])
def test_a_name_that_is_no_file_name_is_refused(ring: KeyRing, name: str) -> None:
    with pytest.raises(UnknownName):
        ring.add(name)
    with pytest.raises(UnknownName):
        ring.revoke(name)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"publicKey": 1}', b'{"publicKey": "short"}', b"[" * 9_000])
def test_a_file_that_is_no_key_lists_nobody(ring: KeyRing, content: bytes) -> None:
    given = ring.add("laptop")
    (ring.folder / "clients" / "odd.json").write_bytes(content)
    assert ring.clients() == {given.public_key: "laptop"}
    with pytest.raises(BadKeys):
        load_client_keys(ring.folder / "clients" / "odd.json")


def test_a_key_file_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(BadKeys, match="there is no key file"):
        load_client_keys(tmp_path / "none.json")


def test_the_commands_make_list_and_revoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    run, app = CliRunner(), build()
    assert run.invoke(app, ["keys", "add", "laptop"]).exit_code == 1
    assert run.invoke(app, ["keys", "init"]).exit_code == 0
    assert run.invoke(app, ["keys", "add", "laptop"]).exit_code == 0
    given = load_client_keys(tmp_path / "laptop.perfmon-keys.json")
    assert mode(tmp_path / "laptop.perfmon-keys.json") == 0o600
    listed = json.loads(run.invoke(app, ["keys", "list", "--json"]).output)
    assert listed == [{"name": "laptop", "publicKey": given.public_key}]
    assert run.invoke(app, ["keys", "add", "laptop"]).exit_code == 1, "its file is there"
    assert run.invoke(app, ["keys", "add", "laptop", "--out", "other.json"]).exit_code == 1, "its name is taken"
    assert run.invoke(app, ["keys", "add", "other", "--out", "none/other.json"]).exit_code == 1
    assert run.invoke(app, ["keys", "revoke", "laptop"]).exit_code == 0
    assert json.loads(run.invoke(app, ["keys", "list", "--json"]).output) == []
