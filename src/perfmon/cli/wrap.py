"""`perfmon wrap -- <command>`: hands over to the proxy, which knows nothing of this command line's library."""

from __future__ import annotations

import sys
from typing import Final, NoReturn

import typer

_PASS_ON: Final = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def main(arguments: list[str]) -> NoReturn:
    """Run the proxy with the words after `wrap`; the process ends with the server's exit code."""
    from perfmon.wrap.proxy import main as forward

    forward(arguments)


def register(app: typer.Typer) -> None:
    """Add the command, so that the list of commands has it; it is usually run without this."""

    @app.command("wrap", context_settings=_PASS_ON, add_help_option=False)
    def wrap() -> None:
        """Run an MCP server and record every tool call: perfmon wrap [--name NAME] -- COMMAND [ARGUMENT…]."""
        # As typed: the library would take the first `--`, which may be the server's own.
        main(sys.argv[sys.argv.index("wrap") + 1 :])
