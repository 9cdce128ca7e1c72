"""`config/thresholds.json`: the view of the thresholds that a person may edit.

The database is the truth and the file its view, with one exception: a file that is not what we wrote was edited, and is then
read, strictly and as a whole. A good one replaces all thresholds that users set; a bad one is kept aside with the reason in
the log and written anew. We know our own files by their digests, which are kept in the database: the one in force before a
change too, because a crash may come between the database and the file. A missing file is written again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import structlog

from services.alerter.core.threshold_input import FIELDS, BadThreshold, parse_threshold
from services.alerter.core.thresholds import DEFAULTS, Threshold
from services.alerter.core.views import threshold_view
from shared.store.atomic import write_atomic
from shared.timespan import BadTime, iso, parse_iso

FILE_NAME: Final = "thresholds.json"
#: A file of thresholds larger than this is not one.
MAX_FILE_BYTES: Final = 16 * 1024 * 1024
_VERSION: Final = "1.0.0"
_OURS: Final = ("thresholdId", "unit", "set")


class ThresholdsFile:
    """digests: of the file that we are about to write, and of the one that is there until then."""

    def __init__(self, config: Path) -> None:
        self.path = config / FILE_NAME
        self.digests: list[str] = []
        self._seen: tuple[int, int, int] | None = None
        self._on_disk: str | None = None
        self._log = structlog.get_logger()

    def edited(self, now_ms: int) -> tuple[Threshold, ...] | None:
        """The thresholds that a person wrote since we last wrote or looked; None when nobody did or they are no good."""
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return None
        self._seen = stamp
        data = self._read()
        if data is None:
            return None
        self._on_disk = _digest(data)
        if self._on_disk in self.digests:
            return None
        try:
            found = parse_file(data, now_ms)
        except BadThreshold as error:
            self._set_aside(str(error))
            return None
        self._log.info("thresholds_edited", thresholds=len(found))
        return found

    def missing(self) -> bool:
        """Whether the file is to be written again."""
        return self._stamp() is None

    def render(self, chosen: Iterable[Threshold], now_ms: int) -> bytes:
        """The file's bytes; their digest is kept, so save `digests` before writing them."""
        body = {
            "version": _VERSION,
            "lastUpdated": iso(now_ms),
            "thresholds": [threshold_view(threshold) for threshold in chosen],
            "defaults": [threshold_view(threshold) for threshold in DEFAULTS],
        }
        data = json.dumps(body, ensure_ascii=False, allow_nan=False, indent=2).encode() + b"\n"
        self.digests = [_digest(data), *([self._on_disk] if self._on_disk else [])]
        return data

    def write(self, data: bytes) -> None:
        """Raises: OSError."""
        write_atomic(self.path, data)
        self._seen, self._on_disk = self._stamp(), _digest(data)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.lstat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> bytes | None:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                return file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            self._set_aside(f"cannot be read: {error.strerror}")
            return None

    def _set_aside(self, reason: str) -> None:
        number = 1
        while (aside := self.path.with_name(f"{FILE_NAME}.unusable-{number}")).exists():
            number += 1
        try:
            self.path.rename(aside)
        except OSError as error:
            reason += f"; and could not be kept aside: {error.strerror}"
        self._log.error("thresholds_file_refused", reason=reason, kept_as=aside.name)


def parse_file(data: bytes, now_ms: int) -> tuple[Threshold, ...]:
    """The thresholds of a file; its `defaults` are for reading only.

    Raises: BadThreshold naming the entry.
    """
    if len(data) > MAX_FILE_BYTES:
        raise BadThreshold("file", f"at most {MAX_FILE_BYTES} bytes")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadThreshold("file", "not JSON") from error
    entries = body.get("thresholds") if isinstance(body, dict) else None
    if not isinstance(entries, list):
        raise BadThreshold("thresholds", "a list of thresholds in an object")
    found: dict[Any, Threshold] = {}
    for place, raw in enumerate(entries):
        try:
            threshold = _entry(raw, now_ms)
        except BadThreshold as error:
            raise BadThreshold(f"thresholds[{place}].{error.field}", str(error)) from error
        if threshold.key in found:
            raise BadThreshold(f"thresholds[{place}]", "a second one of this metric, severity and scope")
        found[threshold.key] = threshold
    return tuple(found.values())


def _entry(raw: object, now_ms: int) -> Threshold:
    if not isinstance(raw, dict):
        raise BadThreshold("entry", f"an object with {', '.join(FIELDS)}")
    set_ms = now_ms
    if isinstance(raw.get("set"), str):
        try:
            set_ms = parse_iso(raw["set"])
        except BadTime as error:
            raise BadThreshold("set", str(error)) from error
    return parse_threshold({name: value for name, value in raw.items() if name not in _OURS}, set_ms)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
