"""Answers as columns, one row a slot and group, until the very last moment: what is not shown never becomes a dict.

Owns the figures of a row, their order, the limit and the total. Percentiles come in already (from a merged sketch or from raw
values); they are never averaged here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.aggregator.core.block import (
    COUNT,
    CPU_MAX,
    CPU_N,
    CPU_SUM,
    DISK_MAX,
    DISK_N,
    DISK_SUM,
    ERRORS,
    FIRST_TS,
    LAST_TS,
    MAX,
    MEMORY_MAX,
    MEMORY_N,
    MEMORY_SUM,
    MIN,
    SUM,
    Block,
    Float64,
)
from shared.sketch import quantiles

#: The percentiles of a row, and what they are called.
QUANTILES: Final = (0.5, 0.95, 0.99)
PERCENTILES: Final = ("p50", "p95", "p99")

#: Columns that are whole numbers in an answer; the others are floats, NaN = not measured.
_WHOLE: Final = frozenset({"ts", "count", "errors", "firstTs", "lastTs"})
#: What names a row, and its figures, in the order of an answer.
NAMES: Final = ("mcpServer", "toolName")
FIGURES: Final = (
    "count",
    "errors",
    "errorRate",
    "avg",
    "min",
    "max",
    *PERCENTILES,
    "cpu",
    "memory",
    "diskIO",
    "maxCpu",
    "maxMemory",
    "maxDiskIO",
    "firstTs",
    "lastTs",
)


@dataclass(frozen=True, slots=True)
class Table:
    """`columns`: f64[n] by the names of `FIGURES`, and `ts` (the slot). `group`: i64[n], whose row it is."""

    columns: dict[str, Float64]
    group: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.group)


def table_of(block: Block, percentiles: Float64 | None = None, ts_ms: int = 0) -> Table:
    """One row for each series (or group) of a block; percentiles from its sketch, kept between its least and greatest value."""
    if percentiles is None:
        rough = quantiles(block.keys, block.counts, len(block), QUANTILES)
        percentiles = np.clip(rough, block.low[0], block.high[0])
    add, low, high = block.add, block.low, block.high
    count = add[COUNT]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = {
            "ts": np.full(len(block), float(ts_ms)),
            "count": count,
            "errors": add[ERRORS],
            "errorRate": 100 * add[ERRORS] / count,
            "avg": add[SUM] / count,
            "min": low[MIN],
            "max": high[MAX],
            **dict(zip(PERCENTILES, percentiles, strict=True)),
            "cpu": add[CPU_SUM] / add[CPU_N],
            "memory": add[MEMORY_SUM] / add[MEMORY_N],
            "diskIO": add[DISK_SUM] / add[DISK_N],
            "maxCpu": _measured(high[CPU_MAX]),
            "maxMemory": _measured(high[MEMORY_MAX]),
            "maxDiskIO": _measured(high[DISK_MAX]),
            "firstTs": low[FIRST_TS],
            "lastTs": high[LAST_TS],
        }
    # A mean of equal values can come out a rounding step beyond them.
    columns["avg"] = np.clip(columns["avg"], columns["min"], columns["max"])
    return Table(columns, block.series.astype(np.int64))


def stacked(tables: Sequence[Table]) -> Table:
    """The rows of several tables, one after the other."""
    if len(tables) == 1:
        return tables[0]
    if not tables:
        return Table({name: np.empty(0) for name in ("ts", *FIGURES)}, np.empty(0, np.int64))
    columns = {name: np.concatenate([table.columns[name] for table in tables]) for name in tables[0].columns}
    return Table(columns, np.concatenate([table.group for table in tables]))


@dataclass(frozen=True, slots=True)
class Owners:
    """Whose a group's rows are: (server, tool) by group, and each group's place i64[groups] in the order of names."""

    names: Sequence[tuple[str, str]]
    rank: NDArray[np.int64]


def order_of(table: Table, owners: Owners, sort: str | None, *, slots: bool, descending: bool) -> NDArray[np.intp]:
    """The rows' places in the order asked for; what was not measured comes last either way. Without `sort`: by time with
    slots, else most calls first. Equals: most calls first, then by name.
    """
    name_rank = owners.rank[table.group]
    if sort is None:
        sort, descending = ("ts", False) if slots else ("count", True)
    key = _name_key(owners.names, sort)[table.group] if sort in NAMES else table.columns[sort]
    missing = np.isnan(key)
    key = np.where(missing, 0.0, -key if descending else key)
    return np.lexsort((name_rank, table.columns["ts"], -table.columns["count"], key, missing))


def rows_of(
    table: Table, places: Any, names: Sequence[tuple[str, str]], *, slots: bool, by: str
) -> list[dict[str, Any]]:
    """Those rows as they are answered."""
    listed = {
        name: _answered(table.columns[name][places], whole=name in _WHOLE)
        for name in (("ts", *FIGURES) if slots else FIGURES)
    }
    fields = list(listed)
    rows = [dict(zip(fields, values, strict=True)) for values in zip(*listed.values(), strict=True)]
    if by != "all":
        for row, group in zip(rows, table.group[places].tolist(), strict=True):
            row["mcpServer"] = names[group][0]
            if by == "tool":
                row["toolName"] = names[group][1]
    return rows


def total_of(table: Table) -> dict[str, Any]:
    """The one row of a table over everything, or the figures of no calls at all."""
    if len(table):
        return rows_of(table, np.array([0]), [], slots=False, by="all")[0]
    nothing: dict[str, Any] = dict.fromkeys(FIGURES)
    return nothing | {"count": 0, "errors": 0}


def _name_key(names: Sequence[tuple[str, str]], sort: str) -> Float64:
    at = NAMES.index(sort)
    place = {name: float(place) for place, name in enumerate(sorted({pair[at] for pair in names}))}
    return np.array([place[pair[at]] for pair in names], np.float64)


def _measured(most: Float64) -> Float64:
    return np.where(np.isneginf(most), np.nan, most)


def _answered(column: Float64, *, whole: bool) -> list[Any]:
    if whole:
        numbers: list[Any] = column.astype(np.int64).tolist()
        return numbers
    missing = np.isnan(column)
    values: list[Any] = column.tolist()
    if not missing.any():
        return values
    return [None if gone else value for value, gone in zip(values, missing.tolist(), strict=True)]
