"""Who may speak to the HTTP gateway: pure decisions, each with its status and a reason that is counted.

A browser page that someone's site opened can reach 127.0.0.1; it cannot make up a Host or an Origin header, and it does not know
the token. So the names must be loopback's, and whatever reads or writes data needs the token.
"""

from __future__ import annotations

import hmac
import re
from typing import Final, NamedTuple

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:\[\]/@\s]+)(?::(\d{1,5}))?")
_ORIGIN: Final = re.compile(r"https?://([^/@\s]+)")


class Denial(NamedTuple):
    """A refusal: HTTP status, a short reason that is counted, a sentence."""

    status: int
    reason: str
    message: str


BAD_HOST: Final = Denial(421, "bad_host", "this gateway answers for 127.0.0.1, localhost and [::1] only")
BAD_ORIGIN: Final = Denial(403, "bad_origin", "pages of other sites may not call this gateway")
#: Where a person finds the token, which no command shows.
_WHERE: Final = "is in state/http.json of the data directory, whose path `perfmon status` tells"
NO_TOKEN: Final = Denial(401, "no_token", f"a bearer token is needed: it {_WHERE}")
WRONG_TOKEN: Final = Denial(
    401,
    "wrong_token",
    f"the token is wrong: the right one {_WHERE}; `perfmon connect claude-code` mends the hooks",
)


def check_names(host: str | None, origins: list[str]) -> Denial | None:
    """Whether a request came for, and from, this machine. No Origin means that no browser page sent it."""
    if host is None or not is_loopback(host):
        return BAD_HOST
    for origin in origins:
        match = _ORIGIN.fullmatch(origin)
        if match is None or not is_loopback(match.group(1)):
            return BAD_ORIGIN
    return None


def is_loopback(host: str) -> bool:
    """Whether a Host header's value, with or without a port, names this machine."""
    match = _HOST.fullmatch(host)
    return match is not None and match.group(1).lower() in _LOOPBACK


def check_bearer(authorization: str | None, token: str) -> Denial | None:
    """Whether an Authorization header carries the token."""
    if authorization is None:
        return NO_TOKEN
    scheme, _, given = authorization.partition(" ")
    return None if scheme.lower() == "bearer" and same_token(given.strip(), token) else WRONG_TOKEN


def same_token(given: str, token: str) -> bool:
    """Compared in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())
