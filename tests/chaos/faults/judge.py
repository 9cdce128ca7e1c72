"""The end of a case with real processes: everything is acknowledged, the files are compared with it, the figures are kept."""

from __future__ import annotations

import time
from collections.abc import Collection

from tests.chaos.acknowledged_load import Load
from tests.chaos.checker import Verdict, check_files
from tests.chaos.reliability import record
from tests.kit import ServiceProcess, eventually

#: Metrics a second of the loads: enough that every fault meets some.
RATE = 8_000


def flowing(load: Load, more: int = 2_000, *, timeout_s: float = 40.0) -> None:
    """So many more metrics are acknowledged."""
    goal = len(load.acknowledged) + more
    eventually(lambda: len(load.acknowledged) >= goal, f"{more} more metrics are acknowledged", timeout_s=timeout_s)


def judge(
    case: str,
    does: str,
    ingest: ServiceProcess,
    load: Load,
    *,
    kills: int = 0,
    note: str = "",
    perhaps_gone: Collection[int] = (),
) -> Verdict:
    """Settle the load, flush, compare and record; fails if anything is wrong."""
    load.settle()
    ingest.call("flush", timeout_s=30)
    verdict = check_files(ingest.data, load, perhaps_gone=perhaps_gone)
    record(f"fault/{case}", does=does, kills=kills, note=note, **verdict.figures())
    verdict.assert_clean()
    return verdict


def caught_up(ingest: ServiceProcess, *consumers: ServiceProcess, timeout_s: float = 40.0) -> None:
    """Consumers stand where ingest stands."""
    deadline = time.monotonic() + timeout_s
    head = ingest.call("flush", timeout_s=30)["seq"]
    for consumer in consumers:
        consumer.eventually(
            lambda stats: stats["seq"] >= head,
            f"{consumer.name} is at {head}",
            timeout_s=max(1.0, deadline - time.monotonic()),
        )
