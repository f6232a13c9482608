"""
Requests, as laws make them: with the standard library, and no proxy.
"""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

import attrs

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@attrs.frozen
class Answer:
    """
    What a service answered.

    Attributes:
        body: As JSON has it; text where it is none.

        headers: Those that it came with, by names in lower case.
    """

    status: int
    body: Any
    headers: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)


def ask(
    url: str, timeout: float, headers: Mapping[str, str] = {}, *, method: str = "POST"
) -> Answer:
    """
    Ask the service at *url*, with an empty body.
    """
    request = urllib.request.Request(url, b"", dict(headers), method=method)
    try:
        with _opener.open(request, timeout=timeout) as answer:
            return Answer(answer.status, _read(answer.read()), _lower(answer.headers))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, _read(error.read()), _lower(error.headers))


def is_served(url: str) -> bool:
    """
    Tell whether a service answers at *url*. A gateway may, without one behind it.
    """
    try:
        return ask(url, 5).status < 400
    except OSError:
        return False


def is_reachable(url: str) -> bool:
    """
    Tell whether somebody listens at *url*.
    """
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), 5):
            return True
    except OSError:
        return False


def _lower(headers: Message) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")
