"""
A plugin of pytest for the tests of applications.

It is switched on by a line in ``conftest.py``::

    pytest_plugins = ["fal_testing.plugin", "fal_serve.testing"]
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

from fal_serve.client.clients import AppClient
from fal_serve.client.in_process_clients import InProcessAppClient, open_in_process

if TYPE_CHECKING:
    from fal_serve.apps import App

__all__ = ["Connect", "InProcessAppClient", "app_client", "open_in_process"]

AppT = TypeVar("AppT", bound="App")

#: The marker of ``fal_testing.plugin``.
_MARKER = "real_environment"


class Connect(Protocol):
    """What ``app_client`` is: type checkers take the client for an object of the class."""

    def __call__(self, cls: type[AppT], /) -> AppT: ...


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, also where this plugin is used alone."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}: applications run where they are declared to, each in its own "
        "environment, and not in the process of the tests",
    )


@pytest.fixture
def app_client(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """
    Return a client of an application: ``app_client(Reader).count(text)``.

    The application is set up in the process of the tests, without a port, and torn down at
    the end of the test. In a test with the marker ``real_environment`` it runs where it is
    declared to, in its own environment, and is reached through its port.
    """
    real = request.node.get_closest_marker(_MARKER) is not None
    with ExitStack() as stack:

        def connect(cls: type[AppT]) -> AppT:
            connected: Any = AppClient.connect(cls) if real else open_in_process(cls)
            client: AppT = stack.enter_context(connected)
            return client

        yield connect
