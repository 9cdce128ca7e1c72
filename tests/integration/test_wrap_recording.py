"""A real MCP server behind the proxy, a real client before it, and the real ingest: what is recorded of each call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client import Client

from perfmon import Producer
from perfmon.paths import DataDirectory
from tests.kit import ServiceProcess, eventually, stored

pytestmark = pytest.mark.pipeline

FAKES = Path(__file__).parents[1] / "fakes"
#: The longest that any process here is waited for.
LIMIT_S = 60


def _wrap(data: DataDirectory, *command: str, name: str | None = None) -> list[str]:
    named = ["--name", name] if name else []
    return ["-P", "-m", "perfmon.wrap", "--data", str(data.root), *named, "--", sys.executable, *command]


def _mcp_server(data: DataDirectory, name: str | None = None) -> StdioServerParameters:
    return StdioServerParameters(command=sys.executable, args=_wrap(data, str(FAKES / "mcp_server.py"), name=name))


def _by_tool(data: DataDirectory, count: int) -> dict[str, dict[str, Any]]:
    eventually(lambda: len(stored(data)) >= count, f"{count} calls are in the files")
    records = stored(data)
    assert len(records) == count
    return {record["toolName"]: record for record in records}


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_every_call_of_a_real_client_is_recorded_with_its_outcome_and_cost(
    data_directory: DataDirectory, ingest: ServiceProcess, tmp_path: Path, mode: Any
) -> None:
    async def talk() -> None:
        with anyio.fail_after(LIMIT_S):
            async with Client(_mcp_server(data_directory), mode=mode) as client:
                assert (await client.call_tool("echo", {"text": "hi"})).content[0].text == "hi"  # type: ignore[union-attr] # text
                await client.call_tool("burn", {"seconds": 0.3})
                await client.call_tool("rest", {"seconds": 0.3})
                await client.call_tool("write", {"path": str(tmp_path / "out"), "kilobytes": 2048})
                assert (await client.call_tool("fail", {"text": "no luck"})).is_error
                await client.list_tools()

    anyio.run(talk)
    found = _by_tool(data_directory, 5)
    assert {record["mcpServer"] for record in found.values()} == {"fake-server"}
    assert {tool: record["success"] for tool, record in found.items()} == {
        "echo": True,
        "burn": True,
        "rest": True,
        "write": True,
        "fail": False,
    }
    assert found["fail"]["error"].startswith("tool_error: ")
    assert "no luck" in found["fail"]["error"]
    assert found["burn"]["duration"] >= 300
    assert found["burn"]["resource"]["cpu"] > 20  # of a core, on a machine that may be busy
    assert found["rest"]["duration"] >= 300
    assert found["rest"]["resource"]["cpu"] < 20
    assert all(record["resource"]["memory"] > 10 for record in found.values())
    if sys.platform == "linux":
        assert found["burn"]["resource"]["diskIO"] < 1024


def test_concurrent_calls_are_told_apart(data_directory: DataDirectory, ingest: ServiceProcess) -> None:
    async def talk() -> None:
        with anyio.fail_after(LIMIT_S):
            async with Client(_mcp_server(data_directory, "given")) as client, anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(client.call_tool, "rest", {"seconds": 0.3 if number % 2 else 0.01})

    anyio.run(talk)
    records = eventually(lambda: len(stored(data_directory)) == 20 and stored(data_directory))
    durations = sorted(record["duration"] for record in records)
    assert durations[10] >= 300
    assert {record["mcpServer"] for record in records} == {"given"}
    assert all(record["resource"].get("cpu") is None for record in records)


def test_a_crash_in_a_call_is_that_calls_failure(data_directory: DataDirectory, ingest: ServiceProcess) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "crash", "arguments": {}}}
    done = subprocess.run(
        [sys.executable, *_wrap(data_directory, "-c", "import sys; sys.stdin.readline(); sys.exit(9)", name="crasher")],
        input=json.dumps(request).encode() + b"\n",
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 9
    (record,) = _by_tool(data_directory, 1).values()
    assert (record["mcpServer"], record["success"]) == ("crasher", False)
    assert record["error"] == "no response before exit"


def _request(number: int, tool: str = "answer", **meta: Any) -> bytes:
    params = {"name": tool, "arguments": {}, "_meta": meta}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode() + b"\n"


def test_the_same_call_seen_by_the_hooks_too_is_stored_once(
    data_directory: DataDirectory, ingest: ServiceProcess
) -> None:
    with Producer(data_directory.root) as hooks:
        hooks.record("named", "answer", 5.0, call_id="toolu_1")
        assert hooks.flush(20)
    command = [sys.executable, *_wrap(data_directory, str(FAKES / "stdio_child.py"), "answer", name="named")]
    calls = [_request(1, **{"claudecode/toolUseId": "toolu_1"}), _request(2, **{"claudecode/toolUseId": "toolu_2"})]
    subprocess.run(command, input=b"".join(calls), check=True, timeout=LIMIT_S, stdout=subprocess.DEVNULL)
    eventually(lambda: len(stored(data_directory)) == 2)
    assert sum(record["duration"] == 5.0 for record in stored(data_directory)) == 1


def test_a_killed_proxy_still_delivers_what_it_saw(data_directory: DataDirectory, ingest: ServiceProcess) -> None:
    command = [sys.executable, *_wrap(data_directory, str(FAKES / "stdio_child.py"), "answer", name="killed")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_request(1, "silent") + _request(2))
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 2
        eventually(lambda: len(stored(data_directory)) == 1, "the answered call is there, so the other was seen")
        process.kill()
    found = _by_tool(data_directory, 2)
    assert found["answer"]["success"]
    assert found["silent"]["error"] == "no response before exit"


def test_without_a_pipeline_the_traffic_flows_and_the_loss_is_told_in_one_line(tmp_path: Path) -> None:
    data = DataDirectory((tmp_path / "none").resolve())
    command = [sys.executable, *_wrap(data, str(FAKES / "stdio_child.py"), "answer")]
    done = subprocess.run(
        command,
        input=b"".join(_request(number) for number in range(30)),
        capture_output=True,
        check=True,
        timeout=LIMIT_S,
    )
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == list(range(30))
    assert done.stderr == b"perfmon wrap: calls not recorded: 30 dropped (no_pipeline)\n"
    assert not data.root.exists()


def test_a_proxy_without_calls_says_nothing(tmp_path: Path) -> None:
    data = DataDirectory((tmp_path / "none").resolve())
    command = [sys.executable, *_wrap(data, str(FAKES / "stdio_child.py"), "digest")]
    done = subprocess.run(command, input=b"", capture_output=True, check=True, timeout=LIMIT_S)
    assert done.stderr == b""


def test_calls_made_while_the_ingest_was_down_arrive_when_it_is_back(
    data_directory: DataDirectory, start: Callable[..., ServiceProcess]
) -> None:
    command = [sys.executable, *_wrap(data_directory, str(FAKES / "stdio_child.py"), "answer", name="patient")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(10):
            process.stdin.write(_request(number))
            process.stdin.flush()
            process.stdout.readline()
        start("ingest")
        eventually(lambda: len(stored(data_directory)) == 10)
        process.stdin.close()
        assert process.wait(LIMIT_S) == 0


def test_a_producer_loses_and_doubles_nothing_when_the_ingest_is_killed(
    data_directory: DataDirectory, start: Callable[..., ServiceProcess]
) -> None:
    ingest = start("ingest")
    with Producer(data_directory.root, max_buffered=100_000) as producer:
        for number in range(20_000):
            producer.record("server", "tool", number)
            if number == 5_000:
                os.kill(ingest.pid, signal.SIGKILL)
                ingest.process.wait(10)
        start("ingest")
        assert producer.flush(LIMIT_S)
        stats = producer.stats()
    assert (stats.acknowledged_total, stats.dropped_total, stats.rejected_total) == (20_000, 0, 0)
    eventually(lambda: len(stored(data_directory)) >= 20_000)
    assert sorted(record["duration"] for record in stored(data_directory)) == list(range(20_000))
