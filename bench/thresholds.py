"""Pass or fail: figures against the limits in `thresholds.json`.

A limit names benchmark, row (`what`) and column, and says `at_least` or `at_most`. With `over` (the same three names) it is the
quotient of two figures of the same run that is judged, which holds on any machine. A figure that was not measured is skipped
and said so: it neither passes nor fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench.figures import Result, cell, wide_console

#: The limits that come with the benchmarks.
FILE: Final = Path(__file__).parent / "thresholds.json"
PASSED, FAILED, SKIPPED = "passed", "FAILED", "not measured"


class BadThresholds(ValueError):
    """A limit that names no figure, or no bound."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Where a figure stands."""

    benchmark: str
    what: str
    column: str


@dataclass(frozen=True, slots=True)
class Limit:
    """One bound on a figure, or on the quotient of two."""

    figure: Figures
    over: Figures | None
    at_least: float | None
    at_most: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a limit; `value` is None when it was not measured."""

    limit: Limit
    value: float | None
    verdict: str


def load(path: Path = FILE) -> list[Limit]:
    """The limits in a file.

    Raises: BadThresholds, OSError.
    """
    try:
        body = json.loads(path.read_text())
        return [_limit(entry) for entry in body["thresholds"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BadThresholds(f"{path}: {error}") from error


def judge(results: Iterable[Result], limits: Sequence[Limit]) -> list[Verdict]:
    """Every limit's verdict, in order."""
    values = {
        Figures(result.name, figure.what, column): float(value)
        for result in results
        for figure in result.figures
        for column, value in figure.values.items()
        if isinstance(value, int | float)
    }
    return [_judged(limit, values) for limit in limits]


def show(verdicts: Sequence[Verdict]) -> None:
    """Print what passed and what failed."""
    table = Table(title="thresholds", title_justify="left")
    for name in ("benchmark", "what", "figure", "limit"):
        table.add_column(name)
    table.add_column("found", justify="right")
    table.add_column("verdict")
    for one in verdicts:
        figure = one.limit.figure
        found = "" if one.value is None else cell(one.value)
        table.add_row(figure.benchmark, figure.what, _column(one.limit), _bound(one.limit), found, one.verdict)
    wide_console().print(table)


def _limit(entry: Mapping[str, Any]) -> Limit:
    at_least, at_most = entry.get("at_least"), entry.get("at_most")
    if at_least is None and at_most is None:
        raise ValueError(f"a limit needs at_least or at_most: {entry}")
    over = entry.get("over")
    return Limit(_figure(entry), None if over is None else _figure(over), at_least, at_most)


def _figure(entry: Mapping[str, Any]) -> Figures:
    return Figures(str(entry["benchmark"]), str(entry["what"]), str(entry["column"]))


def _judged(limit: Limit, values: Mapping[Figures, float]) -> Verdict:
    value = values.get(limit.figure)
    if value is not None and limit.over is not None:
        divisor = values.get(limit.over)
        value = value / divisor if divisor else None
    if value is None:
        return Verdict(limit, None, SKIPPED)
    low = limit.at_least is not None and value < limit.at_least
    high = limit.at_most is not None and value > limit.at_most
    return Verdict(limit, value, FAILED if low or high else PASSED)


def _column(limit: Limit) -> str:
    return (
        limit.figure.column if limit.over is None else f"{limit.figure.column} / {limit.over.what} {limit.over.column}"
    )


def _bound(limit: Limit) -> str:
    bounds = [("≥", limit.at_least), ("≤", limit.at_most)]
    return ", ".join(f"{sign} {cell(float(bound))}" for sign, bound in bounds if bound is not None)
