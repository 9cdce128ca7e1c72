"""Ask the other services in parallel, with one deadline for all of them.

Owns a persistent client a service, in one event loop that turns only while something is asked. A service that did not answer
just now is given little time until it does again, so that a dead one does not make every dashboard slow.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from perfmon.paths import DataDirectory
from perfmon.rpc import AsyncRpcClient, RpcError, Unavailable
from services.reporter.core.answered import read_one
from services.reporter.core.answers import Failure
from services.reporter.core.gaps import SILENT, SILENT_YET
from services.reporter.core.questions import Question

#: How long a service that did not answer is given little time.
SILENT_FOR_S: Final = 10.0
#: How long after its own start the reporter takes another service's silence for its start.
STARTING_FOR_S: Final = 15.0
#: That little time.
SILENT_WAIT_S: Final = 0.25


class Asker:
    """Thread-safe: one set of questions at a time."""

    def __init__(self, data: DataDirectory) -> None:
        self.asked_total = 0
        self.unanswered_total = 0
        self._data = data
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clients: dict[str, AsyncRpcClient] = {}
        self._made_s = time.monotonic()
        self._silent_since_s: dict[str, float] = {}

    def ask(self, questions: Mapping[str, Question], deadline_s: float) -> dict[str, Any]:
        """Each question's answer, read as it came in, or its `Failure`; by `deadline_s` (monotonic clock) at the latest."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
            return self._loop.run_until_complete(self._ask_all(questions, deadline_s))

    def close(self) -> None:
        """Let go of the clients; idempotent."""
        with self._lock:
            if self._loop is None:
                return
            for client in self._clients.values():
                self._loop.run_until_complete(client.close())
            self._clients.clear()
            self._loop.close()
            self._loop = None

    async def _ask_all(self, questions: Mapping[str, Question], deadline_s: float) -> dict[str, Any]:
        waits = {service: self._wait_s(service, deadline_s) for service in {q.service for q in questions.values()}}
        asked = [self._ask_one(question, waits[question.service]) for question in questions.values()]
        return dict(zip(questions, await asyncio.gather(*asked), strict=True))

    async def _ask_one(self, question: Question, wait_s: float) -> Any:
        service = question.service
        self.asked_total += 1
        try:
            answer = await self._client(service).call(question.method, question.params, timeout_s=wait_s)
        except Unavailable as error:
            self.unanswered_total += 1
            self._silent_since_s[service] = time.monotonic()
            return Failure(service, SILENT_YET if self._is_young() else SILENT, error.message)
        except RpcError as error:
            self._silent_since_s.pop(service, None)
            return Failure(service, error.code, error.message)
        self._silent_since_s.pop(service, None)
        # Read while the others are still at work: an aggregator that answers twice computes the second meanwhile.
        return read_one(question, answer)

    def _is_young(self) -> bool:
        return time.monotonic() - self._made_s < STARTING_FOR_S

    def _client(self, service: str) -> AsyncRpcClient:
        if service not in self._clients:
            self._clients[service] = AsyncRpcClient(self._data.endpoint(service))
        return self._clients[service]

    def _wait_s(self, service: str, deadline_s: float) -> float:
        now_s = time.monotonic()
        left_s = max(0.01, deadline_s - now_s)
        silent = now_s - self._silent_since_s.get(service, -SILENT_FOR_S) < SILENT_FOR_S
        return min(left_s, SILENT_WAIT_S) if silent else left_s
