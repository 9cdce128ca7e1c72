"""What `make setup` says: one line while it installs, what is wrong when it cannot; with a stand-in for Python and pip."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
case "$1 $2" in
  "-m venv") [ -z "$NO_VENV" ] && mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip") [ -z "$NO_PIP" ] || { echo "pip: no network" >&2; exit 1; } ;;
esac
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(CHECKOUT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def make(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `make setup` there."""
    outer = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        ["make", "setup", f"PYTHON={folder / 'python'}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=outer | environment,
    )


def test_an_installation_is_one_line_and_a_second_one_is_none(folder: Path) -> None:
    told = make(folder)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines() == ["installing into .venv, about 20 s"]
    again = make(folder)
    assert again.returncode == 0
    assert "installing" not in again.stdout


def test_a_python_without_venv_is_said_and_leaves_nothing(folder: Path) -> None:
    told = make(folder, NO_VENV="1")
    assert told.returncode != 0
    assert "cannot make virtual environments (Debian: apt-get install python3-venv)" in told.stderr
    assert not (folder / ".venv").exists()


def test_an_installation_that_fails_is_said_and_tried_again(folder: Path) -> None:
    told = make(folder, NO_PIP="1")
    assert told.returncode != 0
    assert "pip: no network" in told.stderr
    assert "the installation into .venv failed, see above" in told.stderr
    assert "installing into .venv" in make(folder).stdout
