"""Numbers, rows and untrusted text on their way to a reader."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.core.arguments import DetectAnomalies, GetActiveAlerts, GetMetrics
from services.gateway.core.known_names import look_up
from services.gateway.core.paging import OLDEST_MS, Place, page_note, paged, place_of, question_of
from services.gateway.core.refusals import ToolRefusal
from services.gateway.core.shaping import (
    begun,
    brief,
    counted,
    cut_text,
    ended,
    fenced,
    figure,
    fit,
    fit_told,
    harmless,
    printed,
    table,
    when,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (150.0, 150),
        (1.23456, 1.235),
        (0, 0),
        (None, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
        ("5", None),
        (1e300, 1e300),
    ],
)
def test_a_figure_is_a_finite_number_or_nothing(value, expected):
    found = figure(value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.5, "1,234 ms"),
        (12.3456, "12.3 ms"),
        (3.0, "3 ms"),
        (None, "–"),
        (0.5, "0.5 ms"),
        (0.1454, "0.15 ms"),
        (0.003, "<0.01 ms"),
        (12, "12 ms"),
        (True, "–"),
    ],
)
def test_a_printed_figure_is_short(value, text):
    assert printed(value, "ms") == text


def test_data_is_brief_and_stays_data():
    assert brief({"a": [0.145435, 12345.67, 3, None, "0.145435"], "b": 2.0, "c": 0.0}) == {
        "a": [0.1454, 12346, 3, None, "0.145435"],
        "b": 2,
        "c": 0,
    }


def test_a_time_is_iso_or_nothing():
    assert when(1_761_915_600_000) == "2025-10-31T13:00:00.000Z"
    assert when(None) is None
    assert when(True) is None


def test_rows_are_kept_until_the_budget_is_used_and_the_rest_is_counted():
    fitted = fit([{"n": number} for number in range(100)], 100)
    assert 0 < len(fitted.rows) < 15
    assert fitted.cut == 100 - len(fitted.rows)


def test_one_row_is_kept_however_large_it_is():
    assert fit(["x" * 1_000], 10) == (["x" * 1_000], 0)
    assert fit([], 10) == ([], 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=20), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_another_service_answered_leaves_as_plain_json(value):
    safe = harmless(value)
    text = json.dumps(safe, allow_nan=False, ensure_ascii=False)
    text.encode()
    assert not any(ord(c) < 32 or c in "\u202e\u2066\u200f\x7f\x9b" for c in text)


def test_what_is_nested_without_end_is_cut():
    deep: list[object] = []
    for _ in range(200):
        deep = [deep]
    assert len(json.dumps(harmless(deep))) < 50


def test_a_fence_cannot_be_closed_from_inside():
    text = fenced("a ``` b")
    assert text.count("```") == 2


def test_a_table_is_aligned_fenced_and_cut():
    text = table(["n", "name"], [["1", "a"], ["22", "evil\n# heading"]])
    lines = text.splitlines()
    assert lines[0] == "```untrusted"
    assert lines[2] == "1   a"
    assert lines[3] == "22  evil\\x0a# heading"
    long = table(["n", "name"], [["1", "x" * 30]] * 500, 600)
    assert len(long) < 800
    assert "more rows in the structured content" in long


def test_a_long_text_is_cut_at_a_lines_end():
    cut = cut_text("line one\nline two\nline three", 20, "rest in f")
    assert cut == "line one\nline two\n… rest in f"
    assert cut_text("short", 20, "rest") == "short"


SERIES = [["git", "log", 5], ["git", "diff", 9], ["jira", "search", 7]]


def test_known_names_give_the_last_metric_unknown_ones_their_neighbours():
    assert look_up(SERIES, None, None).last_ms == 9
    assert look_up(SERIES, "jira", None).last_ms == 7
    assert look_up(SERIES, "git", "log").last_ms == 5
    assert look_up([], "git", "log") == (None, None)
    assert '"jira"' in str(look_up(SERIES, "jura", None).problem)
    problem = str(look_up(SERIES, "git", "search").problem)
    assert '"search" of "git"' in problem
    assert 'Known: "diff", "log"' in problem


def test_a_name_that_is_like_none_is_answered_with_the_names_called_last():
    series = [["weather", "now", 5], ["github", "get_issue", 9], ["jira", "search", 7], ["git", "log", 8]]
    problem = str(look_up(series, "zzz-quux", None).problem)
    assert problem == 'mcpServer "zzz-quux" has no metrics. Known: "github", "git", "jira" and 1 more'
    assert str(look_up(series, "gitub", None).problem).endswith('Nearest: "github", "git"')
    assert str(look_up(series, "github", "issue").problem).endswith('Nearest: "get_issue"')


@pytest.mark.parametrize(("number", "text"), [(0, "0 calls"), (1, "1 call"), (1_200, "1,200 calls")])
def test_one_is_one(number, text):
    assert counted(number, "call") == text


def test_the_first_row_is_told_whole_the_others_as_far_as_there_is_room():
    whole, lean = [{"n": n, "said": "x" * 90} for n in range(5)], [{"n": n} for n in range(5)]
    assert fit_told(whole, lean, 10_000) == (whole, 0)
    assert fit_told(whole, lean, 150) == ([whole[0], *lean[1:]], 0)
    assert fit_told(whole, lean, 270) == ([*whole[:2], *lean[2:]], 0)
    assert fit_told(whole, lean, 125) == ([whole[0], lean[1]], 3)
    assert fit_told(whole, lean, 1) == ([whole[0]], 4)
    assert fit_told([], [], 1) == ([], 0)


def test_a_note_says_which_rows_are_shown_and_how_to_ask_for_the_rest():
    first, later = Place(0, 7, "abc123"), Place(20, 7, "abc123")
    assert paged(first, 15, 603) == {"cut": 588, "nextCursor": "15-7-abc123"}
    assert paged(later, 20, 40) == {"cut": 0}
    assert page_note(first, {"cut": 0}, 3, fitted=False, narrower="") == ""
    note = page_note(first, paged(first, 15, 603), 15, fitted=True, narrower="narrow by mcpServer")
    assert note == '\nShowing 15 of 603, cut to fit: ask again with cursor="15-7-abc123", or narrow by mcpServer.'
    note = page_note(later, paged(later, 20, 603), 20, fitted=False, narrower="narrow by mcpServer")
    assert note == '\nShowing 21–40 of 603: ask again with cursor="40-7-abc123", or narrow by mcpServer.'
    assert page_note(later, paged(later, 20, 40), 20, fitted=False, narrower="") == "\nShowing 21–40 of 40."
    assert page_note(Place(8, 7, "abc123"), {"cut": 0}, 1, fitted=False, narrower="") == "\nShowing number 9 of 9."
    assert page_note(later, paged(later, 0, 12), 0, fitted=False, narrower="") == "\nNo more rows."


def asked(cursor: str | None = None, **more: object) -> GetMetrics:
    return GetMetrics.model_validate({"cursor": cursor, **more})


def of_metrics(cursor: str) -> str:
    return f"{cursor}-{question_of(asked())}"


@pytest.mark.parametrize(
    "cursor",
    ["", "20", "20-", "20-100", "-1-5-abc123", "20-1_0-abc123", "20-100-ABC123", "٢-100-abc123"]
    + [of_metrics(place) for place in ("999999-100", "9501-100", "20-101", "20-0")],
)
def test_only_cursors_of_a_day_are_taken(cursor):
    now_ms = OLDEST_MS + 100
    late = cursor.startswith("20-101")
    with pytest.raises(ToolRefusal, match="nextCursor of an answer of the last 24 h"):
        place_of("get_metrics", asked(cursor), 100 if late else now_ms, {})
    assert place_of("get_metrics", asked(of_metrics("20-100")), now_ms, {})[:2] == (20, 100)
    assert place_of("get_metrics", asked(), now_ms, {})[:2] == (0, now_ms)


@pytest.mark.parametrize(
    "changed",
    [
        GetMetrics.model_validate({"mcpServer": "search"}),
        GetMetrics.model_validate({"startTime": "1h"}),
        GetMetrics.model_validate({"aggregation": "p95"}),
        GetMetrics.model_validate({"groupBy": "hour"}),
        DetectAnomalies(),
        DetectAnomalies.model_validate({"sensitivity": "high"}),
        GetActiveAlerts(),
    ],
)
def test_a_cursor_of_another_question_is_refused(changed):
    cursor = place_of("get_metrics", asked(), 7, {}).after(20)
    other = changed.model_copy(update={"cursor": cursor})
    with pytest.raises(ToolRefusal, match="goes on with the answer to another question"):
        place_of("get_metrics", other, 8, {})
    assert place_of("get_metrics", asked(cursor, limit=5), 8, {})[:2] == (20, 7)


@pytest.mark.parametrize(
    ("limit", "cut"),
    [
        (99, "4 of 4 tools of “weather” went wrong within 24 s"),
        (40, "4 of 4 tools of “weather” went wrong…"),
        (36, "4 of 4 tools of “weather” went wrong…"),
        (35, "4 of 4 tools of “weather” went…"),
    ],
)
def test_a_sentence_is_cut_behind_a_word(limit, cut):
    assert begun("4 of 4 tools of “weather” went wrong within 24 s", limit) == cut
    assert harmless({"cause": "4 of 4 tools of “weather” went wrong within 24 s"}, limit) == {"cause": cut}


def test_what_has_no_words_is_cut_where_the_room_ends():
    assert begun("x" * 100, 10) == "x" * 10 + "…"
    assert begun("a " + "x" * 100, 12) == "a " + "x" * 10 + "…"


@pytest.mark.parametrize(("said", "told"), [("no calls", "no calls."), ("no c…", "no c…"), ("none.", "none.")])
def test_a_sentence_has_one_end(said, told):
    assert ended(said) == told
