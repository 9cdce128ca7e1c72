"""What happened, and to whom, as words that sentences are made of. Names are quoted and escaped."""

from __future__ import annotations

from services.detector.core.events import Event
from services.detector.core.metrics import ERROR_RATE_SPIKE, RESOURCE_LEAK, RESOURCE_SPIKE, THROUGHPUT_CHANGE
from services.detector.core.telling.words import WORDS, counted, quoted
from shared.names import ALL_TOOLS


def is_of_server(event: Event) -> bool:
    """Whether it is about all tools of its server together."""
    return event.evidence.get("scope") == "server"


def who(event: Event) -> str:
    """Whose calls an event is about: `“tool” of “server”`."""
    if not is_of_server(event):
        return f"{quoted(event.tool)} of {quoted(event.server)}"
    tools = event.evidence.get("toolsAffected")
    return f"{counted(tools, 'tool') if type(tools) is int else 'tools'} of {quoted(event.server)}"


def tool_name(event: Event) -> str:
    """The tool that an event is listed under."""
    return ALL_TOOLS if is_of_server(event) else event.tool


def concerns_tool(event: Event, tool: str | None) -> bool:
    """Whether an event is about a tool (None: any), be it as one of those that fail together."""
    if tool is None or not is_of_server(event):
        return tool in (None, event.tool)
    together = event.evidence.get("tools")
    return any(one.get("tool") == tool for one in together or () if isinstance(one, dict))


def happened(event: Event, whose: str) -> str:
    """What happened to whom: `memory of “tool” grew`, `“tool” became slow`."""
    if event.type in (RESOURCE_LEAK, RESOURCE_SPIKE):
        verb = "fell" if event.direction == "below" else "grew" if event.type == RESOURCE_LEAK else "rose"
        return f"{WORDS.get(event.metric, event.metric)} of {whose} {verb}"
    return f"{'calls of ' if event.type == THROUGHPUT_CHANGE else ''}{whose} {effect_words(event)}"


def effect_words(event: Event) -> str:
    """What happened to the calls of a tool: `became slow`."""
    if event.type == ERROR_RATE_SPIKE:
        return "failed from its first calls on" if event.since_first else "began to fail"
    if event.type == THROUGHPUT_CHANGE:
        return "stopped" if event.value == 0 else "fell" if event.value < event.median else "rose"
    if event.type in (RESOURCE_LEAK, RESOURCE_SPIKE):
        verb = "fell" if event.direction == "below" else "grew" if event.type == RESOURCE_LEAK else "rose"
        return f"{verb} in {WORDS.get(event.metric, event.metric)}"
    return "became fast" if event.direction == "below" else "became slow"
