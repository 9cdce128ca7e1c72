"""The services behind the gateway, over ZeroMQ: a query client each, and the writer to the ingest.

A service that does not answer is told from one that is busy: `ping` is answered while a slow query runs, so a query that takes
long is waited for only while its service answers pings. Sockets are made when they are first used.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final

import zmq

from perfmon.paths import DataDirectory
from perfmon.pipeline.ask import endpoint
from perfmon.rpc import AsyncRpcClient, RpcError, Unavailable, new_request_id
from services.gateway.ingest_writer import IngestWriter
from services.gateway.tools.spec import Stored

#: After how long a query's service is pinged, and how long it then has. Together below the 2 s in which a tool must answer.
QUICK_S: Final = 1.0
PING_S: Final = 0.7
#: How long a query may take while its service answers pings, unless its tool says otherwise.
PATIENCE_S: Final = 5.0


class Services:
    """The pipeline on a data directory, as a gateway uses it; lives in one event loop."""

    def __init__(self, data: DataDirectory) -> None:
        self._data = data
        #: By endpoint.
        self._clients: dict[str, AsyncRpcClient] = {}
        self._writer: IngestWriter | None = None
        self._context: zmq.Context[Any] | None = None

    @property
    def after_seq(self) -> int | None:
        """The last journal entry that a write of ours went into."""
        return None if self._writer is None else self._writer.fresh_entry

    @property
    def writer(self) -> IngestWriter:
        """The one writer to the ingest."""
        if self._writer is None:
            self._context = zmq.Context()
            self._writer = IngestWriter(self._data.endpoint("ingest.write"), self._context)
        return self._writer

    async def ask(
        self,
        service: str,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        patience_s: float = PATIENCE_S,
        mutation: bool = False,
    ) -> Any:
        """A service's result; a mutation whose answer was lost is asked for again under the same id, and done once.

        Raises: Unavailable when the service does not answer, RpcError when it refuses.
        """
        client = self._client(service)
        request_id = new_request_id()
        asked = asyncio.ensure_future(client.call(method, params, timeout_s=patience_s, request_id=request_id))
        try:
            done, _ = await asyncio.wait({asked}, timeout=QUICK_S)
            if not done and not await _answers(client):
                raise Unavailable(client.endpoint, method, QUICK_S + PING_S)
            return await asked
        except Unavailable:
            if not mutation or not asked.done():
                raise
        finally:
            await _dropped(asked)
        return await client.call(method, params, timeout_s=PING_S, request_id=request_id)

    async def store(self, row: Mapping[str, Any]) -> Stored:
        """Store one metric.

        Raises: Unavailable when ingest did not acknowledge in time; RpcError with the reason as code when it refused.
        """
        ack = await self.writer.write([row])
        if ack.rejected and not ack.stored:
            reason = ack.rejected[0][1]
            raise RpcError(reason, reason.replace("_", " "))
        return Stored(ack.epoch, ack.entry, ack.first_row, duplicate=not ack.stored and ack.duplicates > 0)

    async def alive(self, who: str) -> bool:
        """Whether the ingest answers; it then also knows that a gateway is here."""
        try:
            await self._client("ingest").call("hello", {"who": who}, timeout_s=QUICK_S)
        except Unavailable:
            return False
        except RpcError:
            return True  # it answered
        return True

    async def ready(self, service: str) -> bool:
        """Whether a service answers and says that it is ready."""
        try:
            answer = await self._client(service).call("ping", timeout_s=PING_S)
        except RpcError:
            return False
        return isinstance(answer, dict) and answer.get("ready") is True

    async def close(self) -> None:
        """Let go of all sockets; idempotent."""
        for client in self._clients.values():
            await client.close()
        self._clients.clear()
        if self._writer is not None:
            self._writer.close()
        if self._context is not None:
            self._context.destroy(linger=0)

    def _client(self, service: str) -> AsyncRpcClient:
        # An ingest that starts after us may have a socket for requests that was not there before.
        at = endpoint(self._data, service)
        if at not in self._clients:
            self._clients[at] = AsyncRpcClient(at)
        return self._clients[at]


async def _answers(client: AsyncRpcClient) -> bool:
    try:
        await client.call("ping", timeout_s=PING_S)
    except Unavailable:
        return False
    return True


async def _dropped(task: asyncio.Future[Any]) -> None:
    if not task.done():
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError, RpcError):
        await task
