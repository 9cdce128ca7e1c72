"""A service as a child process on a data directory of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from perfmon.paths import DATA_DIRECTORY_VARIABLE, DataDirectory
from perfmon.rpc import RpcClient
from tests.kit.waiting import eventually

CHECKOUT = Path(__file__).parents[2]


def service_environment(data: DataDirectory, **extra: str) -> dict[str, str]:
    """The environment of a service: the data directory, and a home of its own so that no user's config is read."""
    home = data.root.parent / "home"
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PERFMON_", "XDG_"))}
    return {
        **kept,
        "HOME": str(home),
        DATA_DIRECTORY_VARIABLE: str(data.root),
        "PYTHONPATH": f"{CHECKOUT / 'src'}{os.pathsep}{CHECKOUT}",
        **extra,
    }


class ServiceProcess:
    """One service, started as supervisord would. `log` is where its stderr goes.

    `command` replaces `python -m services.NAME`; `environment` adds PERFMON_… settings; the rest goes to Popen.
    The kernel ends it when the thread that started it ends: start it from the test's own thread.
    """

    def __init__(
        self,
        name: str,
        data: DataDirectory,
        *,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        **popen: Any,
    ) -> None:
        self.name = name
        self.data = data
        self.endpoint = data.endpoint("ingest.write" if name == "ingest" else name)
        self.log = data.root.parent / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, *(command or (sys.executable, "-m", f"services.{name}"))],
                cwd=CHECKOUT,
                env=service_environment(data, **(environment or {})),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **popen,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def call(self, method: str, params: Mapping[str, Any] | None = None, *, timeout_s: float = 5.0) -> Any:
        """Ask it over its socket."""
        with RpcClient(self.endpoint, timeout_s=timeout_s) as client:
            return client.call(method, params)

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call("stats")
        return found

    def wait_ready(self, timeout_s: float = 60.0) -> ServiceProcess:
        """Ready by its own word, and it is this process that answers."""

        def answered() -> bool:
            assert self.process.poll() is None, f"{self.name} ended with {self.process.poll()}:\n{self.log_text()}"
            found = self.call("ping", timeout_s=0.5)
            return bool(found["ready"]) and found["pid"] == self.pid

        try:
            eventually(answered, f"{self.name} is ready", timeout_s=timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_text()}") from error
        return self

    def eventually(self, condition: Callable[[dict[str, Any]], Any], what: str = "", *, timeout_s: float = 20.0) -> Any:
        """Wait until its `stats` satisfy a condition."""
        return eventually(lambda: condition(self.stats()), what, timeout_s=timeout_s)

    def kill(self) -> None:
        """kill -9, and wait for its end."""
        self.process.kill()
        self.process.wait(10)

    def terminate(self, timeout_s: float = 30.0) -> int:
        """SIGTERM; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def wait_end(self, timeout_s: float = 20.0) -> int:
        """Its exit code once it ended by itself."""
        return self.process.wait(timeout_s)

    def clean_up(self) -> None:
        """End it, however it stands."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(10)
