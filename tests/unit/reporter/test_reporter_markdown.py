"""A Markdown report reads well and holds nothing but text from monitored servers."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
import reporter_samples as samples
from hostile import HOSTILE, full_of
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from services.reporter.core.compose import compose
from services.reporter.core.markdown import escaped, fenced
from services.reporter.core.model import IN_ANSWER, IN_FILE, Limits
from services.reporter.core.render_markdown import render

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
FENCED = re.compile(r"(?s)```+text\n.*?\n```+")
#: What our own text may become.
OURS = {
    "h1",
    "h2",
    "h3",
    "p",
    "strong",
    "em",
    "ul",
    "li",
    "hr",
    "pre",
    "code",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
}


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def columns(line: str) -> int:
    """Cells of a table line: unescaped pipes tell them apart."""
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1


def check_tables(text: str) -> None:
    lines = FENCED.sub("", text).split("\n")
    inside = False
    for at, line in enumerate(lines):
        if re.fullmatch(r"\|( -+:? \|)+", line):
            width = columns(line)
            inside = True
            assert columns(lines[at - 1]) == width
        elif inside and line.startswith("|"):
            assert columns(line) == width, line[:200]
        else:
            inside = False


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:24]))
def test_hostile_names_stay_text(text: str) -> None:
    page = render(full_of(text), IN_FILE)
    found = Tags(PARSER.render(page))
    assert set(found.tags) <= OURS
    assert {name for name, _ in found.attributes} <= {"class", "style", "start"}
    assert {value for name, value in found.attributes if name == "style"} <= {"text-align:right"}
    assert not any("evil" in (value or "") for _, value in found.attributes)
    check_tables(page)
    assert not re.search(
        "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff\ud800-\udfff]", page
    )
    assert "<script" not in FENCED.sub("", page)
    assert "](javascript:" not in FENCED.sub("", page)
    assert len(page) < 60_000


@given(st.text())
def test_any_name_in_a_sentence_renders_as_itself(text: str) -> None:
    found = Tags(PARSER.render(f"x {escaped(text)} x"))
    assert found.tags == ["p"]


@given(st.text(alphabet="ab|\\`*_[]()<>&~!#$:\n-. w", max_size=40))
def test_any_name_stays_in_its_cell(text: str) -> None:
    found = Tags(PARSER.render(f"| a | b |\n| --- | --- |\n| {escaped(text)} | end |"))
    assert found.tags.count("td") == 2
    assert set(found.tags) == {"table", "thead", "tbody", "tr", "th", "td"}


@given(st.text(alphabet="ab`~\n ", max_size=300))
def test_nothing_in_a_message_closes_its_fence(text: str) -> None:
    found = Tags(PARSER.render(f"{fenced(text)}\n\nafter"))
    assert found.tags == ["pre", "code", "p"]
    assert found.text[-2] == "after" or found.text[-1] == "after" or "after" in found.text


def test_ordinary_names_read_as_they_are() -> None:
    for name in (
        "create_potential_goal",
        "project-management-mcp",
        "mcp__git__git_log",
        "@scope/server",
        "search.files",
    ):
        assert escaped(name) == name


def test_a_message_is_cut_at_200_characters() -> None:
    assert fenced("y" * 500).count("y") == 200


def test_the_sample_day_has_every_section_and_says_what_was_cut() -> None:
    report = compose(samples.answered(), samples.SPAN, samples.END_MS, errors=samples.errors())
    page = render(report, Limits(tools=3, servers=2, anomalies=1, alerts=1, errors=1, recommendations=2))
    for title in ("Recommendations", "Tools that fail most", "Slowest tools", "Servers", "Alerts", "Anomalies"):
        assert f"## {title}\n" in page
    for note in ("3 of 7 failing tools", "3 of 13 tools", "2 of 6 servers", "1 of 4 anomalies", "1 of 2 open alerts"):
        assert f"Shown: {note}." in page
    assert "| 46,599 | 256 | 0.55 % |" in page
    assert "minute and hourly rollups (percentiles within 1 %)" in page


def test_recommendations_that_were_not_asked_for_are_left_out() -> None:
    report = compose(samples.answered(), samples.SPAN, samples.END_MS, include_recommendations=False)
    assert "Recommendations" not in render(report, IN_ANSWER)
