"""Where the HTTP gateway listens. It says so in its answer to `ping`, or in the file it writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from perfmon.paths import DataDirectory
from perfmon.pipeline.report import Answer

#: Longest file that is read.
_MAX_BYTES: Final = 4_096


def address_path(data: DataDirectory) -> Path:
    """Where the gateway writes its host and port."""
    return data.state / "http.json"


def http_address(data: DataDirectory, answers: Mapping[str, Answer]) -> str | None:
    """`http://127.0.0.1:PORT` of a gateway that answers; None while there is none."""
    gateway = answers.get("gateway")
    if gateway is None:
        return None
    told = gateway.fields.get("http")
    if isinstance(told, str):
        return told
    return _written(address_path(data))


def _written(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_BYTES))
        return f"http://127.0.0.1:{int(found['port'])}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
