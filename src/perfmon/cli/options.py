"""Options and endings that several commands share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Final

import typer

from perfmon.paths import DataDirectory, UnsafeDirectory, resolve_data_directory
from perfmon.pipeline.errors import BadSettings, LaunchFailed, NotReady, PipelineError

#: Exit codes: something failed; what was given cannot be taken; not every service is ready.
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_READY: Final = 3

Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        "--data-dir",
        help="The data directory (default: PERFMON_DATA_DIR, the nearest .performance-data, or your own).",
        metavar="DIR",
    ),
]


def chosen(data: str | None) -> DataDirectory:
    """The data directory that a command works on."""
    return resolve_data_directory(data)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Say what went wrong on stderr and leave with 1 (2 for settings that cannot be), instead of a traceback."""
    try:
        yield
    except BadSettings as error:
        for fault in error.faults:
            typer.echo(f"perfmon: {fault}", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    except (PipelineError, UnsafeDirectory, OSError) as error:
        typer.echo(f"perfmon: {error}", err=True)
        for line in _log_lines(error):
            typer.echo(line, err=True)
        raise typer.Exit(EXIT_FAILED) from None


def _log_lines(error: BaseException) -> list[str]:
    if isinstance(error, LaunchFailed):
        return [f"  {line}" for line in error.log]
    if isinstance(error, NotReady):
        told = [line for name, lines in error.logs.items() for line in [f"last lines of {name}:", *_indented(lines)]]
        return [
            *told,
            "The watchdog keeps trying: `perfmon status` shows what runs, `perfmon down` stops it.",
        ]
    return []


def _indented(lines: tuple[str, ...]) -> list[str]:
    return [f"  {line}" for line in lines] or ["  (its log is empty)"]
