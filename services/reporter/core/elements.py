"""HTML and SVG elements whose text and attributes are escaped unless they are elements themselves.

Owns the one way in which markup comes about, so that nothing a server named can become any. Event handlers, style attributes
and addresses cannot be written at all.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

from services.reporter.core.text import Text, join, spoken, visible

#: Elements without content.
_VOID: Final = frozenset({"meta", "br", "hr", "col"})
#: The only attributes there are; none of them can run, load or restyle anything.
_ATTRIBUTES: Final = frozenset(
    {
        "aria-hidden",
        "aria-label",
        "aria-labelledby",
        "charset",
        "class",
        "content",
        "cx",
        "cy",
        "d",
        "height",
        "http-equiv",
    }
    | {
        "id",
        "lang",
        "name",
        "points",
        "preserveAspectRatio",
        "r",
        "role",
        "rx",
        "scope",
        "stroke-dasharray",
        "text-anchor",
    }
    | {"transform", "viewBox", "width", "x", "x1", "x2", "y", "y1", "y2"},
)
#: The space between a figure and its unit, where no line may break.
_UNIT: Final = re.compile(r"(?<=\d) (?=(?:%|ms|s|min|h|d|MB|KB)\b|%)")
#: What XML cannot hold; control characters of names are shown escaped long before.
_NOT_XML: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Markup(str):
    """Text that is markup already; only this module and its callers' own constants make it."""

    __slots__ = ()


Child: TypeAlias = "Markup | str | Iterable[Markup | str | None] | None"


def el(tag: str, *children: Child, **attributes: str | float | None) -> Markup:
    """`<tag attributes>children</tag>`; `class_`, `http_equiv` and so on stand for `class` and `http-equiv`; None is left out.

    Raises: ValueError for an attribute that is not known to be harmless.
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items() if value is not None)
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{fragment(*children)}</{tag}>")


def fragment(*children: Child) -> Markup:
    """Children one after the other."""
    return Markup("".join(_child(child) for child in children))


def escape(text: str) -> Markup:
    """Text as text."""
    return Markup(html.escape(_NOT_XML.sub("\ufffd", text), quote=True))


def name(value: str) -> Markup:
    """A name from a monitored server, isolated from the text around it."""
    return el("bdi", visible(value), class_="name")


def sentence(text: Text) -> Markup:
    """A sentence of ours with names in it."""
    return Markup(join(text, lambda ours: escape(_UNIT.sub("\u00a0", ours)), name, _said))


def number(value: float) -> str:
    """A coordinate with one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def _said(value: str) -> Markup:
    return el("bdi", spoken(value))


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return escape(child)
    return "".join(_child(one) for one in child)


def _attribute(name_: str, value: str | float | None) -> str:
    attribute = name_.removesuffix("_").replace("_", "-")
    if attribute not in _ATTRIBUTES:
        raise ValueError(f"`{attribute}` is not an attribute that reports use")
    text = number(value) if isinstance(value, float) else str(value)
    return f' {attribute}="{escape(text)}"'
