"""Compare what the services say with what a load had acknowledged: rollups, windows and alerts, the detector's counts.

The load must be settled. What is expected is computed here from the numbers alone; the files are `checker`'s.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from perfmon.paths import CONSUMERS, DataDirectory
from perfmon.rpc import RpcClient
from tests.chaos.acknowledged_load import Load
from tests.chaos.checker import Verdict, check_files
from tests.chaos.numbered import Pair, iso_of, succeeds, values_of
from tests.kit.waiting import eventually

#: How long the consumers may take to be at the head once no more is sent.
CATCH_UP_S = 120.0
#: How long the files of hours may take: they wait until late metrics have settled, a minute at most.
HOURS_S = 90.0
#: Sums are compared through a mean, in another order of adding.
TOLERANCE = 1e-9

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
#: The alerter's window and how it is cut.
WINDOW_MS, SLOT_MS = 5 * MINUTE_MS, 5_000


@dataclass(slots=True)
class Sum:
    """What a rollup says of some metrics."""

    count: int = 0
    errors: int = 0
    total: float = 0.0
    memory: float = 0.0
    least: float = math.inf
    most: float = -math.inf

    def add(self, number: int, pair: Pair) -> None:
        duration = number / 8
        self.count += 1
        self.errors += not succeeds(pair)
        self.total += duration
        self.memory += values_of(number)["memory"] or 0.0
        self.least, self.most = min(self.least, duration), max(self.most, duration)

    def written(self) -> tuple[float, ...]:
        """What the file of an hour says; the sums of eighths are exact."""
        return self.count, self.errors, self.total, self.least, self.most

    def differs(self, row: dict[str, Any]) -> bool:
        exact = (row["count"], row["errors"], row["min"], row["max"]) == (
            self.count,
            self.errors,
            self.least,
            self.most,
        )
        means = (row["avg"], self.total / self.count), (row["memory"], self.memory / self.count)
        return not exact or not all(math.isclose(told, true, rel_tol=TOLERANCE) for told, true in means)


def check_pipeline(data: DataDirectory, load: Load, *, gone: Collection[int] = ()) -> Verdict:
    """The files, then what each consumer made of them. `gone` as for `check_files`: rollups keep what was forgotten."""
    at_head(data)
    verdict = check_files(data, load, gone=gone)
    check_rollups(data, load, verdict)
    check_windows(data, load, verdict)
    check_detector(data, load, verdict)
    check_alerts(data, load, verdict)
    check_anomaly_files(data, verdict)
    return verdict


def at_head(data: DataDirectory, consumers: Sequence[str] = CONSUMERS) -> None:
    """Wait until ingest's files hold everything and the consumers took all of it in."""
    head = ask(data, "ingest", "flush", timeout_s=60)["seq"]
    for name in consumers:
        eventually(
            lambda name=name: ask(data, name, "ping")["seq"] >= head, f"{name} is at {head}", timeout_s=CATCH_UP_S
        )


def check_rollups(
    data: DataDirectory, load: Load, verdict: Verdict, units: Sequence[str | None] = (None, "hour", "minute")
) -> None:
    """Totals of every series, and by units, from the rollups: the range is too long to be answered from the files."""
    times = [load.ts_of(number) for number in load.acknowledged]
    start, end = min(times) // MINUTE_MS * MINUTE_MS, max(times) // MINUTE_MS * MINUTE_MS + MINUTE_MS
    params = {"startMs": start - 3 * HOUR_MS, "endMs": end, "by": "tool"}
    for unit in units:
        span_ms = MINUTE_MS if unit == "minute" else HOUR_MS
        answer = ask(data, "aggregator", "rollup", params | ({"groupBy": unit} if unit else {}), timeout_s=60)
        expected: dict[tuple[int, str, str], Sum] = defaultdict(Sum)
        for number in load.acknowledged:
            pair = load.pair_of(number)
            slot = load.ts_of(number) // span_ms * span_ms if unit else 0
            expected[slot, *pair].add(number, pair)
        told = {(row["ts"] if unit else 0, row["mcpServer"], row["toolName"]): row for row in answer["rows"]}
        if answer["source"] == "raw":
            verdict.complain("the rollups were not asked: raw metrics answered")
        wrong = [key for key, one in expected.items() if key not in told or one.differs(told[key])]
        if wrong or told.keys() != expected.keys():
            shown = [
                f"{key}: {told.get(key)} for {expected.get(key)}" for key in wrong or told.keys() - expected.keys()
            ]
            verdict.complain(f"rollups by {unit} do not tell what was acknowledged", *shown)


def check_hours(data: DataDirectory, load: Load, verdict: Verdict) -> None:
    """The files of hours that are over, once they are written: late metrics make the aggregator write them again."""
    newest = max(load.ts_of(number) for number in load.acknowledged)
    expected: dict[str, dict[Pair, Sum]] = defaultdict(lambda: defaultdict(Sum))
    for number in load.acknowledged:
        ts_ms, pair = load.ts_of(number), load.pair_of(number)
        if ts_ms // HOUR_MS < newest // HOUR_MS:
            expected[iso_of(ts_ms)[:13].replace("T", "-")][pair].add(number, pair)
    true = {hour: {pair: one.written() for pair, one in pairs.items()} for hour, pairs in expected.items()}
    try:
        eventually(
            lambda: _hours(data, true) == true, "the files of hours tell what was acknowledged", timeout_s=HOURS_S
        )
    except AssertionError as error:
        verdict.complain("the files of hours do not tell what was acknowledged", _hours(data, true), true, error)


def _hours(data: DataDirectory, names: Collection[str]) -> dict[str, dict[Pair, tuple[float, ...]]]:
    found = {}
    for name in names:
        path = data.hourly / f"{name}.json"
        rows = json.loads(path.read_text()) if path.exists() else []
        found[name] = {
            (row["mcpServer"], row["toolName"]): (
                row["metrics"]["count"],
                row["errors"],
                row["sum"],
                row["metrics"]["min"],
                row["metrics"]["max"],
            )
            for row in rows
        }
    return found


def check_windows(data: DataDirectory, load: Load, verdict: Verdict) -> None:
    """Calls and errors of every series in the alerter's five minutes, which end with the newest metric."""
    first = (max(load.ts_of(number) for number in load.acknowledged) // SLOT_MS - WINDOW_MS // SLOT_MS + 1) * SLOT_MS
    calls: Counter[Pair] = Counter()
    for number in load.acknowledged:
        if load.ts_of(number) >= first:
            calls[load.pair_of(number)] += 1
    expected = {pair: (count, 0 if succeeds(pair) else count) for pair, count in calls.items()}
    rows = ask(data, "alerter", "windows")["series"]
    told = {(row["mcpServer"], row["toolName"]): (row["calls"], row["errors"]) for row in rows}
    if told != expected:
        verdict.complain("the alerter's windows do not hold what was acknowledged", f"{told} for {expected}")


def check_detector(data: DataDirectory, load: Load, verdict: Verdict) -> None:
    """The calls that the detector knows of every series."""
    calls = Counter(load.pair_of(number) for number in load.acknowledged)
    for (server, tool), count in calls.items():
        params = {
            "mcpServer": server,
            "toolName": tool,
            "lookbackMs": 24 * HOUR_MS,
            "sensitivity": "low",
            "method": "auto",
        }
        told = ask(data, "detector", "anomalies", params | {"limit": 1, "detail": "compact"}, timeout_s=30)["coverage"][
            "calls"
        ]
        if told != count:
            verdict.complain(f"the detector knows {told} calls of {server}/{tool}, {count} were acknowledged")


def check_alerts(data: DataDirectory, load: Load, verdict: Verdict) -> None:
    """One alert a condition since the beginning, all of them open, and one for the series that always fails."""
    now_ms = max(load.ts_of(number) for number in load.acknowledged)
    span = {"startMs": now_ms - 24 * HOUR_MS, "endMs": now_ms + 24 * HOUR_MS, "limit": 1000}
    ever = ask(data, "alerter", "alerts.history", span)["alerts"]
    conditions = Counter((one["mcpServer"], one["toolName"], one["condition"].split()[0]) for one in ever)
    ids = Counter(one["alertId"] for one in ever)
    for what, found in (("a condition", conditions), ("an id", ids)):
        if doubled := [key for key, count in found.items() if count > 1]:
            verdict.complain(f"more than one alert of {what}", *doubled)
    for pair in {load.pair_of(number) for number in load.acknowledged}:
        if not succeeds(pair) and (*pair, "error_rate") not in conditions:
            verdict.complain(f"no alert that {'/'.join(pair)} always fails")
    opened = {one["alertId"] for one in ask(data, "alerter", "alerts.list", {"limit": 1000})["alerts"]}
    shown = json.loads((data.alerts / "active-alerts.json").read_text())["alerts"]
    if {one["alertId"] for one in shown} != opened:
        verdict.complain("active-alerts.json does not show the open alerts", [one["alertId"] for one in shown], opened)


def check_anomaly_files(data: DataDirectory, verdict: Verdict) -> None:
    """Every anomaly opens once and closes at most once in its file, and the index counts what the files hold."""
    ever: Counter[tuple[str, str]] = Counter()
    counted: dict[str, Counter[str]] = {}
    for path in sorted(data.anomalies.glob("*.jsonl")):
        raw = path.read_bytes()
        if not raw.endswith(b"\n"):
            verdict.complain(f"{path.name} ends in a torn line")
        records = [json.loads(line) for line in raw.splitlines()]
        ever.update((record["id"], record["phase"]) for record in records)
        counted[path.stem] = Counter({record["id"]: record["mcpServer"] for record in records}.values())
    if doubled := [key for key, count in ever.items() if count > 1]:
        verdict.complain("an anomaly is written twice", *doubled)
    index = data.index / "anomalies-index.json"
    held = json.loads(index.read_text())["index"] if index.exists() else {}
    told = {day: {server: one["count"] for server, one in servers.items()} for day, servers in held.items()}
    if told != counted:
        verdict.complain("the index of anomalies does not tell what the files hold", f"{told} for {counted}")


def ask(
    data: DataDirectory, service: str, method: str, params: dict[str, Any] | None = None, timeout_s: float = 10.0
) -> Any:
    """Ask a service; one that is just starting may need a moment."""
    endpoint = data.endpoint("ingest.write" if service == "ingest" else service)
    with RpcClient(endpoint, timeout_s=timeout_s) as client:
        return client.call(method, params)
