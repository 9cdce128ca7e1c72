"""What `report` answers: the report inline when it is short, its digest, and where it was written.

Pure. Markdown and JSON come inline, cut until they are short enough; a page never does.
"""

from __future__ import annotations

import json
from typing import Any, Final

from services.reporter.core import render_html, render_json, render_markdown
from services.reporter.core.figures import count_text, counted, duration_text, percent_text
from services.reporter.core.model import IN_ANSWER, IN_FILE, ON_PAGE, Format, Report
from services.reporter.core.render_json import summary_object
from services.reporter.core.text import plain
from services.reporter.core.wording import health_words, range_words
from shared.timespan import iso

#: Characters of a report in an answer: about 1,500 tokens of Markdown.
MAX_INLINE_CHARS: Final = 6_000
#: Recommendations that an answer lists beside the report.
LISTED: Final = 5


def file_text(report: Report, wanted: Format) -> str:
    """The whole report in a format, for the file."""
    if wanted == "html":
        return render_html.render(report, ON_PAGE)
    return render_json.render(report, IN_FILE) if wanted == "json" else render_markdown.render(report, IN_FILE)


def inline(report: Report, wanted: Format) -> str | dict[str, Any] | None:
    """The report for the answer: text, an object, or None for a page. Lists are halved until it is short enough; each says how
    many there are in all.
    """
    if wanted == "html":
        return None
    limits = IN_ANSWER
    while True:
        found = render_json.as_object(report, limits) if wanted == "json" else render_markdown.render(report, limits)
        size = len(found) if isinstance(found, str) else len(json.dumps(found))
        if size <= MAX_INLINE_CHARS or limits == limits.halved():
            return found
        limits = limits.halved()


def answer(report: Report, wanted: Format, path: str | None, digest: dict[str, Any]) -> dict[str, Any]:
    """The answer to `report`. `path` None = it could not be written."""
    return {
        "format": wanted,
        "report": inline(report, wanted),
        "path": path,
        "digest": {**digest, "text": digest_text(report)},
        "summary": {
            "start": iso(report.range.start_ms),
            "end": iso(report.range.end_ms),
            "healthScore": report.health.score,
            "status": report.health.status,
            **(summary_object(report.summary) or {}),
        },
        "recommendations": _advice(report),
        "gaps": [plain(gap) for gap in report.gaps],
    }


def digest_text(report: Report) -> str:
    """The report in a line or two."""
    parts = [f"{range_words(report.range)}: health {health_words(report.health)}"]
    if report.summary is not None and report.has_calls:
        stats = report.summary
        failed = f"{count_text(stats.errors)} failed ({percent_text(stats.error_rate)})"
        parts.append(
            f"{counted(stats.count, 'call')}, {failed}, p50 {duration_text(stats.p50)}, p95 {duration_text(stats.p95)}"
        )
    if report.alerts.active is not None:
        parts.append(f"{counted(report.alerts.active_total, 'alert')} open")
    if report.anomalies is not None:
        parts.append(counted(report.anomalies_total, "anomaly", "anomalies"))
    return "; ".join(parts) + "."


def _advice(report: Report) -> list[str] | None:
    if report.recommendations is None:
        return None
    return [f"{plain(item.title)}. {plain(item.action)}" for item in report.recommendations[:LISTED]]
