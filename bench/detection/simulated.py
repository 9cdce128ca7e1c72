"""Simulated tool calls with known faults through the real detector: recall, delay and precision, what was missed, what was false.

Each run is another fleet (its seed is the run's number); the tables are over all runs together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.detection.drive import Drive
from bench.detection.faults import BURST, CLASSES, FEWEST_CALLS, LEAK, SERVER_WIDE, SHIFT, SPIKE, Class, describe
from bench.detection.matching import Matched, Outcome, match, median_delay_s, recall
from bench.detection.met import Met
from bench.detection.minutes import START_MS
from bench.detection.named import ASKED_MS, NAMED, Asked
from bench.detection.scenario import Scenario, scenario
from bench.figures import Figure, Result
from bench.options import Options
from services.detector.core.events import Event
from services.detector.core.metrics import LEVELS, MINUTE_MS, SENSITIVITIES
from shared.timespan import HOUR_MS, iso

#: The faults that medium must find: least size of a kind, or (leaks) most hours to double.
_REQUIRED: Final = {SPIKE: 4.0, SHIFT: 1.5, BURST: 10.0}
_REQUIRED_LEAK_HOURS: Final = 6.0
REQUIRED: Final = "required"
#: Rows of the lists of what was missed and what was false.
LISTED: Final = 40
#: A quick look: servers, tools of each, days.
QUICK: Final = {"servers": 4, "tools": 4, "days": 6.0}


@dataclass(frozen=True, slots=True)
class Judged:
    """One fleet with what the detector made of it, by level, what the named methods answered, and how many faults met too few
    calls to be judged.
    """

    truth: Scenario
    levels: dict[int, Matched]
    named: dict[tuple[str, str], Matched]
    unmet: int


def run(options: Options, first_seed: int = 1) -> list[Result]:
    """All tables."""
    fleet = QUICK if options.quick else {}
    judged = [judge(scenario(seed, **fleet)) for seed in range(first_seed, first_seed + options.runs)]  # type: ignore[arg-type]  # keywords by name
    return [_recalls(judged), _precisions(judged), _named(judged), _missed(judged), _false(judged)]


def judge(truth: Scenario) -> Judged:
    """Drive the detector through a fleet's calls."""
    drive, asked, met = Drive(), Asked(truth.since_ms), Met(truth.faults)
    drive.run(met.count(truth.steps()), asked)
    since_ms = truth.since_ms
    seen = list(drive.sightings.values())
    levels = {level: match(truth.faults, seen, level, since_ms) for level in LEVELS.values()}
    named = {key: match(truth.faults, found, LEVELS[key[1]], since_ms) for key, found in asked.found.items()}
    for matched in (*levels.values(), *named.values()):
        matched.outcomes = [outcome for outcome in matched.outcomes if met.enough(outcome.fault)]
    return Judged(truth, levels, named, sum(not met.enough(fault) for fault in truth.faults))


def is_required(kind: Class) -> bool:
    """Whether medium must find faults of a class."""
    if kind.kind == LEAK:
        return kind.size <= _REQUIRED_LEAK_HOURS
    return kind.size >= _REQUIRED.get(kind.kind, float("inf"))


def _recalls(judged: Sequence[Judged]) -> Result:
    result = Result("detection: recall", "faults found while they last, auto, by sensitivity", "nothing", len(judged))
    result.notes += [
        "required: spikes >= 4x, shifts >= 1.5x, bursts >= 10 %, leaks doubling in 6 h or less",
        "delay: median minutes from a fault's start to the first report; calls: of the tool until then, medium",
        "events: that tell of a fault that was found, medium",
        f"left out: {sum(one.unmet for one in judged)} faults that met fewer than {FEWEST_CALLS} calls",
    ]
    outcomes = {level: [o for one in judged for o in one.levels[level].outcomes] for level in LEVELS.values()}
    calls = {id(o): _calls(one.truth, o) for one in judged for o in one.levels[LEVELS["medium"]].outcomes}
    kinds = dict.fromkeys((*CLASSES, SERVER_WIDE))
    result.figures.append(_recall_row(REQUIRED, outcomes, calls, [kind for kind in kinds if is_required(kind)]))
    for kind in kinds:
        row = _recall_row(kind.name, outcomes, calls, [kind])
        if row.values["faults"]:
            result.figures.append(row)
    return result


def _calls(truth: Scenario, outcome: Outcome) -> float | None:
    """The tool's calls from a fault's start to its first report, from the truth; None without."""
    fault, found_ms = outcome.fault, outcome.found_ms
    if found_ms is None or not fault.tool:
        return None
    row = next(row for row, tool in enumerate(truth.tools) if tool.key == (fault.server, fault.tool))
    first, last = ((ms - START_MS) // MINUTE_MS for ms in (fault.start_ms, found_ms))
    return float(truth.minutes.rate[row, first:last].sum())


def _recall_row(
    what: str, outcomes: dict[int, list[Outcome]], calls: dict[int, float | None], kinds: Iterable[Class]
) -> Figure:
    chosen = set(kinds)
    of = {level: [o for o in listed if o.fault.kind in chosen] for level, listed in outcomes.items()}
    values: dict[str, float | int | str] = {"faults": len(of[1])}
    for name in reversed(SENSITIVITIES):
        delay_s = median_delay_s(of[LEVELS[name]])
        values[name] = round(recall(of[LEVELS[name]]), 3)
        values[f"{name}: delay min"] = "" if delay_s is None else round(delay_s / 60, 1)
    waited = [waited for o in of[LEVELS["medium"]] if (waited := calls[id(o)]) is not None]
    values["calls"] = round(median(waited), 1) if waited else ""
    found = [len(o.sightings) for o in of[LEVELS["medium"]] if o.found_ms is not None]
    values["events"] = round(sum(found) / len(found), 2) if found else ""
    return Figure(what, values)


def _precisions(judged: Sequence[Judged]) -> Result:
    result = Result("detection: precision", "events that tell of a fault, of all events, auto", "nothing", len(judged))
    days = sum(one.truth.watched_days for one in judged)
    control = sum(one.truth.watched_days * _control_share(one.truth) for one in judged)
    result.notes.append(
        f"{days:,.0f} tool-days, {control:,.0f} of them on servers without faults; a week: false events a tool-week"
    )
    for name in reversed(SENSITIVITIES):
        matched = [one.levels[LEVELS[name]] for one in judged]
        explained, false = sum(m.explained for m in matched), [s for m in matched for s in m.false]
        undisturbed = sum(
            s.event.server in one.truth.control for one, m in zip(judged, matched, strict=True) for s in m.false
        )
        by_type = Counter(s.event.metric for s in false)
        result.add(
            name,
            precision=round(explained / max(explained + len(false), 1), 3),
            events=explained + len(false),
            false=len(false),
            **{
                "a week": round(7 * len(false) / days, 3),
                "a week, no faults": round(7 * undisturbed / max(control, 1), 3),
            },
            **{f"false: {metric}": by_type[metric] for metric in METRIC_NAMES},
        )
    return result


#: Metrics of events, as false ones are counted.
METRIC_NAMES: Final = ("response_time", "error_rate", "cpu", "memory", "disk_io", "calls")


def _control_share(truth: Scenario) -> float:
    return sum(tool.key.server in truth.control for tool in truth.tools) / len(truth.tools)


def _named(judged: Sequence[Judged]) -> Result:
    hours = ASKED_MS // 3_600_000
    measured = f"the named methods, asked every {hours} hours about the last {hours}; auto beside them"
    result = Result("detection: methods", measured, "nothing", len(judged))
    for name in reversed(SENSITIVITIES):
        result.figures.append(_method_row(f"auto, {name}", [one.levels[LEVELS[name]] for one in judged]))
    for method in NAMED:
        for name in reversed(SENSITIVITIES):
            result.figures.append(_method_row(f"{method}, {name}", [one.named[method, name] for one in judged]))
    return result


def _method_row(what: str, matched: Sequence[Matched]) -> Figure:
    explained, false = sum(m.explained for m in matched), sum(len(m.false) for m in matched)
    outcomes = [o for m in matched for o in m.outcomes]
    values: dict[str, float | int | str] = {
        "recall": round(recall([o for o in outcomes if is_required(o.fault.kind)]), 3),
        "precision": round(explained / max(explained + false, 1), 3),
        "events": explained + false,
    }
    for kind in (SPIKE, SHIFT, LEAK):
        values[kind] = round(
            recall([o for o in outcomes if o.fault.kind.kind == kind and is_required(o.fault.kind)]), 3
        )
    return Figure(what, values)


def _missed(judged: Sequence[Judged]) -> Result:
    """The faults that medium did not find in time, the required ones first."""
    result = Result("detection: missed at medium", f"at most {LISTED}, required ones first", "nothing", len(judged))
    missed = [(one, o) for one in judged for o in one.levels[LEVELS["medium"]].outcomes if o.found_ms is None]
    missed.sort(key=lambda entry: (not is_required(entry[1].fault.kind), entry[1].fault.name))
    for one, outcome in missed[:LISTED]:
        fault = outcome.fault
        facts = (
            f"seed {one.truth.seed} {fault.server}/{fault.tool} {iso(fault.start_ms)[5:16]} "
            f"{(fault.end_ms - fault.start_ms) / HOUR_MS:.2f} h, {fault.calls:.0f} calls; {fault.about}; {_hint(one, outcome)}"
        )
        result.add(fault.name, facts=facts.rstrip("; "))
    return result


def _hint(one: Judged, outcome: Outcome) -> str:
    if outcome.sightings:
        return "late: " + ", ".join(sighting.event.type for sighting in outcome.sightings)
    high = next(o for o in one.levels[LEVELS["high"]].outcomes if o.fault is outcome.fault)
    return "at high only" if high.found_ms is not None else ""


def _false(judged: Sequence[Judged]) -> Result:
    """The events at medium that tell of no fault."""
    result = Result("detection: false at medium", f"at most {LISTED}, of every metric in turn", "nothing", len(judged))
    turn: Counter[str] = Counter()
    order = []
    for one in judged:
        for sighting in one.levels[LEVELS["medium"]].false:
            turn[sighting.event.metric] += 1
            order.append((turn[sighting.event.metric], sighting.event.metric, one, sighting.event))
    order.sort(key=lambda entry: entry[:2])
    for _, _, one, event in order[:LISTED]:
        tool = next(tool for tool in one.truth.tools if tool.key == event.series)
        facts = (
            f"seed {one.truth.seed} {event.server}/{event.tool} {iso(event.start_ms)[5:16]} "
            f"{(event.last_ms - event.start_ms) / MINUTE_MS:.0f} min, {event.points}/{event.calls} points; "
            f"value {event.value:.4g} typical {event.typical:.4g} median {event.median:.4g} upper {event.upper:.4g}; "
            f"level {event.level} confidence {event.confidence:.4f} {event.method}; {_before(one.truth, event)}; {describe(tool)}"
        )
        result.add(f"{event.type} {event.metric}", facts=facts)
    return result


def _before(truth: Scenario, event: Event) -> str:
    """What of note came before an event in its series, and hours since its end."""
    before = [f for f in truth.faults if f.concerns(event.server, event.tool) and f.start_ms <= event.last_ms]
    deployed = [START_MS + m * MINUTE_MS for m in truth.minutes.deployments[event.server]]
    notes = [f"{(event.start_ms - f.end_ms) / HOUR_MS:+.1f} h after {f.name}" for f in before[-1:]]
    notes += [f"{(event.start_ms - ms) / HOUR_MS:+.1f} h after a deployment" for ms in deployed if ms <= event.last_ms][
        -1:
    ]
    return ", ".join(notes + ["control"] * (event.server in truth.control))
