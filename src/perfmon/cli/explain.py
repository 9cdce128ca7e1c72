"""`perfmon explain`: why an anomaly is one, as the detector knows it, with the minutes around it.

Owns the terminal: how wide, with which characters, in which colours. The words and the chart are the detector's. Where it no
longer has the minutes, the aggregator's rollups are asked and handed to it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NoReturn

import typer

from perfmon.cli.options import EXIT_FAILED, Data, chosen, told
from perfmon.paths import DataDirectory
from perfmon.rpc import RpcClient, RpcError, Unavailable

#: How long a busy detector may take.
TIMEOUT_S: Final = 5.0
#: Columns where there is no terminal to ask, and what the detector takes.
PLAIN_WIDTH: Final = 100
LEAST_WIDTH: Final = 20
MOST_WIDTH: Final = 400
#: A time after all others, epoch ms (9999-12-31), and alerts of a server that are looked through.
NEVER_MS: Final = 253_402_300_799_999
MOST_ALERTS: Final = 500
_UNPRINTABLE: Final = re.compile(r"[^ -~]")
_COLOURS: Final = {"critical": "red", "warning": "yellow", "info": "cyan"}
#: Characters that a terminal must have for the chart with blocks.
_NEEDED: Final = "▁█╌▲├┤└─“–→"


def register(app: typer.Typer) -> None:
    """Add `explain`."""
    app.command()(explain)


def explain(
    anomaly: Annotated[
        str,
        typer.Argument(
            help="An anomaly's id, its beginning or end if that fits one alone, or `latest`.", metavar="ANOMALY"
        ),
    ] = "latest",
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters alone.")] = False,
) -> None:
    """Show why an anomaly is one: baseline, band, value, which part fired, what else moved, the likely cause, a chart."""
    directory = chosen(data)
    request = {"id": anomaly, "width": _width(), "ascii": ascii_only or not _has_blocks()}
    with told():
        try:
            found = _ask(directory, request)
        except Unavailable:
            _fail("the detector does not answer; `perfmon status` shows what runs, `perfmon up` starts the pipeline")
        except RpcError as refusal:
            _refused(refusal)
    alerts = _alerts(directory, found["anomaly"])
    if as_json:
        whole = {"anomaly": found["anomaly"], "explanation": found["explanation"], "alerts": alerts}
        typer.echo(json.dumps(whole, indent=2, ensure_ascii=False))
    else:
        _print(found, alerts)


def _ask(directory: DataDirectory, request: Mapping[str, Any]) -> dict[str, Any]:
    with RpcClient(directory.endpoint("detector"), timeout_s=TIMEOUT_S) as detector:
        found: dict[str, Any] = detector.call("explain", request)
        points = _points(directory, found["wanted"]) if found.get("wanted") else []
        if points:
            found = detector.call("explain", {**request, "id": found["anomaly"]["id"], "points": points})
    return found


def _points(directory: DataDirectory, wanted: Mapping[str, Any]) -> list[tuple[int, float]]:
    """The minutes that the rollups have; none when they cannot be had."""
    asked = {key: wanted[key] for key in ("startMs", "endMs", "mcpServer", "toolName")}
    with RpcClient(directory.endpoint("aggregator"), timeout_s=TIMEOUT_S) as aggregator:
        try:
            reply = aggregator.call("rollup", {**asked, "by": "tool", "groupBy": "minute", "limit": 3_000})
        except RpcError:
            return []
    rows = ((row.get("ts"), row.get(wanted["field"])) for row in reply.get("rows", []))
    return [(int(ts), float(value)) for ts, value in rows if isinstance(ts, int) and isinstance(value, int | float)]


def _alerts(directory: DataDirectory, anomaly: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The alerts that name the anomaly, the newest first; none when the alerter does not answer."""
    asked = {"startMs": anomaly["startTs"], "endMs": NEVER_MS, "mcpServer": anomaly["mcpServer"], "limit": MOST_ALERTS}
    with RpcClient(directory.endpoint("alerter"), timeout_s=TIMEOUT_S) as alerter:
        try:
            listed = alerter.call("alerts.history", asked).get("alerts") or []
        except RpcError:
            return []
    kept = ("alertId", "severity", "status", "condition", "timestamp")
    return [{key: one.get(key) for key in kept} for one in listed if anomaly["id"] in (one.get("anomalyIds") or ())]


def alert_line(alert: Mapping[str, Any]) -> str:
    """`alert     alert-20251031-001 (warning, active): error_rate > 5%`."""
    said = f"{alert.get('alertId')} ({alert.get('severity')}, {alert.get('status')}): {alert.get('condition')}"
    return f"alert     {_UNPRINTABLE.sub('?', said)}"


def _print(found: Mapping[str, Any], alerts: Sequence[Mapping[str, Any]] = ()) -> None:
    told = list(found["text"])
    advice = next((place for place, line in enumerate(told) if line.startswith("do 1 ")), len(told))
    told[advice:advice] = [alert_line(alert)[:MOST_WIDTH] for alert in alerts]
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    severity = str(found["anomaly"].get("severity"))
    for place, line in enumerate(told):
        if colours and place == 0:
            typer.echo(typer.style(line, fg=_COLOURS.get(severity), bold=True))
        else:
            typer.echo(line)


def _refused(refusal: RpcError) -> NoReturn:
    lists = {"fits": "it fits", "nearest": "the nearest"}
    lines = [refusal.message]
    for key, title in lists.items():
        listed = refusal.fields.get(key) or []
        lines += [f"{title}:"] if listed else []
        lines += [f"  {one['id']}  {one['anomalyType']}  {one['mcpServer']} / {one['toolName']}" for one in listed]
    _fail("\n".join(lines))


def _fail(message: str) -> NoReturn:
    typer.echo(f"perfmon: {message}", err=True)
    raise typer.Exit(EXIT_FAILED)


def _width() -> int:
    if not sys.stdout.isatty():
        return PLAIN_WIDTH
    return min(MOST_WIDTH, max(LEAST_WIDTH, shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns))


def _has_blocks() -> bool:
    try:
        _NEEDED.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
