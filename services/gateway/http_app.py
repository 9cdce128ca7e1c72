"""The HTTP side as an ASGI application: MCP, hooks, a plain page, a health check.

Every request passes the same door first (Host, Origin, token where data is read or written). Knows nothing of the port it is
served on, nor of who serves it.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from perfmon import __version__
from perfmon.http_access import HOOK_PATH
from services.gateway.core.http_rules import WRONG_TOKEN, Denial, check_bearer, check_names, same_token
from services.gateway.core.page import PAGE, PAGE_POLICY
from services.gateway.hook_intake import HookIntake

#: The largest hook payload; a tool's response is inside it.
MAX_HOOK_BYTES: Final = 1024 * 1024

MCP_PATH: Final = "/mcp"
TOO_LARGE: Final = Denial(413, "too_large", f"a hook payload has at most {MAX_HOOK_BYTES} bytes")
NOT_FOUND: Final = Denial(404, "not_found", "there are /mcp, /healthz and /")
WRONG_METHOD: Final = Denial(405, "wrong_method", "this address takes POST")
READ_ONLY: Final = Denial(405, "wrong_method", "this address takes GET")

_DENIED_HEADERS: Final = {
    WRONG_METHOD: ((b"allow", b"POST"),),
    READ_ONLY: ((b"allow", b"GET, HEAD"),),
}

_COMMON_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)


class HttpApp:
    """The ASGI application. `manager.run()` must be entered while it serves."""

    def __init__(self, server: Server[Any], token: str, intake: HookIntake) -> None:
        self.denied_total: Counter[str] = Counter()
        self.requests_total = 0
        self.manager = StreamableHTTPSessionManager(
            server,
            json_response=True,
            stateless=True,
            # The door has checked Host and Origin more strictly; here only the content type is left to check.
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        self._mcp: ASGIApp = self.manager.handle_request
        self._token = token
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request; other kinds of connection are not served."""
        if scope["type"] != "http":
            return
        self.requests_total += 1
        headers = Headers(scope=scope)
        denial = check_names(headers.get("host"), headers.getlist("origin"))
        if denial is None and len(headers.getlist("host")) > 1:
            denial = Denial(400, "bad_host", "one Host header, please")
        if denial is not None:
            await self._deny(send, denial)
            return
        path = str(scope["path"])
        if path in {MCP_PATH, MCP_PATH + "/"}:
            await self._serve_mcp(scope, receive, send, headers)
        elif path.startswith(HOOK_PATH) or path == HOOK_PATH.rstrip("/"):
            await self._serve_hook(scope, receive, send, headers)
        elif path in {"/", "/healthz"}:
            await self._serve_page(scope, send, path)
        else:
            await self._deny(send, NOT_FOUND)

    def figures(self) -> dict[str, Any]:
        """Counters for `stats`."""
        return {
            "http_requests_total": self.requests_total,
            "http_denied_total": dict(self.denied_total),
            **self._intake.figures(),
        }

    async def _serve_mcp(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        denial = check_bearer(headers.get("authorization"), self._token)
        if denial is None and scope["method"] != "POST":
            # Nothing is ever sent that was not asked for: a stream opened with GET would stay empty until we are stopped.
            denial = WRONG_METHOD
        if denial is not None:
            await self._deny(send, denial)
            return
        await self._mcp(scope, receive, send)

    async def _serve_hook(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        if scope["method"] != "POST":
            await self._deny(send, WRONG_METHOD)
            return
        given = str(scope["path"])[len(HOOK_PATH) :]
        denial = None
        if given:
            denial = None if same_token(given, self._token) else WRONG_TOKEN
        else:
            denial = check_bearer(headers.get("authorization"), self._token)
        if denial is not None:
            await self._deny(send, denial)
            return
        body = await _body(receive, headers, MAX_HOOK_BYTES)
        if body is None:
            await self._deny(send, TOO_LARGE)
            return
        self._intake.take(body)
        await _answer(send, 200, b"application/json", b"{}")

    async def _serve_page(self, scope: Scope, send: Send, path: str) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            await self._deny(send, READ_ONLY)
            return
        if path == "/healthz":
            body = json.dumps({"status": "ok", "service": "gateway", "version": __version__}).encode()
            await _answer(send, 200, b"application/json", body, head=scope["method"] == "HEAD")
            return
        policy = ((b"content-security-policy", PAGE_POLICY.encode()),)
        await _answer(send, 200, b"text/html; charset=utf-8", PAGE.encode(), policy, head=scope["method"] == "HEAD")

    async def _deny(self, send: Send, denial: Denial) -> None:
        self.denied_total[denial.reason] += 1
        extra = _DENIED_HEADERS.get(denial, ())
        if denial.status == 401:
            extra = ((b"www-authenticate", b'Bearer realm="perfmon"'),)
        body = json.dumps({"error": denial.reason, "message": denial.message}).encode()
        await _answer(send, denial.status, b"application/json", body, extra)


async def _body(receive: Receive, headers: Headers, limit_bytes: int) -> bytes | None:
    """The whole body; None when it is larger than the limit or its sender left."""
    declared = headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared) > limit_bytes:
        return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > limit_bytes:
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def _answer(
    send: Send,
    status: int,
    content_type: bytes,
    body: bytes,
    extra: tuple[tuple[bytes, bytes], ...] = (),
    *,
    head: bool = False,
) -> None:
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        *_COMMON_HEADERS,
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})
