"""What clients see in tools/list: closed inputs, described outputs, honest annotations."""

import asyncio
import json
from typing import Any

import jsonschema
import pytest
from gateway_fakes import FakeBackends, call, server_for
from mcp import Client

PARAMETERS = {
    "track_performance": {
        "mcpServer",
        "toolName",
        "duration",
        "success",
        "errorMessage",
        "resourceUsage",
        "timestamp",
        "callId",
    },
    "get_metrics": {
        "mcpServer",
        "toolName",
        "startTime",
        "endTime",
        "aggregation",
        "groupBy",
        "limit",
        "cursor",
        "detail",
    },
    "detect_anomalies": {
        "mcpServer",
        "toolName",
        "lookbackWindow",
        "sensitivity",
        "method",
        "limit",
        "cursor",
        "detail",
    },
    "set_alert_threshold": {
        "metric",
        "threshold",
        "severity",
        "mcpServer",
        "toolName",
        "enabled",
        "aggregation",
        "window",
        "minCalls",
    },
    "get_active_alerts": {"severity", "mcpServer", "status", "limit", "cursor", "detail"},
    "acknowledge_alert": {"alertId", "acknowledgedBy", "notes"},
    "generate_report": {"startTime", "endTime", "period", "format", "includeRecommendations", "mcpServer"},
    "get_dashboard": {"refreshInterval", "mcpServer"},
}
REQUIRED = {
    "track_performance": {"mcpServer", "toolName", "duration", "success"},
    "set_alert_threshold": {"metric", "threshold", "severity"},
    "acknowledge_alert": {"alertId", "acknowledgedBy"},
}
DEFAULTS = {
    ("get_metrics", "startTime"): "24h",
    ("get_metrics", "endTime"): "now",
    ("get_metrics", "aggregation"): "avg",
    ("detect_anomalies", "lookbackWindow"): "6h",
    ("detect_anomalies", "sensitivity"): "medium",
    ("detect_anomalies", "method"): "auto",
    ("set_alert_threshold", "enabled"): True,
    ("generate_report", "format"): "markdown",
    ("generate_report", "includeRecommendations"): True,
    ("get_dashboard", "refreshInterval"): 30,
}
WRITES = {"track_performance", "set_alert_threshold", "acknowledge_alert", "generate_report"}
EXAMPLES: dict[str, dict[str, Any]] = {
    "track_performance": {"mcpServer": "a", "toolName": "b", "duration": 1, "success": True},
    "get_metrics": {},
    "detect_anomalies": {},
    "set_alert_threshold": {"metric": "cpu", "threshold": 80, "severity": "warning"},
    "get_active_alerts": {},
    "acknowledge_alert": {"alertId": "alert-20251031-001", "acknowledgedBy": "ana"},
    "generate_report": {},
    "get_dashboard": {},
}


def listed(mode: str) -> dict[str, Any]:
    async def run() -> Any:
        async with Client(server_for(FakeBackends()).sdk, mode=mode) as client:
            return await client.list_tools()

    return {tool.name: tool for tool in asyncio.run(run()).tools}


@pytest.fixture(scope="module")
def tools() -> dict[str, Any]:
    return listed("auto")


def test_the_eight_tools_and_no_other_are_listed_in_both_protocol_eras(tools):
    assert set(tools) == set(PARAMETERS)
    assert set(listed("legacy")) == set(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_tool_takes_exactly_the_agreed_parameters_and_no_unknown_ones(tools, name):
    schema = tools[name].input_schema
    assert set(schema["properties"]) == PARAMETERS[name]
    assert schema["additionalProperties"] is False
    assert set(schema.get("required", [])) == REQUIRED.get(name, set())
    assert all(prop.get("description") for prop in schema["properties"].values())
    jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    assert "$ref" not in text
    assert '"title"' not in text


def test_nested_resource_usage_is_closed_too(tools):
    usage = tools["track_performance"].input_schema["properties"]["resourceUsage"]
    assert usage["additionalProperties"] is False
    assert set(usage["properties"]) == {"cpu", "memory", "diskIO"}


@pytest.mark.parametrize(("where", "default"), DEFAULTS.items())
def test_defaults_are_the_agreed_ones(tools, where, default):
    name, parameter = where
    assert tools[name].input_schema["properties"][parameter]["default"] == default


@pytest.mark.parametrize("name", PARAMETERS)
def test_annotations_say_what_a_tool_does_to_the_world(tools, name):
    hints = tools[name].annotations
    assert hints.read_only_hint is (name not in WRITES)
    assert hints.destructive_hint is False
    assert hints.open_world_hint is False
    assert hints.idempotent_hint is (name not in {"track_performance", "generate_report"})
    assert tools[name].title
    assert hints.title == tools[name].title


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_description_is_enough_to_choose_and_call_the_tool(tools, name):
    description = tools[name].description
    assert 80 < len(description) < 700
    assert "Example: {" in description
    example = json.loads(description.split("Example: ", 1)[1])
    jsonschema.validate(example, tools[name].input_schema)


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_answer_is_structured_as_its_output_schema_says(tools, name, mode):
    result = call(FakeBackends(), name, EXAMPLES[name], mode=mode)
    assert not result.is_error, result.content[0].text
    schema = tools[name].output_schema
    assert schema["type"] == "object"
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(result.structured_content, schema)
    assert result.content[0].text


def test_the_whole_list_is_small_enough_to_sit_in_a_context(tools):
    size = sum(len(tool.model_dump_json(by_alias=True, exclude_none=True)) for tool in tools.values())
    assert size < 22_000


def test_the_server_says_how_it_is_meant_to_be_used():
    async def run() -> Any:
        async with Client(server_for(FakeBackends()).sdk, mode="legacy") as client:
            return client.instructions

    assert "get_dashboard" in asyncio.run(run())
