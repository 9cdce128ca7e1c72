"""What can be read without calling a tool: the dashboard, the latest report, one server.

Owns the addresses. What they hold is asked for as the tools ask for it.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from services.gateway.core.arguments import GetDashboard
from services.gateway.core.refusals import quoted
from services.gateway.core.report_answer import multiline
from services.gateway.core.shaping import Answer
from services.gateway.tools import ToolContext
from services.gateway.tools.get_dashboard import SPEC as DASHBOARD

#: The services that resources are asked from.
NEEDS: Final = DASHBOARD.needs

DASHBOARD_URI: Final = "perf://dashboard"
LATEST_REPORT_URI: Final = "perf://reports/latest"
SERVER_PREFIX: Final = "perf://servers/"
SERVER_TEMPLATE: Final = "perf://servers/{name}"
#: Characters of a report that a resource holds.
MAX_REPORT_CHARS: Final = 200_000


class Content(NamedTuple):
    """One content of a resource."""

    mime_type: str
    text: str


class NoSuchResource(LookupError):
    """An address that names nothing; the message says what is there."""


async def read(uri: str, context: ToolContext) -> list[Content]:
    """The contents at an address.

    Raises: NoSuchResource, and what the tools raise.
    """
    if uri == DASHBOARD_URI:
        return _both(await DASHBOARD.run(GetDashboard.model_validate({}), context))
    if uri == LATEST_REPORT_URI:
        return await _latest(context)
    if uri.startswith(SERVER_PREFIX) and len(uri) > len(SERVER_PREFIX):
        name = unquote(uri[len(SERVER_PREFIX) :])
        return _both(await DASHBOARD.run(GetDashboard.model_validate({"mcpServer": name}), context))
    raise NoSuchResource(
        f"{quoted(uri)} is no resource; there are {DASHBOARD_URI}, {LATEST_REPORT_URI}, {SERVER_TEMPLATE}"
    )


def _both(answer: Answer) -> list[Content]:
    return [
        Content("application/json", json.dumps(answer.data, ensure_ascii=False)),
        Content("text/markdown", answer.text),
    ]


async def _latest(context: ToolContext) -> list[Content]:
    reply: Any = await context.backends.ask("reporter", "latest")
    report = reply.get("report")
    if report is None and reply.get("path"):
        digest = reply.get("digest") or {}
        words = digest.get("text", "") if isinstance(digest, dict) else str(digest)
        return [Content("text/markdown", multiline(f"{words}\nThe page is in {reply['path']}"))]
    if report is None:
        return [Content("text/markdown", "No report has been written yet: generate_report writes one.")]
    if isinstance(report, str):
        html = report.lstrip()[:200].lower().startswith(("<!doctype", "<html"))
        return [Content("text/html" if html else "text/markdown", multiline(report[:MAX_REPORT_CHARS]))]
    return [Content("application/json", json.dumps(report, ensure_ascii=True)[:MAX_REPORT_CHARS])]
