"""What rollups must say, worked out call by call in plain Python; and strategies for calls."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from services.aggregator.core.block import Block
from services.aggregator.core.fold import fold
from services.aggregator.core.registry import Registry
from shared.batch import Batch, Series, build
from shared.sketch import RELATIVE_ERROR
from shared.timespan import MINUTE_MS

#: 2024-02-28T23:58:00Z: two minutes before the leap day begins.
T0 = 1_709_164_680_000

SERVERS = ("github", "files", "ünïcode\n")
TOOLS = ("read", "write")


class Call(NamedTuple):
    """One call; resources None = not measured."""

    server: str
    tool: str
    ts: int
    duration: float
    ok: bool
    cpu: float | None = None
    memory: float | None = None
    disk_io: float | None = None


_RESOURCE = st.none() | st.floats(0, 1e6)


def calls(low_ms: int = 0, high_ms: int = 5 * MINUTE_MS, **sizes: int) -> st.SearchStrategy[list[Call]]:
    """Lists of calls between T0 + low and T0 + high."""
    return st.lists(
        st.builds(
            Call,
            st.sampled_from(SERVERS),
            st.sampled_from(TOOLS),
            st.integers(T0 + low_ms, T0 + high_ms - 1),
            st.one_of(st.floats(0, 1e9), st.integers(0, 500).map(float)),
            st.booleans(),
            _RESOURCE,
            _RESOURCE,
            _RESOURCE,
        ),
        **{"max_size": 60, **sizes},
    )


def batch_of(some: Iterable[Call]) -> Batch:
    """The calls as a batch; a resource that nobody measured is left out."""
    listed = list(some)
    columns: dict[str, Any] = {}
    for name in ("cpu", "memory", "disk_io"):
        values = [getattr(call, name) for call in listed]
        if any(value is not None for value in values):
            columns[name] = [math.nan if value is None else value for value in values]
    return build(((c.server, c.tool, c.ts, c.duration, c.ok) for c in listed), **columns)


def folded(some: Iterable[Call], registry: Registry) -> list[tuple[int, Block]]:
    """The calls as blocks of minutes."""
    batch = batch_of(some)
    return fold(batch, registry.ids_of(batch.dictionary))


def nearest_rank(values: list[float], quantile: str) -> float:
    return sorted(values)[max(1, math.ceil(Fraction(quantile) * len(values))) - 1]


def expected(some: Iterable[Call]) -> dict[str, Any]:
    """The figures of some calls."""
    listed = list(some)
    durations = [call.duration for call in listed]
    errors = sum(not call.ok for call in listed)

    def measured(name: str) -> list[float]:
        return [value for call in listed if (value := getattr(call, name)) is not None]

    def mean(values: list[float]) -> float | None:
        return math.fsum(values) / len(values) if values else None

    return {
        "count": len(listed),
        "errors": errors,
        "errorRate": 100 * errors / len(listed),
        "avg": mean(durations),
        "min": min(durations),
        "max": max(durations),
        **{f"p{q}": nearest_rank(durations, f"0.{q}") for q in ("50", "95", "99")},
        "cpu": mean(measured("cpu")),
        "memory": mean(measured("memory")),
        "diskIO": mean(measured("disk_io")),
        "maxCpu": max(measured("cpu"), default=None),
        "maxMemory": max(measured("memory"), default=None),
        "maxDiskIO": max(measured("disk_io"), default=None),
        "firstTs": min(call.ts for call in listed),
        "lastTs": max(call.ts for call in listed),
    }


def grouped(some: Iterable[Call], key: Callable[[Call], Any]) -> dict[Any, dict[str, Any]]:
    """The figures of each group."""
    groups: dict[Any, list[Call]] = defaultdict(list)
    for call in some:
        groups[key(call)].append(call)
    return {name: expected(members) for name, members in groups.items()}


def assert_same(found: dict[str, Any], wanted: dict[str, Any], *, exact_percentiles: bool = False) -> None:
    """Sums to within rounding, percentiles from sketches within one percent, everything else equal."""
    for name, value in wanted.items():
        if value is None:
            assert found[name] is None, name
        elif name in {"p50", "p95", "p99"} and not exact_percentiles:
            assert abs(found[name] - value) <= RELATIVE_ERROR * value * (1 + 1e-9) + 1e-8, (name, found[name], value)
        elif name in {"avg", "cpu", "memory", "diskIO", "errorRate"}:
            assert math.isclose(found[name], value, rel_tol=1e-9, abs_tol=1e-300), (name, found[name], value)
        else:
            assert found[name] == value, (name, found[name], value)


def same_block(one: Block, other: Block) -> None:
    """Equal to within the rounding of sums."""
    for name in ("series", "low", "high", "keys", "counts"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert np.allclose(one.add, other.add, rtol=1e-12)


def series_of(registry: Registry, block: Block) -> list[Series]:
    return [registry.name_of(at) for at in block.series.tolist()]
