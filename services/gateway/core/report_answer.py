"""generate_report: the reporter's report, within what a model can read. Pure."""

from __future__ import annotations

import json
from typing import Any, Final

from services.gateway.core.arguments import GenerateReport
from services.gateway.core.ranges import Range
from services.gateway.core.shaping import Answer, Data, cut_text, harmless
from shared.names import shown

#: Characters of a report that are given inline: about 1,500 tokens, which the reporter aims at. The whole is in its file.
INLINE_CHARS: Final = 6_200
#: Characters of the digest, the summary and the recommendations of an answer.
MAX_DIGEST_CHARS: Final = 1_500
MAX_RECOMMENDATIONS: Final = 10
#: Entries that lists of a JSON report keep, tried from the longest until it fits.
_LIST_LENGTHS: Final = (20, 10, 5, 3, 1, 0)


def report_request(arguments: GenerateReport, found: Range, after_seq: int | None) -> Data:
    """The parameters of the reporter's `report`."""
    request: Data = {
        "startMs": found.start_ms,
        "endMs": found.end_ms,
        "format": arguments.format,
        "includeRecommendations": arguments.include_recommendations,
    }
    optional = {"mcpServer": arguments.mcp_server, "afterSeq": after_seq}
    return request | {name: value for name, value in optional.items() if value is not None}


def report_answer(arguments: GenerateReport, found: Range, reply: Data) -> Answer:
    """The answer; `report` is the text, the JSON object, or null for HTML, which is only in its file."""
    path = None if reply.get("path") is None else shown(str(reply["path"]), 1_000)
    where = "cut here" if path is None else f"cut here; the whole report is in {path}"
    report = reply.get("report")
    inline: Any = None
    if arguments.format == "json":
        inline = _pruned(report)
    elif arguments.format == "markdown":
        inline = cut_text(multiline(str(report or "")), INLINE_CHARS, where)
    advice = harmless(list(reply.get("recommendations") or []), 300)
    data: Data = {
        "format": arguments.format,
        "report": inline,
        "path": path,
        "digest": _digest(reply.get("digest")),
        "summary": _pruned(reply.get("summary") or {}, MAX_DIGEST_CHARS),
        "recommendations": advice[:MAX_RECOMMENDATIONS],
        "gaps": harmless(list(reply.get("gaps") or []), 300),
        "range": found.echo(),
    }
    return Answer(_text(data), data)


def _text(data: Data) -> str:
    written = "which could not be written to a file" if data["path"] is None else f"written to {data['path']}"
    head = f"Report {data['range']['startTime']} to {data['range']['endTime']}, {written}."
    if data["format"] == "markdown":
        return f"{head}\n\n{data['report']}"
    advice = "".join(f"\n- {one if isinstance(one, str) else json.dumps(one)}" for one in data["recommendations"])
    digest = data["digest"] or json.dumps(data["summary"], ensure_ascii=False)
    return f"{head}\n{digest}" + (f"\nRecommendations:{advice}" if advice else "")


def _digest(digest: object) -> str:
    if isinstance(digest, dict):
        digest = digest.get("text") or digest
    if digest is None:
        return ""
    text = digest if isinstance(digest, str) else json.dumps(harmless(digest), ensure_ascii=False)
    return cut_text(multiline(text), MAX_DIGEST_CHARS, "cut")


def multiline(text: str) -> str:
    """Every line escaped by itself: the lines are the reporter's own, what is in them may not be."""
    return "\n".join(shown(line, 2_000) for line in text.split("\n"))


def _pruned(value: Any, limit_chars: int = INLINE_CHARS) -> Any:
    whole = harmless(value)
    for length in _LIST_LENGTHS:
        if len(json.dumps(whole, ensure_ascii=False)) <= limit_chars:
            return whole
        whole = _shorter(whole, length)
    return whole if len(json.dumps(whole, ensure_ascii=False)) <= limit_chars else {"cut": "too long; see the file"}


def _shorter(value: Any, length: int) -> Any:
    if isinstance(value, dict):
        return {name: _shorter(item, length) for name, item in value.items()}
    if isinstance(value, list):
        return [_shorter(item, length) for item in value[:length]]
    return value
