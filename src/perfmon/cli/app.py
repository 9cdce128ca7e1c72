"""The command line's root: every command that is typed by a person. Commands live in their own modules."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Final

import typer

from perfmon import __version__
from perfmon.cli import bench, doctor, explain, foreground, keys, lifecycle, mcp_help, status
from perfmon.cli.options import Data

#: Modules of other parts that add commands of their own with `register(app)`.
_PARTS: Final = ("perfmon.cli.wrap", "perfmon.cli.connect")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"perfmon {__version__}")
        raise typer.Exit


def build() -> typer.Typer:
    """The application with all its commands."""
    app = typer.Typer(
        name="perfmon",
        help="A performance monitor for MCP servers: see what got slow, why, and since when.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for part in (lifecycle, foreground, status, doctor, explain, keys, bench, mcp_help):
        part.register(app)
    for name in _PARTS:
        _register_if_there(name, app)
    return app


def _root(
    data: Data = None,
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.", callback=_version)] = False,
) -> None:
    del data, version  # the data directory is taken out before; here it is for the help


def _register_if_there(name: str, app: typer.Typer) -> None:
    try:
        part = import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name != name:
            raise
        return
    part.register(app)
