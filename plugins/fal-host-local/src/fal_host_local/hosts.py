"""
The host ``local``: warm workers on this machine.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from fal_core.abilities import DetachingHost, ExecutionStatus, IsolatingHost
from fal_core.errors import HostClosed, HostError
from fal_core.hosts import Capabilities, Execution
from fal_core.pools import POOL_OPTIONS, WorkerHost
from fal_host_local.workers.keepers import Keeper

# Everything else is imported while the keeper starts, which takes about as long.
if TYPE_CHECKING:
    from fal_core.calls import Call
    from fal_core.environments import Environment
    from fal_core.events import Sink
    from fal_core.options import Gateway, HostOptions
    from fal_core.pools import Start, WorkerPools
    from fal_core.workers import Worker

_hosts: weakref.WeakSet[LocalHost] = weakref.WeakSet()


def _count_processors() -> int:
    """
    Return how many processors this process may use.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@attrs.define(eq=False, slots=False)
class LocalHost(WorkerHost[..., Any], DetachingHost, IsolatingHost):
    """
    Runs functions in warm workers on this machine.

    Each combination of environment and options has workers of its own, which are kept
    until they have been idle for ``keep_alive`` seconds. They end with this process.
    """

    name: ClassVar[str] = "local"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None,
        same_python=True,
        concurrency=_count_processors(),
        keep_alive=True,
        multiplex=True,
        serve=True,
        secrets=True,
        detach=True,
        inherits=True,
        options=POOL_OPTIONS | {"secrets"},
    )

    _keeping: Any = attrs.field(init=False, factory=threading.Lock, repr=False)
    _keeper: Keeper | None = attrs.field(init=False, default=None, repr=False)
    _closed: bool = attrs.field(init=False, default=False, repr=False)
    _AGENT_ENVIRONMENT: Any = attrs.field(default=None, alias="_AGENT_ENVIRONMENT", repr=False)

    def __attrs_post_init__(self) -> None:
        _hosts.add(self)

    def launch_apart(self, call: Call, sink: Sink) -> Execution:
        if call.lifetime == "detached":
            from fal_host_local.detached.executions import launch_detached

            return launch_detached(call, sink)
        from fal_host_local.services.executions import launch_service

        return launch_service(call, sink, self._find_pools(), self._find_keeper)

    def begin(self, start: Start) -> Worker:
        from fal_host_local.workers.starting import Place, start_worker

        return start_worker(self._find_keeper, start, Place(shares_memory=not start.serves))

    def expect(self, environment: Environment, options: HostOptions, gateway: Gateway) -> None:
        try:
            # It starts while everything else is imported.
            self._find_keeper()
        except (OSError, HostError):
            return
        if gateway.serve and environment.isolates_network:
            # No port leads to a worker that was started before they are known.
            return
        super().expect(environment, options, gateway)

    def check(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        if options.secrets:
            from fal_host_local.variables import resolve_secrets

            resolve_secrets(options.secrets, origin)
        is_service = gateway.serve or gateway.exposed_port is not None
        if is_service and options.health_check_config is not None:
            from fal_core.declaring import HealthCheck

            HealthCheck.read(options.health_check_config)

    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        from fal_host_local.detached.executions import attach

        return attach(reference, sink, after)

    def executions(self) -> Iterable[ExecutionStatus]:
        from fal_host_local.detached.records import list_executions

        return list_executions()

    def network_problem(self) -> str:
        from fal_core_worker.serving.networks import missing

        return missing()

    def close(self) -> None:
        super().close()
        with self._keeping:
            self._closed = True
            keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()

    def _make_pools(self) -> WorkerPools:
        from fal_core.pools import WorkerPools

        count = self.capabilities.concurrency
        return WorkerPools(
            self.name, self.begin, count=count, shared_by=self.shared_by, quick=True
        )

    def _find_keeper(self) -> Keeper:
        with self._keeping:
            if self._closed:
                raise HostClosed(self.name)
            if self._keeper is None:
                self._keeper = Keeper()
            return self._keeper


def _forget_keepers() -> None:
    """
    Begin without a keeper in a forked child: it belongs to the parent process.
    """
    for host in list(_hosts):
        host._keeping = threading.Lock()
        host._closed = False
        if host._keeper is not None:
            host._keeper.abandon()
            host._keeper = None


os.register_at_fork(after_in_child=_forget_keepers)
