"""`perfmon mcp` as it stands in the help; `perfmon.cli.main` runs it before this is ever imported."""

from __future__ import annotations

import typer

from perfmon.cli.options import Data


def register(app: typer.Typer) -> None:
    """Add `mcp`."""
    app.command()(mcp)


def mcp(
    data: Data = None,
) -> None:
    """Serve the tools over stdio, for an MCP client to start (also installed as performance-monitor-mcp)."""
    from perfmon.cli.mcp import run

    raise typer.Exit(run([] if data is None else ["--data", data]))
