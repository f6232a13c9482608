"""Bodies and queries of requests, and what is said of those that are not valid."""

from __future__ import annotations

import asyncio
import datetime
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer, TestClient
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from fal_server.errors import Invalid
from fal_server.http.bodies import number_of, read_object, text_of, time_of, to_text


@pytest.mark.parametrize(
    "query",
    [
        {"page_size": "0"},
        {"page_size": "1001"},
        {"page_size": "many"},
        {"since": "yesterday"},
        {"until": "9" * 50},
    ],
)
def test_invalid_queries_are_refused(plane, query):
    """An invalid page or time is refused with a sentence."""
    with plane.client() as client:
        answer = client.post("/logs/history", params=query)
    assert answer.status_code == 422
    assert next(iter(query)) in answer.json()["detail"]


def handle(method: str, path: str, read: Callable[..., Any], body: bytes = b"") -> Any:
    """Return what *read* makes of a request, or the error that it raises."""
    found: list[Any] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        try:
            value = read(request)
            found.append(await value if inspect.isawaitable(value) else value)
        except Invalid as error:
            found.append(error)
        return web.Response()

    async def main() -> None:
        async with TestClient(RawTestServer(answer)) as client:
            await client.request(method, URL(path, encoded=True), data=body)

    asyncio.run(main())
    return found[0]


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"", {}),
        (b'{"a": [1]}', {"a": [1]}),
        (b"[]", "The body is not a JSON object."),
        (b"null", "The body is not a JSON object."),
        (b"{", "The body is not JSON."),
        (b"\xff", "The body is not JSON."),
        (b"[" * 100_000, "The body is not JSON."),
    ],
    ids=["none", "object", "list", "null", "half", "bytes", "deep"],
)
def test_object_in_a_body(body: bytes, value: Any):
    """A body is a JSON object, or there is none; anything else is refused."""
    found = handle("POST", "/", read_object, body)
    assert (str(found) if isinstance(found, Invalid) else found) == value


@pytest.mark.parametrize("value", [None, 7, ["a"], "a" * 11])
def test_text_in_an_object(value: Any):
    """A text has a limited length, and is not made out of another value."""
    assert text_of({"name": "a" * 10}, "name", longest=10) == "a" * 10
    for content in ({"name": value}, {}):
        with pytest.raises(Invalid, match="'name' must be a string of at most 10 characters"):
            text_of(content, "name", longest=10)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T00:01:00", 60.0),
        ("1970-01-01T01:01:00%2B01:00", 60.0),
        ("1970-01-01T01:01:00+01:00", 60.0),
        ("1970-01-01", 0.0),
        ("", None),
    ],
)
def test_time_in_a_query(text: str, seconds: float | None):
    """A time is in UTC unless it has a time zone, whose sign may be unescaped."""
    assert handle("GET", f"/?since={text}", lambda it: time_of(it, "since")) == seconds


@pytest.mark.parametrize("text", ["now", "1970-13-01", "60", "1970-01-01T25:00"])
def test_time_that_is_none(text: str):
    """A time that is not in ISO 8601 is refused."""
    found = handle("GET", f"/?since={text}", lambda it: time_of(it, "since"))
    assert str(found) == "'since' must be a time in ISO 8601."


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("7", 7),
        ("", 3),
        ("0", None),
        ("8", None),
        ("-1", None),
        ("1.0", None),
        ("%C2%B2", None),
        ("%D9%A1", None),
        ("9" * 5000, None),
    ],
    ids=range(10),
)
def test_number_in_a_query(text: str, number: int | None):
    """A number is in its range and written in digits; without one the default counts."""
    found = handle("GET", f"/?size={text}", lambda it: number_of(it, "size", 3, most=7))
    if number is None:
        assert str(found) == "'size' must be a number from 1 to 7."
    else:
        assert found == number


@given(st.integers(0, 4_000_000_000_000_000))
def test_time_is_read_as_it_was_written(micros: int):
    """A time that a response has selects the same moment in a query."""
    text = to_text(micros / 1_000_000)
    found = datetime.datetime.fromisoformat(text)
    epoch = datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
    assert (found - epoch) // datetime.timedelta(microseconds=1) == micros
