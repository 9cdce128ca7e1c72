"""`perfmon mcp` as it stands in the help; `perfmon.cli.main` runs it before this is ever imported."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `mcp`."""
    app.command()(mcp)


def mcp(
    data: Annotated[str | None, typer.Option(help="The data directory.", metavar="DIR")] = None,
) -> None:
    """Serve the tools over stdio, for an MCP client to start (also installed as performance-monitor-mcp)."""
    from perfmon.cli.mcp import run

    raise typer.Exit(run([] if data is None else ["--data", data]))
