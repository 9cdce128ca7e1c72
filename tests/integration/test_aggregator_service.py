"""The aggregator as a process behind a real ingest: its answers against the JSONL files, its lives and deaths, its clean-up."""

from __future__ import annotations

import json
import math
import random
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest

from perfmon.paths import DataDirectory
from perfmon.rpc import RpcError
from shared.timespan import DAY_MS, HOUR_MS, MINUTE_MS, day_of, iso, parse_iso
from tests.kit import ServiceProcess, Writer, eventually, line, row, stored

Start = Callable[..., ServiceProcess]


def clock() -> int:
    return time.time_ns() // 1_000_000


def nearest_rank(values: list[float], percent: int) -> float:
    return sorted(values)[max(1, -(-percent * len(values) // 100)) - 1]


def rollup(aggregator: ServiceProcess, start: int, end: int, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = aggregator.call("rollup", {"startMs": start, "endMs": end, **more})
    return found


def check(found: dict[str, Any], records: list[dict[str, Any]], *, within: float) -> None:
    durations = [record["duration"] for record in records]
    assert found["count"] == len(records)
    assert found["errors"] == sum(not record["success"] for record in records)
    assert math.isclose(found["avg"], math.fsum(durations) / len(durations), rel_tol=1e-9)
    assert (found["min"], found["max"]) == (min(durations), max(durations))
    for percent in (50, 95, 99):
        true = nearest_rank(durations, percent)
        assert abs(found[f"p{percent}"] - true) <= within * true + 1e-9
    cpu = [record["resource"]["cpu"] for record in records if record["resource"] is not None]
    assert math.isclose(found["cpu"], math.fsum(cpu) / len(cpu), rel_tol=1e-9) if cpu else found["cpu"] is None


def write_spread(writer: Writer, now: int, span_ms: int, count: int = 400) -> int:
    """Rows of four tools over a span before now; the last entry."""
    chance = random.Random(7)
    rows = [
        row(
            chance.choice(["read", "write"]),
            chance.choice(["files", "git"]),
            round(chance.lognormvariate(4, 1), 3),
            success=chance.random() > 0.1,
            timestamp=now - chance.randrange(span_ms),
            **({"resource": {"cpu": chance.random() * 100}} if chance.random() > 0.5 else {}),
        )
        for _ in range(count)
    ]
    acknowledged = writer.write(*rows)
    assert acknowledged["stored"] == count, acknowledged
    return int(acknowledged["entry"])


def test_answers_are_those_of_the_stored_lines(ingest: ServiceProcess, start: Start, writer: Writer) -> None:
    aggregator, now = start("aggregator"), clock()
    entry = write_spread(writer, now, 20 * HOUR_MS)
    ingest.call("flush")
    for span, within in ((HOUR_MS, 0.0), (23 * HOUR_MS, 0.0101)):
        found = rollup(aggregator, now + 1 - span, now + 1, afterSeq=entry)
        records = [r for r in stored(ingest.data) if found["startMs"] <= parse_iso(r["timestamp"]) < found["endMs"]]
        assert found["source"] == ("raw" if span == HOUR_MS else "minute+hourly")
        assert found["freshness"]["lagEntries"] == 0
        check(found["total"], records, within=within)
        for each in found["rows"]:
            own = [r for r in records if (r["mcpServer"], r["toolName"]) == (each["mcpServer"], each["toolName"])]
            check(each, own, within=within)
    assert {tuple(name) for *name, _ in aggregator.call("series")["series"]} == {
        (server, tool) for server in ("files", "git") for tool in ("read", "write")
    }
    one = rollup(aggregator, now - 23 * HOUR_MS, now + 1, mcpServer="git", toolName="read", groupBy="hour")
    assert [each["ts"] for each in one["rows"]] == sorted(each["ts"] for each in one["rows"])
    assert sum(each["count"] for each in one["rows"]) == one["total"]["count"]


def test_raw_answers_need_no_ingest_to_come_from_somewhere(
    ingest: ServiceProcess, start: Start, writer: Writer
) -> None:
    aggregator, now = start("aggregator"), clock()
    entry = write_spread(writer, now, 10 * MINUTE_MS)
    assert rollup(aggregator, now + 1 - HOUR_MS, now + 1, afterSeq=entry)["source"] == "raw"
    ingest.terminate()
    found = rollup(aggregator, now + 1 - HOUR_MS, now + 1)
    assert found["source"] == "minute"
    assert found["total"]["count"] == 400


def test_killed_again_and_again_under_load_it_neither_loses_nor_doubles(
    ingest: ServiceProcess, start: Start, writer: Writer
) -> None:
    chance, now, entry = random.Random(3), clock(), 0
    aggregator = start("aggregator")
    for life in range(6):
        for _ in range(chance.randrange(5, 40)):
            entry = write_spread(writer, now, 22 * HOUR_MS, 50)
        if life % 2:
            aggregator.eventually(lambda stats, entry=entry: stats["seq"] >= entry)
        aggregator.kill()
        aggregator = start("aggregator", ready=life == 5)
    ingest.call("flush")
    records = stored(ingest.data)
    found = rollup(aggregator, now - 23 * HOUR_MS, now + 1, afterSeq=entry, by="all")
    check(found["total"], records, within=0.0101)

    def files_say_so() -> bool:
        today = day_of(clock())
        counts = [
            each["metrics"]["count"]
            for path in ingest.data.hourly.glob("*.json")
            for each in json.loads(path.read_bytes())
        ]
        current = [r for r in records if r["timestamp"][:13] == iso(clock())[:13]]
        before = [r for r in records if r["timestamp"][:10] < today]
        daily = sum(
            each["metrics"]["count"]
            for path in ingest.data.daily.glob("*.json")
            for each in json.loads(path.read_bytes())
        )
        return sum(counts) == len(records) - len(current) and daily == len(before)

    eventually(files_say_so, "the files of all hours that ended say the same", timeout_s=60)


def test_with_its_journal_gone_it_is_rebuilt_from_the_stored_lines(
    ingest: ServiceProcess, start: Start, writer: Writer
) -> None:
    aggregator, now = start("aggregator"), clock()
    entry = write_spread(writer, now, 5 * HOUR_MS)
    assert rollup(aggregator, now - 6 * HOUR_MS, now + 1, afterSeq=entry)["total"]["count"] == 400
    ingest.terminate()
    shutil.rmtree(ingest.data.journal)
    ingest.data.journal.mkdir(mode=0o700)
    again = start("ingest")
    epoch = again.call("ping")["epoch"]
    eventually(lambda: aggregator.call("ping")["epoch"] == epoch, "the aggregator is of the new epoch")
    with Writer(again.data) as other:
        entry = write_spread(other, now, 5 * HOUR_MS, 10)
    found = rollup(aggregator, now - 6 * HOUR_MS, now + 1, afterSeq=entry, by="all")
    again.call("flush")
    check(found["total"], stored(again.data), within=0.0101)
    assert found["total"]["count"] == 410


def test_refusals_say_what_is_accepted(ingest: ServiceProcess, start: Start) -> None:
    aggregator = start("aggregator")
    with pytest.raises(RpcError, match="endMs comes after startMs") as refused:
        rollup(aggregator, 5, 5)
    assert refused.value.code == "bad_request"
    nothing = rollup(aggregator, 0, clock())
    assert (nothing["rows"], nothing["rowsTotal"], nothing["total"]["count"]) == ([], 0, 0)
    assert nothing["freshness"]["lastMetricMs"] is None


def test_without_a_place_in_the_journal_it_says_that_it_is_starting(start: Start) -> None:
    aggregator = start("aggregator", ready=False)
    eventually(lambda: aggregator.call("ping", timeout_s=0.5), "it answers")
    with pytest.raises(RpcError, match="try again") as refused:
        rollup(aggregator, 0, 5)
    assert refused.value.code == "starting"


def test_clean_up_removes_what_is_too_old_and_nothing_else(data_directory: DataDirectory, start: Start) -> None:
    data, now = data_directory, clock()
    outside = data.root.parent / "outside"
    outside.mkdir()
    (outside / "2001-01-01.json").write_text("mine")
    old = day_of(now - 3 * DAY_MS)
    folder = data.metrics / old / "files"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "read.jsonl").write_bytes(line("files", "read", f"{old}T12:00:00.000Z"))
    kept = {
        data.anomalies / f"{day_of(now - 80 * DAY_MS)}.jsonl",
        data.anomalies / "notes.txt",
        data.daily / f"{day_of(now - 300 * DAY_MS)}.json",
        data.daily / "2001-01-01.json.mine",
        data.hourly / f"{day_of(now - 20 * DAY_MS)}-13.json",
        data.reports / "summary-2001.html",
        data.alerts / "history" / "2001-01-01.jsonl",
    }
    removed = {
        data.anomalies / "2001-01-01.jsonl",
        data.daily / "2001-01-01.json",
        data.hourly / f"{day_of(now - 40 * DAY_MS)}-13.json",
        data.reports / "report-day-20010101T000000Z-20010102T000000Z-20010102T080000Z-a1b2c3.html",
    }
    for path in kept | removed:
        path.write_text("[]")
    link = data.hourly / "2001-01-01-01.json"
    link.symlink_to(outside / "2001-01-01.json")
    folder_link = data.metrics / "2001-01-01"
    folder_link.symlink_to(outside)
    start("ingest")
    aggregator = start("aggregator")

    def cleaned() -> bool:
        return bool(aggregator.stats()["cleanups_total"])

    eventually(cleaned, "the daily clean-up ran by itself")
    aggregator.call("cleanup", timeout_s=30)
    assert not (data.metrics / old).exists()
    assert [path for path in removed if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []
    assert link.is_symlink()
    assert folder_link.is_symlink()
    assert (outside / "2001-01-01.json").read_text() == "mine"
    found = rollup(aggregator, now - 4 * DAY_MS, now, by="all")
    assert found["total"]["count"] == 1, "what was in the metrics that went is still in the rollups"
    again = aggregator.call("cleanup", timeout_s=30)
    assert again["files"] == 0
