"""Headers: what is forwarded, and what is kept from runners and from senders."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from fal_server.errors import Invalid
from fal_server.routing.headers import from_runner, new_request_id, start_timeout, to_runner

HOP_BY_HOP = (
    "Connection",
    "Keep-Alive",
    "Proxy-Authorization",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
)


@pytest.mark.parametrize(
    "name",
    [
        *HOP_BY_HOP,
        "Authorization",
        "AUTH-KEY",
        "auth-key-id",
        "Auth_Key",
        "auth_key-id",
        "X_Fal_User_Id",
        "X-Fal-User-Id",
        "Fal-User-Id",
        "Content-Length",
        "Expect",
        "Host",
        "Sec-WebSocket-Key",
    ],
)
def test_header_that_is_kept_from_runners(name: str):
    """Credentials, and what belongs to the connection of the sender, reach no runner."""
    forwarded = to_runner([(name, "secret"), ("X-Mine", "kept")], "id", "/")
    assert "secret" not in forwarded.values()
    assert forwarded["X-Mine"] == "kept"


@pytest.mark.parametrize(
    "name", [*HOP_BY_HOP, "Date", "x-fal-needs-retry", "x-fal-stop-runner"]
)
def test_header_that_is_kept_from_senders(name: str):
    """What a runner tells the gateway, and what belongs to its connection, reaches no sender."""
    headers = CIMultiDict({name: "secret", "X-Mine": "kept"})
    forwarded = from_runner(headers, "id")
    assert dict(forwarded) == {"X-Mine": "kept", "x-fal-request-id": "id"}


@pytest.mark.parametrize(
    "name",
    [
        *("X-Fal-Request-Attempt", "x_fal_request_attempt", "X-Fal-Caller-User-Id"),
        *("x_fal_caller-user_id", "X_Fal_Request_Id", "X_Fal_Endpoint"),
    ],
)
def test_header_of_the_gateway_that_a_sender_sends(name: str):
    """
    What an application takes for the word of the gateway cannot be said by its callers, in
    whatever way they spell it.
    """
    assert "forged" not in to_runner([(name, "forged")], "id", "/").values()


def test_headers_that_belong_to_a_connection():
    """Headers that Connection names are dropped, in whatever place and case they stand."""
    headers = [("X-Hop", "1"), ("Connection", "x-hop , X-Other"), ("x-other", "2"), ("X", "3")]
    assert "X-Hop" not in to_runner(headers, "id", "/")
    assert "X-Other" not in to_runner(headers, "id", "/")
    assert to_runner(headers, "id", "/")["X"] == "3"
    assert dict(from_runner(CIMultiDict(headers), "id")) == {"X": "3", "x-fal-request-id": "id"}


def test_repeated_headers_stay_in_their_order():
    """A header that is sent several times arrives as often."""
    cookies = [("Set-Cookie", "a"), ("X", "1"), ("set-cookie", "b")]
    assert to_runner(cookies, "id", "/").getall("Set-Cookie") == ["a", "b"]
    assert from_runner(CIMultiDict(cookies), "id").getall("Set-Cookie") == ["a", "b"]


def test_runner_is_told_the_request_and_its_path():
    """
    The gateway decides which request it is, and which endpoint; a preference of the sender
    is left as it is.
    """
    sent = [
        ("X-Fal-Request-Id", "forged"),
        ("X-Fal-Endpoint", "/forged"),
        ("X-Fal-Object-Lifecycle-Preference", "mine"),
    ]
    forwarded = to_runner(sent, "id", "/path")
    assert forwarded.getall("x-fal-request-id") == ["id"]
    assert forwarded.getall("x-fal-endpoint") == ["/path"]
    assert forwarded.getall("x-fal-object-lifecycle-preference") == ["mine"]
    assert to_runner([], "id", "/")["x-fal-object-lifecycle-preference"] == "{}"
    assert from_runner(CIMultiDict(sent[:1]), "id").getall("x-fal-request-id") == ["id"]
    assert new_request_id() != new_request_id()


@pytest.mark.parametrize(("text", "seconds"), [("0.5", 0.5), ("60", 60.0), ("1e3", 1000.0)])
def test_start_timeout(text: str, seconds: float):
    """The start timeout is in seconds; without the header there is none."""
    assert start_timeout({"x-fal-request-timeout": text}) == seconds
    assert start_timeout({}) is None


@pytest.mark.parametrize("text", ["", "0", "-1", "soon", "nan", "inf", "1e9", "1,5"])
def test_start_timeout_that_is_none(text: str):
    """A start timeout that is not a positive number is refused, and quoted."""
    with pytest.raises(Invalid, match="must be a number of seconds, not"):
        start_timeout({"x-fal-request-timeout": text})
