"""Who may speak to the HTTP gateway."""

from pathlib import Path

import pytest

from perfmon.http_access import access_file
from perfmon.paths import DataDirectory
from services.gateway.core.http_rules import (
    BAD_HOST,
    BAD_ORIGIN,
    NO_TOKEN,
    WRONG_TOKEN,
    check_bearer,
    check_names,
)
from services.gateway.core.page import PAGE

TOKEN = "s3cret-token-of-some-length-------"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7077", "localhost:7077", "LOCALHOST", "[::1]", "[::1]:7077"])
def test_loopback_names_are_served(host):
    assert check_names(host, []) is None


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.com",
        "evil.com:7077",
        "127.0.0.1.evil.com",
        "localhost.evil.com",
        "evil.com@127.0.0.1",
        "127.0.0.1:7077@evil.com",
        "127.0.0.1:",
        "127.0.0.1:port",
        "0.0.0.0:7077",
        "192.168.0.1",
        "[::2]",
        "::1",
        "localhost ",
        "localhost/x",
        "localhost:7077, evil.com",
        "127.1",
        "2130706433",
    ],
)
def test_other_names_are_refused(host):
    assert check_names(host, []) is BAD_HOST


@pytest.mark.parametrize("origin", ["http://localhost:7077", "http://127.0.0.1:3000", "https://[::1]:9"])
def test_pages_of_this_machine_may_ask(origin):
    assert check_names("localhost", [origin]) is None


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.com",
        "http://localhost.evil.com",
        "http://localhost@evil.com",
        "http://evil.com#localhost",
        "file://",
        "chrome-extension://abc",
        "http://localhost:7077/path",
        "localhost:7077",
    ],
)
def test_pages_of_other_sites_may_not(origin):
    assert check_names("localhost", [origin]) is BAD_ORIGIN
    assert check_names("localhost", ["http://localhost:1", origin]) is BAD_ORIGIN


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Bearer  {TOKEN} "])
def test_the_token_opens(header):
    assert check_bearer(header, TOKEN) is None


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer é", "Bearer \udcff"]
)
def test_anything_else_does_not(header):
    denial = check_bearer(header, TOKEN)
    assert denial is not None
    assert denial.status == 401


@pytest.mark.parametrize("said", [NO_TOKEN.message, WRONG_TOKEN.message, PAGE])
def test_who_lacks_the_token_is_told_the_file_that_holds_it(said):
    data = DataDirectory(Path("/data"))
    assert str(access_file(data).relative_to(data.root)) in said
    assert "connect` shows" not in said  # it shows `<token>` in its place
