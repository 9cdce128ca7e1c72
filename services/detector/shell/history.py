"""The last day's calls from the JSONL files, one tool after the other, for a rebuild."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import structlog

from perfmon.paths import DataDirectory
from shared.batch import Batch
from shared.store.raw import TooManyRows, metric_files, read_raw
from shared.timespan import HOUR_MS, MINUTE_MS

#: Calls of one tool read at once; of a tool with more the latest part is read.
MAX_ROWS: Final = 500_000
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


def _read(data: DataDirectory, start_ms: int, end_ms: int, sizes: dict[str, int]) -> Batch | None:
    newest_ms = start_ms + SPANS_MS[0]
    for span_ms in SPANS_MS:
        try:
            rows = read_raw(data, newest_ms - span_ms, end_ms, max_rows=MAX_ROWS, sizes=sizes)
        except TooManyRows:
            continue
        return rows.batch
    structlog.get_logger().warning("rebuild_passed_over", files=sorted(sizes), reason="too many calls a minute")
    return None
