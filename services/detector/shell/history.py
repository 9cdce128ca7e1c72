"""Calls from the JSONL files: the last day's, one tool after the other, for a rebuild; those of a span in order of time, for a
past that is lived again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import structlog

from perfmon.paths import DataDirectory
from shared.batch import Batch, concatenate
from shared.store.raw import TooManyRows, metric_files, read_batches, read_raw
from shared.timespan import HOUR_MS, MINUTE_MS, BadTime, parse_iso

#: Calls of one tool read at once; of a tool with more the latest part is read.
MAX_ROWS: Final = 500_000
#: Files of a tool that are this small together have no more than MAX_ROWS calls: a line has 100 bytes at least.
_SMALL_BYTES: Final = 100 * MAX_ROWS
#: Rows made columns at once.
_ROWS_AT_ONCE: Final = 50_000
#: Bytes of the longest line that is looked at for its time.
_LONGEST_LINE: Final = 65_536
#: How far back is tried, longest first.
SPANS_MS: Final = (24 * HOUR_MS, 6 * HOUR_MS, HOUR_MS, 10 * MINUTE_MS, MINUTE_MS)


def batches_of_last_day(data: DataDirectory, start_ms: int, end_ms: int, sizes: Mapping[str, int]) -> Iterator[Batch]:
    """A batch a tool, its calls ascending by time; of each file what `sizes` (path below `metrics/` → bytes) says."""
    tools: dict[str, dict[str, int]] = defaultdict(dict)
    for path in metric_files(data.metrics, start_ms, end_ms):
        relative = path.relative_to(data.metrics)
        if str(relative) in sizes:
            tools[str(relative.relative_to(relative.parts[0]))][str(relative)] = sizes[str(relative)]
    for of_tool in tools.values():
        batch = _read(data, start_ms, end_ms, of_tool)
        if batch is not None and len(batch):
            yield batch.take(np.argsort(batch.ts, kind="stable"))


class Span(NamedTuple):
    """From when to when (epoch ms, the end is outside), and whose calls."""

    start_ms: int
    end_ms: int
    server: str | None
    tool: str | None


def calls_of(data: DataDirectory, span: Span, max_rows: int, stopping: Callable[[], bool]) -> tuple[Batch, int]:
    """The calls of a span, ascending by time, and how many files were left out because there would be more than `max_rows`."""
    parts: list[Batch] = []
    rows = left_out = 0
    for path in metric_files(data.metrics, *span):
        if rows >= max_rows or stopping():
            left_out += 1
            continue
        relative = str(path.relative_to(data.metrics))
        for part in read_batches(data, {relative: path.stat().st_size}, rows=_ROWS_AT_ONCE):
            batch = _inside(part.batch, span)
            if len(batch):
                parts.append(batch)
                rows += len(batch)
            if rows >= max_rows:
                break
    calls = concatenate(parts)
    return calls.take(np.argsort(calls.ts, kind="stable")), left_out


def first_ts_of(path: Path) -> int | None:
    """When the first call of a file was, None if it cannot be told."""
    try:
        with path.open("rb") as file:
            line = file.readline(_LONGEST_LINE)
        return parse_iso(str(json.loads(line)["timestamp"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, BadTime):
        return None


def _inside(batch: Batch, span: Span) -> Batch:
    """The calls of a span, without ids."""
    wanted = np.array([span.server in (None, s) and span.tool in (None, t) for s, t in batch.dictionary], bool)
    chosen = (batch.ts >= span.start_ms) & (batch.ts < span.end_ms)
    if len(batch):
        chosen &= wanted[batch.codes]
    return replace(batch, call_ids={}).take(np.flatnonzero(chosen))


def _read(data: DataDirectory, start_ms: int, end_ms: int, sizes: dict[str, int]) -> Batch | None:
    if sum(sizes.values()) <= _SMALL_BYTES:
        # `read_raw` would look at the files of all tools for each of them.
        span = Span(start_ms, end_ms, None, None)
        return concatenate([_inside(part.batch, span) for part in read_batches(data, sizes, rows=_ROWS_AT_ONCE)])
    newest_ms = start_ms + SPANS_MS[0]
    for span_ms in SPANS_MS:
        try:
            rows = read_raw(data, newest_ms - span_ms, end_ms, max_rows=MAX_ROWS, sizes=sizes)
        except TooManyRows:
            continue
        return rows.batch
    structlog.get_logger().warning("rebuild_passed_over", files=sorted(sizes), reason="too many calls a minute")
    return None
