"""The key ring of this user: the server's key pair, and the public key of every client that may connect.

`keys/server.json` and `keys/clients/NAME.json` below the user's config directory, 0600 in 0700 folders, never in a data
directory, which may come from or go to somebody else. A client's secret is made here, written to the file that is given
away, and not kept.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zmq

from perfmon.keys.client import BadKeys, ClientKeys, key_in, read_object
from perfmon.paths import private_directory, user_config_directory
from perfmon.private_file import write_once

#: Clients that the ring may have: each is looked at whenever the list changed.
MAX_CLIENTS: Final = 1_000

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class NoKeys(BadKeys):
    """There are no server keys yet."""


class NameTaken(BadKeys):
    """A client of this name is listed."""


class UnknownName(BadKeys):
    """No client of this name is listed, or no client can have it."""


@dataclass(frozen=True, slots=True, repr=False)
class ServerKeys:
    """The server's key pair, Z85. Not shown by repr."""

    public_key: str
    secret_key: str


class KeyRing:
    """The keys below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server = folder / "server.json"
        self._clients = folder / "clients"

    def init(self) -> bool:
        """Make the server's key pair unless there is one; whether it was made. Clients of other keys would be locked out.

        Raises: OSError, UnsafeDirectory.
        """
        for folder in (self.folder, self._clients):
            private_directory(folder)
        public, secret = _key_pair()
        return write_once(self._server, _json({"publicKey": public, "secretKey": secret}))

    def server(self) -> ServerKeys:
        """The server's key pair.

        Raises: NoKeys, BadKeys.
        """
        if not self._server.exists():
            raise NoKeys(f"there are no keys in {self.folder}: make them with `perfmon keys init`")
        if self._server.stat().st_mode & 0o077:
            raise BadKeys(f"{self._server} can be read by others: chmod 600 it, or make new keys")
        found = read_object(self._server)
        return ServerKeys(key_in(found, "publicKey", self._server), key_in(found, "secretKey", self._server))

    def add(self, name: str, *, endpoint: str | None = None) -> ClientKeys:
        """List a new client; what to give to it.

        Raises: NoKeys, NameTaken, UnknownName (no such name can be), OSError.
        """
        server = self.server()
        path = self._path(name)
        if len(self.clients()) >= MAX_CLIENTS:
            raise BadKeys(f"the key ring has at most {MAX_CLIENTS} clients")
        public, secret = _key_pair()
        private_directory(self._clients)
        if not write_once(path, _json({"name": name, "publicKey": public})):
            raise NameTaken(f"there is a client named {name}: revoke it first, or choose another name")
        return ClientKeys(name, server.public_key, public, secret, endpoint)

    def revoke(self, name: str) -> None:
        """Take a client off the list.

        Raises: UnknownName, OSError.
        """
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            raise UnknownName(f"no client is named {name}; `perfmon keys list` shows them") from None

    def clients(self) -> dict[str, str]:
        """Public key of every listed client → its name. A file that is no key file lists nobody.

        Raises: OSError.
        """
        found: dict[str, str] = {}
        if not self._clients.is_dir():
            return found
        for path in sorted(self._clients.glob("*.json")):
            try:
                found[key_in(read_object(path), "publicKey", path)] = path.stem
            except BadKeys:
                continue
        return found

    def version(self) -> tuple[int, int]:
        """Changes whenever a client is listed or taken off."""
        try:
            stat = self._clients.stat()
        except FileNotFoundError:
            return 0, 0
        return stat.st_mtime_ns, stat.st_ino

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise UnknownName(
                "a client's name is 1 to 64 of a-z, 0-9, `.`, `_`, `-`, and begins with a letter or digit"
            )
        return self._clients / f"{name}.json"


def key_ring() -> KeyRing:
    """This user's key ring."""
    return KeyRing(user_config_directory() / "keys")


def _key_pair() -> tuple[str, str]:
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def _json(value: dict[str, str]) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"
