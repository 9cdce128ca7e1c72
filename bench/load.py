"""What a benchmark sends: full metrics over 196 series, as columns, the same for every system that is compared.

A metric is full: duration, success, cpu, memory, disk I/O. Rows of a batch happened in the second before it was sent, in the
order in which they are listed, over all series. Pure: a seed in, columns out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SERVERS: Final = 14
TOOLS: Final = 14
#: How far back the rows of one batch lie.
SPREAD_MS: Final = 1_000
#: Share of calls that failed.
FAILING: Final = 0.002


@dataclass(frozen=True, slots=True)
class Columns:
    """`n` full metrics. age_ms: i64[n], how long before the batch was sent; falling. series: index into `series_names`."""

    series: NDArray[np.uint16]
    age_ms: NDArray[np.int64]
    duration: NDArray[np.float64]
    ok: NDArray[np.uint8]
    cpu: NDArray[np.float64]
    memory: NDArray[np.float64]
    disk_io: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.series)


def series_names() -> list[tuple[str, str]]:
    """The (mcpServer, toolName) pairs that `Columns.series` indexes."""
    return [(f"bench-server-{server:02d}", f"tool_{tool:02d}") for server in range(SERVERS) for tool in range(TOOLS)]


def columns(rows: int, seed: int) -> Columns:
    """Full metrics: durations of 3 decimals (ms), percentages and MB of one, whole KB."""
    rng = np.random.default_rng(seed)
    return Columns(
        series=rng.integers(0, SERVERS * TOOLS, rows).astype(np.uint16),
        age_ms=np.sort(rng.integers(0, SPREAD_MS, rows))[::-1].copy(),
        duration=np.round(rng.lognormal(4.5, 0.6, rows), 3),
        ok=(rng.random(rows) >= FAILING).astype(np.uint8),
        cpu=np.round(rng.uniform(1, 60, rows), 1),
        memory=np.round(rng.uniform(50, 500, rows), 1),
        disk_io=np.round(rng.uniform(0, 4096, rows), 0),
    )
