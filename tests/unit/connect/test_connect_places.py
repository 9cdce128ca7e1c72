"""Where `perfmon connect claude-code` writes: a user's files or a project's, and which data directory and gateway they name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from perfmon.connect.places import is_short_lived, own_command
from perfmon.http_access import load, load_or_create
from perfmon.paths import DataDirectory
from tests.unit.connect.connect_kit import MCP, Claude, read_json


def test_a_user_is_connected_in_the_users_own_files(claude: Claude) -> None:
    claude.user_servers.write_text(
        json.dumps({"oauthAccount": {"a": 1}, "mcpServers": {"mine": {"command": "x"}}}, indent=2)
    )
    before = claude.everything()
    assert claude.run("--user", "--yes", "--wrap", "mine").exit_code == 0
    servers = read_json(claude.user_servers)["mcpServers"]
    assert servers["mine"]["args"][-2:] == ["--", "x"]
    assert "perfmon" in servers
    assert "PostToolUse" in read_json(claude.user_settings)["hooks"]
    assert list(claude.project.iterdir()) == []
    assert claude.run("--user", "--undo", "--yes").exit_code == 0
    assert claude.everything() == before


def test_projects_and_the_user_are_undone_apart(claude: Claude) -> None:
    claude.connected()
    assert claude.run("--user", "--yes").exit_code == 0
    assert claude.here("--undo", "--yes").exit_code == 0
    assert not claude.mcp.exists()
    assert "perfmon" in read_json(claude.user_servers)["mcpServers"]


def test_a_server_of_this_project_in_the_users_file_is_wrapped_there(claude: Claude) -> None:
    local = {"projects": {str(claude.project): {"mcpServers": {"local": {"command": "x", "args": []}}}, "/else": {}}}
    claude.user_servers.write_text(json.dumps(local))
    claude.connected("--wrap", "local")
    wrapped = read_json(claude.user_servers)["projects"][str(claude.project)]["mcpServers"]["local"]
    assert "wrap" in wrapped["args"]
    assert claude.here("--undo", "--yes").exit_code == 0
    assert read_json(claude.user_servers) == local


def test_a_moved_configuration_is_found(claude: Claude, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = tmp_path / "moved"
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(moved))
    assert claude.run("--user", "--yes").exit_code == 0
    assert sorted(path.name for path in moved.iterdir()) == [".claude.json", "settings.json"]


def test_a_data_directory_that_was_named_is_written_into_the_entries(claude: Claude, tmp_path: Path) -> None:
    claude.mcp.write_text(MCP)
    named = str(tmp_path.resolve() / "named")
    claude.connected("--data", named, "--wrap", "time")
    servers = read_json(claude.mcp)["mcpServers"]
    assert servers["perfmon"]["env"] == {"PERFMON_DATA_DIR": named}
    assert servers["time"]["args"][len(own_command()) - 1 :][:5] == ["wrap", "--name", "time", "--data", named]
    access = load(DataDirectory(Path(named)))
    assert access is not None
    assert access.token in claude.settings.read_text()


def test_the_projects_own_data_directory_is_used_from_anywhere(
    claude: Claude, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = claude.project / ".performance-data"
    own.mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path)
    claude.connected()
    access = load(DataDirectory(own))
    assert access is not None
    assert access.token in claude.settings.read_text()
    assert "env" not in read_json(claude.mcp)["mcpServers"]["perfmon"]


def test_the_gateways_own_port_and_token_are_used(claude: Claude) -> None:
    access = load_or_create(claude.data, port=8111)
    claude.connected()
    assert claude.settings.read_text().count(access.hook_url) == 2


def test_a_gateway_that_moved_stays_where_the_hooks_now_post(claude: Claude) -> None:
    load_or_create(claude.data, port=7100)
    load_or_create(claude.data, port=7200, left_port=7100)
    claude.connected()
    assert "127.0.0.1:7200" in claude.settings.read_text()
    access = load(claude.data)
    assert access is not None
    assert (access.home_port, access.left_port) == (7200, None)


def test_contradictions_and_wrong_places_are_refused(claude: Claude) -> None:
    assert claude.here("--user").exit_code == 1
    assert claude.run("--project", "/no/such/place").exit_code == 1


def test_our_command_is_beside_the_interpreter() -> None:
    assert own_command() == [str(Path(sys.executable).parent / "perfmon")]


@pytest.mark.parametrize(
    ("command", "short_lived"),
    [
        ("/home/u/.cache/uv/archive-v0/xyz/bin/perfmon", True),
        ("/home/u/.local/share/uv/tools/performance-monitor-mcp/bin/perfmon", False),
        ("/home/u/.cache/pipx/abc/bin/perfmon", True),
        ("/home/u/project/.venv/bin/perfmon", False),
    ],
)
def test_a_command_in_a_cache_is_known(command: str, short_lived: bool) -> None:
    assert is_short_lived([command]) is short_lived
