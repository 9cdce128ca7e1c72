"""Real calls to real servers: three public MCP servers, each behind `perfmon wrap`, each called by a client of the SDK."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from bench.demo.web import SlowPage
from perfmon.paths import DataDirectory

#: Seconds of calls, and when the fault begins and ends.
LASTS_S = 60.0
FAULT_FROM_S, FAULT_UNTIL_S = 25.0, 45.0
#: How slow the page is during the fault.
FAULT_DELAY_S = 1.2
#: Pause between two calls of one client.
PAUSE_S = 0.2

Say = Callable[[str], None]


@dataclass(slots=True)
class Traffic:
    """Who is called, and what came of it."""

    data: DataDirectory
    servers: Path
    repository: Path
    say: Say
    calls: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Call all three servers until the time is over."""
        _make_repository(self.repository)
        ends = time.monotonic() + LASTS_S
        with SlowPage() as page:
            async with anyio.create_task_group() as group:
                group.start_soon(self._client, "time", [], "get_current_time", {"timezone": "UTC"}, ends)
                where = {"repo_path": str(self.repository)}
                group.start_soon(self._client, "git", [], "git_status", where, ends)
                flags = ["--ignore-robots-txt", "--allow-private-ips"]
                group.start_soon(self._client, "fetch", flags, "fetch", {"url": page.url, "raw": True}, ends)
                group.start_soon(self._fault, page, ends - LASTS_S)

    async def _client(self, name: str, flags: list[str], tool: str, arguments: dict[str, Any], ends: float) -> None:
        command = [sys.executable, "-m", "perfmon", "wrap", "--name", name, "--"]
        command += [str(self.servers / "bin" / f"mcp-server-{name}"), *flags]
        env = {**os.environ, "PERFMON_DATA_DIR": str(self.data.root)}
        server = StdioServerParameters(command=command[0], args=command[1:], env=env)
        with Path(os.devnull).open("w") as silence:
            from mcp.client.stdio import stdio_client

            async with Client(stdio_client(server, errlog=silence), mode="legacy") as client:
                while time.monotonic() < ends:
                    answer = await client.call_tool(tool, arguments)
                    self.calls[f"{name}/{tool}"] += 1
                    self.failures[f"{name}/{tool}"] += bool(answer.is_error)
                    await anyio.sleep(PAUSE_S)

    async def _fault(self, page: SlowPage, started: float) -> None:
        hidden = self.repository.with_name("repository-gone")
        await anyio.sleep(started + FAULT_FROM_S - time.monotonic())
        self.say(f"fault begins: the fetched page takes {FAULT_DELAY_S} s, the git repository is gone")
        page.delay_s = FAULT_DELAY_S
        self.repository.rename(hidden)
        await anyio.sleep(started + FAULT_UNTIL_S - time.monotonic())
        page.delay_s = 0.0
        hidden.rename(self.repository)
        self.say("fault ends: page and repository are back")


def _make_repository(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "notes.txt").write_text("one line\n")
    identity = ["-c", "user.name=demo", "-c", "user.email=demo@example.invalid"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "notes"]):
        subprocess.run(["git", "-C", str(path), *arguments], check=True, capture_output=True)
