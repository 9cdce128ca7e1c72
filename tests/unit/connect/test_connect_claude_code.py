"""`perfmon connect claude-code` on real files in a home of its own: what it writes and refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from perfmon.cli import connect
from perfmon.connect.places import own_command
from perfmon.http_access import access_file, load
from tests.unit.connect.connect_kit import MCP, Claude, mode_of, read_json


def test_an_empty_project_gets_our_server_and_the_hooks(claude: Claude) -> None:
    done = claude.connected()
    server = read_json(claude.mcp)["mcpServers"]["perfmon"]
    assert server == {"type": "stdio", "command": own_command()[0], "args": [*own_command()[1:], "mcp"]}
    assert Path(server["command"]).is_absolute()
    access = load(claude.data)
    assert access is not None
    group = {"matcher": "mcp__.*", "hooks": [{"type": "http", "url": access.hook_url, "timeout": 2}]}
    assert read_json(claude.settings) == {"hooks": {"PostToolUse": [group], "PostToolUseFailure": [group]}}
    assert (mode_of(claude.settings), mode_of(claude.manifest)) == (0o600, 0o600)
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
    text = json.dumps(read_json(claude.settings)).replace("7077", "7078").replace("/", escape)
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
    servers = read_json(claude.mcp)["mcpServers"]
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
    assert read_json(claude.mcp)["mcpServers"]["perfmon"]["args"][-1] == "mcp"


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
    assert list(read_json(claude.mcp)["mcpServers"]) == ["perf"]


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
    servers = read_json(claude.mcp)
    servers["mcpServers"]["perfmon"]["command"] = "/old/venv/bin/perfmon"
    claude.mcp.write_text(json.dumps(servers))
    access_file(claude.data).unlink()
    claude.connected()
    new = load(claude.data)
    assert new is not None
    assert new.token != old.token
    text = claude.settings.read_text()
    assert (text.count(new.token), text.count(old.token)) == (2, 0)
    assert read_json(claude.mcp)["mcpServers"]["perfmon"]["command"] == own_command()[0]


def test_hooks_of_others_stay_where_they_are(claude: Claude) -> None:
    theirs = {"matcher": "Bash", "hooks": [{"type": "command", "command": "true"}]}
    claude.settings.parent.mkdir()
    claude.settings.write_text(json.dumps({"hooks": {"PostToolUse": [theirs]}, "permissions": {"allow": ["x"]}}))
    claude.connected()
    found = read_json(claude.settings)
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
    assert "perfmon" in read_json(claude.mcp)["mcpServers"]
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
    assert mode_of(real) == 0o640
    assert "perfmon" in read_json(real)["mcpServers"]
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
