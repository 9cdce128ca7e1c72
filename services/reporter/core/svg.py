"""Simple charts as SVG: calls and errors over time, response times over time, bars, sparklines, the health ring.

Pure: figures in, markup out; colours are the page's classes. Every chart has a title and a description for those who cannot
see it, labelled axes, and survives no points, one point, gaps, NaN and huge values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from services.reporter.core.answers import Stats
from services.reporter.core.elements import Markup, el, fragment, number
from services.reporter.core.figures import count_text, counted, duration_text, short_count
from services.reporter.core.model import Range
from services.reporter.core.scales import drawable, ticks, time_ticks
from services.reporter.core.text import visible

WIDTH: Final = 560.0
HEIGHT: Final = 230.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 12.0, 12.0, 30.0
#: Characters of a name beside a bar.
LABEL_CHARS: Final = 34
#: A line is broken where more than this many buckets are missing.
GAP_BUCKETS: Final = 1.5
RING_RADIUS: Final = 52.0


class Bar(NamedTuple):
    """One horizontal bar: an untrusted label, a length, and the figure written behind it."""

    label: str
    value: float
    figure: str


class _Plot(NamedTuple):
    span: Range
    top: float

    def x(self, ts_ms: float) -> float:
        share = (ts_ms - self.span.start_ms) / max(1, self.span.span_ms)
        return LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - min(1.0, value / self.top) * (HEIGHT - TOP - BOTTOM)


def calls_chart(points: Sequence[Stats], span: Range, bucket_ms: int, chart_id: str) -> Markup:
    """Calls in each bucket as bars, the failed ones on the ground in the colour of errors."""
    marks = ticks([float(point.count) for point in points])
    marks = [mark for mark in marks if mark == int(mark)] or [0.0, 1.0]
    plot = _Plot(span, marks[-1])
    bars = [_call_bars(point, plot, bucket_ms) for point in points if point.ts is not None]
    total, errors = sum(p.count for p in points), sum(p.errors for p in points)
    peak = max((point.count for point in points), default=0)
    what = f"{counted(total, 'call')}, {count_text(errors)} of them failed; most in one bucket {count_text(peak)}."
    return _chart(chart_id, "Calls and errors over time", what, fragment(_axes(plot, marks, short_count), *bars))


def latency_chart(
    points: Sequence[Stats], span: Range, bucket_ms: int, chart_id: str, bands: Sequence[tuple[int, int]] = ()
) -> Markup:
    """p50 and p95 of each bucket as lines; `bands` (start, end) are shaded: when something was abnormal."""
    known = [v for p in points for v in (drawable(p.p50), drawable(p.p95)) if v is not None]
    marks = ticks(known)
    plot = _Plot(span, marks[-1])
    shades = [_band(start, end, plot) for start, end in _merged(bands)]
    lines = [_line(points, plot, bucket_ms, field) for field in ("p95", "p50")]
    worst = max((v for p in points if (v := drawable(p.p95)) is not None), default=None)
    what = f"Worst p95 of a bucket {duration_text(worst)}; {len(bands)} abnormal times shaded."
    return _chart(
        chart_id,
        "Response time over time: p50 and p95",
        what,
        fragment(_axes(plot, marks, duration_text), *shades, *lines),
    )


def bars_chart(bars: Sequence[Bar], title: str, chart_id: str) -> Markup:
    """Horizontal bars with their names above them and their figures behind them, longest first as given."""
    lengths = [drawable(bar.value) or 0.0 for bar in bars]
    longest = max(lengths, default=0.0) or 1.0
    row, room = 46.0, WIDTH - 100.0
    rows = []
    for place, (bar, length) in enumerate(zip(bars, lengths, strict=True)):
        y, width = place * row, max(2.0, room * (length / longest))
        label = visible(bar.label)
        short = label if len(label) <= LABEL_CHARS * 2 else label[: LABEL_CHARS * 2 - 1] + "…"
        rows.append(
            fragment(
                el("text", short, x=0.0, y=y + 15, class_="label"),
                el("rect", el("title", label), x=0.0, y=y + 22, width=width, height=10.0, rx=3, class_="bar"),
                el("text", bar.figure, x=width + 8, y=y + 31.5, class_="figure"),
            )
        )
    what = f"{len(bars)} bars; the longest is {bars[0].figure}." if bars else "No data."
    return _chart(chart_id, title, what, fragment(*rows), height=max(row, row * len(bars)))


def sparkline(points: Sequence[Stats], span: Range, bucket_ms: int) -> Markup:
    """A server's calls over time in the size of a word; decoration, so hidden from screen readers."""
    width, height = 120.0, 26.0
    most = max((point.count for point in points), default=0) or 1
    bars = []
    for point in points:
        if point.ts is None or point.count <= 0:
            continue
        x = (point.ts - span.start_ms) / max(1, span.span_ms) * width
        wide = max(1.0, bucket_ms / max(1, span.span_ms) * width * 0.8)
        tall, failed = (max(1.0, part / most * height) if part else 0.0 for part in (point.count, point.errors))
        bars.append(el("rect", x=x, y=height - tall, width=wide, height=tall, class_="calls"))
        if failed:
            bars.append(el("rect", x=x, y=height - failed, width=wide, height=failed, class_="errors"))
    return el("svg", *bars, viewBox=f"0 0 {number(width)} {number(height)}", class_="spark", aria_hidden="true")


def share_bar(share: float, kind: str) -> Markup:
    """A figure's share of the largest (0 to 1) as a thin bar; decoration."""
    width = 100.0 * min(1.0, max(0.0, share if math.isfinite(share) else 0.0))
    inner = el("rect", x=0, y=0, width=width, height=4, rx=2, class_=kind)
    return el(
        "svg", el("rect", x=0, y=0, width=100, height=4, rx=2, class_="track"), inner,
        viewBox="0 0 100 4", preserveAspectRatio="none", class_="share", aria_hidden="true",
    )  # fmt: skip


def health_ring(score: int | None, status: str, words: str, chart_id: str) -> Markup:
    """The health score as a ring that is as full as the score; without a score an empty ring and a dash."""
    around = 2 * math.pi * RING_RADIUS
    filled = around * (score or 0) / 100
    arc = el(
        "circle", cx=64, cy=64, r=RING_RADIUS, class_=f"arc {status}", transform="rotate(-90 64 64)",
        stroke_dasharray=f"{number(filled)} {number(around)}",
    )  # fmt: skip
    body = fragment(
        el("circle", cx=64, cy=64, r=RING_RADIUS, class_="ringtrack"),
        arc if score else None,
        el("text", "–" if score is None else str(score), x=64, y=74, text_anchor="middle", class_="score"),
        el("text", "of 100" if score is not None else "", x=64, y=92, text_anchor="middle", class_="of"),
    )
    return _svg(chart_id, (f"Health: {words}", "The ring is as full as the score."), body, "0 0 128 128", "ring")


def _chart(chart_id: str, title: str, what: str, body: Markup, height: float = HEIGHT) -> Markup:
    return _svg(chart_id, (title, what), body, f"0 0 {number(WIDTH)} {number(height)}", "chart")


def _svg(chart_id: str, texts: tuple[str, str], body: Markup, box: str, kind: str) -> Markup:
    names = (f"{chart_id}-title", f"{chart_id}-desc")
    head = fragment(el("title", texts[0], id=names[0]), el("desc", texts[1], id=names[1]))
    return el("svg", head, body, viewBox=box, role="img", class_=kind, aria_labelledby=" ".join(names))


def _axes(plot: _Plot, marks: Sequence[float], words: Callable[[float], str]) -> Markup:
    right, ground = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for mark in marks:
        y = plot.y(mark)
        parts.append(el("line", x1=LEFT, x2=right, y1=y, y2=y, class_="ground" if mark == 0 else "grid"))
        parts.append(el("text", words(mark), x=LEFT - 7, y=y + 3.5, text_anchor="end", class_="axis"))
    for ts_ms, label in time_ticks(plot.span.start_ms, plot.span.end_ms):
        x = plot.x(ts_ms)
        anchor = "start" if x < LEFT + 12 else "end" if x > right - 12 else "middle"
        parts.append(el("line", x1=x, x2=x, y1=ground, y2=ground + 4, class_="ground"))
        parts.append(el("text", label, x=x, y=ground + 18, text_anchor=anchor, class_="axis"))
    return fragment(*parts)


def _call_bars(point: Stats, plot: _Plot, bucket_ms: int) -> Markup:
    start = plot.x(point.ts or 0)
    room = max(1.0, plot.x((point.ts or 0) + bucket_ms) - start)
    width, ground = max(1.0, room * 0.84), HEIGHT - BOTTOM
    shown = el("title", f"{counted(point.count, 'call')}, {count_text(point.errors)} failed")
    parts = []
    for count, kind in ((point.count, "calls"), (point.errors, "errors")):
        if count > 0:
            y = min(ground - 1.0, plot.y(float(count)))
            parts.append(el("rect", x=start, y=y, width=width, height=ground - y, class_=kind))
    return el("g", shown, *parts)


def _merged(bands: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Overlapping times as one, so that shades do not add up."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(bands):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _band(start_ms: int, end_ms: int, plot: _Plot) -> Markup:
    x, until = plot.x(start_ms), plot.x(end_ms)
    tall = HEIGHT - TOP - BOTTOM
    return el("rect", x=x, y=TOP, width=max(2.0, until - x), height=tall, class_="band")


def _line(points: Sequence[Stats], plot: _Plot, bucket_ms: int, field: str) -> Markup:
    """Runs of neighbouring buckets as lines, lone ones as dots, each in the middle of its bucket."""
    runs: list[list[tuple[float, float]]] = []
    last_ts: float = -math.inf
    for point in points:
        value = drawable(getattr(point, field))
        if value is None or point.ts is None:
            continue
        if point.ts - last_ts > GAP_BUCKETS * bucket_ms:
            runs.append([])
        runs[-1].append((plot.x(point.ts + bucket_ms / 2), plot.y(value)))
        last_ts = point.ts
    return fragment(*(_run(run, field, filled=field == "p95") for run in runs))


def _run(run: Sequence[tuple[float, float]], field: str, *, filled: bool) -> Markup:
    if len(run) == 1:
        return el("circle", cx=run[0][0], cy=run[0][1], r=2.5, class_=f"dot {field}")
    path = " ".join(f"{number(x)},{number(y)}" for x, y in run)
    ground = number(HEIGHT - BOTTOM)
    area = f"{number(run[0][0])},{ground} {path} {number(run[-1][0])},{ground}"
    return fragment(
        el("polygon", points=area, class_="area") if filled else None,
        el("polyline", points=path, class_=f"line {field}"),
    )
