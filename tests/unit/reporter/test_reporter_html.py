"""The page is self-contained, escaped, and can run or load nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
import reporter_samples as samples
from hostile import HOSTILE, full_of

from services.reporter.core.compose import compose
from services.reporter.core.elements import Markup, el, name
from services.reporter.core.model import IN_FILE, ON_PAGE
from services.reporter.core.render_html import render

#: Everything a report may be made of: nothing that runs, loads, submits, navigates or embeds.
TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "section", "footer", "div", "p", "h1", "h2", "h3", "ul",
    "li", "dl", "dt", "dd", "span", "i", "bdi", "pre", "table", "thead", "tbody", "tr", "th", "td",
    "svg", "g", "desc", "rect", "line", "text", "circle", "path", "polygon", "polyline",
}  # fmt: skip
VOID = {"meta"}


class Page(HTMLParser):
    """Every tag with its attributes, the style sheets, and whether tags are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.styles: list[str] = []
        self.stack: list[str] = []
        self.comments: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({key for key, _ in attrs}) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.styles if self.stack and self.stack[-1] == "style" else self.text).append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def sample() -> str:
    return render(compose(samples.answered(), samples.SPAN, samples.END_MS, errors=samples.errors()), IN_FILE)


def check(page: str) -> Page:
    found = Page(page)
    assert {tag for tag, _ in found.tags} <= TAGS
    assert found.comments == []
    for tag, attributes in found.tags:
        for key, value in attributes.items():
            assert not key.startswith("on"), key
            assert key not in {
                "style",
                "href",
                "src",
                "srcset",
                "action",
                "formaction",
                "background",
                "data",
                "xlink:href",
            }
            assert value is None or "javascript:" not in value or tag == "title"
    return found


def test_nothing_in_the_page_runs_or_loads() -> None:
    page = sample()
    check(page)
    assert "<script" not in page.lower()
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_the_policy_allows_the_one_style_sheet_by_its_hash_and_nothing_else() -> None:
    found = check(sample())
    policies = [
        a["content"] for tag, a in found.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1
    assert policies[0] is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policies[0].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert set(rules.values()) - {rules["style-src"], "data:"} == {"'none'"}
    assert len(found.styles) == 1
    digest = base64.b64encode(hashlib.sha256(found.styles[0].encode()).digest()).decode()
    assert rules["style-src"] == f"'sha256-{digest}'"
    head = [tag for tag, _ in found.tags]
    assert head.index("style") > next(i for i, (t, a) in enumerate(found.tags) if a.get("http-equiv")), (
        "the policy comes first"
    )


def test_the_page_follows_the_readers_light_or_dark_and_fits_a_phone() -> None:
    page = sample()
    assert "@media (prefers-color-scheme:dark)" in page
    assert 'name="viewport"' in page
    assert "@media (max-width:600px)" in page


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:24]))
def test_hostile_names_stay_text(text: str) -> None:
    page = render(full_of(text), IN_FILE)
    found = check(page)
    assert len(found.styles) == 1
    assert "<script" not in page.lower()
    assert not re.search(
        "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]", page
    )
    assert len(page) < 300_000
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ET.fromstring(svg)


def test_a_name_reads_as_it_is() -> None:
    assert "".join(Page(str(name('<b> & "x"'))).text) == '<b> & "x"'


def test_attributes_that_could_run_load_or_restyle_cannot_be_written() -> None:
    for attribute in ("onclick", "style", "href", "src", "srcdoc", "action"):
        with pytest.raises(ValueError, match="not an attribute"):
            el("div", **{attribute: "x"})


def test_text_is_escaped_unless_it_is_markup() -> None:
    assert el("p", "<b>", Markup("<i></i>"), class_='"x"') == '<p class="&quot;x&quot;">&lt;b&gt;<i></i></p>'


def test_the_figures_of_the_day_are_on_the_page() -> None:
    text = " ".join(Page(sample()).text)
    for figure in (
        "46,599",
        "256",
        "deploy_application",
        "34.4 %",
        "alert-20251031-002",
        "ECONNREFUSED",
        "Held back: 41",
    ):
        assert figure in text


def test_a_tile_shows_a_change_only_of_what_the_words_compare() -> None:
    before = {**samples.raw_answers()["before"]["total"], "count": 40, "p95": 1.0}
    late = before | {"firstTs": samples.SPAN.start_ms - 60_000}
    raw = samples.raw_answers() | {"before": samples.rollup([], late)}
    page = render(compose(samples.answered(raw), samples.SPAN, samples.END_MS), ON_PAGE)
    tiles = {tile.split("<")[0]: tile for tile in page.split("<dt>")[1:]}
    assert "the number of calls is not compared" in tiles["Calls"]
    assert "▲ from 1 ms" in tiles["p95"]
    assert "no trend is claimed" not in page


def test_the_slowest_tools_are_as_many_as_stand_beside_the_failing_ones_and_the_bars() -> None:
    many = [samples.stats("s", f"t{n}", 100, 0.5 if n < 2 else 0, 5, 50 + n) for n in range(60)]
    raw = samples.raw_answers() | {"tools": samples.rollup(many)}
    page = render(compose(samples.answered(raw), samples.SPAN, samples.END_MS), ON_PAGE)
    assert "Shown: 8 of 60 tools." in page


def test_times_are_shaded_in_which_the_response_times_themselves_were_abnormal() -> None:
    def bands(metric: str) -> int:
        details = {"currentValue": 5200, "expectedRange": "600-1600", "metric": metric, "unit": "ms"}
        one = samples.anomaly("some_spike", "s", "t", "warning", samples.END_MS - 7_200_000, None, **details)
        raw = samples.raw_answers() | {"anomalies": {"anomalies": [one], "total": 1}}
        return render(compose(samples.answered(raw), samples.SPAN, samples.END_MS), ON_PAGE).count('class="band"')

    assert (bands("response_time"), bands("memory")) == (1, 0)
