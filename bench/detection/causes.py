"""Whether the likely cause of an incident is the true one: faults that spread, with a known beginning, through the real detector.

Each case is a few tools with hours of history, then one fault: of everything that a server or several share, or of one tool from
which it spreads to others minutes later. What ranks first among the candidates of the incident is compared with the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from bench.detection.calls import Step, steps
from bench.detection.drive import Drive
from bench.detection.minutes import HOUR, START_MS, Minutes, healthy
from bench.detection.tools import Component, Tool, fleet
from bench.figures import Result
from bench.options import Options
from services.detector.core.events import Event
from services.detector.core.incidents.candidates import Cause
from services.detector.core.incidents.causes import likely, rank
from services.detector.core.metrics import (
    ERROR_RATE_SPIKE,
    MINUTE_MS,
    RESOURCE_LEAK,
    RESOURCE_SPIKE,
    RESPONSE_TIME,
    THROUGHPUT_CHANGE,
)
from services.detector.core.telling.words import quoted
from shared.batch import Batch

#: History before the fault, and how long it lasts, minutes; cases of each kind in a run.
HISTORY, LASTS = 8 * HOUR, 45
CASES: Final = 10
QUICK_CASES: Final = 2
#: Cases are numbered from here on: those below were looked at when the ranking was made.
FIRST_SEED: Final = 101
#: Calls a minute of each tool, from and to.
_PACE: Final = (4.0, 15.0)
#: Tools of the server, or servers (of two tools each) where several have something in common.
_TOOLS, _SERVERS = 5, 5
_USUAL_MESSAGE: Final = "nothing found for id {n}"
_NEW_MESSAGE: Final = "connection to 10.0.0.{n} refused"


class Truth(NamedTuple):
    """What the cause is: the kinds of candidates that say so, and the tool that they must name, if it began in one."""

    kinds: tuple[str, ...]
    tool: str = ""


@dataclass(slots=True)
class Case:
    """Tools, what is true of them, when it goes wrong. saying: rows whose failures have a new message, from which minute on."""

    rng: np.random.Generator
    tools: list[Tool]
    minutes: Minutes
    saying: dict[int, int]

    def lag(self, least: int, most: int) -> slice:
        """The minutes of a fault that begins so many minutes late."""
        return slice(HISTORY + int(self.rng.integers(least, most + 1)), None)

    def others(self, least: int, most: int) -> list[int]:
        """So many of the tools but the first."""
        rows = self.rng.permutation(np.arange(1, len(self.tools)))
        return [int(row) for row in rows[: int(self.rng.integers(least, most + 1))]]

    def slow(self, rows: Sequence[int], least: int, most: int, times: float = 4.0) -> None:
        """Their latency rises, each after a lag of its own."""
        for row in rows:
            self.minutes.latency[row, self.lag(least, most)] += np.log(times)

    def fail(self, rows: Sequence[int], least: int, most: int, *, share: float = 0.6, new: bool = False) -> None:
        """They fail, each after a lag of its own."""
        for row in rows:
            span = self.lag(least, most)
            self.minutes.failing[row, span] = share
            if new:
                self.saying[row] = span.start


def _server_wide(case: Case) -> Truth:
    rows = range(len(case.tools))
    case.slow(rows, 0, 1)
    case.fail(rows, 0, 1, share=0.3)
    return Truth(("server", "message"))


def _dependency(case: Case) -> Truth:
    """Some tools of a server fail alike, for what they call is gone."""
    case.fail([0, *case.others(1, 3)], 0, 6, new=True)
    return Truth(("message",))


def _several_servers(case: Case) -> Truth:
    rows = range(0, len(case.tools), 2)
    case.fail(rows, 0, 2, new=True)
    return Truth(("shared",))


def _memory(case: Case) -> Truth:
    case.minutes.memory[0, HISTORY:] *= 2.0
    _spreads(case)
    return Truth((RESOURCE_SPIKE, RESOURCE_LEAK, "memory"), case.tools[0].key.tool)


def _cpu(case: Case) -> Truth:
    case.minutes.cpu[0, HISTORY:] = 92.0
    _spreads(case)
    return Truth((RESOURCE_SPIKE, "cpu"), case.tools[0].key.tool)


def _load(case: Case) -> Truth:
    case.minutes.rate[0, HISTORY:] *= 12.0
    _spreads(case)
    return Truth((THROUGHPUT_CHANGE, "calls_per_minute"), case.tools[0].key.tool)


def _first_failing(case: Case) -> Truth:
    """One tool fails, and those that wait for it become slow."""
    case.fail([0], 0, 0, new=True)
    case.slow(case.others(2, 4), 4, 9)
    return Truth((ERROR_RATE_SPIKE,), case.tools[0].key.tool)


def _spreads(case: Case) -> None:
    """The tool itself becomes slow minutes later, then others."""
    case.slow([0], 4, 8)
    case.slow(case.others(2, 4), 6, 12, 3.0)


Kind = Callable[[Case], Truth]
#: What goes wrong, by what the tables call it; those of several servers have their own fleet.
KINDS: Final[dict[str, Kind]] = {
    "a server's machine": _server_wide,
    "what some tools call": _dependency,
    "what some servers call": _several_servers,
    "memory of a tool": _memory,
    "cpu of a tool": _cpu,
    "load on a tool": _load,
    "failures of a tool": _first_failing,
}


class Answer(NamedTuple):
    """Whether an incident was found, whether the true cause ranks first, and whether a cause was named: True if it was right."""

    found: bool
    first: bool
    named: bool | None
    ranked: list[Cause]


def run(options: Options, first_seed: int = FIRST_SEED) -> list[Result]:
    """The table."""
    cases = QUICK_CASES if options.quick else CASES * max(1, options.runs)
    result = Result("detection: causes", "true causes that rank first among an incident's candidates", "nothing", cases)
    result.notes += [
        "first: the true cause ranks first, % of all; named: a cause stands out, % of all; right: the true one, % of the named",
        f"tools of {_PACE[0]:g} to {_PACE[1]:g} calls a minute, known for {HISTORY // HOUR} h; faults spread within 12 min",
    ]
    found = {
        what: [judge(kind, seed) for seed in range(first_seed, first_seed + cases)] for what, kind in KINDS.items()
    }
    for what, answers in (*found.items(), ("all", [one for some in found.values() for one in some])):
        result.add(what, cases=len(answers), **shares(answers))
    return [result]


def shares(answers: Sequence[Answer]) -> dict[str, float]:
    """found, first, named and right in %."""
    named = [one.named for one in answers if one.named is not None]
    return {
        "found": 100.0 * sum(one.found for one in answers) / len(answers),
        "first": 100.0 * sum(one.first for one in answers) / len(answers),
        "named": 100.0 * len(named) / len(answers),
        "right": 100.0 * sum(named) / len(named) if named else 0.0,
    }


def judge(kind: Kind, seed: int) -> Answer:
    """One case through the detector; the incident is the largest that began with the fault."""
    case = make(seed, several=kind is _several_servers)
    truth = kind(case)
    drive = Drive()
    drive.run(_said(case))
    began_ms = START_MS + HISTORY * MINUTE_MS
    watch = drive.watch
    names = {str(e.incident.get("id")) for e in watch.book.events.values() if e.stored and e.start_ms > began_ms - HOUR}
    groups = [[e for e in watch.incidents.members(name) if e.last_ms > began_ms] for name in sorted(names)]
    members = max(groups, key=len, default=[])
    if not members:
        return Answer(found=False, first=False, named=None, ranked=[])
    ranked, by_id = rank(members), {event.id: event for event in members}
    stands_out = likely(ranked)
    return Answer(
        found=True,
        first=bool(ranked) and is_true(ranked[0], truth, by_id),
        named=None if stands_out is None else is_true(stands_out, truth, by_id),
        ranked=ranked,
    )


def is_true(cause: Cause, truth: Truth, members: dict[str, Event]) -> bool:
    """Whether a candidate is the true cause."""
    if cause.kind not in truth.kinds:
        return False
    if not truth.tool or cause.anomaly:
        return not truth.tool or members[cause.anomaly].tool == truth.tool
    return f"of {quoted(truth.tool)} rose" in cause.sentence


def make(seed: int, *, several: bool = False) -> Case:
    """Tools that are called often enough for minutes to tell, and hours of their history without a fault."""
    rng = np.random.default_rng([seed, 7])
    drawn = fleet(rng, _SERVERS, 2) if several else fleet(rng, 1, _TOOLS)
    tools = [
        replace(
            tool,
            per_minute=float(rng.uniform(*_PACE)),
            day_swing=0.0,
            bursts=max(tool.bursts, 16.0),
            cold_times=1.0,
            measured=True,
            latency_swing=0.0,
            cpu=8.0,
            mixture=tool.mixture if tool.median_ms >= 3 * RESPONSE_TIME.margin_excess else _slower(tool),
        )
        for tool in drawn
    ]
    return Case(rng, tools, healthy(rng, tools, HISTORY + LASTS), {})


def _slower(tool: Tool) -> tuple[Component, ...]:
    """Its mixture, with a median that a fault can be seen of."""
    by = float(np.log(3 * RESPONSE_TIME.margin_excess / tool.median_ms))
    return tuple(part._replace(centre=part.centre + by) for part in tool.mixture)


def _said(case: Case) -> Iterator[Step]:
    """The calls, those that failed with what they said."""
    for step in steps(case.rng, case.tools, case.minutes):
        yield step._replace(batch=replace(step.batch, errors=_messages(case, step.batch)))


def _messages(case: Case, batch: Batch) -> dict[int, str]:
    found = {}
    for row in np.flatnonzero(batch.ok == 0).tolist():
        since = case.saying.get(int(batch.codes[row]))
        is_new = since is not None and batch.ts[row] >= START_MS + since * MINUTE_MS
        found[row] = (_NEW_MESSAGE if is_new else _USUAL_MESSAGE).format(n=row)
    return found
