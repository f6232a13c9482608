"""Remote nodes: other machines, on which environments are built and workers are started."""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from fal_core.environments import OLDEST_PYTHON, Environment
from fal_core.errors import HostClosed
from fal_core.nodes import arrival
from fal_core.nodes.agent_addresses import AgentAddress
from fal_core.nodes.node_agents import PATIENCE, AgentPlace, AgentProcess
from fal_core.nodes.node_code import pack_code
from fal_core.nodes.node_relays import Relays
from fal_core.nodes.node_workers import NodeWorker, agent_request
from fal_core.pools.relays import CONNECT
from fal_core.workers import given_to_children

if TYPE_CHECKING:
    from fal_core.machines import Machine
    from fal_core.pools import Start
    from fal_core.workers import Worker

#: The module that runs on a node.
AGENT = "fal_core.nodes.agent"
#: Returns the command that runs a Python with some arguments on a node.
Command = Callable[[Sequence[str]], Sequence[str]]

_nodes: weakref.WeakSet[RemoteNode] = weakref.WeakSet()


@cache
def node_arguments() -> tuple[str, ...]:
    """
    Return the arguments of a Python on a node that is to take code and run it, as
    :mod:`fal_core.nodes.arrival` describes it.
    """
    return ("-I", "-S", "-c", f"{inspect.getsource(arrival)}\n\narrive()\n")


def node_facts(digest: str, main: str, **facts: Any) -> dict[str, Any]:
    """
    Return the first line that such a Python is told, as values for JSON.

    Arguments:
        digest: That of the code.

        main: The module whose ``main`` is run.
    """
    return {"digest": digest, "main": main, "oldest": list(OLDEST_PYTHON), **facts}


class RemoteNode:
    """
    Another machine, on which environments are built and workers are started.

    Nothing of fal-core has to be installed there. The first worker starts an agent, which is
    given the code that builds; that stays in the cache of the machine. The agent ends with
    this program, and all that it has started ends with it.

    Arguments:
        command: Returns the command that runs a Python there with these arguments, and passes
            its standard streams on.

        name: The machine, as messages name it.

        address: Where connections from here reach it. None where none do: each then goes
            through a process of *command*.
    """

    def __init__(self, command: Command, *, name: str, address: str | None = None) -> None:
        self.name: str = name
        self._command = command
        self._address = address
        self._agents: dict[str, AgentProcess] = {}
        self._code: dict[type[Environment], tuple[str, str]] = {}
        self._addresses: weakref.WeakKeyDictionary[Worker, AgentAddress] = (
            weakref.WeakKeyDictionary()
        )
        self._relays = Relays()
        self._lock = threading.Lock()
        self._is_closed = False
        _nodes.add(self)

    def begin(self, start: Start, machine: Machine | None = None) -> Worker:
        """
        Have the environment built there, and return a worker in it.

        The calls that wait are told the phases, and get what the builder prints.

        Arguments:
            machine: The resources that the worker is limited to, where that is possible.

        Raises:
            EnvironmentBuildError: The environment cannot be built there.

            HostError: The machine is lost, or no agent can be started there.

            Cancelled: Nobody waits any more.
        """
        agent = self._find_agent(start.environment)
        facts = agent.await_facts(start.cancelled)
        request = agent_request(start, () if machine is None else (machine,))
        token = request["token"]
        address = AgentAddress(
            self._address or self.name,
            facts["port"],
            token,
            facts["local_name"],
            None if self._address else self._dial,
        )
        agent.tell(request)
        worker = NodeWorker(AgentPlace(agent, token), address).begin(start)
        self._addresses[worker] = address
        return worker

    def reach(self, worker: Worker, urls: Mapping[str, str]) -> Mapping[str, str]:
        """
        Return URLs of this machine that lead to *urls*, those of a service as *worker* sees
        them. It waits until the service listens.

        Raises:
            HostError: The machine cannot be reached, or the service has ended.
        """
        address = self._addresses[worker]
        return self._relays.open(address, urls, lambda: worker.gone, is_awaited=True)

    def close(self) -> None:
        """End all that was started there."""
        with self._lock:
            self._is_closed = True
            agents, self._agents = list(self._agents.values()), {}
        self._relays.close()
        for agent in agents:
            agent.begin_end()
        for agent in agents:
            agent.await_end(PATIENCE)

    def _find_agent(self, environment: Environment) -> AgentProcess:
        """Return the agent that builds environments of that kind."""
        kind = type(environment)
        with self._lock:
            if self._is_closed:
                raise HostClosed(self.name)
            if kind not in self._code:
                self._code[kind] = pack_code(environment)
            digest, archive = self._code[kind]
            agent = self._agents.get(digest)
            if agent is None or agent.gone.is_set():
                told = node_facts(digest, AGENT, address=self._address or "127.0.0.1")
                command = self._command(node_arguments())
                agent = self._agents[digest] = AgentProcess(self.name, command, told, archive)
            return agent

    def _dial(self, port: int) -> socket.socket:
        """Open a connection to a port of the loopback address there."""
        here, there = socket.socketpair()
        with there:
            try:
                process = subprocess.Popen(
                    given_to_children(self._command((*CONNECT, str(port)))),
                    stdin=there.fileno(),
                    stdout=there.fileno(),
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except BaseException:
                here.close()
                raise
        threading.Thread(target=process.wait, name="fal-core node", daemon=True).start()
        return here

    def _forget(self) -> None:
        self._lock = threading.Lock()
        agents, self._agents = list(self._agents.values()), {}
        for agent in agents:
            agent.abandon()


def _forget_agents() -> None:
    """Begin without agents in a forked child: they belong to the parent process."""
    for node in list(_nodes):
        node._forget()


os.register_at_fork(after_in_child=_forget_agents)
