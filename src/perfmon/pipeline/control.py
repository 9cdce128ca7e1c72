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
from xml.parsers.expat import ExpatError

from perfmon.pipeline.errors import ControlError

#: How long supervisord may take for one answer; it is single-threaded but quick.
ANSWER_TIMEOUT_S: Final = 3.0
#: Largest answer that is read; eight programs take 8 KB.
MAX_ANSWER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One program as supervisord sees it; `state` is its name for it (RUNNING, BACKOFF, FATAL, …)."""

    name: str
    state: str
    pid: int
    started_s: int
    description: str


class Supervisor:
    """One supervisord, one connection a call. Each call raises ControlError when it cannot be reached or refuses."""

    def __init__(
        self,
        path: Path,
        *,
        username: str | None = None,
        password: str | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._headers = {"Content-Type": "text/xml"}
        if username is not None:
            credentials = base64.b64encode(f"{username}:{password or ''}".encode()).decode()
            self._headers["Authorization"] = f"Basic {credentials}"

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
            status, answer = self._post(xmlrpc.client.dumps(arguments, f"supervisor.{method}").encode())
            if status != http.client.OK:
                raise ControlError(f"supervisord refused {method}: HTTP {status}")
            return xmlrpc.client.loads(answer)[0][0]
        except xmlrpc.client.Fault as fault:
            raise ControlError(f"supervisord refused {method}: {fault.faultString}", fault.faultCode) from fault
        except (http.client.HTTPException, OSError, ExpatError) as error:
            raise ControlError(f"supervisord does not answer {method}: {error}") from error

    def _post(self, body: bytes) -> tuple[int, bytes]:
        connection = _UnixConnection(self.path, self._timeout_s)
        try:
            connection.request("POST", "/RPC2", body, self._headers)
            with connection.getresponse() as response:
                return response.status, response.read(MAX_ANSWER_BYTES)
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self.timeout)
            connection.connect(str(self._path))
        except OSError:
            connection.close()
            raise
        self.sock = connection
