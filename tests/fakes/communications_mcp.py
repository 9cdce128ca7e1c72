"""A real MCP server over stdio with the tool schemas of communications-mcp 1.0.0, that writes down what it was sent.

FAKE_COMMUNICATIONS_OUT names the file that gets one JSON line a call: {"tool", "arguments"}.
FAKE_COMMUNICATIONS_MODE is `ok`, `fail` (an error that echoes the arguments, as the real one may), `hang` (never answers)
or `die` (ends at the first call); FAKE_COMMUNICATIONS_MODE_FILE names a file that holds it, read at each call, so that it
can change.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("communications-mcp", version="1.0.0")


async def _take(tool: str, arguments: dict[str, Any]) -> str:
    given = {name: value for name, value in arguments.items() if value is not None}
    mode = _mode()
    if mode == "hang":
        await anyio.sleep_forever()
    if mode == "die":
        os._exit(3)
    if mode == "fail":
        raise ToolError(f"Error: could not send {json.dumps(given)}")
    line = json.dumps({"tool": tool, "arguments": given}) + "\n"
    with Path(os.environ["FAKE_COMMUNICATIONS_OUT"]).open("a") as file:
        file.write(line)
    return f"Message sent successfully: {json.dumps(given)}"


def _mode() -> str:
    path = os.environ.get("FAKE_COMMUNICATIONS_MODE_FILE")
    if path and Path(path).exists():
        return Path(path).read_text().strip()
    return os.environ.get("FAKE_COMMUNICATIONS_MODE", "ok")


@server.tool()
async def send_google_chat_webhook(webhookUrl: str, message: str) -> str:  # noqa: N803 - the real tool's name
    """Send a message to Google Chat through a webhook."""
    return await _take("send_google_chat_webhook", {"webhookUrl": webhookUrl, "message": message})


@server.tool()
async def send_google_chat_message(space: str, message: str, thread: str | None = None) -> str:
    """Send a message to a Google Chat space."""
    return await _take("send_google_chat_message", {"space": space, "message": message, "thread": thread})


@server.tool()
async def send_email_smtp(
    to: str,
    subject: str,
    body: str,
    cc: str | None = None,
    isHtml: bool | None = None,  # noqa: N803 - the real tool's name
) -> str:
    """Send an email through SMTP."""
    arguments = {"to": to, "subject": subject, "body": body, "cc": cc, "isHtml": isHtml}
    return await _take("send_email_smtp", arguments)


@server.tool()
async def send_email_gmail(to: str, subject: str, body: str, cc: str | None = None, bcc: str | None = None) -> str:
    """Send an email through the Gmail API; the body is HTML."""
    return await _take("send_email_gmail", {"to": to, "subject": subject, "body": body, "cc": cc, "bcc": bcc})


if __name__ == "__main__":
    server.run()
