"""What can be read without a tool."""

import asyncio
import json
from typing import Any

import pytest
from gateway_fakes import NOW_MS, FakeBackends, server_for
from mcp import Client, MCPError


def read(uri: str, backends: FakeBackends | None = None) -> list[Any]:
    async def run() -> Any:
        async with Client(server_for(backends or FakeBackends()).sdk) as client:
            return await client.read_resource(uri)

    return list(asyncio.run(run()).contents)


def test_the_dashboard_is_json_and_readable():
    contents = read("perf://dashboard")
    assert [one.mime_type for one in contents] == ["application/json", "text/markdown"]
    assert json.loads(contents[0].text)["systemHealth"]["status"] == "degraded"


def test_the_latest_report_is_its_text():
    assert read("perf://reports/latest")[0].text == "# Report\n"


def test_no_report_yet_says_how_to_get_one():
    backends = FakeBackends(reporter__latest={"path": None, "report": None})
    assert "generate_report" in read("perf://reports/latest", backends)[0].text


def test_a_latest_report_that_is_a_page_is_its_digest_and_path():
    page = {"path": "/data/reports/r.html", "report": None, "digest": {"text": "120 calls"}}
    text = read("perf://reports/latest", FakeBackends(reporter__latest=page))[0].text
    assert "120 calls" in text
    assert "/data/reports/r.html" in text


def test_one_server_has_an_address():
    backends = FakeBackends(aggregator__series={"series": [["a b", "tool", NOW_MS]], "overflow": 0})
    assert len(read("perf://servers/a%20b", backends)) == 2
    assert ("reporter", "dashboard", {"limit": 20, "mcpServer": "a b"}) in backends.asked


@pytest.mark.parametrize("uri", ["perf://nothing", "perf://servers/", "file:///etc/passwd", "perf://servers/gitub"])
def test_an_unknown_address_is_refused_with_what_there_is(uri):

    async def run() -> MCPError:
        async with Client(server_for(FakeBackends()).sdk) as client:
            with pytest.raises(MCPError) as refused:
                await client.read_resource(uri)
            return refused.value

    refusal = asyncio.run(run())
    assert refusal.error.code == -32602
    assert "Nearest" in str(refusal) or "perf://dashboard" in str(refusal)


def test_resources_are_listed():
    async def run() -> Any:
        async with Client(server_for(FakeBackends()).sdk) as client:
            listed = await client.list_resources()
            templates = await client.list_resource_templates()
            return [str(one.uri) for one in listed.resources], [
                one.uri_template for one in templates.resource_templates
            ]

    assert asyncio.run(run()) == (["perf://dashboard", "perf://reports/latest"], ["perf://servers/{name}"])
