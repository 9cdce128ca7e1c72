"""Connections that behave in no way a library would: ingest lives, others are served, and what they say is counted."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sys
from collections.abc import Iterator

import pytest
import zmq

from perfmon.paths import DataDirectory
from perfmon.rpc import Unavailable
from perfmon.wire import MAX_FRAME_BYTES, encode_rows, unpack
from tests.kit import ServiceProcess, Writer, eventually, row
from tests.kit.measure import descriptors, resident_mb
from tests.kit.zmtp import GREETING, Raw

pytestmark = pytest.mark.pipeline

#: Runs an ingest that looks at its descriptors in every turn of its loop.
QUICK_TO_LOOK = """
import runpy
from shared.runtime import descriptors
descriptors.LOOK_S = descriptors.LOOK_SOON_S = 0.0
runpy.run_module("services.ingest", run_name="__main__")
"""

SOCKETS = ("ingest.write", "ingest.push", "stream")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataDirectory]:
    made = DataDirectory((tmp_path_factory.mktemp("connections") / "data").resolve())
    made.create()
    yield made
    shutil.rmtree(made.runtime, ignore_errors=True)


@pytest.fixture(scope="module")
def ingest(data: DataDirectory) -> Iterator[ServiceProcess]:
    process = ServiceProcess("ingest", data).wait_ready()
    yield process
    process.clean_up()


@pytest.fixture(autouse=True)
def others_are_served(ingest: ServiceProcess, data: DataDirectory) -> Iterator[None]:
    with Writer(data, f"other-{os.urandom(4).hex()}") as other:
        assert other.write(row())["stored"] == 1
        before = ingest.pid
        yield
        assert other.write(row())["stored"] == 1
        assert ingest.call("ping")["pid"] == before


@pytest.mark.parametrize("name", SOCKETS)
@pytest.mark.parametrize("said", [b"", GREETING[:1], GREETING[:11], GREETING[:40], GREETING], ids=len)
def test_connections_that_stop_halfway_hold_up_nobody(data: DataDirectory, name: str, said: bytes) -> None:
    halves = [Raw(data.endpoint(name)) for _ in range(20)]
    for half in halves:
        half.send(said)
    with Writer(data) as writer:
        assert writer.write(row())["stored"] == 1
    for half in halves:
        half.close()


@pytest.mark.parametrize("name", SOCKETS)
@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 200, os.urandom(1_000), b"\0" * 1_000])
def test_what_is_not_zmtp_is_cut_off(data: DataDirectory, name: str, junk: bytes) -> None:
    with Raw(data.endpoint(name), timeout_s=1.0) as stranger:
        try:
            stranger.send(junk)
            stranger.closed_by_peer()
        except ConnectionError:
            pass  # cut off while it spoke


@pytest.mark.parametrize("identity", [b"", b"\0", b"\0abcd", b"\0\x80\0\0\x2a", b"x" * 255, b"\xff"])
def test_any_identity_is_answered(data: DataDirectory, identity: bytes) -> None:
    with Raw(data.endpoint("ingest.write")) as odd:
        odd.greet(identity=identity)
        odd.message(encode_rows([row()]))
        assert unpack(odd.receive())["stored"] == 1


def test_an_identity_that_is_taken_does_not_take_the_answers_of_the_first(data: DataDirectory) -> None:
    with Raw(data.endpoint("ingest.write")) as first, Raw(data.endpoint("ingest.write"), timeout_s=0.5) as second:
        first.greet(identity=b"same")
        first.message(encode_rows([row(tool="first")]))
        assert unpack(first.receive())["stored"] == 1
        second.greet(identity=b"same")
        try:
            second.message(encode_rows([row(tool="second")]))
        except ConnectionError:
            pass  # it was cut off at once
        first.message(encode_rows([row(tool="first")]))
        assert unpack(first.receive())["stored"] == 1


@pytest.mark.parametrize("kind", ["DEALER", "REQ", "ROUTER", "PUB", "PULL", "nonsense", ""])
def test_a_client_of_any_kind_does_no_harm(data: DataDirectory, kind: str) -> None:
    for name in SOCKETS:
        with Raw(data.endpoint(name), timeout_s=0.5) as odd:
            try:
                odd.greet(kind)
                odd.message(b"", encode_rows([row(tool="of a kind")]))
            except (ConnectionError, TimeoutError):
                continue  # not let in


@pytest.mark.parametrize("declared", [MAX_FRAME_BYTES + 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("name", SOCKETS[:2])
def test_a_frame_that_is_too_large_is_cut_off_before_it_is_held(
    ingest: ServiceProcess, data: DataDirectory, name: str, declared: int
) -> None:
    before_mb = resident_mb(ingest.pid)
    with Raw(data.endpoint(name)) as liar:
        liar.greet("DEALER" if name == "ingest.write" else "PUSH")
        liar.send(b"\x02" + declared.to_bytes(8, "big"))
        try:
            liar.send(b"x" * 100_000)
        except ConnectionError:
            pass  # cut off while it spoke
        assert liar.closed_by_peer()
    assert resident_mb(ingest.pid) - before_mb < 32


def test_a_frame_that_never_ends_takes_what_was_sent_of_it_and_no_more(
    ingest: ServiceProcess, data: DataDirectory
) -> None:
    before_mb = resident_mb(ingest.pid)
    slow = [Raw(data.endpoint("ingest.write")) for _ in range(50)]
    for one in slow:
        one.greet()
        one.send(b"\x02" + MAX_FRAME_BYTES.to_bytes(8, "big") + b"x" * 1_000)
    with Writer(data) as writer:
        assert writer.write(row())["stored"] == 1
    assert resident_mb(ingest.pid) - before_mb < 32
    for one in slow:
        one.close()


def test_messages_of_many_empty_and_odd_frames_are_answered_or_passed_over(
    ingest: ServiceProcess, data: DataDirectory
) -> None:
    refused = ingest.stats()["refusedByReason"]
    with Raw(data.endpoint("ingest.write")) as odd:
        odd.greet()
        for frames in ([b""], [b"", b""], [b"", b"", b""], [b"a", b"", b"\xc0"], [b""] * 10, [b"x"] * 200):
            odd.message(*frames)
            assert unpack(odd.receive())["ok"] is False
    now = ingest.stats()["refusedByReason"]
    assert sum(now.values()) - sum(refused.values()) == 6
    assert now["too_many_frames"] - refused.get("too_many_frames", 0) == 2


def test_who_never_reads_the_answers_takes_no_memory_and_holds_up_nobody(
    ingest: ServiceProcess, data: DataDirectory
) -> None:
    before_mb = resident_mb(ingest.pid)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    deaf = context.socket(zmq.DEALER)
    deaf.setsockopt(zmq.LINGER, 0)
    deaf.setsockopt(zmq.RCVHWM, 1)
    deaf.setsockopt(zmq.RCVBUF, 4_096)
    deaf.setsockopt(zmq.SNDTIMEO, 10_000)
    deaf.connect(data.endpoint("ingest.write"))
    with Writer(data) as writer:
        for _ in range(50):
            for _ in range(400):
                deaf.send(b"junk")
            assert writer.write(row())["stored"] == 1
    eventually(lambda: ingest.stats()["refusedByReason"].get("not_msgpack", 0) >= 20_000, "all were looked at")
    assert ingest.stats()["refusedByReason"]["acknowledgement_undeliverable"] > 0
    assert resident_mb(ingest.pid) - before_mb < 64
    deaf.close(linger=0)
    context.term()


def test_connections_that_come_and_go_leave_nothing_open(ingest: ServiceProcess, data: DataDirectory) -> None:
    before = descriptors(ingest.pid)
    for _ in range(300):
        with Raw(data.endpoint("ingest.write")) as short:
            short.send(GREETING[: os.urandom(1)[0] % 64])
    eventually(lambda: descriptors(ingest.pid) <= before + 2, "they are closed")


def test_a_flood_beyond_the_limit_of_descriptors_ends_nothing(data: DataDirectory) -> None:
    own = DataDirectory(data.root.parent / "few")
    own.create()
    few = ServiceProcess(
        "ingest",
        own,
        command=(sys.executable, "-c", QUICK_TO_LOOK),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300)),
    )
    flood = []
    try:
        few.wait_ready()
        assert few.stats()["descriptorLimit"] == 300
        while "too_many_connections" not in few.log_text():
            flood.append(Raw(own.endpoint("stream")))
            with contextlib.suppress(Unavailable):  # cut off with the others while it was under way
                few.call("ping", timeout_s=1.0)  # its loop turns
            assert len(flood) < 290
        for connection in flood:
            assert connection.closed_by_peer()
        with Writer(own) as writer:
            assert writer.write(row())["stored"] == 1
        assert few.stats()["connection_cuts_total"] == 1
        assert few.process.poll() is None
    finally:
        for connection in flood:
            connection.close()
        few.clean_up()
        shutil.rmtree(own.runtime, ignore_errors=True)


def test_more_connections_than_the_usual_limit_of_descriptors_are_held(
    ingest: ServiceProcess, data: DataDirectory
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4_000:
        pytest.skip("this user may not have so many descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4_000), hard))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 2_000)
    sockets = []
    for number in range(1_200):
        socket = context.socket(zmq.DEALER)
        socket.connect(data.endpoint("ingest.write"))
        socket.send(encode_rows([row()], producer=f"many-{number}", seq=1))
        sockets.append(socket)
    for socket in sockets:
        assert socket.poll(20_000)
        assert unpack(socket.recv())["stored"] == 1
        socket.close(linger=0)
    context.term()
    assert ingest.process.poll() is None
