"""What a caller is told when a call cannot be done: what was wrong, what is accepted, an example.

Pure. A refusal is a good answer for a model only if the next call can be right; so every text ends with one that works.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from pydantic import ValidationError

from services.gateway.core.schema import Schema
from shared.names import near, shown

#: Problems named in one refusal, and characters of a rejected value that are repeated.
MAX_PROBLEMS: Final = 8
MAX_VALUE_CHARS: Final = 60
#: Integers beyond this have no float to print.
LARGEST_SHOWN: Final = 1e300

_TYPES: Final = {
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


class ToolRefusal(Exception):
    """Raised anywhere below a tool: the call is answered as an error with this text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def bad_arguments(tool: str, schema: Schema, example: Mapping[str, Any], error: ValidationError) -> str:
    """The text for arguments that a tool's model refused."""
    problems = error.errors(include_url=False, include_context=False)
    lines = [_problem(schema, problem) for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"and {len(problems) - MAX_PROBLEMS} more")
    return refusal(tool, lines, example)


def refusal(tool: str, problems: Sequence[str], example: Mapping[str, Any] | None = None) -> str:
    """A refusal of a tool's call for one or more reasons, with an example call where one helps."""
    head = f"{tool} was not run: " if len(problems) == 1 else f"{tool} was not run:\n- "
    text = head + "\n- ".join(problems)
    if example is None:
        return text
    return f"{text}\nExample: {tool}({json.dumps(example, ensure_ascii=False)})"


def quoted(value: object) -> str:
    """A caller's or a monitored server's value, safe inside our sentence: JSON, cut, control characters escaped."""
    if not isinstance(value, str):
        return shown(repr(value), MAX_VALUE_CHARS)
    return '"' + shown(value, MAX_VALUE_CHARS).replace('"', "'") + '"'


def did_you_mean(name: str, known: Sequence[str], listed: int = 3) -> str:
    """`Nearest: …` with up to three names that could be meant; else `Known: …` with the first `listed` of `known`."""
    close = near(name, list(known))
    word, named = ("Nearest", close) if close else ("Known", list(known[:listed]))
    more = f" and {len(known) - len(named)} more" if not close and len(known) > len(named) else ""
    return f"{word}: {', '.join(quoted(candidate) for candidate in named)}{more}"


def _problem(schema: Schema, problem: Any) -> str:
    path = [str(part) for part in problem["loc"]]
    where = ".".join(shown(part, MAX_VALUE_CHARS) for part in path)
    kind = problem["type"]
    if kind == "extra_forbidden":
        return _unknown_parameter(schema, path)
    accepted = _accepted(_at(schema, path))
    if kind == "missing":
        return f"{where} is required: {accepted}"
    if not path:  # a rule between parameters; its message names them
        return str(problem["msg"]).removeprefix("Value error, ")
    reason = str(problem["msg"]).removeprefix("Value error, ") if kind == "value_error" else ""
    got = _got(problem.get("input"))
    return (
        f"{where}: got {got}{f', which {reason}' if reason.startswith(('is ', 'has ')) else ''}; accepted: {accepted}"
    )


def _unknown_parameter(schema: Schema, path: list[str]) -> str:
    known = list(_at(schema, path[:-1]).get("properties", {}))
    where = f" of {'.'.join(path[:-1])}" if len(path) > 1 else ""
    close = get_close_matches(path[-1], known, 1)
    hint = f"; did you mean {close[0]}?" if close else "."
    return f"{quoted(path[-1])} is no parameter{where}{hint} Accepted: {', '.join(known)}"


def _at(schema: Schema, path: Sequence[str]) -> Schema:
    for part in path:
        schema = schema.get("properties", {}).get(part, {})
    return schema


def _got(value: object) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinity"
    if isinstance(value, int | float):
        return f"{value:g}" if abs(value) < LARGEST_SHOWN else "a huge number"
    return _TYPES.get(type(value), "something else")


def _accepted(schema: Schema) -> str:
    kind = schema.get("type")
    if "enum" in schema:
        return ", ".join(str(choice) for choice in schema["enum"])
    if kind == "boolean":
        return "true or false, as a JSON boolean"
    if kind in {"number", "integer"}:
        noun = "a whole number" if kind == "integer" else "a number"
        return f"{noun} from {schema.get('minimum', 0):g} to {schema.get('maximum', 0):g}, as a JSON number"
    if kind == "object":
        return f"an object with {', '.join(schema.get('properties', {}))}"
    description = str(schema.get("description", "")).rstrip(".")
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    size = f" of {least} to {most} characters" if most else " that is not empty" if least else ""
    return f"text{size}" + (f" ({description})" if description else "")
