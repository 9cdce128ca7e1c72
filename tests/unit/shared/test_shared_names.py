"""Names as file names, and untrusted text as something safe to show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.names import MAX_SHOWN_CHARS, MAX_STEM_BYTES, nearest, path_stem, shown, twin_stem

_name = st.text(st.characters(codec="utf-8"), min_size=1, max_size=400)


@given(_name)
def test_any_name_is_one_harmless_file_name(name: str) -> None:
    for stem in (path_stem(name), twin_stem(name)):
        assert stem.isascii()
        assert stem.isprintable()
        assert 0 < len(stem) <= MAX_STEM_BYTES
        assert "/" not in stem
        assert not stem.startswith(".")


@given(_name, _name)
def test_different_names_have_different_file_names(left: str, right: str) -> None:
    assert (path_stem(left) == path_stem(right)) == (left == right)
    assert (twin_stem(left) == twin_stem(right)) == (left == right)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("create_potential_goal", "create_potential_goal"),
        ("a.b-c_D9", "a.b-c_D9"),
        ("../../x", "%2E.%2F..%2Fx"),
        (".", "%2E"),
        ("..", "%2E."),
        (".hidden", "%2Ehidden"),
        ("a\x00b", "a%00b"),
        ("é", "%C3%A9"),
        ("%2E", "%252E"),
        ("-rf", "-rf"),
        ("a b", "a%20b"),
        ("CON", "CON"),
    ],
)
def test_the_encoding_is_the_documented_one(name: str, stem: str) -> None:
    assert path_stem(name) == stem


def test_long_names_are_cut_and_hashed() -> None:
    assert len(path_stem("x" * 200)) == 200
    assert path_stem("x" * 200) == "x" * 200
    cut = path_stem("x" * 201)
    assert len(cut) == MAX_STEM_BYTES
    assert cut.startswith("x" * 183 + "~")
    assert len(path_stem("é" * 130)) == MAX_STEM_BYTES


def test_an_empty_name_and_a_lone_surrogate_have_no_file_name() -> None:
    with pytest.raises(ValueError, match="at least one"):
        path_stem("")
    with pytest.raises(UnicodeEncodeError):
        path_stem("\udc80")


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain ünïcödé ✓", "plain ünïcödé ✓"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb\tc\r", "a\\x0ab\\x09c\\x0d"),
        ("gnp\u202eexe", "gnp\\u202eexe"),
        ("\u2066\u200b\ufeff", "\\u2066\\u200b\\ufeff"),
        ("line\u2028sep", "line\\u2028sep"),
        ("\udc80", "\\udc80"),
        ("\U000e0001", "\\U000e0001"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_untrusted_text_is_made_harmless(text: str, safe: str) -> None:
    assert shown(text) == safe


def test_shown_text_is_cut_with_a_mark() -> None:
    assert shown("x" * (MAX_SHOWN_CHARS + 1)) == "x" * MAX_SHOWN_CHARS + "…"
    assert shown("x" * MAX_SHOWN_CHARS) == "x" * MAX_SHOWN_CHARS
    assert shown("abc", limit=2) == "ab…"


@given(st.text(max_size=300))
def test_shown_text_can_always_be_encoded_and_printed(text: str) -> None:
    shown(text).encode()
    assert all(c.isprintable() or c == " " or ord(c) > 127 for c in shown(text))


def test_the_nearest_names_come_best_first() -> None:
    known = ["read_file", "write_file", "list_directory", "Read_Files"]
    assert nearest("raed_file", known)[0] == "read_file"
    assert nearest("READ_FILES", known, 1) == ["Read_Files"]
    assert len(nearest("x", known)) == 3
    assert nearest("x", []) == []
