"""Render what the chaos suite recorded: `python -m tests.chaos.report [FILE]`, docs/reliability.md unless told otherwise."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.chaos.reliability import CHECKOUT, Record, records

#: Group → title and what its cases have in common, in the order of the page.
GROUPS = {
    "kill": (
        "kill -9 at random moments",
        "A process is killed while metrics come in, started again, and killed again; what was not acknowledged is sent again.",
    ),
    "place": (
        "kill -9 at chosen places",
        "A process kills itself at a named step of its work, at several of the times it comes there, and is started again.",
    ),
    "restart": (
        "Restarts",
        "Processes are told to stop (SIGTERM), or supervisord is told to restart them, under load.",
    ),
    "truncation": (
        "Truncation and damage",
        "Files are cut or changed while nothing runs, then the processes are started.",
    ),
    "fault": (
        "Faults of disk, clock and neighbours",
        "Calls fail, clocks jump, processes stand still, messages come twice.",
    ),
    "hostile": (
        "Hostile input",
        "Messages, names and requests that nobody should send, with good metrics in between. Runs are messages.",
    ),
}

INTRODUCTION = """# Reliability

What the chaos suite showed on a machine with {cores}. `make chaos` runs the suite and writes this page anew.

Every metric of the load has a duration that no other has, and the load knows which were acknowledged. The checker compares,
without the code under test wherever it can:

- **the JSONL files**: every acknowledged metric is there, once, in the file of its day and series, with every value that was
  sent; nothing is there that was never sent; every line is JSON and every file ends with a whole line;
- **the rollups** of the aggregator, by minute, by hour and in total, and the files of hours: calls, errors, mean, least and
  greatest duration and mean memory of every series;
- **the alerter**: calls and errors in the window of every series, one alert a condition and no more, one for each series that
  always fails, and the same in `active-alerts.json` and the history;
- **the detector**: the calls that it knows of every series, and that each anomaly is written to its file once;
- **the indexes** of metrics and anomalies: that they tell what the files hold.

A case with ingest alone is compared with the files and their index, one with a pipeline with all of it.

*Lost* is acknowledged and not stored, *doubled* is stored more than once, *unparsable* is a line that is not the one that was
sent. *Back* is the longest that a killed process took until it answered as ready again.
"""

HEADER = "| case | runs | kills | acknowledged | lost | doubled | unparsable | back |\n|---|---:|---:|---:|---:|---:|---:|---:|\n"


def render(found: list[Record], cores: int) -> str:
    """The page."""
    groups = [*GROUPS, *sorted({one.group for one in found} - set(GROUPS))]
    parts = [INTRODUCTION.format(cores="one core" if cores == 1 else f"{cores} cores"), _total(found)]
    parts += [_group(name, [one for one in found if one.group == name]) for name in groups]
    return "\n".join(part for part in parts if part)


def _total(found: list[Record]) -> str:
    kills, acknowledged = sum(one.kills for one in found), sum(one.acknowledged for one in found)
    bad = [f"{sum(getattr(one, name) for one in found)} {name}" for name in ("lost", "doubled", "unparsable")]
    return f"In all: {len(found)} cases, {kills:,} kills, {acknowledged:,} metrics acknowledged, {', '.join(bad)}.\n"


def _group(name: str, found: list[Record]) -> str:
    if not found:
        return ""
    title, text = GROUPS.get(name, (name.capitalize(), ""))
    table = HEADER + "".join(_row(one) for one in found)
    lines = [
        f"- **{one.name}**: {' '.join(filter(None, (one.does, one.note)))}" for one in found if one.does or one.note
    ]
    return "\n\n".join(filter(None, (f"## {title}", text, table.rstrip(), "\n".join(lines)))) + "\n"


def _row(one: Record) -> str:
    back = "" if one.worst_back_s is None else f"{one.worst_back_s:.2f} s"
    cells = (one.name, one.runs, one.kills or "", f"{one.acknowledged:,}", one.lost, one.doubled, one.unparsable, back)
    return f"| {' | '.join(map(str, cells))} |\n"


def main(arguments: list[str]) -> int:
    """Write the page; 1 when nothing was recorded."""
    found = records()
    if not found:
        sys.stderr.write("nothing was recorded: run the chaos suite first\n")
        return 1
    target = Path(arguments[0]) if arguments else CHECKOUT / "docs" / "reliability.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(render(found, os.cpu_count() or 1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
