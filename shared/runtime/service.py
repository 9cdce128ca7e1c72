"""The life of a service: lock, signals, parent, poll loop, queries, a clean end.

`main` is what a service's `__main__` calls. The loop runs everything on one thread: sockets' callbacks, timers and what other
threads hand over by `call_soon`. SIGTERM and SIGINT set a flag; the loop then runs the stop callbacks (last added first:
intake, drain, flush, close) and exits 0. Knows nothing of what a service does.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket as stdlib_socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import structlog
import zmq

from perfmon import __version__
from perfmon.paths import DataDirectory, UnsafeDirectory, resolve_data_directory
from perfmon.wire import PROTOCOL_MAJOR, PROTOCOL_MINOR
from shared.rpc import RpcServer, router
from shared.runtime.descriptors import ConnectionGuard, allow_descriptors, count_open, limit
from shared.runtime.locks import LockHeld, ServiceLock
from shared.runtime.logs import configure_logging
from shared.runtime.parent import ParentWatch
from shared.settings import Settings, SettingsError, load_settings

#: How often the parent is looked at; the kernel's death signal usually comes first.
PARENT_CHECK_S: Final = 1.0
#: Pause between two looks at a lock that somebody else holds.
LOCK_RETRY_S: Final = 0.25
#: How often a held lock is spoken of in the log.
LOCK_LOG_S: Final = 10.0

#: How far services that nobody waits for step back behind ingest and the gateways: on two cores a committed call is answered
#: 0.15 ms sooner, and its 99th percentile falls by a third. They catch up from the journal when they come late.
BACKGROUND_NICENESS: Final = 5
#: Services that are waited for with every call.
FOREGROUND: Final = frozenset({"ingest", "gateway"})

#: Allocations between two looks for reference cycles.
GC_ALLOCATIONS: Final = 20_000

#: Exit code for a data directory or setting that nothing but a person can mend.
EXIT_CONFIGURATION: Final = 78


class Service:
    """One process: its data directory, settings, queries, timers and sockets."""

    def __init__(self, name: str, data: DataDirectory, settings: Settings) -> None:
        self.name = name
        self.data = data
        self.settings = settings
        self.log = structlog.get_logger()
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.ready = False
        self.started_ms = now_ms()
        #: Figures shown by `stats`; each is asked for when the request comes.
        self.stats: dict[str, Callable[[], Any]] = {}
        #: Additions to the answer of `ping`, such as the place in the journal.
        self.ping_fields: Callable[[], dict[str, Any]] = dict
        self._poller = zmq.Poller()
        self._callbacks: dict[Any, Callable[[], None]] = {}
        self._timers: list[list[Any]] = []
        self._stops: list[Callable[[], None]] = []
        self._soon: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._wake_in, self._wake_out = stdlib_socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self._callbacks[self._wake_out.fileno()] = self._woken
        self._poller.register(self._wake_out.fileno(), zmq.POLLIN)
        #: Sockets whose connections are counted against the limit on descriptors.
        self.guard = ConnectionGuard(self.after)
        self.rpc = RpcServer(self.call_soon)
        self.rpc.register("ping", self._ping)
        self.rpc.register("stats", lambda _: self.figures())

    def serve(self, endpoint_name: str | None = None) -> zmq.Socket[bytes]:
        """Bind the query socket (named as the service unless told otherwise) and answer it from the loop."""
        socket = router(self.context, self.data.endpoint(endpoint_name or self.name))
        self.watch(socket, lambda: self.rpc.drain(socket))
        self.guard.add(socket)
        self.on_stop(lambda: socket.close(linger=0))
        return socket

    def watch(self, source: zmq.Socket[Any] | int, callback: Callable[[], None]) -> None:
        """Call back whenever a socket or descriptor can be read."""
        self._poller.register(source, zmq.POLLIN)
        self._callbacks[source] = callback

    def unwatch(self, source: zmq.Socket[Any] | int) -> None:
        """Leave off watching; before the socket is closed."""
        self._poller.unregister(source)
        self._callbacks.pop(source, None)

    def every(self, interval_s: float, callback: Callable[[], None]) -> None:
        """Call back about every `interval_s` seconds, first after one interval."""
        self._timers.append([time.monotonic() + interval_s, interval_s, callback])

    def after(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call back once, in about `delay_s` seconds; on the loop's thread alone."""
        self._timers.append([time.monotonic() + delay_s, None, callback])

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run a callback on the loop's thread; may be called from any thread."""
        self._soon.append(callback)
        self.wake()

    def wake(self) -> None:
        """Make the loop turn; may be called from any thread and from signal handlers."""
        with contextlib.suppress(BlockingIOError, OSError):  # full: it will turn anyway; closed: it has ended
            self._wake_in.send(b"\0")

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Run a callback at the end, before those added earlier."""
        self._stops.append(callback)

    def stop(self) -> None:
        """End the loop after this turn."""
        self._stopping = True
        self.wake()

    def figures(self) -> dict[str, Any]:
        """The counters and gauges of this service."""
        return {
            "requests_total": self.rpc.requests_total,
            "refused_total": self.rpc.refused_total,
            "failed_total": self.rpc.failed_total,
            "descriptors": count_open(),
            "descriptorLimit": limit(),
            "connection_cuts_total": self.guard.cut_total,
            **{name: read() for name, read in self.stats.items()},
        }

    def run(self) -> int:
        """Turn the loop until told to stop; 0. Whatever is raised in a callback ends the process: supervisord restarts it."""
        parent = ParentWatch()
        self.every(PARENT_CHECK_S, lambda: self.stop() if parent.orphaned() else None)
        self.guard.start()
        try:
            while not self._stopping:
                self._turn()
        finally:
            self._end()
        self.log.info("stopped")
        return 0

    def _turn(self) -> None:
        for source, _ in self._poller.poll(self._timeout_ms()):
            callback = self._callbacks.get(source)
            if callback is not None:  # one before it may have left off watching it
                callback()
        for _ in range(len(self._soon)):  # what they add comes after another look at the sockets
            self._soon.popleft()()
        now = time.monotonic()
        for timer in [timer for timer in self._timers if timer[0] <= now]:
            if timer[1] is None:
                self._timers.remove(timer)
            else:
                timer[0] = now + timer[1]
            timer[2]()

    def _timeout_ms(self) -> int:
        if self._soon:
            return 0
        due = min(timer[0] for timer in self._timers)
        return max(0, int((due - time.monotonic()) * 1000) + 1)

    def _end(self) -> None:
        self.guard.stop()
        for callback in reversed(self._stops):
            try:
                callback()
            except Exception:
                self.log.exception("stop_failed")
        self.rpc.close()
        self.context.destroy(linger=0)
        self._wake_in.close()
        self._wake_out.close()

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_out.recv(4096):
                pass

    def _ping(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "service": self.name,
            "pid": os.getpid(),
            "version": __version__,
            "protocol": [PROTOCOL_MAJOR, PROTOCOL_MINOR],
            "ready": self.ready,
            "startedMs": self.started_ms,
            "dataDirectory": str(self.data.root),
            **self.ping_fields(),
        }


def now_ms() -> int:
    """The clock: epoch ms UTC. Cores never call it; they are told."""
    return time.time_ns() // 1_000_000


def main(name: str, build: Callable[[Service], None]) -> int:
    """Run a service: take its lock (waiting for a holder to go), build it, turn its loop. The exit code."""
    os.umask(0o077)
    if name not in FOREGROUND:
        os.nice(BACKGROUND_NICENESS)
    try:
        data = resolve_data_directory()
        data.create()
        settings = load_settings(data)
    except (UnsafeDirectory, SettingsError, OSError) as error:
        configure_logging(name, "info")
        structlog.get_logger().error("cannot_start", reason=str(error))
        return EXIT_CONFIGURATION
    configure_logging(name, settings.log_level)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        lock = _wait_for_lock(data, name, stopping)
    except OSError as error:  # a link or a folder in the place of the lock file, no permission
        structlog.get_logger().error("cannot_lock", reason=str(error))
        return EXIT_CONFIGURATION
    if lock is None:
        return 0
    allow_descriptors()
    service = Service(name, data, settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    if stopping.is_set():
        service.stop()
    try:
        build(service)
        _collect_seldom()
        code = service.run()
    except SettingsError as error:
        structlog.get_logger().error("cannot_start", reason=str(error))
        code = EXIT_CONFIGURATION
    finally:
        lock.release()
    sys.stderr.flush()
    # Worker threads may still hold a query; the state is on disk, so nothing is worth waiting for.
    os._exit(code)


def _collect_seldom() -> None:
    """Look for reference cycles rarely, and never among what was made at the start: our messages have none."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 20)


def _wait_for_lock(data: DataDirectory, name: str, stopping: threading.Event) -> ServiceLock | None:
    lock = ServiceLock(data.locks / f"{name}.lock")
    parent = ParentWatch()
    log_at = 0.0
    while not stopping.is_set() and not parent.orphaned():
        try:
            lock.acquire()
        except LockHeld as held:
            if time.monotonic() >= log_at:
                structlog.get_logger().warning("waiting_for_lock", holder=held.holder)
                log_at = time.monotonic() + LOCK_LOG_S
            stopping.wait(LOCK_RETRY_S)
        else:
            return lock
    return None
