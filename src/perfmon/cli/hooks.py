"""Whether Claude Code's hooks reach the gateway: the addresses in its settings beside the gateway's port and token.

A hook that posts to where nobody listens fails in silence, so this is said by `doctor`, `up` and `run`. Looks only, and never
shows a token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from perfmon.connect.entries import our_hook_urls
from perfmon.connect.places import project_places, user_places
from perfmon.http_access import HOOK_PATH, HttpAccess, load, own_ports
from perfmon.paths import WORKSPACE_DIRECTORY, DataDirectory, user_data_directory
from perfmon.pipeline.report import Check
from perfmon.private_file import MAX_FILE_BYTES

_NAME: Final = "hooks"


class Hook(NamedTuple):
    """Where a hook of ours posts; `command` connects it again."""

    file: Path
    port: int | None
    token: str
    command: str


def check_hooks(data: DataDirectory, project: Path | None = None) -> Check:
    """The hooks of the project (the working directory, and the workspace of the data directory) and of the user post to the
    gateway of this data directory, or to that of the user's own.
    """
    hooks = _hooks(data, project or Path.cwd())
    if not hooks:
        return Check(_NAME, "ok", "Claude Code has none that post here")
    access = load(data)
    known = [found for found in (access, load(DataDirectory(user_data_directory().resolve()))) if found is not None]
    for hook in hooks:
        if not any((hook.port, hook.token) == (found.port, found.token) for found in known):
            return Check(_NAME, "problem", *_wrong(hook, access))
    return Check(_NAME, "ok", f"they post to port {', '.join(sorted({str(hook.port) for hook in hooks}))}")


def notes_of(data: DataDirectory) -> list[str]:
    """What a person who starts a pipeline must know of its port: that it moved, and that hooks post elsewhere."""
    access = load(data)
    notes = []
    if access is not None and access.left_port is not None:
        notes.append(
            f"HTTP is on port {access.port}, for {access.left_port} is taken; it goes back at a start that finds it free"
        )
    elif access is not None and access.port in own_ports(data):
        notes.append(f"HTTP is on port {access.port}, this data directory's own, for the usual one was taken")
    check = check_hooks(data)
    return notes if check.verdict == "ok" else [*notes, f"{check.found}: {check.advice}"]


def _wrong(hook: Hook, access: HttpAccess | None) -> tuple[str, str]:
    posts = f"Claude Code's hooks post to port {hook.port}"
    if access is None:
        found = f"{posts}, and no gateway has run on this data directory"
    elif hook.port != access.port:
        found = f"{posts}, the gateway listens on {access.port}"
    else:
        found = f"{posts} with another token than the gateway's"
    return f"{found} ({hook.file})", f"run `{hook.command}` again"


def _hooks(data: DataDirectory, project: Path) -> list[Hook]:
    projects = [project.resolve()]
    if data.root.name == WORKSPACE_DIRECTORY and data.root.parent not in projects:
        projects.append(data.root.parent)
    files = {user_places().settings: "perfmon connect claude-code --user"}
    for folder in projects:
        local = project_places(folder).settings
        for file in (local, local.with_name("settings.json")):
            files.setdefault(file, "perfmon connect claude-code")
    return [_hook(file, url, command) for file, command in files.items() for url in our_hook_urls(_read(file))]


def _hook(file: Path, url: str, command: str) -> Hook:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    return Hook(file, port, parts.path.removeprefix(HOOK_PATH), command)


def _read(path: Path) -> Any:
    """The JSON in a settings file, also behind a link; None when there is none. A pipe is not waited for."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return json.loads(file.read(MAX_FILE_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
