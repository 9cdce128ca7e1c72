"""`perfmon keys`: who may send metrics over TCP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from perfmon.cli.options import EXIT_FAILED, told
from perfmon.keys import BadKeys, KeyRing, key_ring
from perfmon.private_file import write_once

Name = Annotated[str, typer.Argument(help="The client's name, such as the host it runs on.")]


def register(app: typer.Typer) -> None:
    """Add `keys` with its commands."""
    keys = typer.Typer(help="Keys of producers that send over TCP (docs/operations.md).", no_args_is_help=True)
    keys.command("init")(init)
    keys.command("add")(add)
    keys.command("list")(listed)
    keys.command("revoke")(revoke)
    app.add_typer(keys, name="keys")


def init() -> None:
    """Make this server's key pair, once."""
    ring = key_ring()
    with told():
        made = ring.init()
    typer.echo(f"{'made' if made else 'there already'}: {ring.folder}")
    typer.echo(
        "next: `perfmon keys add NAME` for each producer, and PERFMON_INGEST_TCP=tcp://0.0.0.0:7078 `perfmon up`"
    )


def add(
    name: Name,
    endpoint: Annotated[
        str | None, typer.Option(help="Where the producer connects, such as tcp://monitor.example:7078.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write (default: NAME.perfmon-keys.json here).")] = None,
) -> None:
    """List a client and write the file to give to it."""
    ring, path = key_ring(), out or Path(f"{name}.perfmon-keys.json")
    if path.exists():
        _fail(f"{path} exists; move it away or name another with --out")
    try:
        given = ring.add(name, endpoint=endpoint)
    except (BadKeys, OSError) as error:
        _fail(str(error))
    if not _written(ring, name, path, given.to_json()):
        _fail(f"{path} could not be written; {name} is not listed")
    typer.echo(
        f"{path}: give it to {name} over a safe way and remove it here; it holds a secret that is kept nowhere else"
    )
    typer.echo(
        f"there: PERFMON_CURVE_KEYS={path.name}" + ("" if endpoint else " PERFMON_INGEST_ENDPOINT=tcp://HOST:7078")
    )


def listed(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """Show the clients that may connect."""
    with told():
        clients = {name: key for key, name in key_ring().clients().items()}
    if as_json:
        typer.echo(json.dumps([{"name": name, "publicKey": key} for name, key in sorted(clients.items())], indent=2))
        return
    for name, key in sorted(clients.items()):
        typer.echo(f"{name:<24}  {key}")
    if not clients:
        typer.echo("nobody is listed; `perfmon keys add NAME` lists a client")


def revoke(name: Name) -> None:
    """Take a client off the list: it can write no more, from within a second."""
    try:
        key_ring().revoke(name)
    except (BadKeys, OSError) as error:
        _fail(str(error))
    typer.echo(f"{name} is no longer listed")


def _written(ring: KeyRing, name: str, path: Path, data: bytes) -> bool:
    try:
        if write_once(path, data):
            return True
    except OSError:
        pass  # said by the caller
    ring.revoke(name)
    return False


def _fail(message: str) -> NoReturn:
    typer.echo(f"perfmon: {message}", err=True)
    raise typer.Exit(EXIT_FAILED)
