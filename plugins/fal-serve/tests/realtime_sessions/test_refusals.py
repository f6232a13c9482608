"""Refusals: what the client is told of the error that ends its session."""

from __future__ import annotations

import re

import pytest
from pydantic import TypeAdapter, ValidationError
from realtime_examples import Realtime, error, send, take_all
from starlette.exceptions import HTTPException
from websockets.sync.client import connect

from fal_serve import AppException, RequestCancelledException
from fal_serve.realtime_sessions.refusals import Refused, invalid, refusal_of


@pytest.mark.parametrize(
    ("how", "name", "reason", "code"),
    [
        ("app", "NOT_FOUND", "no such bench", 1008),
        ("field", "VALIDATION_ERROR", "seed: is odd", 1008),
        ("gpu", "SERVICE_UNAVAILABLE", "GPU error", 1011),
        ("output", "INTERNAL_ERROR", "Internal Server Error", 1011),
        ("lookup", "INTERNAL_ERROR", "Internal Server Error", 1011),
        ("exit", "INTERNAL_ERROR", "Internal Server Error", 1011),
    ],
)
def test_error_of_the_handler_is_told_and_ends_the_session(
    dial, how: str, name: str, reason: str, code: int
) -> None:
    """
    An exception meant for the client is sent to it; of any other, only that the handler
    failed. The close code shows who is at fault.
    """
    with dial("/fail") as socket:
        send(socket, {"how": how})
        assert take_all(socket, code) == [error(name, reason)]


def test_where_the_traceback_stands_is_told_while_the_service_is_developed(
    serve, monkeypatch
) -> None:
    """Under ``fal-core run`` the reason names the request, whose traceback is in the output."""
    monkeypatch.setenv("FAL_SERVE_DEVELOPING", "1")
    url = serve(Realtime).url.replace("http://", "ws://")
    with connect(f"{url}/fail") as socket:
        send(socket, {"how": "lookup"})
        [refused] = take_all(socket, 1011)
    said = r"Internal Server Error\. The traceback of request [\w-]+ is in the output of .*"
    assert re.fullmatch(said, refused["reason"])


def test_reason_names_the_first_of_many_invalid_fields() -> None:
    """A reason names eight invalid fields, each with its place, and counts the others."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[str, list[int]]).validate_python({"of": ["no"] * 10})
    refusal = invalid(caught.value)
    assert (refusal.error, refusal.code) == ("VALIDATION_ERROR", 1008)
    first, *_, eighth, more = refusal.reason.split("; ")
    assert first.startswith("of.0: Input should be a valid integer")
    assert eighth.startswith("of.7: ")
    assert more == "and 2 more"


def test_long_reason_is_cut() -> None:
    """A reason has at most 2000 characters, and says that it was longer."""
    assert Refused("NOT_FOUND", "x" * 2000, 1008).reason == "x" * 2000
    assert Refused("NOT_FOUND", "x" * 2001, 1008).reason == "x" * 2000 + "…"


@pytest.mark.parametrize(
    ("raised", "name", "code"),
    [
        (HTTPException(404), "NOT_FOUND", 1008),
        (HTTPException(503), "SERVICE_UNAVAILABLE", 1011),
        (AppException("no", 499), "STATUS_499", 1008),
        (AppException("no", 599), "STATUS_599", 1011),
        (RequestCancelledException(), "CANCELLED", 1000),
    ],
)
def test_exception_for_the_client_has_the_name_of_its_status(
    raised: Exception, name: str, code: int
) -> None:
    """The close code tells whether the client or the service is at fault."""
    refusal = refusal_of(raised)
    assert refusal is not None
    assert (refusal.error, refusal.code) == (name, code)


def test_exception_that_is_not_for_the_client_is_no_refusal() -> None:
    """Other exceptions are the service's own."""
    assert refusal_of(LookupError("the secret")) is None
