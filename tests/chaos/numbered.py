"""The metrics of the chaos load: every value of a metric follows from its number and its time, so that each stored line can be
compared with what was sent. The number is in the duration (an eighth of it, so exact in binary and with three decimals).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from perfmon.wire import OVERFLOW_NAME, encode_batch, encode_rows

Pair = tuple[str, str]

#: The last one always fails, so that there is an alert that must come.
SERIES: tuple[Pair, ...] = (
    ("chaos-a", "read"),
    ("chaos-a", "write"),
    ("chaos-b", "query"),
    ("chaos-c", "always_fails"),
)
OVERFLOW: Pair = (OVERFLOW_NAME, OVERFLOW_NAME)

_NAN = float("nan")


def many_series(count: int) -> tuple[Pair, ...]:
    """So many series that none of them always fails."""
    return tuple((f"chaos-{number % 7}", f"tool-{number}") for number in range(count))


def number_of(duration: float) -> int:
    """The number that a duration codes; -1 for one that is not of the load."""
    coded = float(duration) * 8
    return int(coded) if coded.is_integer() else -1


def succeeds(pair: Pair) -> bool:
    return pair[1] != "always_fails"


def values_of(number: int) -> dict[str, float | None]:
    """What was measured: some are missing, some are whole, some have all the digits there are."""
    cpu = None if number % 5 == 0 else (number % 600) / 10
    memory = 100 + (number % 977) / 7
    disk = None if number % 3 else float(number % 4096)
    return {"cpu": cpu, "memory": memory, "diskIO": disk}


def error_of(number: int, pair: Pair) -> str | None:
    return None if succeeds(pair) else f'no such "thing" {number % 97}\n\tsaid ünder \\ it'


def call_id_of(number: int) -> str | None:
    return f"call-{number}" if number % 50 == 0 else None


def line_of(number: int, ts_ms: int, pair: Pair) -> dict[str, Any]:
    """The stored line of a metric, parsed. Of a metric in `__overflow__` the names alone differ: pass its own in `pair`."""
    call_id = call_id_of(number)
    return {
        "timestamp": iso_of(ts_ms),
        "mcpServer": pair[0],
        "toolName": pair[1],
        "duration": number / 8,
        "success": succeeds(pair),
        "error": error_of(number, pair),
        "resource": values_of(number),
        **({} if call_id is None else {"callId": call_id}),
    }


def path_of(ts_ms: int, pair: Pair) -> str:
    """The file of a metric below `metrics/`; the names of the load are plain."""
    return f"{iso_of(ts_ms)[:10]}/{pair[0]}/{pair[1]}.jsonl"


def iso_of(ts_ms: int) -> str:
    moment = datetime.fromtimestamp(ts_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ts_ms % 1000:03d}Z"


def batch_frame(numbers: Sequence[int], ts: array[int], series: Sequence[Pair], producer: str, seq: int) -> bytes:
    """The numbers as a `batch` message."""
    measured = [values_of(number) for number in numbers]
    columns = {
        name: [_NAN if row[name] is None else row[name] for row in measured] for name in ("cpu", "memory", "diskIO")
    }
    pairs = [series[number % len(series)] for number in numbers]
    told = [error_of(number, pair) for number, pair in zip(numbers, pairs, strict=True)]
    called = [call_id_of(number) for number in numbers]
    return encode_batch(
        series,
        series=[number % len(series) for number in numbers],
        ts=ts,
        duration=[number / 8 for number in numbers],
        ok=[succeeds(pair) for pair in pairs],
        cpu=columns["cpu"],
        memory=columns["memory"],
        disk_io=columns["diskIO"],
        errors={at: error for at, error in enumerate(told) if error},
        call_ids={at: call_id for at, call_id in enumerate(called) if call_id},
        producer=producer,
        seq=seq,
    )


def rows_frame(numbers: Sequence[int], ts: array[int], series: Sequence[Pair], producer: str, seq: int) -> bytes:
    """The numbers as a `rows` message."""
    lines = [line_of(number, at, series[number % len(series)]) for number, at in zip(numbers, ts, strict=True)]
    return encode_rows(lines, producer=producer, seq=seq)
