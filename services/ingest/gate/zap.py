"""ZAP (RFC 27), the questions of libzmq about who may connect. Pure: frames in, frames out.

A request is [version, request id, domain, address, identity, mechanism, credentials…]; with CURVE the only credential is the
client's public key, 32 bytes. The user id of an answer comes back with every message of that connection: it is the key, as Z85.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from zmq.utils import z85

VERSION: Final = b"1.0"
DOMAIN: Final = b"perfmon"


class Judgement(NamedTuple):
    """The answer to a request, who asked (a listed client's name), and why it was refused."""

    reply: list[bytes]
    name: str | None
    refused: str | None


def judge(request: Sequence[bytes], listed: Mapping[str, str]) -> Judgement:
    """Whether a connection may be made: only with CURVE, and a key that is listed."""
    request_id = request[1] if len(request) > 1 else b""
    if len(request) != 7 or request[0] != VERSION or request[5] != b"CURVE" or len(request[6]) != 32:
        return Judgement(_reply(request_id, b"400", b"CURVE is needed"), None, "not_curve")
    key = z85.encode(request[6]).decode()
    name = listed.get(key)
    if name is None:
        return Judgement(_reply(request_id, b"400", b"this key is not listed"), None, "key_not_listed")
    return Judgement(_reply(request_id, b"200", b"OK", key.encode()), name, None)


def _reply(request_id: bytes, status: bytes, text: bytes, user: bytes = b"") -> list[bytes]:
    return [VERSION, request_id, status, text, user, b""]
