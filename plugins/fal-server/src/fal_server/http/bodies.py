"""
What requests bring: JSON and query parameters, checked.
"""

from __future__ import annotations

import datetime
import json
from typing import Any

from aiohttp import web

from fal_server.errors import Invalid


async def read_object(request: web.Request) -> dict[str, Any]:
    """
    Return the JSON object that a request brings; nothing is an empty one.

    Raises:
        Invalid: It brings something else.
    """
    content = await request.read()
    try:
        found = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        raise Invalid("The body is not JSON.") from None
    if not isinstance(found, dict):
        raise Invalid("The body is not a JSON object.")
    return found


def text_of(content: dict[str, Any], name: str, *, longest: int = 4096) -> str:
    """
    Return the text called *name*.

    Raises:
        Invalid: There is none, or it is too long.
    """
    value = content.get(name)
    if not isinstance(value, str) or len(value) > longest:
        raise Invalid(f"{name!r} must be a text of at most {longest} characters.")
    return value


def time_of(request: web.Request, name: str) -> float | None:
    """
    Return a time of the query in seconds since the epoch, None where there is none.

    Without a time zone it is in UTC, as the clients write it.

    Raises:
        Invalid: It is no time.
    """
    text = request.query.get(name)
    if not text:
        return None
    try:
        # Python 3.10 does not read the letter for UTC.
        found = datetime.datetime.fromisoformat(text.replace("Z", "+00:00").replace(" ", "+"))
        if found.tzinfo is None:
            found = found.replace(tzinfo=datetime.timezone.utc)
        return found.timestamp()
    except (ValueError, OverflowError):
        raise Invalid(f"{name!r} is no time in ISO 8601.") from None


def number_of(request: web.Request, name: str, default: int, *, most: int) -> int:
    """
    Return a whole number of the query, *default* where there is none.

    Raises:
        Invalid: It is no number from 1 to *most*.
    """
    text = request.query.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise Invalid(f"{name!r} must be a number from 1 to {most}.")
    return int(text)


def to_text(seconds: float) -> str:
    """
    Write *seconds* since the epoch in ISO 8601, in UTC.
    """
    time = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return time.isoformat(timespec="microseconds")
