"""`perfmon connect claude-code`: shows what it would write, asks, writes; `--undo` takes it out again."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from perfmon.cli.options import EXIT_FAILED
from perfmon.connect.apply import Undone, plan_undo, read_plan, write_plan, write_undo
from perfmon.connect.places import Places, is_short_lived, own_command, project_places, user_places
from perfmon.connect.plan import CannotConnect, Plan, Wishes
from perfmon.http_access import DEFAULT_HOST, DEFAULT_PORT, HOOK_PATH, HttpAccess, load, load_or_create
from perfmon.paths import (
    DATA_DIRECTORY_VARIABLE,
    DataDirectory,
    UnsafeDirectory,
    resolve_data_directory,
    user_data_directory,
)

#: Exit code: somebody must be asked, and nobody is there.
EXIT_USAGE: Final = 2
#: Stands for the token in what is shown, so that a shared screen or a log does not hold it.
SHOWN_TOKEN: Final = "<token>"  # noqa: S105 - what is shown instead of one
#: What stands before a token: the hook's path, with or without JSON's escapes, and a header that carries one; then the token.
_SECRET: Final = re.compile("(" + HOOK_PATH.replace("/", r"\\?/") + r"""|Bearer +)[^"'\\\s]+""", re.IGNORECASE)
#: Lines around a change that are shown: few, for they are other people's secrets.
CONTEXT_LINES: Final = 1
#: How long git may take to say whether it ignores a file.
GIT_TIMEOUT_S: Final = 5.0


def register(app: typer.Typer) -> None:
    """Add `connect` and its one target."""
    group = typer.Typer(help="Have another program's MCP calls recorded.", no_args_is_help=True)
    group.command("claude-code")(claude_code)
    app.add_typer(group, name="connect")


def claude_code(
    *,
    project: Annotated[
        Path | None, typer.Option("--project", help="The project to connect (default: the working directory).")
    ] = None,
    user: Annotated[bool, typer.Option("--user", help="Connect all your projects instead of one.")] = False,
    wrap: Annotated[list[str] | None, typer.Option("--wrap", help="A stdio server to wrap; repeat for more.")] = None,
    wrap_all: Annotated[bool, typer.Option("--wrap-all", help="Wrap every stdio server.")] = False,
    data: Annotated[
        str | None, typer.Option("--data", help="The data directory to record into.", metavar="DIR")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and leave.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take out what was written for this project or user.")] = False,
) -> None:
    """Add the MCP server, the hooks and, for chosen servers, the wrapping to Claude Code's files."""
    try:
        if user and project is not None:
            raise CannotConnect("--user and --project exclude each other")
        places = user_places() if user else _project(project)
        if undo:
            _undo(places, dry_run=dry_run, yes=yes)
        else:
            _connect(places, data, None if wrap_all else (wrap or []), dry_run=dry_run, yes=yes)
    except (CannotConnect, UnsafeDirectory, OSError) as error:
        typer.echo(f"perfmon connect: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from None


def _project(project: Path | None) -> Places:
    chosen = project or Path.cwd()
    if not chosen.is_dir():
        raise CannotConnect(f"{chosen} is not a directory")
    return project_places(chosen)


def _connect(places: Places, explicit: str | None, wrap: list[str] | None, *, dry_run: bool, yes: bool) -> None:
    directory, named = _data_directory(places, explicit)
    known = load(directory)
    preview = known or HttpAccess(DEFAULT_HOST, DEFAULT_PORT, SHOWN_TOKEN)
    plan = read_plan(places, _wishes(preview, named, wrap))
    if not plan.changed:
        _tell([*plan.notes, "connected already; there is nothing to write"])
        return
    for draft in plan.changed:
        _show(draft.path, draft.before or "", draft.text)
    _tell([*plan.notes, *_remarks(places, plan, known)])
    if dry_run or not _agreed(yes, "Write these changes?"):
        _tell(["nothing was written"])
        raise typer.Exit(0 if dry_run else EXIT_FAILED)
    access = load_or_create(directory)
    write_plan(read_plan(places, _wishes(access, named, wrap)), places)
    load_or_create(directory, port=access.port)  # what was just written down is where the gateway is to stay
    _tell([f"connected; metrics go to {directory.root}", "start a new Claude Code session to use it"])


def _wishes(access: HttpAccess, named: str | None, wrap: list[str] | None) -> Wishes:
    return Wishes(command=own_command(), access=access, data_dir=named, wrap=wrap)


def _data_directory(places: Places, explicit: str | None) -> tuple[DataDirectory, str | None]:
    """The directory to record into, and its path when someone named it, so that it must be written into the entries."""
    if explicit is not None or _named_by_environment():
        directory = resolve_data_directory(explicit)
        return directory, str(directory.root)
    if places.project is None:
        return resolve_data_directory(user_data_directory()), None
    return resolve_data_directory(start=places.project), None


def _named_by_environment() -> bool:
    return bool(os.environ.get(DATA_DIRECTORY_VARIABLE))


def _remarks(places: Places, plan: Plan, known: HttpAccess | None) -> list[str]:
    remarks = []
    changed = {Path(draft.path) for draft in plan.changed}
    if known is None:
        remarks.append(f"no pipeline has run here yet: assuming port {DEFAULT_PORT}; connect again if it gets another")
    if is_short_lived(own_command()):
        remarks.append("perfmon runs from a cache that may be emptied; install it to keep this entry working")
    if places.servers in changed and places.project is not None and _git_would_take(places.servers):
        remarks.append(".mcp.json will hold paths of this machine: keep it out of version control, or use --user")
    if places.settings in changed and places.project is not None and _git_would_take(places.settings):
        remarks.append(f"{places.settings.name} will hold a secret: keep it out of version control")
    if places.settings in changed and places.settings.exists() and places.settings.stat().st_mode & 0o077:
        remarks.append(f"{places.settings} can be read by others, and the token in it with it: chmod 600")
    return remarks


def _git_would_take(path: Path) -> bool:
    """Whether the file is in a repository that does not ignore it."""
    directory = next(folder for folder in path.parents if folder.is_dir())
    try:
        command = ["git", "check-ignore", "-q", str(path)]
        found = subprocess.run(command, cwd=directory, check=False, timeout=GIT_TIMEOUT_S, capture_output=True)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return found.returncode == 1


def _undo(places: Places, *, dry_run: bool, yes: bool) -> None:
    undone = plan_undo(places)
    if not undone:
        _tell(["nothing that was written here is left to undo"])
        write_undo(undone, places)
        return
    for one in undone:
        _show(one.path, one.before, one.after or "")
    _tell(_left_alone(undone))
    if dry_run or not _agreed(yes, "Take these out?"):
        _tell(["nothing was written"])
        raise typer.Exit(0 if dry_run else EXIT_FAILED)
    write_undo(undone, places)
    _tell(["disconnected; the recorded metrics are still there"])


def _left_alone(undone: list[Undone]) -> list[str]:
    return [f"{what} in {one.path} was changed since and is left as it is" for one in undone for what in one.left]


def _agreed(yes: bool, question: str) -> bool:
    if yes:
        return True
    if not _is_terminal():
        typer.echo("perfmon connect: not a terminal: use --yes; nothing was written", err=True)
        raise typer.Exit(EXIT_USAGE)
    return typer.confirm(question, default=False)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _show(path: str, before: str, after: str) -> None:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), path, path, lineterm="", n=CONTEXT_LINES)
    for line in lines:
        typer.echo(_without_token(line))


def _without_token(line: str) -> str:
    """The line without anything that lets its reader in: every hook's address ends before its token."""
    return _SECRET.sub(rf"\g<1>{SHOWN_TOKEN}", line)


def _tell(lines: list[str]) -> None:
    for line in lines:
        typer.echo(f"perfmon: {line}")
