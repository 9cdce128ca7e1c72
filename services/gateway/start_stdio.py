"""The first moments of a stdio gateway: descriptors are claimed before anything that could print is imported.

Imports are what a start costs (0.4 s of pydantic models); the garbage collector only slows them, so it waits.
"""

from __future__ import annotations

import gc
import os
import signal
from types import FrameType


def start() -> int:
    """Claim the descriptors, then import and serve; the exit code."""
    gc.disable()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_at_once)
    from services.gateway.claim import claim_standard_streams

    wire = claim_standard_streams()
    from perfmon.paths import UnsafeDirectory, resolve_data_directory
    from services.gateway.stdio_main import run
    from shared.runtime.logs import configure_logging

    gc.enable()
    configure_logging("gateway-stdio", "warning")
    import structlog

    try:
        data = resolve_data_directory()
    except (UnsafeDirectory, OSError) as error:
        structlog.get_logger().error("cannot_start", reason=str(error))
        return 78
    return run(data, wire)


def _end_at_once(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's signature
    """Until the loop runs, nothing is under way that could be lost."""
    os._exit(0)
