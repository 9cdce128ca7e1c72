"""`perfmon status`: each process as it answers and as the system measures it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from perfmon.cli.options import EXIT_NOT_READY, Data, chosen, told
from perfmon.paths import SERVICES, DataDirectory
from perfmon.pipeline.address import http_address
from perfmon.pipeline.ask import ping_all
from perfmon.pipeline.observe import status as observe
from perfmon.pipeline.remote_state import RemoteState, remote_state
from perfmon.pipeline.report import ServiceStatus

if TYPE_CHECKING:
    from rich.table import Table

#: Where the pipeline listens: HTTP, and TCP for producers off the machine.
_Where = tuple[str | None, RemoteState | None]

#: Width of the table where there is no terminal to ask.
_PLAIN_WIDTH = 120


def register(app: typer.Typer) -> None:
    """Add `status`."""
    app.command()(status)


def status(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show each process: ready, uptime, memory, CPU, sequence, lag, drops, parked. Exits 3 unless all are ready."""
    directory = chosen(data)
    with told():
        rows = observe(directory)
        http = http_address(directory, ping_all(directory, ("gateway",)))
        tcp = remote_state(directory)
    ready = all(row.ready for row in rows if row.service in SERVICES)
    if as_json:
        typer.echo(json.dumps(_as_json(directory, rows, (http, tcp), ready), indent=2))
    else:
        _print(directory, rows, (http, tcp))
    if not ready:
        raise typer.Exit(EXIT_NOT_READY)


def _as_json(directory: DataDirectory, rows: Sequence[ServiceStatus], where: _Where, ready: bool) -> dict[str, object]:
    http, tcp = where
    return {
        "dataDirectory": str(directory.root),
        "runtimeDirectory": str(directory.runtime),
        "http": http,
        "tcp": None if tcp is None else asdict(tcp),
        "ready": ready,
        "processes": [{_camel(key): value for key, value in asdict(row).items()} for row in rows],
    }


def _print(directory: DataDirectory, rows: Sequence[ServiceStatus], where: _Where) -> None:
    http, tcp = where
    from rich.console import Console

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else _PLAIN_WIDTH, highlight=False, markup=False)
    console.print(f"data {directory.root}" + (f"   HTTP {http}" if http else ""), soft_wrap=True)
    if tcp is not None:
        console.print(f"TCP  {tcp}", soft_wrap=True, style=None if tcp.state == "listening" else "bold red")
    console.print(_table(rows))
    if not any(row.pid for row in rows):
        console.print("No pipeline runs here; `perfmon up` starts one.")


def _table(rows: Sequence[ServiceStatus]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("service")
    table.add_column("state")
    for name in ("pid", "uptime", "PSS MB", "CPU %", "sequence", "lag", "drops", "parked", "version"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.service, row.state, *_figures(row), style=None if row.ready else "bold red")
    pss = [row.pss_mb for row in rows if row.pss_mb is not None]
    cpu = [row.cpu_percent for row in rows if row.cpu_percent is not None]
    if pss:
        table.add_section()
        table.add_row("together", "", "", "", f"{sum(pss):.0f}", f"{sum(cpu):.1f}")
    return table


def _figures(row: ServiceStatus) -> list[str]:
    def shown(value: object) -> str:
        return "–" if value is None else str(value)

    return [
        shown(row.pid),
        "–" if row.uptime_s is None else _span(row.uptime_s),
        "–" if row.pss_mb is None else f"{row.pss_mb:.0f}",
        "–" if row.cpu_percent is None else f"{row.cpu_percent:.1f}",
        shown(row.seq),
        shown(row.lag),
        shown(row.drops),
        shown(row.parked),
        shown(row.version),
    ]


def _span(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"


def _camel(key: str) -> str:
    head, *rest = key.split("_")
    return head + "".join(part.capitalize() for part in rest)
