"""A report as one self-contained HTML page: no script, no address, nothing loaded, everything escaped.

Owns the order of the page; `html_tables` draws its tables, `svg` its charts, `style` how it looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from services.reporter.core.answers import Stats
from services.reporter.core.card_times import when_words
from services.reporter.core.elements import Child, Markup, el, fragment, name, sentence
from services.reporter.core.figures import change_text, count_text, duration_text, percent_text
from services.reporter.core.html_tables import alerts_table, anomalies_table, error_list, servers_table, tools_table
from services.reporter.core.incident_stories import IncidentStory
from services.reporter.core.incident_words import said_of
from services.reporter.core.incident_words import title as incident_title
from services.reporter.core.incident_words import when as incident_when
from services.reporter.core.model import Limits, Report
from services.reporter.core.recommendation import Recommendation
from services.reporter.core.style import STYLE, policy
from services.reporter.core.svg import Bar, bars_chart, calls_chart, health_ring, latency_chart
from services.reporter.core.text import visible
from services.reporter.core.trends import Trend
from services.reporter.core.wording import (
    STATUS_WORDS,
    before_words,
    cut_note,
    held_back_words,
    nothing_words,
    short_range,
)
from shared.timespan import HOUR_MS, MINUTE_MS, iso, span_text

#: Bars in "where the time went", and abnormal times that are shaded.
TIME_BARS: Final = 8
#: The height of a bar in rows of a table.
BARS_IN_ROWS: Final = 0.65
MAX_BANDS: Final = 60

_PULSE: Final = "M4 12h3.5l2-5 4 10 2.2-5H20"
_TICK: Final = "M7 11.5l2.8 2.8L15.5 8.5"


def render(report: Report, limits: Limits) -> str:
    """The page."""
    title = "Performance report" + (f" of {visible(report.server)}" if report.server else "")
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy()),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="referrer", content="no-referrer"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{title}, {short_range(report.range)}"),
        Markup(f"<style>{STYLE}</style>"),
    )
    body = el("body", _header(report), el("main", *_sections(report, limits), class_="wrap"), _footer(report))
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def _sections(report: Report, limits: Limits) -> Iterator[Markup]:
    yield _hero(report)
    if report.summary is not None and report.has_calls:
        yield _tiles(report, report.summary)
    yield from _gaps(report)
    if report.has_calls:
        yield _charts(report)
    yield from _advice(report, limits)
    yield from _incidents(report, limits)
    if report.has_calls:
        yield _tools(report, limits)
    yield from servers_table(report, limits)
    yield from _alerts_and_anomalies(report, limits)
    yield from error_list(report, limits)


def _header(report: Report) -> Markup:
    mark = el(
        "svg",
        el("rect", x=0, y=0, width=24, height=24, rx=6, class_="tile"),
        el("path", d=_PULSE, class_="pulse"),
        viewBox="0 0 24 24",
        aria_hidden="true",
    )
    of = fragment(" of ", name(report.server)) if report.server else None
    return el(
        "header",
        el(
            "div",
            el("div", mark, "Performance Monitor", class_="brand"),
            el("h1", "Performance report", of),
            el("p", f"{short_range(report.range)} · {span_text(report.range.span_ms)}"),
            class_="wrap",
        ),
    )


def _hero(report: Report) -> Markup:
    health = report.health
    words = STATUS_WORDS[health.status]
    few = el("span", "few calls", class_="pill") if health.few_calls else None
    ring = health_ring(health.score, health.status, words, "health")
    said = el("ul", [el("li", sentence(reason)) for reason in health.reasons], class_="reasons")
    verdict = el("div", words[:1].upper() + words[1:], few, class_="verdict")
    return el("div", ring, el("div", verdict, said), class_="hero")


def _tiles(report: Report, stats: Stats) -> Markup:
    trends = {trend.metric: trend for trend in report.trends}
    tiles = (
        ("Calls", count_text(stats.count), trends.get("calls")),
        ("Errors", count_text(stats.errors), None),
        ("Error rate", percent_text(stats.error_rate), trends.get("error_rate")),
        ("Median (p50)", duration_text(stats.p50), trends.get("p50")),
        ("p95", duration_text(stats.p95), trends.get("p95")),
        ("p99", duration_text(stats.p99), trends.get("p99")),
    )
    extra = {"Errors": f"mean call {duration_text(stats.avg)}"}
    return el("dl", [_tile(*tile, extra.get(tile[0])) for tile in tiles], class_="tiles")


def _tile(label: str, value: str, trend: Trend | None, extra: str | None) -> Markup:
    note: Child = el("span", extra, class_="delta") if extra else None
    if trend is not None:
        note = el("span", _delta(trend), class_=_delta_class(trend))
    return el("div", el("dt", label), el("dd", value, note), class_="tile")


def _delta(trend: Trend) -> str:
    if trend.direction == "unknown":
        return trend.words
    if trend.direction == "steady":
        return "steady"
    before = percent_text(trend.before) if trend.metric == "error_rate" else duration_text(trend.before)
    if trend.metric == "calls":
        return f"{change_text(trend.change_percent)} from {count_text(trend.before)}"
    arrow = "▲" if trend.direction == "up" else "▼"
    return f"{arrow} from {before}"


def _delta_class(trend: Trend) -> str:
    if trend.metric == "calls" or trend.direction in {"unknown", "steady"}:
        return "delta"
    return "delta worse" if trend.worse else "delta better"


def _gaps(report: Report) -> Iterator[Markup]:
    if report.gaps:
        listed = el("ul", [el("li", sentence(gap)) for gap in report.gaps])
        yield el("section", el("h2", "What this report does not know"), listed, class_="gaps")


def _advice(report: Report, limits: Limits) -> Iterator[Markup]:
    if report.recommendations is None:
        return
    if not report.recommendations:
        tick = el(
            "svg", el("circle", cx=11, cy=11, r=11), el("path", d=_TICK),
            viewBox="0 0 22 22", class_="tick", aria_hidden="true",
        )  # fmt: skip
        body = el("p", tick if report.has_calls else None, el("span", nothing_words(report)), class_="good")
        yield el("section", el("h2", "Recommendations"), body)
        return
    tips = [_tip(item) for item in report.recommendations[: limits.recommendations]]
    lead = el("p", "From the evidence of this range, the most severe and costly first.", class_="lead")
    yield el("section", el("h2", "Recommendations"), lead, el("div", tips, class_="advice"))


def _tip(item: Recommendation) -> Markup:
    meta = el("div", el("span", item.severity, class_=f"pill {item.severity}"), when_words(item), class_="meta")
    said = el("ul", [el("li", sentence(text)) for text in item.evidence]) if item.evidence else None
    quoted = el("pre", visible(item.message)) if item.message else None
    parts = (meta, el("h3", sentence(item.title)), said, el("p", sentence(item.action), class_="do"), quoted)
    return el("div", *parts, class_=f"tip {item.severity}")


def _incidents(report: Report, limits: Limits) -> Iterator[Markup]:
    if not report.incidents:
        return
    lead = el("p", "Anomalies that belong together, with what the detector takes for their cause.", class_="lead")
    told = [_incident(story, limits.members) for story in report.incidents[: limits.incidents]]
    note = cut_note(len(report.incidents), limits.incidents, "incidents")
    cut = el("p", note, class_="note") if note else None
    yield el("section", el("h2", "Incidents"), lead, el("div", told, class_="advice"), cut)


def _incident(story: IncidentStory, members: int) -> Markup:
    meta = el("div", el("span", story.severity, class_=f"pill {story.severity}"), incident_when(story), class_="meta")
    said = el("ul", [el("li", sentence(text)) for text in said_of(story, members)])
    return el("div", meta, el("h3", sentence(incident_title(story))), said, class_=f"tip {story.severity}")


def _charts(report: Report) -> Markup:
    if not report.timeline:
        return Markup("")
    span, bucket = report.range, report.bucket_ms
    each = "by the " + {MINUTE_MS: "minute", HOUR_MS: "hour"}.get(bucket, "day")
    bands = [
        (a.start_ms, a.end_ms or min(span.end_ms, report.generated_ms))
        for a in report.anomalies or ()
        if a.start_ms is not None and a.severity != "info" and a.metric == "response_time"
    ]
    bands = bands[:MAX_BANDS]
    calls = el(
        "section",
        el("h2", f"Calls and errors, {each}"),
        _legend(("Calls", ""), ("Errors", "k-errors")),
        calls_chart(report.timeline, span, bucket, "calls"),
    )
    legend = (("p95", ""), ("p50", "k-p50"), *((("Abnormal", "k-band"),) if bands else ()))
    latency = el(
        "section",
        el("h2", f"Response time, {each}"),
        _legend(*legend),
        latency_chart(report.timeline, span, bucket, "latency", bands),
    )
    return el("div", calls, latency, class_="two")


def _legend(*entries: tuple[str, str]) -> Markup:
    return el("div", [el("span", el("i", class_=kind or None), label) for label, kind in entries], class_="legend")


def _tools(report: Report, limits: Limits) -> Markup:
    failing = slowest = None
    if report.by_errors is not None:
        failing = tools_table(
            report.by_errors, limits, "Tools that fail most", "error_rate", before_words(report.range)
        )
    if report.by_p95 is not None:
        slowest = tools_table(
            report.by_p95, _beside(report, limits), "Slowest tools", "p95", before_words(report.range)
        )
    return el("div", el("div", failing, _time_spent(report), class_="stack"), slowest, class_="two")


def _beside(report: Report, limits: Limits) -> Limits:
    """The slowest tools are as many as stand beside those that fail and the bars, so that no half of the page is empty."""
    failing = 0 if report.by_errors is None else len(report.by_errors.rows)
    bars = 0 if report.by_time is None else min(TIME_BARS, len(report.by_time.rows))
    return replace(limits, tools=min(limits.tools, max(1, failing) + 1 + round(BARS_IN_ROWS * bars)))


def _time_spent(report: Report) -> Markup | None:
    rows = report.by_time.rows[:TIME_BARS] if report.by_time is not None else ()
    if not rows:
        return None
    spent = [row.stats.count * (row.stats.avg or 0.0) for row in rows]
    bars = [
        Bar(f"{visible(row.stats.tool)} · {visible(row.stats.server)}", ms, duration_text(ms))
        for row, ms in zip(rows, spent, strict=True)
    ]
    lead = el("p", "Duration of all calls together, by tool.", class_="lead")
    return el("section", el("h2", "Where the time went"), lead, bars_chart(bars, "Time spent in each tool", "time"))


def _alerts_and_anomalies(report: Report, limits: Limits) -> Iterator[Markup]:
    section = report.alerts
    if section.active is not None:
        held = el("p", held_back_words(report), class_="note") if section.suppressed else None
        moved = None
        if section.raised is not None and section.resolved is not None:
            moved = f"{len(section.raised)} raised and {len(section.resolved)} resolved in this range."
        lead = el("p", moved or "", class_="lead")
        yield el("section", el("h2", "Alerts"), lead, alerts_table(report, limits), held)
    if report.anomalies is not None:
        yield el("section", el("h2", "Anomalies"), anomalies_table(report, limits))


def _footer(report: Report) -> Markup:
    listed = "; ".join(f"{source.service}: {source.detail}" for source in report.sources)
    last = report.freshness.last_metric_ms
    as_of = f" Last metric {iso(last)}." if last is not None else ""
    exact = f"{iso(report.range.start_ms)} to {iso(report.range.end_ms)}"
    return el(
        "footer",
        el("p", f"Range {exact}. Generated {iso(report.generated_ms)}.{as_of}"),
        el("p", f"Sources: {listed or 'none'}. Percentiles are nearest rank; from rollups within 1 %. Times are UTC."),
        class_="wrap",
    )
