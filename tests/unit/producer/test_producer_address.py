"""Where a producer sends: what is named, else the data directory, else the environment; never in clear over a network."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from perfmon import Producer
from perfmon.keys import KEY_FILE_VARIABLE, KeyRing
from perfmon.producer.address import ENDPOINT_VARIABLE, KEYS_VARIABLE, Address, locator

FAR = "tcp://monitor.example:7078"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ENDPOINT_VARIABLE, KEYS_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    made = KeyRing(tmp_path / "keys")
    made.init()
    return made


def key_file(ring: KeyRing, folder: Path, endpoint: str | None = None) -> Path:
    path = folder / "laptop.perfmon-keys.json"
    path.write_bytes(ring.add("laptop", endpoint=endpoint).to_json())
    return path


def test_an_endpoint_that_is_named_is_used_as_it_is() -> None:
    for endpoint in ("ipc:///somewhere", "ipc://here", "ipc://@abstract"):
        assert locator(None, endpoint, None, "ingest.write")() == Address(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:7078",
        "7078",
        "tcp://localhost",
        "tcp://localhost:",
        "tcp://localhost:0",
        "tcp://localhost:65536",
        "tcp://:7078",
        "tcp://a b:7078",
        "tcp://[::1:7078",
        "http://localhost:7078",
        "ipc://",
        "ipc://" + "x" * 108,
        "ipc://a\0b",
    ],
)
def test_what_is_no_endpoint_is_refused_at_once(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="is no endpoint"):
        Producer(endpoint=endpoint)
    if "\0" not in endpoint:
        monkeypatch.setenv(ENDPOINT_VARIABLE, endpoint)
        with caplog.at_level(logging.WARNING):
            producer = Producer()
        assert "is no endpoint" in caplog.text
        producer.record("s", "t", 1.0)
        producer.close(0.0)
        assert producer.stats().dropped_total == 1


def test_the_missing_scheme_is_offered() -> None:
    with pytest.raises(ValueError, match=r"did you mean tcp://localhost:7078\?"):
        Producer(endpoint="localhost:7078")


def test_every_form_of_a_host_is_an_endpoint(ring: KeyRing, tmp_path: Path) -> None:
    path = key_file(ring, tmp_path)
    for endpoint in (
        "tcp://127.0.0.1:7078",
        "tcp://monitor_1.example:1",
        "tcp://[::1]:65535",
        "tcp://[fe80::1%eth0]:1",
    ):
        found = locator(None, endpoint, path, "ingest.write")()
        assert found is not None
        assert found.endpoint == endpoint


def test_nothing_goes_over_tcp_in_clear() -> None:
    for endpoint in (FAR, "tcp://10.0.0.1:1", "tcp://127.0.0.1.example:1", "tcp://127.0.0.1:7078", "tcp://[::1]:1"):
        with pytest.raises(ValueError, match="keys alone"):
            Producer(endpoint=endpoint)


def test_a_key_file_gives_the_keys_and_maybe_the_endpoint(ring: KeyRing, tmp_path: Path) -> None:
    path = key_file(ring, tmp_path, FAR)
    found = locator(None, None, path, "ingest.write")()
    assert found is not None
    assert found.endpoint == FAR
    assert found.keys is not None
    assert found.keys.name == "laptop"
    other = locator(None, "tcp://other.example:1", path, "ingest.write")()
    assert other is not None
    assert other.endpoint == "tcp://other.example:1"


def test_a_key_file_without_an_endpoint_needs_one(ring: KeyRing, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=ENDPOINT_VARIABLE):
        Producer(keys=key_file(ring, tmp_path))


def test_the_environment_names_both_unless_the_program_names_a_data_directory(
    ring: KeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert KEYS_VARIABLE == KEY_FILE_VARIABLE
    monkeypatch.setenv(KEYS_VARIABLE, str(key_file(ring, tmp_path)))
    monkeypatch.setenv(ENDPOINT_VARIABLE, FAR)
    found = locator(None, None, None, "ingest.write")()
    assert found is not None
    assert (found.endpoint, found.keys is not None) == (FAR, True)
    assert locator(tmp_path / "data", None, None, "ingest.write")() is None
    assert locator(None, "ipc:///here", None, "ingest.write")() == Address("ipc:///here")


def test_an_environment_that_is_wrong_is_told_and_never_raises(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, "/nowhere/keys.json")
    with caplog.at_level(logging.WARNING):
        producer = Producer()
    assert "keys.json" in caplog.text
    producer.record("s", "t", 1.0)
    producer.close(0.0)
    assert producer.stats().dropped_total == 1
    with pytest.raises(ValueError, match=r"keys\.json"):
        Producer(strict=True)


def test_a_key_file_that_does_not_exist_is_told_alike_wherever_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=f"^keys=: there is no key file {tmp_path}/none"):
        Producer(keys=tmp_path / "none")
    monkeypatch.setenv(KEYS_VARIABLE, f"{tmp_path}/none")
    with pytest.raises(ValueError, match=f"^{KEYS_VARIABLE}: there is no key file {tmp_path}/none"):
        Producer(strict=True)
    producer = Producer()
    producer.record("s", "t", 1.0)
    assert not producer.flush(1.0)
    assert producer.stats().last_error == f"metrics go nowhere: {KEYS_VARIABLE}: there is no key file {tmp_path}/none"
    producer.close(0.0)


def test_what_contradicts_itself_is_refused(ring: KeyRing, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="either"):
        Producer(tmp_path, endpoint="ipc:///here")
    with pytest.raises(ValueError, match="acknowledged only"):
        Producer(keys=key_file(ring, tmp_path, FAR), acknowledged=False)
