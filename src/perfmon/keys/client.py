"""The file that a producer off the machine is given: what it needs to know the server by and to be known by.

A JSON object: `name`, `serverKey`, `publicKey`, `secretKey` (Z85, 40 characters each) and maybe `endpoint`. Whoever has the file
can write metrics, and nothing else; it cannot be used to read them.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perfmon.plain_file import read_plain

#: The environment variable that names a client's key file.
KEY_FILE_VARIABLE: Final = "PERFMON_CURVE_KEYS"
#: A key file has about 300 bytes.
MAX_FILE_BYTES: Final = 16 * 1024

_Z85_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


class BadKeys(ValueError):
    """A key file that is missing, unreadable or not one; the message says which and why."""


@dataclass(frozen=True, slots=True, repr=False)
class ClientKeys:
    """A client's key pair and the server's public key, as Z85 text. Not shown by repr: one of them is a secret."""

    name: str
    server_key: str
    public_key: str
    secret_key: str
    endpoint: str | None = None

    def to_json(self) -> bytes:
        """The file to give away."""
        found = {
            "name": self.name,
            "endpoint": self.endpoint,
            "serverKey": self.server_key,
            "publicKey": self.public_key,
            "secretKey": self.secret_key,
        }
        return json.dumps({key: value for key, value in found.items() if value is not None}, indent=2).encode() + b"\n"


def load_client_keys(path: str | os.PathLike[str]) -> ClientKeys:
    """The keys in a file.

    Raises: BadKeys.
    """
    found = read_object(Path(path).expanduser())
    endpoint = found.get("endpoint")
    if endpoint is not None and not isinstance(endpoint, str):
        raise BadKeys(f"{path}: `endpoint` is text")
    server, public, secret = (key_in(found, name, Path(path)) for name in ("serverKey", "publicKey", "secretKey"))
    return ClientKeys(str(found.get("name") or ""), server, public, secret, endpoint)


def read_object(path: Path) -> dict[str, object]:
    """The JSON object in a small file.

    Raises: BadKeys.
    """
    try:
        found = json.loads(read_plain(path, MAX_FILE_BYTES))
    except FileNotFoundError as error:
        raise BadKeys(f"there is no key file {path}") from error
    except (OSError, RuntimeError) as error:
        raise BadKeys(f"{path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise BadKeys(f"{path} is not a key file (JSON)") from error
    if not isinstance(found, dict):
        raise BadKeys(f"{path} is not a key file (a JSON object)")
    return found


def key_in(found: dict[str, object], name: str, path: Path) -> str:
    """A key of a file that was read.

    Raises: BadKeys.
    """
    value = found.get(name)
    if not isinstance(value, str) or not _Z85_KEY.fullmatch(value):
        raise BadKeys(f"{path}: `{name}` is a key of 40 characters (Z85)")
    return value
