"""Realtime routes that are written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fal_core import OptionError
from fal_core_worker.serving.routes import RouteSignature


def plain(message: int) -> int:
    return message


@pytest.mark.parametrize(
    ("route", "handler", "said"),
    [
        (RouteSignature("/a", is_websocket=True, session_timeout=2), plain, "session_timeout"),
        (
            RouteSignature("/a", is_websocket=True, realtime_mode="duplex"),
            plain,
            "realtime_mode 'duplex'. Known: 'unary'",
        ),
        (
            RouteSignature("/a", is_websocket=True, realtime_mode="unary", buffering=0),
            plain,
            "at least 1",
        ),
    ],
)
def test_field_that_does_nothing_is_refused(
    build_route: Callable[..., Any], route: RouteSignature, handler: Any, said: str
):
    """A field of a route that would be ignored is an error with the name of the route."""
    with pytest.raises(OptionError, match=said):
        build_route(route, handler)
