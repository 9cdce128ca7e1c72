"""kill -9 of each consumer around its save and the views that follow: nothing is counted twice, missing, or told twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from perfmon.paths import CONSUMERS, DataDirectory
from perfmon.rpc import RpcError
from tests.chaos import places
from tests.chaos.acknowledged_load import Load
from tests.chaos.checker import check_files, check_index
from tests.chaos.ingest_story import Start
from tests.chaos.numbered import SERIES, Pair
from tests.chaos.pipeline_checker import ask, check_hours, check_pipeline
from tests.chaos.reliability import record
from tests.chaos.rounds import rounds
from tests.chaos.small_pipeline import SmallPipeline, died_of_it
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(600)]

RATE = 4_000
HOUR_MS = 3_600_000
#: Metrics between two kills.
SOME = 500
#: The file of an hour waits until late metrics have settled: no more may come in.
QUIET = ("aggregator: saved, no file", "aggregator: in a file", "aggregator: file, not noted")


def of_two_hours(number: int, now_ms: int) -> int:
    """Every eighth metric is of an hour that is over, so that there is always a file of an hour to write anew."""
    return now_ms - (2 * HOUR_MS if number % 8 >= 7 else 0)


@pytest.fixture
def pipeline(start: Start) -> SmallPipeline:
    running = SmallPipeline(start)
    running.start()
    return running


@pytest.fixture
def load(data_directory: DataDirectory, pipeline: SmallPipeline) -> Iterator[Load]:
    running = Load(data_directory, RATE, moment=of_two_hours).start()
    yield running
    running.end()


@pytest.mark.parametrize("service", CONSUMERS)
def test_a_consumer_killed_at_places(
    service: str, pipeline: SmallPipeline, load: Load, data_directory: DataDirectory
) -> None:
    kills = 0
    names = [name for name, place in places.CONSUMERS.items() if place.service == service]
    load.wait_for(SOME)
    pipeline.kill(service)
    for name in names:
        times = places.CONSUMERS[name].times
        for fatal in times[: rounds(len(times))]:
            load.wait_for(SOME)
            load.settle()
            # Something new to tell of: a series that fails from its first call on.
            load.change_series([*SERIES, (f"chaos-{kills}", "always_fails")])
            if name not in QUIET:
                load.resume()
            pipeline.die_at("CONSUMERS", name, service, fatal)
            load.resume()
            kills += 1
    load.wait_for(SOME)
    load.settle()
    pipeline.start(service)
    verdict = check_pipeline(data_directory, load)
    check_hours(data_directory, load, verdict)
    pipeline.terminate()
    check_index(data_directory, verdict)
    verdict.complaints += check_files(data_directory, load).complaints
    what = ", ".join(places.CONSUMERS[name].does for name in names)
    record(f"place/{service}: around its save", does=f"Killed {what}.", kills=kills + 1, **verdict.figures())
    verdict.assert_clean()


def test_the_alerter_killed_while_an_alert_goes_to_the_history(start: Start, data_directory: DataDirectory) -> None:
    """A disabled threshold ends the alert of a series that always fails: one series a place."""
    pipeline = SmallPipeline(start)
    pipeline.start()
    failing = [(f"chaos-{number}", "always_fails") for number in range(len(places.HISTORY))]
    load = Load(data_directory, RATE, series=[("chaos-x", "read"), *failing]).start()
    try:
        eventually(lambda: set(failing) <= open_alerts(data_directory), "each of them has an alert")
        for pair, name in zip(failing, places.HISTORY, strict=True):
            pipeline.kill("alerter")
            doomed = pipeline.spawn("alerter", "HISTORY", name, places.HISTORY[name].times[0]).wait_ready()
            with pytest.raises(RpcError):  # who is dead does not answer
                disable(data_directory, pair)
            died_of_it(doomed, name)
            pipeline.start("alerter")
            eventually(lambda pair=pair: pair in archived(data_directory), f"{name}: the alert is in the history")
            disable(data_directory, pair)
        load.settle()
        verdict = check_pipeline(data_directory, load)
        if doubled := [pair for pair, count in Counter(archived(data_directory)).items() if count > 1]:
            verdict.complain("an alert is in the history twice", *doubled)
        pipeline.terminate()
    finally:
        load.end()
    what = ", ".join(place.does for place in places.HISTORY.values())
    record("place/alerter: its history", does=f"Killed {what}.", kills=2 * len(failing), **verdict.figures())
    verdict.assert_clean()


def disable(data: DataDirectory, pair: Pair) -> None:
    """Both thresholds: an alert that has lost the graver one stands with the other."""
    config = {"metric": "error_rate", "threshold": 5, "enabled": False, "mcpServer": pair[0], "toolName": pair[1]}
    for severity in ("critical", "warning"):
        ask(data, "alerter", "thresholds.set", config | {"severity": severity}, timeout_s=2)


def open_alerts(data: DataDirectory) -> set[Pair]:
    found = ask(data, "alerter", "alerts.list", {"limit": 1000})["alerts"]
    return {(one["mcpServer"], one["toolName"]) for one in found if one["condition"].startswith("error_rate")}


def archived(data: DataDirectory) -> list[Pair]:
    """The series of the alerts in the history; every line must be whole."""
    lines = [line for path in (data.alerts / "history").glob("*.jsonl") for line in path.read_bytes().splitlines()]
    return [(one["mcpServer"], one["toolName"]) for one in map(json.loads, lines)]
