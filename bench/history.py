"""Runs of earlier days: one JSON file a run in the user's own state directory, and how a run compares with the last one.

Noise is what the runs of one figure differ among themselves: a change is beyond it when the two ranges (smallest to largest run)
do not touch. By chance alone that happens to 1 of 126 figures of five runs each, and to 1 of 10 of three. A figure of one run has
no range, and nothing is said of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench.figures import Figure, Result, cell, wide_console
from bench.machine import code, machine

#: Runs a figure needs for a range.
MIN_RUNS: Final = 2
#: What is said of a change.
WITHIN, BEYOND, UNKNOWN = "within noise", "beyond noise", "one run: noise unknown"


@dataclass(frozen=True, slots=True)
class Change:
    """One figure then and now."""

    benchmark: str
    what: str
    column: str
    before: float
    now: float
    verdict: str

    @property
    def ratio(self) -> float | None:
        """Now in terms of then; None when that was 0."""
        return self.now / self.before if self.before else None


def default_folder() -> Path:
    """`$XDG_STATE_HOME/perfmon/bench`: never the repository."""
    named = os.environ.get("XDG_STATE_HOME")
    base = Path(named) if named and Path(named).is_absolute() else Path.home() / ".local" / "state"
    return base / "perfmon" / "bench"


def record(results: Sequence[Result], at: str, arguments: Sequence[str]) -> dict[str, Any]:
    """A run as it is kept: when (ISO-8601), machine, code, how it was asked for, all figures with all runs."""
    return {
        "at": at,
        "machine": machine(),
        "code": code(),
        "arguments": list(arguments),
        "results": [asdict(result) for result in results],
    }


def append(kept: Mapping[str, Any], folder: Path) -> Path:
    """Keep a run; its file."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = "".join(character for character in kept["at"] if character.isalnum())
    path = folder / f"{stamp}-{kept['machine']['id']}.json"
    path.write_text(json.dumps(kept, indent=1) + "\n")
    return path


def earlier(folder: Path, machine_id: str) -> list[dict[str, Any]]:
    """The runs of a machine, newest first. What is no run is passed over."""
    found = []
    for path in sorted(folder.glob(f"*-{machine_id}.json"), reverse=True):
        try:
            body = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(body, dict) and isinstance(body.get("results"), list):
            found.append(body)
    return found


def changes(results: Iterable[Result], runs: Sequence[Mapping[str, Any]]) -> list[Change]:
    """Each figure against the newest of `runs` (newest first) that has it."""
    found = []
    for result in results:
        for figure in result.figures:
            for column, now in figure.values.items():
                before = _newest(runs, result.name, figure.what, column)
                if before is not None and isinstance(now, int | float):
                    found.append(_change(result.name, figure, column, float(now), before))
    return found


def show(found: Sequence[Change]) -> None:
    """Print the comparison as a table."""
    console = wide_console()
    if not found:
        console.print("No earlier run of this machine has these figures.")
        return
    caption = "noise: the range of a figure's runs; beyond it = the ranges of then and now do not touch"
    table = Table(title="compared with the last run", title_justify="left", caption=caption, caption_justify="left")
    for name in ("benchmark", "what", "figure"):
        table.add_column(name)
    for name in ("then", "now", "ratio"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for change in found:
        ratio = "" if change.ratio is None else f"{change.ratio:.2f}"
        then, now = cell(change.before), cell(change.now)
        table.add_row(change.benchmark, change.what, change.column, then, now, ratio, change.verdict)
    console.print(table)


def _change(benchmark: str, figure: Figure, column: str, now: float, before: tuple[float, Sequence[float]]) -> Change:
    verdict = _verdict(before[1], figure.runs.get(column, ()))
    return Change(benchmark, figure.what, column, before[0], now, verdict)


def _verdict(before: Sequence[float], now: Sequence[float]) -> str:
    if len(before) < MIN_RUNS or len(now) < MIN_RUNS:
        return UNKNOWN
    apart = min(now) > max(before) or max(now) < min(before)
    return BEYOND if apart else WITHIN


def _newest(
    runs: Sequence[Mapping[str, Any]], benchmark: str, what: str, column: str
) -> tuple[float, Sequence[float]] | None:
    for run in runs:
        for result in run["results"]:
            if result.get("name") != benchmark:
                continue
            for figure in result.get("figures", ()):
                value = figure.get("values", {}).get(column)
                if figure.get("what") == what and isinstance(value, int | float):
                    return float(value), figure.get("runs", {}).get(column, ())
    return None
