"""Waiting for the buffer in an event loop: woken by the sender's thread, so neither the loop nor a thread is held up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from perfmon.producer.buffer import Buffer


async def becomes_true(buffer: Buffer, condition: Callable[[], bool], timeout_s: float | None = None) -> bool:
    """Whether a condition that changes when rows are taken or settled holds within the time; without one, for ever."""
    if condition():
        return True
    import asyncio  # not before: a host that has no event loop does not pay for it

    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def listener() -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(changed.set)

    buffer.listen(listener)
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await changed.wait()
                changed.clear()
        return True
    except TimeoutError:
        return condition()
    finally:
        buffer.unlisten(listener)
