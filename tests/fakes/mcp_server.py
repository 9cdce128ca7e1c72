"""A real MCP server over stdio whose tools do what a test asks for."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("fake-server", version="1.0")


@server.tool()
def echo(text: str) -> str:
    """Give back the text."""
    return text


@server.tool()
def fail(text: str) -> str:
    """Fail with the text."""
    raise ToolError(text)


@server.tool()
def burn(seconds: float) -> str:
    """Use a whole core."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return "burnt"


@server.tool()
async def rest(seconds: float) -> str:
    """Use nothing."""
    await asyncio.sleep(seconds)
    return "rested"


@server.tool()
def write(path: str, kilobytes: int) -> str:
    """Write to the disk, all the way."""
    with Path(path).open("wb") as file:
        file.write(b"x" * 1024 * kilobytes)
        file.flush()
        os.fsync(file.fileno())
    return "written"


@server.tool()
def crash(code: int) -> str:
    """End the process at once."""
    os._exit(code)


if __name__ == "__main__":
    server.run()
