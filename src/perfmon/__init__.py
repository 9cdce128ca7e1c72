"""Performance Monitor MCP: the producer SDK.

`Producer` sends metrics of tool calls to a running pipeline; `track` and `measure` time calls for you. They need pyzmq and
msgpack alone, never raise into the host application and never block it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perfmon._version import __version__

if TYPE_CHECKING:
    from perfmon.instrument import measure, track
    from perfmon.producer import Producer

__all__ = ["Producer", "__version__", "measure", "track"]


def __getattr__(name: str) -> Any:
    # Lazy, so that the command line does not pay for the SDK nor the SDK for the command line.
    if name == "Producer":
        from perfmon.producer import Producer

        return Producer
    if name in {"measure", "track"}:
        from perfmon import instrument

        return getattr(instrument, name)
    raise AttributeError(f"module 'perfmon' has no attribute {name!r}")


def __dir__() -> list[str]:
    # What is lazy is listed too, for completion and help().
    return sorted({*globals(), *__all__})
