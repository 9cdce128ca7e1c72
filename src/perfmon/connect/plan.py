"""Decides what to write into which file. Pure: texts and wishes in, texts and their edits out.

A plan made twice over its own result has no edits. What stands in the way is refused with what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from perfmon.connect import entries, jsontext
from perfmon.connect.jsontext import NotJson, Pointer, Splice
from perfmon.http_access import HttpAccess

SERVERS: Final = "mcpServers"
EMPTY: Final = "{}\n"


class CannotConnect(ValueError):
    """Something stands in the way; nothing was written. The message says what, and what to do."""


class Edit(NamedTuple):
    """One value that was set: where, what was there (`had` False = nothing), what is there now. An `item` was appended to the
    array at the pointer. `made_parents` of the containers above it did not exist.
    """

    pointer: Pointer
    item: bool
    had: bool
    before: Any
    after: Any
    made_parents: int


@dataclass(slots=True)
class Draft:
    """A file on its way: `before` None = there is none."""

    path: str
    before: str | None
    text: str = ""
    edits: list[Edit] = field(default_factory=list)
    splices: list[Splice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.text = self.before if self.before is not None and self.before.strip() else EMPTY
        if self.before is not None and not self.before.strip():
            self.splices.append(Splice(0, self.before, EMPTY))
        self.value()

    def value(self) -> dict[str, Any]:
        """The object in the text as it is now. Raises: CannotConnect when there is none."""
        try:
            return jsontext.parse(self.text)[0]
        except NotJson as error:
            raise CannotConnect(f"{self.path} is not JSON that can be edited ({error}); nothing was written") from None

    def get(self, *pointer: str) -> Any:
        """The value there, or None."""
        try:
            return jsontext.value_at(self.value(), pointer)
        except KeyError:
            return None

    def set(self, pointer: Pointer, value: Any) -> None:
        """Set a member; nothing happens if it has that value."""
        whole = self.value()
        try:
            before, had = jsontext.value_at(whole, pointer), True
        except KeyError:
            before, had = None, False
        if had and before == value:
            return
        self._splice(pointer, value, Edit(pointer, False, had, before, value, _missing(whole, pointer)))

    def append(self, pointer: Pointer, value: Any) -> None:
        """Append to the array at the pointer, made where it is missing."""
        whole = self.value()
        try:
            found = jsontext.value_at(whole, pointer)
        except KeyError:
            edit = Edit(pointer, True, False, None, value, 1 + _missing(whole, pointer))
            self._splice(pointer, [value], edit)
            return
        if not isinstance(found, list):
            raise CannotConnect(f"{_shown(pointer)} in {self.path} is not a list; nothing was written")
        self._splice((*pointer, len(found)), value, Edit(pointer, True, False, None, value, 0))

    def _splice(self, pointer: Pointer, value: Any, edit: Edit) -> None:
        try:
            splice = jsontext.put(self.text, pointer, value)
        except KeyError:
            text = (
                f"{_shown(pointer)} in {self.path} leads through something that is not an object; nothing was written"
            )
            raise CannotConnect(text) from None
        self.text = splice.apply(self.text)
        self.splices.append(splice)
        self.edits.append(edit)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to connect.

    command: how to run us, absolute. data_dir: written into the entries when it was given explicitly. wrap: the servers to
    wrap; None = all that can be.
    """

    command: Sequence[str]
    access: HttpAccess
    data_dir: str | None = None
    wrap: Sequence[str] | None = ()


class ServerPlace(NamedTuple):
    """A map of servers in a draft, and what Claude Code calls its scope."""

    draft: Draft
    pointer: tuple[str, ...]
    scope: str


@dataclass(slots=True)
class Plan:
    """The drafts, and what to tell beside their differences."""

    drafts: list[Draft]
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> list[Draft]:
        """The drafts that differ from their files."""
        return [draft for draft in self.drafts if draft.edits]


def make_plan(wishes: Wishes, *, servers: Sequence[ServerPlace], settings: Draft, elsewhere: object = None) -> Plan:
    """What to write. Our server goes to the last of the places, which come in the order in which Claude Code prefers them.
    `elsewhere` holds the user's servers when a project is connected.

    Raises: CannotConnect.
    """
    plan = Plan(_unique([place.draft for place in servers] + [settings]))
    _add_server(wishes, servers, plan)
    _add_hooks(wishes, settings, plan)
    _wrap(wishes, servers, plan, elsewhere)
    return plan


def _add_server(wishes: Wishes, servers: Sequence[ServerPlace], plan: Plan) -> None:
    wanted = entries.server_entry(list(wishes.command), wishes.data_dir)
    for place in servers:
        for name, entry in _servers(place).items():
            if name != entries.SERVER_NAME and entries.is_ours(entry):
                plan.notes.append(f"our server is there already, as {name} ({place.scope}); it is left as it is")
                return
    home = servers[-1]
    found = _servers(home).get(entries.SERVER_NAME)
    if found is not None and not entries.is_ours(found):
        raise CannotConnect(
            f"{home.draft.path} has another server named {entries.SERVER_NAME}; rename it first. Nothing was written"
        )
    home.draft.set((*home.pointer, entries.SERVER_NAME), wanted)


def _add_hooks(wishes: Wishes, settings: Draft, plan: Plan) -> None:
    group = entries.hook_group(wishes.access.hook_url)
    for event in entries.HOOK_EVENTS:
        groups = settings.get("hooks", event)
        index = entries.our_hook_index(groups)
        if index is None:
            settings.append(("hooks", event), group)
        else:
            settings.set(("hooks", event, index), group)
    if settings.get("disableAllHooks") is True:
        plan.notes.append(f"hooks are switched off by disableAllHooks in {settings.path}")
    allowed = settings.get("allowedHttpHookUrls")
    if isinstance(allowed, list) and not any(_covers(one, wishes.access.hook_url) for one in allowed):
        plan.notes.append(
            f"add {wishes.access.base_url}/* to allowedHttpHookUrls in {settings.path}, or the hooks are blocked"
        )


def _wrap(wishes: Wishes, servers: Sequence[ServerPlace], plan: Plan, elsewhere: object) -> None:
    where: dict[str, ServerPlace] = {}
    for place in servers:
        for name in _servers(place):
            where.setdefault(name, place)
    every = wishes.wrap is None
    for name in where if wishes.wrap is None else dict.fromkeys(wishes.wrap):
        if name not in where and isinstance(elsewhere, dict) and name in elsewhere:
            raise CannotConnect(f"{name} is a server of all your projects: wrap it with --user. Nothing was written")
        if name not in where:
            raise CannotConnect(
                f"there is no server {name!r} to wrap{_nearest(name, _others(where))}. Nothing was written"
            )
        place = where[name]
        entry = _servers(place)[name]
        if entries.is_ours(entry):
            if not every:
                raise CannotConnect(f"{name} is our own server, which watches the others. Nothing was written")
        elif entries.is_wrapped(entry):
            if not every:
                plan.notes.append(f"{name} is wrapped already")
        else:
            _wrap_one(wishes, place, name, plan, every=every)


def _wrap_one(wishes: Wishes, place: ServerPlace, name: str, plan: Plan, *, every: bool) -> None:
    entry = _servers(place)[name]
    try:
        command, arguments = entries.wrapped(name, entry, list(wishes.command), wishes.data_dir)
    except entries.CannotWrap as error:
        if not every:
            raise CannotConnect(f"{error}. Nothing was written") from None
        plan.notes.append(str(error))
        return
    place.draft.set((*place.pointer, name, "command"), command)
    place.draft.set((*place.pointer, name, "args"), arguments)


def _servers(place: ServerPlace) -> dict[str, Any]:
    found = place.draft.get(*place.pointer)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise CannotConnect(f"{_shown(place.pointer)} in {place.draft.path} is not an object; nothing was written")
    return {name: entry if isinstance(entry, dict) else {} for name, entry in found.items()}


def _missing(whole: Any, pointer: Pointer) -> int:
    """How many containers above the pointer's last step are not there."""
    for length in range(len(pointer) - 1, -1, -1):
        try:
            jsontext.value_at(whole, pointer[:length])
        except KeyError:
            continue
        return len(pointer) - 1 - length
    return len(pointer) - 1


def _others(where: Mapping[str, ServerPlace]) -> list[str]:
    """The servers that are not our own, by name."""
    return [name for name, place in where.items() if not entries.is_ours(_servers(place)[name])]


def _nearest(name: str, known: Sequence[str]) -> str:
    if not known:
        return ": there are no servers here"
    near = difflib.get_close_matches(name, known, n=1)
    meant = f': did you mean "{near[0]}"?' if near else ""
    return f"{meant} (servers: {', '.join(known)})"


def _covers(pattern: object, url: str) -> bool:
    return isinstance(pattern, str) and url.startswith(pattern.split("*", 1)[0])


def _shown(pointer: Iterable[str | int]) -> str:
    return ".".join(str(step) for step in pointer)


def _unique(drafts: list[Draft]) -> list[Draft]:
    return list({draft.path: draft for draft in drafts}.values())
