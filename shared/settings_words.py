"""What is said of a setting that cannot be taken: where it stands, what was given, what is wanted. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from shared.names import near, shown

#: What settings of a form of their own look like.
FORMS: Final[Mapping[str, str]] = {"ingest_tcp": "`off` or tcp://ADDRESS:PORT, such as tcp://0.0.0.0:7078"}


def refused(error: ErrorDetails, fields: Mapping[str, FieldInfo], origin: str) -> str:
    """One line on one error. `origin`: how the one who set it calls it, such as PERFMON_MAX_SERIES."""
    name = str(error["loc"][0]) if error["loc"] else ""
    field = fields.get(name)
    if field is None:
        return no_setting(origin, near(name, list(fields), 1))
    return f"{origin} is {shown(repr(error['input']))}, but has to be {wanted(name, field)}"


def no_setting(origin: str, meant: Sequence[str]) -> str:
    """One line on what means nothing; `meant`: what may have been meant."""
    return f"{origin} is no setting" + (f"; did you mean {meant[0]}?" if meant else "")


def wanted(name: str, field: FieldInfo) -> str:
    """What a setting takes, such as "a whole number from 1 to 100"."""
    if name in FORMS:
        return FORMS[name]
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(get_args(field.annotation))
    kind = "a whole number" if field.annotation is int else "a number"
    limits: dict[str, Any] = {
        limit: value
        for part in field.metadata
        for limit in ("ge", "gt", "le")
        if (value := getattr(part, limit, None)) is not None
    }
    low = f"from {limits['ge']:,}" if "ge" in limits else f"above {limits['gt']:,}"
    high = f" to {limits['le']:,}" if "ge" in limits else f", at most {limits['le']:,}"
    return f"{kind} {low}{high}"
