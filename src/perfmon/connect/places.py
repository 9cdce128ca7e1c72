"""Where Claude Code keeps what, and how our own command is called from anywhere.

Reads the environment (`CLAUDE_CONFIG_DIR` moves all of a user's files) and looks for files; writes nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple


class Places(NamedTuple):
    """The files of one connection. `scope` names it in the manifest; `project` None = the user's own."""

    scope: str
    project: Path | None
    servers: Path
    settings: Path
    user_servers: Path


def user_places() -> Places:
    """The user's own: seen in every project."""
    moved = os.environ.get("CLAUDE_CONFIG_DIR")
    base = Path(moved).expanduser() if moved else Path.home()
    settings = base / "settings.json" if moved else base / ".claude" / "settings.json"
    servers = base / ".claude.json"
    return Places("user", None, servers, settings, servers)


def project_places(project: Path) -> Places:
    """A project's: `.mcp.json`, and for what is secret `.claude/settings.local.json`."""
    root = project.resolve()
    user = user_places()
    return Places(f"project:{root}", root, root / ".mcp.json", root / ".claude" / "settings.local.json", user.servers)


def own_command() -> list[str]:
    """How to run us by absolute path, whatever environment is active: the script beside this interpreter, or it itself."""
    beside = Path(sys.executable).parent / "perfmon"
    if beside.is_file() and os.access(beside, os.X_OK):
        return [str(beside)]
    found = shutil.which("perfmon")
    if found is not None:
        return [str(Path(found).absolute())]
    return [sys.executable, "-P", "-m", "perfmon.cli"]


def is_short_lived(command: list[str]) -> bool:
    """Whether the command is in a cache that its tool may empty at any time (uvx, pipx run)."""
    parts = Path(command[0]).parts
    return any(part in ("archive-v0", "environments-v2") or part.startswith("pipx-run") for part in parts) or (
        ".cache" in parts and ("uv" in parts or "pipx" in parts)
    )
