"""Requests to services, made with the standard library and without a proxy."""

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
class Response:
    """
    The response of a service.

    Attributes:
        body: The parsed JSON; the text where it is not JSON.

        headers: The headers, by name in lower case.
    """

    status: int
    body: Any
    headers: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)


def ask(
    url: str, timeout: float, headers: Mapping[str, str] = {}, *, method: str = "POST"
) -> Response:
    """
    Send a request with an empty body to *url*, where a service is said to be.

    Raises:
        AssertionError: Nothing answers there.
    """
    try:
        return _ask(url, timeout, headers, method)
    except OSError as error:
        raise AssertionError(
            f"Nothing answered a request to {url}, which the host has reported with Ready: "
            f"{error}. Send Ready once the service listens, with a URL that works from here."
        ) from error


def _ask(url: str, timeout: float, headers: Mapping[str, str], method: str) -> Response:
    request = urllib.request.Request(url, b"", dict(headers), method=method)
    try:
        with _opener.open(request, timeout=timeout) as answer:
            return Response(answer.status, _read(answer.read()), _lower(answer.headers))
    except urllib.error.HTTPError as error:
        with error:
            return Response(error.code, _read(error.read()), _lower(error.headers))


def is_served(url: str) -> bool:
    """Tell whether a service answers at *url*; an error of a gateway does not count."""
    try:
        return _ask(url, 5, {}, "POST").status < 400
    except OSError:
        return False


def is_reachable(url: str) -> bool:
    """Tell whether something accepts connections at *url*."""
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
