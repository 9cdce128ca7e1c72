"""A user with a project and Claude Code's files, all in a home of its own."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner, Result

from perfmon.cli import connect, wrap
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


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
