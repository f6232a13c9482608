"""The agent: runs the calls of one function, or serves one application."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import MutableMapping, Sequence

from fal_core_worker.serving import services
from fal_server_agent.control_servers import ControlServer
from fal_server_agent.limits import limit_memory
from fal_server_agent.networks.sockets import find_network

#: The variable by which calls know that their agent reads their output itself.
READS = "FAL_CORE_AGENT"


class Agent(services.Server):
    """
    The function that a runner runs: it takes what a control plane sends, and runs that.

    Arguments:
        token: The token that the control plane must show.

        paths: Directories for ``sys.path``, after those of the environment.

        memory: How much memory it may use with all its child processes, in bytes. None
            for any amount.

        name: The name of the control group that limits its memory.

        folder: The directory of the runner's Unix sockets, on the machine of the control
            plane. Empty on another one.

        network: The network namespace of the control plane.

        may_be_open: Whether an application may listen on a port of the machine.
    """

    requirements: Sequence[str] = ()
    packages = ("fal_server_agent",)

    def __init__(
        self,
        token: str,
        paths: Sequence[str],
        *,
        memory: int | None = None,
        name: str = "",
        folder: str = "",
        network: str = "",
        may_be_open: bool = True,
    ) -> None:
        self.func = run
        self.__name__ = "agent"
        self.__module__ = __name__
        self._token = token
        self._paths = tuple(paths)
        self._memory = memory
        self._name_of_group = name
        self._folder = folder
        self._network = network
        self._may_be_open = may_be_open

    def __call__(
        self, *, exposed_port: int | None = None, exposed_metrics_port: int | None = None
    ) -> None:
        if self._memory is not None:
            limit_memory(self._memory, self._name_of_group)
        is_secluded = bool(self._network) and find_network() not in ("", self._network)
        server = ControlServer(
            self._token, self._folder, is_secluded=is_secluded, may_be_open=self._may_be_open
        )
        run(server, self._paths)


def run(server: ControlServer, paths: Sequence[str]) -> None:
    """Run an agent until it is drained, or the application that it serves has ended."""
    sys.path.extend(path for path in paths if path not in sys.path)
    forget_credentials(os.environ)
    # The agent reads the output of calls before it answers them; no call waits for that.
    os.environ[READS] = str(os.getpid())
    loop = asyncio.new_event_loop()
    services.run(server.run(), loop, server.drain)


#: Variables that hold credentials, judging by their names.
_NAMED = re.compile(r"(UV|PIP)_\w*(PASSWORD|USERNAME|TOKEN|KEYRING\w*)")

#: Variables that may hold URLs, and a URL with credentials.
_OF_INDEXES = re.compile(r"(UV|PIP)_\w+")
_ADDRESS = re.compile(r"://[^/@\s]+@")


def forget_credentials(variables: MutableMapping[str, str]) -> None:
    """Remove the credentials of package indexes, which only builds need, from *variables*."""
    for name, value in list(variables.items()):
        addressed = _OF_INDEXES.fullmatch(name) and _ADDRESS.search(value)
        if addressed or _NAMED.fullmatch(name):
            del variables[name]
