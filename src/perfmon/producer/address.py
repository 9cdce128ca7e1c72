"""Where a producer sends: the sockets of a data directory, or an endpoint that was named, with keys where it is off the machine.

Nothing is sent in clear over a network, and nothing into a directory that somebody else could have made.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from perfmon.paths import resolve_data_directory

if TYPE_CHECKING:
    from perfmon.keys import ClientKeys

#: Environment variables of a producer off the machine; see `perfmon keys add`.
ENDPOINT_VARIABLE: Final = "PERFMON_INGEST_ENDPOINT"
KEYS_VARIABLE: Final = "PERFMON_CURVE_KEYS"
#: The longest path of a socket (`sun_path` of Linux, without its end).
MAX_PATH_BYTES: Final = 107

_TCP = re.compile(r"tcp://(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._-]+)?\]):([0-9]{1,5})")


class Address(NamedTuple):
    """A ZeroMQ endpoint, and the keys of CURVE for it."""

    endpoint: str
    keys: ClientKeys | None = None


#: Says where to connect; None while there is nowhere.
Locate = Callable[[], Address | None]


def locator(
    data_dir: str | os.PathLike[str] | None,
    endpoint: str | None,
    keys: str | os.PathLike[str] | None,
    socket_name: str,
) -> Locate:
    """How to find the pipeline: an endpoint or a key file, else the data directory, else what the environment names.

    Raises: ValueError for an address that must not be used, OSError and RuntimeError when there is no data directory.
    """
    if data_dir is None:
        endpoint = endpoint or (None if keys else os.environ.get(ENDPOINT_VARIABLE))
        from_environment = not keys
        keys = keys or os.environ.get(KEYS_VARIABLE)
        if endpoint or keys:
            address = _named(endpoint, keys, KEYS_VARIABLE if from_environment else "keys=")
            if address.keys is not None and socket_name == "ingest.push":
                raise ValueError("off this machine metrics are sent acknowledged only")
            return lambda: address
    data = resolve_data_directory(data_dir)
    local = Address(data.endpoint(socket_name))
    return lambda: local if is_safe_to_connect(data.runtime) else None


def is_safe_to_connect(runtime: Path) -> bool:
    """Whether the sockets' directory exists and is ours alone: anyone may make a name in /tmp, and would get our metrics."""
    try:
        found = runtime.lstat()
        parent = runtime.parent.lstat()
    except OSError:
        return False
    return all(stat.S_ISDIR(one.st_mode) and one.st_uid == os.getuid() for one in (found, parent))


def _named(endpoint: str | None, key_file: str | os.PathLike[str] | None, key_place: str) -> Address:
    found = None
    if key_file is not None and not (endpoint or "").startswith("ipc://"):
        from perfmon.keys import BadKeys, load_client_keys

        try:
            found = load_client_keys(key_file)
        except BadKeys as error:
            raise BadKeys(f"{key_place}: {error}") from error
        endpoint = endpoint or found.endpoint
    if endpoint is None:
        raise ValueError(
            f"no endpoint: name one with endpoint= or {ENDPOINT_VARIABLE}; the key file {key_file} has none"
        )
    _check_form(endpoint)
    if found is None and endpoint.startswith("tcp://"):
        raise ValueError(f"{endpoint} is reached with keys alone: name a key file with keys= or {KEYS_VARIABLE}")
    return Address(endpoint, found)


def _check_form(endpoint: str) -> None:
    """Raises: ValueError when it is no endpoint that could be connected to."""
    path = endpoint.removeprefix("ipc://")
    if path != endpoint:
        if 0 < len(os.fsencode(path)) <= MAX_PATH_BYTES and "\0" not in path:
            return
        raise ValueError(f"{endpoint!r:.200} is no endpoint: a socket's path has 1 to {MAX_PATH_BYTES} bytes")
    tcp = _TCP.fullmatch(endpoint)
    if tcp is None or not 0 < int(tcp[1]) < 65_536:
        meant = f"; did you mean tcp://{endpoint}?" if _TCP.fullmatch(f"tcp://{endpoint}") else ""
        raise ValueError(f"{endpoint!r:.200} is no endpoint: tcp://HOST:PORT or ipc:///PATH{meant}")
