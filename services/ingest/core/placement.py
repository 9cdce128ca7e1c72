"""Which series a row belongs to, and which file: the series cap, case twins, paths.

A decision is committed with the batch it was made for (as the batch's `paths` and dictionary), so that a replay repeats it.
What is known here comes from the registered files.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from perfmon.wire import OVERFLOW_NAME
from shared.batch import Batch, Series
from shared.names import path_stem, twin_stem

OVERFLOW: Final = Series(OVERFLOW_NAME, OVERFLOW_NAME)


class Placement:
    """The known series, each with its path below a day's folder, without `.jsonl`."""

    def __init__(self, max_series: int) -> None:
        self._max_series = max_series
        self._paths: dict[Series, str] = {}
        self._folders: dict[str, str] = {}
        self._taken: dict[str, Series] = {}
        self.overflowed_total = 0

    def __len__(self) -> int:
        return len(self._paths)

    def restore(self, series: Series, path: str) -> None:
        """Take back a decision of earlier, from a registered file."""
        self._keep(series, path)

    def forget_all(self) -> None:
        """Forget every series, before the remaining ones are restored."""
        self._paths.clear()
        self._folders.clear()
        self._taken.clear()

    def place(self, batch: Batch) -> Batch:
        """The batch with the paths of its series; rows of series beyond the cap go to the overflow series."""
        if batch.paths is not None:
            return batch
        overflow = [code for code, series in enumerate(batch.dictionary) if not self._admit(series)]
        if overflow:
            batch = self._overflow(batch, overflow)
        paths = tuple(self._paths[series] for series in batch.dictionary)
        return replace(batch, paths=paths)

    def _admit(self, series: Series) -> bool:
        if series in self._paths:
            return True
        if series != OVERFLOW and len(self._paths) >= self._max_series:
            return False
        self._keep(series, self._new_path(series))
        return True

    def _overflow(self, batch: Batch, codes: list[int]) -> Batch:
        self._admit(OVERFLOW)
        moved = set(codes)
        union: dict[Series, int] = {}
        mapping = np.empty(len(batch.dictionary), np.uint32)
        for code, series in enumerate(batch.dictionary):
            target = OVERFLOW if code in moved else series
            mapping[code] = union.setdefault(target, len(union))
        self.overflowed_total += int(np.isin(batch.codes, codes).sum())
        return replace(batch, dictionary=tuple(union), codes=mapping[batch.codes])

    def _new_path(self, series: Series) -> str:
        folder = path_stem(series.server)
        if self._folders.get(folder.casefold(), series.server) != series.server:
            folder = twin_stem(series.server)
        path = f"{folder}/{path_stem(series.tool)}"
        if self._taken.get(path.casefold(), series) != series:
            path = f"{folder}/{twin_stem(series.tool)}"
        return path

    def _keep(self, series: Series, path: str) -> None:
        self._paths[series] = path
        self._folders.setdefault(path.partition("/")[0].casefold(), series.server)
        self._taken.setdefault(path.casefold(), series)
