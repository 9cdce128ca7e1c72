"""Answers that are small, plain and harmless.

Pure. What came from monitored servers (names, error messages) leaves here escaped and cut; numbers are rounded to what a reader
can use; rows are kept until a budget of characters is used up, and what was cut is counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from shared.names import shown
from shared.timespan import iso

#: Characters of JSON that a default answer's rows may take, and all rows where a limit or `detail="full"` was asked for. Claude
#: Code takes 25,000 tokens of a result, and puts more than 50,000 characters into a file: text and data together stay below.
COMPACT_BUDGET_CHARS: Final = 3_200
FULL_BUDGET_CHARS: Final = 30_000
#: Characters of a fenced table in a default answer and in a full one.
COMPACT_TABLE_CHARS: Final = 1_700
FULL_TABLE_CHARS: Final = 10_000
#: Characters of a name in a table and of a message in a row of a default answer.
TABLE_NAME_CHARS: Final = 40
COMPACT_TEXT_CHARS: Final = 120
#: Floats that are whole become integers below this.
LARGEST_WHOLE: Final = 1e15
#: How deep and wide a map from another service may be before it is cut.
MAX_DEPTH: Final = 8
MAX_MEMBERS: Final = 1_000

Data = dict[str, Any]


class Answer(NamedTuple):
    """What a tool answers: text for a reader, data that fits the tool's output schema."""

    text: str
    data: Data


class Fitted(NamedTuple):
    """Rows within a budget, and how many were left out of it."""

    rows: list[Any]
    cut: int


def figure(value: object, digits: int = 3) -> float | int | None:
    """A number rounded for reading; whole numbers stay whole; None, NaN and infinity are None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value
    if not math.isfinite(value):
        return None
    rounded = round(value, digits)
    return int(rounded) if rounded.is_integer() and abs(rounded) < LARGEST_WHOLE else rounded


def whole_number(value: object) -> int:
    """A count that another service gave; 0 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def printed(value: object, unit: str = "") -> str:
    """A number in a sentence or a table, of about three digits as in reports; a dash where there is none. To be given what is
    not rounded yet: rounding twice tells .1454 as .14.
    """
    if figure(value) is None or not isinstance(value, int | float):
        return "–"
    return f"{_digits(value)} {unit}" if unit else _digits(value)


def _digits(value: float) -> str:
    size = abs(value)
    if isinstance(value, int) or size >= 100:
        return f"{value:,.0f}"
    if 0 < size < 0.01:
        return "<0.01" if value > 0 else ">-0.01"
    text = f"{value:.2g}" if size < 1 else f"{value:.{1 if size >= 10 else 2}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def counted(value: int, noun: str, plural: str | None = None) -> str:
    """`1 call`, `12,345 calls`."""
    return f"{value:,} {noun if value == 1 else plural or f'{noun}s'}"


def when(ts_ms: object) -> str | None:
    """ISO-8601 of epoch ms; None for None."""
    return iso(int(ts_ms)) if isinstance(ts_ms, int | float) and not isinstance(ts_ms, bool) else None


def harmless(value: Any, text_chars: int = 200, depth: int = 0) -> Any:
    """A copy of what another service answered, fit for a client: every text escaped and cut, every number finite."""
    if isinstance(value, str):
        return begun(value, text_chars)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return figure(value, 6)
    if depth >= MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        members = list(value.items())[:MAX_MEMBERS]
        return {shown(str(key)): harmless(item, text_chars, depth + 1) for key, item in members}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [harmless(item, text_chars, depth + 1) for item in value[:MAX_MEMBERS]]
    return shown(str(value), text_chars)


def brief(value: Any, digits: int = 4) -> Any:
    """A copy of harmless data with every fraction cut to so many significant digits: what a reader can use."""
    if isinstance(value, dict):
        return {name: brief(item, digits) for name, item in value.items()}
    if isinstance(value, list):
        return [brief(item, digits) for item in value]
    if not isinstance(value, float) or value == 0 or abs(value) >= 10**digits:
        return round(value) if isinstance(value, float) and abs(value) < LARGEST_WHOLE else value
    return figure(float(f"{value:.{digits}g}"), 12)


def begun(text: str, limit_chars: int) -> str:
    """`shown`, which is cut behind a word where one ends in the last quarter."""
    if len(text) <= limit_chars:
        return shown(text, limit_chars)
    last = text.rfind(" ", limit_chars - limit_chars // 4, limit_chars + 1)
    return shown(text[: last if last > 0 else limit_chars].rstrip(" ,;:"), limit_chars) + "…"


def ended(sentence: str) -> str:
    """A sentence with its full stop; one that was cut ends as it is."""
    return sentence if sentence.endswith(("…", ".")) else f"{sentence}."


def fit(rows: Iterable[Any], budget_chars: int) -> Fitted:
    """The first rows whose JSON stays within the budget; at least one, if there is any."""
    kept: list[Any] = []
    cut = 0
    used = 0
    for row in rows:
        used += _size(row)
        if kept and (cut or used > budget_chars):
            cut += 1
        else:
            kept.append(row)
    return Fitted(kept, cut)


def fit_told(whole: Sequence[Any], lean: Sequence[Any], budget_chars: int) -> Fitted:
    """As many rows as fit when all but the first are lean; then as many of these whole, in order, as there is room for."""
    rows = [*whole[:1], *lean[1:]]
    kept, cut = fit(rows, budget_chars)
    used = sum(_size(row) for row in kept)
    for place in range(1, len(kept)):
        used += _size(whole[place]) - _size(lean[place])
        if used > budget_chars:
            break
        kept[place] = whole[place]
    return Fitted(kept, cut)


def _size(row: Any) -> int:
    return len(json.dumps(row, ensure_ascii=False)) + 1


def table(header: Sequence[str], rows: Iterable[Sequence[str]], budget_chars: int = COMPACT_TABLE_CHARS) -> str:
    """Rows under a header, in a fence that says that their names and messages are not ours to vouch for."""
    cells = [[_cell(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header) - 1)]
    lines: list[str] = []
    used = 0
    for row in cells:
        line = "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        used += len(line) + 1
        if used > budget_chars and len(lines) > 1:
            lines.append(f"… and {counted(len(cells) - len(lines), 'more row', 'more rows')} in the structured content")
            break
        lines.append(line)
    return fenced("\n".join(lines))


def fenced(text: str) -> str:
    """Untrusted lines between marks that they cannot close."""
    return "```untrusted\n" + text.replace("`", "'") + "\n```"


def cut_text(text: str, limit_chars: int, rest: str) -> str:
    """The beginning of a long text up to a line's end, with a note of where the rest is."""
    if len(text) <= limit_chars:
        return text
    head = text[:limit_chars]
    return f"{head[: head.rfind(chr(10))] if chr(10) in head else head}\n… {rest}"


def _cell(text: str) -> str:
    return shown(text, TABLE_NAME_CHARS) if len(text) > TABLE_NAME_CHARS else shown(text)
