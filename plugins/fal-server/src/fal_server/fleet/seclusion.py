"""
Seclusion: how runners are kept out of the reach of other users of their machine.

A runner on this machine is reached by Unix sockets, in a directory that only the user of
the server can enter. An application that cannot listen on one has a network of its own, from
which its agent relays.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import attrs

from fal_core.abilities import IsolatingHost
from fal_core.hosts import Host
from fal_server.errors import NotNow
from fal_server.fleet.placing.ways import is_url
from fal_server.specs.runner_specs import USUAL_PORT, RunnerSpec
from fal_server_agent.networks.sockets import CONTROL, METRICS, RUN, url_of


class OpenRunner(NotNow):
    """An application that is not public would be reached by every local user."""


@attrs.frozen
class Seclusion:
    """
    How the runners of one host are kept out of the reach of others.

    Attributes:
        host: The host that they are launched on.

        make_root: Returns the directory of the directories with their sockets, which nobody
            else can enter. It is made again where it is gone, as temporary files may be.

        allows_open: Whether applications that are not public may be open nevertheless.
    """

    host: Host[Any, Any]
    make_root: Callable[[], Path]
    allows_open: bool = False

    @property
    def _isolating(self) -> IsolatingHost | None:
        return self.host.ability(IsolatingHost)

    async def look(self) -> None:
        """Have the host find out what its machine can do, in a thread: it keeps the result."""
        if self._isolating is not None:
            await asyncio.to_thread(self._isolating.network_problem)

    def problem(self, spec: RunnerSpec) -> str:
        """
        Return why every local user reaches the port of the application *spec*, as sentences.
        Empty if they do not.
        """
        if self._isolating is None:
            return f"Host {self.host.name!r} gives no application a network of its own."
        if spec.takes_socket:
            return ""
        environment = spec.environment
        if environment.isolates_network and not environment.joins_networks():
            return environment.network_problem()
        return self._isolating.network_problem()

    def check(self, spec: RunnerSpec, *, is_public: bool) -> None:
        """
        Check that nobody reaches the application *spec* who may not use it.

        Raises:
            OpenRunner: Every local user would.
        """
        if is_public or self.allows_open:
            return
        problem = self.problem(spec)
        if problem:
            raise OpenRunner(
                f"{_open_port(spec)}, and the application is not public. {problem} Otherwise "
                "serve it with fal-serve, which needs no port, deploy it as public, or have "
                "the server started with '--allow-open-runners'."
            )

    def warn(self, spec: RunnerSpec) -> str:
        """
        Return what a client that deploys *spec* is told about its port, if anybody reaches it,
        and about a network that leads to nothing of this machine. Empty if there is neither.
        """
        problem, environment = self.problem(spec), spec.environment
        told = [f"{_open_port(spec)}. {problem}"] if problem else []
        if environment.isolates_files and not environment.joins_networks():
            told.append(
                f"{(spec.application or spec.name)!r} cannot call other applications of this "
                "server, or upload files to it: its containers do not reach the server."
            )
        return " ".join(told)

    def own_network(self, spec: RunnerSpec, *, serves: bool = True) -> tuple[int, ...] | None:
        """
        Return the ports that *spec* needs in a network of its own. None if it needs no such
        network, or gets none.

        Arguments:
            serves: Whether it is an application. Functions need no ports.
        """
        if spec.environment.isolates_network and self._isolating is not None:
            # It has one in any case, and no port of this machine is to lead there.
            return (spec.port or USUAL_PORT,) if serves else ()
        if not serves or spec.takes_socket or self.problem(spec):
            return None
        return (spec.port or USUAL_PORT,)

    def make_folder(self, runner_id: str) -> str:
        """Make the directory for the sockets of a runner. Empty where it needs ports."""
        if self._isolating is None:
            return ""
        folder = self.make_root() / runner_id
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        return str(folder)

    def url_check(self, spec: RunnerSpec, runner_id: str) -> Callable[[object], bool]:
        """
        Return what tells whether a URL that a runner reports may lead to it. One that sees
        nothing of this machine is reached at its own sockets alone, even if it reports others.
        """
        if not spec.environment.isolates_files or self._isolating is None:
            return is_url
        folder = self.make_root() / runner_id
        own = [url_of(str(folder / name)) for name in (CONTROL, RUN, METRICS)]
        return own.__contains__

    def drop(self, runner_id: str) -> None:
        """Remove the sockets of a runner that has ended."""
        shutil.rmtree(self.make_root() / runner_id, ignore_errors=True)

    def drop_left(self, known: Collection[str]) -> None:
        """
        Remove what a server that was killed has left: the sockets of all runners but those
        whose ids are *known*.
        """
        root = self.make_root()
        if root.is_dir():
            for folder in root.iterdir():
                if folder.name not in known:
                    self.drop(folder.name)


def _open_port(spec: RunnerSpec) -> str:
    return f"Every local user reaches the port of {spec.application or spec.name!r}"
