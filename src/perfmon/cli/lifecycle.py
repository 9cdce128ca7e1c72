"""`perfmon up`, `perfmon down`, `perfmon init`."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from perfmon.cli.hooks import notes_of
from perfmon.cli.options import Data, chosen, told
from perfmon.paths import SERVICES, WORKSPACE_DIRECTORY, DataDirectory
from perfmon.pipeline.launch import READY_TIMEOUT_S, ensure_running
from perfmon.pipeline.readiness import Progress
from perfmon.pipeline.report import Answer, PipelineReport
from perfmon.pipeline.shutdown import STOP_TIMEOUT_S
from perfmon.pipeline.shutdown import stop as stop_pipeline
from perfmon.pipeline.sweep import sweep_abandoned


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(down)
    app.command()(init)


def up(
    data: Data = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait until all services are ready.")] = READY_TIMEOUT_S,
) -> None:
    """Start the pipeline and return when all services are ready; say so if it runs already."""
    directory = chosen(data)
    started = time.monotonic()
    with told(), _progress() as progress:
        report = ensure_running(directory, started_by="up", wait_ready_s=wait, progress=progress)
    sweep_abandoned(directory.runtime.parent, time.time())
    notes = [f"  note      {note}" for note in notes_of(directory)]
    for line in [*described(report, time.monotonic() - started), *notes]:
        typer.echo(line)


def down(
    data: Data = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for an orderly stop before killing.")] = STOP_TIMEOUT_S,
) -> None:
    """Stop the pipeline: what was acknowledged is on disk, what is on its way is drained."""
    directory = chosen(data)
    with told():
        report = stop_pipeline(directory, wait)
    pid = "" if report.pid is None else f" (supervisord pid {report.pid})"
    late = f"it did not stop within {wait:g} s. Nothing acknowledged is lost."
    said = {
        "stopped": f"Stopped the pipeline on {directory.root}{pid}.",
        "killed": f"Killed the pipeline on {directory.root}{pid}: {late}",
        "still running": f"The pipeline on {directory.root}{pid} was asked to stop but still runs.",
        "not running": f"No pipeline runs on {directory.root}.",
    }
    typer.echo(said[report.how])
    if report.how == "still running":
        raise typer.Exit(1)


def init(
    folder: Annotated[Path, typer.Argument(help="The workspace.", metavar="[DIR]")] = Path(),
) -> None:
    """Give a workspace its own data directory, .performance-data, instead of the one you share between all workspaces."""
    with told():
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is not a directory")
        directory = DataDirectory(folder.resolve() / WORKSPACE_DIRECTORY)
        existed = directory.root.is_dir()
        directory.create()
    if existed:
        typer.echo(f"{directory.root} exists already; its folders and their modes were checked.")
    else:
        typer.echo(f"Made {directory.root}: sessions started in {folder.resolve()} or below now keep their data there.")
        typer.echo(
            "It ignores itself in git. Next: `perfmon up`, or let Claude Code start it (`perfmon connect claude-code`)."
        )


def described(report: PipelineReport, took_s: float) -> list[str]:
    """What `up` says: what was started, where, and where it listens."""
    pid = "" if report.pid is None else f" (supervisord pid {report.pid})"
    ready = sum(answer.ready for answer in report.services.values())
    when = (
        f"ready in {took_s:.1f} s"
        if ready == len(SERVICES)
        else f"{ready} of {len(SERVICES)} services are ready so far"
    )
    first = {
        "started": f"Started the pipeline{pid}, {when}.",
        "restarted": f"Restarted the pipeline as version {report.version}{pid}, {when}.",
        "running": f"The pipeline runs already{pid}.",
    }[report.state]
    services = (
        "–" if not report.services else ", ".join(f"{name} {answer.pid}" for name, answer in report.services.items())
    )
    lines = [first, f"  data      {report.data_root}", f"  services  {services}"]
    if report.http is not None:
        lines.append(f"  HTTP      {report.http}")
    if report.tcp is not None:
        lines.append(f"  TCP       {report.tcp}")
    return lines + [f"  note      {note}" for note in report.notes]


@contextlib.contextmanager
def _progress() -> Iterator[Progress | None]:
    """A spinner with what is ready so far, on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("starting the pipeline") as spinner:

        def show(ready: Mapping[str, Answer], total: int) -> None:
            spinner.update(f"{len(ready)} of {total} ready: {', '.join(ready) or 'waiting for the first'}")

        yield show
