"""A series as bytes, and back: plain arrays in msgpack, never pickled.

What comes back is checked: a data directory may have come with someone's clone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from perfmon.wire import pack, unpack
from services.detector.core.kernels import errors, judge, server_errors
from services.detector.core.kernels.bins import BINS
from services.detector.core.kernels.fold import MOMENTS
from services.detector.core.metrics import METRICS, MINUTE_MS, QUARTER_MS
from services.detector.core.servers import Servers
from services.detector.core.signal import course, scorer
from services.detector.core.signal.minutes import HEADS
from services.detector.core.signal.pending import MINUTE, SLOTS, WIDTH
from services.detector.core.state.budget import Budget
from services.detector.core.state.calls import MAX_CALLS
from services.detector.core.state.histograms import MAX_QUARTERS
from services.detector.core.state.rows import SortedRows
from services.detector.core.state.series import CHUNK_MINUTES, CHUNK_MS, HOUR_MS, MAX_MINUTES, SeriesState
from services.detector.core.state.signals import Signals
from shared.batch import Series

#: The layout of the bytes. Those of the one before are read as well; others are not but rebuilt.
LAYOUT: Final = 3
_MOST: Final = 2**62
#: Numbers of a series, in this order, that are kept as they are.
_NUMBERS: Final = 8


class BadState(ValueError):
    """Bytes that are not a series of this layout."""


def encode_series(series: SeriesState) -> bytes:
    """All but the history: names, calls, baseline, tracks."""
    calls, hists = series.calls, series.histograms
    numbers = (series.first_ts, series.newest_ts, series.calls_total, series.minutes.forgotten)
    return pack(
        {
            "layout": LAYOUT,
            "metrics": series.metrics,
            "numbers": [*numbers, calls.capacity, calls.filled, calls.following, calls.dropped_ts],
            "calls": bytes(calls.room),
            "bins": bytes(hists.room),
            "judged": bytes(series.room),
            "signals": series.signals.export(series.row),
        }
    )


def encode_chunk(series: SeriesState, chunk: int) -> bytes | None:
    """The minutes and quarter hours of one chunk of time; None when it has none."""
    first = chunk * CHUNK_MINUTES
    rows = series.minutes.between(first, first + CHUNK_MINUTES - 1)
    if rows.start == rows.stop:
        return None
    hists = series.histograms
    quarters = hists.quarters.between(chunk * CHUNK_MS // QUARTER_MS, ((chunk + 1) * CHUNK_MS - 1) // QUARTER_MS)
    return pack(
        {
            "minutes": series.minutes.index[rows].tobytes(),
            "moments": series.moments[rows].tobytes(),
            "failures": series.failures[rows].tobytes(),
            "quarters": hists.quarters.index[quarters].tobytes(),
            "lows": hists.lows.tolist(),
            "starts": hists.starts.tolist(),
            "counts": hists.counts[quarters].tobytes(),
            "metrics": series.metrics,
        }
    )


def decode_series(key: Series, number: int, data: bytes, budget: Budget, signals: Signals | None = None) -> SeriesState:
    """A series without its history, its signals among those of others.

    Raises: BadState.
    """
    body = _body(data)
    layout, metrics = body.get("layout"), _int(body, "metrics")
    if layout not in (LAYOUT, LAYOUT - 1):
        raise BadState(f"layout {layout}, this program knows {LAYOUT}")
    if metrics not in (1, len(METRICS)):
        raise BadState("metrics")
    series = SeriesState(key, number, budget, metrics, signals)
    before = series.size_bytes
    if layout == LAYOUT:
        _put(series, body)
    else:
        _put_second(series, body)
    budget.force(series.size_bytes - before)
    _put_signals(series, body.get("signals"))
    series.hour = series.newest_ts // HOUR_MS
    series.dirty = layout != LAYOUT
    return series


def encode_servers(servers: Servers) -> Iterator[tuple[str, bytes]]:
    """The rows of the servers that changed."""
    for server in sorted(servers.dirty & servers.numbers.keys()):
        yield server, pack({"layout": LAYOUT, "row": servers.rows[servers.numbers[server]].tobytes()})


def decode_server(data: bytes) -> NDArray[np.float64]:
    """A server's row.

    Raises: BadState.
    """
    body = _body(data)
    if body.get("layout") not in (LAYOUT, LAYOUT - 1):
        raise BadState(f"layout {body.get('layout')}, this program knows {LAYOUT}")
    return _array(body, "row", np.float64, (server_errors.SIZE,))


def decode_chunk(series: SeriesState, data: bytes) -> None:
    """Put a chunk of history back, chunks in ascending order.

    Raises: BadState.
    """
    body = _body(data)
    metrics = _int(body, "metrics")
    minutes, quarters = _array(body, "minutes", np.int64), _array(body, "quarters", np.int64)
    if not 1 <= metrics <= series.metrics or len(minutes) > MAX_MINUTES or len(quarters) > MAX_QUARTERS:
        raise BadState("chunk")
    if not len(minutes) or not _ascend(minutes) or not _ascend(quarters):
        raise BadState("order")
    moments = _array(body, "moments", np.float64, (len(minutes), metrics, MOMENTS))
    failures = _array(body, "failures", np.float64, (len(minutes),))
    kept, rows = _rows_for(series.minutes, minutes)
    _, into_moments, into_failures = series.minutes.views()
    into_moments[rows, :metrics] = moments[kept]
    into_failures[rows] = failures[kept]
    if len(quarters):
        _put_quarters(series, body, metrics, quarters)


def oldest_chunk(series: SeriesState) -> int:
    """Chunks before this one are no longer needed."""
    keep = (series.newest_ts // MINUTE_MS - MAX_MINUTES) // CHUNK_MINUTES
    return max(keep, (series.minutes.forgotten + 1) // CHUNK_MINUTES)


def _put(series: SeriesState, body: dict[str, Any]) -> None:
    """What `encode_series` wrote."""
    numbers = body.get("numbers")
    if not isinstance(numbers, list) or len(numbers) != _NUMBERS or any(type(n) is not int for n in numbers):
        raise BadState("numbers")
    first, newest, total, forgotten, capacity, filled, following, dropped = numbers
    if max(map(abs, numbers)) > _MOST or not 0 < capacity <= MAX_CALLS:
        raise BadState("numbers")
    if not 0 <= filled <= capacity or not 0 <= following < capacity:
        raise BadState("calls")
    series.first_ts, series.newest_ts, series.calls_total, series.minutes.forgotten = first, newest, total, forgotten
    calls, hists, metrics = series.calls, series.histograms, series.metrics
    calls.capacity, calls.filled, calls.following, calls.dropped_ts = capacity, filled, following, dropped
    calls.room = _block(body, "calls", capacity * (9 + 8 * metrics))
    series.room = _block(body, "judged", len(series.room))
    hists.put_back(*_bins(_bytes(body, "bins"), metrics))


def _put_second(series: SeriesState, body: dict[str, Any]) -> None:
    """What programs wrote before blocks of memory were kept as they are."""
    metrics, hists = series.metrics, series.histograms
    series.first_ts, series.newest_ts = _int(body, "first"), _int(body, "newest")
    series.calls_total, series.minutes.forgotten = _int(body, "total"), _int(body, "forgotten")
    ts = _array(body, "ts", np.int64)
    if len(ts) > MAX_CALLS:
        raise BadState("calls")
    series.calls.append(ts, _array(body, "x", np.float64, (metrics, len(ts))), _array(body, "ok", np.uint8, (len(ts),)))
    series.calls.dropped_ts = _int(body, "dropped")
    lows, starts = _windows(body, metrics)
    hists.put_back(lows, starts, _array(body, "base", np.float64, (int(starts[-1]),)).astype(np.float32))
    series.tracks[:] = _array(body, "tracks", np.float64, (metrics, judge.SIZE))
    series.run[:] = _array(body, "run", np.float64, (errors.SIZE,))


def _ascend(keys: NDArray[np.int64]) -> bool:
    return len(keys) < 2 or bool((keys[1:] > keys[:-1]).all())


def _rows_for(table: SortedRows, keys: NDArray[np.int64]) -> tuple[Any, Any]:
    """Which keys (ascending) are kept, and the rows given to them."""
    later = int(keys[0]) > table.newest
    table.make_room(keys)
    if not later:
        return table.rows_of(keys)
    kept = min(len(keys), table.filled)  # mostly they are the latest, and stand at the end
    return slice(len(keys) - kept, None), slice(table.filled - kept, table.filled)


def _put_signals(series: SeriesState, body: Any) -> None:
    if not isinstance(body, dict) or body.get("size") != scorer.SIZE:
        raise BadState("signals")
    has, heads = body.get("has"), body.get("heads")
    numbers = isinstance(has, list) and all(type(n) is int and 0 <= n < course.SIGNALS for n in has)
    if not isinstance(has, list) or not numbers or len(set(has)) != len(has):
        raise BadState("signals")
    if not isinstance(heads, list) or len(heads) != HEADS or any(type(h) is not int or abs(h) > 2**40 for h in heads):
        raise BadState("signals")
    pending = _array(body, "pending", np.float64, (SLOTS, WIDTH))
    states = _array(body, "states", np.float32, (len(has), scorer.SIZE))
    tracks = _array(body, "tracks", np.float64, (len(has), course.SIZE))
    if not np.isfinite(pending).all() or any(abs(minute) >= 2**40 for minute in pending[:, MINUTE].tolist()):
        raise BadState("signals")
    series.signals.restore_minutes(series.row, heads, pending)
    series.signals.restore(series.row, has, states, tracks)


def _put_quarters(series: SeriesState, body: dict[str, Any], metrics: int, quarters: NDArray[np.int64]) -> None:
    lows, starts = _windows(body, metrics)
    counts = _array(body, "counts", np.uint32, (len(quarters), int(starts[-1])))
    hists = series.histograms
    kept, rows = _rows_for(hists.quarters, quarters)
    counts = counts[kept]
    if starts.tobytes() == hists.starts.tobytes() and lows.tobytes() == hists.lows.tobytes():
        hists.counts[rows] = counts
        return
    for metric in range(metrics):
        size = int(starts[metric + 1] - starts[metric])
        at = int(hists.starts[metric] + lows[metric] - hists.lows[metric])
        if size and not hists.starts[metric] <= at <= at + size <= hists.starts[metric + 1]:
            raise BadState("bins")
        hists.counts[rows, at : at + size] = counts[:, starts[metric] : starts[metric + 1]]


def _bins(raw: bytes, metrics: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Windows and baseline out of a block of `Histograms`."""
    at = 8 * (2 * metrics + 1)
    if len(raw) < at or len(raw) % 4:
        raise BadState("bins")
    places = np.frombuffer(raw, np.int64, 2 * metrics + 1).tolist()
    lows, starts = _checked(places[:metrics], places[metrics:])
    if len(raw) != at + 4 * int(starts[-1]):
        raise BadState("bins")
    return lows, starts, np.frombuffer(raw, np.float32, offset=at)


def _windows(body: dict[str, Any], metrics: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    lows, starts = body.get("lows"), body.get("starts")
    if not isinstance(lows, list) or not isinstance(starts, list) or len(lows) < metrics or len(starts) <= metrics:
        raise BadState("windows")
    return _checked(lows[:metrics], starts[: metrics + 1])


def _checked(lows: list[Any], starts: list[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    # Plain numbers: there are five of them, and thousands of series.
    at = 0
    for low, begins, ends in zip(lows, starts, starts[1:], strict=False):
        if not type(low) is type(begins) is type(ends) is int or begins != at or low < -1:
            raise BadState("windows")
        if not 0 <= ends - begins <= BINS - max(low, 0):
            raise BadState("windows")
        at = ends
    return np.array(lows, np.int64), np.array(starts, np.int64)


def _body(data: bytes) -> dict[str, Any]:
    try:
        body = unpack(data)
    except ValueError as error:
        raise BadState("not msgpack") from error
    if not isinstance(body, dict):
        raise BadState("not a map")
    return body


def _int(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    if type(value) is not int or abs(value) > _MOST:
        raise BadState(name)
    return value


def _bytes(body: dict[str, Any], name: str) -> bytes:
    raw = body.get(name)
    if not isinstance(raw, bytes):
        raise BadState(name)
    return raw


def _block(body: dict[str, Any], name: str, size: int) -> bytearray:
    raw = _bytes(body, name)
    if len(raw) != size:
        raise BadState(name)
    return bytearray(raw)


def _array(body: dict[str, Any], name: str, dtype: type, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    raw = _bytes(body, name)
    try:
        array: NDArray[Any] = np.frombuffer(raw, dtype)
        return array if shape is None else array.reshape(shape)
    except ValueError as error:
        raise BadState(name) from error
