"""Claude Code's real payloads as metrics, and everything that is not one as a counted nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.core.hooks import HookMetric, Ignored, read_payload, server_and_tool

FIXTURES = Path(__file__).parents[2] / "fixtures" / "claude-code"
NOW_MS = 1_761_915_600_000


def payload(name: str, **changes: Any) -> dict[str, Any]:
    found = json.loads((FIXTURES / f"{name}.json").read_text())
    return {key: value for key, value in (found | changes).items() if value is not ...}


def row(found: HookMetric | Ignored) -> dict[str, Any]:
    assert isinstance(found, HookMetric), found
    return found.row


def test_a_successful_call_becomes_a_metric_under_its_tool_use_id():
    assert row(read_payload(payload("PostToolUse"), NOW_MS)) == {
        "mcpServer": "perf",
        "toolName": "get_metrics",
        "duration": 55,
        "success": True,
        "timestamp": NOW_MS,
        "callId": "toolu_00",
    }


def test_a_plugins_server_keeps_its_own_name():
    found = row(read_payload(payload("PostToolUse-plugin"), NOW_MS))
    assert (found["mcpServer"], found["toolName"]) == ("plugin:perfmon:mon", "get_metrics")
    assert found["duration"] == 31


def test_a_failure_keeps_its_error():
    found = row(read_payload(payload("PostToolUseFailure"), NOW_MS))
    assert found["success"] is False
    assert found["error"] == "Error executing tool boom: nope"
    assert found["toolName"] == "boom"


def test_an_interruption_is_a_failure_of_its_own_class():
    found = row(read_payload(payload("PostToolUseFailure", is_interrupt=True), NOW_MS))
    assert found["success"] is False
    assert found["error"].startswith("interrupted: ")


@pytest.mark.parametrize("name", ["PreToolUse", "PostToolBatch", "PostToolBatch-plugin"])
def test_other_events_are_accepted_and_ignored(name):
    assert read_payload(payload(name), NOW_MS) is Ignored.OTHER_EVENT


def test_a_call_without_a_duration_is_counted_not_guessed():
    assert read_payload(payload("PostToolUse", duration_ms=...), NOW_MS) is Ignored.NO_DURATION


@pytest.mark.parametrize("duration", ["55", True, -1, float("nan"), float("inf"), 1e12, [55]])
def test_a_duration_that_is_none_is_malformed(duration):
    assert read_payload(payload("PostToolUse", duration_ms=duration), NOW_MS) is Ignored.MALFORMED


@pytest.mark.parametrize("tool", ["Bash", "Read", "mcp__", "mcp__server", "mcp____tool", "mcp__server__", ""])
def test_tools_that_are_not_mcps_are_ignored(tool):
    assert read_payload(payload("PostToolUse", tool_name=tool, mcp_server=...), NOW_MS) is Ignored.NOT_AN_MCP_TOOL


@pytest.mark.parametrize("body", [None, 5, "x", [], [1], {"hook_event_name": "PostToolUse"}])
def test_what_is_no_payload_is_malformed_or_another_event(body):
    assert isinstance(read_payload(body, NOW_MS), Ignored)


@pytest.mark.parametrize(
    ("tool_name", "server", "expected"),
    [
        ("mcp__perf__get", {"name": "perf"}, ("perf", "get")),
        ("mcp__my_server__a__b", {"name": "my.server"}, ("my.server", "a__b")),
        ("mcp__a__b__tool", {"name": "a__b"}, ("a__b", "tool")),
        ("mcp__a__b__tool", None, ("a", "b__tool")),
        ("mcp__a__tool", {"name": "other"}, ("a", "tool")),
        ("mcp__a__tool", {"name": ""}, ("a", "tool")),
        ("mcp__a__tool", {"name": 5}, ("a", "tool")),
        ("mcp__a__tool", "a", ("a", "tool")),
        ("mcp__a__" + "t" * 2_000, None, None),
    ],
)
def test_server_and_tool_come_from_the_servers_own_name_where_it_fits(tool_name, server, expected):
    assert server_and_tool(tool_name, server) == expected


@pytest.mark.parametrize("call_id", [..., "", 5, None, "x" * 300])
def test_a_call_without_a_usable_id_is_still_a_metric(call_id):
    assert "callId" not in row(read_payload(payload("PostToolUse", tool_use_id=call_id), NOW_MS))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.dictionaries(st.text(max_size=9), inner),
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "hook_event_name": JSON | st.sampled_from(["PostToolUse", "PostToolUseFailure"]),
            "tool_name": JSON | st.sampled_from(["mcp__a__b"]),
            "tool_use_id": JSON,
            "duration_ms": JSON | st.just(5),
            "mcp_server": JSON,
            "error": JSON,
            "is_interrupt": JSON,
        },
    )
)
def test_no_payload_whatever_makes_it_fail(body):
    assert isinstance(read_payload(body, NOW_MS), HookMetric | Ignored)
