"""What our entries in Claude Code's files look like, and how to know them again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import urlsplit

from perfmon.http_access import HOOK_PATH
from perfmon.paths import DATA_DIRECTORY_VARIABLE

#: Under which our server is added.
SERVER_NAME: Final = "perfmon"
#: The hook events that carry a finished tool call.
HOOK_EVENTS: Final = ("PostToolUse", "PostToolUseFailure")
#: Tools of MCP servers alone.
HOOK_MATCHER: Final = "mcp__.*"
#: Seconds after which Claude Code goes on without our answer; its own default is 600.
HOOK_TIMEOUT_S: Final = 2
_OUR_COMMANDS: Final = frozenset({"perfmon", "performance-monitor-mcp"})

Entry = dict[str, Any]


class CannotWrap(ValueError):
    """A server that the proxy cannot stand before; the message says why and what to do."""


def server_entry(command: list[str], data_dir: str | None) -> Entry:
    """Our own server: `perfmon mcp` by absolute path."""
    entry: Entry = {"type": "stdio", "command": command[0], "args": [*command[1:], "mcp"]}
    if data_dir is not None:
        entry["env"] = {DATA_DIRECTORY_VARIABLE: data_dir}
    return entry


def hook_group(url: str) -> Entry:
    """One hook: every finished MCP tool call goes to the gateway."""
    return {"matcher": HOOK_MATCHER, "hooks": [{"type": "http", "url": url, "timeout": HOOK_TIMEOUT_S}]}


def wrapped(name: str, entry: Entry, command: list[str], data_dir: str | None) -> tuple[str, list[str]]:
    """The command and arguments that run the same server behind the proxy.

    Raises: CannotWrap.
    """
    if "command" not in entry:
        kind = entry.get("type", "http" if "url" in entry else "odd")
        raise CannotWrap(
            f"{name} is a server of type {kind}: only stdio servers can be wrapped; the hooks see its calls"
        )
    original, arguments = entry["command"], entry.get("args", [])
    if not isinstance(original, str) or not original:
        raise CannotWrap(f"the command of {name} is not a text")
    if not isinstance(arguments, list) or not all(isinstance(argument, str) for argument in arguments):
        raise CannotWrap(f"the args of {name} are not a list of texts")
    place = [] if data_dir is None else ["--data", data_dir]
    return command[0], [*command[1:], "wrap", "--name", name, *place, "--", original, *arguments]


def is_ours(entry: object) -> bool:
    """Whether a server is this product's own."""
    words = _words(entry)
    if not words:
        return False
    if PurePath(words[0]).name == "performance-monitor-mcp" or "performance-monitor-mcp" in words[1:]:
        return not is_wrapped(entry)
    return words[-1] == "mcp" and (PurePath(words[0]).name in _OUR_COMMANDS or "perfmon.cli" in words)


def is_wrapped(entry: object) -> bool:
    """Whether a server stands behind the proxy already."""
    words = _words(entry)
    if len(words) < 2:
        return False
    direct = PurePath(words[0]).name in _OUR_COMMANDS and words[1] == "wrap"
    return direct or "perfmon.wrap" in words[1:5] or ("perfmon.cli" in words[1:5] and "wrap" in words[1:6])


def our_hook_index(groups: object) -> int | None:
    """Where in an event's list our hook is, whatever its port and token."""
    for index, group in enumerate(groups if isinstance(groups, list) else ()):
        hooks = group.get("hooks") if isinstance(group, Mapping) else None
        if isinstance(hooks, list) and len(hooks) == 1 and _is_our_url(hooks[0]):
            return index
    return None


def our_hook_urls(settings: object) -> list[str]:
    """Every address of ours that a settings file has its hooks post to, in its order."""
    events = settings.get("hooks") if isinstance(settings, Mapping) else None
    groups = [group for found in _values(events) if isinstance(found, list) for group in found]
    lists = [group.get("hooks") for group in groups if isinstance(group, Mapping)]
    return [hook["url"] for hooks in lists if isinstance(hooks, list) for hook in hooks if _is_our_url(hook)]


def _values(found: object) -> list[object]:
    return list(found.values()) if isinstance(found, Mapping) else []


def _is_our_url(hook: object) -> bool:
    if not isinstance(hook, Mapping) or hook.get("type") != "http" or not isinstance(hook.get("url"), str):
        return False
    try:
        return urlsplit(hook["url"]).path.startswith(HOOK_PATH)
    except ValueError:
        return False


def _words(entry: object) -> list[str]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("command"), str):
        return []
    arguments = entry.get("args")
    return [entry["command"], *(str(word) for word in (arguments if isinstance(arguments, list) else []))]
