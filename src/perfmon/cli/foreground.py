"""`perfmon run`: the pipeline in the foreground, for `make run`, containers and a look at what it does."""

from __future__ import annotations

import json
import shlex
import signal
import threading
import time
from collections.abc import Mapping
from typing import Annotated

import typer

from perfmon.cli.hooks import notes_of
from perfmon.cli.options import EXIT_FAILED, Data, chosen, told
from perfmon.connect.entries import SERVER_NAME, server_entry
from perfmon.connect.places import own_command
from perfmon.paths import DataDirectory, user_data_directory
from perfmon.pipeline.address import http_address
from perfmon.pipeline.foreground import AlreadyRunning, Foreground
from perfmon.pipeline.report import Answer


def register(app: typer.Typer) -> None:
    """Add `run`."""
    app.command()(run)


def run(
    data: Data = None,
    attach: Annotated[
        bool, typer.Option("--attach", help="Watch a pipeline that runs already, without owning it.")
    ] = False,
) -> None:
    """Run the pipeline in the foreground and say what changes; Ctrl-C stops it."""
    directory = chosen(data)
    stopping = threading.Event()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it on purpose
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, lambda *_: stopping.set())
    _say(f"data directory {directory.root}")
    with told():
        foreground = Foreground(directory, _say, lambda answers: _welcome(directory, answers), attach=attach)
        try:
            code = foreground.run(stopping)
        except AlreadyRunning as running:
            typer.echo("\n".join([f"perfmon: {running}", *running_lines(directory)]), err=True)
            raise typer.Exit(EXIT_FAILED) from None
    raise typer.Exit(code)


def claude_lines(data: DataDirectory) -> list[str]:
    """How Claude Code is told of this server: the command line and the .mcp.json entry."""
    elsewhere = str(data.root) if data.root != user_data_directory().resolve() else None
    entry = server_entry(own_command(), elsewhere)
    options = [word for key, value in entry.get("env", {}).items() for word in ("-e", f"{key}={value}")]
    add = shlex.join(["claude", "mcp", "add", SERVER_NAME, *options, "--", entry["command"], *entry["args"]])
    return [
        "Add it to Claude Code:",
        f"  {add}",
        "or in a project's .mcp.json:",
        f"  {json.dumps({'mcpServers': {SERVER_NAME: entry}})}",
        "or, in a project's folder, let this show and write it, with the hooks that record every MCP call:",
        f"  {_own(data, 'connect', 'claude-code')}",
    ]


def _own(data: DataDirectory, *words: str) -> str:
    """A command of ours that works as it is printed, from any folder and in any environment."""
    place = [] if data.root == user_data_directory().resolve() else ["--data", str(data.root)]
    return shlex.join([*own_command(), *words, *place])


def running_lines(data: DataDirectory) -> list[str]:
    """What to do about a pipeline that runs already: see it, stop it, tell Claude Code of it."""
    return [
        f"  see it      {_own(data, 'status')}",
        f"  watch it    {_own(data, 'run', '--attach')}",
        f"  stop it     {_own(data, 'down')}",
        "",
        *claude_lines(data),
    ]


def _welcome(data: DataDirectory, answers: Mapping[str, Answer]) -> None:
    http = http_address(data, answers)
    lines = [
        "",
        "All services are ready.",
        f"  data      {data.root}",
        f"  HTTP      {http or 'off'}" + (f"   (page {http}/, MCP {http}/mcp)" if http else ""),
        f"  publish   {data.endpoint('ingest.write')} (acknowledged), {data.endpoint('ingest.push')} (fire and forget)",
        *(f"  note      {note}" for note in notes_of(data)),
        "",
        *claude_lines(data),
        "",
        "Ctrl-C stops it.",
        "",
    ]
    typer.echo("\n".join(lines))


def _say(line: str) -> None:
    typer.echo(f"{time.strftime('%H:%M:%S')}  {line}")
