"""Ingest and the consumers started one by one, without supervisord, so that a test decides when each is started again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from signal import SIGKILL

from perfmon.paths import CONSUMERS
from tests.chaos.deadly import SHIFT_VARIABLE, command
from tests.kit import ServiceProcess

#: What the fixture `start` of the tests is.
Start = Callable[..., ServiceProcess]

#: How long a process may take until it comes to the place where it dies.
PLACE_LIMIT_S = 60.0


class SmallPipeline:
    """Ingest with the detector, the alerter and the aggregator. `environment` and the clock's shift are everybody's."""

    def __init__(self, start: Start, environment: Mapping[str, str] | None = None, *, shift_ms: int = 0) -> None:
        self._start = start
        self._environment = {SHIFT_VARIABLE: str(shift_ms), **(environment or {})}
        self._running: dict[str, ServiceProcess] = {}

    def start(self, *names: str) -> None:
        """Start services (all unless named) and wait until they are ready."""
        for name in names or ("ingest", *CONSUMERS):
            self._running[name] = self.spawn(name, "plain", name, 0)
        for name in names or ("ingest", *CONSUMERS):
            self._running[name].wait_ready()

    def kill(self, name: str) -> None:
        self._running[name].kill()

    def die_at(self, table: str, name: str, service: str, fatal: int) -> None:
        """Start a service that kills itself at a place, and wait until it did."""
        doomed = self.spawn(service, table, name, fatal)
        died_of_it(doomed, name)

    def terminate(self) -> None:
        """Stop in order: whoever reads the stream before ingest."""
        for name in reversed(self._running):
            assert self._running[name].terminate() == 0, f"{name}:\n{self._running[name].log_text()[-2000:]}"

    def spawn(self, service: str, table: str, name: str, fatal: int) -> ServiceProcess:
        """Start a service that kills itself at a place, and do not wait."""
        return self._start(service, ready=False, command=command(table, name, fatal), environment=self._environment)


def died_of_it(doomed: ServiceProcess, name: str) -> None:
    """Wait until a process that is to kill itself did, and of nothing else."""
    code = doomed.wait_end(PLACE_LIMIT_S)
    assert code == -SIGKILL, f"{name}: ended with {code}\n{doomed.log_text()[-2000:]}"
