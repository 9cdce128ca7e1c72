"""`perfmon doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from perfmon.cli.hooks import check_hooks
from perfmon.cli.options import EXIT_FAILED, Data, chosen
from perfmon.connect.entries import is_ours
from perfmon.connect.places import user_places
from perfmon.pipeline.checkup import examine
from perfmon.pipeline.report import Check

_SIGNS = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}


def register(app: typer.Typer) -> None:
    """Add `doctor`."""
    app.command()(doctor)


def doctor(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Check the data directory, the processes and the connection to Claude Code; exits 1 on a problem."""
    directory = chosen(data)
    checks = [*examine(directory), check_claude(), check_hooks(directory)]
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        _print(checks)
    if any(check.verdict == "problem" for check in checks):
        raise typer.Exit(EXIT_FAILED)


def check_claude(home: Path | None = None, project: Path | None = None) -> Check:
    """Claude Code's configuration starts this server."""
    user = user_places().servers if home is None else home / ".claude.json"
    places = [user, (project or Path.cwd()) / ".mcp.json"]
    if any(_names_us(place) for place in places):
        return Check("Claude Code", "ok", "its configuration has this server")
    return Check(
        "Claude Code",
        "warning",
        "its configuration does not have this server",
        "`perfmon connect claude-code` adds it",
    )


def _print(checks: list[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        typer.echo(f"{_SIGNS[check.verdict]}  {check.name:<{width}}  {check.found}")
        if check.verdict != "ok":
            typer.echo(f"{'':{width + 9}}  → {check.advice}")
    problems = sum(check.verdict == "problem" for check in checks)
    typer.echo("No problems found." if not problems else f"{problems} problem{'s' if problems > 1 else ''} found.")


def _names_us(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return any(is_ours(entry) for entry in _servers(found))


def _servers(found: Any) -> list[Any]:
    """The server entries of a configuration and of its projects."""
    if not isinstance(found, dict):
        return []
    own = found.get("mcpServers")
    entries = list(own.values()) if isinstance(own, dict) else []
    projects = found.get("projects")
    if isinstance(projects, dict):
        entries += [entry for project in projects.values() for entry in _servers(project)]
    return entries
