"""Public MCP servers from the package registries, behind the proxy, called by a real client: what is recorded is what was called.

They live in environments of their own, which `make test` prepares and names in PERFMON_PUBLIC_SERVERS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from perfmon.paths import DataDirectory
from perfmon.pipeline import ensure_running, stop
from perfmon.rpc import RpcClient
from tests.kit import eventually, stored

pytestmark = [pytest.mark.network, pytest.mark.pipeline, pytest.mark.timeout(180), pytest.mark.anyio]

SERVERS = Path(os.environ.get("PERFMON_PUBLIC_SERVERS", ".demo"))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataDirectory]:
    directory = DataDirectory((tmp_path_factory.mktemp("public") / "data").resolve())
    ensure_running(directory, started_by="test", wait_ready_s=90)
    yield directory
    stop(directory, timeout_s=60)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    (path / "notes.txt").write_text("one line\n")
    subprocess.run(["git", "init", "-q", str(path)], check=True)
    return path


def python_server(name: str) -> list[str]:
    return [str(SERVERS.resolve() / "servers" / "bin" / name)]


def node_server() -> list[str]:
    package = SERVERS.resolve() / "node" / "node_modules" / "@modelcontextprotocol" / "server-everything"
    return ["node", str(package / "dist" / "index.js"), "stdio"]


async def calls(data: DataDirectory, name: str, command: list[str], *wanted: tuple[str, dict[str, Any]]) -> list[bool]:
    """Make the calls through the proxy; whether each was an error, as the client saw it."""
    wrapped = ["-m", "perfmon", "wrap", "--name", name, "--", *command]
    env = {**os.environ, "PERFMON_DATA_DIR": str(data.root)}
    server = StdioServerParameters(command=sys.executable, args=wrapped, env=env)
    async with Client(server, mode="legacy", read_timeout_seconds=60) as client:
        return [bool((await client.call_tool(tool, arguments)).is_error) for tool, arguments in wanted]


def recorded(data: DataDirectory, name: str, count: int) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]]:
        with RpcClient(data.endpoint("ingest.write"), timeout_s=10) as ingest:
            ingest.call("flush")
        lines = [line for line in stored(data) if line["mcpServer"] == name]
        return lines if len(lines) >= count else []

    return eventually(found, f"{count} calls of {name} are stored")


async def test_calls_of_python_servers_are_recorded_as_the_client_saw_them(
    data: DataDirectory, repository: Path
) -> None:
    now, where = ("get_current_time", {"timezone": "UTC"}), {"repo_path": str(repository)}
    assert await calls(data, "time", python_server("mcp-server-time"), now, now, now) == [False] * 3
    errors = await calls(
        data, "git", python_server("mcp-server-git"), ("git_status", where), ("git_show", {**where, "revision": "nope"})
    )
    assert errors == [False, True]
    nowhere = ("fetch", {"url": "http://127.0.0.1:9/", "raw": True})
    fetch = [*python_server("mcp-server-fetch"), "--ignore-robots-txt", "--allow-private-ips"]
    assert await calls(data, "fetch", fetch, nowhere) == [True]

    assert Counter(line["toolName"] for line in recorded(data, "time", 3)) == {"get_current_time": 3}
    git = {line["toolName"]: line for line in recorded(data, "git", 2)}
    assert git["git_status"]["success"] is True
    assert git["git_show"]["success"] is False
    assert git["git_show"]["error"]
    assert git["git_status"]["resource"]["memory"] > 10, "the server's own process tree is measured"
    assert recorded(data, "fetch", 1)[0]["success"] is False


@pytest.mark.skipif(
    shutil.which("npm") is None, reason="the server comes through npm, which this machine does not have"
)
async def test_calls_of_a_node_server_are_recorded(data: DataDirectory) -> None:
    assert await calls(data, "everything", node_server(), ("echo", {"message": "hello"})) == [False]
    (line,) = recorded(data, "everything", 1)
    assert (line["toolName"], line["success"]) == ("echo", True)
