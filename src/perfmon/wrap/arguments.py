"""The command line of `wrap`: `[--name N] [--data DIR] [--] <command…>`. Pure.

By hand, because what follows belongs to the server, letter by letter, and because an argument parser takes longer to import
than the forwarder takes to start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

USAGE: Final = "usage: perfmon wrap [--name NAME] [--data DIR] -- COMMAND [ARGUMENT…]"
HELP: Final = f"""{USAGE}

Run an MCP server (stdio) and record every tool call: duration, outcome, CPU, memory and disk I/O. Its bytes, signals
and exit code pass untouched, with or without a running pipeline.

  --name NAME  how the server is called in the figures; by default what it calls itself
  --data DIR   the data directory (default: PERFMON_DATA_DIR, the nearest .performance-data, or your own)
"""
#: What asks for it.
HELP_OPTIONS: Final = ("-h", "--help")


class WrapOptions(NamedTuple):
    """What to run and how to call it; `name` None means what the server calls itself."""

    command: tuple[str, ...]
    name: str | None = None
    data_dir: str | None = None


_OPTIONS: Final = ("--name", "--data")


class HelpWanted(Exception):
    """The command line asks what it may be."""


class UsageError(ValueError):
    """A command line that cannot be understood; the message says what is wrong."""


def parse(argv: Sequence[str]) -> WrapOptions:
    """The options; everything after `--`, or from the first word that is no option on, is the server's own.

    Raises: UsageError, HelpWanted.
    """
    found: dict[str, str] = {}
    rest = list(argv)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            break
        if word in HELP_OPTIONS:
            raise HelpWanted
        option, equals, value = word.partition("=")
        if option not in _OPTIONS:
            raise UsageError(f"unknown option {word}")
        if not equals:
            if not rest:
                raise UsageError(f"{option} needs a value")
            value = rest.pop(0)
        if not value:
            raise UsageError(f"{option} needs a value")
        found[option] = value
    if not rest:
        raise UsageError("there is no command to run")
    return WrapOptions(tuple(rest), found.get("--name"), found.get("--data"))
