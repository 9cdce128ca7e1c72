"""One thread a channel, each sending what it is handed and reporting back; a dead or hanging channel delays nothing else.

Owns no state worth keeping: what is in flight when the process dies is still in the outbox. Which messages, and when again, is
`core.outbox`'s.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from perfmon.paths import application_root
from services.alerter.core.outbox import Entry
from services.alerter.shell.channels import Call, Channel, Channels, call_for, redacted

#: How much longer than the client's own time-out the delivering process may live before it is killed with all it started.
KILL_GRACE_S: Final = 15.0

#: An entry's key, and None or why it was not delivered.
Result = tuple[str, str | None]
#: Sends calls by key and yields each key with None or an error; a key that is not yielded was not delivered.
Send = Callable[[list[tuple[str, Call]]], Iterable[Result]]


class Notifier:
    """The channels' threads. busy: the channels whose last messages have not all come back by `results`."""

    def __init__(self, channels: Channels, send: Send | None = None) -> None:
        self.busy: set[str] = set()
        self._channels = channels
        self._results: deque[tuple[str, list[Result]]] = deque()
        self._threads: list[threading.Thread] = []
        self._running: set[subprocess.Popen[bytes]] = set()
        self._send = send or self._through_server
        self._secrets = channels.secrets()
        self._queues: dict[str, queue.SimpleQueue[list[Entry] | None]] = {}
        for name, channel in channels.by_name.items():
            orders = self._queues[name] = queue.SimpleQueue()
            thread = threading.Thread(
                target=self._work, args=(name, channel, orders), name=f"channel-{name}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def dispatch(self, channel: str, entries: list[Entry]) -> None:
        """Hand messages to a channel that is not busy."""
        if entries and channel in self._queues and channel not in self.busy:
            self.busy.add(channel)
            self._queues[channel].put(entries)

    def results(self) -> list[Result]:
        """What became of messages since this was last asked; their channels are free again."""
        found: list[Result] = []
        while self._results:
            channel, results = self._results.popleft()
            self.busy.discard(channel)
            found += results
        return found

    def close(self, wait_s: float) -> None:
        """End the threads, waiting at most so long for what they are sending; then that is ended too."""
        for orders in self._queues.values():
            orders.put(None)
        until = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        for process in list(self._running):
            _end(process)

    def _work(self, name: str, channel: Channel, orders: queue.SimpleQueue[list[Entry] | None]) -> None:
        while (entries := orders.get()) is not None:
            self._results.append((name, self._deliver(channel, entries)))

    def _deliver(self, channel: Channel, entries: list[Entry]) -> list[Result]:
        errors: dict[str, str | None] = {}
        reason = "the delivery ended without an answer"
        try:
            errors.update(self._send([(entry.key, call_for(channel, entry.message)) for entry in entries]))
        except Exception as error:  # noqa: BLE001 - top of a channel's loop: its next message must still be tried
            reason = f"{type(error).__name__}: {error}"
        return [
            (entry.key, None if error is None else redacted(error, self._secrets))
            for entry in entries
            for error in [errors.get(entry.key, reason)]
        ]

    def _through_server(self, calls: list[tuple[str, Call]]) -> Iterable[Result]:
        server = self._channels.communications
        if server is None:
            return
        order = {
            "server": server.model_dump(include={"command", "args", "env", "cwd"}),
            "timeout_s": server.timeout_s,
            "calls": [[key, call.tool, call.arguments] for key, call in calls],
        }
        yield from run_delivery(order, server.timeout_s + KILL_GRACE_S, self._running)


def run_delivery(
    order: dict[str, Any], timeout_s: float, running: set[subprocess.Popen[bytes]] | None = None
) -> Iterable[Result]:
    """Run `services.alerter.deliver` and yield its answers; it and its children are dead afterwards. While it runs it is in
    `running`.

    Raises: OSError, subprocess.SubprocessError, ValueError.
    """
    # -P: a `services` folder in the working directory must not be taken for ours.
    command = [sys.executable, "-P", "-m", "services.alerter.deliver"]
    environment = {**os.environ, "PYTHONPATH": str(application_root())}
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    running = set() if running is None else running
    running.add(process)
    try:
        answers, _ = process.communicate(json.dumps(order).encode(), timeout=timeout_s)
    except subprocess.TimeoutExpired as expired:
        answers = expired.stdout or b""
    finally:
        _end(process)
        running.discard(process)
    for line in answers.splitlines():
        answer = json.loads(line)
        yield str(answer["key"]), answer["error"]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it and all it started, whichever session that is in, and let go of its pipes."""
    if process.poll() is None:
        _kill(process)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    import psutil

    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        family = []
    process.kill()
    for child in family:
        try:
            child.kill()
        except psutil.Error:
            pass  # gone already
    process.wait()
