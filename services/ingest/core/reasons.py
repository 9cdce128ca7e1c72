"""Why a row or a message is refused: short names that are counted, each with a sentence for people."""

from __future__ import annotations

from typing import Final

from perfmon.wire import limits

REASONS: Final[dict[str, str]] = {
    "row_not_a_map": "a row is a map of fields",
    "missing_field": "mcpServer, toolName, duration and success are required",
    "unknown_field": "known fields: mcpServer, toolName, duration, success, error, resource, timestamp, callId",
    "name_not_text": "mcpServer and toolName are strings",
    "name_empty": "mcpServer and toolName have at least one character",
    "name_too_long": f"mcpServer and toolName have at most {limits.MAX_NAME_BYTES} bytes",
    "name_not_utf8": "mcpServer and toolName are valid UTF-8",
    "name_reserved": f"{limits.OVERFLOW_NAME} is reserved",
    "duration_not_a_number": "duration is a number of milliseconds",
    "duration_out_of_range": f"duration is from 0 to {limits.MAX_DURATION_MS:.0f} ms, finite",
    "success_not_boolean": "success is true or false",
    "error_not_text": "error is a string or null",
    "resource_not_a_map": "resource is null or a map of cpu, memory and diskIO",
    "resource_not_a_number": "cpu, memory and diskIO are numbers or null",
    "cpu_out_of_range": f"cpu is from 0 to {limits.MAX_CPU_PERCENT:.0f} %",
    "memory_out_of_range": f"memory is from 0 to {limits.MAX_MEMORY_MB:.0f} MB",
    "disk_io_out_of_range": f"diskIO is from 0 to {limits.MAX_DISK_IO_KB:.0f} KB",
    "timestamp_not_a_time": "timestamp is ISO-8601 text or integer epoch milliseconds",
    "timestamp_in_future": "timestamp is at most 10 minutes ahead of the clock",
    "timestamp_too_old": "timestamp is within the retention of raw metrics",
    "call_id_not_text": f"callId is a string of 1 to {limits.MAX_CALL_ID_BYTES} bytes",
    # whole messages
    "too_many_rows": f"a message has at most {limits.MAX_ROWS} rows",
    "bad_batch": "a message is a list of rows, or columns that fit each other",
    "bad_producer": "producer is a string of 1 to 128 bytes that comes with an integer seq from 1 to 2^63-1",
    "stale_sequence": "this sequence is far below the producer's latest; whether it was stored is no longer known",
    "unknown_kind": "ingest takes rows, batch and request",
}
