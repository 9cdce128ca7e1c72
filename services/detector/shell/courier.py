"""Carries anomalies to the alerter, at least once each, in a thread of its own.

What is owed lies in the database until the alerter has answered, so neither a restart nor a dead alerter loses one; the alerter
recognises a name: the anomaly's id, and another when it became worse. The loop never waits for it.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import structlog
import zmq

from perfmon.rpc import RpcClient, RpcError

#: How long the alerter may take for an answer; short, for a stop waits as long.
CALL_TIMEOUT_S: Final = 2.0
#: Pauses between attempts while it does not answer: doubled from the first to the last.
FIRST_PAUSE_S: Final = 0.5
LAST_PAUSE_S: Final = 30.0
#: Refusals that no repetition will change.
FINAL_REFUSALS: Final = frozenset({"bad_anomaly", "bad_request"})


class Courier:
    """`delivered(id)` is called in the courier's thread once the alerter has decided about an anomaly."""

    def __init__(self, endpoint: str, delivered: Callable[[str], None]) -> None:
        self.delivered_total = 0
        self.refused_total = 0
        self.failed_attempts_total = 0
        self._endpoint = endpoint
        self._delivered = delivered
        self._queue: deque[tuple[str, dict[str, Any]]] = deque()
        self._known: set[str] = set()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._log = structlog.get_logger()

    @property
    def waiting(self) -> int:
        """Anomalies not answered yet."""
        return len(self._known)

    def offer(self, name: str, anomaly: dict[str, Any]) -> None:
        """Take an anomaly that is on disk; one that is under way already is passed over. Starts the thread with the first."""
        with self._changed:
            if name in self._known:
                return
            self._known.add(name)
            self._queue.append((name, anomaly))
            self._changed.notify()
            if self._thread is None:
                run = contextvars.copy_context().run  # so that its log lines name the service
                self._thread = threading.Thread(target=run, args=(self._run,), name="courier", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop; what is owed stays in the database."""
        self._stopping.set()
        with self._changed:
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CALL_TIMEOUT_S + 1)

    def _run(self) -> None:
        context: zmq.Context[Any] = zmq.Context()
        client = RpcClient(self._endpoint, context=context)
        try:
            while (item := self._next()) is not None:
                self._deliver(client, *item)
        finally:
            client.close()
            context.term()

    def _next(self) -> tuple[str, dict[str, Any]] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping.is_set())
            return None if self._stopping.is_set() else self._queue.popleft()

    def _deliver(self, client: RpcClient, name: str, anomaly: dict[str, Any]) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                asked = {"anomaly": anomaly, "key": name}
                answer = client.call("anomaly.raise", asked, request_id=f"detector-{name}", timeout_s=CALL_TIMEOUT_S)
            except RpcError as error:
                if error.code in FINAL_REFUSALS:
                    self.refused_total += 1
                    self._log.error("anomaly_refused", id=name, code=error.code, reason=error.message)
                    break
                self.failed_attempts_total += 1
                if pause_s == FIRST_PAUSE_S:
                    self._log.warning("alerter_not_reached", id=name, code=error.code)
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, LAST_PAUSE_S)
            else:
                self.delivered_total += 1
                self._log.info(
                    "anomaly_raised", id=name, outcome=str(answer.get("outcome") if isinstance(answer, dict) else "")
                )
                break
        else:
            return
        with self._changed:
            self._known.discard(name)
        self._delivered(name)
