"""One slot of a window as bytes and back: the sparse part of its columns that is not empty.

Ids are those of the series table, which is stored beside it. Strict on the way back: wrong bytes raise `BadSlot` and
change nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfmon.wire import WireError, pack, unpack
from services.alerter.core.slot import Keys
from services.alerter.core.windows import ColumnRing, SlidingWindow
from shared.sketch import BINS

Ids = NDArray[np.int64]
Values = NDArray[np.float64]


class BadSlot(ValueError):
    """Bytes that are no slot of this window."""


def encode_slot(window: SlidingWindow, slot: int, last_ts: Ids) -> bytes:
    """The slot, which must be in the window. last_ts: i64[capacity], the newest time of each id."""
    place = slot % window.slots
    ids = np.flatnonzero(window.calls[:, place])
    return pack(
        {
            "ids": _bytes(ids, "<i8"),
            "last": _bytes(last_ts[ids], "<i8"),
            "calls": _bytes(window.calls[ids, place], "<f8"),
            "failures": _bytes(window.failures[ids, place], "<f8"),
            "columns": {name: _ring_out(ring, place, ids) for name, ring in window.columns.items()},
        }
    )


def decode_slot(window: SlidingWindow, slot: int, data: bytes, last_ts: Ids) -> None:
    """Put a stored slot back into a window that has grown to hold its ids and is not past it.

    Raises: BadSlot.
    """
    try:
        _decode(window, slot, unpack(data), last_ts)
    except (WireError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise BadSlot(f"not a slot: {type(error).__name__}") from error


def _decode(window: SlidingWindow, slot: int, body: Any, last_ts: Ids) -> None:
    ids = _array(body["ids"], "<i8", None)
    n, size = len(ids), len(window.calls)
    if n and (ids.min() < 0 or ids.max() >= size or (np.diff(ids) <= 0).any()):
        raise BadSlot("ids are ascending and known")
    calls, failures = (_finite(_array(body[name], "<f8", n)) for name in ("calls", "failures"))
    last = _array(body["last"], "<i8", n)
    rings = [
        (ring, _ring_in(ring, body["columns"][name], n, size))
        for name, ring in window.columns.items()
        if name in body["columns"]
    ]
    window.advance(slot)
    if slot <= window.head - window.slots:
        return
    place = slot % window.slots
    window.calls[ids, place], window.failures[ids, place] = calls, failures
    np.maximum.at(last_ts, ids, last)
    for ring, (moments, keys, counts) in rings:
        for array, column in zip((ring.count, ring.total, ring.least, ring.most), moments, strict=True):
            array[ids, place] = column
        if ring.distribution:
            ring.put(place, keys, counts)


def _ring_out(ring: ColumnRing, place: int, ids: Ids) -> dict[str, bytes]:
    keys, counts = ring.parts[place].merged()
    moments = np.stack([array[ids, place] for array in (ring.count, ring.total, ring.least, ring.most)])
    return {"moments": _bytes(moments, "<f8"), "keys": _bytes(keys, "<i4"), "counts": _bytes(counts, "<f8")}


def _ring_in(ring: ColumnRing, raw: Any, n: int, size: int) -> tuple[Values, Keys, Values]:
    moments = _array(raw["moments"], "<f8", 4 * n).reshape(4, n)
    if np.isnan(moments).any() or not np.isfinite(moments[:2]).all():
        raise BadSlot("a moment is not a number")
    keys, counts = _array(raw["keys"], "<i4", None), _finite(_array(raw["counts"], "<f8", None))
    if not ring.distribution:
        return moments, keys[:0], counts[:0]
    if len(keys) != len(counts):
        raise BadSlot("keys and counts do not fit")
    if len(keys) and (keys.min() < 0 or keys.max() >= size * BINS or (np.diff(keys) <= 0).any()):
        raise BadSlot("keys are ascending and known")
    return moments, keys, counts


def _bytes(array: NDArray[Any], dtype: str) -> bytes:
    return np.ascontiguousarray(array).astype(dtype).tobytes()


def _array(raw: object, dtype: str, n: int | None) -> NDArray[Any]:
    size = np.dtype(dtype).itemsize
    if not isinstance(raw, bytes) or len(raw) % size or (n is not None and len(raw) != size * n):
        raise BadSlot("a column has another length")
    return np.frombuffer(raw, dtype).astype(dtype[1:])


def _finite(array: Values) -> Values:
    if not np.isfinite(array).all() or (array < 0).any():
        raise BadSlot("a count is not a number")
    return array
