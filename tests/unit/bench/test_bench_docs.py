"""Every benchmark, option and system to compare with is documented, and none that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import command
from bench.command import NAMES
from bench.versus import PEERS

DOCUMENT = (Path(__file__).parents[3] / "docs/benchmarks.md").read_text()


def table(header: str) -> set[str]:
    """The names in the first column of a table."""
    body = DOCUMENT.split(header)[1].split("\n\n")[0]
    return set(re.findall(r"^\| `([^`]+)`", body, re.MULTILINE))


def test_every_benchmark_is_documented() -> None:
    assert table("| benchmark | measures |") == set(NAMES)


def test_every_system_to_compare_with_is_documented() -> None:
    assert table("| `--vs` | sent as |") == set(PEERS)


def test_every_option_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    offered = set(re.findall(r"^\s+(?:-h, )?(--[a-z]+(?:-[a-z]+)?)", capsys.readouterr().out, re.MULTILINE))
    assert offered - {"--help"} <= set(re.findall(r"`(--[a-z-]+)", DOCUMENT))
    assert len(offered) > 10
