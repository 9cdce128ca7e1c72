"""Reads Claude Code's files, writes a plan into them, and takes it out again.

A file is replaced whole or not at all, through links to where it really is, with the mode it had. What has changed since it was
read is not overwritten. The manifest is written before the files: what it says of a file that was never written is found to be
not there, and passed over.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from perfmon.connect import jsontext, manifest
from perfmon.connect.jsontext import NotJson, Pointer
from perfmon.connect.manifest import Record
from perfmon.connect.places import Places
from perfmon.connect.plan import SERVERS, CannotConnect, Draft, Edit, Plan, ServerPlace, Wishes, make_plan
from perfmon.private_file import MAX_FILE_BYTES, write_whole

#: Modes of new files: servers are no secret, the hook's address is.
PUBLIC_MODE: Final = 0o644
PRIVATE_MODE: Final = 0o600


class Undone(NamedTuple):
    """What undoing would do to a file: `after` None = it goes; `left` names what was changed since and stays."""

    path: str
    before: str
    after: str | None
    left: tuple[str, ...]


def read_plan(places: Places, wishes: Wishes) -> Plan:
    """What to write for these places, from their files as they are now.

    Raises: CannotConnect.
    """
    manifest.load()  # what could not be remembered must not be written
    settings = draft_of(places.settings)
    home = draft_of(places.servers)
    if places.project is None:
        return make_plan(wishes, servers=[ServerPlace(home, (SERVERS,), "user")], settings=settings)
    user = draft_of(places.user_servers)
    local = ServerPlace(user, ("projects", str(places.project), SERVERS), "local")
    servers = [local, ServerPlace(home, (SERVERS,), "project")]
    return make_plan(wishes, servers=servers, settings=settings, elsewhere=user.get(SERVERS))


def draft_of(path: Path) -> Draft:
    """A file as it is.

    Raises: CannotConnect when it cannot be read or is not ours to change.
    """
    return Draft(str(path), _read(path))


def write_plan(plan: Plan, places: Places) -> None:
    """Write what changed.

    Raises: CannotConnect when a file changed meanwhile, OSError.
    """
    changed = plan.changed
    for draft in changed:
        if _read(Path(draft.path)) != draft.before:
            raise CannotConnect(f"{draft.path} changed while you decided; run it again. Nothing was written")
    made = {draft.path: not Path(draft.path).parent.exists() for draft in changed}
    records = [manifest.record_of(draft, places.scope, made_directory=made[draft.path]) for draft in changed]
    before = manifest.load()
    manifest.save(before + records)
    written: list[Draft] = []
    try:
        for draft in changed:
            path = Path(draft.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, draft.text, new_mode=PUBLIC_MODE if path.name == ".mcp.json" else PRIVATE_MODE)
            written.append(draft)
    except OSError:
        _put_back(written)
        manifest.save(before)
        raise


def plan_undo(places: Places) -> list[Undone]:
    """What undoing everything that was written for these places would do, newest first.

    Raises: CannotConnect.
    """
    texts: dict[str, str | None] = {}
    originals: dict[str, str] = {}
    left: dict[str, list[str]] = {}
    for record in reversed(_records(places)):
        if record.path not in texts:
            text = _read(Path(record.path))
            if text is None:
                continue
            texts[record.path] = originals[record.path] = text
            left[record.path] = []
        text = texts[record.path]
        if text is not None:
            texts[record.path] = _undo_record(record, text, left[record.path])
    return [Undone(path, originals[path], texts[path], tuple(left[path])) for path in texts]


def write_undo(undone: list[Undone], places: Places) -> None:
    """Write what `plan_undo` found, and forget it.

    Raises: CannotConnect when a file changed meanwhile, OSError.
    """
    for one in undone:
        if _read(Path(one.path)) != one.before:
            raise CannotConnect(f"{one.path} changed while you decided; run it again. Nothing was written")
    made_directories = {Path(record.path).parent for record in _records(places) if record.made_directory}
    for one in undone:
        path = Path(one.path)
        if one.after is None:
            path.unlink()
            if path.parent in made_directories and not any(path.parent.iterdir()):
                path.parent.rmdir()
        elif one.after != one.before:
            _write(path, one.after, new_mode=PRIVATE_MODE)
    manifest.save([record for record in manifest.load() if record.scope != places.scope])


def _put_back(drafts: list[Draft]) -> None:
    for draft in drafts:
        if draft.before is None:
            Path(draft.path).unlink()
        else:
            _write(Path(draft.path), draft.before, new_mode=PRIVATE_MODE)


def _records(places: Places) -> list[Record]:
    return [record for record in manifest.load() if record.scope == places.scope]


def _undo_record(record: Record, text: str, left: list[str]) -> str | None:
    if manifest.sha256(text) == record.after_sha256:
        for splice in reversed(record.splices):
            text = splice.undo(text)
        return text if record.existed else None
    try:
        for group in _together(record.edits):
            text = _undo_edits(group, text, left)
        empty = not jsontext.parse(text)[0]
    except NotJson as error:
        raise CannotConnect(f"{record.path} is not JSON that can be edited ({error}); nothing was written") from None
    return None if empty and not record.existed else text


def _together(edits: tuple[Edit, ...]) -> list[list[Edit]]:
    """The edits, newest first; a server's command and arguments are undone together or not at all."""
    groups: dict[Pointer, list[Edit]] = {}
    for edit in reversed(edits):
        is_part = not edit.item and edit.pointer[-1] in ("command", "args")
        groups.setdefault(edit.pointer[:-1] if is_part else (*edit.pointer, "*"), []).append(edit)
    return list(groups.values())


def _undo_edits(edits: list[Edit], text: str, left: list[str]) -> str:
    where = [_place_of(edit, text) for edit in edits]
    if all(place is None for place in where):
        return text  # taken out by hand
    if any(place is None for place in where):
        left.append(".".join(str(step) for step in edits[0].pointer[:-1]))
        return text
    for edit in edits:
        pointer = _place_of(edit, text)
        if pointer is None:
            continue
        if jsontext.value_at(jsontext.parse(text)[0], pointer) != edit.after:
            left.append(".".join(str(step) for step in edit.pointer))
            return text
    for edit in edits:
        pointer = _place_of(edit, text)
        if pointer is not None:
            text = _undo_edit(edit, pointer, text)
    return text


def _place_of(edit: Edit, text: str) -> Pointer | None:
    """Where the edited value is now; an item of a list may have moved."""
    value = jsontext.parse(text)[0]
    try:
        found = jsontext.value_at(value, edit.pointer)
    except KeyError:
        return None
    if not edit.item:
        return edit.pointer
    if not isinstance(found, list) or edit.after not in found:
        return None
    return (*edit.pointer, found.index(edit.after))


def _undo_edit(edit: Edit, pointer: Pointer, text: str) -> str:
    if edit.had:
        return jsontext.put(text, pointer, edit.before).apply(text)
    text = jsontext.drop(text, pointer).apply(text)
    parent = pointer[:-1]
    for _ in range(edit.made_parents):
        if jsontext.value_at(jsontext.parse(text)[0], parent):
            break
        text = jsontext.drop(text, parent).apply(text)
        parent = parent[:-1]
    return text


def _read(path: Path) -> str | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise CannotConnect(f"{path} is a link to nothing; nothing was written") from None
        return None
    except OSError as error:
        raise CannotConnect(f"{path} cannot be read: {error.strerror}; nothing was written") from error
    if not stat.S_ISREG(found.st_mode):
        raise CannotConnect(f"{path} is not a file; nothing was written")
    if found.st_uid != os.geteuid():
        raise CannotConnect(f"{path} belongs to another user; nothing was written")
    if found.st_size > MAX_FILE_BYTES:
        raise CannotConnect(f"{path} is larger than {MAX_FILE_BYTES} bytes; nothing was written")
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise CannotConnect(f"{path} cannot be read: {error.strerror}; nothing was written") from error
    except UnicodeDecodeError:
        raise CannotConnect(f"{path} is not UTF-8; nothing was written") from None


def _write(path: Path, text: str, *, new_mode: int) -> None:
    target = path.resolve()
    try:
        mode = stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        mode = new_mode
    write_whole(target, text.encode(), mode=mode)
