"""From blocks (or raw rows) to an answer: who is grouped with whom, each slot's rows, the total, the order.

Pure: blocks come in already fetched. The two ways, `from_blocks` and `from_rows`, give the same shape and, percentiles apart
(within 1 % from a sketch, exact from rows), the same figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.aggregator.core.block import EMPTY, Block, Float64, Int32, merge, regroup, select
from services.aggregator.core.fold import fold_cells
from services.aggregator.core.registry import Registry
from services.aggregator.core.request import Request
from services.aggregator.core.table import (
    QUANTILES,
    Owners,
    Table,
    order_of,
    rows_of,
    stacked,
    table_of,
    total_of,
)
from services.aggregator.core.tiers import SPANS_MS
from shared.batch import Batch
from shared.sketch import ranks


class Groups(NamedTuple):
    """Which group each id belongs to, i32[ids] (None: each its own), and whose the groups are."""

    group_of: Int32 | None
    owners: Owners


def groups_of(registry: Registry, by: str) -> Groups:
    """Every series its own group (`tool`), one a server, or one for all."""
    order = registry.in_order()
    if by == "all":
        return Groups(np.zeros(len(order), np.int32), Owners([("", "")], np.zeros(1, np.int64)))
    names = [registry.name_of(series) for series in range(len(order))]
    if by == "tool":
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return Groups(None, Owners(names, rank))
    servers = sorted({name.server for name in names})
    place = {server: at for at, server in enumerate(servers)}
    group_of = np.array([place[name.server] for name in names], np.int32)
    return Groups(group_of, Owners([(server, "") for server in servers], np.arange(len(servers))))


def from_blocks(request: Request, slots: Iterable[tuple[int, Sequence[Block]]], registry: Registry) -> dict[str, Any]:
    """`rows`, `rowsTotal` and `total` over slots of (first moment, blocks that make it up)."""
    wanted = registry.matching(request.server, request.tool)
    merged = []
    for ts_ms, blocks in slots:
        if wanted is not None and len(wanted) != len(registry):  # a file that was read has taught new names
            wanted = registry.matching(request.server, request.tool)
        chosen = blocks if wanted is None else [select(block, wanted) for block in blocks]
        if len(block := merge(chosen)):
            merged.append((ts_ms, block))
    groups = groups_of(registry, request.by)
    tables = [table_of(_grouped(block, groups), ts_ms=ts_ms) for ts_ms, block in merged]
    everything = merge([_together(block) for _, block in merged])
    return _answer(request, stacked(tables), table_of(everything), groups)


def from_rows(request: Request, batch: Batch, unit: int | None) -> dict[str, Any]:
    """The same from raw rows of the range, exactly. `unit` is the level of the slots."""
    registry = Registry()
    ids = registry.ids_of(batch.dictionary)
    groups = groups_of(registry, request.by)
    group = (ids if groups.group_of is None else groups.group_of[ids])[batch.codes].astype(np.int64)
    if unit is None:
        first, span = 0, 1
        slot = np.zeros(len(batch), np.int64)
    else:
        span = SPANS_MS[unit]
        slot = batch.ts // span
        first = int(slot.min()) if len(slot) else 0
        slot = slot - first
    width = max(len(groups.owners.names), 1)
    found = _exact(batch, slot * width + group)
    found.columns["ts"][:] = (found.group // width + first) * span
    table = Table(found.columns, found.group % width)
    return _answer(request, table, _exact(batch, np.zeros(len(batch), np.int64)), groups)


def _grouped(block: Block, groups: Groups) -> Block:
    return block if groups.group_of is None else regroup(block, groups.group_of)


def _together(block: Block) -> Block:
    return regroup(block, np.zeros(int(block.series[-1]) + 1, np.int32)) if len(block) else EMPTY


def _exact(batch: Batch, cells: NDArray[np.int64]) -> Table:
    if not len(batch):
        return stacked([])
    order = np.lexsort((batch.duration, cells))
    block = fold_cells(batch, cells, order)
    return table_of(block, _exact_percentiles(batch.duration[order], block.add[0]))


def _exact_percentiles(ordered: Float64, counts: Float64) -> Float64:
    starts = np.concatenate(([0.0], np.cumsum(counts)[:-1]))
    places = [(starts + ranks(counts, quantile) - 1).astype(np.int64) for quantile in QUANTILES]
    return np.stack([ordered[place] for place in places])


def _answer(request: Request, table: Table, total: Table, groups: Groups) -> dict[str, Any]:
    slots = request.unit is not None
    places = order_of(table, groups.owners, request.sort, slots=slots, descending=request.descending)
    return {
        "rows": rows_of(table, places[: request.limit], groups.owners.names, slots=slots, by=request.by),
        "rowsTotal": len(table),
        "total": total_of(total),
    }
