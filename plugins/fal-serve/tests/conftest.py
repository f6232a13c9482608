"""
What the tests of serving share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from fal_core.plugins import find_host


class Served:
    """
    A service that runs, and a client of it.
    """

    def __init__(self, info: Any) -> None:
        self.info = info
        self.url: str = info.url
        self.client = httpx.Client(base_url=self.url, timeout=30)
        self.lines: list[Any] = []

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """
        Send *json* to *path*.
        """
        return self.client.post(path, json=json, **options)

    def find_line(self, text: str) -> Any:
        """
        Return the first line of the log that has *text*, waiting for it.
        """
        for line in self.lines:
            if text in line.message:
                return line
        while True:
            line = self.info.logs.get(timeout=20)
            self.lines.append(line)
            if text in line.message:
                return line

    def end(self) -> None:
        """
        End the service and wait until it has.
        """
        self.client.close()
        self.info.cancel()
        assert self.info.future.exception(30) is not None


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Any], Served]]:
    """
    Spawn an application or a served function, and end it with the module.
    """
    served: list[Served] = []

    def start(what: Any) -> Served:
        info = what.spawn()
        try:
            served.append(Served(info))
        except BaseException:
            info.cancel()
            raise
        return served[-1]

    yield start
    for each in served:
        each.end()


@pytest.fixture(scope="session", autouse=True)
def close_local_host() -> Iterator[None]:
    """
    Leave no worker behind.
    """
    yield
    find_host("local").close()
