"""Request bodies and query parameters, with validation."""

from __future__ import annotations

import datetime
import json
from typing import Any

from aiohttp import web

from fal_server.errors import Invalid, TooLarge
from fal_server.limits import write_size

#: The largest body that is read into memory, in bytes, once it is decompressed. Routes that
#: stream have their own limits.
LARGEST_BODY = 8 << 20


async def read_object(request: web.Request) -> dict[str, Any]:
    """
    Return the JSON object in the body of a request, or an empty one if there is no body.

    Raises:
        Invalid: The body is not a JSON object.

        TooLarge: It is too large, or becomes so when it is decompressed.
    """
    try:
        content = await request.read()
    except web.HTTPRequestEntityTooLarge:
        largest = write_size(LARGEST_BODY)
        raise TooLarge(f"A body of this request may have {largest} bytes at most.") from None
    try:
        value = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        raise Invalid("The body is not JSON.") from None
    if not isinstance(value, dict):
        raise Invalid("The body is not a JSON object.")
    return value


def text_of(content: dict[str, Any], name: str, *, longest: int = 4096) -> str:
    """
    Return the string *name* in *content*.

    Raises:
        Invalid: It is missing, no string, or longer than *longest* characters.
    """
    value = content.get(name)
    if not isinstance(value, str) or len(value) > longest:
        raise Invalid(f"{name!r} must be a string of at most {longest} characters.")
    return value


def time_of(request: web.Request, name: str) -> float | None:
    """
    Return a time in the query in seconds since the epoch, or None if it is missing.

    A time without a time zone is in UTC, as the clients send it.

    Raises:
        Invalid: It is not a time in ISO 8601.
    """
    text = request.query.get(name)
    if not text:
        return None
    try:
        # Python 3.10 does not parse "Z", and an unescaped "+" in a query is a space.
        time = datetime.datetime.fromisoformat(text.replace("Z", "+00:00").replace(" ", "+"))
        if time.tzinfo is None:
            time = time.replace(tzinfo=datetime.timezone.utc)
        return time.timestamp()
    except (ValueError, OverflowError):
        raise Invalid(f"{name!r} must be a time in ISO 8601.") from None


def number_of(request: web.Request, name: str, default: int, *, most: int) -> int:
    """
    Return a whole number in the query, or *default* if it is missing.

    Raises:
        Invalid: It is not a number from 1 to *most*.
    """
    text = request.query.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 17 and 1 <= int(text) <= most):
        raise Invalid(f"{name!r} must be a number from 1 to {most}.")
    return int(text)


def to_text(seconds: float) -> str:
    """Format *seconds* since the epoch as ISO 8601 in UTC."""
    time = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return time.isoformat(timespec="microseconds")
