"""The HTTP side behind its door: MCP, hooks, page, health."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from perfmon.http_access import HOOK_PATH
from perfmon.rpc import RpcError, Unavailable
from services.gateway.gate import OpenGate
from services.gateway.hook_intake import MAX_QUEUED, HookIntake
from services.gateway.http_app import MAX_HOOK_BYTES, HttpApp
from services.gateway.ingest_writer import Ack
from services.gateway.mcp_server import McpServer
from services.gateway.tools import Stored, ToolContext

FIXTURES = Path(__file__).parents[2] / "fixtures" / "claude-code"
TOKEN = "t" * 32
HOOK = "/hooks/claude-code/"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
MCP_HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


class Backends:
    after_seq = None

    async def ask(self, service: str, method: str, params: Any = None, **_: Any) -> Any:
        return {"series": []}

    async def store(self, row: Any) -> Stored:
        return Stored("epoch", 1, 0, duplicate=False)


class Writer:
    """Takes rows after as many failures as it is told."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.rows: list[Any] = []

    async def write(self, rows: Any) -> Ack:
        if self.failures:
            raise self.failures.pop(0)
        self.rows.extend(rows)
        return Ack("epoch", 1, 0, len(rows), 0, ())


def build(writer: Writer | None = None) -> tuple[HttpApp, HookIntake]:
    intake = HookIntake(lambda: writer or Writer(), lambda: 1_761_915_600_000)  # type: ignore[arg-type, return-value]  # stand-in
    server = McpServer(ToolContext(Backends(), lambda: 0), OpenGate())
    return HttpApp(server.sdk, TOKEN, intake), intake


@contextmanager
def served(app: HttpApp) -> Iterator[TestClient]:
    async def with_manager(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            async with app.manager.run():
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await app(scope, receive, send)

    with TestClient(with_manager, base_url="http://127.0.0.1:7077") as client:
        yield client


@pytest.fixture
def client() -> Iterator[TestClient]:
    with served(build()[0]) as found:
        yield found


def test_the_token_opens_mcp(client):
    reply = client.post("/mcp", json=LIST, headers=BEARER | MCP_HEADERS)
    assert reply.status_code == 200
    assert len(reply.json()["result"]["tools"]) == 8


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}])
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_without_the_token_mcp_is_shut(client, headers, method):
    reply = client.request(method, "/mcp", headers=MCP_HEADERS | headers)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert "state/http.json" in reply.json()["message"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/mcp", HOOK + TOKEN])
def test_a_rebound_name_is_refused_everywhere_even_with_the_token(client, path):
    for method in ("GET", "POST"):
        reply = client.request(method, path, headers=BEARER | {"Host": "evil.com:7077"})
        assert reply.status_code == 421
        reply = client.request(method, path, headers=BEARER | {"Origin": "https://evil.com"})
        assert reply.status_code == 403


def test_nothing_allows_another_site_to_read(client):
    for path in ("/", "/healthz"):
        reply = client.options(path, headers={"Origin": "http://localhost:7077"})
        assert "access-control-allow-origin" not in reply.headers


def test_the_page_is_static_under_a_strict_policy(client):
    reply = client.get("/")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert TOKEN not in reply.text
    assert "<script" not in reply.text
    assert "http://" not in reply.text
    assert client.head("/").text == ""
    assert client.post("/").status_code == 405


def test_the_page_says_what_is_here_and_how_to_open_a_report(client):
    page = client.get("/").text
    for word in (
        "generate_report",
        "html",
        "perfmon connect claude-code",
        "stdio entry",
        HOOK_PATH,
        "docs/operations.md",
    ):
        assert word in page
    root = Path(__file__).parents[3]
    for name in re.findall(r"<code>([\w/]+\.md)</code>", page):
        assert (root / name).is_file()


def test_health_needs_no_token(client):
    assert client.get("/healthz").json()["status"] == "ok"


@pytest.mark.parametrize("path", ["/nothing", "/mcp/x", "/hooks", "/hooks/other", "/%2e%2e/etc/passwd"])
def test_there_is_nothing_else(client, path):
    assert client.get(path, headers=BEARER).status_code == 404


@pytest.mark.parametrize("name", [path.name for path in sorted(FIXTURES.glob("P*.json"))])
@pytest.mark.parametrize("by", ["path", "header"])
def test_every_real_hook_is_answered_with_an_empty_object(client, name, by):
    url, headers = (HOOK + TOKEN, {}) if by == "path" else (HOOK, BEARER)
    reply = client.post(url, content=(FIXTURES / name).read_bytes(), headers=headers)
    assert (reply.status_code, reply.content) == (200, b"{}")


@pytest.mark.parametrize("body", [b"", b"not json", b"[" * 50_000, b"null", b'{"tool_name": "mcp__a__b"}', b"\xff"])
def test_a_hook_that_is_no_payload_is_answered_the_same_and_counted(body):
    app, intake = build()
    with served(app) as client:
        reply = client.post(HOOK + TOKEN, content=body)
    assert (reply.status_code, reply.content) == (200, b"{}")
    assert sum(intake.ignored_total.values()) == 1


@pytest.mark.parametrize("given", ["wrong", TOKEN + "x", "", TOKEN[:-1], "%00", "../" + TOKEN])
def test_a_hook_with_a_wrong_token_is_refused(client, given):
    assert client.post(HOOK + given, content=b"{}").status_code in {401, 404}


def test_a_hook_takes_only_posts(client):
    assert client.get(HOOK + TOKEN).status_code == 405


def test_a_hook_body_beyond_the_limit_is_refused_however_it_is_sent(client):
    large = b" " * (MAX_HOOK_BYTES + 1)
    assert client.post(HOOK + TOKEN, content=large).status_code == 413

    def pieces() -> Iterator[bytes]:
        for _ in range(MAX_HOOK_BYTES // 1024 + 1):
            yield b" " * 1024

    assert client.post(HOOK + TOKEN, content=pieces()).status_code == 413
    assert client.post(HOOK + TOKEN, content=b" " * MAX_HOOK_BYTES).status_code == 200


def run_until(intake: HookIntake, done: Any) -> None:
    async def drain() -> None:
        task = asyncio.create_task(intake.run())
        async with asyncio.timeout(10):
            while not done():
                await asyncio.sleep(0)
        task.cancel()

    asyncio.run(drain())


def hook(number: int = 0) -> bytes:
    body = json.loads((FIXTURES / "PostToolUse.json").read_text())
    return json.dumps(body | {"tool_use_id": f"toolu_{number}"}).encode()


def test_hooks_reach_the_ingest_in_batches(monkeypatch):
    writer = Writer()
    intake = HookIntake(lambda: writer, lambda: 0)  # type: ignore[arg-type, return-value]  # stand-in
    for number in range(600):
        intake.take(hook(number))
    run_until(intake, lambda: len(writer.rows) == 600)
    assert [row["callId"] for row in writer.rows] == [f"toolu_{number}" for number in range(600)]
    assert intake.figures()["hooks_stored_total"] == 600


def test_hooks_are_written_again_when_the_ingest_is_away_or_full(monkeypatch):
    monkeypatch.setattr("services.gateway.hook_intake.RETRY_PAUSE_S", 0)
    writer = Writer(Unavailable("ipc://ingest.write", "write", 1), RpcError("journal_full", "full"))
    intake = HookIntake(lambda: writer, lambda: 0)  # type: ignore[arg-type, return-value]  # stand-in
    intake.take(hook())
    run_until(intake, lambda: len(writer.rows) == 1)


def test_hooks_that_the_ingest_will_never_take_are_counted_and_passed():
    writer = Writer(RpcError("bad_batch", "no"))
    intake = HookIntake(lambda: writer, lambda: 0)  # type: ignore[arg-type, return-value]  # stand-in
    intake.take(hook(1))
    run_until(intake, lambda: intake.refused_total["bad_batch"] == 1)


def test_hooks_beyond_the_queue_are_dropped_and_counted_never_waited_for():
    intake = build()[1]
    for number in range(MAX_QUEUED + 5):
        intake.take(hook(number))
    assert intake.dropped_total == 5
    assert intake.accepted_total == MAX_QUEUED
