"""Ingest's end of the gate: refuses a port without keys, starts the gate, starts it again when it ended, stops it.

Nothing of the network is in this process: the gate (`services.ingest.gate`) is a child that speaks to `ingest.write` like any
producer. It dies with ingest.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any, Final

from perfmon.keys import BadKeys, key_ring
from shared.runtime.service import Service
from shared.settings import SettingsError

OFF: Final = "off"
#: How often the gate is looked at, and the least time between two starts of one that keeps ending.
LOOK_S: Final = 1.0
RESTART_S: Final = 5.0
#: How long it may take to stop.
STOP_S: Final = 5.0


class Remote:
    """The gate, when `ingest_tcp` is set.

    Raises: SettingsError without a server's key pair: there is no TCP without CURVE, not even on loopback, where other users of
    this machine can connect.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._endpoint = service.settings.ingest_tcp
        self._gate: subprocess.Popen[bytes] | None = None
        self._started_at = float("-inf")
        self.starts_total = 0
        if self._endpoint == OFF:
            return
        try:
            key_ring().server()
        except (BadKeys, OSError) as error:
            raise SettingsError(f"setting ingest_tcp is {self._endpoint}, which needs keys; {error}") from error

    def start(self) -> None:
        """Start the gate if there is to be one. Call it when ingest is bound: what is added last is stopped first."""
        self._service.stats["remote"] = self._figures
        if self._endpoint == OFF:
            return
        self._service.on_stop(self._stop)
        self._service.every(LOOK_S, self._look_after)
        self._look_after()

    def _look_after(self) -> None:
        now = time.monotonic()
        if self._gate is not None and self._gate.poll() is not None:
            self._service.log.error("gate_ended", code=self._gate.returncode)
            self._gate = None
        if self._gate is None and now - self._started_at >= RESTART_S:
            self._started_at = now
            self.starts_total += 1
            self._gate = subprocess.Popen([sys.executable, "-m", "services.ingest.gate"], stdin=subprocess.DEVNULL)

    def _stop(self) -> None:
        if self._gate is None:
            return
        self._gate.terminate()
        try:
            self._gate.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._gate.kill()
            self._gate.wait(STOP_S)

    def _figures(self) -> dict[str, Any]:
        pid = None if self._gate is None else self._gate.pid
        return {"endpoint": self._endpoint, "gatePid": pid, "starts_total": self.starts_total}
