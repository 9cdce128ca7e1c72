"""The columns of a typed `batch` message.

The fast twin of `shared.batch.from_columns`, which it leaves every message to that does not fit: it does not look at a
dictionary that was seen before, and finds in one pass whether all codes have a series and which series have a row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfmon.wire import MAX_ROWS
from services.ingest.core.frames import Columns, Sparse
from services.ingest.core.known import Dictionary
from services.ingest.core.rows import is_call_id
from services.ingest.core.typed_rows import Typed
from shared.batch import Batch, Float64, Series, UInt32


def columns_of(message: Columns, sparse: Sparse) -> Typed | None:
    """The batch; None when its columns need the strict look. Values are checked later."""
    n = message.n
    if not 0 < n <= MAX_ROWS or not _fit(message, n):
        return None
    dictionary, errors, call_ids = sparse
    wide = len(message.series) == 4 * n
    try:
        series, codes = _occurring(dictionary, np.frombuffer(message.series, "<u4" if wide else "<u2"))
    except IndexError:
        return None
    if not all(map(is_call_id, call_ids.values())):
        return None
    batch = Batch(
        series,
        codes,
        np.frombuffer(message.ts, "<i8"),
        np.frombuffer(message.duration, "<f8"),
        np.frombuffer(message.ok, np.uint8),
        cpu=_optional(message.cpu),
        memory=_optional(message.memory),
        disk_io=_optional(message.disk_io),
        errors=errors,
        call_ids=call_ids,
    )
    return Typed(batch, dictionary.good, dictionary.unique)


def _fit(message: Columns, n: int) -> bool:
    wide = 8 * n
    if len(message.series) not in (2 * n, 4 * n) or len(message.ok) != n:
        return False
    if len(message.ts) != wide or len(message.duration) != wide:
        return False
    resources = (message.cpu, message.memory, message.disk_io)
    return all(column is None or len(column) == wide for column in resources)


def _occurring(dictionary: Dictionary, codes: NDArray[Any]) -> tuple[tuple[Series, ...], UInt32]:
    """The series that have a row, in the dictionary's order, and the codes over them.

    Raises: IndexError when a code has no series.
    """
    occurs = np.zeros(len(dictionary.series), np.bool_)
    occurs[codes] = True
    if occurs.all():
        return dictionary.series, codes.astype(np.uint32)
    kept = np.flatnonzero(occurs)
    moved = np.zeros(len(occurs), np.uint32)
    moved[kept] = np.arange(len(kept), dtype=np.uint32)
    return tuple(map(dictionary.series.__getitem__, kept.tolist())), moved[codes]


def _optional(column: bytes | None) -> Float64 | None:
    return None if column is None else np.frombuffer(column, "<f8")
