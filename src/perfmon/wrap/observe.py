"""The observer process: reads copies of the traffic, measures, and sends one metric a finished call.

Started by the forwarder with the copies on stdin. It lives until they end, then delivers what it holds, for a bounded time.
If they end without word of the server's end, the forwarder was killed, and so the server is too: a client that kills what it
started means the server. If its own code fails it says so once on stderr and ends; the traffic never notices.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from typing import Final

from perfmon.producer import Producer
from perfmon.wrap.calls import CallWatcher, Direction, Event, Finished, Started
from perfmon.wrap.frames import Frame, FrameKind, read_frames
from perfmon.wrap.resources import TreeSampler
from perfmon.wrap.usage import NS_PER_MS, TreeSample, attribute

#: How long the last metrics may take; without a pipeline far less.
CLOSE_TIMEOUT_S: Final = 2.0
CLOSE_GRACE_S: Final = 0.3
#: What a server may take to end by itself once its forwarder was killed.
KILL_GRACE_S: Final = 1.0
#: Calls from here on may have started processes worth looking for.
RELIST_NS: Final = 100 * NS_PER_MS
#: Below the traffic: a busy machine forwards first.
NICENESS: Final = 10

_DIRECTIONS: Final = {FrameKind.TO_SERVER: Direction.TO_SERVER, FrameKind.TO_CLIENT: Direction.TO_CLIENT}
_GAPS: Final = {FrameKind.GAP_TO_SERVER: Direction.TO_SERVER, FrameKind.GAP_TO_CLIENT: Direction.TO_CLIENT}


class Observation:
    """One server's life as it is seen."""

    def __init__(self, watcher: CallWatcher, sampler: TreeSampler, producer: Producer) -> None:
        self._watcher = watcher
        self._sampler = sampler
        self._producer = producer
        self._before: dict[int, TreeSample] = {}
        self.exited = False

    def take(self, frame: Frame) -> None:
        """Whatever a frame says."""
        if frame.kind in _DIRECTIONS:
            self._act(self._watcher.feed(_DIRECTIONS[frame.kind], frame.data, frame.stamp_ns))
        elif frame.kind in _GAPS:
            self._watcher.gap(_GAPS[frame.kind])
            self._before.clear()
        else:
            self.exited = True

    def end(self) -> None:
        """No more copies will come."""
        self._act(self._watcher.finish(time.monotonic_ns()))

    def _act(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Started):
                self._before[event.call.serial] = self._sampler.sample()
            else:
                self._record(event)

    def _record(self, event: Finished) -> None:
        call = event.call
        lasted_ns = event.ended_ns - call.started_ns
        usage = attribute(
            self._before.pop(call.serial, None),
            self._sampler.sample(listed_since_ns=call.started_ns if lasted_ns >= RELIST_NS else None),
            started_ns=call.started_ns,
            ended_ns=event.ended_ns,
            overlapped=event.overlapped,
        )
        age_ns = time.monotonic_ns() - event.ended_ns
        self._producer.record(
            self._watcher.server_name,
            call.tool,
            round(lasted_ns / NS_PER_MS, 3),
            event.error is None,
            event.error,
            cpu=usage.cpu,
            memory=usage.memory,
            disk_io=usage.disk_io,
            ts_ms=(time.time_ns() - age_ns) // NS_PER_MS,
            call_id=call.call_id,
        )


def main() -> None:
    """Observe until the copies end."""
    arguments = _arguments()
    # The terminal's signals are for the server; our end comes with the end of the copies.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    watcher = CallWatcher(arguments.command, name=arguments.name)
    sampler = TreeSampler(arguments.pid)
    producer = Producer(arguments.data_dir, name=f"wrap-{arguments.name or arguments.command}")
    observation = Observation(watcher, sampler, producer)
    with open(0, "rb", buffering=1 << 17, closefd=False) as copies:
        for frame in read_frames(copies):
            observation.take(frame)
    if not observation.exited and not sampler.wait_gone(KILL_GRACE_S):
        sampler.kill()
    observation.end()
    producer.close(CLOSE_TIMEOUT_S, connect_grace_s=CLOSE_GRACE_S)
    _report(watcher, producer)


def _report(watcher: CallWatcher, producer: Producer) -> None:
    stats = producer.stats()
    losses = {
        "dropped": stats.dropped_total,
        "rejected": stats.rejected_total,
        "not observed": watcher.unobserved_total,
    }
    if any(losses.values()):
        told = ", ".join(f"{count} {what}" for what, count in losses.items() if count)
        reason = f" ({stats.last_error})" if stats.last_error else ""
        say(f"calls not recorded: {told}{reason}")


def say(text: str) -> None:
    """One line on the server's stderr, if anyone still reads it."""
    with contextlib.suppress(OSError):
        os.write(2, f"perfmon wrap: {text}\n".encode("utf-8", "backslashreplace"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="perfmon.wrap.observe")
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--command", required=True)
    parser.add_argument("--name")
    parser.add_argument("--data-dir")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001 - the top: the traffic goes on, only its figures end
        say(f"observation ended: {type(error).__name__}: {error}")
        sys.exit(1)
