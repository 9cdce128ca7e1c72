"""Where people are told: `notifications.toml` in the user's own config directory, and nowhere else.

It names a command and addresses, so it is never read from the data directory (which may have come with someone's clone), and only
when it belongs to the user and nobody else can write it. A webhook's URL is a secret: it is in no log, answer or state file.

    [communications]                       # the communications-mcp server, started over stdio when there is something to tell
    command = "npx"
    args = ["-y", "communications-mcp"]
    env = { SMTP_HOST = "…", SMTP_PASSWORD = "…" }

    [[channel]]
    type = "google_chat"                   # webhook_url = "https://chat.googleapis.com/…", or space = "spaces/…"
    webhook_url = "https://…"

    [[channel]]
    type = "email"
    to = "oncall@example.com"
    via = "smtp"                           # or "gmail"; min_severity is "critical" unless named
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.alerter.core.messages import Message, Style
from services.alerter.core.model import Severity
from services.alerter.core.outbox import ChannelRule
from shared.names import shown

FILE_NAME: Final = "notifications.toml"
#: Longest time for one start of the server and the messages it is handed at once.
DEFAULT_TIMEOUT_S: Final = 60.0
MAX_FILE_BYTES: Final = 1024 * 1024

_URL = re.compile(r"(https?://[^/\s\"'?#]+)[^\s\"']*", re.IGNORECASE)


class ChannelsError(ValueError):
    """The file cannot be used; the message says why and what to do, without any of its values."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Communications(_Strict):
    """How the communications-mcp server is started. Environment: these variables on top of the MCP defaults."""

    command: str = Field(min_length=1)
    args: list[str] = Field(default_factory=list)
    env: dict[str, str] = Field(default_factory=dict)
    cwd: str | None = None
    timeout_s: float = Field(DEFAULT_TIMEOUT_S, gt=0, le=600)


class _Channel(_Strict):
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    min_severity: Severity = Severity.WARNING
    enabled: bool = True


class GoogleChat(_Channel):
    """A space, by its webhook or by its id."""

    type: Literal["google_chat"]
    webhook_url: str | None = Field(None, pattern=r"^https?://\S+$")
    space: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one_address(self) -> GoogleChat:
        if (self.webhook_url is None) == (self.space is None):
            raise ValueError("either webhook_url or space")
        return self


class Email(_Channel):
    """Mail to one or more addresses separated by commas."""

    type: Literal["email"]
    to: str = Field(min_length=3, pattern=r"^[^\r\n]+$")
    cc: str | None = Field(None, pattern=r"^[^\r\n]+$")
    via: Literal["smtp", "gmail"] = "smtp"
    min_severity: Severity = Severity.CRITICAL


Channel = GoogleChat | Email


class _File(_Strict):
    communications: Communications | None = None
    channel: list[Annotated[Channel, Field(discriminator="type")]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _has_server(self) -> _File:
        if self.channel and self.communications is None:
            raise ValueError("channels need [communications], the server that carries them")
        return self


class Call(NamedTuple):
    """One call of a tool of communications-mcp."""

    tool: str
    arguments: dict[str, Any]


class Channels(NamedTuple):
    """The channels by name, and the server that carries them."""

    communications: Communications | None
    by_name: dict[str, Channel]

    def rules(self) -> list[ChannelRule]:
        """What the core is to know of them."""
        return [ChannelRule(name, style_of(channel), channel.min_severity) for name, channel in self.by_name.items()]

    def secrets(self) -> list[str]:
        """Texts that must appear in no log, longest first."""
        found = list(self.communications.env.values()) if self.communications else []
        found += [c.webhook_url for c in self.by_name.values() if isinstance(c, GoogleChat) and c.webhook_url]
        return sorted({text for text in found if len(text) >= 4}, key=len, reverse=True)


NONE: Final = Channels(None, {})


def load_channels(folder: Path) -> Channels:
    """The channels of a config directory; none when there is no file.

    Raises: ChannelsError.
    """
    data = _read(folder / FILE_NAME)
    if data is None:
        return NONE
    try:
        parsed = _File.model_validate(tomllib.loads(data.decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ChannelsError(f"{FILE_NAME} is not TOML: {type(error).__name__}") from error
    except ValidationError as error:
        raise ChannelsError(f"{FILE_NAME}: {_what_is_wrong(error)}") from error
    return Channels(parsed.communications, _named([channel for channel in parsed.channel if channel.enabled]))


def stamp_of(folder: Path) -> tuple[int, ...] | None:
    """What changes when the file is edited, made safe or taken away; None when there is none."""
    try:
        found = (folder / FILE_NAME).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode, found.st_uid


def style_of(channel: Channel) -> Style:
    """How a channel shows text: a mail through Gmail is HTML, one through SMTP is plain."""
    if isinstance(channel, GoogleChat):
        return Style.CHAT
    return Style.HTML if channel.via == "gmail" else Style.PLAIN


def call_for(channel: Channel, message: Message) -> Call:
    """The tool of communications-mcp that sends a message to a channel, with its arguments."""
    if isinstance(channel, GoogleChat):
        if channel.webhook_url is not None:
            body = {"webhookUrl": channel.webhook_url, "message": message.body}
            return Call("send_google_chat_webhook", body)
        return Call("send_google_chat_message", {"space": channel.space, "message": message.body})
    mail: dict[str, Any] = {"to": channel.to, "subject": message.subject, "body": message.body}
    if channel.cc:
        mail["cc"] = channel.cc
    if channel.via == "gmail":
        return Call("send_email_gmail", mail)
    return Call("send_email_smtp", {**mail, "isHtml": False})


def redacted(text: str, secrets: list[str]) -> str:
    """An error from outside as it may be shown: no secret, no more of a URL than its host, one line."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return shown(_URL.sub(r"\1/…", text))


def _named(channels: list[Channel]) -> dict[str, Channel]:
    """Names are the user's, else the type and a number: `email`, `email-2`."""
    named: dict[str, Channel] = {}
    for channel in channels:
        name, number = channel.name or channel.type, 1
        while name in named:
            if channel.name is not None:
                raise ChannelsError(f"{FILE_NAME}: two channels have the same name")
            number += 1
            name = f"{channel.type}-{number}"
        named[name] = channel
    return named


def _read(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ChannelsError(f"{path.name} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        _must_be_ours(os.fstat(descriptor), path.name)
        _must_be_ours(path.parent.stat(), "its directory")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ChannelsError(f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
    return data


def _must_be_ours(found: os.stat_result, what: str) -> None:
    if found.st_uid != os.getuid():
        raise ChannelsError(f"{what} belongs to another user; it names a command, so it must be yours")
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise ChannelsError(f"{what} can be written by others; it names a command: chmod go-w")
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise ChannelsError(f"{what} is not a file")


def _what_is_wrong(error: ValidationError) -> str:
    """Where and what, without the value: it may be a secret."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    return f"{where}: {first['msg']}"
