"""The fault simulator: the same seed makes the same calls, faults are what they say, and the detector finds the plain ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.detection.drive import Drive
from bench.detection.faults import BURST, CLASSES, LEAK, LEARNING, SHIFT, SPIKE, Class, Fault, inflict
from bench.detection.matching import match, recall
from bench.detection.met import Met
from bench.detection.minutes import HOUR, START_MS, healthy
from bench.detection.scenario import Scenario, scenario
from bench.detection.tools import Component, Tool, fleet
from services.detector.core.metrics import LEVELS, MINUTE_MS
from shared.batch import Batch, Series, concatenate

MEDIUM = LEVELS["medium"]


@pytest.fixture(scope="module")
def small() -> Scenario:
    return scenario(3, servers=4, tools=3, days=5.0)


def plain_tool() -> Tool:
    return Tool(
        Series("s", "t"), "steady", 4.0, 0.0, 1.0, 12.0, 0.0, (Component(1.0, float(np.log(100.0)), 0.2),),
        0.0, 0.02, 0.0, 1.0, True, 10.0, 100.0, 0.0, 60, 0.0, 50.0,
    )  # fmt: skip


def all_calls(truth: Scenario) -> Batch:
    return concatenate([step.batch for step in truth.steps(60)])


def test_the_same_seed_makes_the_same_calls_and_another_seed_others(small: Scenario) -> None:
    again, other = scenario(3, servers=4, tools=3, days=5.0), scenario(4, servers=4, tools=3, days=5.0)
    assert again.faults == small.faults
    assert other.faults != small.faults
    first, second = (next(one.steps(60)).batch for one in (small, again))
    assert first.encode() == second.encode()


def test_calls_come_in_order_of_time_and_are_what_ingest_lets_in(small: Scenario) -> None:
    batch = all_calls(small)
    batch.check()
    batch.check_values()
    assert np.all(np.diff(batch.ts) >= 0)


def test_batches_of_other_lengths_hold_the_same_calls(small: Scenario) -> None:
    steps = [step for step in small.steps(7) if step.end_ms <= START_MS + 120 * MINUTE_MS]
    long = concatenate([step.batch for step in small.steps(60) if step.end_ms <= START_MS + 120 * MINUTE_MS])
    short = concatenate([step.batch for step in steps])
    assert short.encode() == long.encode()


def test_the_calls_that_each_fault_met_are_counted_however_they_are_cut(small: Scenario) -> None:
    calls = all_calls(small)
    fault = next(fault for fault in small.faults if fault.kind.kind == BURST)
    its = calls.ts[calls.codes == calls.dictionary.index(Series(fault.server, fault.tool))]
    within = int(((its >= fault.start_ms) & (its < fault.end_ms)).sum())
    lonely = replace(fault, start_ms=int(its[10]), end_ms=int(its[17]))
    for every in (1, 7):
        met = Met([fault, lonely])
        assert sum(len(step.batch) for step in met.count(small.steps(every))) == len(calls)
        assert met.calls(fault) == within
        assert met.calls(lonely) == 7
        assert met.enough(fault)
        assert not met.enough(lonely)


def test_a_silence_needs_no_calls_to_be_seen(small: Scenario) -> None:
    silence = next(kind for kind in CLASSES if kind.name == "silence")
    assert Met([]).enough(replace(small.faults[0], kind=silence))


def test_faults_come_after_learning_and_never_on_control_servers(small: Scenario) -> None:
    assert small.faults
    assert all(fault.start_ms >= START_MS + LEARNING * MINUTE_MS for fault in small.faults)
    assert small.control
    assert not small.control & {fault.server for fault in small.faults}


def test_every_class_of_faults_has_a_name_of_its_own() -> None:
    assert len({kind.name for kind in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("servers", [1, 3])
def test_a_fleet_has_tools_of_every_pace(servers: int) -> None:
    tools = fleet(np.random.default_rng(1), servers, 8)
    assert {tool.pace for tool in tools} == {"busy", "steady", "slow", "quiet"}
    assert all(0.1 < tool.median_ms < 10_000 for tool in tools)


def test_a_fourfold_latency_spike_of_a_plain_tool_is_found_within_minutes_and_nothing_else() -> None:
    tool, kind = plain_tool(), Class(SPIKE, 4.0, 20, 60, ("response_time",))
    minutes = healthy(np.random.default_rng(1), [tool], 8 * 60)
    at = 6 * 60
    inflict(kind, 0, tool, minutes, at, at + 20)
    fault = Fault(kind, "s", "t", START_MS + at * MINUTE_MS, START_MS + (at + 20) * MINUTE_MS, 80.0, "")
    drive = Drive()
    drive.run(Scenario(1, [tool], minutes, [fault], set()).steps())
    found = match([fault], drive.sightings.values(), MEDIUM)
    assert recall(found.outcomes) == 1.0
    assert (found.outcomes[0].delay_s or 0) <= 10 * 60
    assert found.precision == 1.0


def test_a_healthy_plain_tool_has_no_event() -> None:
    tool = plain_tool()
    minutes = healthy(np.random.default_rng(2), [tool], 24 * 60)
    drive = Drive()
    drive.run(Scenario(2, [tool], minutes, [], set()).steps(5))
    assert match([], drive.sightings.values(), MEDIUM).false == []


def test_the_plain_faults_of_four_plain_tools_are_found_and_little_else() -> None:
    kinds = [
        Class(SPIKE, 10.0, 20, 20, ("response_time",)),
        Class(SHIFT, 3.0, 10 * HOUR, 10 * HOUR, ("response_time",)),
        Class(BURST, 30.0, 60, 60, ("error_rate",)),
        Class(LEAK, 3.0, 9 * HOUR, 9 * HOUR, ("memory",)),
    ]
    tools = [replace(plain_tool(), key=Series("s", kind.kind)) for kind in kinds]
    minutes = healthy(np.random.default_rng(5), tools, 36 * HOUR)
    faults = []
    at = 25 * HOUR
    for row, kind in enumerate(kinds):
        inflict(kind, row, tools[row], minutes, at, at + kind.longest)
        start_ms = START_MS + at * MINUTE_MS
        faults.append(Fault(kind, "s", kind.kind, start_ms, start_ms + kind.longest * MINUTE_MS, 1e3, ""))
    drive = Drive()
    drive.run(Scenario(6, tools, minutes, faults, set()).steps(5))
    found = match(faults, drive.sightings.values(), MEDIUM)
    assert {outcome.fault.name for outcome in found.outcomes if outcome.found_ms is None} == set()
    assert len(found.false) <= 2
