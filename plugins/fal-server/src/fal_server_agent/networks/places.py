"""Places: where an application listens, and how it is reached there."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from fal_core_worker.archives import ForeignCache
from fal_core_worker.serving.ports import PortHeld, claim, free_port
from fal_server_agent.networks.relays import relaying
from fal_server_agent.networks.sockets import METRICS, RUN, url_of

_LOOPBACK = "127.0.0.1"

#: Why an application is not served at a port of the machine.
OPEN = (
    "It listens on a port, which every local user of the machine of its runner would reach, "
    "and it is not public."
)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class PortUnavailable(Exception):
    """An application cannot listen where it would; the argument says why, and what to do."""


class RunnerEndpoint(ABC):
    """
    Where an application listens.

    Attributes:
        keywords: What the application is called with, as far as it takes that.
    """

    keywords: Mapping[str, Any]

    @abstractmethod
    async def connect(self) -> Connection:
        """
        Connect to the application.

        Raises:
            OSError: It does not listen yet.
        """

    @abstractmethod
    async def open(self, stack: AsyncExitStack) -> dict[str, str]:
        """
        Return the URLs at which the application, which answers now, is reached for as long
        as *stack* is open.
        """


class OpenPort(RunnerEndpoint):
    """A port of this machine, which every local user reaches."""

    def __init__(self, port: int, metrics: int = 0) -> None:
        self.port = port
        self._metrics = metrics or free_port()
        self.keywords = {"exposed_port": port, "exposed_metrics_port": self._metrics}

    async def connect(self) -> Connection:
        return await asyncio.open_connection(_LOOPBACK, self.port)

    async def open(self, stack: AsyncExitStack) -> dict[str, str]:
        return {
            "run": f"http://{_LOOPBACK}:{self.port}",
            "metrics": f"http://{_LOOPBACK}:{self._metrics}",
        }


class SecludedPort(OpenPort):
    """
    A port in a network of the runner's own, to which Unix sockets lead.

    Arguments:
        folder: The directory of the sockets.
    """

    def __init__(self, port: int, folder: str) -> None:
        super().__init__(port)
        self._folder = folder

    async def open(self, stack: AsyncExitStack) -> dict[str, str]:
        urls = {}
        for name, port in ((RUN, self.port), (METRICS, self._metrics)):
            path = os.path.join(self._folder, name)
            await stack.enter_async_context(relaying(path, port))
            urls[name] = url_of(path)
        return urls


class SocketFolder(RunnerEndpoint):
    """
    Unix sockets that the application opens itself.

    Arguments:
        folder: Their directory.
    """

    def __init__(self, folder: str) -> None:
        self._paths = {name: os.path.join(folder, name) for name in (RUN, METRICS)}
        self._address = self._paths[RUN]
        self.keywords = {"exposed_socket": folder}

    async def connect(self) -> Connection:
        return await asyncio.open_unix_connection(self._address)

    async def open(self, stack: AsyncExitStack) -> dict[str, str]:
        return {name: url_of(path) for name, path in self._paths.items()}


def claim_port(port: int, name: str, reference: str) -> OpenPort:
    """
    Claim *port* of this machine for the application *name*, which insists on it, for as long
    as this process lives.

    Raises:
        PortUnavailable: It is taken.
    """
    try:
        claim(port, name, reference)
    except ForeignCache as error:
        raise PortUnavailable(str(error)) from None
    except PortHeld as held:
        raise PortUnavailable(
            f"Port {port} is taken by {held}. End that first, or let the application listen on "
            "the port that it gets as exposed_port. Where the server can give each application "
            "a network of its own, they may have the same port: 'fal-core doctor' tells what "
            "that needs."
        ) from None
    return OpenPort(port)
