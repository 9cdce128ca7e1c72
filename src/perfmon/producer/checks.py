"""Why ingest would refuse a call, for producers that want to know at once. Pure.

The rules of docs/protocol.md, but one: how old a call may be is the pipeline's setting, which is not known here.
"""

from __future__ import annotations

from typing import Any, Final

from perfmon.producer.rows import Row, plain
from perfmon.wire import MAX_CALL_ID_BYTES, MAX_NAME_BYTES, OVERFLOW_NAME
from perfmon.wire.limits import MAX_CPU_PERCENT, MAX_DISK_IO_KB, MAX_DURATION_MS, MAX_FUTURE_MS, MAX_MEMORY_MB

_MEASURED: Final = (("cpu", "%", MAX_CPU_PERCENT), ("memory", "MB", MAX_MEMORY_MB), ("disk_io", "KB", MAX_DISK_IO_KB))


def row_problem(row: Row, now_ms: int) -> str | None:
    """What is wrong with a call as it is recorded; None when ingest takes it."""
    server, tool, duration_ms, success, _, *measured, ts_ms, call_id, _ = row
    return (
        name_problem("server", server)
        or name_problem("tool", tool)
        or _out_of("duration_ms", "a number of milliseconds", duration_ms, MAX_DURATION_MS)
        or (None if isinstance(plain(success), bool) else f"success is True or False, got {_shown(success)}")
        or next(filter(None, map(_measured_problem, _MEASURED, measured)), None)
        or _time_problem(ts_ms, now_ms)
        or (None if call_id is None else call_id_problem(call_id))
    )


def name_problem(what: str, name: object) -> str | None:
    """What is wrong with a server's or a tool's name."""
    if not isinstance(name, str) or not name:
        return f"{what} is a name, got {_shown(name)}"
    if len(plain(name).encode()) > MAX_NAME_BYTES:
        return f"{what} is a name of at most {MAX_NAME_BYTES} bytes"
    return f"{what} is a name, and {OVERFLOW_NAME} is reserved" if name == OVERFLOW_NAME else None


def call_id_problem(call_id: object) -> str | None:
    """What is wrong with a call id."""
    if isinstance(call_id, str) and 0 < len(plain(call_id).encode()) <= MAX_CALL_ID_BYTES:
        return None
    return f"call_id is text of 1 to {MAX_CALL_ID_BYTES} bytes, got {_shown(call_id)}"


def _measured_problem(rule: tuple[str, str, float], value: object) -> str | None:
    what, unit, limit = rule
    if value is None or (isinstance(value, float) and value != value):  # noqa: PLR0124 - NaN: not measured
        return None
    return _out_of(what, f"a number ({unit}) or None", value, limit)


def _out_of(what: str, kind: str, value: object, limit: float) -> str | None:
    number: Any = plain(value)
    good = isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number <= limit
    return None if good else f"{what} is {kind} from 0 to {limit:.0f}, got {_shown(value)}"


def _time_problem(ts_ms: object, now_ms: int) -> str | None:
    number: Any = plain(ts_ms)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        return f"ts_ms is a whole number of milliseconds since 1970, got {_shown(ts_ms)}"
    return "ts_ms is at most 10 minutes ahead of the clock" if number > now_ms + MAX_FUTURE_MS else None


def _shown(value: object) -> str:
    return f"{value!r:.80}"
