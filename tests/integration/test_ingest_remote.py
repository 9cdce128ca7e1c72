"""Producers off the machine: who has a listed key writes and is acknowledged; everybody else is refused and counted."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from perfmon import Producer
from perfmon.keys import ClientKeys
from perfmon.paths import DataDirectory
from perfmon.pipeline.check_remote import check_remote
from perfmon.rpc import RpcError
from perfmon.wire import encode_batch, encode_rows, pack, request
from tests.kit import ServiceProcess, Writer, eventually, row, stored
from tests.kit.measure import descriptors, resident_mb
from tests.kit.remote import answer, dealer, free_port, gate_stats, ring_of

pytestmark = pytest.mark.pipeline

#: What a client that is refused may wait for an answer that must not come.
SILENCE_MS = 1_000


@pytest.fixture
def endpoint() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.fixture
def keys(data_directory: DataDirectory) -> ClientKeys:
    ring = ring_of(data_directory)
    ring.init()
    return ring.add("laptop")


@pytest.fixture
def ingest(
    keys: ClientKeys, endpoint: str, data_directory: DataDirectory, start: Callable[..., ServiceProcess]
) -> ServiceProcess:
    process = start("ingest", environment={"PERFMON_INGEST_TCP": endpoint})
    eventually(lambda: gate_stats(data_directory)["listed"] == 1, "the gate answers")
    return process


@pytest.fixture
def others_are_served(ingest: ServiceProcess, endpoint: str, keys: ClientKeys) -> Iterator[None]:
    """A listed producer, connected before, is acknowledged after as it was before."""
    with dealer(endpoint, keys) as mine:
        mine.send(encode_rows([row(tool="before")]))
        assert answer(mine)["stored"] == 1
        yield
        mine.send(encode_rows([row(tool="after")]))
        assert answer(mine)["stored"] == 1


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def denied(data: DataDirectory, reason: str, count: int = 1) -> None:
    eventually(lambda: gate_stats(data)["deniedByReason"].get(reason, 0) >= count, reason)


def test_a_listed_key_writes_and_is_acknowledged(
    ingest: ServiceProcess, endpoint: str, keys: ClientKeys, data_directory: DataDirectory
) -> None:
    now = ingest.call("hello")["lastHelloMs"]
    with dealer(endpoint, keys) as far:
        far.send(encode_rows([row(tool="rows"), row(tool="")], producer="far", seq=1))
        ack = answer(far)
        assert (ack["kind"], ack["stored"], ack["cumulative"]) == ("ack", 1, 1)
        assert ack["rejected"] == [[1, "name_empty"]]
        far.send(encode_rows([row(tool="rows")], producer="far", seq=1))
        assert answer(far)["duplicates"] == 1
        far.send(encode_batch([("s", "batch")], series=[0], ts=[now], duration=[1.5], ok=[True], producer="far", seq=2))
        assert answer(far)["cumulative"] == 2
        far.send(request("p-1", "ping"))
        reply = answer(far)
        assert (reply["id"], reply["ok"], reply["result"]["service"]) == ("p-1", True, "ingest")
    ingest.call("flush")
    assert sorted(record["toolName"] for record in stored(data_directory)) == ["batch", "rows"]
    figures = gate_stats(data_directory)
    assert figures["forwardedByClient"] == {"laptop": 4}
    assert figures["deniedByReason"] == {}


def test_a_req_socket_is_answered(ingest: ServiceProcess, endpoint: str, keys: ClientKeys) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    asker = context.socket(zmq.REQ)
    for option in (zmq.REQ_RELAXED, zmq.REQ_CORRELATE):
        asker.setsockopt(option, 1)
    asker.setsockopt(zmq.LINGER, 0)
    asker.setsockopt(zmq.CURVE_SERVERKEY, keys.server_key.encode())
    asker.setsockopt(zmq.CURVE_PUBLICKEY, keys.public_key.encode())
    asker.setsockopt(zmq.CURVE_SECRETKEY, keys.secret_key.encode())
    asker.connect(endpoint)
    for _ in range(2):
        asker.send(encode_rows([row()]))
        assert answer(asker)["stored"] == 1
    asker.close(linger=0)
    context.term()


@pytest.mark.usefixtures("others_are_served")
@pytest.mark.parametrize("method", ["flush", "snapshot", "forget", "progress", "hello", "stats", "no_such"])
def test_only_writes_and_ping_get_through(
    method: str, endpoint: str, keys: ClientKeys, data_directory: DataDirectory
) -> None:
    with dealer(endpoint, keys) as far:
        far.send(request("r-1", method, {"day": "2025-01-01", "service": "alerter", "epoch": "", "seq": 1}))
        reply = answer(far)
        assert (reply["id"], reply["ok"], reply["error"]["code"]) == ("r-1", False, "not_allowed_here")
    assert gate_stats(data_directory)["refusedByReason"] == {"not_allowed_here": 1}


@pytest.mark.usefixtures("others_are_served")
def test_what_is_no_message_is_answered_by_the_gate(
    endpoint: str, keys: ClientKeys, data_directory: DataDirectory
) -> None:
    junk = {b"\xc1": "not_msgpack", pack([1]): "not_a_map", pack({}): "no_envelope"}
    junk |= {pack({"v": 2, "kind": "rows"}): "unsupported_version", pack({"v": 1, "kind": "reply"}): "unknown_kind"}
    with dealer(endpoint, keys) as far:
        for frame, reason in junk.items():
            far.send(frame)
            assert answer(far)["error"]["code"] == reason
        far.send_multipart([b"", b"1", b"2", encode_rows([row()])])
        assert answer(far)["error"]["code"] == "too_many_frames"
    assert set(gate_stats(data_directory)["refusedByReason"]) == {*junk.values(), "too_many_frames"}


@pytest.mark.usefixtures("others_are_served")
def test_without_curve_nobody_gets_in(endpoint: str, data_directory: DataDirectory) -> None:
    with dealer(endpoint) as plain:
        plain.send(encode_rows([row(tool="intruder")]))
        denied(data_directory, "handshake_not_finished")
        assert not plain.poll(SILENCE_MS)


@pytest.mark.usefixtures("others_are_served")
def test_a_key_that_is_not_listed_does_not_get_in(
    endpoint: str, keys: ClientKeys, data_directory: DataDirectory
) -> None:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    with dealer(endpoint, replace(keys, public_key=public, secret_key=secret)) as far:
        far.send(encode_rows([row(tool="intruder")]))
        denied(data_directory, "key_not_listed")
        assert not far.poll(SILENCE_MS)


@pytest.mark.usefixtures("others_are_served")
def test_who_is_refused_and_comes_again_at_once_costs_a_handshake_a_second(
    endpoint: str, keys: ClientKeys, data_directory: DataDirectory
) -> None:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    stranger = replace(keys, public_key=public, secret_key=secret)
    refusals = 0
    ended = time.monotonic() + 3
    while time.monotonic() < ended:
        with (
            dealer(endpoint, stranger) as socket_,
            socket_.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH) as events,
        ):
            refusals += bool(events.poll(SILENCE_MS * 3))
            socket_.disable_monitor()
    assert 1 <= refusals <= 4
    denied(data_directory, "key_not_listed", refusals)


@pytest.mark.usefixtures("others_are_served")
def test_who_expects_another_server_does_not_get_in(
    endpoint: str, keys: ClientKeys, data_directory: DataDirectory
) -> None:
    public, _ = (key.decode() for key in zmq.curve_keypair())
    with dealer(endpoint, replace(keys, server_key=public)) as far:
        far.send(encode_rows([row(tool="intruder")]))
        denied(data_directory, "wrong_keys")
        assert not far.poll(SILENCE_MS)


@pytest.mark.usefixtures("others_are_served")
def test_a_listed_public_key_without_its_secret_does_not_get_in(
    endpoint: str, keys: ClientKeys, data_directory: DataDirectory
) -> None:
    _, secret = (key.decode() for key in zmq.curve_keypair())
    with dealer(endpoint, replace(keys, secret_key=secret)) as far:
        far.send(encode_rows([row(tool="intruder")]))
        denied(data_directory, "wrong_keys")
        assert not far.poll(SILENCE_MS)


@pytest.mark.usefixtures("others_are_served")
@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(4_096), b"\xff" * 64, b"\x16\x03\x01" + b"\0" * 300]
)
def test_what_is_not_zmtp_is_cut_off_and_counted(endpoint: str, data_directory: DataDirectory, garbage: bytes) -> None:
    host, port = endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as stranger:
        stranger.sendall(garbage)
        eventually(lambda: gate_stats(data_directory)["deniedByReason"], "counted")
        try:
            while stranger.recv(4_096):
                pass
        except ConnectionError:
            pass  # cut off, one way or the other


@pytest.mark.usefixtures("others_are_served")
def test_connections_that_say_nothing_are_closed_and_counted(endpoint: str, data_directory: DataDirectory) -> None:
    host, port = endpoint.removeprefix("tcp://").split(":")
    silent = [socket.create_connection((host, int(port)), timeout=10) for _ in range(20)]
    denied(data_directory, "handshake_not_finished", 20)
    for stranger in silent:
        while stranger.recv(4_096):
            pass
        stranger.close()
    eventually(lambda: gate_stats(data_directory)["connections"] == 1, "only the listed one is left")


def test_a_revoked_key_writes_no_more_and_does_not_connect_again(
    ingest: ServiceProcess, endpoint: str, keys: ClientKeys, data_directory: DataDirectory
) -> None:
    with dealer(endpoint, keys) as far:
        far.send(encode_rows([row(tool="listed")]))
        assert answer(far)["stored"] == 1
        ring_of(data_directory).revoke("laptop")
        eventually(lambda: gate_stats(data_directory)["listed"] == 0)
        far.send(encode_rows([row(tool="revoked")]))
        assert answer(far)["error"]["code"] == "key_not_listed"
        with dealer(endpoint, keys) as again:
            again.send(encode_rows([row(tool="revoked")]))
            denied(data_directory, "key_not_listed")
            assert not again.poll(SILENCE_MS)
        new = ring_of(data_directory).add("laptop")
        far.send(encode_rows([row(tool="revoked")]))
        assert answer(far)["error"]["code"] == "key_not_listed"
        with dealer(endpoint, new) as again:
            again.send(encode_rows([row(tool="listed")]))
            assert answer(again)["stored"] == 1
    ingest.call("flush")
    assert {record["toolName"] for record in stored(data_directory)} == {"listed"}


def test_a_killed_gate_comes_back_and_ingest_never_noticed(
    ingest: ServiceProcess, endpoint: str, keys: ClientKeys, data_directory: DataDirectory, writer: Writer
) -> None:
    with dealer(endpoint, keys) as far:
        far.send(encode_rows([row()]))
        assert answer(far)["stored"] == 1
        os.kill(ingest.stats()["remote"]["gatePid"], 9)
        assert writer.write(row())["stored"] == 1
        ingest.eventually(lambda stats: stats["remote"]["starts_total"] == 2)
        far.send(encode_rows([row()]))
        assert answer(far)["stored"] == 1
    assert ingest.process.poll() is None


def test_the_gate_ends_with_ingest(ingest: ServiceProcess, data_directory: DataDirectory) -> None:
    gate = ingest.stats()["remote"]["gatePid"]
    ingest.kill()
    eventually(lambda: not is_alive(gate), "the gate ended")


def test_a_port_that_is_taken_is_tried_again_and_holds_up_nobody(
    keys: ClientKeys, endpoint: str, data_directory: DataDirectory, start: Callable[..., ServiceProcess], writer: Writer
) -> None:
    with socket.socket() as other:
        host, port = endpoint.removeprefix("tcp://").split(":")
        other.bind((host, int(port)))
        other.listen()
        ingest = start("ingest", environment={"PERFMON_INGEST_TCP": endpoint})
        assert writer.write(row())["stored"] == 1
        eventually(lambda: "cannot_listen" in ingest.log_text())
    with dealer(endpoint, keys) as far:
        far.send(encode_rows([row()]))
        assert answer(far, timeout_s=20)["stored"] == 1


@pytest.mark.parametrize("place", ["tcp://0.0.0.0:7078", "tcp://127.0.0.1:7078", "tcp://[::]:7078", "tcp://*:7078"])
def test_no_port_is_opened_without_keys(
    place: str, data_directory: DataDirectory, start: Callable[..., ServiceProcess]
) -> None:
    ingest = start("ingest", ready=False, environment={"PERFMON_INGEST_TCP": place})
    assert ingest.wait_end() == 78
    assert f"setting ingest_tcp is {place}, which needs keys" in ingest.log_text()
    assert "perfmon keys init" in ingest.log_text()


def test_a_data_directory_opens_no_port(data_directory: DataDirectory, start: Callable[..., ServiceProcess]) -> None:
    ring_of(data_directory).init()
    (data_directory.config / "settings.json").write_text('{"ingest_tcp": "tcp://0.0.0.0:7078"}')
    ingest = start("ingest", ready=False)
    assert ingest.wait_end() == 78
    assert "setting ingest_tcp opens a port" in ingest.log_text()


def test_the_users_own_settings_open_one(
    keys: ClientKeys, endpoint: str, data_directory: DataDirectory, start: Callable[..., ServiceProcess]
) -> None:
    (ring_of(data_directory).folder.parent / "settings.json").write_text(f'{{"ingest_tcp": "{endpoint}"}}')
    start("ingest")
    with dealer(endpoint, keys) as far:
        far.send(encode_rows([row()]))
        assert answer(far)["stored"] == 1


def test_without_the_setting_nothing_listens(start: Callable[..., ServiceProcess]) -> None:
    ingest = start("ingest")
    assert ingest.stats()["remote"] == {"endpoint": "off", "gatePid": None, "starts_total": 0}
    with pytest.raises(RpcError):
        gate_stats(ingest.data)


def test_the_doctor_tells_of_the_port_and_of_who_was_denied(
    ingest: ServiceProcess, endpoint: str, data_directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(ring_of(data_directory).folder.parents[1]))
    monkeypatch.setenv("PERFMON_INGEST_TCP", endpoint)
    with dealer(endpoint) as plain:
        plain.send(b"")
        denied(data_directory, "handshake_not_finished")
    [found] = check_remote(data_directory)
    assert found.verdict == "ok"
    assert f"{endpoint}: 1 listed, " in found.found
    assert "handshake_not_finished" in found.found
    ingest.terminate()
    [found] = check_remote(data_directory)
    assert (found.verdict, found.found) == ("problem", f"{endpoint} is set; nothing runs")
    (ring_of(data_directory).folder / "server.json").unlink()
    [found] = check_remote(data_directory)
    assert found.verdict == "problem"
    assert "perfmon keys init" in found.found
    monkeypatch.delenv("PERFMON_INGEST_TCP")
    assert list(check_remote(data_directory)) == []


def test_the_newer_internet_protocol_works_too(
    keys: ClientKeys, data_directory: DataDirectory, start: Callable[..., ServiceProcess], tmp_path: Path
) -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 on this machine")
    endpoint = f"tcp://[::1]:{free_port()}"
    start("ingest", environment={"PERFMON_INGEST_TCP": endpoint})
    file = tmp_path / "keys.json"
    file.write_bytes(replace(keys, endpoint=endpoint).to_json())
    with Producer(keys=file) as producer:
        producer.record("far", "tool", 1.0)
        assert producer.flush(20.0), producer.stats()
        assert producer.stats().acknowledged_total == 1


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.usefixtures("others_are_served")
def test_the_largest_frames_of_a_listed_client_cost_the_gate_a_bounded_memory(
    ingest: ServiceProcess, endpoint: str, keys: ClientKeys, writer: Writer
) -> None:
    gate, head = ingest.stats()["remote"]["gatePid"], b"\x83\xa1v\x01\xa4kind\xa4rows\xa4rows"
    settled_mb, ingest_mb = resident_mb(gate), resident_mb(ingest.pid)
    lists = b"\xdd\x00\x0c\x00\x00" + b"\x90" * 786_432
    with dealer(endpoint, keys) as far:
        for _ in range(8):
            far.send(head + b"\xdc\x00\x14" + lists * 20)
        for _ in range(8):
            assert answer(far, timeout_s=60)["error"]["code"] == "frame_too_large"
        assert writer.write(row())["stored"] == 1
    assert resident_mb(gate, peak=True) - settled_mb < 400
    assert resident_mb(ingest.pid, peak=True) - ingest_mb < 32
    assert ingest.stats()["remote"]["starts_total"] == 1


@pytest.mark.usefixtures("others_are_served")
def test_a_crowd_of_strangers_leaves_ingest_alone(
    ingest: ServiceProcess, endpoint: str, data_directory: DataDirectory, writer: Writer
) -> None:
    before = descriptors(ingest.pid)
    host, port = endpoint.removeprefix("tcp://").split(":")
    strangers = [socket.create_connection((host, int(port)), timeout=10) for _ in range(300)]
    for stranger in strangers[::2]:
        stranger.sendall(b"\xff" + b"\0" * 8 + b"\x7f\x03\x00CURVE" + b"\0" * 47)
    assert writer.write(row())["stored"] == 1
    assert descriptors(ingest.pid) <= before + 2
    for stranger in strangers:
        stranger.close()
    eventually(lambda: gate_stats(data_directory)["connections"] == 1, "only the listed one is left")
    eventually(lambda: sum(gate_stats(data_directory)["deniedByReason"].values()) >= 300, "all are counted")
