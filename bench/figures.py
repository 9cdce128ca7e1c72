"""Figures of a benchmark: medians of several runs with every run kept, a table and a JSON file.

Every figure says what was durable when the clock stopped. Absolute numbers belong to the machine they were made on; compare
within one run, or with an earlier one of the same machine (`history`).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.machine import machine

#: Columns of a table that goes into a file or a pipe.
WIDTH: Final = 160


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of a table: `values` by column name, in order; `runs` has the values of each run behind a median."""

    what: str
    values: Mapping[str, float | int | str]
    runs: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(slots=True)
class Result:
    """What one benchmark found."""

    name: str
    measured: str
    durable: str
    runs: int
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, **values: float | str) -> None:
        """Append a row."""
        self.figures.append(Figure(what, values))

    def add_runs(self, what: str, runs: Sequence[Mapping[str, float]]) -> None:
        """Append a row of medians over several runs."""
        self.figures.append(Figure(what, medians(runs), {name: [run[name] for run in runs] for name in runs[0]}))


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of every column over several runs."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def show(result: Result) -> None:
    """Print a result as a table."""
    console = wide_console()
    columns = list(dict.fromkeys(name for figure in result.figures for name in figure.values))
    table = Table(title=result.name, title_justify="left", caption_justify="left", caption=_caption(result))
    table.add_column("what", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right")
    for figure in result.figures:
        table.add_row(figure.what, *(cell(figure.values.get(name, "")) for name in columns))
    console.print(table)


def wide_console() -> Console:
    """A console whose tables are not squeezed where there is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, WIDTH))


def write(results: Sequence[Result], path: Path) -> None:
    """Write results with the machine they were made on."""
    body = {"machine": machine(), "results": [asdict(result) for result in results]}
    path.write_text(json.dumps(body, indent=2) + "\n")


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _caption(result: Result) -> str:
    lines = [f"measured: {result.measured}", f"durable: {result.durable}", f"runs: {result.runs} (medians)"]
    return "\n".join(lines + [f"note: {note}" for note in result.notes])
