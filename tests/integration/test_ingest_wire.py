"""Whatever comes in on the sockets: ingest lives, counts it, says why, and stores what others write meanwhile."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import zmq

from perfmon.paths import DataDirectory
from perfmon.rpc import RpcClient, RpcError
from perfmon.wire import MAX_FRAME_BYTES, encode_batch, encode_rows, pack, request, unpack
from tests.kit import ServiceProcess, Writer, eventually, row, stored

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataDirectory]:
    made = DataDirectory((tmp_path_factory.mktemp("wire") / "data").resolve())
    made.create()
    yield made
    shutil.rmtree(made.runtime, ignore_errors=True)


@pytest.fixture(scope="module")
def ingest(data: DataDirectory) -> Iterator[ServiceProcess]:
    process = ServiceProcess("ingest", data).wait_ready()
    yield process
    process.clean_up()


@pytest.fixture
def writer(ingest: ServiceProcess, data: DataDirectory) -> Iterator[Writer]:
    with Writer(data) as made:
        yield made


@pytest.fixture
def push(ingest: ServiceProcess, data: DataDirectory) -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(data.endpoint("ingest.push"))
    yield socket
    socket.close(linger=0)
    context.term()


@pytest.fixture(autouse=True)
def others_are_served(ingest: ServiceProcess, data: DataDirectory) -> Iterator[None]:
    """After each test the same process stores and acknowledges another producer's write."""
    yield
    with Writer(data, f"other-{os.urandom(4).hex()}") as other:
        assert other.write(row())["stored"] == 1
    assert ingest.process.poll() is None


def refused(ingest: ServiceProcess, reason: str) -> int:
    return int(ingest.stats()["refusedByReason"].get(reason, 0))


FRAMES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not_msgpack"),
    "text": (b"hello ingest", "not_msgpack"),
    "json": (b'{"v":1,"kind":"rows","rows":[]}', "not_msgpack"),
    "random": (bytes(range(256)) * 4, "not_msgpack"),
    "truncated": (encode_rows([row()])[:-3], "not_msgpack"),
    "trailing": (encode_rows([row()]) + b"\0", "not_msgpack"),
    "two messages": (encode_rows([row()]) * 2, "not_msgpack"),
    "never used byte": (b"\xc1", "not_msgpack"),
    "nil": (b"\xc0", "not_a_map"),
    "list": (pack([1, 2]), "not_a_map"),
    "number": (pack(5), "not_a_map"),
    "empty map": (pack({}), "no_envelope"),
    "no kind": (pack({"v": 1}), "no_envelope"),
    "text version": (pack({"v": "1", "kind": "rows"}), "no_envelope"),
    "true version": (pack({"v": True, "kind": "rows"}), "no_envelope"),
    "numeric kind": (pack({"v": 1, "kind": 7}), "no_envelope"),
    "newer major": (pack({"v": 2, "kind": "rows", "rows": []}), "unsupported_version"),
    "zero major": (pack({"v": 0, "kind": "rows", "rows": []}), "unsupported_version"),
    "unknown kind": (pack({"v": 1, "kind": "metrics"}), "unknown_kind"),
    "our own kind": (pack({"v": 1, "kind": "ack"}), "unknown_kind"),
    "nested lists": (b"\x91" * 200_000 + b"\xc0", "not_msgpack"),
    "nested maps": (b"\x81\xa1a" * 100_000 + b"\xc0", "not_msgpack"),
    "a list that claims 4 G": (b"\xdd\xff\xff\xff\xff", "not_msgpack"),
    "a map that claims 4 G": (b"\xdf\xff\xff\xff\xff", "not_msgpack"),
    "bytes that claim 4 G": (b"\xc6\xff\xff\xff\xff", "not_msgpack"),
    "an extension": (msgpack.packb(msgpack.ExtType(5, b"x" * 100)), "not_msgpack"),
    "unhashable key": (b"\x81\x90\x01", "not_msgpack"),
    "invalid id": (b"\x83\xa1v\x01\xa4kind\xa1x\xa2id\xa1\xff", "unknown_kind"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_is_no_message_is_answered_with_its_reason(
    name: str, ingest: ServiceProcess, writer: Writer
) -> None:
    frame, reason = FRAMES[name]
    before = refused(ingest, reason)
    answer = writer.ask(frame)
    assert answer["kind"] == "reply"
    assert answer["ok"] is False
    assert answer["error"]["code"] == reason
    assert refused(ingest, reason) == before + 1


@pytest.mark.parametrize("name", FRAMES)
def test_the_same_frame_on_the_push_socket_is_counted(
    name: str, ingest: ServiceProcess, push: zmq.Socket[bytes]
) -> None:
    frame, reason = FRAMES[name]
    before = refused(ingest, reason)
    push.send(frame)
    eventually(lambda: refused(ingest, reason) == before + 1, f"{name} is counted")


def test_an_oversize_frame_costs_only_its_sender(ingest: ServiceProcess, data: DataDirectory, writer: Writer) -> None:
    with Writer(data) as large:
        large.send(b"\0" * (MAX_FRAME_BYTES + 1))
        assert writer.write(row())["stored"] == 1
        # The socket dropped the sender, which comes back by itself.
        assert eventually(lambda: large.write(row(), timeout_ms=500))["stored"] == 1


def test_a_frame_of_the_largest_size_is_taken(writer: Writer) -> None:
    filler = MAX_FRAME_BYTES - len(encode_rows([row(success=False, error="")])) - 4
    frame = encode_rows([row(success=False, error="x" * filler)])
    assert MAX_FRAME_BYTES - 4 <= len(frame) <= MAX_FRAME_BYTES
    assert writer.ask(frame)["stored"] == 1


def test_messages_of_many_frames_are_refused_and_not_collected(
    ingest: ServiceProcess, writer: Writer, push: zmq.Socket[bytes]
) -> None:
    before = refused(ingest, "too_many_frames")
    writer.send([b"junk"] * 200 + [encode_rows([row()])])
    assert writer.receive()["error"]["code"] == "too_many_frames"
    push.send_multipart([b"junk"] * 200)
    eventually(lambda: refused(ingest, "too_many_frames") == before + 2)


def test_only_the_last_frame_is_the_message_and_the_envelope_comes_back(writer: Writer) -> None:
    writer.socket.send_multipart([b"tag", b"", encode_rows([row()])])
    assert writer.socket.poll(10_000)
    tag, empty, ack = writer.socket.recv_multipart()
    assert (tag, empty) == (b"tag", b"")
    assert unpack(ack)["stored"] == 1


def test_a_plain_request_socket_works_relaxed_and_correlated(data: DataDirectory) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.REQ)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.REQ_RELAXED, 1)
    socket.setsockopt(zmq.REQ_CORRELATE, 1)
    socket.connect(data.endpoint("ingest.write"))
    for number in range(3):
        socket.send(encode_rows([row()], producer=f"req-{os.getpid()}", seq=number + 1))
        socket.send(request(f"r{number}", "ping"))  # relaxed: the acknowledgement before it is dropped by the socket
        assert socket.poll(10_000)
        assert unpack(socket.recv())["id"] == f"r{number}"
    socket.close(linger=0)
    context.term()


def test_a_thousand_messages_in_flight_are_each_acknowledged_in_order(
    ingest: ServiceProcess, data: DataDirectory
) -> None:
    with Writer(data, "pipeline") as many:
        for seq in range(1, 1_001):
            many.send(encode_rows([row(duration=seq)], producer="pipeline", seq=seq))
        acks = [many.receive() for _ in range(1_000)]
    assert [ack["seq"] for ack in acks] == list(range(1, 1_001))
    assert all(ack["stored"] == 1 for ack in acks)
    assert acks[-1]["cumulative"] == 1_000
    places = [(ack["entry"], ack["firstRow"]) for ack in acks]
    assert places == sorted(set(places))


def test_writes_and_queries_share_a_connection(writer: Writer) -> None:
    writer.send(encode_rows([row()]))
    writer.send(request("q", "ping"))
    writer.send(encode_batch([("a", "b")], series=[0], ts=[0], duration=[1.0], ok=[True]))
    answers = [writer.receive() for _ in range(3)]
    assert sorted(answer["kind"] for answer in answers) == ["ack", "ack", "reply"]
    [late] = [answer for answer in answers if answer["kind"] == "ack" and not answer["stored"]]
    assert late["rejected"] == [[0, "timestamp_too_old"]]


@pytest.mark.parametrize(
    "message",
    [
        {"v": 1, "kind": "request"},
        {"v": 1, "kind": "request", "id": 5, "method": "ping", "params": {}},
        {"v": 1, "kind": "request", "id": "a", "method": "ping", "params": []},
        {"v": 1, "kind": "request", "id": "a", "method": "ping"},
    ],
    ids=repr,
)
def test_a_request_that_is_none_is_refused(message: dict[str, Any], writer: Writer) -> None:
    assert writer.ask(pack(message))["error"]["code"] == "bad_request"


@pytest.mark.parametrize("method", ["rows", "", "__init__", "shutdown"])
def test_an_unknown_method_is_refused_with_the_known_ones(method: str, writer: Writer) -> None:
    answer = writer.ask(request("id-1", method))
    assert answer["id"] == "id-1"
    assert answer["error"]["code"] == "unknown_method"
    assert "ping" in answer["error"]["message"]


def test_an_id_that_is_not_utf8_comes_back_as_it_came(writer: Writer) -> None:
    frame = request("ID", "ping").replace(b"ID", b"\xff\xfe")
    writer.send(frame)
    assert writer.socket.poll(10_000)
    reply = writer.socket.recv()
    assert b"\xff\xfe" in reply
    assert unpack(reply)["ok"] is True


@pytest.mark.parametrize("day", ["", "2025-13-01", "..", "../..", "2025-1-1", "2025-10-31/../..", "*"])
def test_a_day_that_is_none_is_not_forgotten(day: str, ingest: ServiceProcess, data: DataDirectory) -> None:
    with RpcClient(ingest.endpoint) as client, pytest.raises(RpcError, match=r"day|time"):
        client.call("forget", {"day": day})
    assert data.metrics.is_dir()


@pytest.mark.parametrize(
    "params", [{}, {"service": "detector", "epoch": "x", "seq": True}, {"service": 5, "epoch": "x", "seq": 1}]
)
def test_progress_of_a_wrong_shape_is_refused(params: dict[str, Any], ingest: ServiceProcess) -> None:
    with RpcClient(ingest.endpoint) as client, pytest.raises(RpcError, match="progress takes"):
        client.call("progress", params)


def test_progress_of_strangers_is_not_noted(ingest: ServiceProcess) -> None:
    epoch = ingest.call("ping")["epoch"]
    for params in (
        {"service": "stranger", "epoch": epoch, "seq": 5},
        {"service": "detector", "epoch": "other", "seq": 5},
        {"service": "detector", "epoch": epoch, "seq": -1},
    ):
        assert ingest.call("progress", params) == {"noted": False}
    assert ingest.stats()["consumers"] == {}


HOSTILE_NAMES = {
    "../../x": None,
    "a\x00b": None,
    "x" * 300: None,
    "é" * 130: None,
    "line\nbreak": None,
    "-rf": None,
    "<script>alert(1)</script>": None,
    "CON": None,
    ".": None,
    "..": None,
    "\u202egnp": None,
    "sub/dir": None,
    "x" * 1_025: "name_too_long",
    "": "name_empty",
    "__overflow__": "name_reserved",
    "\udc80\udcff": "name_not_utf8",
}


@pytest.mark.parametrize("field", ["mcpServer", "toolName"])
def test_each_hostile_name_is_stored_truly_or_refused_and_its_neighbours_are_stored(
    field: str, ingest: ServiceProcess, writer: Writer, data: DataDirectory
) -> None:
    marker = f"neighbour-of-{field}"
    rows = []
    for name in HOSTILE_NAMES:
        rows += [row(tool=marker), row() | {field: name, "error": marker, "success": False}]
    frame = msgpack.packb({"v": 1, "kind": "rows", "rows": rows}, unicode_errors="surrogateescape")
    ack = writer.ask(frame)
    expected = [[2 * at + 1, reason] for at, reason in enumerate(HOSTILE_NAMES.values()) if reason]
    assert ack["rejected"] == expected
    assert ack["stored"] == len(rows) - len(expected)
    ingest.call("flush")
    records = stored(data)
    assert sum(record["toolName"] == marker for record in records) == len(HOSTILE_NAMES)
    kept = {record[field] for record in records if record["error"] == marker}
    assert kept == {name for name, reason in HOSTILE_NAMES.items() if reason is None}
    for path in data.root.parent.rglob("*"):
        assert path.is_relative_to(data.root) or not path.name.endswith(".jsonl")


def test_numbers_that_json_cannot_carry_are_refused_row_by_row(writer: Writer) -> None:
    bad = [math.nan, math.inf, -math.inf, -1.0, 1e10, 2**64 - 1]
    ack = writer.write(*(row(duration=value) for value in bad), row())
    assert ack["rejected"] == [[index, "duration_out_of_range"] for index in range(len(bad))]
    assert ack["stored"] == 1


def test_a_huge_error_message_is_cut_and_redacted_before_it_is_stored(
    ingest: ServiceProcess, writer: Writer, data: DataDirectory
) -> None:
    text = "password=hunter2 " + "z" * 1_000_000
    assert writer.write(row(tool="huge", success=False, error=text))["stored"] == 1
    ingest.call("flush")
    [record] = [record for record in stored(data) if record["toolName"] == "huge"]
    assert len(record["error"]) <= 1_001
    assert "hunter2" not in record["error"]
    assert all(b"hunter2" not in path.read_bytes() for path in data.journal.iterdir())


def test_pushed_rows_and_batches_are_stored_without_an_answer(
    ingest: ServiceProcess, push: zmq.Socket[bytes], data: DataDirectory
) -> None:
    before = ingest.stats()
    stored_before = before["stored_total"]
    now = ingest.call("hello")["lastHelloMs"]
    push.send(encode_rows([row(tool="pushed"), row(tool="")]))
    push.send(encode_batch([("p", "pushed")], series=[0, 0], ts=[now, now], duration=[1.0, 2.0], ok=[True, False]))
    ingest.eventually(lambda stats: stats["stored_total"] == stored_before + 3)
    assert ingest.stats()["lost_rows_total"] == before["lost_rows_total"] + 1
    ingest.call("flush")
    assert sum(record["toolName"] == "pushed" for record in stored(data)) == 3


def test_a_flood_of_junk_does_not_hold_up_others(ingest: ServiceProcess, data: DataDirectory, writer: Writer) -> None:
    with Writer(data) as flood:
        for _ in range(5_000):
            flood.send(b"junk")
        assert writer.write(row())["stored"] == 1
        assert flood.receive()["ok"] is False


def test_the_head_is_published_again_and_again_and_entries_with_their_place(
    ingest: ServiceProcess, data: DataDirectory, writer: Writer
) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stream = context.socket(zmq.SUB)
    stream.setsockopt(zmq.LINGER, 0)
    stream.setsockopt(zmq.SUBSCRIBE, b"")
    stream.connect(data.endpoint("stream"))

    def next_of(kind: str) -> tuple[dict[str, Any], list[bytes]]:
        while True:
            assert stream.poll(10_000)
            header, *body = stream.recv_multipart()
            found = unpack(header)
            if found["kind"] == kind:
                return found, body

    head, _ = next_of("head")
    ping = ingest.call("ping")
    assert (head["epoch"], head["v"]) == (ping["epoch"], 1)
    ack = writer.write(row(tool="streamed", duration=7))
    entry, [body] = next_of("entry")
    assert (entry["seq"], entry["epoch"]) == (ack["entry"], ack["epoch"])
    columns = unpack(body)
    assert columns["dictionary"] == [["files", "streamed"]]
    assert columns["paths"] == ["files/streamed"]
    head, _ = next_of("head")
    assert head["seq"] == ack["entry"]
    stream.close(linger=0)
    context.term()
