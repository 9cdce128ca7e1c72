"""An anomaly reads like a colleague's remark: one sentence, an explanation, a chart that fits; and says what is not known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.detector.core.events import Event, from_record, to_record
from services.detector.core.firing import MEANINGS, note_surer, note_turn
from services.detector.core.metrics import METHODS
from services.detector.core.signal import course
from services.detector.core.signal.scorer import PARTS
from services.detector.core.telling.chart import ASCII, BLOCKS, HEIGHT, Plot, draw
from services.detector.core.telling.explain import anomaly
from services.detector.core.telling.explanation import asked_for, explanation, finite, window
from services.detector.core.telling.explanation_text import lines
from services.detector.core.telling.narrative import summary
from services.detector.core.telling.remarks import whole
from services.detector.core.telling.words import clock
from services.detector.core.watch import Watch
from shared.batch import Series
from tests.unit.detector.detector_kit import HOUR, MINUTE, T0, batch, feed, make_watch, ordinary, stored, times

HOSTILE = "to“ol\x1b[31m\u202e\n1. obey"


def slow_watch(tool: str = "tool", *, memory: bool = False) -> tuple[Watch, Event]:
    watch = make_watch()
    slow, grown = ordinary(400), np.full(400, 100.0)
    slow[300:330] *= 12
    grown[292:340] = 400.0
    feed(watch, batch(times(400), slow, key=Series("server", tool), memory=grown if memory else None))
    return watch, next(e for e in stored(watch) if e.metric == "response_time")


def test_the_sentence_says_what_since_when_compared_how_sure_and_what_else_moved() -> None:
    _, event = slow_watch(memory=True)
    said = summary(event)
    assert said.startswith("“tool” of “server” became slow from 2025-10-10 01:15Z to 01:22Z: ")
    assert "(median 97.5)" in said
    assert event.confidence > 0.9999 - 1e-9
    assert "likely a spike (confidence 0.9901)" in said, "three hundred calls of history bear no more"
    assert "memory rose from 2 min before, 108 → 400 MB" in said
    assert said.count(".  ") == 0
    assert said.endswith(".")


def test_the_short_sentence_leaves_out_what_is_told_beside_it() -> None:
    _, event = slow_watch()
    whole_text, short = summary(event), summary(event, short=True)
    assert whole_text.startswith(short[:-1])
    assert "did not rise with it" in whole_text
    assert "did not rise" not in short


def test_how_often_a_young_tool_is_called_is_not_known_and_minutes_with_a_slow_call_have_more_calls() -> None:
    young, x = make_watch(), ordinary(400)
    x[150:] *= 12
    feed(young, batch(times(400, 500), x))  # two calls a second, for one minute and a quarter before it
    (event,) = stored(young)
    assert "calls_per_minute" not in event.evidence["changes"]
    assert "possibly a spike (confidence 0.8929, only 150 calls of history)" in summary(event)
    assert "whether load did is not known yet" in " ".join(event.recommendations)
    assert "failures did not rise with it" in summary(event)

    uneven, ts = make_watch(), times(400)
    ts[300:306] = ts[300] + np.arange(6) * 1_000  # six calls in a minute that has four
    slow = ordinary(400)
    slow[300:306] *= 40
    feed(uneven, batch(ts, slow))
    found = next(e for e in stored(uneven) if e.start_ms == ts[300])
    load = found.evidence["changes"]["calls_per_minute"]
    assert load["during"] > 1.4 * load["before"]
    assert load["chance"] is True
    assert "calls rose" not in summary(found)


def test_a_tool_of_less_than_a_minute_is_compared_with_its_calls_just_before() -> None:
    watch, x = make_watch(), ordinary(120)
    x[60:] *= 12
    feed(watch, batch(times(120, 400), x))  # 24 s of usual calls
    (event,) = stored(watch)
    assert event.start_ms < T0 + MINUTE
    change = event.evidence["changes"]["response_time"]
    assert change["before"] == pytest.approx(100, rel=0.1)
    assert "error_rate" in event.evidence["changes"]
    assert event.evidence["fired"]["baselineCalls"] == (event.start_ms - T0) // 400
    assert "only 60 calls of history" in summary(event)
    assert "No calls from before it" not in " ".join(event.recommendations)


def test_little_confidence_is_not_called_likely() -> None:
    _, event = slow_watch()
    event.confidence = 0.7
    assert "possibly a spike (confidence 0.7)" in summary(event)


def test_the_explanation_holds_baseline_bands_part_chance_timeline_and_chart() -> None:
    watch, event = slow_watch(memory=True)
    found = whole(watch, event, width=90)["explanation"]
    assert found["baseline"]["calls"] == 300
    assert found["baseline"]["since"] == "2025-10-10T00:00:00.000Z"
    assert found["bands"]["high"] < found["bands"]["medium"] < found["bands"]["low"]
    assert (found["part"], found["tailPer"]) == ("calls", "minute")
    assert 0 < found["tailProbability"] < 1e-6
    assert found["timeline"]["start"] == "2025-10-10T01:15:00.000Z"
    assert [moved["figure"] for moved in found["moved"]] == ["memory"]
    assert found["moved"][0]["leadS"] == 120
    assert found["notMeasured"] == ["cpu", "disk_io"]
    assert found["causes"][0]["kind"] == "resource_spike"
    assert found["unknown"] == []
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("width", [20, 25, 40, 72, 100, 200])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_text_is_never_wider_than_asked(width: int, ascii_only: bool) -> None:
    watch, event = slow_watch("tool-" * 30, memory=True)
    text = whole(watch, event, width=width, ascii_only=ascii_only)["text"]
    assert max(map(len, text)) <= width
    assert text[0].startswith("anomaly-20251010")
    if ascii_only:
        assert all(line.isascii() for line in text)


def test_hostile_names_are_harmless_in_all_of_it() -> None:
    watch, event = slow_watch(HOSTILE)
    told = whole(watch, event, width=100)
    text = "\n".join([*told["text"], told["anomaly"]["summary"], *told["anomaly"]["recommendations"]])
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\n1. obey" not in text
    assert "“to'ol\\x1b[31m\\u202e\\x0a1. obey”" in text.replace("\n", " ").replace("          ", "")


def test_an_old_event_is_explained_by_what_it_holds_and_what_is_lost_is_said() -> None:
    _, event = slow_watch(memory=True)
    old = from_record(json.loads(json.dumps(to_record(event))))
    told = whole(make_watch(), old, width=90)
    found = told["explanation"]
    assert found["baseline"]["calls"] == 300
    assert set(found["bands"]) == {"high", "medium", "low"}
    assert found["chart"] == []
    assert found["unknown"] == ["the minutes around it: the detector holds a day of them, the rollups two"]
    assert told["wanted"] == asked_for(old)
    assert told["wanted"]["field"] == "max"
    assert any(line.startswith("unknown") for line in told["text"])


def test_an_event_found_before_anything_was_noted_is_explained_too() -> None:
    _, event = slow_watch()
    event.evidence, event.incident = {}, {}
    found = explanation(event, None)
    assert found["part"] == "calls"
    assert "what else moved" in found["unknown"]
    assert lines(event, found, 80)
    assert summary(event)


def test_what_is_not_finite_is_not_kept() -> None:
    _, event = slow_watch()
    event.evidence = {}
    track = np.full(course.SIZE, math.inf)
    track[course.PART], track[course.TAIL] = 0.0, math.nan
    note_turn(event, track)
    assert event.evidence["fired"] == {"part": PARTS[0], "per": "minute", "bands": {}}
    json.dumps(anomaly(event, full=True), allow_nan=False)


def test_the_part_that_is_surer_is_said() -> None:
    _, event = slow_watch()
    event.confidence, again = (
        0.8,
        from_record(to_record(event) | {"method": "median-shift", "confidence": 0.99, "evidence": {}}),
    )
    note_surer(event, again)
    event.confidence = 0.99
    found = explanation(event, None)
    assert (found["part"], found["surer"]) == ("calls", "median-shift")
    assert "confidence 0.99 by median-shift" in " ".join(lines(event, found, 200))


def test_an_event_of_a_server_is_told_as_one() -> None:
    _, event = slow_watch()
    event.type, event.metric, event.unit, event.found_as = (
        "error_rate_spike",
        "error_rate",
        "%",
        "server_error_rate_spike",
    )
    named = [{"tool": HOSTILE, "calls": 40, "failures": 6}, {"tool": "b", "calls": 30, "failures": 5}]
    event.evidence |= {"scope": "server", "toolsAffected": 2, "tools": named}
    assert summary(event).startswith("2 tools of “server” began to fail from")
    text = "\n".join(lines(event, explanation(event, None), 90))
    assert "6 of 40" not in text, "calls up to its end are others than those of the event"
    assert "“b” 5" in text
    assert "\x1b" not in text


def test_the_likely_cause_is_told_once_and_as_it_is_known_now() -> None:
    _, event = slow_watch(memory=True)
    cause = {"anomaly": "other", "kind": "resource_spike", "sentence": "memory of “tool” rose", "confidence": 0.7}
    event.incident |= {"likelyCause": cause, "role": "effect"}
    event.recommendations = [
        "First.",
        "3 of 4 tools went wrong. Likely the cause (confidence 0.5): start there.",
        "Last.",
    ]
    named = "Memory of “tool” rose. Likely the cause (confidence 0.7): start there."
    assert anomaly(event)["recommendations"] == ["First.", named, "Last."]
    text = " ".join(" ".join(lines(event, explanation(event, None), 200)).split())
    assert text.count("memory of “tool” rose") == 1
    assert "start there" not in text
    event.incident |= {"likelyCause": None}
    assert anomaly(event)["recommendations"] == ["First.", "Last."], "it stands out no more"


def test_of_a_silence_no_other_figure_is_compared() -> None:
    _, event = slow_watch()
    event.type, event.metric, event.unit, event.value = "throughput_change", "calls", "calls/h", 0.0
    event.typical, event.end_ms, event.recommendations = 0.0, None, []
    text = "\n".join(lines(event, explanation(event, None), 200))
    assert "as before" not in text
    assert "not measured" not in text
    assert "worst" not in text
    assert "when      last call 2025-10-10 01:15:00Z, none seen up to 01:22:15Z" in text


def test_a_leak_goes_on_since_a_time() -> None:
    _, event = slow_watch()
    event.type, event.metric, event.unit, event.end_ms = "resource_leak", "memory", "MB", None
    assert "grew since 2025-10-10 01:15Z, still going on" in summary(event)


def test_a_figure_and_its_unit_stay_on_one_line_and_days_are_said_once() -> None:
    watch, event = slow_watch()
    found = whole(watch, event)["explanation"]
    for width in range(30, 90):
        told = lines(event, found, width)
        assert not [line for line in told[: -HEIGHT - 5] if line.startswith(("ms", "          ms", "%"))]
    (when,) = [line for line in lines(event, found, 120) if line.startswith("when ")]
    assert when.count("2025-10-10") == 1


def test_a_pace_by_the_hour_is_drawn_by_the_minute() -> None:
    watch, event = slow_watch()
    event.type, event.metric, event.unit = "throughput_change", "calls", "calls/h"
    event.lower, event.upper = 120.0, 300.0
    chart = explanation(event, watch.engine.series[event.series])["chart"]
    assert chart[-2:] == ["calls, each minute", "╌╌ usual: 2–5; ▲ worst"]


def test_what_was_last_seen_long_ago_is_not_said_to_be_going_on() -> None:
    watch, event = slow_watch()
    event.end_ms, event.ended = None, ""
    found = whole(watch, event)["explanation"]
    later = event.last_ms + 31 * MINUTE
    assert "still going on" in summary(event, now_ms=event.last_ms + MINUTE)
    said = summary(event, now_ms=later)
    assert ", last seen at 01:22Z and not surely over: " in said
    text = "\n".join(lines(event, found, 100, now_ms=later))
    assert "(not surely over)" in text
    assert "going on" not in text
    event.type = "throughput_change"  # that no calls come is seen as long as none do
    assert "still going on" in summary(event, now_ms=later)


def test_points_that_are_handed_in_are_drawn() -> None:
    _, event = slow_watch()
    points = [(ts, 100.0 if ts < event.start_ms else 900.0) for ts in range(T0, T0 + 2 * HOUR, MINUTE)]
    told = whole(make_watch(), event, points=points, width=90)
    assert told["wanted"] is None
    assert len(told["explanation"]["chart"]) == HEIGHT + 5


def test_points_are_numbers_with_times_and_not_too_many() -> None:
    assert finite([[2, 1.0], [1, 5]]) == [(1, 5.0), (2, 1.0)]
    assert finite([[1, math.nan]]) == []
    for wrong in ("x", [["a", 1]], [[1, "x"]], [[1]], [[1, True]], [[0, 0]] * 5_000, [[1.5, 2]]):
        assert finite(wrong) is None


def test_every_part_of_the_detector_has_a_meaning() -> None:
    for part in (
        *PARTS,
        *METHODS[1:],
        "calls",
        "errors",
        "rank-shift",
        "times-slower",
        "median-shift",
        "theil-sen",
        "pace",
        "gap",
    ):
        assert MEANINGS[part]


def test_the_anomaly_of_a_line_carries_its_incident_and_sentence() -> None:
    _, event = slow_watch()
    line = anomaly(event, full=True, iso_times=True)
    assert line["incident"]["role"] == "alone"
    assert line["summary"] == summary(event)
    json.dumps(line, allow_nan=False)


def plot(values: list[float], **more: object) -> Plot:
    points = [(T0 + i * MINUTE, v) for i, v in enumerate(values)]
    end = T0 + max(len(values), 1) * MINUTE
    given_ = {"lower": 80.0, "upper": 130.0, "event_ms": (T0 + 40 * MINUTE, T0 + 45 * MINUTE, T0 + 50 * MINUTE)} | more
    return Plot(points, T0, end, unit="ms", what="response time", **given_)  # type: ignore[arg-type]  # a test's shorthand


def test_the_chart_draws_bars_the_band_and_the_event_below_them() -> None:
    drawn = draw(plot([100.0] * 40 + [500.0] * 10 + [100.0] * 10), 80)
    assert len(drawn) == HEIGHT + 5
    assert drawn[0] == "     500┤" + " " * 40 + "█" * 10
    assert drawn[5].startswith("     130┤╌╌╌")
    assert drawn[HEIGHT + 1].strip() == "├────▲────┤"
    assert drawn[HEIGHT + 1].index("├") == 9 + 40
    assert drawn[HEIGHT + 2].strip() == "00:00Z" + " " * 34 + "00:40Z" + " " * 8 + "01:00Z"


def test_the_chart_in_ascii_says_the_same() -> None:
    values = [100.0] * 40 + [500.0] * 10 + [100.0] * 10
    drawn = draw(plot(values), 80, ascii_only=True)
    assert all(line.isascii() for line in drawn)
    assert drawn[0] == "     500|" + " " * 40 + "#" * 10
    assert drawn[HEIGHT + 1].strip() == "[====^====]"


def test_a_value_far_beyond_the_band_is_drawn_on_a_logarithmic_scale() -> None:
    drawn = draw(plot([100.0] * 50 + [90_000.0] * 10), 80)
    assert drawn[-2] == "response time, ms, log scale, each minute"
    assert any("130┤" in line for line in drawn)


def test_a_figure_beside_the_axis_is_never_cut() -> None:
    for value, label in ((1_234_567.0, "1.23M"), (20e12, "20T"), (0.00000012, "1.2e-07"), (999_999_999.0, "1G")):
        drawn = draw(plot([value / 2] * 40 + [value] * 20, lower=value * 0.5, upper=value * 0.6), 80)
        assert drawn[0].startswith(label.rjust(8) + "┤")


def test_the_end_of_the_band_has_a_label_however_close_the_highest_is() -> None:
    drawn = draw(plot([100.0] * 50 + [140.0] * 10), 80)
    assert any(line.startswith("     130┤╌╌╌") for line in drawn)
    assert drawn[0].startswith("     149┤")


def test_the_caption_says_what_a_column_stands_for_and_is_not_cut() -> None:
    long = [100.0] * 600
    drawn = draw(plot(long, how="worst call of each minute"), 80)
    assert drawn[-2] == "response time, ms, highest of 10 min a column"
    assert draw(plot(long), 30)[-2] == "response time, ms"


def test_a_window_that_begins_the_day_before_says_which_day() -> None:
    drawn = draw(Plot([(T0 - MINUTE, 1.0)], T0 - 30 * MINUTE, T0 + 30 * MINUTE, 0.5, 2.0, (T0, T0, T0), "ms", "x"), 80)
    assert (
        drawn[HEIGHT + 2].split() == ["2025-10-09", "23:30Z", "2025-10-10", "00:00Z", "00:30Z"] or "00:30Z" in drawn[-3]
    )
    assert drawn[HEIGHT + 2].strip().startswith("2025-10-09 23:30Z")


def test_the_chart_does_not_run_into_the_future() -> None:
    watch, event = slow_watch()
    event.end_ms = None
    until_ms = event.last_ms + 2 * MINUTE
    shown = window(event, until_ms)
    assert shown.end_ms - until_ms <= MINUTE
    assert shown.end_ms - shown.start_ms == HOUR
    assert window(event, event.last_ms - HOUR).end_ms > event.last_ms
    chart = whole(watch, event)["explanation"]["chart"]
    assert chart[HEIGHT + 2].split()[-1] <= clock(watch.engine.newest_ts + MINUTE, T0)


def test_minutes_without_calls_stay_empty() -> None:
    drawn = draw(plot([100.0] * 20 + [math.nan] * 20 + [100.0] * 20), 80)
    assert drawn[HEIGHT - 1][9 + 20 : 9 + 40].strip("╌ ") == ""


def test_no_chart_is_drawn_without_points_or_room() -> None:
    assert draw(plot([]), 80) == []
    assert draw(plot([math.nan, math.inf]), 80) == []
    assert draw(plot([100.0] * 60), 15) == []


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 1e300, 5e-324, -1.0]), max_size=90),
    st.integers(0, 130),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(allow_nan=True, allow_infinity=True),
    st.booleans(),
    st.tuples(st.integers(-100, 200), st.integers(-100, 200), st.integers(-100, 200)),
)
def test_the_chart_fits_whatever_is_drawn(
    values: list[float], width: int, lower: float, upper: float, low: bool, at: tuple[int, int, int]
) -> None:
    start, peak, end = (T0 + m * MINUTE for m in at)
    event_ms = (min(start, end), peak, max(start, end))
    for ascii_only, glyphs in ((False, BLOCKS), (True, ASCII)):
        drawn = draw(plot(values, lower=lower, upper=upper, low=low, event_ms=event_ms), width, ascii_only=ascii_only)
        assert all(len(line) <= width for line in drawn)
        assert not drawn or len(drawn) == HEIGHT + 5
        assert all(glyphs.axis in line for line in drawn[:HEIGHT])


def test_the_window_is_an_hour_around_a_short_event_and_more_around_a_long_one() -> None:
    _, event = slow_watch()
    short = window(event)
    assert short.end_ms - short.start_ms == HOUR
    event.last_ms = event.start_ms + 6 * HOUR
    long = window(event)
    assert (long.start_ms, long.end_ms) == (event.start_ms - 3 * HOUR, event.last_ms + HOUR + HOUR // 2 + MINUTE)


def test_what_fell_to_nothing_is_off_by_no_factor_of_nought() -> None:
    _, event = slow_watch()
    fallen = from_record(to_record(event) | {"type": "resource_spike", "metric": "cpu", "unit": "%", "value": 0.0})
    assert anomaly(fallen)["details"]["deviation"] == "to 0"
    stopped = from_record(to_record(event) | {"type": "throughput_change", "metric": "calls", "value": 0.0})
    assert anomaly(stopped)["details"]["deviation"] == "stopped"


def test_what_moved_later_is_said_to_have_come_after() -> None:
    _, event = slow_watch(memory=True)
    event.evidence["changes"]["memory"]["sinceMs"] = event.start_ms + 20 * MINUTE
    assert "memory rose from 20 min after, 108 → 400 MB" in summary(event)
    assert ", 20 min after" in "\n".join(lines(event, explanation(event, None), 200))
    event.evidence["changes"]["memory"]["sinceMs"] = event.start_ms + MINUTE
    assert "memory rose with it" in summary(event)
