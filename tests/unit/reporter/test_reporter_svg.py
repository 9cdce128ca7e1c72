"""Charts are well-formed, labelled and survive any figures."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import reporter_samples as samples
from hypothesis import given
from hypothesis import strategies as st

from services.reporter.core.answers import Stats
from services.reporter.core.model import Range
from services.reporter.core.scales import ticks, time_ticks
from services.reporter.core.svg import (
    HEIGHT,
    WIDTH,
    Bar,
    bars_chart,
    calls_chart,
    health_ring,
    latency_chart,
    share_bar,
    sparkline,
)

HOUR = 3_600_000
SPAN = samples.SPAN
ANY = st.none() | st.floats(allow_nan=True, allow_infinity=True)


def points(values: list[float | None]) -> list[Stats]:
    return [
        Stats(ts=SPAN.start_ms + n * HOUR, count=n * 10, errors=n, p50=value, p95=value)
        for n, value in enumerate(values)
    ]


def parsed(svg: str) -> ET.Element:
    tree = ET.fromstring(svg)
    for element in tree.iter():
        for key in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height"):
            if key in element.attrib:
                number = float(element.attrib[key])
                assert math.isfinite(number)
                if key in {"width", "height", "r"}:
                    assert number >= 0
        for pair in element.attrib.get("points", "").split():
            x, y = map(float, pair.split(","))
            assert -1 <= x <= WIDTH + 1
            assert -1 <= y <= HEIGHT + 1
    return tree


def check_accessible(tree: ET.Element) -> None:
    assert tree.attrib["role"] == "img"
    named = tree.attrib["aria-labelledby"].split()
    ids = {element.attrib.get("id"): element.text for element in tree}
    assert len(named) == 2
    assert all(ids[one] for one in named)
    assert [element.tag for element in tree][:2] == ["title", "desc"]


@pytest.mark.parametrize(
    "values",
    [
        [],
        [5.0],
        [None],
        [math.nan],
        [math.inf],
        [-3.0],
        [0.0],
        [1e308, 1e-308],
        [1.0, None, 2.0, math.nan, 3.0],
        [1e15] * 24,
    ],
)
def test_charts_of_any_points_are_well_formed_and_say_what_they_show(values: list[float | None]) -> None:
    for svg in (calls_chart(points(values), SPAN, HOUR, "a"), latency_chart(points(values), SPAN, HOUR, "b")):
        check_accessible(parsed(svg))


@given(st.lists(ANY, max_size=30), st.integers(1, 10 * 86_400_000))
def test_charts_survive_whatever_was_measured(values: list[float | None], span_ms: int) -> None:
    span = Range(SPAN.start_ms, SPAN.start_ms + span_ms)
    parsed(latency_chart(points(values), span, HOUR, "x", [(SPAN.start_ms - 5, SPAN.end_ms * 2)]))
    parsed(calls_chart(points(values), span, HOUR, "x"))
    parsed(sparkline(points(values), span, HOUR))


@given(st.lists(st.tuples(st.text(), st.floats(allow_nan=True), st.text(alphabet="<&>x")), max_size=10))
def test_bars_survive_whatever_they_are_called(rows: list[tuple[str, float, str]]) -> None:
    check_accessible(parsed(bars_chart([Bar(*row) for row in rows], "Bars", "x")))


@given(st.floats(allow_nan=True))
def test_a_share_is_never_more_than_the_whole(share: float) -> None:
    widths = [float(rect.attrib["width"]) for rect in parsed(share_bar(share, "calls"))]
    assert widths[0] == 100
    assert 0 <= widths[1] <= 100


def test_huge_counts_are_drawn() -> None:
    parsed(calls_chart([Stats(ts=SPAN.start_ms, count=10**18, errors=10**17)], SPAN, HOUR, "x"))


def test_axes_are_labelled_with_times_and_round_figures() -> None:
    tree = parsed(latency_chart(points([10.0, 480.0, 200.0]), SPAN, HOUR, "x"))
    labels = [text.text for text in tree.iter("text")]
    assert {"0 ms", "200 ms", "400 ms", "Oct 31", "20:00"} <= set(labels)


def test_a_line_is_broken_where_nothing_was_called_and_a_lone_point_is_a_dot() -> None:
    lonely = [Stats(ts=SPAN.start_ms + n * HOUR, count=1, p50=1.0, p95=1.0) for n in (0, 1, 5)]
    tree = parsed(latency_chart(lonely, SPAN, HOUR, "x"))
    assert len([*tree.iter("polyline")]) == 2  # p50 and p95
    assert len([*tree.iter("circle")]) == 2


def test_overlapping_abnormal_times_are_one_shade() -> None:
    tree = parsed(
        latency_chart(
            points([1.0]), SPAN, HOUR, "x", [(SPAN.start_ms, SPAN.start_ms + 5), (SPAN.start_ms, SPAN.end_ms)]
        )
    )
    assert len([rect for rect in tree.iter("rect") if rect.attrib["class"] == "band"]) == 1


@pytest.mark.parametrize("score", [None, 0, 1, 50, 100])
def test_the_ring_says_its_score_or_none(score: int | None) -> None:
    tree = parsed(health_ring(score, "healthy", "healthy", "x"))
    check_accessible(tree)
    texts = [text.text for text in tree.iter("text")]
    assert texts[0] == ("–" if score is None else str(score))


@given(st.lists(ANY, max_size=5))
def test_ticks_start_at_zero_ascend_and_cover_what_can_be_drawn(values: list[Any]) -> None:
    found = ticks(values)
    assert found[0] == 0
    assert 2 <= len(found) <= 6
    assert found == sorted(set(found))
    known = [value for value in values if value is not None and not math.isnan(value)]
    if known and max(known) > 1e-300:
        assert found[-1] >= min(max(known), 1e300) * (1 - 1e-6)


@given(st.integers(0, 253_000_000_000_000), st.integers(1, 3_660 * 86_400_000))
def test_time_ticks_are_few_and_inside(start: int, span: int) -> None:
    found = time_ticks(start, start + span)
    assert len(found) <= 12
    assert all(start <= ts <= start + span for ts, _ in found)
