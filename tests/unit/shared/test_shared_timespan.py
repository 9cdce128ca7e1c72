"""Times as people write them, and as files spell them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.timespan import (
    DAY_MS,
    HOUR_MS,
    BadTime,
    day_of,
    day_start,
    iso,
    iso_seconds,
    parse_iso,
    parse_time,
    parse_window,
    span_text,
)

NOW = 1_761_915_600_123  # 2025-10-31T13:00:00.123Z


@given(st.integers(0, 253_402_300_799_999))
def test_a_time_reads_back_equal(ts_ms: int) -> None:
    assert parse_iso(iso(ts_ms)) == ts_ms
    assert day_start(day_of(ts_ms)) <= ts_ms < day_start(day_of(ts_ms)) + DAY_MS


@pytest.mark.parametrize(
    ("text", "ts_ms"),
    [
        ("2025-10-31T13:00:00.123Z", NOW),
        ("2025-10-31T13:00:00.123", NOW),
        ("2025-10-31T15:00:00.123+02:00", NOW),
        ("2025-10-31 13:00:00.123456Z", NOW),
        ("2025-10-31", NOW - 13 * HOUR_MS - 123),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
    ],
)
def test_an_iso_time_without_an_offset_is_utc(text: str, ts_ms: int) -> None:
    assert parse_iso(text) == ts_ms


@pytest.mark.parametrize(
    ("text", "ts_ms"),
    [
        ("now", NOW),
        (" NOW ", NOW),
        ("15m", NOW - 900_000),
        ("-15m", NOW - 900_000),
        ("24h ago", NOW - DAY_MS),
        ("2w", NOW - 14 * DAY_MS),
        ("today", NOW - 13 * HOUR_MS - 123),
        ("yesterday", NOW - 37 * HOUR_MS - 123),
        ("2025-10-31T13:00:00.123Z", NOW),
    ],
)
def test_a_time_in_words_is_counted_back_from_now(text: str, ts_ms: int) -> None:
    assert parse_time(text, NOW) == ts_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "tomorrow",
        "15",
        "m",
        "15 m",
        "0m",
        "1.5h",
        "2025-02-29",
        "2025-13-01",
        "٣h",
        "\x00",
        "x" * 10_000,
        "\udc80",
    ],
)
def test_what_names_no_time_is_refused_with_what_does(text: str) -> None:
    with pytest.raises(BadTime):
        parse_time(text, NOW)


@pytest.mark.parametrize(("text", "ms"), [("90s", 90_000), ("15m", 900_000), (" 6H ", 21_600_000), ("7d", 7 * DAY_MS)])
def test_a_span_is_a_number_and_a_unit(text: str, ms: int) -> None:
    assert parse_window(text) == ms


@pytest.mark.parametrize("text", ["", "0s", "00h", "-5m", "5", "h", "5y", "1234567s", "5m5s", "1e3s"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(BadTime):
        parse_window(text)


@pytest.mark.parametrize(
    "text", ["", "2025-1-1", "2025-10-31T00:00", "today", "../..", "2025-02-30", "2025-10-31\n", "٢٠٢٥-10-31"]
)
def test_a_day_is_spelled_in_full(text: str) -> None:
    with pytest.raises(BadTime):
        day_start(text)


def test_days_end_at_midnight_utc() -> None:
    midnight = day_start("2025-10-31")
    assert day_of(midnight - 1) == "2025-10-30"
    assert day_of(midnight) == "2025-10-31"
    assert iso_seconds(midnight) == "2025-10-31T00:00:00Z"
    assert day_of(day_start("2024-02-28") + DAY_MS) == "2024-02-29"


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0 ms"), (850, "850 ms"), (1_000, "1 s"), (90_000, "1.5 min"), (HOUR_MS, "1 h"), (2 * DAY_MS, "2 d")],
)
def test_a_span_for_people(ms: float, text: str) -> None:
    assert span_text(ms) == text
