"""Editing JSON as text: the value changes, every other character stays, and it can be undone exactly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfmon.connect.jsontext import NotJson, drop, parse, put, value_at

TEXTS = {
    "usual": '{\n  "a": {\n    "b": 1\n  },\n  "list": [\n    1,\n    2\n  ]\n}\n',
    "tabs and carriage returns": '{\r\n\t"a": {\r\n\t\t"b": 1\r\n\t},\r\n\t"list": [1, 2]\r\n}',
    "one line": '{"a":{"b":1},"list":[1,2]}',
    "one line, spaced": '{"a": {"b": 1}, "list": [1, 2]}',
    "mark": '\ufeff{ "a" : { "b" :1 } , "list":[ 1 ,2 ] }',
    "odd": '\n\n{ "é\\"}": "[{\\\\", "a"\n:{"b":1e3,"x":{}\n}, "list": [ [], {} ]}  ',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize(
    "pointer",
    [("a", "b"), ("a",), ("a", "new"), ("new",), ("new", "er", "est"), ("list", 0), ("list", 2), ("a", 'é\n"')],
)
@pytest.mark.parametrize("value", [5, "text", None, [], {"k": ["v", {}]}])
def test_a_value_is_put_and_nothing_else_changes(text: str, pointer: tuple[Any, ...], value: Any) -> None:
    splice = put(text, pointer, value)
    edited = splice.apply(text)
    assert value_at(parse(edited)[0], pointer) == value
    assert splice.undo(edited) == text
    expected: Any = json.loads(text.lstrip("\ufeff"))
    target = expected
    for step in pointer[:-1]:
        target = target.setdefault(step, {})
    if pointer == ("list", 2):
        target.append(value)
    else:
        target[pointer[-1]] = value
    assert parse(edited)[0] == expected
    assert ("\r\n" in edited) == ("\r\n" in text)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("pointer", [("new",), ("a", "new"), ("list", 2)])
def test_what_was_put_in_is_taken_out_without_a_trace(text: str, pointer: tuple[Any, ...]) -> None:
    edited = put(text, pointer, {"k": 1}).apply(text)
    assert drop(edited, pointer).apply(edited) == text


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("pointer", [("a",), ("list",), ("a", "b"), ("list", 0), ("list", 1)])
def test_a_member_is_dropped_with_its_comma(text: str, pointer: tuple[Any, ...]) -> None:
    splice = drop(text, pointer)
    edited = splice.apply(text)
    expected: Any = json.loads(text.lstrip("\ufeff"))
    target = expected
    for step in pointer[:-1]:
        target = target[step]
    del target[pointer[-1]]
    assert parse(edited)[0] == expected
    assert splice.undo(edited) == text


def test_new_text_follows_the_files_own_indentation() -> None:
    text = '{\n   "a": {\n      "b": 1\n   }\n}\n'
    assert (
        put(text, ("a", "c"), {"d": []}).apply(text)
        == '{\n   "a": {\n      "b": 1,\n      "c": {\n         "d": []\n      }\n   }\n}\n'
    )
    assert put("{}", ("a",), {"b": 1}).apply("{}") == '{\n  "a": {\n    "b": 1\n  }\n}'


def test_a_list_on_one_line_stays_on_one_line() -> None:
    text = '{\n  "args": ["a", "b"]\n}'
    assert put(text, ("args",), ["c", "d", "e"]).apply(text) == '{\n  "args": ["c", "d", "e"]\n}'


def test_of_a_repeated_name_the_last_one_counts() -> None:
    text = '{"a": 1, "a": 2}'
    assert put(text, ("a",), 3).apply(text) == '{"a": 1, "a": 3}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{ // comment\n "a": 1}', "comments"),
        ('{\n  "a": 1, /* x */ "b": 2}', "line 2"),
        ('{"a": 1,}', "column"),
        ("", "line 1"),
        ("[]", "an array"),
        ("null", "null"),
        ('"x"', "a string"),
        ("7", "a number"),
        ('{"a": NaN}', "NaN"),
        ('{"a": 1} trailing', "Extra data"),
        ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "deeply"),
    ],
)
def test_what_is_not_one_json_object_is_refused(text: str, said: str) -> None:
    with pytest.raises(NotJson, match=said):
        parse(text)


@pytest.mark.parametrize("pointer", [("a", "b", "c"), ("list", "name"), ("a", 0)])
def test_a_way_that_leads_nowhere_is_refused(pointer: tuple[Any, ...]) -> None:
    with pytest.raises(KeyError):
        put(TEXTS["usual"], pointer, 1)


@pytest.mark.parametrize("pointer", [("x",), ("a", "x"), ("x", "y"), ("list", 5)])
def test_what_is_not_there_cannot_be_dropped(pointer: tuple[Any, ...]) -> None:
    with pytest.raises(KeyError):
        drop(TEXTS["usual"], pointer)


_names = st.sampled_from(["a", "b", "mcpServers", "é", '"', "\\", "\n", ""])
_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from([0.5, "x", '"\\', "{[", "//"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_names, inner, max_size=3)),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(_names, _values, max_size=4),
    st.lists(_names, min_size=1, max_size=3).map(tuple),
    _values,
    st.sampled_from([None, 1, 2, "\t"]),
    st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")]),
)
def test_any_object_in_any_layout_can_be_edited_and_put_back(
    whole: dict[str, Any], pointer: tuple[str, ...], value: Any, indent: Any, separators: tuple[str, str]
) -> None:
    text = json.dumps(whole, indent=indent, separators=separators)
    try:
        splice = put(text, pointer, value)
    except KeyError:
        return
    edited = splice.apply(text)
    found, _ = parse(edited)
    assert value_at(found, pointer) == value
    assert splice.undo(edited) == text
    assert list(found)[: len(whole)] == list(whole)
    assert {name: found[name] for name in whole if name != pointer[0]} == {
        name: whole[name] for name in whole if name != pointer[0]
    }
