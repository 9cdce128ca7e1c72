"""The commands `perfmon` and `performance-monitor-mcp`.

`mcp` and `wrap` start with every client session: they are dispatched here, before typer and rich are imported.
"""

from __future__ import annotations

import os
import sys

from perfmon.paths import DATA_DIRECTORY_VARIABLE


def main() -> None:
    """`perfmon …`: exits with the command's code."""
    arguments = _without_data(sys.argv[1:])
    if arguments[:1] == ["mcp"]:
        from perfmon.cli.mcp import run

        sys.exit(run(arguments[1:]))
    if arguments[:1] == ["wrap"]:
        _wrap_quickly(arguments[1:])
    from perfmon.cli.app import build

    build()(arguments, prog_name="perfmon")


def _without_data(arguments: list[str]) -> list[str]:
    """The arguments without a data directory named before the command, which holds for every command."""
    option, equals, place = arguments[0].partition("=") if arguments else ("", "", "")
    if option not in ("--data", "--data-dir") or not (equals or arguments[1:]):
        return arguments
    os.environ[DATA_DIRECTORY_VARIABLE] = place if equals else arguments[1]
    return arguments[1:] if equals else arguments[2:]


def mcp_main() -> None:
    """`performance-monitor-mcp …` is `perfmon mcp …`, so that `uvx performance-monitor-mcp` is a complete server entry."""
    from perfmon.cli.mcp import run

    sys.exit(run(sys.argv[1:]))


def _wrap_quickly(arguments: list[str]) -> None:
    """Run the proxy without typer where it offers that; its help goes the ordinary way."""
    from importlib import import_module

    try:
        wrap = import_module("perfmon.cli.wrap")
    except ModuleNotFoundError:
        return
    quick = getattr(wrap, "main", None)
    if quick is not None:
        sys.exit(quick(arguments))
