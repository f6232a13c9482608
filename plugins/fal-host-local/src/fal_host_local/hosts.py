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

from fal_core.abilities import (
    AnticipatingHost,
    DetachingHost,
    ExecutionStatus,
    IsolatingHost,
    limit_of,
)
from fal_core.errors import HostClosed, HostError
from fal_core.hosts import Capabilities, Execution, Host
from fal_host_local.workers.keepers import Keeper

# Everything else is imported while the keeper starts, which takes about as long.
if TYPE_CHECKING:
    from fal_core.calls import Call, SealedFunction
    from fal_core.environments import Environment, Interpreter
    from fal_core.events import Sink
    from fal_core.options import Gateway, HostOptions
    from fal_core.workers import Worker
    from fal_host_local.pools.pools import Pool
    from fal_host_local.pools.recent import RecentPool

_hosts: weakref.WeakSet[LocalHost] = weakref.WeakSet()


def _count_processors() -> int:
    """
    Return how many processors this process may use.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@attrs.define(eq=False, slots=False)
class LocalHost(Host[..., Any], AnticipatingHost, DetachingHost, IsolatingHost):
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
        options=frozenset(
            (
                "health_check_config",
                "keep_alive",
                "logging",
                "max_concurrency",
                "max_multiplexing",
                "metrics_port",
                "min_concurrency",
                "request_timeout",
                "scaling_delay",
                "secrets",
                "setup_function",
                "startup_timeout",
                "termination_grace_period_seconds",
            )
        ),
    )

    _keeper: Keeper | None = attrs.field(init=False, default=None, repr=False)
    _AGENT_ENVIRONMENT: Any = attrs.field(default=None, alias="_AGENT_ENVIRONMENT", repr=False)

    def __attrs_post_init__(self) -> None:
        self._reset()
        _hosts.add(self)

    def launch(self, call: Call, sink: Sink) -> Execution:
        if call.lifetime == "detached":
            from fal_host_local.detached.executions import launch_detached

            return launch_detached(call, sink)
        if call.gateway.serve or call.gateway.exposed_port is not None:
            return self._launch_service(call, sink)
        pool = self._find_pool(call.environment, call.host_options, call.setup, call.origin)
        return pool.launch(call, sink)

    def expect(self, environment: Environment, options: HostOptions, gateway: Gateway) -> None:
        try:
            self._find_keeper()
            if options.setup_function is not None or options.secrets:
                # Both decide which workers are used: the setup function is not known until
                # it is sealed, and the secrets may be in a file beside the function.
                return
            if gateway.serve:
                self._expect_service(environment, options)
            elif gateway.exposed_port is None:
                self._find_pool(environment, options, None).expect()
        except (OSError, HostError):
            # The call fails in the same way, and reports it.
            pass

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
        with self._lock:
            self._closed = True
            pools = list(self._pools.values())
            keeper, self._keeper = self._keeper, None
            self._pools.clear()
            self._recent.clear()
        for pool in pools:
            pool.close()
        if keeper is not None:
            keeper.close()

    @property
    def worker_count(self) -> int:
        """
        The current number of workers.
        """
        return sum(pool.worker_count for pool in self._pools.values())

    def __getstate__(self) -> dict[str, Any]:
        return {"_AGENT_ENVIRONMENT": self._AGENT_ENVIRONMENT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__attrs_post_init__()

    # -- pools and workers ---------------------------------------------------------

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[tuple[Any, ...], Pool] = {}
        self._recent: dict[tuple[int, int], RecentPool] = {}
        self._expected: tuple[Environment, HostOptions, Pool] | None = None
        self._keeper = None
        self._closed = False

    def _find_pool(
        self,
        environment: Environment,
        options: HostOptions,
        setup: SealedFunction | None,
        origin: str | None = None,
    ) -> Pool:
        # The typed options of one function are one object for all its calls.
        recent = self._recent.get((id(environment), id(options)))
        if recent is not None and (not recent.refers or recent.is_current()):
            return recent.pool
        from fal_host_local.pools.pools import Pool
        from fal_host_local.pools.recent import RecentPool
        from fal_host_local.workers.starting import print_build_log

        before, recent = recent, RecentPool(environment, options)
        key = (
            environment.kind,
            environment.key,
            recent.stamp,
            getattr(environment, "force", None),
            options.max_concurrency,
            options.min_concurrency,
            options.max_multiplexing,
            options.keep_alive,
            options.scaling_delay,
            options.startup_timeout,
            options.machine_type,
            options.logging,
            options.secrets,
            origin if options.secrets else None,
            setup and setup.digest,
        )
        with self._lock:
            if self._closed:
                raise HostClosed(self.name)
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = Pool(
                    environment,
                    options,
                    self._start_worker,
                    _count_processors(),
                    print_build_log,
                    has_setup=setup is not None,
                )
                pool.origin = origin
            if len(self._recent) > 256:
                self._recent.clear()
            recent.pool = pool
            self._recent[id(environment), id(options)] = recent
            if before is not None and before.pool is not pool:
                self._retire(before.pool)
        return pool

    def _retire(self, pool: Pool) -> None:
        """
        Stop the workers whose environment's files have changed; under the lock.
        """
        for key, other in list(self._pools.items()):
            if other is pool or (key[0] == "retired" and not other.worker_count):
                del self._pools[key]
        self._pools["retired", id(pool)] = pool
        pool.retire()

    def _launch_service(self, call: Call, sink: Sink) -> Execution:
        """
        Run a service in a worker of its own, which is stopped when the service ends.
        """
        from fal_host_local.services.executions import ServiceExecution

        pool = None
        if call.gateway.serve and call.setup is None and call.own_network is None:
            pool = self._take_expected(call.environment, call.host_options)
        if pool is None:
            pool = self._make_service_pool(
                call.environment, call.host_options, has_setup=call.setup is not None
            )
        pool.origin = call.origin
        pool.largest = limit_of(sink)
        key = ("service", call.id)
        execution = ServiceExecution(call, sink, pool, lambda: self._pools.pop(key, None))
        with self._lock:
            if self._closed:
                raise HostClosed(self.name)
            self._pools[key] = pool
        try:
            execution.claim_port()
        except HostError:
            self._pools.pop(key, None)
            pool.close()
            raise
        execution.start()
        return execution

    def _make_service_pool(
        self, environment: Environment, options: HostOptions, *, has_setup: bool
    ) -> Pool:
        from fal_host_local.pools.pools import Pool
        from fal_host_local.workers.starting import print_build_log

        own = attrs.evolve(
            options,
            max_concurrency=1,
            min_concurrency=None,
            max_multiplexing=None,
            keep_alive=0,
        )
        pool = Pool(
            environment,
            own,
            self._start_worker,
            1,
            print_build_log,
            has_setup=has_setup,
        )
        pool.shares_memory = False
        return pool

    def _expect_service(self, environment: Environment, options: HostOptions) -> None:
        """
        Start the worker of a service that is expected soon.

        One service is expected at a time; the worker of a service that never came stops
        by itself.
        """
        pool = self._make_service_pool(environment, options, has_setup=False)
        with self._lock:
            if self._closed:
                raise HostClosed(self.name)
            self._expected = (environment, options, pool)
            self._pools["service", "expected"] = pool
        pool.expect()

    def _take_expected(self, environment: Environment, options: HostOptions) -> Pool | None:
        with self._lock:
            expected = self._expected
            if expected is None or (expected[0], expected[1]) != (environment, options):
                return None
            self._expected = None
            return self._pools.pop(("service", "expected"), None)

    def _find_keeper(self) -> Keeper:
        with self._lock:
            if self._closed:
                raise HostClosed(self.name)
            if self._keeper is None:
                self._keeper = Keeper()
            return self._keeper

    def _start_worker(self, pool: Pool, interpreter: Interpreter) -> Worker:
        from fal_host_local.workers.starting import start_worker

        return start_worker(self._find_keeper, pool, interpreter)


def _forget_workers() -> None:
    """
    Begin without workers in a forked child: those there are belong to the parent process.
    """
    for host in list(_hosts):
        for pool in host._pools.values():
            pool.abandon()
        if host._keeper is not None:
            host._keeper.abandon()
        host._reset()


os.register_at_fork(after_in_child=_forget_workers)
