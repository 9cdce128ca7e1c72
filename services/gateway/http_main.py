"""The HTTP gateway as a process: the shared service loop for lock, signals, parent and `ping`; uvicorn in a thread.

If it dies, clients reconnect and hooks of that moment are lost to Claude Code's own time-out; nothing acknowledged is lost.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from services.gateway.http_port import open_port
from shared.runtime import Service, main

#: How long requests under way may take once we are told to stop.
DRAIN_S: Final = 3
#: How long the thread may take to come up or to end before the loop goes on without it.
THREAD_PATIENCE_S: Final = 5.0


def start_http() -> int:
    """Run until told to stop; the exit code."""
    return main("gateway", _build)


def _build(service: Service) -> None:
    chosen = "http_port" in service.settings.model_fields_set
    listener, access = open_port(service.data, service.settings.http_port, service.log, chosen=chosen)
    service.log.info("listening", url=access.base_url)
    http = _HttpThread(service, listener, access.token)
    service.stats["http"] = http.figures
    service.serve()
    service.on_stop(http.stop)
    http.start()


class _HttpThread:
    """uvicorn and the MCP server in an event loop of their own."""

    def __init__(self, service: Service, listener: socket.socket, token: str) -> None:
        self._service = service
        self._listener = listener
        self._token = token
        self._stopping = False
        self._server: Any = None
        self._figures: Callable[[], dict[str, Any]] = dict
        # In the context of the main thread, whose log lines name the service.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=lambda: context.run(self._run), name="http", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(THREAD_PATIENCE_S)
        self._listener.close()

    def figures(self) -> dict[str, Any]:
        return self._figures()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            self._service.log.exception("http_failed")
        finally:
            if not self._stopping:
                self._service.call_soon(_ended_by_itself)

    async def _serve(self) -> None:
        import uvicorn

        from services.gateway.clients import Services
        from services.gateway.gate import OpenGate
        from services.gateway.hook_intake import HookIntake
        from services.gateway.http_app import HttpApp
        from services.gateway.http_protocol import BoundedProtocol
        from services.gateway.mcp_server import McpServer
        from services.gateway.tools import ToolContext

        services = Services(self._service.data)
        intake = HookIntake(lambda: services.writer, _now_ms)
        app = HttpApp(McpServer(ToolContext(services, _now_ms), OpenGate()).sdk, self._token, intake)
        self._figures = app.figures
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,  # hook addresses hold the token
            server_header=False,
            timeout_graceful_shutdown=DRAIN_S,
        )
        self._server = uvicorn.Server(config)
        drain = asyncio.create_task(intake.run())
        try:
            async with app.manager.run():
                self._service.call_soon(self._ready)
                if not self._stopping:
                    await self._server.serve(sockets=[self._listener])
        finally:
            drain.cancel()
            await asyncio.gather(drain, return_exceptions=True)
            await services.close()

    def _ready(self) -> None:
        self._service.ready = True


def _ended_by_itself() -> None:
    raise RuntimeError("the HTTP thread ended; see the log")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
