"""A service that kills itself at a place: `python -m tests.chaos.deadly TABLE PLACE TIME`, or `… plain SERVICE 0`.

A module of its own, so that the product has no place where a test could reach in.
"""

from __future__ import annotations

import importlib
import itertools
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from tests.chaos import places

#: Set: ingest formats with its compiled kernel from the first row on, as it does under a heavy load.
COMPILED_VARIABLE = "CHAOS_COMPILED"
#: Milliseconds that are added to the service's clock.
SHIFT_VARIABLE = "CHAOS_CLOCK_SHIFT_MS"


def command(table: str, name: str, fatal: int = 0) -> list[str]:
    """The command line of this module, for `ServiceProcess`."""
    return [sys.executable, "-m", "tests.chaos.deadly", table, name, str(fatal)]


def arm(place: places.Place, fatal: int) -> None:
    """Replace the place's function by one that kills this process at its `fatal`-th call."""
    module, _, path = place.target.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, _deadly(getattr(owner, name), place, fatal))


def _deadly(real: Callable[..., Any], place: places.Place, fatal: int) -> Callable[..., Any]:
    calls = itertools.count(1)

    @wraps(real)
    def deadly(*args: Any, **named: Any) -> Any:
        if not place.counts(*args, **named):
            return real(*args, **named)
        result = real(*args, **named) if place.moment == "after" else None
        if next(calls) == fatal:
            if place.moment == "middle":
                descriptor, data, *rest = args
                real(descriptor, data[: len(data) // 2], *rest)
            os.kill(os.getpid(), signal.SIGKILL)
        return result if place.moment == "after" else real(*args, **named)

    return deadly


def shift_clock(shift_ms: int) -> None:
    """Everything that asks for the time is told another: as if so long had passed, not as if someone had set the clock."""
    nanoseconds, seconds, any_clock = time.time_ns, time.time, time.clock_gettime_ns
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    time.time_ns = lambda: nanoseconds() + shift_ms * 1_000_000
    time.time = lambda: seconds() + shift_ms / 1000
    time.clock_gettime_ns = lambda clock: any_clock(clock) + (shift_ms * 1_000_000 if clock == boot else 0)


def main(table: str, name: str, fatal: str) -> None:
    """Arm, then be the service."""
    shift_clock(int(os.environ.get(SHIFT_VARIABLE) or 0))
    service = name if table == "plain" else getattr(places, table)[name].service
    if os.environ.get(COMPILED_VARIABLE):
        appender: Any = importlib.import_module("services.ingest.appender")
        appender.COMPILE_ROWS = appender.INLINE_ROWS = 0
    if table != "plain":
        arm(getattr(places, table)[name], int(fatal))
    runpy.run_module(f"services.{service}", run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
