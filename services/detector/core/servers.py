"""Servers: the test over the failures of all tools of one together, and whether what it finds is an event of its own.

An event of a server says what no tool's own test explains: many tools fail a little, or many quiet ones at the same time. So it
waits a minute for the tools' own tests, leaves out the tools that have an event, begins anew when one gets one, and asks for
failures in more than one tool. Owns the rows, their identity and that decision; `kernels.server_errors` counts,
`server_events` makes events of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels import error_mixture, judge, server_errors
from services.detector.core.kernels.error_events import end_if_silent
from services.detector.core.metrics import MINUTE_MS
from services.detector.core.reach import Reach
from services.detector.core.state.series import SeriesState, has_event
from shared.batch import Batch

#: Failures that tools other than the one with most must have, and how many tools must fail more than usual.
MIN_OTHERS: Final = 2
MIN_TOOLS: Final = 2
#: Times the failures to be expected from which a tool fails more than usual.
MORE_THAN_USUAL: Final = 2.0
_OUT_ROWS: Final = 16
_FIRST_ROWS: Final = 4


class Failing(NamedTuple):
    """A tool of a server during an event: its calls, the failures among them, and those to be expected."""

    tool: str
    calls: int
    failures: int
    expected: float


class Turn(NamedTuple):
    """An event of a server opened, rose a level or closed: `kind` and `row` are those of the kernel; `tools`: those that fail
    more than usual, most failures first.
    """

    server: str
    kind: float
    row: NDArray[np.float64]
    tools: tuple[Failing, ...]


class Servers:
    """A row a server. `tools_of` gives the watched series of a server."""

    def __init__(self, tools_of: Callable[[str], Iterable[SeriesState]]) -> None:
        self.rows: NDArray[np.float64] = np.zeros((_FIRST_ROWS, server_errors.SIZE))
        self.numbers: dict[str, int] = {}
        #: Servers whose rows changed since the last save, and those that went.
        self.dirty: set[str] = set()
        self.gone: set[str] = set()
        self._names: dict[int, str] = {}
        self._free: list[int] = list(range(_FIRST_ROWS))[::-1]
        self._tools_of = tools_of
        self._turns: list[Turn] = []
        self._out = np.zeros((_OUT_ROWS, server_errors.HAPPENING))

    def adopt(self, server: str, row: NDArray[np.float64]) -> None:
        """Put a restored row in its place."""
        number = self._number(server)  # may give `rows` another array
        self.rows[number] = row

    def judge(
        self,
        batch: Batch,
        series: Sequence[SeriesState | None],
        rates: NDArray[np.float64],
        busy: NDArray[np.uint8],
        *,
        at_once: bool = False,
    ) -> None:
        """Judge the calls of a batch that its tools have absorbed. By code `series`, the usual `rates` before, and whether there
        was an event of the tool's own then (`busy`). Whether it is an event is asked when a minute is over and all its calls are
        known, however they came in batches; or `at_once`, where they are known already.
        """
        place = np.full(len(series), -1, np.int64)
        for code, each in enumerate(series):
            if each is not None:
                place[code] = self._number(each.key.server)
        touched = {each.key.server for each in series if each is not None}
        self.dirty |= touched
        codes, ts, ok = _own(batch.codes), _own(batch.ts), _own(batch.ok)
        row = 0
        while row < len(ts):
            found, row = server_errors.judge_servers(codes, ts, ok, place, rates, busy, self.rows, self._out, row)
            for happening in self._out[:found]:
                if at_once or happening[1] != server_errors.ASKED:
                    self._take(int(happening[0]), float(happening[1]), happening[2:].copy())

    def explained(self, server: str) -> None:
        """A tool of the server has an event of its own."""
        if server in self.numbers:
            server_errors.explained(self.rows[self.numbers[server]])

    def tick(self, now_ms: int, reach: Reach) -> None:
        """By the clock, as far as the stream has come: close what was not heard of for long, open what has waited long enough."""
        for server, number in self.numbers.items():
            row = self.rows[number]
            if row[error_mixture.PHASE] == judge.OPEN:
                kind = end_if_silent(row, float(reach.of(server, -1, now_ms)))
                if kind:
                    self._take(number, kind, row.copy())
            elif (
                0
                < row[server_errors.ENOUGH_SINCE]
                <= (reach.of(server, int(row[error_mixture.NEWEST]), now_ms) - server_errors.PATIENCE_MS)
            ):
                self._ask(server, number)

    def take(self) -> list[Turn]:
        """What happened since the last time."""
        turns, self._turns = self._turns, []
        return turns

    def row_of(self, server: str, start_ms: int) -> NDArray[np.float64] | None:
        """The row of an event while it is under way."""
        row = self.rows[self.numbers[server]] if server in self.numbers else None
        is_it = row is not None and row[error_mixture.PHASE] == judge.OPEN and int(row[error_mixture.START]) == start_ms
        return row if is_it else None

    def failing(self, server: str, start_ms: int) -> tuple[Failing, ...]:
        """The tools of a server that fail more than usual since a time, most failures first."""
        tools = (_failing(series, start_ms) for series in self._tools_of(server))
        more = (tool for tool in tools if tool.failures and tool.failures > MORE_THAN_USUAL * tool.expected)
        return tuple(sorted(more, key=lambda tool: (-tool.failures, tool.tool)))

    def forget(self, server: str) -> None:
        """The server's last tool went."""
        number = self.numbers.pop(server, None)
        if number is not None:
            del self._names[number]
            self.rows[number] = 0.0
            self._free.append(number)
            self.dirty.discard(server)
            self.gone.add(server)

    def _take(self, number: int, kind: float, row: NDArray[np.float64]) -> None:
        server = self._names[number]
        self.dirty.add(server)
        if kind == server_errors.ASKED:
            self._ask(server, number)
        else:
            self._turns.append(Turn(server, kind, row, self.failing(server, int(row[error_mixture.START]))))

    def _ask(self, server: str, number: int) -> None:
        """Open an event if it is one; else it is asked again when more fails."""
        row = self.rows[number]
        since_ms = int(
            min(row[error_mixture.SLOW + error_mixture.SINCE], row[error_mixture.FAST + error_mixture.SINCE])
        )
        # Those that have an event of their own are no evidence.
        busy = {series.key.tool for series in self._tools_of(server) if has_event(series.run)}
        tools = tuple(tool for tool in self.failing(server, since_ms) if tool.tool not in busy)
        others = sum(tool.failures for tool in tools[1:])
        if len(tools) >= MIN_TOOLS and others >= MIN_OTHERS and server_errors.open_event(row):
            self._turns.append(Turn(server, judge.OPENED, row.copy(), tools))
        row[server_errors.ENOUGH_SINCE] = 0.0
        self.dirty.add(server)

    def _number(self, server: str) -> int:
        number = self.numbers.get(server)
        if number is None:
            if not self._free:
                size = len(self.rows)
                self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])
                self._free = list(range(size, 2 * size))[::-1]
            number = self.numbers[server] = self._free.pop()
            self._names[number] = server
            self.gone.discard(server)
        return number


def _failing(series: SeriesState, start_ms: int) -> Failing:
    rows = series.minutes.between(start_ms // MINUTE_MS, series.newest_ts // MINUTE_MS)
    calls, failures = float(series.moments[rows, 0, 0].sum()), int(series.failures[rows].sum())
    return Failing(series.key.tool, int(calls), failures, calls * float(series.run[error_mixture.USUAL]))


def _own(column: NDArray[Any]) -> NDArray[Any]:
    return column if column.flags.carray else column.copy()
