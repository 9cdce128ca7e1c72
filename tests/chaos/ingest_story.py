"""Ingest alone with a load: it dies at places, is started again, and in the end everything is compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from signal import SIGKILL
from typing import Any

from perfmon.paths import DataDirectory
from tests.chaos import places
from tests.chaos.acknowledged_load import Load, Moment
from tests.chaos.checker import Verdict, check_files, check_index
from tests.chaos.deadly import SHIFT_VARIABLE, command
from tests.chaos.numbered import SERIES, Pair
from tests.chaos.reliability import record
from tests.chaos.rounds import rounds
from tests.kit import ServiceProcess

#: What the fixture `start` of the tests is.
Start = Callable[..., ServiceProcess]

RATE = 12_000
#: How long a process may take until it comes to the place where it dies.
PLACE_LIMIT_S = 60.0


class IngestStory:
    """A load on a data directory, and the ingest that serves it. `environment` is that of every start."""

    def __init__(
        self,
        start: Start,
        data: DataDirectory,
        *,
        environment: Mapping[str, str] | None = None,
        series: Sequence[Pair] = SERIES,
        moment: Moment = lambda _, now_ms: now_ms,
        shift_ms: int = 0,
    ) -> None:
        self.data = data
        self.load = Load(data, RATE, series=series, moment=moment)
        self.kills = 0
        self.worst_back_s: float | None = None
        self._start = start
        self._environment = {SHIFT_VARIABLE: str(shift_ms), **(environment or {})}
        self._ingest: ServiceProcess | None = None

    @property
    def ingest(self) -> ServiceProcess:
        assert self._ingest is not None, "ingest was not started"
        return self._ingest

    def start(self, *, killed_at: float | None = None) -> ServiceProcess:
        """Start ingest and wait until it is ready; `killed_at` (monotonic seconds) is when the one before died."""
        self._ingest = self.spawn("plain", "ingest", 0, {}).wait_ready()
        if killed_at is not None:
            self.worst_back_s = max(self.worst_back_s or 0.0, time.monotonic() - killed_at)
        return self._ingest

    def spawn(self, table: str, name: str, fatal: int, environment: Mapping[str, str]) -> ServiceProcess:
        """Start ingest, and do not wait."""
        return self._start(
            "ingest", ready=False, command=command(table, name, fatal), environment={**environment, **self._environment}
        )

    def kill(self) -> None:
        self.ingest.kill()
        self.kills += 1

    def die_at(self, table: str, names: Iterable[str]) -> None:
        """Die at places, at each of their times, one start each."""
        for name in names:
            place = getattr(places, table)[name]
            for fatal in place.times[: rounds(len(place.times))]:
                self.died(self.spawn(table, name, fatal, place.environment), name)

    def died(self, doomed: ServiceProcess, name: str) -> None:
        """Wait until a process that is to kill itself did, and of nothing else."""
        code = doomed.wait_end(PLACE_LIMIT_S)
        assert code == -SIGKILL, f"{name}: ended with {code}\n{doomed.log_text()[-2000:]}"
        self.kills += 1

    def check(self, **expected: Any) -> Verdict:
        """Everything is acknowledged, then compared; the load goes on after it."""
        self.load.settle()
        self.ingest.call("flush", timeout_s=30)
        verdict = check_files(self.data, self.load, **expected)
        self.load.resume()
        return verdict

    def finish(self, *, gone: Collection[int] = (), may_overflow: bool = False) -> Verdict:
        """Everything is acknowledged, ingest stops in order; what is stored then."""
        self.load.stop()
        assert self.ingest.terminate() == 0
        verdict = check_files(self.data, self.load, gone=gone, may_overflow=may_overflow)
        check_index(self.data, verdict)
        return verdict

    def record(self, case: str, does: str, verdict: Verdict) -> None:
        """Keep the figures, then fail if anything is wrong."""
        record(case, does=does, kills=self.kills, worst_back_s=self.worst_back_s, **verdict.figures())
        verdict.assert_clean()
