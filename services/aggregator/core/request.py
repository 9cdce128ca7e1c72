"""What a `rollup` request asks for, checked. Pure; the clock comes in as `now_ms`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from services.aggregator.core.fold import LAST_MOMENT_MS
from services.aggregator.core.table import FIGURES, NAMES
from services.aggregator.core.tiers import DAY, HOUR, MINUTE

By = Literal["tool", "server", "all"]

#: groupBy → the level of its slots.
UNITS: Final = {"minute": MINUTE, "hour": HOUR, "day": DAY}
BY: Final = ("tool", "server", "all")
#: What rows can be sorted by.
SORTS: Final = ("ts", *NAMES, *FIGURES)
#: Rows that one answer carries at most.
MAX_LIMIT: Final = 10_000

_KNOWN: Final = frozenset(
    {"startMs", "endMs", "groupBy", "by", "mcpServer", "toolName", "sort", "descending", "limit", "afterSeq"}
)


class BadRequest(ValueError):
    """Parameters that can't be answered; the message says what is accepted."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question. Times are epoch ms, the end is not part of the range; `unit` is the level of the slots, None = one slot."""

    start_ms: int
    end_ms: int
    by: By = "tool"
    unit: int | None = None
    server: str | None = None
    tool: str | None = None
    sort: str | None = None
    descending: bool = True
    limit: int = MAX_LIMIT
    after_seq: int | None = None


def parse_request(params: Mapping[str, Any]) -> Request:
    """The request in the parameters of an rpc call.

    Raises: BadRequest.
    """
    unknown = sorted(str(name) for name in set(params) - _KNOWN)
    if unknown:
        raise BadRequest(f"unknown parameter {unknown[0]!r}; known: {', '.join(sorted(_KNOWN))}")
    start, end = _moment(params, "startMs"), _moment(params, "endMs")
    if end <= start:
        raise BadRequest("endMs comes after startMs")
    unit = None if params.get("groupBy") is None else _one_of(params, "groupBy", tuple(UNITS), "")
    return Request(
        start,
        end,
        by=cast("By", _one_of(params, "by", BY, "tool")),
        unit=None if unit is None else UNITS[unit],
        server=_text(params, "mcpServer"),
        tool=_text(params, "toolName"),
        sort=None if params.get("sort") is None else _one_of(params, "sort", SORTS, ""),
        descending=_flag(params, "descending"),
        limit=_limit(params),
        after_seq=_whole(params, "afterSeq"),
    )


def _moment(params: Mapping[str, Any], name: str) -> int:
    value = params.get(name)
    if type(value) is not int or not 0 <= value <= LAST_MOMENT_MS:
        raise BadRequest(f"{name} is epoch milliseconds, 0 to {LAST_MOMENT_MS}")
    return value


def _one_of(params: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = params.get(name, default)
    if not isinstance(value, str) or value not in allowed:
        raise BadRequest(f"{name} is one of {', '.join(allowed)}")
    return value


def _text(params: Mapping[str, Any], name: str) -> str | None:
    value = params.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{name} is text")
    return value


def _flag(params: Mapping[str, Any], name: str) -> bool:
    value = params.get(name, True)
    if not isinstance(value, bool):
        raise BadRequest(f"{name} is true or false")
    return value


def _whole(params: Mapping[str, Any], name: str) -> int | None:
    value = params.get(name)
    if value is not None and (type(value) is not int or value < 0):
        raise BadRequest(f"{name} is a whole number from 0")
    return value


def _limit(params: Mapping[str, Any]) -> int:
    value = _whole(params, "limit")
    return MAX_LIMIT if value is None else min(value, MAX_LIMIT)
