"""The SDK off the machine: over TCP with the keys it was given, as over the local socket."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from perfmon import Producer
from perfmon.paths import DataDirectory
from perfmon.producer.address import ENDPOINT_VARIABLE, KEYS_VARIABLE
from tests.contract.producer.adapters import LIMIT_S
from tests.kit import ServiceProcess, eventually, stored
from tests.kit.remote import free_port, gate_stats, ring_of

pytestmark = pytest.mark.pipeline


def test_a_producer_with_keys_delivers_and_one_without_a_listed_key_delivers_nothing(
    data_directory: DataDirectory,
    start: Callable[..., ServiceProcess],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ring, endpoint = ring_of(data_directory), f"tcp://127.0.0.1:{free_port()}"
    ring.init()
    path = tmp_path / "laptop.json"
    path.write_bytes(ring.add("laptop").to_json())
    ingest = start("ingest", environment={"PERFMON_INGEST_TCP": endpoint})
    eventually(lambda: gate_stats(data_directory)["listed"] == 1, "the gate answers")
    monkeypatch.setenv(ENDPOINT_VARIABLE, endpoint)
    monkeypatch.setenv(KEYS_VARIABLE, str(path))
    with Producer(max_buffered=100_000) as producer:
        for number in range(5_000):
            producer.record("far", "row", number)
        producer.record_batch(
            [("far", "batch")], series=[0] * 5_000, duration_ms=array("d", range(5_000)), ok=[True] * 5_000
        )
        assert producer.flush(LIMIT_S), producer.stats()
        assert producer.stats().acknowledged_total == 10_000
    ring.revoke("laptop")
    eventually(lambda: gate_stats(data_directory)["listed"] == 0, "nobody is listed")
    with Producer(keys=path, endpoint=endpoint) as stranger:
        stranger.record("far", "stranger", 1.0)
        assert not stranger.flush(1.0)
        stranger.close(0.0)
        assert stranger.stats().acknowledged_total == 0
    ingest.call("flush")
    assert sorted(record["toolName"] for record in stored(data_directory)) == ["batch"] * 5_000 + ["row"] * 5_000
