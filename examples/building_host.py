"""
A host of another machine that builds environments there, over ``ssh``.

It needs nothing there but a Python: what builds environments travels to it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import attrs

from fal_core.errors import OptionError
from fal_core.hooks import hookimpl
from fal_core.hosts import Capabilities, Host
from fal_core.nodes import RemoteNode
from fal_core.pools import POOL_OPTIONS, Start, WorkerHost
from fal_core.workers import Worker

#: It fails 20 seconds after the last word of a machine that is gone.
SSH = ("ssh", "-T", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=5")


@attrs.define(eq=False, slots=False)
class BuildingHost(WorkerHost[..., Any]):
    """
    Another machine, with environments of every kind that is installed here.

    Attributes:
        address: As ssh takes it, as in ``user@machine``.

        python: The Python to start there.

        arguments: What else ssh is given, as in ``("-p", "2222")``.
    """

    name: ClassVar[str] = "building"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None,
        concurrency=8,
        keep_alive=True,
        multiplex=True,
        serve=True,
        options=POOL_OPTIONS,
    )

    address: str
    python: str = "python3"
    arguments: tuple[str, ...] = ()

    _node: RemoteNode = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._node = RemoteNode(self._run, name=self.address)

    @classmethod
    def from_url(cls, url: str) -> BuildingHost:
        """Return the host of an address, as in ``building://user@machine``."""
        _, _, address = url.partition("://")
        if not address:
            raise OptionError(f"{url!r} names no machine. Write 'building://user@machine'.")
        return cls(address)

    def _run(self, arguments: Sequence[str]) -> Sequence[str]:
        there = shlex.join((self.python, *arguments))
        return (*SSH, *self.arguments, self.address, there)

    def begin(self, start: Start) -> Worker:
        return self._node.begin(start)

    def reach(self, worker: Worker, urls: Mapping[str, str]) -> Mapping[str, str]:
        return self._node.reach(worker, urls)

    def close(self) -> None:
        super().close()
        self._node.close()


fal_core_api = 1


@hookimpl
def fal_register_hosts() -> Iterable[type[Host[..., Any]]]:
    """Register the host ``building``."""
    return [BuildingHost]
