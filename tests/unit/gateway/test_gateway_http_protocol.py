"""Connections that come in crowds or never finish a request do not keep the others out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn

from services.gateway import http_protocol
from services.gateway.http_protocol import BoundedProtocol

PATIENCE_S = 20
WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def _app(scope: dict, receive, send) -> None:
    while scope["method"] == "POST" and (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def _served(app=_app) -> AsyncIterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=BoundedProtocol, lifespan="off", log_config=None))
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE_S):
        while not server.started:
            await asyncio.sleep(0)
        yield server.servers[0].sockets[0].getsockname()[1]
        server.should_exit = True
        await task


async def _sent(port: int, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def _ended(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GET / HTTP/1.1\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx",
        WHOLE + b"GET",
    ],
)
def test_a_request_that_is_never_finished_is_closed(half: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "LOOK_EVERY_S", 0.05)

    async def run() -> None:
        async with _served() as port:
            reader, writer = await _sent(port, half)
            answer = await _ended(reader)
            assert answer == b"" or half.startswith(WHOLE)
            writer.close()

    asyncio.run(run())


def test_one_connection_too_many_is_closed_and_the_others_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "MAX_CONNECTIONS", 2)

    async def run() -> None:
        async with _served() as port:
            first, second = await _sent(port, WHOLE), await _sent(port, WHOLE)
            assert b"204" in await first[0].readline()
            assert b"204" in await second[0].readline()
            third = await _sent(port, WHOLE)
            assert await _ended(third[0]) == b""
            first[1].write(WHOLE)
            await first[0].readuntil(b"\r\n\r\n")
            assert b"204" in await first[0].readline()
            for _, writer in (first, second, third):
                writer.close()

    asyncio.run(run())


def test_an_answer_that_takes_long_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "LOOK_EVERY_S", 0.01)
    looks = []
    look = BoundedProtocol.look
    monkeypatch.setattr(BoundedProtocol, "look", lambda self: (looks.append(1), look(self)))

    async def slow(scope: dict, receive, send) -> None:
        while len(looks) < 5:
            await asyncio.sleep(0)
        await _app(scope, receive, send)

    async def run() -> None:
        async with _served(slow) as port:
            reader, writer = await _sent(port, WHOLE)
            assert b"204" in await reader.readline()
            writer.close()

    asyncio.run(run())
