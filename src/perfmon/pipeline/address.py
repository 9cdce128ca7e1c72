"""Where the HTTP gateway listens: what it says in its answer to `ping`, else the file it wrote."""

from __future__ import annotations

from collections.abc import Mapping

from perfmon.http_access import load
from perfmon.paths import DataDirectory
from perfmon.pipeline.report import Answer


def http_address(data: DataDirectory, answers: Mapping[str, Answer]) -> str | None:
    """`http://127.0.0.1:PORT` of a gateway that answers; None while there is none."""
    gateway = answers.get("gateway")
    if gateway is None:
        return None
    told = gateway.fields.get("http")
    if isinstance(told, str):
        return told
    access = load(data)
    return None if access is None else access.base_url
