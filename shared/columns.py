"""A batch under construction, row after row. What a row may hold is decided by who appends it."""

from __future__ import annotations

import numpy as np

from shared.batch import Batch, Float64, Series


class Columns:
    """Lists to append to, all of them for each row; NaN = not measured. `union`: (server, tool) → code, in order of codes."""

    def __init__(self) -> None:
        self.union: dict[tuple[str, str], int] = {}
        self.codes: list[int] = []
        self.ts: list[int] = []
        self.duration: list[float] = []
        self.ok: list[bool] = []
        self.cpu: list[float] = []
        self.memory: list[float] = []
        self.disk_io: list[float] = []
        self.errors: dict[int, str] = {}
        self.call_ids: dict[int, str] = {}

    def batch(self) -> Batch:
        """What was appended; a resource that no row has measured has no column."""
        return Batch(
            tuple(Series(server, tool) for server, tool in self.union),
            np.asarray(self.codes, np.uint32),
            np.asarray(self.ts, np.int64),
            np.asarray(self.duration, np.float64),
            np.asarray(self.ok, np.uint8),
            cpu=_measured(self.cpu),
            memory=_measured(self.memory),
            disk_io=_measured(self.disk_io),
            errors=self.errors,
            call_ids=self.call_ids,
        )


def _measured(values: list[float]) -> Float64 | None:
    column = np.asarray(values, np.float64)
    return None if np.isnan(column).all() else column
