"""The files of hours and days: a JSON array of the seed's objects, one a line, each with what is needed to merge it exactly.

Beyond the seed's fields an object has `errors`, `sum`, the first and last timestamp, `resourceTotals` and `sketch`: `first`, a
bin of `shared.sketch`, and `counts` from it on, where −n stands for n empty bins. Reading believes nothing: a file may have been
edited or have come with someone's clone. An object that contradicts itself is passed over and counted, the others are served,
also when the array around them is damaged. Names may be any text; JSON escapes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.aggregator.core.block import (
    ADD_ROWS,
    COUNT,
    CPU_MAX,
    CPU_N,
    CPU_SUM,
    DISK_MAX,
    DISK_N,
    DISK_SUM,
    EMPTY,
    ERRORS,
    FIRST_TS,
    HIGH_ROWS,
    LAST_TS,
    LOW_ROWS,
    MAX,
    MEMORY_MAX,
    MEMORY_N,
    MEMORY_SUM,
    MIN,
    SUM,
    Block,
)
from services.aggregator.core.registry import Registry
from services.aggregator.core.table import PERCENTILES, table_of
from services.aggregator.core.tiers import Node
from shared.batch import Series
from shared.sketch import BIN_BITS, BINS
from shared.timespan import BadTime, iso, iso_seconds, parse_iso

#: Significant digits of figures that are for reading; what is merged is exact.
SHOWN_DIGITS: Final = 6

_Whole = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
_RESOURCES: Final = (
    ("cpu", CPU_SUM, CPU_N, CPU_MAX),
    ("memory", MEMORY_SUM, MEMORY_N, MEMORY_MAX),
    ("diskIO", DISK_SUM, DISK_N, DISK_MAX),
)


class _Metrics(msgspec.Struct, gc=False):
    count: _Whole
    avg: float
    p50: float
    p95: float
    p99: float
    max: float
    min: float
    errorRate: float  # noqa: N815 - the seed's name


class _Resource(msgspec.Struct, gc=False):
    avgCpu: float | None = None  # noqa: N815 - the seed's name
    avgMemory: float | None = None  # noqa: N815 - the seed's name
    avgDiskIO: float | None = None  # noqa: N815 - the seed's name


class _Total(msgspec.Struct, gc=False):
    sum: float
    count: _Whole
    max: float


class _Sketch(msgspec.Struct, gc=False):
    first: Annotated[int, msgspec.Meta(ge=0, lt=BINS)]
    counts: Annotated[
        list[Annotated[int, msgspec.Meta(gt=-BINS, le=1 << 53)]], msgspec.Meta(min_length=1, max_length=BINS)
    ]


class _Object(msgspec.Struct, gc=False):
    timestamp: str
    mcpServer: Annotated[str, msgspec.Meta(min_length=1)]  # noqa: N815 - the seed's name
    toolName: Annotated[str, msgspec.Meta(min_length=1)]  # noqa: N815 - the seed's name
    metrics: _Metrics
    resource: _Resource | None
    errors: _Whole
    sum: float
    firstTimestamp: str  # noqa: N815 - as the seed spells names
    lastTimestamp: str  # noqa: N815 - as the seed spells names
    sketch: _Sketch
    resourceTotals: dict[str, _Total] = {}  # noqa: N815 - as the seed spells names; msgspec copies it


_objects = msgspec.json.Decoder(list[_Object])
_object = msgspec.json.Decoder(_Object)
_raw_objects = msgspec.json.Decoder(list[msgspec.Raw])
_encoder = msgspec.json.Encoder()


class BadFile(ValueError):
    """A file that is no JSON array at all."""


class ReadBlock(NamedTuple):
    """What a file holds, and how many of its objects were passed over."""

    block: Block
    skipped: int


def encode_file(node: Node, block: Block, registry: Registry) -> bytes:
    """The file of an hour or a day; series in the order of their names."""
    ids = block.series.tolist()
    order = sorted(range(len(ids)), key=lambda at: registry.name_of(ids[at]))
    columns = {name: column.tolist() for name, column in table_of(block).columns.items()}
    sketches = _spelled_sketches(block)
    lines = [
        _encoder.encode(
            _written(node, block, registry.name_of(ids[at]), at, {name: column[at] for name, column in columns.items()})
            | {"sketch": sketches[at]}
        )
        for at in order
    ]
    return b"[\n" + b",\n".join(lines) + b"\n]\n" if lines else b"[]\n"


def decode_file(data: bytes, node: Node, registry: Registry) -> ReadBlock:
    """The block in the file of an hour or a day; names it teaches get ids.

    Raises: BadFile.
    """
    try:
        objects, total = _parsed(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFile(f"not a JSON array: {error}") from error
    sound = _distinct([found for found in objects if _is_sound(found, node)])
    if not sound:
        return ReadBlock(EMPTY, total)
    block = _block(sound, registry)
    if block is None:
        sound = [found for found in sound if _block([found], registry) is not None]
        block = _block(sound, registry) if sound else EMPTY
    assert block is not None
    return ReadBlock(block, total - len(sound))


def _written(node: Node, block: Block, name: Series, at: int, row: dict[str, float]) -> dict[str, object]:
    figures = ("avg", *PERCENTILES, "errorRate")
    shown = {figure: _shown(row[figure]) for figure in figures}
    means = {"avgCpu": _shown(row["cpu"]), "avgMemory": _shown(row["memory"]), "avgDiskIO": _shown(row["diskIO"])}
    return {
        "timestamp": iso_seconds(node.start_ms),
        "mcpServer": name.server,
        "toolName": name.tool,
        "metrics": {
            "count": int(row["count"]),
            "avg": shown["avg"],
            "p50": shown["p50"],
            "p95": shown["p95"],
            "p99": shown["p99"],
            "max": _plain(row["max"]),
            "min": _plain(row["min"]),
            "errorRate": shown["errorRate"],
        },
        "resource": None if all(mean is None for mean in means.values()) else means,
        "errors": int(row["errors"]),
        "sum": _plain(float(block.add[SUM, at])),
        "firstTimestamp": iso(int(row["firstTs"])),
        "lastTimestamp": iso(int(row["lastTs"])),
        "resourceTotals": {
            name: {
                "sum": _plain(float(block.add[total, at])),
                "count": int(block.add[measured, at]),
                "max": _plain(float(block.high[most, at])),
            }
            for name, total, measured, most in _RESOURCES
            if block.add[measured, at]
        },
    }


def _shown(value: float) -> float | int | None:
    return None if math.isnan(value) else _plain(float(f"{value:.{SHOWN_DIGITS}g}"))


def _plain(value: float) -> float | int:
    """150 prints as 150."""
    return int(value) if value.is_integer() and abs(value) < 1 << 53 else value


def _parsed(data: bytes) -> tuple[list[_Object], int]:
    """The objects that have the right shape, and how many there are in all."""
    try:
        objects = _objects.decode(data)
        return objects, len(objects)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pieces = _pieces(data)
    found = [parsed for piece in pieces if (parsed := _parsed_one(piece)) is not None]
    return found, len(pieces)


def _pieces(data: bytes) -> Sequence[bytes | msgspec.Raw]:
    """The elements of the array; the lines, if it is none any more.

    Raises: msgspec.MsgspecError when none of them is an object.
    """
    try:
        return _raw_objects.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        lines = [line.rstrip(b",\r") for line in data.split(b"\n")]
        lines = [line for line in lines if line not in {b"", b"[", b"]"}]
        if not any(_parsed_one(line) for line in lines):
            raise
        return lines


def _parsed_one(piece: bytes | msgspec.Raw) -> _Object | None:
    try:
        return _object.decode(piece)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _is_sound(found: _Object, node: Node) -> bool:
    """Whether an object of the right shape says what can be true of its hour or day."""
    metrics = found.metrics
    try:
        start, first, last = (parse_iso(t) for t in (found.timestamp, found.firstTimestamp, found.lastTimestamp))
        (found.mcpServer + found.toolName).encode()
    except (BadTime, UnicodeEncodeError):
        return False
    numbers = (found.sum, metrics.min, metrics.max)
    return (
        start == node.start_ms
        and node.start_ms <= first <= last < node.end_ms
        and all(math.isfinite(number) and number >= 0 for number in numbers)
        and metrics.min <= metrics.max
        and metrics.count >= 1
        and found.errors <= metrics.count
        and all(_is_total(total, metrics.count) for total in found.resourceTotals.values())
    )


def _is_total(total: _Total, calls: int) -> bool:
    return 1 <= total.count <= calls and all(math.isfinite(x) and x >= 0 for x in (total.sum, total.max))


def _distinct(objects: Sequence[_Object]) -> list[_Object]:
    """The first object of each series."""
    return list({(found.mcpServer, found.toolName): found for found in reversed(objects)}.values())


def _block(objects: Sequence[_Object], registry: Registry) -> Block | None:
    """The block of sound objects; None when a sketch among them is not that of its calls."""
    ids = registry.ids_of([Series(found.mcpServer, found.toolName) for found in objects])
    order = np.argsort(ids)
    n = len(objects)
    add = np.zeros((ADD_ROWS, n))
    low = np.empty((LOW_ROWS, n))
    high = np.full((HIGH_ROWS, n), -np.inf)
    ordered = [objects[at] for at in order.tolist()]
    for at, found in enumerate(ordered):
        add[COUNT, at], add[ERRORS, at], add[SUM, at] = found.metrics.count, found.errors, found.sum
        low[MIN, at], high[MAX, at] = found.metrics.min, found.metrics.max
        low[FIRST_TS, at], high[LAST_TS, at] = parse_iso(found.firstTimestamp), parse_iso(found.lastTimestamp)
        for name, total, measured, most in _RESOURCES:
            resource = found.resourceTotals.get(name)
            if resource is not None:
                add[total, at], add[measured, at], high[most, at] = resource.sum, resource.count, resource.max
    sketches = _read_sketches([found.sketch for found in ordered])
    if sketches is None:
        return None
    keys, counts = sketches
    if not np.array_equal(np.bincount(keys >> BIN_BITS, counts, minlength=n), add[COUNT]):
        return None
    return Block(ids[order], add, low, high, keys, counts)


def _spelled_sketches(block: Block) -> list[dict[str, object]]:
    """Each series' sketch as it stands in a file."""
    bounds = np.searchsorted(block.keys, np.arange(len(block) + 1) << BIN_BITS)
    firsts = (block.keys[bounds[:-1]] & (BINS - 1)).tolist()
    gaps = np.diff(block.keys, prepend=block.keys[:1]) - 1
    gaps[bounds[:-1]] = 0
    places = np.cumsum(1 + (gaps > 0)) - 1
    spelled = np.empty(int(places[-1]) + 1 if len(places) else 0, np.int64)
    spelled[places] = block.counts
    with_gap = gaps > 0
    spelled[places[with_gap] - 1] = -gaps[with_gap]
    numbers = spelled.tolist()
    ends = (np.append(places, len(numbers))[bounds] - np.append(with_gap, False)[bounds]).tolist()
    return [{"first": first, "counts": numbers[ends[at] : ends[at + 1]]} for at, first in enumerate(firsts)]


def _read_sketches(sketches: Sequence[_Sketch]) -> tuple[NDArray[np.int32], NDArray[np.float64]] | None:
    """Keys and counts of all series; None when a sketch goes beyond its bins or has a zero in it."""
    lengths = np.array([len(sketch.counts) for sketch in sketches])
    numbers = np.fromiter(chain.from_iterable(sketch.counts for sketch in sketches), np.int64, int(lengths.sum()))
    steps = np.where(numbers < 0, -numbers, 1)
    starts = np.cumsum(lengths) - lengths
    before = np.cumsum(steps) - steps
    firsts = np.array([sketch.first for sketch in sketches])
    bins = before + np.repeat(firsts - before[starts], lengths)
    filled = numbers > 0
    if not filled[starts + lengths - 1].all() or (numbers == 0).any() or int(bins.max()) >= BINS:
        return None
    series = np.repeat(np.arange(len(sketches)) << BIN_BITS, lengths)
    return (series + bins)[filled].astype(np.int32), numbers[filled].astype(np.float64)
