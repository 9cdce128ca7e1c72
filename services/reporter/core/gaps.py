"""What a report does not know, said plainly: services that did not answer, time without data, figures not yet counted.

Pure. Every absence in a report has its sentence here; nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.reporter.core.answered import Answered
from services.reporter.core.answers import Failure, Freshness, Rollup, Stats
from services.reporter.core.figures import count_text, counted, minute_text
from services.reporter.core.model import Range, Source
from services.reporter.core.text import Text, Untrusted
from services.reporter.core.wording import source_words
from shared.timespan import iso

#: What is missing from a report when a question was not answered.
MISSING: Final = {
    "timeline": "the totals and the course over time",
    "servers": "the servers",
    "tools": "the tools",
    "before": "the comparison with the window before",
    "servers_before": "the servers' earlier level",
    "tools_before": "the tools' earlier level",
    "series": "when silent servers were last heard of",
    "anomalies": "the anomalies",
    "alerts": "the active alerts",
    "history": "the alerts raised and resolved",
    "thresholds": "the thresholds that were set (defaults are used)",
    "ingest": "what the ingest refused or dropped",
    "slowest": "the slowest of the tools that were not listed",
    "busiest": "the busiest of the tools that were not listed",
}
#: Calls that begin later than this share of the range are worth a sentence.
LATE_SHARE: Final = 0.10
OVERFLOW: Final = "__overflow__"

#: The question that shows whether a service answered.
_ASKED: Final = {"aggregator": "timeline", "detector": "anomalies", "alerter": "alerts", "ingest": "ingest"}
#: The code of a service that says that it is starting, of one that is silent, and of one that is silent just after a start.
STARTING: Final = "starting"
SILENT: Final = "unavailable"
SILENT_YET: Final = "unavailable_yet"
_AGAIN: Final = "ask again in a few seconds"
#: Counters of the ingest that people should know of: one, many, and what happened. Messages that could not be read count as one.
_LOSSES: Final = {
    "rejected_total": (("message or row", "messages or rows"), " refused at the door"),
    "append_failures_total": (("append", "appends"), " to the JSONL files that failed, to be tried again"),
    "parked_total": (("batch", "batches"), " parked"),
    "lost_places_total": (("time", "times"), " that a consumer fell behind and lost its place"),
}


def find_gaps(answered: Answered, span: Range, now_ms: int, total: Stats | None, tools_known: int) -> tuple[Text, ...]:
    """The sentences, most important first."""
    freshness = answered.freshness
    found: list[Text] = list(find_missing(answered))
    found += _time_without_data(span, now_ms, total, freshness)
    if freshness.lag_entries:
        found.append((f"{_entries(freshness.lag_entries)} stored but not yet in these figures.",))
    found += servers_left_out(answered)
    found += _tools_left_out(answered.rollup("tools"), tools_known)
    found += _ingest(answered.ingest or {})
    return tuple(found)


def sources_of(answered: Answered) -> tuple[Source, ...]:
    """Each service that was asked, whether it answered, and from what."""
    found = []
    for service, name in _ASKED.items():
        if name in answered.failures:
            found.append(Source(service, answered=False, detail="did not answer"))
        elif name in answered.values:
            found.append(Source(service, answered=True, detail=_detail(answered.rollup(name))))
    return tuple(found)


def find_missing(answered: Answered) -> list[Text]:
    """One sentence a service and reason, with everything that is missing for it."""
    missing: dict[Failure, list[str]] = {}
    for name, failure in answered.failures.items():
        what = "servers' lines over time" if name.startswith("timeline ") else MISSING.get(name, name)
        reason = Failure(
            failure.service, failure.code, "" if failure.code in {SILENT, SILENT_YET, STARTING} else failure.message
        )
        listed = missing.setdefault(reason, [])
        if what not in listed:
            listed.append(what)
    found: list[Text] = []
    for failure, parts in missing.items():
        what = f"missing here: {', '.join(parts)}."
        if failure.code == STARTING:
            found.append((f"The {failure.service} is still starting, {_AGAIN}; {what}",))
        elif failure.code == SILENT_YET:
            found.append((f"The {failure.service} did not answer in time; it may still be starting, {_AGAIN}; {what}",))
        elif failure.code == SILENT:
            found.append((f"The {failure.service} did not answer in time; {what}",))
        else:
            found.append((f"The {failure.service} refused (", Untrusted(failure.message), f"); {what}"))
    return found


def _time_without_data(span: Range, now_ms: int, total: Stats | None, freshness: Freshness) -> list[Text]:
    if total is None:
        return []
    if not total.count:
        last = freshness.last_metric_ms
        since = f"; the last call known is of {minute_text(last)}" if last is not None else ""
        return [(f"There are no calls in this range{since}.",)]
    found: list[Text] = []
    edge = LATE_SHARE * span.span_ms
    if total.first_ts is not None and total.first_ts - span.start_ms > edge:
        found.append((f"Calls begin at {minute_text(total.first_ts)}: before that there is no data in this range.",))
    end_ms = min(span.end_ms, now_ms)
    if total.last_ts is not None and end_ms - total.last_ts > edge:
        found.append((f"Calls end at {minute_text(total.last_ts)}: after that there is no data in this range.",))
    if span.end_ms > now_ms:
        found.append((f"The range ends in the future; figures are as of {minute_text(now_ms)}.",))
    return found


def servers_left_out(answered: Answered) -> list[Text]:
    """Servers beyond those that are judged one by one."""
    servers = answered.rollup("servers")
    if servers is None or servers.rows_total <= len(servers.rows):
        return []
    some, every = count_text(len(servers.rows)), count_text(servers.rows_total)
    return [(f"Only the {some} servers with most calls are judged, of {every}.",)]


def _tools_left_out(tools: Rollup | None, known: int) -> list[Text]:
    if tools is None:
        return []
    found: list[Text] = []
    if tools.rows_total > known:
        some, every = count_text(known), count_text(tools.rows_total)
        found.append((f"Tools are ranked over the {some} that fail, take or are called most, of {every}.",))
    hidden = sum(row.count for row in tools.rows if OVERFLOW in {row.server, row.tool})
    if hidden:
        counted_together = "is counted apart" if hidden == 1 else "are counted together"
        found.append((f"{counted(hidden, 'call')} of tools beyond the limit of series {counted_together}.",))
    return found


def _ingest(counters: Mapping[str, int]) -> list[Text]:
    said = [
        counted(counters[name], *nouns) + rest for name, (nouns, rest) in _LOSSES.items() if counters.get(name, 0) > 0
    ]
    return [(f"Since its start the ingest counts {', '.join(said)}.",)] if said else []


def _detail(rollup: Rollup | None) -> str:
    if rollup is None:
        return "answered"
    last = rollup.freshness.last_metric_ms
    as_of = f"; last metric {iso(last)}" if last is not None else ""
    return f"{source_words(rollup.source)}{as_of}"


def _entries(count: int) -> str:
    return f"{counted(count, 'journal entry', 'journal entries')} {'is' if count == 1 else 'are'}"
