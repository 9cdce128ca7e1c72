"""What each tool accepts: strict models, nothing unknown, nothing coerced.

Pure. The descriptions are what a model reads in `tools/list`; `core.schema` makes the JSON Schemas from these models and
`core.refusals` the texts for what does not fit. Times are kept as text here and resolved by `core.ranges`, which is told the
clock.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from perfmon.wire.limits import (
    MAX_CALL_ID_BYTES,
    MAX_CPU_PERCENT,
    MAX_DISK_IO_KB,
    MAX_DURATION_MS,
    MAX_MEMORY_MB,
    MAX_NAME_BYTES,
)

#: Rows of a default answer, of `detail="full"` without a limit, and at most.
DEFAULT_LIMIT: Final = 20
FULL_LIMIT: Final = 100
MAX_LIMIT: Final = 500
#: Characters of an error message that travel to the ingest, which redacts and cuts further.
MAX_ERROR_MESSAGE_CHARS: Final = 20_000


def _whole(value: object) -> object:
    """20.0 is the whole number 20 in JSON; "20" and true are not."""
    return int(value) if type(value) is float and value.is_integer() else value


def _measured(value: object) -> object:
    """JSON numbers only: true is no number, and an integer beyond a float's range is too large, not an error of ours."""
    if type(value) is int and abs(value) > 1 << 1023:
        return float("inf")
    return value


def _utf8(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode") from None
    return value


def _fits(limit_bytes: int) -> Any:
    def check(value: str) -> str:
        if len(_utf8(value).encode()) > limit_bytes:
            raise ValueError(f"has at most {limit_bytes} bytes")
        return value

    return BeforeValidator(lambda value: check(value) if isinstance(value, str) else value)


Percent = Annotated[float, Field(ge=0, le=MAX_CPU_PERCENT, allow_inf_nan=False), BeforeValidator(_measured)]
Megabytes = Annotated[float, Field(ge=0, le=MAX_MEMORY_MB, allow_inf_nan=False), BeforeValidator(_measured)]
Kilobytes = Annotated[float, Field(ge=0, le=MAX_DISK_IO_KB, allow_inf_nan=False), BeforeValidator(_measured)]
Milliseconds = Annotated[float, Field(ge=0, le=MAX_DURATION_MS, allow_inf_nan=False), BeforeValidator(_measured)]
ThresholdValue = Annotated[float, Field(ge=0, le=MAX_DISK_IO_KB, allow_inf_nan=False), BeforeValidator(_measured)]
Name = Annotated[str, Field(min_length=1), _fits(MAX_NAME_BYTES)]
CallId = Annotated[str, Field(min_length=1), _fits(MAX_CALL_ID_BYTES)]
LongText = Annotated[str, Field(max_length=MAX_ERROR_MESSAGE_CHARS), _fits(4 * MAX_ERROR_MESSAGE_CHARS)]
Notes = Annotated[str, Field(max_length=2_000), _fits(8_000)]
ShortText = Annotated[str, Field(min_length=1, max_length=200), _fits(800)]
TimeText = Annotated[str, Field(min_length=1, max_length=40), _fits(160)]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT), BeforeValidator(_whole)]
Cursor = Annotated[str, _fits(40)]
MinCalls = Annotated[int, Field(ge=1, le=1_000_000), BeforeValidator(_whole)]
RefreshSeconds = Annotated[int, Field(ge=1, le=3_600), BeforeValidator(_whole)]
Detail = Literal["compact", "full"]

_SERVER = "Only this MCP server (exact name)."
_TOOL = "Only this tool (exact name)."
_LIMIT = f"Rows, worst first (default {DEFAULT_LIMIT}; {FULL_LIMIT} with detail=full; at most {MAX_LIMIT})."
_CURSOR = "An answer's nextCursor; repeat the other parameters."
_DETAIL = "`full` adds every figure of a row."


class Arguments(BaseModel):
    """Strict: exact JSON types, no unknown parameters. `null` for an optional parameter means that it was left out."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: v for k, v in value.items() if v is not None or not cls._optional(k)}

    @classmethod
    def _optional(cls, name: str) -> bool:
        return any(field.alias == name and not field.is_required() for field in cls.model_fields.values())


class ResourceUsage(Arguments):
    """What the call used; leave out what was not measured."""

    cpu: Percent | None = Field(None, description="CPU, percent of one core.")
    memory: Megabytes | None = Field(None, description="Memory, MB.")
    disk_io: Kilobytes | None = Field(None, alias="diskIO", description="Disk I/O, KB.")


class TrackPerformance(Arguments):
    """Arguments of track_performance."""

    mcp_server: Name = Field(description="Name of the MCP server that ran the tool.")
    tool_name: Name = Field(description="Name of the tool that was called.")
    duration: Milliseconds = Field(description="How long the call took, in milliseconds.")
    success: bool = Field(description="Whether the call succeeded.")
    error_message: LongText | None = Field(None, description="Why it failed. Secrets are removed before it is stored.")
    resource_usage: ResourceUsage | None = Field(None, description="CPU %, memory MB and disk I/O KB, where measured.")
    timestamp: TimeText | None = Field(None, description="When it happened: ISO-8601 (default now).")
    call_id: CallId | None = Field(None, description="An id of this call; the same id within 48 h is stored once.")


class GetMetrics(Arguments):
    """Arguments of get_metrics."""

    mcp_server: Name | None = Field(None, description=_SERVER)
    tool_name: Name | None = Field(None, description=_TOOL)
    start_time: TimeText = Field(
        "24h", description="ISO-8601, now, today, yesterday, or a span back such as 15m or 7d."
    )
    end_time: TimeText = Field("now", description="Like startTime; later than it.")
    aggregation: Literal["avg", "p50", "p95", "p99", "min", "max", "count", "error_rate"] = Field(
        "avg", description="The figure in `value`, which rows are sorted by: ms, calls, or percent for error_rate."
    )
    group_by: Literal["minute", "hour", "day"] | None = Field(None, description="One row for each time slot and tool.")
    limit: Limit | None = Field(None, description=_LIMIT)
    cursor: Cursor | None = Field(None, description=_CURSOR)
    detail: Detail = Field("compact", description=_DETAIL)


class DetectAnomalies(Arguments):
    """Arguments of detect_anomalies."""

    mcp_server: Name | None = Field(None, description=_SERVER)
    tool_name: Name | None = Field(None, description=_TOOL)
    lookback_window: Literal["1h", "6h", "24h"] = Field("6h", description="How far back to look.")
    sensitivity: Literal["low", "medium", "high"] = Field("medium", description="high finds more, and more false ones.")
    method: Literal["auto", "z-score", "moving-avg", "percentile"] = Field(
        "auto",
        description="auto combines methods; the others do what their names say, each tool against its own history.",
    )
    limit: Limit | None = Field(None, description=_LIMIT)
    cursor: Cursor | None = Field(None, description=_CURSOR)
    detail: Detail = Field("compact", description=_DETAIL)


class SetAlertThreshold(Arguments):
    """Arguments of set_alert_threshold."""

    metric: Literal["response_time", "error_rate", "cpu", "memory", "disk_io"] = Field(
        description="What is compared: ms, %, %, MB, KB."
    )
    threshold: ThresholdValue = Field(description="Alert above this, in the metric's unit.")
    severity: Literal["warning", "critical"] = Field(description="Severity of the alerts it raises.")
    mcp_server: Name | None = Field(None, description="For this MCP server only (default all).")
    tool_name: Name | None = Field(None, description="For this tool only (default all).")
    enabled: bool = Field(True, description="false switches the threshold off.")
    aggregation: Literal["call", "avg", "p50", "p95", "p99", "min", "max", "error_rate"] | None = Field(
        None, description="Judge this figure over `window`; `call` (the default unless a window is named): every call."
    )
    window: TimeText | None = Field(None, description="Span for the aggregation, such as 5m; 10s to 24h.")
    min_calls: MinCalls | None = Field(None, description="Calls the window must hold before it is judged.")

    @model_validator(mode="after")
    def _percent(self) -> SetAlertThreshold:
        if self.metric == "error_rate" and self.threshold > 100:
            raise ValueError("threshold: an error_rate is a percentage from 0 to 100")
        return self


class GetActiveAlerts(Arguments):
    """Arguments of get_active_alerts."""

    severity: Literal["warning", "critical"] | None = Field(None, description="Only this severity.")
    mcp_server: Name | None = Field(None, description=_SERVER)
    status: Literal["active", "acknowledged", "escalated"] | None = Field(None, description="Only this status.")
    limit: Limit | None = Field(None, description=_LIMIT)
    cursor: Cursor | None = Field(None, description=_CURSOR)
    detail: Detail = Field("compact", description=_DETAIL)


class AcknowledgeAlert(Arguments):
    """Arguments of acknowledge_alert."""

    alert_id: ShortText = Field(description="Such as alert-20251031-001, from get_active_alerts.")
    acknowledged_by: ShortText = Field(description="Who takes care of it.")
    notes: Notes | None = Field(None, description="What is known so far.")


class GenerateReport(Arguments):
    """Arguments of generate_report."""

    start_time: TimeText | None = Field(
        None, description="ISO-8601, now, today, yesterday, or a span back such as 7d. Not together with period."
    )
    end_time: TimeText | None = Field(None, description="Like startTime; default now.")
    period: Literal["hour", "day", "week", "month"] | None = Field(
        None, description="The last hour, 24 h (the default), 7 d or 30 d."
    )
    format: Literal["markdown", "json", "html"] = Field(
        "markdown", description="html is written to a file; its path and a digest come back."
    )
    include_recommendations: bool = Field(True, description="Add what to do about what was found.")
    mcp_server: Name | None = Field(None, description=_SERVER)

    @model_validator(mode="after")
    def _one_way(self) -> GenerateReport:
        if self.period is not None and (self.start_time is not None or self.end_time is not None):
            raise ValueError("period: give either period, or startTime and endTime, not both")
        if self.end_time is not None and self.start_time is None:
            raise ValueError("endTime: needs a startTime")
        return self


class GetDashboard(Arguments):
    """Arguments of get_dashboard."""

    refresh_interval: RefreshSeconds = Field(
        30, description="Seconds until a page that shows this should ask again; echoed as nextRefresh."
    )
    mcp_server: Name | None = Field(None, description=_SERVER)
