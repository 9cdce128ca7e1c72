"""`perfmon connect claude-code --undo`: what was written is taken out again, and nothing else."""

from __future__ import annotations

import json

from perfmon.connect.places import own_command
from tests.unit.connect.connect_kit import MCP, Claude, read_json


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
    servers = read_json(claude.mcp)
    servers["mcpServers"]["added"] = {"command": "new"}
    claude.mcp.write_text(json.dumps(servers))
    hooks = read_json(claude.settings)
    theirs = {"matcher": "Bash", "hooks": []}
    hooks["hooks"]["PostToolUse"].insert(0, theirs)
    claude.settings.write_text(json.dumps(hooks))
    assert claude.here("--undo", "--yes").exit_code == 0
    expected = json.loads(MCP)
    expected["mcpServers"]["added"] = {"command": "new"}
    assert read_json(claude.mcp) == expected
    assert read_json(claude.settings) == {"hooks": {"PostToolUse": [theirs]}}


def test_undo_leaves_and_names_what_was_changed_since(claude: Claude) -> None:
    claude.mcp.write_text(MCP)
    claude.connected("--wrap", "time", "--wrap", "bare")
    servers = read_json(claude.mcp)
    servers["mcpServers"]["time"]["args"].append("--more")
    servers["mcpServers"]["perfmon"]["env"] = {"X": "1"}
    claude.mcp.write_text(json.dumps(servers))
    done = claude.here("--undo", "--yes")
    assert "mcpServers.time" in done.output
    assert "mcpServers.perfmon in" in done.output
    found = read_json(claude.mcp)["mcpServers"]
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
