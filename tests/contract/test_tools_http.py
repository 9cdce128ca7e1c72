"""The real HTTP gateway process: a real client with the token, none without, a clean end."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from perfmon.http_access import HttpAccess, load
from perfmon.paths import DataDirectory
from perfmon.rpc import RpcClient, Unavailable

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataDirectory:
    found = DataDirectory(tmp_path_factory.mktemp("http") / "data")
    found.create()
    return found


@pytest.fixture(scope="module")
def process(data: DataDirectory) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"PERFMON_DATA_DIR": str(data.root), "PYTHONPATH": str(ROOT)}
    found = subprocess.Popen([sys.executable, "-m", "services.gateway"], env=environment, stderr=subprocess.PIPE)
    watchdog = threading.Timer(PATIENCE_S, found.kill)
    watchdog.start()
    with RpcClient(data.endpoint("gateway"), timeout_s=0.2) as client:
        while not answers_ready(client):
            assert found.poll() is None, found.stderr and found.stderr.read()
    watchdog.cancel()
    yield found
    found.kill()
    found.communicate(timeout=PATIENCE_S)


def answers_ready(client: RpcClient) -> bool:
    try:
        return bool(client.call("ping")["ready"])
    except Unavailable:
        return False


@pytest.fixture
def access(process: Any, data: DataDirectory) -> HttpAccess:
    found = load(data)
    assert found is not None
    return found


def with_client(access: HttpAccess, token: str, mode: str) -> Any:
    async def run() -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE_S) as http:
            transport = streamable_http_client(f"{access.base_url}/mcp", http_client=http)
            async with Client(transport, mode=mode, read_timeout_seconds=PATIENCE_S) as client:
                listed = await client.list_tools()
                refused = await client.call_tool("track_performance", {"durationMs": 5})
                unavailable = await client.call_tool("get_dashboard", {})
                return listed, refused, unavailable

    return asyncio.run(run())


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_client_with_the_token_is_served_as_over_stdio(access, mode):
    listed, refused, unavailable = with_client(access, access.token, mode)
    assert len(listed.tools) == 8
    assert "did you mean duration?" in refused.content[0].text
    assert unavailable.is_error
    assert "perfmon doctor" in unavailable.content[0].text


@pytest.mark.parametrize("number", [b"NaN", b"1e999", b'"5"'])
def test_what_is_no_duration_is_refused_here_too(access, number):
    body = (
        b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"track_performance",'
        b'"arguments":{"mcpServer":"a","toolName":"b","success":true,"duration":' + number + b"}}}"
    )
    headers = {
        "Authorization": f"Bearer {access.token}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
    }
    reply = httpx2.post(f"{access.base_url}/mcp", content=body, headers=headers)
    found = reply.json()
    assert "error" in found or found["result"]["isError"]


def test_the_file_with_the_token_is_its_owners_alone(access, data):
    assert (data.state / "http.json").stat().st_mode & 0o077 == 0


def test_nobody_without_the_token_gets_in(access):
    assert httpx2.post(f"{access.base_url}/mcp", json={}).status_code == 401
    assert httpx2.post(f"{access.base_url}/mcp", json={}, headers={"Host": "evil.com"}).status_code == 421
    assert httpx2.get(f"{access.base_url}/healthz").status_code == 200


def test_hooks_are_counted_in_the_statistics(access, data):
    httpx2.post(access.hook_url, content=b"{}")
    with RpcClient(data.endpoint("gateway")) as client:
        assert client.call("stats")["http"]["hooks_ignored_total"]["other_event"] >= 1


def test_it_ends_cleanly_when_told_to_whatever_clients_had_opened(process, access):
    headers = {"Authorization": f"Bearer {access.token}", "Accept": "text/event-stream"}
    with httpx2.stream("GET", f"{access.base_url}/mcp", headers=headers) as stream:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert stream.status_code == 405
    assert stream.headers["allow"] == "POST"
    logged = process.stderr.read()
    assert b"Traceback" not in logged
    assert access.token.encode() not in logged
