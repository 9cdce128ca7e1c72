"""Which events tell of which faults: what was found, how soon, what was missed, what was false.

An event explains itself by a fault when it concerns an affected series and metric, overlaps the fault and is first reported from
its start on. For recall it must be reported before the fault's end (and GRACE_MS); one that comes later, within the fault's echo
(as long as the fault, ECHO_MS at most), tells of its end and is neither found in time nor false.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from bench.detection.drive import Sighting
from bench.detection.faults import Fault
from services.detector.core.metrics import MINUTE_MS

#: A report that late still counts as one of the fault.
GRACE_MS: Final = 10 * MINUTE_MS
#: For so long after a fault its end may be told of; at least, and at most.
ECHO_MS: Final = (60 * MINUTE_MS, 6 * 60 * MINUTE_MS)


@dataclass(slots=True)
class Outcome:
    """What became of a fault: all events that tell of it, and when the first was reported (None: missed)."""

    fault: Fault
    found_ms: int | None = None
    sightings: list[Sighting] = field(default_factory=list)

    @property
    def delay_s(self) -> float | None:
        """Seconds from its start to the first report."""
        return None if self.found_ms is None else max(0, self.found_ms - self.fault.start_ms) / 1000


@dataclass(slots=True)
class Matched:
    """All faults with their events, and the events that tell of none. `explained` counts events."""

    outcomes: list[Outcome]
    explained: int
    false: list[Sighting]

    @property
    def precision(self) -> float:
        """Share of events that tell of a fault; 1 for no event."""
        events = self.explained + len(self.false)
        return self.explained / events if events else 1.0

    def classes(self) -> dict[str, list[Outcome]]:
        """Outcomes by class of fault."""
        found: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            found.setdefault(outcome.fault.name, []).append(outcome)
        return found


def recall(outcomes: Sequence[Outcome]) -> float:
    """Share of faults found; 1 for none."""
    return sum(outcome.found_ms is not None for outcome in outcomes) / len(outcomes) if outcomes else 1.0


def median_delay_s(outcomes: Iterable[Outcome]) -> float | None:
    """Median over the faults that were found."""
    delays = [delay for outcome in outcomes if (delay := outcome.delay_s) is not None]
    return median(delays) if delays else None


def match(faults: Sequence[Fault], sightings: Iterable[Sighting], level: int, since_ms: int = 0) -> Matched:
    """Judge the events reported at a level from `since_ms` on."""
    outcomes = [Outcome(fault) for fault in faults]
    by_server: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_server.setdefault(outcome.fault.server, []).append(outcome)
    explained, false = 0, list[Sighting]()
    for sighting in sightings:
        found_ms = sighting.found_ms.get(level)
        if found_ms is None or found_ms < since_ms:
            continue
        told = [o for o in by_server.get(sighting.event.server, ()) if tells(sighting, o.fault, found_ms)]
        for outcome in told:
            outcome.sightings.append(sighting)
            if found_ms <= outcome.fault.end_ms + GRACE_MS:
                outcome.found_ms = found_ms if outcome.found_ms is None else min(outcome.found_ms, found_ms)
        explained += bool(told)
        if not told:
            false.append(sighting)
    return Matched(outcomes, explained, false)


def tells(sighting: Sighting, fault: Fault, found_ms: int) -> bool:
    """Whether an event reported at `found_ms` is about a fault or its end."""
    event = sighting.event
    if not fault.concerns(event.server, event.tool) or event.metric not in fault.kind.metrics:
        return False
    echo_ms = min(max(fault.end_ms - fault.start_ms, ECHO_MS[0]), ECHO_MS[1])
    until_ms = fault.end_ms + echo_ms
    return fault.start_ms <= found_ms <= until_ms and event.overlaps(fault.start_ms, until_ms)
