"""Minutes around an event as a small chart of characters: bars, the usual band, the event marked below.

Pure. Never wider than it is told; blocks and lines, or ASCII alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.detector.core.telling.words import brief, clock

HEIGHT: Final = 8
MOST_COLUMNS: Final = 60
FEWEST_COLUMNS: Final = 10
#: Characters of a figure beside the axis.
_LABEL: Final = 8
#: Columns that have room for the day as well, where the window begins on another one than it ends on.
_DATED: Final = 40
#: From this ratio of the highest to the usual on, the scale is logarithmic: the band would be no more than a line at the bottom.
_LOG_FROM: Final = 30.0
#: Its lowest value is no smaller a part of the highest.
_MOST_DECADES: Final = 1e6
_LETTERS: Final = ((1e6, "M"), (1e9, "G"), (1e12, "T"))
_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What a chart is drawn with."""

    bars: str
    band: str
    axis: str
    corner: str
    line: str
    span: tuple[str, str, str, str]
    dash: str


BLOCKS: Final = Glyphs(_EIGHTHS, "╌", "┤", "└", "─", ("├", "─", "┤", "▲"), "–")
ASCII: Final = Glyphs("     ####", "-", "|", "+", "-", ("[", "=", "]", "^"), "-")


@dataclass(frozen=True, slots=True)
class Plot:
    """What is to be drawn: values by time (ascending epoch ms), the window, the usual band, the event; `what` in which unit, and
    `how` much of a minute each value tells. `low`: the least value of a column counts, not the greatest.
    `band`: what the band is called.
    """

    points: Sequence[tuple[int, float]]
    start_ms: int
    end_ms: int
    lower: float
    upper: float
    event_ms: tuple[int, int, int]
    unit: str
    what: str
    how: str = "each minute"
    low: bool = False
    band: str = "usual"


def draw(plot: Plot, width: int, *, ascii_only: bool = False) -> list[str]:
    """The lines of the chart; none when there is no point in the window or no room."""
    glyphs = ASCII if ascii_only else BLOCKS
    columns = min(MOST_COLUMNS, width - _LABEL - 2, max(1, (plot.end_ms - plot.start_ms) // 60_000))
    if width - _LABEL - 2 < FEWEST_COLUMNS:
        return []
    values = by_column(plot, columns)
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return []
    scale = _Scale.of(known, plot)
    lines = _rows(values, scale, plot, glyphs)
    lines.append(" " * _LABEL + glyphs.corner + glyphs.line * columns)
    lines.append(" " * (_LABEL + 1) + _marks(plot, columns, glyphs))
    lines.append(" " * (_LABEL + 1) + _times(plot, columns))
    band = f"{brief(plot.lower)}{glyphs.dash}{brief(plot.upper)}"
    lines.append(_caption(plot, columns, width, log=scale.log))
    lines.append(f"{glyphs.band * 2} {plot.band}: {band}; {glyphs.span[3]} worst")
    return [line.rstrip()[:width] for line in lines]


def _caption(plot: Plot, columns: int, width: int, *, log: bool) -> str:
    """What is shown, in which unit, and what a column stands for; as much of it as there is room for."""
    minutes = round((plot.end_ms - plot.start_ms) / columns / 60_000)
    end = "lowest" if plot.low else "highest"
    how = plot.how if minutes < 2 else f"{end} of {minutes} min a column"
    parts = [", ".join(filter(None, (plot.what, plot.unit))), *(["log scale"] if log else []), how]
    while len(parts) > 1 and len(", ".join(parts)) > width:
        parts.pop()
    return ", ".join(parts)


def _label(value: float) -> str:
    """A figure beside the axis, never cut: what is too long for it gets a letter or an exponent."""
    text = brief(value)
    if len(text) <= _LABEL:
        return text
    size = next(((unit, letter) for unit, letter in _LETTERS if 0.9995 <= abs(value) / unit < 999.5), None)
    return f"{value / size[0]:.3g}{size[1]}" if size else f"{value:.1e}"


def by_column(plot: Plot, columns: int) -> list[float]:
    """The greatest (or least) value of each column's time, NaN where there is none."""
    values = [math.nan] * columns
    for ts_ms, value in plot.points:
        at = _column(plot, ts_ms, columns)
        if not 0 <= at < columns or not math.isfinite(value):
            continue
        better = value < values[at] if plot.low else value > values[at]
        if math.isnan(values[at]) or better:
            values[at] = value
    return values


@dataclass(frozen=True, slots=True)
class _Scale:
    floor: float
    top: float
    log: bool

    @classmethod
    def of(cls, known: Sequence[float], plot: Plot) -> _Scale:
        bounds = [b for b in (plot.lower, plot.upper) if math.isfinite(b) and b > 0]
        top, least = max([*known, *bounds]), min([*known, *bounds])
        if top <= 0:
            return cls(0.0, 1.0, False)
        usual = plot.upper if plot.upper > 0 else least
        if least > 0 and top / _LOG_FROM >= usual:
            return cls(max(least / 1.5, top / _MOST_DECADES), top, True)
        if max(known) > plot.upper > 0:  # the end of the band has a row, and a label, of its own below the highest
            top = max(top, plot.upper * HEIGHT / (HEIGHT - 1))
        floor = max(0.0, least - 0.15 * (top - least)) if least > 0.5 * top and top > least else 0.0
        return cls(floor, top, False)

    def place(self, value: float) -> float:
        """0 … 1."""
        if self.log:
            return math.log(max(value, self.floor) / self.floor) / math.log(self.top / self.floor)
        return min(max((value - self.floor) / (self.top - self.floor), 0.0), 1.0)

    def row(self, value: float) -> int:
        return min(HEIGHT - 1, max(0, math.ceil(self.place(value) * HEIGHT) - 1))


def _rows(values: Sequence[float], scale: _Scale, plot: Plot, glyphs: Glyphs) -> list[str]:
    heights = [0 if math.isnan(v) else max(1, round(scale.place(v) * HEIGHT * 8)) for v in values]
    limits = {scale.row(b): b for b in (plot.lower, plot.upper) if math.isfinite(b) and scale.floor < b <= scale.top}
    labels = {0: scale.floor} | limits | {HEIGHT - 1: scale.top}
    lines = []
    for row in range(HEIGHT - 1, -1, -1):
        label = _label(labels[row]).rjust(_LABEL) if row in labels else " " * _LABEL
        empty = glyphs.band if row in limits else " "
        cells = (glyphs.bars[min(max(h - 8 * row, 0), 8)] for h in heights)
        lines.append(label + glyphs.axis + "".join(empty if cell == " " else cell for cell in cells))
    return lines


def _marks(plot: Plot, columns: int, glyphs: Glyphs) -> str:
    start, peak, end = (min(max(_column(plot, ms, columns), 0), columns - 1) for ms in plot.event_ms)
    left, line, right, worst = glyphs.span
    cells = [" "] * columns
    cells[start : end + 1] = [line] * (end + 1 - start)
    cells[end], cells[start], cells[peak] = right, left, worst
    return "".join(cells)


def _times(plot: Plot, columns: int) -> str:
    """The window's beginning and end, and the event's beginning where there is room for it."""
    first, last = clock(plot.start_ms, plot.end_ms), clock(plot.end_ms, plot.end_ms)
    first = first if columns >= _DATED else first[-6:]
    at = clock(plot.event_ms[0], plot.event_ms[0])
    start = min(max(_column(plot, plot.event_ms[0], columns), 0), columns - 1)
    cells = [" "] * columns
    if columns >= len(first) + len(last) + 1:
        cells[: len(first)], cells[columns - len(last) :] = first, last
    if len(first) < start < columns - len(last) - len(at):
        cells[start : start + len(at)] = at
    return "".join(cells)


def _column(plot: Plot, ts_ms: int, columns: int) -> int:
    return (ts_ms - plot.start_ms) * columns // max(1, plot.end_ms - plot.start_ms)
