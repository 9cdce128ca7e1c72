"""`perfmon connect claude-code` on real files in a home of its own: what it writes, refuses and undoes."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from perfmon.cli import connect, wrap
from perfmon.connect.places import is_short_lived, own_command
from perfmon.http_access import access_file, load, load_or_create
from perfmon.paths import DataDirectory

MCP = """{
    "mcpServers": {
        "time": { "command": "uvx", "args": ["mcp-server-time", "--name", "x"], "env": {"KEY": "secret"} },
        "bare": {
            "command": "/opt/bare",
            "cwd": "/tmp"
        },
        "web": {"type": "http", "url": "https://example.com/mcp"}
    },
    "unknown": [1,2 , 3]
}
"""


class Claude:
    """A user with a project."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.project = root / "project"
        self.home.mkdir()
        self.project.mkdir()
        self.mcp = self.project / ".mcp.json"
        self.settings = self.project / ".claude" / "settings.local.json"
        self.user_servers = self.home / ".claude.json"
        self.user_settings = self.home / ".claude" / "settings.json"
        self.data = DataDirectory((self.home / ".local" / "share" / "perfmon").resolve())
        self.manifest = self.home / ".config" / "perfmon" / "connect" / "claude-code.json"

    def run(self, *arguments: str, given: str = "") -> Result:
        app = typer.Typer()
        connect.register(app)
        wrap.register(app)
        return CliRunner().invoke(app, ["connect", "claude-code", *arguments], input=given)

    def here(self, *arguments: str, given: str = "") -> Result:
        return self.run("--project", str(self.project), *arguments, given=given)

    def connected(self, *arguments: str) -> Result:
        done = self.here("--yes", *arguments)
        assert done.exit_code == 0, done.output
        return done

    def everything(self) -> dict[str, bytes]:
        """Every file there is, but for what is ours alone."""
        return {
            str(path.relative_to(self.home.parent)): path.read_bytes()
            for path in sorted(self.home.parent.rglob("*"))
            if path.is_file() and self.data.root not in path.parents and path != self.manifest
        }


@pytest.fixture
def claude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Claude:
    found = Claude(tmp_path.resolve())
    for name in ("PERFMON_DATA_DIR", "CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(found.home))
    monkeypatch.chdir(found.project)
    monkeypatch.setattr(connect, "_is_terminal", lambda: True)
    return found


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_empty_project_gets_our_server_and_the_hooks(claude: Claude) -> None:
    done = claude.connected()
    server = _json(claude.mcp)["mcpServers"]["perfmon"]
    assert server == {"type": "stdio", "command": own_command()[0], "args": [*own_command()[1:], "mcp"]}
    assert Path(server["command"]).is_absolute()
    access = load(claude.data)
    assert access is not None
    group = {"matcher": "mcp__.*", "hooks": [{"type": "http", "url": access.hook_url, "timeout": 2}]}
    assert _json(claude.settings) == {"hooks": {"PostToolUse": [group], "PostToolUseFailure": [group]}}
    assert (_mode(claude.settings), _mode(claude.manifest)) == (0o600, 0o600)
    assert access.token not in done.output
    assert str(claude.data.root) in done.output


def test_a_dry_run_shows_the_difference_and_writes_nothing(claude: Claude) -> None:
    claude.mcp.write_text(MCP)
    before = claude.everything()
    done = claude.here("--dry-run", "--wrap", "time")
    assert done.exit_code == 0
    assert '-        "time": { "command": "uvx"' in done.output
    assert f"+++ {claude.settings}" in done.output
    assert "nothing was written" in done.output
    assert claude.everything() == before
    assert not access_file(claude.data).exists()
    assert not claude.manifest.exists()


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_without_consent_nothing_is_written(claude: Claude, answer: str) -> None:
    before = claude.everything()
    assert claude.here(given=answer).exit_code == 1
    assert claude.everything() == before
    assert not access_file(claude.data).exists()


@pytest.mark.parametrize("arguments", [[], ["--undo"]])
def test_where_nobody_can_be_asked_it_says_how_to_go_on(
    claude: Claude, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if arguments:
        claude.connected()
    before = claude.everything()
    monkeypatch.setattr(connect, "_is_terminal", lambda: False)
    done = claude.here(*arguments, given="y\n")
    assert done.exit_code == 2
    assert "not a terminal: use --yes" in done.output
    assert claude.everything() == before


@pytest.mark.parametrize("escape", ["/", "\\/"])
def test_no_token_is_shown_however_many_stand_on_a_line(claude: Claude, escape: str) -> None:
    claude.connected()
    access = load(claude.data)
    assert access is not None
    text = json.dumps(_json(claude.settings)).replace("7077", "7078").replace("/", escape)
    claude.settings.write_text(text)
    assert len(text.splitlines()) == 1
    assert text.count(access.token) == 2
    shown = claude.here("--dry-run").output + claude.here("--undo", "--dry-run").output
    assert "7078" in shown
    assert "<token>" in shown
    assert access.token not in shown


def test_a_token_in_a_header_beside_a_change_is_not_shown(claude: Claude) -> None:
    entry = {"type": "http", "url": "http://127.0.0.1:7077/mcp", "headers": {"Authorization": "Bearer s3cret-s3cret"}}
    claude.mcp.write_text(json.dumps({"mcpServers": {"web": entry}}))
    assert "s3cret" not in claude.here("--dry-run").output


def test_consent_may_be_typed(claude: Claude) -> None:
    assert claude.here(given="y\n").exit_code == 0
    assert claude.mcp.exists()


def test_chosen_servers_are_wrapped_and_keep_all_else(claude: Claude) -> None:
    claude.mcp.write_text(MCP)
    claude.connected("--wrap", "time", "--wrap", "bare")
    servers = _json(claude.mcp)["mcpServers"]
    us = own_command()
    assert servers["time"] == {
        "command": us[0],
        "args": [*us[1:], "wrap", "--name", "time", "--", "uvx", "mcp-server-time", "--name", "x"],
        "env": {"KEY": "secret"},
    }
    assert servers["bare"] == {
        "command": us[0],
        "cwd": "/tmp",
        "args": [*us[1:], "wrap", "--name", "bare", "--", "/opt/bare"],
    }
    assert servers["web"] == {"type": "http", "url": "https://example.com/mcp"}
    assert list(servers) == ["time", "bare", "web", "perfmon"]
    assert '"unknown": [1,2 , 3]' in claude.mcp.read_text()


def test_all_stdio_servers_may_be_wrapped_but_never_our_own_and_never_twice(claude: Claude) -> None:
    claude.mcp.write_text(MCP)
    done = claude.connected("--wrap-all")
    assert "web is a server of type http" in done.output
    once = claude.mcp.read_bytes()
    assert claude.connected("--wrap-all").exit_code == 0
    assert claude.mcp.read_bytes() == once
    assert _json(claude.mcp)["mcpServers"]["perfmon"]["args"][-1] == "mcp"


def test_connecting_twice_writes_once(claude: Claude) -> None:
    claude.connected()
    before, manifest = claude.everything(), claude.manifest.read_bytes()
    assert "nothing to write" in claude.connected().output
    assert (claude.everything(), claude.manifest.read_bytes()) == (before, manifest)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("web", "only stdio servers can be wrapped"),
        ("tiem", 'did you mean "time"?'),
        ("perfmon", "our own server"),
        ("mine", "--user"),
    ],
)
def test_what_cannot_be_wrapped_is_refused_and_nothing_written(claude: Claude, name: str, said: str) -> None:
    claude.mcp.write_text(MCP)
    claude.user_servers.write_text('{"mcpServers": {"mine": {"command": "x"}}}')
    before = claude.everything()
    done = claude.here("--yes", "--wrap", name)
    assert done.exit_code == 1
    assert said in done.output
    assert "othing was written" in done.output
    assert claude.everything() == before


def test_a_mistyped_server_is_guessed_and_the_others_are_named(claude: Claude) -> None:
    claude.mcp.write_text(MCP)
    assert 'did you mean "time"? (servers: time, bare, web)' in claude.here("--wrap", "tme").output
    assert "to wrap (servers: time, bare, web)" in claude.here("--wrap", "zzz").output


def test_our_own_server_is_never_wrapped(claude: Claude) -> None:
    claude.connected()
    done = claude.here("--yes", "--wrap", "perfmon")
    assert done.exit_code == 1
    assert "our own server" in done.output


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "uvx", "args": ["performance-monitor-mcp"]},
        {"command": "/usr/bin/performance-monitor-mcp"},
        {"command": "/x/python", "args": ["-m", "perfmon.cli", "mcp"]},
    ],
)
def test_our_server_under_another_name_is_left_as_it_is(claude: Claude, entry: dict[str, Any]) -> None:
    claude.mcp.write_text(json.dumps({"mcpServers": {"perf": entry}}))
    done = claude.connected()
    assert "as perf" in done.output
    assert list(_json(claude.mcp)["mcpServers"]) == ["perf"]


def test_another_server_of_our_name_is_not_overwritten(claude: Claude) -> None:
    claude.mcp.write_text('{"mcpServers": {"perfmon": {"command": "something-else"}}}')
    before = claude.everything()
    done = claude.here("--yes")
    assert done.exit_code == 1
    assert "another server named perfmon" in done.output
    assert claude.everything() == before


def test_an_outdated_entry_and_hook_of_ours_are_renewed_in_place(claude: Claude) -> None:
    claude.connected()
    old = load(claude.data)
    assert old is not None
    servers = _json(claude.mcp)
    servers["mcpServers"]["perfmon"]["command"] = "/old/venv/bin/perfmon"
    claude.mcp.write_text(json.dumps(servers))
    access_file(claude.data).unlink()
    claude.connected()
    new = load(claude.data)
    assert new is not None
    assert new.token != old.token
    text = claude.settings.read_text()
    assert (text.count(new.token), text.count(old.token)) == (2, 0)
    assert _json(claude.mcp)["mcpServers"]["perfmon"]["command"] == own_command()[0]


def test_hooks_of_others_stay_where_they_are(claude: Claude) -> None:
    theirs = {"matcher": "Bash", "hooks": [{"type": "command", "command": "true"}]}
    claude.settings.parent.mkdir()
    claude.settings.write_text(json.dumps({"hooks": {"PostToolUse": [theirs]}, "permissions": {"allow": ["x"]}}))
    claude.connected()
    found = _json(claude.settings)
    assert found["hooks"]["PostToolUse"][0] == theirs
    assert len(found["hooks"]["PostToolUse"]) == 2
    assert found["permissions"] == {"allow": ["x"]}


def test_settings_that_block_the_hooks_are_pointed_out(claude: Claude) -> None:
    claude.settings.parent.mkdir()
    claude.settings.write_text('{"disableAllHooks": true, "allowedHttpHookUrls": ["https://else.example/*"]}')
    done = claude.connected()
    assert "switched off" in done.output
    assert "add http://127.0.0.1:7077/* to allowedHttpHookUrls" in done.output
    assert claude.settings.stat().st_mode & 0o077
    assert "can be read by others" in done.output


@pytest.mark.parametrize(
    "text",
    [
        "{ // comment\n}",
        '{"mcpServers": {},}',
        "[]",
        "{",
        "\xff\xfe",
        '{"mcpServers": []}',
        '{"mcpServers": {"perfmon": 5}}',
    ],
)
@pytest.mark.parametrize("which", ["mcp", "settings", "user_servers"])
def test_a_file_that_cannot_be_edited_is_refused_and_nothing_written(claude: Claude, text: str, which: str) -> None:
    path: Path = getattr(claude, which)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode("latin-1"))
    before = claude.everything()
    done = claude.here("--yes")
    if which != "mcp" and "mcpServers" in text and "," not in text:
        return  # another file's own affair
    assert done.exit_code == 1, done.output
    assert str(path) in done.output
    assert "nothing was written" in done.output.lower()
    assert claude.everything() == before


def test_a_hooks_section_of_another_shape_is_refused(claude: Claude) -> None:
    claude.settings.parent.mkdir()
    for text in ('{"hooks": []}', '{"hooks": {"PostToolUse": {}}}', '{"hooks": 3}'):
        claude.settings.write_text(text)
        done = claude.here("--yes")
        assert done.exit_code == 1, text
        assert claude.settings.read_text() == text
        assert not claude.mcp.exists()


def test_an_empty_file_is_as_good_as_none_and_comes_back_empty(claude: Claude) -> None:
    claude.mcp.write_text("")
    claude.connected()
    assert "perfmon" in _json(claude.mcp)["mcpServers"]
    assert claude.here("--undo", "--yes").exit_code == 0
    assert claude.mcp.read_text() == ""


def test_links_are_written_through_and_modes_kept(claude: Claude, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "mcp.json"
    real.parent.mkdir()
    real.write_text(MCP)
    real.chmod(0o640)
    claude.mcp.symlink_to(real)
    claude.connected()
    assert claude.mcp.is_symlink()
    assert _mode(real) == 0o640
    assert "perfmon" in _json(real)["mcpServers"]
    assert claude.here("--undo", "--yes").exit_code == 0
    assert real.read_text() == MCP
    assert [path.name for path in real.parent.iterdir()] == ["mcp.json"]


def test_a_link_to_nothing_is_refused(claude: Claude) -> None:
    claude.mcp.symlink_to(claude.project / "gone")
    done = claude.here("--yes")
    assert done.exit_code == 1
    assert "link to nothing" in done.output


def test_a_write_that_fails_leaves_all_as_it_was(claude: Claude, monkeypatch: pytest.MonkeyPatch) -> None:
    claude.mcp.write_text(MCP)
    before = claude.everything()
    claude.settings.parent.touch()  # a file where the directory belongs
    done = claude.here("--yes")
    assert done.exit_code == 1
    claude.settings.parent.unlink()
    assert claude.everything() == before
    assert not claude.manifest.exists()


def test_undo_restores_every_byte(claude: Claude) -> None:
    claude.mcp.write_text(MCP)
    claude.settings.parent.mkdir()
    claude.settings.write_text('{"permissions":{"allow":["x"]}}')
    claude.user_servers.write_text('{\n  "numStartups": 5\n}')
    before = claude.everything()
    claude.connected()
    claude.connected("--wrap", "time")
    claude.connected("--wrap-all")
    done = claude.here("--undo", "--yes")
    assert done.exit_code == 0
    assert claude.everything() == before
    assert not claude.manifest.exists()
    assert "nothing that was written here" in claude.here("--undo", "--yes").output


def test_undo_removes_what_was_made(claude: Claude) -> None:
    claude.connected()
    assert claude.here("--undo", "--yes").exit_code == 0
    assert list(claude.project.iterdir()) == []


def test_undo_asks_too(claude: Claude) -> None:
    claude.connected()
    before = claude.everything()
    assert claude.here("--undo", given="n\n").exit_code == 1
    assert claude.here("--undo", "--dry-run").exit_code == 0
    assert claude.everything() == before
    assert claude.here("--undo", given="y\n").exit_code == 0
    assert not claude.mcp.exists()


def test_undo_takes_only_our_own_out_of_files_edited_since(claude: Claude) -> None:
    claude.mcp.write_text(MCP)
    claude.connected("--wrap-all")
    servers = _json(claude.mcp)
    servers["mcpServers"]["added"] = {"command": "new"}
    claude.mcp.write_text(json.dumps(servers))
    hooks = _json(claude.settings)
    theirs = {"matcher": "Bash", "hooks": []}
    hooks["hooks"]["PostToolUse"].insert(0, theirs)
    claude.settings.write_text(json.dumps(hooks))
    assert claude.here("--undo", "--yes").exit_code == 0
    expected = json.loads(MCP)
    expected["mcpServers"]["added"] = {"command": "new"}
    assert _json(claude.mcp) == expected
    assert _json(claude.settings) == {"hooks": {"PostToolUse": [theirs]}}


def test_undo_leaves_and_names_what_was_changed_since(claude: Claude) -> None:
    claude.mcp.write_text(MCP)
    claude.connected("--wrap", "time", "--wrap", "bare")
    servers = _json(claude.mcp)
    servers["mcpServers"]["time"]["args"].append("--more")
    servers["mcpServers"]["perfmon"]["env"] = {"X": "1"}
    claude.mcp.write_text(json.dumps(servers))
    done = claude.here("--undo", "--yes")
    assert "mcpServers.time" in done.output
    assert "mcpServers.perfmon in" in done.output
    found = _json(claude.mcp)["mcpServers"]
    assert found["time"]["args"][-1] == "--more"
    assert found["time"]["command"] == own_command()[0]
    assert found["bare"] == json.loads(MCP)["mcpServers"]["bare"]
    assert "perfmon" in found


def test_undo_of_what_was_taken_out_by_hand_is_done(claude: Claude) -> None:
    claude.mcp.write_text(MCP)
    claude.connected("--wrap", "time")
    claude.mcp.write_text("{}")
    claude.settings.unlink()
    done = claude.here("--undo", "--yes")
    assert done.exit_code == 0
    assert claude.mcp.read_text() == "{}"
    assert not claude.manifest.exists()


def test_undo_stops_at_a_file_that_cannot_be_edited(claude: Claude) -> None:
    claude.connected()
    claude.mcp.write_text("{ // mine\n}")
    before = claude.everything()
    done = claude.here("--undo", "--yes")
    assert done.exit_code == 1
    assert claude.everything() == before
    assert claude.manifest.exists()


def test_a_user_is_connected_in_the_users_own_files(claude: Claude) -> None:
    claude.user_servers.write_text(
        json.dumps({"oauthAccount": {"a": 1}, "mcpServers": {"mine": {"command": "x"}}}, indent=2)
    )
    before = claude.everything()
    assert claude.run("--user", "--yes", "--wrap", "mine").exit_code == 0
    servers = _json(claude.user_servers)["mcpServers"]
    assert servers["mine"]["args"][-2:] == ["--", "x"]
    assert "perfmon" in servers
    assert "PostToolUse" in _json(claude.user_settings)["hooks"]
    assert list(claude.project.iterdir()) == []
    assert claude.run("--user", "--undo", "--yes").exit_code == 0
    assert claude.everything() == before


def test_projects_and_the_user_are_undone_apart(claude: Claude) -> None:
    claude.connected()
    assert claude.run("--user", "--yes").exit_code == 0
    assert claude.here("--undo", "--yes").exit_code == 0
    assert not claude.mcp.exists()
    assert "perfmon" in _json(claude.user_servers)["mcpServers"]


def test_a_server_of_this_project_in_the_users_file_is_wrapped_there(claude: Claude) -> None:
    local = {"projects": {str(claude.project): {"mcpServers": {"local": {"command": "x", "args": []}}}, "/else": {}}}
    claude.user_servers.write_text(json.dumps(local))
    claude.connected("--wrap", "local")
    wrapped = _json(claude.user_servers)["projects"][str(claude.project)]["mcpServers"]["local"]
    assert "wrap" in wrapped["args"]
    assert claude.here("--undo", "--yes").exit_code == 0
    assert _json(claude.user_servers) == local


def test_a_moved_configuration_is_found(claude: Claude, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = tmp_path / "moved"
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(moved))
    assert claude.run("--user", "--yes").exit_code == 0
    assert sorted(path.name for path in moved.iterdir()) == [".claude.json", "settings.json"]


def test_a_data_directory_that_was_named_is_written_into_the_entries(claude: Claude, tmp_path: Path) -> None:
    claude.mcp.write_text(MCP)
    named = str(tmp_path.resolve() / "named")
    claude.connected("--data", named, "--wrap", "time")
    servers = _json(claude.mcp)["mcpServers"]
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
    assert "env" not in _json(claude.mcp)["mcpServers"]["perfmon"]


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


@pytest.mark.parametrize(
    "content", ["garbage", '{"version": 99, "records": []}', '{"version": 1, "records": [{}]}', "[]"]
)
def test_a_manifest_that_cannot_be_understood_stops_everything(claude: Claude, content: str) -> None:
    claude.connected()
    claude.manifest.write_text(content)
    before = claude.everything()
    for arguments in (["--undo", "--yes"], ["--yes", "--data", str(claude.home / "x")]):
        done = claude.here(*arguments)
        assert done.exit_code == 1
        assert str(claude.manifest) in done.output
    assert claude.everything() == before


def test_files_of_another_user_are_not_touched(claude: Claude, monkeypatch: pytest.MonkeyPatch) -> None:
    claude.mcp.write_text(MCP)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    done = claude.here("--yes")
    assert done.exit_code == 1
    assert "another user" in done.output


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
