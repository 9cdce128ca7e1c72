"""Where the HTTP gateway listens and the token that lets a caller write: `<data>/state/http.json`.

Owns the file and who may be believed about it. The gateway writes where it really listens; `perfmon connect` makes the file
when no gateway has run yet. Knows nothing of HTTP itself.

A data directory may have come with someone's clone, and with it a file whose token a stranger knows or whose host is
theirs. So the file counts only when it is ours, 0600, names a loopback host, and names the inode of the state directory it
was made in, which a clone or a copy does not have. Any other is replaced by one with a new token.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeGuard

from perfmon.paths import DataDirectory, private_directory
from perfmon.plain_file import make_way
from perfmon.private_file import read_private, write_once, write_whole

#: Where the gateway listens unless a setting or a busy port says otherwise.
DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 7077
#: Where a data directory looks for a port of its own when the preferred one is taken: below what systems hand out by themselves,
#: at a place that its path decides, so that it is the same after every start.
OWN_PORTS: Final = range(20_000, 30_000)
OWN_PORT_TRIES: Final = 16
#: The only hosts that the file may name: the token never leaves the machine.
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
#: 192 bits, printed as 32 characters that need no escaping in a URL.
TOKEN_BYTES: Final = 24
TOKEN_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{32,128}")
#: The path below which Claude Code's hooks post; the token is the last part.
HOOK_PATH: Final = "/hooks/claude-code/"


@dataclass(frozen=True, slots=True)
class HttpAccess:
    """`host` is loopback, `port` 1–65535, `token` URL-safe characters. `left_port` is the port that clients were told of when
    the gateway had to leave it and means to go back; None while it is there.
    """

    host: str
    port: int
    token: str
    left_port: int | None = None

    @property
    def home_port(self) -> int:
        """The port that clients were told of."""
        return self.port if self.left_port is None else self.left_port

    @property
    def base_url(self) -> str:
        """`http://host:port`, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def hook_url(self) -> str:
        """Where Claude Code's hooks post; whoever knows it may write metrics, so it is as secret as the token."""
        return f"{self.base_url}{HOOK_PATH}{self.token}"


def access_file(data: DataDirectory) -> Path:
    """Where host, port and token are kept."""
    return data.state / "http.json"


def load(data: DataDirectory) -> HttpAccess | None:
    """What the file says, or None when there is none that can be believed. Writes nothing."""
    raw = read_private(access_file(data))
    return None if raw is None else _parse(raw, data)


def own_ports(data: DataDirectory) -> list[int]:
    """The ports that this data directory tries when the ones it wants are taken, in their order."""
    digest = hashlib.sha256(os.fsencode(data.root)).digest()
    first = int.from_bytes(digest[:8], "big")
    return [OWN_PORTS[(first + step) % len(OWN_PORTS)] for step in range(OWN_PORT_TRIES)]


def load_or_create(
    data: DataDirectory, *, host: str | None = None, port: int | None = None, left_port: int | None = None
) -> HttpAccess:
    """The access of this data directory, made with a new token when there is none that can be believed.

    A host or port that is given is what the file says from now on, with the port that was left for it, if any; the token stays.

    Raises: perfmon.paths.UnsafeDirectory, OSError, ValueError for a host that is not loopback.
    """
    if host is not None and host not in LOOPBACK_HOSTS:
        raise ValueError(f"the HTTP gateway listens on {', '.join(sorted(LOOPBACK_HOSTS))}, not on {host!r}")
    private_directory(data.root)
    private_directory(data.state)
    found = load(data)
    if found is None:
        found = _create(data, HttpAccess(host or DEFAULT_HOST, port or DEFAULT_PORT, _new_token()))
    wanted = replace(found, host=host or found.host)
    if port is not None:
        wanted = replace(wanted, port=port, left_port=left_port if left_port != port else None)
    if wanted != found:
        write_whole(access_file(data), _encode(wanted, data))
    return wanted


def _create(data: DataDirectory, access: HttpAccess) -> HttpAccess:
    encoded = _encode(access, data)
    if write_once(access_file(data), encoded):
        return access
    won_by_another = load(data)
    if won_by_another is not None:
        return won_by_another
    make_way(access_file(data))
    write_whole(access_file(data), encoded)
    return access


def _new_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def _encode(access: HttpAccess, data: DataDirectory) -> bytes:
    body = {"host": access.host, "port": access.port, "token": access.token, "inode": _inode(data)}
    if access.left_port is not None:
        body["leftPort"] = access.left_port
    return (json.dumps(body) + "\n").encode()


def _inode(data: DataDirectory) -> int:
    return data.state.stat().st_ino


def _parse(raw: bytes, data: DataDirectory) -> HttpAccess | None:
    try:
        body: Any = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or body.get("inode") != _inode(data):
        return None
    host, port, token = body.get("host"), body.get("port"), body.get("token")
    if host not in LOOPBACK_HOSTS or not _is_port(port):
        return None
    if not isinstance(token, str) or not TOKEN_PATTERN.fullmatch(token):
        return None
    left = body.get("leftPort")
    return HttpAccess(host, port, token, left if _is_port(left) else None)


def _is_port(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 < value < 65_536
