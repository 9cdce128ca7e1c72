"""What was asked of the reporter, checked. Pure; the shell turns `BadRequest` into a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from perfmon.wire.limits import MAX_NAME_BYTES
from services.reporter.core.answers import MAX_TS_MS
from services.reporter.core.dashboard import MAX_LISTED, SERVERS
from services.reporter.core.model import FORMATS, Format, Range
from services.reporter.core.questions import is_sendable
from shared.timespan import DAY_MS

#: The longest range that is reported on.
MAX_SPAN_MS: Final = 3_660 * DAY_MS


class BadRequest(ValueError):
    """A parameter that cannot be used; the message says what is accepted."""


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """`report`, checked."""

    range: Range
    format: Format
    include_recommendations: bool
    server: str | None
    after_seq: int | None


@dataclass(frozen=True, slots=True)
class DashboardRequest:
    """`dashboard`, checked: which server (None = all), how many are listed, and which journal entry is to be counted."""

    server: str | None
    limit: int
    after_seq: int | None = None


def parse_report(params: Mapping[str, Any]) -> ReportRequest:
    """Raises: BadRequest."""
    start, end = _moment(params, "startMs"), _moment(params, "endMs")
    if not start < end:
        raise BadRequest("startMs is before endMs")
    if end - start > MAX_SPAN_MS:
        raise BadRequest("a report spans ten years at most")
    wanted = params.get("format", "markdown")
    if wanted not in FORMATS:
        raise BadRequest(f"format is one of {', '.join(FORMATS)}")
    include = params.get("includeRecommendations", True)
    if not isinstance(include, bool):
        raise BadRequest("includeRecommendations is true or false")
    return ReportRequest(Range(start, end), wanted, include, _server(params), _after_seq(params))


def parse_dashboard(params: Mapping[str, Any]) -> DashboardRequest:
    """Raises: BadRequest."""
    limit = params.get("limit")
    if limit is None:
        limit = SERVERS
    if type(limit) is not int or not 1 <= limit <= MAX_LISTED:
        raise BadRequest(f"limit is a whole number from 1 to {MAX_LISTED}")
    return DashboardRequest(_server(params), limit, _after_seq(params))


def _moment(params: Mapping[str, Any], name: str) -> int:
    value = params.get(name)
    if type(value) is not int or not 0 <= value <= MAX_TS_MS:
        raise BadRequest(f"{name} is epoch milliseconds UTC, a whole number")
    return value


def _server(params: Mapping[str, Any]) -> str | None:
    name = params.get("mcpServer")
    if name is None:
        return None
    if not isinstance(name, str) or not name or not is_sendable(name) or len(name.encode()) > MAX_NAME_BYTES:
        raise BadRequest(f"mcpServer is a name of 1 to {MAX_NAME_BYTES} bytes, or left out for all")
    return name


def _after_seq(params: Mapping[str, Any]) -> int | None:
    seq = params.get("afterSeq")
    if seq is not None and (type(seq) is not int or seq < 0):
        raise BadRequest("afterSeq is a journal sequence, a whole number")
    return seq
