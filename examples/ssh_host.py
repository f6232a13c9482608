"""
A host that runs calls on another machine, over ``ssh``.

It needs nothing there but a Python: the worker and the function travel to it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any, ClassVar

import attrs

from fal_core.errors import HostClosed, HostError, OptionError
from fal_core.hooks import hookimpl
from fal_core.hosts import Capabilities, Host
from fal_core.pools import Start, WorkerHost
from fal_core.workers import ARGUMENTS, Worker

#: What ssh exits with where it failed itself.
SSH_FAILED = 255
#: It fails 20 seconds after the last word of a machine that is gone.
SSH = ("ssh", "-T", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=5")


@attrs.define(eq=False, slots=False)
class SshHost(WorkerHost[..., Any]):
    """
    Another machine: each call has a Python of its own there.

    Attributes:
        address: As ssh takes it, as in ``user@machine``.

        python: The Python to start there.

        arguments: What else ssh is given, as in ``("-p", "2222")``.
    """

    name: ClassVar[str] = "ssh"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=frozenset({"current"}), concurrency=8
    )

    address: str
    python: str = "python3"
    arguments: tuple[str, ...] = ()

    @classmethod
    def from_url(cls, url: str) -> SshHost:
        """Return the host of an address, as in ``ssh://user@machine``."""
        _, _, address = url.partition("://")
        if not address:
            raise OptionError(f"{url!r} names no machine. Write 'ssh://user@machine'.")
        return cls(address)

    def begin(self, start: Start) -> Worker:
        there = shlex.join((self.python, *ARGUMENTS))
        command = (*SSH, *self.arguments, self.address, there)
        return Worker.start(command, explain=self.explain)

    def explain(self, code: int, said: str) -> HostError | None:
        """Return the error of a connection that broke. None for a worker that ended there."""
        if code == SSH_FAILED:
            return HostClosed(self.name, said or "The connection broke.")
        return None


fal_core_api = 1


@hookimpl
def fal_register_hosts() -> Iterable[type[Host[..., Any]]]:
    """Register the host ``ssh``."""
    return [SshHost]
