"""The host ``ray``: functions in workers on the nodes of a Ray cluster."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from fal_core.abilities import DetachingHost, ExecutionStatus, Tunnel, TunnellingHost
from fal_core.capacities import CountingHost
from fal_core.errors import HostClosed, HostError, OptionError, WorkerLost
from fal_core.events import State
from fal_core.hosts import Capabilities, Execution
from fal_core.nodes import AgentAddress, Relays
from fal_core.options import HostOptions
from fal_core.pools import POOL_OPTIONS, WorkerHost
from fal_host_ray.options import RayOptions, find_machines, resources_of

if TYPE_CHECKING:
    from fal_core.calls import Call
    from fal_core.capacities import Capacity
    from fal_core.environments import Environment
    from fal_core.events import Sink
    from fal_core.machines import Machine
    from fal_core.options import Gateway
    from fal_core.pools import Start
    from fal_core.workers import Worker
    from fal_host_ray.cluster.launchers import Actor, DriverProcess

_hosts: weakref.WeakSet[RayHost] = weakref.WeakSet()

#: Seconds in which an idle worker that was stopped frees its place, before another one is.
_EACH = 0.5
#: Why a worker ended that nobody has asked to.
_ABANDONED = "Ray has ended what it ran on the node: its head is gone, or the node is to end."


@attrs.define(eq=False, slots=False)
class RayHost(WorkerHost[..., Any], CountingHost, DetachingHost, TunnellingHost):
    """
    A Ray cluster: each worker has a place on a node, which Ray keeps for it.

    Attributes:
        address: Where the cluster is, as ``ray.init`` takes it: ``auto`` for the one that this
            machine is a node of, or ``ray://head:10001``. By default the one that is found
            here, or else one that is started here and ends with this process.

        python: The path of a Python that has Ray. By default the variable
            ``FAL_RAY_PYTHON``, or this Python.
    """

    name: ClassVar[str] = "ray"
    options: ClassVar[type[HostOptions]] = RayOptions
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None,
        concurrency=64,
        keep_alive=True,
        multiplex=True,
        serve=True,
        detach=True,
        secrets=True,
        options=POOL_OPTIONS | {"machine_type", "machine_types", "num_gpus", "secrets"},
    )

    address: str | None = None
    python: str | None = None

    _launching: Any = attrs.field(init=False, factory=threading.Lock, repr=False)
    _launcher: DriverProcess | None = attrs.field(init=False, default=None, repr=False)
    _relays: Relays = attrs.field(init=False, factory=Relays, repr=False)
    _agents: weakref.WeakKeyDictionary[Worker, AgentAddress] = attrs.field(
        init=False, factory=weakref.WeakKeyDictionary, repr=False
    )
    _code: dict[type[Environment], tuple[str, str]] = attrs.field(
        init=False, factory=dict, repr=False
    )
    _closed: bool = attrs.field(init=False, default=False, repr=False)

    def __attrs_post_init__(self) -> None:
        _hosts.add(self)

    @classmethod
    def from_url(cls, url: str) -> RayHost:
        """Return the host of a cluster, as in ``ray://head:10001``."""
        _, _, address = url.partition("://")
        if not address:
            raise OptionError(f"{url!r} names no cluster. Write 'ray://head:10001'.")
        return cls(url)

    def check(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        """Refuse a machine type that no plugin knows, and secrets that are not set."""
        find_machines(options)
        if options.secrets:
            from fal_host_ray.variables import resolve_secrets

            resolve_secrets(options.secrets, origin)

    def begin(self, start: Start) -> Worker:
        from fal_core.nodes import AGENT, NodeWorker, agent_request, node_facts
        from fal_host_ray.variables import resolve_secrets

        options = RayOptions.of(start)
        secrets = resolve_secrets(options.secrets or (), start.origin)
        digest, archive = self._pack(start.environment)
        machines = find_machines(options)
        asked_of: list[Machine | None] = [*machines] if machines else [None]
        agent = agent_request(start, machines)
        actor = self._find_launcher().start(
            {
                "digest": digest,
                "archive": archive,
                "told": node_facts(digest, AGENT, abandoned=_ABANDONED),
                "choices": [resources_of(options, each) for each in asked_of],
                "agent": agent,
            }
        )
        try:
            facts = self._await_up(actor, start)
            actor.node = f"{facts['node']} ({facts['address']})"
            address = AgentAddress(
                facts["address"], facts["port"], agent["token"], facts["local_name"]
            )
            worker = NodeWorker(actor, address).begin(start)
            self._agents[worker] = address
        except BaseException:
            actor.release()
            raise
        if secrets:
            worker.send_secrets(secrets)
        return worker

    def reach(self, worker: Worker, urls: Mapping[str, str]) -> Mapping[str, str]:
        agent = self._agents[worker]
        return self._relays.open(agent, urls, lambda: worker.gone, is_awaited=True)

    def find_tunnel(self, url: str) -> Tunnel | None:
        return self._relays.find_tunnel(url)

    def launch_apart(self, call: Call, sink: Sink) -> Execution:
        if call.lifetime != "detached":
            return super().launch_apart(call, sink)
        from fal_host_ray.detached.executions import launch_detached

        code = self._pack(call.environment)
        return launch_detached(call, sink, self._find_launcher, self._relays, code)

    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        from fal_host_ray.detached.executions import attach

        return attach(reference, sink, after, self._find_launcher, self._relays)

    def executions(self) -> Iterable[ExecutionStatus]:
        from fal_host_ray.detached.executions import list_executions

        return list_executions(self._find_launcher())

    def read_capacity(self) -> Capacity:
        from fal_host_ray.cluster.capacities import read_capacity

        return read_capacity(self._find_launcher())

    def close(self) -> None:
        super().close()
        with self._launching:
            self._closed = True
            launcher, self._launcher = self._launcher, None
        if launcher is not None:
            launcher.close()
        self._relays.close()

    def _pack(self, environment: Environment) -> tuple[str, str]:
        from fal_core.nodes import pack_code

        kind = type(environment)
        with self._launching:
            if kind not in self._code:
                self._code[kind] = pack_code(environment, "fal-host-ray")
            return self._code[kind]

    def _await_up(self, actor: Actor, start: Start) -> dict[str, Any]:
        """
        Wait until the agent of *actor* knows of it, and return where that listens. While there
        is no room for it, idle workers of this host give way.
        """
        told_at = 0.0
        while True:
            facts = actor.next_event(start.cancelled)
            if facts is None:
                if told_at and time.monotonic() - told_at > _EACH and self.make_room():
                    told_at = time.monotonic()
            elif facts["event"] == "up":
                if told_at:
                    start.report(State("starting"))
                return facts
            elif facts["event"] == "queued":
                if not told_at:
                    start.report(State("queued"))
                told_at = time.monotonic()
                start.say(facts["why"])
            elif facts["event"] == "lost":
                raise WorkerLost(detail=facts["why"])
            elif facts["event"] == "closed":
                raise HostClosed(self.name, facts["why"])
            else:
                raise HostError(facts["why"])

    def _find_launcher(self) -> DriverProcess:
        from fal_host_ray.cluster.launchers import DriverProcess, find_python

        with self._launching:
            if self._closed:
                raise HostClosed(self.name)
            if self._launcher is None or self._launcher.ended:
                self._launcher = DriverProcess(find_python(self.python), self.address)
            return self._launcher


def _forget_launchers() -> None:
    """Begin without a launcher in a forked child: it belongs to the parent process."""
    for host in list(_hosts):
        host._launching = threading.Lock()
        launcher, host._launcher = host._launcher, None
        if launcher is not None:
            launcher.abandon()


os.register_at_fork(after_in_child=_forget_launchers)
