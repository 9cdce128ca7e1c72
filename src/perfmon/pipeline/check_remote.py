"""`perfmon doctor` on producers off the machine: the port, the keys, and who was denied. Only looks.

The setting is ingest's (`shared.settings` says what it means); here it is read where ingest would read it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from perfmon.keys import BadKeys, key_ring
from perfmon.paths import DataDirectory, user_config_directory
from perfmon.pipeline.ask import ask_all
from perfmon.pipeline.remote_state import GATE
from perfmon.pipeline.report import Check

_NAME: Final = "TCP ingest"


def check_remote(data: DataDirectory) -> Iterator[Check]:
    """Nothing when no port is wished for or open."""
    gate = ask_all(data, "stats", (GATE,)).get(GATE)
    wished = _wished()
    if gate is None and wished is None:
        return
    try:
        key_ring().server()
    except (BadKeys, OSError) as error:
        yield Check(
            _NAME, "problem", f"{wished} is set, but {error}", "there is no TCP without keys: ingest will not start"
        )
        return
    if gate is None:
        asked = ask_all(data, "ping", ("ingest",))
        found = f"{wished} is set, and nothing listens" if asked else f"{wished} is set; nothing runs"
        yield Check(_NAME, "problem", found, f"`perfmon down`, then `perfmon up`; or see {data.logs / 'ingest.log'}")
        return
    ready = ask_all(data, "ping", (GATE,)).get(GATE, {}).get("ready") is True
    if not ready:
        yield Check(
            _NAME, "problem", f"{gate.get('endpoint')} cannot be listened on", "another program has the port, maybe"
        )
        return
    yield Check(_NAME, "ok", _told(gate))


def _told(gate: Mapping[str, Any]) -> str:
    denied = gate.get("deniedByReason")
    reasons = ", ".join(f"{reason} {count}" for reason, count in denied.items()) if isinstance(denied, dict) else ""
    return (
        f"{gate.get('endpoint')}: {gate.get('listed')} listed, {gate.get('connections')} connected, "
        f"denied: {reasons or 'nobody'}"
    )


def _wished() -> str | None:
    named = os.environ.get("PERFMON_INGEST_TCP")
    if named is None:
        try:
            found = json.loads((user_config_directory() / "settings.json").read_bytes())
        except (OSError, ValueError):
            return None
        named = found.get("ingest_tcp") if isinstance(found, dict) else None
    return named if isinstance(named, str) and named not in ("", "off") else None
