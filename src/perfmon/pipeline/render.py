"""supervisord's configuration for one data directory, made from the file that works by itself in a checkout.

Pure: text and paths in, text out. The template stays the one place that names the programs and their limits; this replaces
what differs: where things are, which interpreter runs, and the password. supervisord expands `%` once in most values and twice in
log files, and cuts a value at ` ;` or ` #`: what it cannot hold is refused here with the path's name.
"""

from __future__ import annotations

import configparser
import io
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perfmon.pipeline.errors import UnrenderablePath

#: The user name on supervisord's socket; the password is what matters.
USERNAME: Final = "perfmon"
#: supervisord's socket in the runtime directory.
SOCKET_NAME: Final = "supervisor.sock"
#: Sections whose programs get the data directory.
_PROGRAM: Final = "program:"
_LISTENER: Final = "eventlistener:"


@dataclass(frozen=True, slots=True)
class Places:
    """Where one pipeline keeps its things; all absolute. `variables` are set for every program."""

    application: Path
    logs: Path
    runtime: Path
    data_root: Path
    interpreter: str
    password: str
    variables: dict[str, str]

    @property
    def socket(self) -> Path:
        """supervisord's own socket."""
        return self.runtime / SOCKET_NAME


def render(template: str, places: Places) -> str:
    """The text of the rendered configuration.

    Raises: UnrenderablePath.
    """
    parser = configparser.RawConfigParser(strict=True, inline_comment_prefixes=(";", "#"))
    parser.read_string(template)
    _render_server(parser, places)
    for section in parser.sections():
        if section.startswith((_PROGRAM, _LISTENER)):
            _render_program(parser, section, places)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def _render_server(parser: configparser.RawConfigParser, places: Places) -> None:
    server = parser["supervisord"]
    server["nodaemon"] = "true"  # the launcher has detached already
    server["silent"] = "true"
    server["directory"] = _once(places.application)
    server["logfile"] = _once(places.logs / "supervisord.log")
    server["childlogdir"] = _once(places.logs)
    server["pidfile"] = _once(places.runtime / "supervisord.pid")
    socket = parser["unix_http_server"]
    socket["file"] = _once(places.socket)
    socket["username"] = USERNAME
    socket["password"] = places.password
    control = parser["supervisorctl"]
    control["serverurl"] = f"unix://{_once(places.socket)}"
    control["username"] = USERNAME
    control["password"] = places.password


def _render_program(parser: configparser.RawConfigParser, section: str, places: Places) -> None:
    program = parser[section]
    name = section.split(":", 1)[1]
    words = shlex.split(program["command"])
    if words[0] == "python":
        words[0] = places.interpreter
    program["command"] = _checked(shlex.join(words)).replace("%", "%%")
    program["directory"] = _once(places.application)
    variables = {"PYTHONPATH": str(places.application), **places.variables}
    log = "stdout_logfile"
    if section.startswith(_LISTENER):
        log = "stderr_logfile"  # its stdout speaks supervisord's event protocol
        variables |= {"SUPERVISOR_USERNAME": USERNAME, "SUPERVISOR_PASSWORD": places.password}
    program["environment"] = ",".join(f"{key}={_quoted(value)}" for key, value in variables.items())
    program[log] = _once(places.logs / f"{name}.log").replace("%", "%%")


def _once(path: Path) -> str:
    return _checked(str(path)).replace("%", "%%")


def _quoted(value: str) -> str:
    quote = '"' if '"' not in value else "'"
    if quote in value:
        raise UnrenderablePath(value, "holds both kinds of quotation marks")
    if value[-1:] in {'"', "'"} or value[:1] in {'"', "'"}:
        raise UnrenderablePath(value, "begins or ends with a quotation mark")
    return quote + _checked(value).replace("%", "%%") + quote


def _checked(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise UnrenderablePath(text, "holds a control character")
    if " ;" in text or " #" in text:
        raise UnrenderablePath(text, "holds a space before ; or #")
    if text != text.strip():
        raise UnrenderablePath(text, "begins or ends with a space")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnrenderablePath(text, "is not valid UTF-8") from error
    return text
