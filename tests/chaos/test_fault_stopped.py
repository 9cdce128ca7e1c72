"""Processes that stand still (SIGSTOP): ingest goes on without its consumers, which catch up; producers wait for ingest."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.chaos.acknowledged_load import Load
from tests.chaos.faults.judge import RATE, caught_up, flowing, judge
from tests.chaos.faults.rounds import in_full
from tests.chaos.rounds import rounds
from tests.kit import ServiceProcess, eventually

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(600)]

Start = Callable[..., ServiceProcess]
#: Segments small enough that several pass while a consumer stands still.
SMALL = {"PERFMON_SEGMENT_MB": "1", "PERFMON_CHECKPOINT_INTERVAL_S": "0.3"}


@pytest.mark.parametrize("consumer", [in_full("detector"), in_full("alerter"), "aggregator"])
def test_a_consumer_that_stands_still_holds_up_nobody_and_catches_up(consumer: str, start: Start, load: Load) -> None:
    ingest = start("ingest", environment=SMALL)
    # The detector compiles its kernels first: its home is new.
    standing = start(consumer, ready=False).wait_ready(120)
    load.start()
    for _ in range(rounds(4)):
        flowing(load)
        standing.process.send_signal(signal.SIGSTOP)
        flowing(load, 10 * RATE // 4)
        assert ingest.stats()["refusedByReason"] == {}
        standing.process.send_signal(signal.SIGCONT)
    load.settle()
    caught_up(ingest, standing)
    stats = standing.stats()
    assert (stats["parked_total"], stats["rebuilds_total"]) == (0, 0)
    assert counted(consumer, standing) == len(load.acknowledged)
    judge(
        f"{consumer} stands still",
        "It is stopped (SIGSTOP) under load, continued, and reads what it missed from the journal.",
        ingest,
        load,
    )


def test_a_consumer_that_stands_still_beyond_the_journals_limit_begins_anew(start: Start, load: Load) -> None:
    environment = {**SMALL, "PERFMON_JOURNAL_MAX_MB": "8"}
    ingest, standing = start("ingest", environment=environment), start("aggregator")
    load.start()
    flowing(load)
    standing.process.send_signal(signal.SIGSTOP)
    ingest.eventually(lambda stats: stats["lost_places_total"], "its place is given up", timeout_s=120)
    flowing(load)
    standing.process.send_signal(signal.SIGCONT)
    load.settle()
    standing.eventually(lambda stats: stats["rebuilds_total"], "it takes everything from the files")
    caught_up(ingest, standing)
    assert counted("aggregator", standing) == len(load.acknowledged)
    judge(
        "a consumer stands still until its place is gone",
        "The journal drops what a stopped consumer has not read (at its limit), and it rebuilds from the files.",
        ingest,
        load,
    )


def test_producers_wait_for_an_ingest_that_stands_still(start: Start, load: Load) -> None:
    ingest, aggregator = start("ingest", environment=SMALL), start("aggregator")
    load.start()
    for _ in range(rounds(4)):
        flowing(load)
        ingest.process.send_signal(signal.SIGSTOP)
        resent = load.resent_total
        eventually(lambda resent=resent: load.resent_total > resent, "the load sends again what is not acknowledged")
        acknowledged = len(load.acknowledged)
        eventually(lambda resent=resent: load.resent_total > resent + 10, "and again")
        assert len(load.acknowledged) == acknowledged
        ingest.process.send_signal(signal.SIGCONT)
    load.settle()
    caught_up(ingest, aggregator)
    assert counted("aggregator", aggregator) == len(load.acknowledged)
    judge("ingest stands still", "It is stopped (SIGSTOP) under load; what waited is taken once.", ingest, load)


def counted(name: str, consumer: ServiceProcess) -> int:
    """How many calls a consumer has counted, in its own way."""
    if name == "aggregator":
        params = {"startMs": 0, "endMs": 4_102_444_800_000, "by": "all"}
        return int(consumer.call("rollup", params, timeout_s=30)["total"]["count"])
    if name == "alerter":
        return sum(int(series["calls"]) for series in consumer.call("windows")["series"])
    return int(consumer.stats()["calls_total"])
