"""Remembers what was written where, so that it can be undone: `connect/claude-code.json` in the user's config directory.

Holds what was replaced and what replaced it (0600: among it the hook's token), never whole files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from perfmon.connect.jsontext import Splice
from perfmon.connect.plan import CannotConnect, Draft, Edit
from perfmon.paths import private_directory, user_config_directory
from perfmon.private_file import read_private, write_whole

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One file, written once. `after_sha256` tells whether it is still as we left it; `splices` then undo it letter by letter."""

    scope: str
    path: str
    existed: bool
    made_directory: bool
    after_sha256: str
    edits: tuple[Edit, ...]
    splices: tuple[Splice, ...]


def record_of(draft: Draft, scope: str, *, made_directory: bool) -> Record:
    """What to remember of a draft that is about to be written."""
    return Record(
        scope,
        draft.path,
        draft.before is not None,
        made_directory,
        sha256(draft.text),
        tuple(draft.edits),
        tuple(draft.splices),
    )


def sha256(text: str) -> str:
    """The digest of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def load() -> list[Record]:
    """All records, oldest first.

    Raises: CannotConnect when the file is there but is not ours or not to be understood.
    """
    path = _file()
    raw = read_private(path)
    if raw is None:
        if path.exists():
            raise CannotConnect(f"{path} is not a private file of yours; nothing was done")
        return []
    try:
        body = json.loads(raw)
        if body["version"] != VERSION:
            raise CannotConnect(f"{path} was written by another version of perfmon; nothing was done")
        return [_decode(one) for one in body["records"]]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, CannotConnect):
            raise
        raise CannotConnect(f"{path} cannot be understood; nothing was done") from error


def save(records: list[Record]) -> None:
    """Replace all records; without any the file goes.

    Raises: OSError.
    """
    path = _file()
    if not records:
        path.unlink(missing_ok=True)
        return
    private_directory(path.parents[1])
    private_directory(path.parent)
    body = {"version": VERSION, "records": [_encode(record) for record in records]}
    write_whole(path, (json.dumps(body, ensure_ascii=False, indent=1) + "\n").encode())


def _file() -> Path:
    return user_config_directory() / "connect" / "claude-code.json"


def _encode(record: Record) -> dict[str, Any]:
    return {
        "scope": record.scope,
        "path": record.path,
        "existed": record.existed,
        "madeDirectory": record.made_directory,
        "afterSha256": record.after_sha256,
        "edits": [edit._asdict() for edit in record.edits],
        "splices": [list(splice) for splice in record.splices],
    }


def _decode(body: Mapping[str, Any]) -> Record:
    edits = tuple(Edit(**{**edit, "pointer": tuple(edit["pointer"])}) for edit in body["edits"])
    splices = tuple(Splice(int(start), str(removed), str(inserted)) for start, removed, inserted in body["splices"])
    return Record(
        str(body["scope"]),
        str(body["path"]),
        bool(body["existed"]),
        bool(body["madeDirectory"]),
        str(body["afterSha256"]),
        edits,
        splices,
    )
