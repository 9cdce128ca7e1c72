"""A user in whose home nothing of ours stands, and no variable names another place."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfmon.cli import connect
from tests.unit.connect.connect_kit import Claude


@pytest.fixture
def claude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Claude:
    found = Claude(tmp_path.resolve())
    for name in ("PERFMON_DATA_DIR", "CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(found.home))
    monkeypatch.chdir(found.project)
    monkeypatch.setattr(connect, "_is_terminal", lambda: True)
    return found
