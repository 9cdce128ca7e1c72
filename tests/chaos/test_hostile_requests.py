"""Hostile requests to every service: each is answered, with a result or a named refusal; nothing crashes, nothing fails inside.

CHAOS_ROUNDS makes it short.
"""

from __future__ import annotations

import os
import random
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from perfmon.paths import SERVICES, DataDirectory
from perfmon.pipeline import ensure_running, stop
from perfmon.pipeline.ask import endpoint
from perfmon.rpc import RpcClient
from perfmon.wire import Kind, WireError, request, unpack, unpack_envelope
from tests.chaos.hostile import NASTY, Hostile, Pairs, Raw, pack
from tests.kit import Writer, row
from tests.kit.measure import resident_mb
from tests.kit.remote import dealer

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(1800)]

#: Requests to each service.
REQUESTS = 1_500 if os.environ.get("CHAOS_ROUNDS") else 20_000
#: How long a request may take to be answered while others wait before it.
ANSWER_S = 60.0
IN_FLIGHT = 16
GROWTH_MB = 250
PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
#: What a mutation may find that undoes a test: the day of its own metrics.
_HARMLESS_DAYS = ("2020-01-01", "2020-02-30", "../..", "", None, 5, "2020-01-01/..", ["2020-01-01"])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataDirectory]:
    directory = DataDirectory((tmp_path_factory.mktemp("requests") / "data").resolve())
    ensure_running(directory, started_by="test", wait_ready_s=120)
    with Writer(directory) as writer:
        for number in range(50):
            assert writer.write(row(tool=f"tool{number % 5}", success=bool(number % 3)))["stored"] == 1
    yield directory
    stop(directory, timeout_s=60)


def methods_of(service: str) -> dict[str, list[str]]:
    """Every documented method of a service with the names of its parameters."""
    section = PROTOCOL.read_text().split("### Methods")[1].split("\n## ")[0]
    found: dict[str, list[str]] = {"ping": [], "stats": []}
    owner = ""
    for line in section.splitlines():
        match = re.match(r"^\|\s*(?:`([\w.]+)`)?\s*\| `([\w.]+)` \{([^}]*)\}", line)
        if match:
            owner = match.group(1) or owner
            if owner.removesuffix(".write") == service:
                found[match.group(2)] = re.findall(r"\w+", match.group(3))
    return found


class Requests:
    """Requests to one service with parameters from a seed."""

    def __init__(self, service: str, seed: int) -> None:
        self._random = random.Random(f"{service} {seed}")
        self._methods = methods_of(service)
        now = time.time_ns() // 1_000_000
        self._good: dict[str, tuple[Any, ...]] = {
            "startMs": (now - 3_600_000,),
            "endMs": (now,),
            "sinceMs": (now - 3_600_000,),
            "lookbackMs": (3_600_000,),
            "windowMs": (300_000,),
            "groupBy": ("minute", "hour", "day"),
            "by": ("tool", "server", "all"),
            "mcpServer": ("files",),
            "toolName": ("tool1",),
            "sort": ("count", "p95"),
            "limit": (5,),
            "format": ("json", "markdown"),
            "method": ("auto", "z-score", "moving-avg", "percentile"),
            "sensitivity": ("low", "medium", "high"),
            "metric": ("response_time", "error_rate", "cpu"),
            "threshold": (5.0,),
            "severity": ("warning", "critical"),
            "status": ("active",),
            "aggregation": ("avg", "p95"),
        }

    def next(self) -> bytes:
        method = self._random.choice([*self._methods] * 5 + ["nonsense", "", "__init__", "\ud800"])
        names = self._methods.get(method, ["startMs"])
        params: Any = Pairs((name, self._value(name)) for name in names if self._random.random() < 0.8)
        way = self._random.random()
        if way < 0.05:
            params = self._random.choice(NASTY)
        elif way < 0.15:
            params.append((self._random.choice(NASTY), self._random.choice(NASTY)))
        identifier = self._random.choice((secrets.token_hex(6), "same", "", "x" * 500))
        return pack(Pairs([("v", 1), ("kind", "request"), ("id", identifier), ("method", method), ("params", params)]))

    def _value(self, name: str) -> Any:
        if name == "day":
            return self._random.choice(_HARMLESS_DAYS)
        if self._random.random() < 0.5:
            return self._random.choice(self._good.get(name, ("x",)))
        return self._random.choice([value for value in NASTY if not isinstance(value, Raw)])


@pytest.mark.parametrize("service", SERVICES)
def test_every_request_is_answered_with_a_result_or_a_named_refusal(data: DataDirectory, service: str) -> None:
    with RpcClient(endpoint(data, service), timeout_s=10) as client:
        pid, failed = client.call("ping")["pid"], client.call("stats")["failed_total"]
    requests = Requests(service, seed=1)
    frames = Hostile(7, [unpack(request("id", name, {})) for name in methods_of(service)])
    settled_mb = resident_mb(pid)
    with dealer(endpoint(data, service)) as asker:
        refused = asked(asker, requests, frames)
    with RpcClient(endpoint(data, service), timeout_s=30) as client:
        assert client.call("ping")["pid"] == pid
        assert client.call("stats")["failed_total"] == failed, log_of(data, service)
    assert not refused["internal_error"], log_of(data, service)
    assert refused["bad_request"] or refused["unknown_method"]
    assert resident_mb(pid, peak=True) - settled_mb < GROWTH_MB


def asked(asker: zmq.Socket[bytes], requests: Requests, frames: Hostile) -> Counter[str]:
    """Send them all and take every answer; the codes of the refusals."""
    sent: list[bytes] = []
    refused: Counter[str] = Counter()
    taken = 0
    while taken < REQUESTS:
        while len(sent) < REQUESTS and len(sent) - taken < IN_FLIGHT:
            frame = frames.frame() if len(sent) % 5 == 0 else requests.next()
            if not is_write(frame):
                asker.send(frame)
                sent.append(frame)
        assert asker.poll(int(ANSWER_S * 1000)), f"not answered: one of {sent[-IN_FLIGHT:]!r}"
        refused[answered(asker.recv_multipart()[-1])] += 1
        taken += 1
    return refused


def answered(frame: bytes) -> str:
    """The code of an answer; "" for a result."""
    body = unpack(frame)
    assert body["kind"] in (Kind.REPLY, Kind.ACK), body
    if body["kind"] == Kind.ACK or body["ok"]:
        return ""
    assert re.fullmatch(r"[a-z_]+", body["error"]["code"]), body
    assert body["error"]["message"], body
    return str(body["error"]["code"])


def is_write(frame: bytes) -> bool:
    """Ingest may answer a write with credit too, which is not what is tested here."""
    try:
        return unpack_envelope(frame).kind in (Kind.ROWS, Kind.BATCH)
    except WireError:
        return False


def log_of(data: DataDirectory, service: str) -> str:
    found = [path for path in data.logs.iterdir() if path.name.startswith(service)]
    lines = [line for path in found for line in path.read_text(errors="replace").splitlines() if "exception=" in line]
    return "\n".join(dict.fromkeys(line[-1_500:] for line in lines[-10:]))
