"""What can be told of a JSON-RPC message from its first and last bytes, when it is too long to parse. Pure.

Every JSON writer in use puts `id`, `method` and `jsonrpc` before or after the one long member (`params`, `result`), so
anchored patterns at both ends find them. Inside a JSON string every quote has a backslash before it, so that a pattern that
begins at a bare quote never matches text. What cannot be told is left out; the caller counts such a message as unobserved.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

_STRING: Final = rb'"(?:[^"\\]|\\.)*"'
_ID: Final = rb"(?:-?\d{1,18}|" + _STRING + rb")"
_SMALL: Final = rb'(?:"jsonrpc"\s*:\s*' + _STRING + rb'|"id"\s*:\s*' + _ID + rb'|"method"\s*:\s*' + _STRING + rb")"
#: The small members before the first long one, and that one's name.
_BEGINNING: Final = re.compile(
    rb"\s*\{\s*(?P<small>(?:" + _SMALL + rb'\s*,\s*)*)"(?P<long>params|result|error)"\s*:', re.DOTALL
)
#: The small members after the last long one, to the end of the message.
_ENDING: Final = re.compile(rb"(?P<small>(?:,\s*" + _SMALL + rb"\s*)+)\}\s*\Z", re.DOTALL)
_MEMBER: Final = re.compile(rb'"(?P<key>id|method)"\s*:\s*(?P<value>' + _ID + rb")", re.DOTALL)
_TOOL_NAME: Final = re.compile(
    rb'"params"\s*:\s*\{\s*(?:"_meta"\s*:\s*\{[^{}]{0,4096}\}\s*,\s*)?"name"\s*:\s*(?P<name>' + _STRING + rb")",
    re.DOTALL,
)
_CALL_ID: Final = re.compile(rb'(?<!\\)"(?P<key>[^"\\]{0,100}toolUseId)"\s*:\s*(?P<value>' + _STRING + rb")", re.DOTALL)
_IS_ERROR: Final = re.compile(rb'(?<!\\)"isError"\s*:\s*true', re.DOTALL)
#: How far from the end the ending is looked for.
_ENDING_BYTES: Final = 1_024


def glimpse(head: bytes, tail: bytes) -> dict[str, Any] | None:
    """A message with the members that could be told, or None when it is none that matters here."""
    beginning = _BEGINNING.match(head)
    if beginning is None:
        return None
    ending = _ENDING.search(tail[-_ENDING_BYTES:])
    small = beginning["small"] + (ending["small"] if ending else b"")
    message: dict[str, Any] = {}
    for member in _MEMBER.finditer(small):
        message[member["key"].decode()] = _value(member["value"])
    if "id" not in message:
        return None
    long = beginning["long"]
    if long == b"result":
        message["result"] = {"isError": bool(_IS_ERROR.search(tail) or _IS_ERROR.search(head))}
    elif long == b"error":
        message["error"] = {"message": "too long to read"}
    else:
        message["params"] = _params(head, tail)
    return message


def _params(head: bytes, tail: bytes) -> dict[str, Any]:
    params: dict[str, Any] = {}
    name = _TOOL_NAME.search(head)
    if name is not None:
        params["name"] = _value(name["name"])
    call_id = _CALL_ID.search(tail) or _CALL_ID.search(head)
    if call_id is not None:
        params["_meta"] = {call_id["key"].decode("utf-8", "replace"): _value(call_id["value"])}
    return params


def _value(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
