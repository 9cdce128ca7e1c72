"""Where producers off the machine connect, and whether they can: as ingest and its gate say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from perfmon.paths import DataDirectory
from perfmon.pipeline.ask import ask_all

#: The gate's queries' socket.
GATE: Final = "ingest.gate"


@dataclass(frozen=True, slots=True)
class RemoteState:
    """The gate of a pipeline. `connections` and `listed` (keys) are None when it does not answer."""

    endpoint: str
    state: str
    connections: int | None = None
    listed: int | None = None

    def __str__(self) -> str:
        known = self.connections is not None and self.listed is not None
        figures = f", {self.connections} connected, {self.listed} keys listed" if known else ""
        return f"{self.endpoint} {self.state}{figures}"


def remote_state(data: DataDirectory, ingest: Mapping[str, Any] | None = None) -> RemoteState | None:
    """None when no port is to be open, or ingest does not answer. `ingest`: its stats, when they are known already."""
    if ingest is None:
        ingest = ask_all(data, "stats", ("ingest",)).get("ingest", {})
    remote = ingest.get("remote")
    endpoint = remote.get("endpoint") if isinstance(remote, dict) else None
    if not isinstance(endpoint, str) or endpoint == "off":
        return None
    stats = ask_all(data, "stats", (GATE,)).get(GATE)
    if stats is None:
        return RemoteState(endpoint, "does not answer")
    ready = ask_all(data, "ping", (GATE,)).get(GATE, {}).get("ready") is True
    state = "listening" if ready else "cannot listen: the port is taken, or the address is not this machine's"
    return RemoteState(endpoint, state, _count(stats, "connections"), _count(stats, "listed"))


def _count(stats: Mapping[str, Any], name: str) -> int | None:
    value = stats.get(name)
    return value if type(value) is int else None
