"""Figures of a benchmark: percentiles, medians of several runs, a table and a JSON file.

Every figure says what was durable when the clock stopped. Absolute numbers belong to the machine they were made on; compare
within one run.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of a table: `values` by column name, in order."""

    what: str
    values: Mapping[str, float | int | str]


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


def quantile(ordered: Sequence[float], q: float) -> float:
    """The nearest-rank quantile (0 < q <= 1) of ascending values."""
    rank = max(1, -(-int(q * 10_000) * len(ordered) // 10_000))
    return ordered[min(rank, len(ordered)) - 1]


def spread_ms(samples_s: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and max of samples in seconds, as milliseconds."""
    ordered = sorted(samples_s)
    named = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99}
    return {name: 1000 * quantile(ordered, q) for name, q in named.items()} | {"max_ms": 1000 * ordered[-1]}


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of every column over several runs."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def show(result: Result) -> None:
    """Print a result as a table."""
    console = Console()
    columns = list(dict.fromkeys(name for figure in result.figures for name in figure.values))
    table = Table(title=result.name, title_justify="left", caption_justify="left", caption=_caption(result))
    table.add_column("what")
    for name in columns:
        table.add_column(name, justify="right")
    for figure in result.figures:
        table.add_row(figure.what, *(_cell(figure.values.get(name, "")) for name in columns))
    console.print(table)


def write(results: Sequence[Result], path: Path) -> None:
    """Write results with the machine they were made on."""
    body = {"machine": _machine(), "results": [asdict(result) for result in results]}
    path.write_text(json.dumps(body, indent=2) + "\n")


def _caption(result: Result) -> str:
    lines = [f"measured: {result.measured}", f"durable: {result.durable}", f"runs: {result.runs} (medians)"]
    return "\n".join(lines + [f"note: {note}" for note in result.notes])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
