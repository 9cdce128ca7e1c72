"""A real gateway process on real pipes: a raw line client, garbage, the end of input, signals, stray prints."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
from mcp import Client, StdioServerParameters

from perfmon.paths import DataDirectory
from perfmon.wire import Kind, ack_reply, ok_reply, unpack_envelope

CHILD = Path(__file__).parent / "gateway_child.py"
#: Bound of every wait for the child.
PATIENCE_S = 30
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "raw", "version": "1"},
}
METRIC = {"mcpServer": "a", "toolName": "b", "duration": 1, "success": True}


class Gateway:
    """A raw line client of one gateway process."""

    def __init__(self, data: Path, start: str, **streams: Any) -> None:
        self.next_id = 0
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), start], env=os.environ | {"PERFMON_DATA_DIR": str(data)}, **options
        )
        self.watchdog = threading.Timer(PATIENCE_S, self.process.kill)
        self.watchdog.start()

    def send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the gateway closed its output"
        found: dict[str, Any] = json.loads(line)
        return found

    def request(self, method: str, params: dict[str, Any] | None = None) -> int:
        self.next_id += 1
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": self.next_id, "method": method}
        self.send(json.dumps(body if params is None else body | {"params": params}).encode())
        return self.next_id

    def ask(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        wanted = self.request(method, params)
        while (reply := self.read()).get("id") != wanted:
            pass
        return reply

    def open(self) -> None:
        assert self.ask("initialize", INITIALIZE)["result"]["serverInfo"]["name"] == "performance-monitor"
        self.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        reply = self.ask("tools/call", {"name": tool, "arguments": arguments})
        result: dict[str, Any] = reply["result"]
        return result

    def end(self) -> tuple[int, bytes, bytes]:
        """Close its input: exit code, what was left of its output, its stderr."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err


@contextmanager
def gateway(data: Path, start: str = "nothing", **streams: Any) -> Iterator[Gateway]:
    found = Gateway(data, start, **streams)
    try:
        yield found
    finally:
        found.watchdog.cancel()
        found.process.kill()
        found.process.wait(PATIENCE_S)
        for pipe in (found.process.stdin, found.process.stdout, found.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    found = DataDirectory(tmp_path / "data")
    found.create()
    return found


@contextmanager
def ingest(data: DataDirectory) -> Iterator[list[dict[str, Any]]]:
    """An ingest that stores every row."""
    rows: list[dict[str, Any]] = []
    stop, bound = threading.Event(), threading.Event()

    def run() -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
            router.linger = 0
            router.bind(data.endpoint("ingest.write"))
            bound.set()
            while not stop.is_set():
                if router.poll(10):
                    sender, frame = router.recv_multipart()
                    body = unpack_envelope(frame).body
                    router.send_multipart([sender, answer(body)])

    def answer(body: dict[str, Any]) -> bytes:
        if body["kind"] == Kind.REQUEST:
            return ok_reply(body["id"], {})
        rows.extend(body["rows"])
        return ack_reply(
            producer=body["producer"],
            seq=body["seq"],
            cumulative=body["seq"],
            stored=len(body["rows"]),
            duplicates=0,
            rejected=[],
            rejected_total=0,
            epoch="e1",
            entry=len(rows),
            first_row=0,
        )

    thread = threading.Thread(target=run)
    thread.start()
    assert bound.wait(PATIENCE_S)
    try:
        yield rows
    finally:
        stop.set()
        thread.join(PATIENCE_S)


def test_a_metric_goes_from_a_raw_line_to_the_ingest_and_back(data):
    with ingest(data) as rows, gateway(data.root) as client:
        client.open()
        assert len(client.ask("tools/list")["result"]["tools"]) == 8
        result = client.call("track_performance", METRIC)
        assert result["structuredContent"]["stored"] is True
        assert not result["isError"]
        assert client.end()[:2] == (0, b"")
    assert rows[0]["mcpServer"] == "a"


def test_the_sdks_client_is_served_in_both_protocol_eras(data):
    async def run(mode: str) -> Any:
        target = StdioServerParameters(
            command=sys.executable, args=[str(CHILD), "nothing"], env={"PERFMON_DATA_DIR": str(data.root)}
        )
        async with Client(target, mode=mode, read_timeout_seconds=PATIENCE_S) as client:
            return await client.call_tool("track_performance", METRIC)

    with ingest(data) as rows:
        for mode in ("legacy", "auto"):
            assert asyncio.run(run(mode)).structured_content["stored"] is True
    assert len(rows) == 2


def test_the_stateless_protocol_needs_no_handshake(data):
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    with gateway(data.root) as client:
        found = client.ask("server/discover", {"_meta": meta})["result"]
        assert found["supportedVersions"] == ["2026-07-28"]
        assert len(client.ask("tools/list", {"_meta": meta})["result"]["tools"]) == 8


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_every_handshake_version_is_served(data, version):
    with gateway(data.root) as client:
        reply = client.ask("initialize", INITIALIZE | {"protocolVersion": version})
        assert reply["result"]["protocolVersion"] == version


GARBAGE = [
    (b"not json at all", -32700),
    (b"\xff\xfe\x00garbage", -32700),
    (b"[" * 100_000, -32700),
    (b"[]", -32600),
    (b'{"jsonrpc":"2.0","id":99,"method":"tools/call","params":{"name":"\\ud800"}}', -32600),
    (b'{"jsonrpc":"2.0","id":99,"method":7}', -32600),
    (b"x" * (4 * 1024 * 1024 + 1), -32700),
]


def test_lines_that_are_no_messages_are_answered_and_the_session_goes_on(data):
    with gateway(data.root) as client:
        client.open()
        for line, code in GARBAGE:
            client.send(line)
            assert client.read()["error"]["code"] == code
            assert client.ask("ping")["result"] == {}


def test_blank_lines_and_carriage_returns_are_no_messages(data):
    with gateway(data.root) as client:
        client.send(b"\n\r\n   ")
        client.open()
        client.send(b'{"jsonrpc":"2.0","id":77,"method":"ping"}\r')
        assert client.read()["id"] == 77


def test_what_is_no_duration_on_the_wire_is_refused_and_not_stored_as_null(data):
    with ingest(data) as rows, gateway(data.root) as client:
        client.open()
        for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0.5", b'"5"', b"true", b"null"):
            client.send(
                b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"track_performance",'
                b'"arguments":{"mcpServer":"a","toolName":"b","success":true,"duration":' + number + b"}}}"
            )
            result = client.read()["result"]
            assert result["isError"], number
            assert "duration: got" in result["content"][0]["text"]
            assert "Example" in result["content"][0]["text"]
    assert rows == []


def test_everything_printed_inside_misses_the_wire(data):
    with ingest(data), gateway(data.root, "noisy") as client:
        client.open()
        assert client.call("track_performance", METRIC)["structuredContent"]["stored"] is True
        code, out, err = client.end()
    assert (code, out) == (0, b"")
    for words in (b"a stray print", b"the original object", b"to the descriptor", b"from a child"):
        assert words in err


def test_requests_written_before_the_end_of_input_are_answered_first(data):
    with ingest(data) as rows, gateway(data.root) as client:
        lines = [{"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": INITIALIZE}]
        for number in range(1, 51):
            params = {"name": "track_performance", "arguments": METRIC}
            lines.append({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
        text = "\n".join(json.dumps(line) for line in lines).encode()
        out, _ = client.process.communicate(text, timeout=PATIENCE_S)
    answered = {body["id"]: body for body in map(json.loads, out.splitlines())}
    assert set(answered) == set(range(51))
    assert all(answered[number]["result"]["structuredContent"]["stored"] for number in range(1, 51))
    assert len(rows) == 50
    assert client.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("start", ["nothing", "hang"])
def test_a_signal_ends_it_cleanly_also_while_a_pipeline_starts(data, number, start):
    with ingest(data), gateway(data.root, start) as client:
        client.open()
        if start == "hang":
            client.request("tools/call", {"name": "track_performance", "arguments": METRIC})
            client.ask("ping")
        client.process.send_signal(number)
        assert client.process.wait(PATIENCE_S) == 0


def test_the_end_of_input_before_anything_was_said_ends_it(data):
    with gateway(data.root) as client:
        assert client.end()[:2] == (0, b"")


def test_a_client_that_is_gone_ends_it(data):
    with gateway(data.root, "hang") as client:
        client.open()
        client.request("tools/call", {"name": "track_performance", "arguments": METRIC})
        client.ask("ping")
        for pipe in (client.process.stdin, client.process.stdout):
            assert pipe is not None
            pipe.close()
        client.process.stdin = client.process.stdout = None
        assert client.process.wait(PATIENCE_S) == 0


def test_without_a_pipeline_a_tool_says_so(data):
    with gateway(data.root, "fail") as client:
        client.open()
        for _ in range(2):
            result = client.call("get_dashboard", {})
            assert result["isError"]
            assert "supervisord did not come up" in result["content"][0]["text"]
            assert "perfmon doctor" in result["content"][0]["text"]


def test_a_waiting_call_hears_of_progress_when_it_asks_for_it(data):
    with gateway(data.root, "hang") as client:
        client.open()
        params = {"name": "get_dashboard", "arguments": {}, "_meta": {"progressToken": "p1"}}
        client.request("tools/call", params)
        told = client.read()
        assert told["method"] == "notifications/progress"
        assert told["params"]["message"] == "starting the pipeline"


def test_nothing_is_started_until_the_tools_were_listed(data):
    wanted = data.root / "pipeline-wanted"
    with gateway(data.root, "mark") as client:
        client.open()
        assert not wanted.exists()
        client.ask("tools/list")
        deadline = threading.Event()
        for _ in range(PATIENCE_S * 100):
            if wanted.exists():
                break
            deadline.wait(0.01)
        assert wanted.exists()


def test_a_client_on_a_socket_pair_is_served_as_on_pipes(data):
    ours, theirs = socket.socketpair()
    with ours, gateway(data.root, stdin=theirs, stdout=theirs) as client:
        theirs.close()
        ours.settimeout(PATIENCE_S)
        ours.sendall(
            b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":' + json.dumps(INITIALIZE).encode() + b"}\n"
        )
        assert b'"serverInfo"' in ours.recv(65_536)
        ours.shutdown(socket.SHUT_WR)
        assert client.process.wait(PATIENCE_S) == 0


def test_input_and_output_may_be_files(data, tmp_path):
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    (tmp_path / "in").write_text("\n".join(json.dumps(line) for line in lines))
    with (
        (tmp_path / "in").open("rb") as read,
        (tmp_path / "out").open("wb") as write,
        gateway(data.root, stdin=read, stdout=write) as client,
    ):
        assert client.process.wait(PATIENCE_S) == 0
    answers = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert [answer["id"] for answer in answers] == [1, 2]


def test_a_client_that_does_not_read_is_not_buffered_for_without_end(data):
    with gateway(data.root) as client:
        client.open()
        # More answers than any pipe and queue hold; then read them all.
        written = threading.Thread(target=lambda: [client.request("tools/list") for _ in range(300)])
        written.start()
        seen = {client.read()["id"] for _ in range(300)}
        written.join(PATIENCE_S)
        assert len(seen) == 300


def test_thousands_of_calls_written_at_once_are_all_stored(data):
    count = 3_000
    with ingest(data) as rows, gateway(data.root) as client:
        client.open()

        def write() -> None:
            for _ in range(count):
                client.request("tools/call", {"name": "track_performance", "arguments": METRIC})

        written = threading.Thread(target=write)
        written.start()
        stored = [client.read()["result"]["structuredContent"]["stored"] for _ in range(count)]
        written.join(PATIENCE_S)
    assert all(stored)
    assert len(rows) == count
