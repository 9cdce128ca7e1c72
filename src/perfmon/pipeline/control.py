"""Speak to supervisord over its unix socket: states, signals, start, shutdown.

A small XML-RPC client with a time-out on every read, which supervisor's own transport lacks: a stopped supervisord must not hang
whoever asks. Knows the socket and the password, nothing of services.
"""

from __future__ import annotations

import base64
import http.client
import socket
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from perfmon.pipeline.errors import ControlError

#: How long supervisord may take for one answer; it is single-threaded but quick.
ANSWER_TIMEOUT_S: Final = 3.0
#: Fault codes of supervisor's XML-RPC interface that callers tell apart.
FAULT_BAD_NAME: Final = 10
FAULT_ALREADY_STARTED: Final = 60
FAULT_NOT_RUNNING: Final = 70


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One program as supervisord sees it; `state` is its name for it (RUNNING, BACKOFF, FATAL, …)."""

    name: str
    state: str
    pid: int
    started_s: int
    description: str


class Supervisor:
    """One supervisord. Each call raises ControlError when it cannot be reached or refuses."""

    def __init__(
        self,
        path: Path,
        *,
        username: str | None = None,
        password: str | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self.path = path
        self._proxy = xmlrpc.client.ServerProxy(
            "http://localhost/RPC2", transport=_UnixTransport(path, username, password, timeout_s)
        )

    def processes(self) -> list[ProcessInfo]:
        """All programs and event listeners."""
        found = self._call("getAllProcessInfo")
        return [
            ProcessInfo(
                name=str(item["name"]),
                state=str(item["statename"]),
                pid=int(item["pid"]),
                started_s=int(item["start"]),
                description=str(item["description"]),
            )
            for item in found
        ]

    def pid(self) -> int:
        """supervisord's own process id."""
        return int(self._call("getPID"))

    def start(self, name: str) -> None:
        """Start a program that is stopped, exited or given up on; returns without waiting for it."""
        self._call("startProcess", name, False)

    def kill(self, name: str) -> None:
        """SIGKILL a program that runs; supervisord then starts it again."""
        self._call("signalProcess", name, "KILL")

    def shutdown(self) -> None:
        """Stop all programs in the reverse of their order, then supervisord itself; returns at once."""
        self._call("shutdown")

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise ControlError(f"supervisord refused {method}: {fault.faultString}", fault.faultCode) from fault
        except (xmlrpc.client.Error, http.client.HTTPException, OSError) as error:
            raise ControlError(f"supervisord does not answer {method}: {error}") from error


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path, username: str | None, password: str | None, timeout_s: float) -> None:
        credentials = None
        if username is not None:
            credentials = base64.b64encode(f"{username}:{password or ''}".encode()).decode()
        headers = [] if credentials is None else [("Authorization", f"Basic {credentials}")]
        super().__init__(headers=headers)
        self._path = path
        self._timeout_s = timeout_s

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002 - the path names the server
        return _UnixConnection(self._path, self._timeout_s)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
