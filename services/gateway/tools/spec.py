"""What a tool is: its name, its texts for a model, what it takes and gives, and how it runs.

Owns the two protocols that tools stand on: `Backends` (the services behind the gateway) and `ToolContext` (backends and
clock). Knows nothing of MCP's transport or of ZeroMQ.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from perfmon.rpc import RpcError
from services.gateway.core.arguments import Arguments
from services.gateway.core.known_names import Known, look_up
from services.gateway.core.refusals import ToolRefusal, refusal
from services.gateway.core.schema import Schema, input_schema
from services.gateway.core.shaping import Answer
from shared.timespan import MINUTE_MS


class Stored(NamedTuple):
    """The journal's answer to one metric: fsynced as row `row` of entry `entry` in `epoch`, or known before (`duplicate`)."""

    epoch: str
    entry: int
    row: int
    duplicate: bool


class Backends(Protocol):
    """The services behind the gateway."""

    @property
    def after_seq(self) -> int | None:
        """The last journal entry this gateway has written, so that its own writes are in the answers it reads."""

    async def ask(
        self,
        service: str,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        patience_s: float = ...,
        mutation: bool = False,
    ) -> Any:
        """A service's result. Raises: perfmon.rpc.Unavailable, perfmon.rpc.RpcError."""

    async def store(self, row: Mapping[str, Any]) -> Stored:
        """Store one metric. Raises: perfmon.rpc.Unavailable, perfmon.rpc.RpcError with the reason of the refusal as code."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool works with. `now_ms` is the clock, epoch ms UTC."""

    backends: Backends
    now_ms: Callable[[], int]

    async def look_up(self, server: str | None, tool: str | None) -> Known:
        """Names that were asked for against all that have metrics; one that is unknown once more when what was just stored is
        counted.

        Raises: perfmon.rpc.Unavailable, perfmon.rpc.RpcError.
        """
        known = await self._known(server, tool)
        after_seq = self.backends.after_seq
        if known.problem and after_seq is not None:
            minute = {"startMs": self.now_ms() - MINUTE_MS, "endMs": self.now_ms(), "by": "all"}
            await self.backends.ask("aggregator", "rollup", {**minute, "afterSeq": after_seq})
            known = await self._known(server, tool)
        return known

    async def _known(self, server: str | None, tool: str | None) -> Known:
        found = await self.backends.ask("aggregator", "series")
        series = found.get("series") if isinstance(found, dict) else None
        return look_up(series if isinstance(series, list) else [], server, tool)

    async def look_up_or_none(self, server: str | None, tool: str | None) -> Known | None:
        """The same where the answer is only advice: None when the aggregator cannot be asked."""
        try:
            return await self.look_up(server, tool)
        except RpcError:
            return None


Run = Callable[[Any, ToolContext], Awaitable[Answer]]


@dataclass(frozen=True)
class ToolSpec:
    """One tool. `needs` are the services that must run before it can. `read_only` and `idempotent` are told to clients; no
    tool destroys or reaches beyond this machine's data.
    """

    name: str
    title: str
    description: str
    arguments: type[Arguments]
    output: Schema
    example: Mapping[str, Any]
    run: Run
    needs: tuple[str, ...]
    read_only: bool = True
    idempotent: bool = True

    @cached_property
    def input(self) -> Schema:
        """The JSON Schema of the arguments."""
        return input_schema(self.arguments)

    def refuse(self, *problems: str) -> ToolRefusal:
        """A refusal of a call to this tool, to raise."""
        return ToolRefusal(refusal(self.name, problems, self.example))
