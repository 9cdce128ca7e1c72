"""Change one value in a JSON text and leave every other character as it was. Pure.

An edit is one `Splice`, so it can be undone exactly. New text follows the file's own indentation and line ends. Comments,
trailing commas and anything else that is not JSON are refused.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

#: Member names and array indices from the root down.
Pointer = tuple[str | int, ...]

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SCALAR: Final = re.compile(r"-?[0-9][0-9eE+.-]*|true|false|null")
_DEFAULT_INDENT: Final = "  "


class NotJson(ValueError):
    """A text that is not one JSON object; the message says where it stops being one."""


class Splice(NamedTuple):
    """`removed` at `start` becomes `inserted`."""

    start: int
    removed: str
    inserted: str

    def apply(self, text: str) -> str:
        """The text after it."""
        return text[: self.start] + self.inserted + text[self.start + len(self.removed) :]

    def undo(self, text: str) -> str:
        """The text before it."""
        return text[: self.start] + self.removed + text[self.start + len(self.inserted) :]


class Node(NamedTuple):
    """A value's place: `start` to `end`, and for a container its members (name, where it starts, value) in order."""

    start: int
    end: int
    opening: str  # "{", "[" or "" for a scalar
    members: list[tuple[str | int, int, Node]]

    def member(self, name: str | int) -> Node | None:
        """The value of a member; of a repeated name the last, as JSON readers do."""
        found = [node for key, _, node in self.members if key == name and type(key) is type(name)]
        return found[-1] if found else None


def parse(text: str) -> tuple[dict[str, Any], Node]:
    """The object in a text, and where its parts are. A byte order mark at the beginning is passed over.

    Raises: NotJson.
    """
    start = 1 if text.startswith("\ufeff") else 0
    try:
        value = json.loads(text[start:], parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        hint = "; comments are not JSON" if _looks_commented(text, error.pos + start) else ""
        raise NotJson(f"line {error.lineno}, column {error.colno}: {error.msg}{hint}") from None
    except RecursionError:
        raise NotJson("nested too deeply") from None
    except ValueError as error:
        raise NotJson(str(error)) from None
    if not isinstance(value, dict):
        raise NotJson(f"holds {_kind(value)} where an object belongs")
    try:
        return value, _scan(text, _skip(text, start))
    except RecursionError:
        raise NotJson("nested too deeply") from None


def value_at(value: Any, pointer: Pointer) -> Any:
    """The value at a pointer.

    Raises: KeyError when there is none.
    """
    for step in pointer:
        in_object = isinstance(value, dict) and isinstance(step, str) and step in value
        in_array = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if not in_object and not in_array:
            raise KeyError(pointer)
        value = value[step]
    return value


def put(text: str, pointer: Pointer, value: Any) -> Splice:
    """Set the value at a pointer; the objects on the way are made where they are missing. A pointer that ends one past an array's
    last index appends to it.

    Raises: NotJson, KeyError when the way leads through something that is no container.
    """
    _, node = parse(text)
    depth = 0
    for depth, step in enumerate(pointer):  # noqa: B007 - used below
        following = node.member(step)
        if following is None:
            break
        node = following
    else:
        old = text[node.start : node.end]
        if node.members and "\n" not in old:
            return Splice(node.start, old, json.dumps(value, ensure_ascii=False))
        return Splice(node.start, old, _render(text, value, _indent_of_line(text, node.start)))
    for step in reversed(pointer[depth + 1 :]):
        value = {step: value}
    return _insert(text, node, pointer[depth], value, pointer)


def drop(text: str, pointer: Pointer) -> Splice:
    """Take out the member or item at a pointer, with its comma.

    Raises: NotJson, KeyError when there is none.
    """
    _, node = parse(text)
    for step in pointer[:-1]:
        following = node.member(step)
        if following is None:
            raise KeyError(pointer)
        node = following
    indices = [at for at, (key, _, _) in enumerate(node.members) if key == pointer[-1]]
    if not indices:
        raise KeyError(pointer)
    at = indices[-1]
    if len(node.members) == 1:
        start, end = node.start + 1, node.end - 1
    elif at:
        start, end = node.members[at - 1][2].end, node.members[at][2].end
    else:
        start, end = node.members[0][1], node.members[1][1]
    return Splice(start, text[start:end], "")


def _insert(text: str, node: Node, step: str | int, value: Any, pointer: Pointer) -> Splice:
    if node.opening != ("[" if isinstance(step, int) else "{"):
        raise KeyError(pointer)
    name = "" if isinstance(step, int) else f"{json.dumps(step, ensure_ascii=False)}: "
    if not node.members:
        outer = _indent_of_line(text, node.start)
        inner = outer + _indent_unit(text)
        newline = _newline(text)
        body = f"{newline}{inner}{name}{_render(text, value, inner)}{newline}{outer}"
        return Splice(node.start + 1, text[node.start + 1 : node.end - 1], body)
    _, last_start, last = node.members[-1]
    first_start = node.members[0][1]
    if "\n" in text[node.start : first_start]:
        inner = _indent_of_line(text, last_start)
        return Splice(last.end, "", f",{_newline(text)}{inner}{name}{_render(text, value, inner)}")
    spaced = ", " if ", " in text[node.start : node.end] or ": " in text[node.start : node.end] else ","
    compact = json.dumps(value, ensure_ascii=False, separators=(spaced, ": " if spaced == ", " else ":"))
    return Splice(last.end, "", f"{spaced}{name if spaced == ', ' else name.rstrip()}{compact}")


def _render(text: str, value: Any, indent: str) -> str:
    lines = json.dumps(value, ensure_ascii=False, indent=_indent_unit(text)).split("\n")
    return (_newline(text) + indent).join(lines)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _indent_unit(text: str) -> str:
    found = re.search(r"\n([ \t]+)\S", text)
    return found[1] if found else _DEFAULT_INDENT


def _indent_of_line(text: str, at: int) -> str:
    line_start = text.rfind("\n", 0, at) + 1
    found = re.compile(r"[ \t]*").match(text, line_start)
    return found[0] if found else ""


def _scan(text: str, at: int) -> Node:
    """The value at `at`; the text is known to be JSON."""
    opening = text[at]
    if opening not in "{[":
        return Node(at, _scalar(text, at).end(), "", [])
    members: list[tuple[str | int, int, Node]] = []
    start, at = at, _skip(text, at + 1)
    while text[at] not in "}]":
        member_start = at
        key: str | int = len(members)
        if opening == "{":
            name = _scalar(text, at)
            key = str(json.loads(name[0]))
            at = _skip(text, _skip(text, name.end()) + 1)
        node = _scan(text, at)
        members.append((key, member_start, node))
        at = _skip(text, node.end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return Node(start, at + 1, opening, members)


def _scalar(text: str, at: int) -> re.Match[str]:
    found = (_STRING if text[at] == '"' else _SCALAR).match(text, at)
    assert found is not None
    return found


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _looks_commented(text: str, at: int) -> bool:
    return text[at : at + 2] in ("//", "/*") or text[max(0, at - 1) : at + 1] in ("//", "/*")


def _kind(value: object) -> str:
    return {list: "an array", str: "a string", type(None): "null"}.get(type(value), "a number or a truth value")
